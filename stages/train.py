"""Train all restarts of a plant, in batches, here or on a cluster: python -m stages.train PLANT"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from omegaconf import OmegaConf
from tqdm import tqdm

from bonsai.artifact import save_json, save_table, save_text
from bonsai.batches import Batch, Finished, Problem, computed_by, merged, split, train_here
from bonsai.cluster import Standing, cluster
from bonsai.hints import Codes
from bonsai.network import Network
from bonsai.sizing import Attempt, attempts
from bonsai.snap import snap
from bonsai.train import Checkpoint, Progress, Trained
from stages import CHECKPOINTS, compute, run_stage

CURVE_POINTS = 200


def stage(parameters: Any, folder: Path) -> str:
    p = parameters.train
    settings: Any = OmegaConf.to_container(p)
    problem = Problem.load(folder)
    if p.cells:
        cells = tuple((int(o), int(s)) for o, s in p.cells)
        given = [Attempt(cells, p.stacked, p.hinted)]
    else:
        given = attempts(problem.machine, p.hinted)[: p.attempts]
    found: list[tuple[Attempt, Trained]] = []
    counting = None
    with _trainer(parameters.name, folder, problem) as (finished, train):
        for n, attempt in enumerate(given):
            if attempt.resort and any(t.exact.any() for a, t in found if not a.counter):
                break
            trained = merged(train(split(settings, attempt, n)))
            found.append((attempt, trained))
            if attempt.counter:
                file = finished.beside("snap", trained)
                counting = _snapped(parameters.name, problem, trained, attempt, settings, file)
            if counting is not None or (trained.exact.sum() >= p.enough and not attempt.counter):
                break
    if counting is None:  # what nearly counts is of no use
        trained = max((t for a, t in found if not a.counter), key=lambda t: int(t.exact.sum()))
    network, codes = counting or (trained.network, trained.codes)
    for restart in trained.dropped:
        tqdm.write(f"restart {restart} dropped: its loss was not finite")
    network.save(folder / "runs.npz")
    codes.save(folder / "hints.npz")
    _save_history(trained, folder)
    exact, restarts = int(trained.exact.sum()), len(trained.network) + len(trained.dropped)
    save_json(
        folder / "train.json",
        {
            "attempts": [_described(attempt, t) for attempt, t in found],
            "steps": len(trained.history),
            "restarts": restarts,
            "exact_restarts": exact,
            "dropped_restarts": len(trained.dropped),
            "loss": float(np.median(trained.history[-1, :, 0])),
        },
    )
    finished.delete()
    return f"{exact} of {restarts} restarts exact after {len(trained.history)} steps"


@contextmanager
def _trainer(
    name: str, folder: Path, problem: Problem
) -> Iterator[tuple[Finished, Callable[[list[Batch]], list[Trained]]]]:
    """What trains batches where the section `compute` says, and where it keeps the finished."""
    place, kept = compute(folder.name), CHECKPOINTS / folder.name
    if place.kind == "local":
        here = Finished(kept, folder, computed_by())
        yield here, lambda batches: _train_here(name, batches, problem, here)
        return

    def say(line: str) -> None:
        tqdm.write(f"train {name}: {line}", file=sys.stderr)

    with cluster(place.address, place.workers, say) as workers:
        there = Finished(kept, folder, workers.by)

        def train(batches: list[Batch]) -> list[Trained]:
            if len(batches) == 1:
                say(
                    "all restarts are one batch, for one worker; train.together makes more of them"
                )
            with tqdm(total=len(batches), desc=f"train {name}", unit="batch", disable=None) as bar:

                def report(standing: Standing) -> None:
                    bar.update(standing.done - bar.n)
                    exact = f"{standing.exact}/{standing.restarts}"
                    bar.set_postfix(exact=exact, workers=standing.workers)

                return workers.train(batches, folder, problem, there, report)

        yield there, train


def _train_here(
    name: str, batches: list[Batch], problem: Problem, finished: Finished
) -> list[Trained]:
    steps = batches[0].settings["steps"]
    with tqdm(total=steps * len(batches), desc=f"train {name}", unit="step", disable=None) as bar:

        def report(batch: Batch, progress: Progress) -> None:
            bar.update(steps * batch.number + progress.step - bar.n)
            number = {"batch": f"{batch.number + 1}/{len(batches)}"} if len(batches) > 1 else {}
            bar.set_postfix(
                number,
                loss=f"{progress.loss:.2g}",
                exact=f"{progress.exact}/{batch.restarts}",
                live=progress.live,
            )

        return train_here(batches, problem, finished, report)


def _snapped(
    name: str,
    problem: Problem,
    trained: Trained,
    attempt: Attempt,
    settings: dict[str, Any],
    checkpoint: Checkpoint,
) -> tuple[Network, Codes] | None:
    with tqdm(desc=f"snap {name}", unit="round", disable=None) as bar:

        def report(rounds: int, found: int) -> None:
            bar.update(rounds - bar.n)
            bar.set_postfix(set=found)

        return snap(problem, trained, attempt, settings, checkpoint, report)


def _described(attempt: Attempt, trained: Trained) -> dict[str, Any]:
    return {
        "cells": attempt.cells,
        "stacked": attempt.stacked,
        "hinted": attempt.hinted,
        "steps": len(trained.history),
        "exact": int(trained.exact.sum()),
    }


def _save_history(trained: Trained, folder: Path) -> None:
    """`history.parquet`, a row a restart and kept step, and `curves.csv`, its summary for DVC."""
    steps, restarts = trained.history.shape[:2]
    kept = np.unique(
        np.concatenate(
            [np.linspace(1, steps, min(steps, CURVE_POINTS)).astype(int), trained.checks]
        )
    )
    checked = {int(step): c for c, step in enumerate(trained.checks)}
    at = [checked.get(int(step)) for step in kept]

    def spread(values: np.ndarray, kind: pa.DataType) -> pa.Array:
        rows = [None if c is None else values[c, r] for r in range(restarts) for c in at]
        return pa.array(rows, kind)

    save_table(
        folder / "history.parquet",
        "history",
        {
            "restart": pa.array(np.repeat(trained.network.restart, len(kept))),
            "step": pa.array(np.tile(kept, restarts), pa.int32()),
            "loss": pa.array(trained.history[kept - 1, :, 0].T.reshape(-1)),
            "penalty": pa.array(trained.history[kept - 1, :, 1].T.reshape(-1)),
            "accuracy": spread(trained.accuracy, pa.float32()),
            "live": spread(trained.live, pa.int32()),
        },
    )
    lines = ["step,loss,penalty,exact,live"]
    for c, step in enumerate(trained.checks):
        loss, penalty = np.median(trained.history[step - 1], axis=0)
        exact = trained.accuracy[c] == 1
        live = trained.live[c][exact].min() if exact.any() else ""
        lines.append(f"{step},{loss:.6g},{penalty:.6g},{exact.sum()},{live}")
    save_text(folder / "curves.csv", "\n".join(lines) + "\n")


if __name__ == "__main__":
    run_stage(stage)
