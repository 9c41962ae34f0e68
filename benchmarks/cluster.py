"""Throughput of workers on a Dask cluster: `python -m benchmarks.cluster --help`.

Batches of restarts a second with one worker and with two on this machine, each with one thread,
and with one thread in this process, without Dask. They take turns, and while one works the
others wait.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.results import machine, print_table, save, spread
from bonsai.batches import FILES, Batch, Finished, Problem, computed_by, train_here
from bonsai.cluster import Cluster, cluster
from bonsai.dataset import draw, save_dataset
from bonsai.sizing import Attempt
from bonsai.tasks import TASKS

WORKERS = (1, 2)
RESTARTS, SEQUENCES, LENGTH = 8, 32768, 24
BATCHES, STEPS = 8, 8000  # of a turn, and of a batch
ATTEMPT = Attempt(((12, 6),), stacked=False, hinted=0.5)
SETTINGS: dict[str, Any] = {
    "seed": 0,
    "batch": 128,
    "rate": [[0, 0.01], [1, 0.002]],
    "factor": [[0, 0.5], [1, 0]],
    "noise": [[0, 0], [1, 0.3]],
    "binarize": [[0, 0], [1, 0.3]],
    "hinted_noise": [[0, 0.3], [1, 0.3]],
    "leak": 0.0625,
    "regularizer": {
        "strength": [[0, 0.02], [1, 0.02]],
        "threshold": 0.025,
        "steepness": 25.0,
        "l1": 0.001,
        "biases": True,
    },
    "check_every": 250,
    "live": 0.1,
    "kernel": "fused",
}


def plant(folder: Path) -> Problem:
    """The files of the task `gates`, with as many sequences as the garden has."""
    task, rng = TASKS["gates"](), np.random.default_rng(0)
    task.save(folder / FILES[0])
    splits = {"train": SEQUENCES, "validation": 2048}
    save_dataset(
        folder / FILES[1], {n: draw(task, rng, c, LENGTH, 0.3) for n, c in splits.items()}
    )
    return Problem.load(folder)


def batches(number: int, steps: int, fresh: Iterator[int]) -> list[Batch]:
    """New ones, which share their compiled kernels with all others and take every step."""
    settings = SETTINGS | {"steps": steps, "patience": steps}
    return [Batch(settings, ATTEMPT, 0, n, n * RESTARTS, RESTARTS) for n in islice(fresh, number)]


def run(rounds: int, number: int = BATCHES, steps: int = STEPS) -> None:
    """Measure, print a table, and write `results/cluster.json`."""
    os.environ["POCL_MAX_PTHREAD_COUNT"] = "1"  # of this process, and of the workers
    described, fresh = machine(), count()
    with TemporaryDirectory() as name, ExitStack() as held:
        folder = Path(name)
        problem = plant(folder)

        def here(given: list[Batch]) -> None:
            finished = Finished(folder / "kept", folder, computed_by())
            train_here(given, problem, finished, lambda batch, progress: None)
            finished.delete()

        contenders: dict[str, Callable[[list[Batch]], None]] = {"here": here}
        for workers in WORKERS:
            found = held.enter_context(cluster(None, workers, print))

            def there(given: list[Batch], found: Cluster = found) -> None:
                finished = Finished(folder / "kept", folder, found.by)
                found.train(given, folder, problem, finished, lambda standing: None)
                finished.delete()

            contenders[f"workers_{workers}"] = there
        for work in contenders.values():
            work(batches(max(WORKERS), steps // 10, fresh))  # kernels compiled, workers awake
        taken: dict[str, list[float]] = {contender: [] for contender in contenders}
        for _ in range(rounds):
            for contender, work in contenders.items():
                given = batches(number, steps, fresh)
                start = time.perf_counter()
                work(given)
                taken[contender].append(number / (time.perf_counter() - start))
    one, rows = np.array(taken["workers_1"]), []
    for contender, rates in taken.items():
        rate, times = spread(np.array(rates)), spread(np.array(rates) / one)
        rows.append({"contender": contender, "batches_a_second": rate, "times_one_worker": times})
    header = ["one thread each", "batches/s", "times one worker", "quartiles"]
    print_table(header, [_row(row) for row in rows])
    shape = {"restarts": RESTARTS, "cells": ATTEMPT.cells, "length": LENGTH, "steps": steps}
    figures = {"batch": shape, "batches": number, "rounds": rounds, "contenders": rows}
    save("cluster", described, figures)


def _row(row: dict[str, Any]) -> list[str]:
    rate, times = row["batches_a_second"], row["times_one_worker"]
    spans = f"{times['low']:.2f}..{times['high']:.2f}"
    return [row["contender"], f"{rate['median']:.3f}", f"{times['median']:.2f}", spans]


def main() -> None:
    parser = argparse.ArgumentParser(description="Throughput of one worker and of two")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=BATCHES, help="of a turn")
    parser.add_argument("--steps", type=int, default=STEPS, help="of a batch")
    given = parser.parse_args()
    run(given.rounds, given.batches, given.steps)


if __name__ == "__main__":
    main()
