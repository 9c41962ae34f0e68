"""Any task, without tuning: `python -m benchmarks.machines --help`.

Grows machines that are made at random, tasks from files, and named gardens, each with the default
plant and all stages up to its program, one after the other. A task that crashes, is refused or
takes longer than the limit is a row too. Rows are kept as they come, in `results/machines.json`
and `results/gardens.json`, and what is there already, of the same machine and parameters, is not
grown again.

    python -m benchmarks.machines --random 5                     # five of each number of states
    python -m benchmarks.machines path/to/*.kiss2                # tasks from files
    python -m benchmarks.machines --garden tomita --garden mips
    python -m benchmarks.machines --markdown                     # the tables of what was measured
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from benchmarks import shares
from benchmarks.growth import ROOT, Row, Task, grown, planted
from benchmarks.results import FOLDER, machine
from bonsai.artifact import load_json, save_json
from bonsai.kiss2 import read_kiss2
from bonsai.machine import Machine, MachineError, all_symbols
from stages.configure import composed

LIMIT = 600.0  # seconds a task
TRIES = 10_000


def random_machine(states: int, inputs: int, outputs: int, seed: int) -> Machine:
    """A minimal machine of exactly so many states, all reachable.

    Next states and output bits are uniform and independent; what is not minimal or not reachable
    is drawn again. inputs, outputs: numbers of bits. Raises MachineError if there is none, as of
    three states without input.
    """
    rng = np.random.default_rng([seed, states, inputs, outputs])
    name = f"random{states}_{inputs}_{outputs}_{seed}"
    symbols = all_symbols(inputs)
    size = (states, len(symbols))
    for _ in range(TRIES):
        found = Machine.from_tables(
            name,
            [f"x{n}" for n in range(inputs)],
            [f"y{n}" for n in range(outputs)],
            [f"s{n}" for n in range(states)],
            symbols,
            rng.integers(0, states, size).astype(np.int32),
            rng.choice(np.array([-1, 1], np.int8), (*size, outputs)),
        ).minimized()  # leaves out what is not reachable
        if len(found.states) == states:
            return found
    raise MachineError(f"{name}: none of {TRIES} drawn machines is minimal and reachable")


def sample(each: int, least: int, most: int, seed: int) -> Iterator[Machine]:
    """`each` machines of least, ..., most states, of 1 to 3 bits in and out, drawn as well.

    More of each only adds to these.
    """
    for states in range(least, most + 1):
        for n in range(each):
            rng = np.random.default_rng([seed, states, n])
            inputs, outputs = (int(bits) for bits in rng.integers(1, 4, 2))
            yield random_machine(states, inputs, outputs, int(rng.integers(1000)))


class Results:
    """The rows in a file, which is written whole after each of them."""

    def __init__(self, path: Path, described: Callable[[], dict[str, Any]] = machine) -> None:
        self.path, self._described = path, cache(described)
        self.rows: list[Row] = load_json(path)["results"] if path.exists() else []

    def done(self, task: Task, key: str, limit: float) -> bool:
        """Whether the same machine was grown with the same parameters, in no less time."""
        return any(
            (row["kind"], row["name"], row["key"]) == (task.kind, task.name, key)
            and not (row["late"] and row["limit"] < limit)
            for row in self.rows
        )

    def add(self, row: Row) -> None:
        """In the place of an earlier row of the task."""
        same = [(r["kind"], r["name"]) == (row["kind"], row["name"]) for r in self.rows]
        self.rows = [r for r, again in zip(self.rows, same, strict=True) if not again] + [row]
        save_json(self.path, {"machine": self._described(), "results": self.rows})


def measure(
    task: Task,
    results: Results,
    limit: float = LIMIT,
    overrides: Sequence[str] = (),
    again: bool = False,
    keep: Path | None = None,
) -> Row | None:
    """Grow one task and add its row; None if that was done before and not asked for `again`.

    keep: where the task's folder stays, with the artifacts and logs of its stages
    """
    with contextlib.ExitStack() as stack:
        if keep is None:
            scratch = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(scratch))
        else:
            folder = Path(tempfile.mkdtemp(prefix=f"{task.name}-", dir=keep))
        row: Row = {"name": task.name, "kind": task.kind, "load": round(os.getloadavg()[0], 2)}
        try:
            plant = planted(task, folder, overrides)
        except MachineError as e:
            row |= dict.fromkeys(("key", "states", "inputs", "outputs", "weights", "exact"))
            row |= dict.fromkeys(("attempt", "lines"))
            row |= {"proven": False, "reason": f"refused: {e}", "limit": limit, "late": False}
            row |= {"seconds": {}, "total": 0.0}
        else:
            if not again and results.done(task, plant.key, limit):
                shutil.rmtree(folder)  # of `keep`, nothing was grown in it
                return None
            own = plant.machine
            row |= {"key": plant.key, "states": len(own.states)}
            row |= {"inputs": len(own.inputs), "outputs": len(own.outputs)}
            row |= grown(plant, folder, limit)
    row["revision"] = _revision()
    results.add(row)
    return row


def tasks_of(
    paths: Iterable[Path], gardens: Iterable[str], only: Collection[str] = ()
) -> list[Task]:
    """Tasks of files, those of fewer states first, and the plants of gardens.

    Files that cannot be read come last. only: those of these names, if there are any
    """
    files = sorted((_states(path), path.stem, path) for path in paths)
    found = [Task(name, "file", path.resolve()) for _, name, path in files]
    for garden in gardens:
        with contextlib.chdir(ROOT):
            listed = OmegaConf.create(composed([f"garden={garden}"])).garden
        found += [Task(str(plant), garden) for plant in listed]
    return [task for task in found if not only or task.name in only]


def _states(path: Path) -> int:
    try:
        return len(read_kiss2(path).minimized().states) if path.suffix == ".kiss2" else 0
    except MachineError:
        return 1 << 30


def _revision() -> str | None:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _told(row: Row) -> str:
    if row["states"] is None:
        return f"{row['name']}: {row['reason']}"
    said = (
        f"{row['name']}: {row['states']} states, {row['inputs']} bits in, {row['outputs']} out: "
    )
    if row["proven"]:
        lines = "no program" if row["lines"] is None else f"{row['lines']} lines"
        said += f"proven, {row['weights']} weights, {row['biases']} biases, {lines}"
    else:
        said += f"not proven, {row['reason']}"
    return f"{said}; {row['total']:.0f} s"


def print_tables(machines: Sequence[Row], gardens: Sequence[Row]) -> None:
    """Of all rows, in Markdown."""
    for kind, title in (("random", "Machines made at random"), ("file", "Tasks from files")):
        own = [row for row in machines if row["kind"] == kind]
        if own:
            print(f"\n{title}: {shares.summary(own)}\n")
            print(f"{shares.shares(own)}\n\n{shares.tasks(own)}\n")
            print("\n".join(shares.unproven(own)))
    for kind in dict.fromkeys(row["kind"] for row in gardens):
        own = [row for row in gardens if row["kind"] == kind]
        print(f"\nGarden {kind}: {sum(r['proven'] for r in own)} of {len(own)} proven\n")
        print(f"{shares.garden(own)}\n")
        print("\n".join(shares.unproven(own)))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Tasks grown with the default plant")
    parser.add_argument("files", type=Path, nargs="*", help="tasks: .kiss2, .pla or .py")
    parser.add_argument("--garden", action="append", default=[], help="a garden, as mips")
    parser.add_argument("--only", nargs="+", default=[], help="tasks of these names alone")
    parser.add_argument("--random", type=int, default=0, help="machines of each number of states")
    parser.add_argument("--states", type=int, nargs=2, default=(2, 8), metavar=("LEAST", "MOST"))
    parser.add_argument("--seed", type=int, default=0, help="of the machines made at random")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds a task (600)")
    parser.add_argument("--again", action="store_true", help="also what was measured before")
    parser.add_argument("--set", action="append", default=[], help="a parameter, as seed=1")
    parser.add_argument(
        "--keep", type=Path, help="a folder for the artifacts and logs of all tasks"
    )
    parser.add_argument("--results", type=Path, default=FOLDER, help="the folder of the rows")
    parser.add_argument("--markdown", action="store_true", help="only print what was measured")
    given = parser.parse_args(arguments)
    machines = Results(given.results / "machines.json")
    gardens = Results(given.results / "gardens.json")
    if not given.markdown:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the stage that runs as well
        if given.keep is not None:
            given.keep.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            made = []
            least, most = given.states
            for own in sample(given.random, least, most, given.seed):
                path = Path(scratch) / f"{own.name}.kiss2"
                own.save_kiss2(path)
                made.append(Task(own.name, "random", path))
            for task in [*made, *tasks_of(given.files, given.garden, given.only)]:
                results = gardens if task.path is None else machines
                row = measure(task, results, given.limit, given.set, given.again, given.keep)
                print(f"{task.name}: measured before" if row is None else _told(row), flush=True)
    print_tables(machines.rows, gardens.rows)


if __name__ == "__main__":
    main()
