"""What each ingredient of growing gives: `python -m benchmarks.ablation --help`.

Each plant is grown with the defaults, and with one ingredient after the other left out, from
several seeds, by the stages of `dvc.yaml` in scratch folders, without the search of `polish`. What
changes nothing of training starts from the same trained networks. As many plants as there are jobs
grow at once, each with one thread. Rows go to `results/ablation.json` as they come, and what is
there already, with the same parameters, is not grown again.

    python -m benchmarks.ablation --plants gates cpu2 --seeds 0 1 2
    python -m benchmarks.ablation --markdown      # the table of what was measured
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from benchmarks.growth import Planted, Row, Task, grown, planted, stages
from benchmarks.results import FOLDER, machine, save
from benchmarks.shares import table
from bonsai.artifact import load_json

GARDEN = "post"
RESULTS = FOLDER / "ablation.json"
LIMIT = 900.0  # seconds a row
UNPOLISHED = ["polish.starts=1", "polish.rounds=0"]
NEVER = "[[0.0,0.0],[1.0,0.0]]"
WITHOUT: dict[str, list[str]] = {
    "nothing": [],
    "counterexamples": ["sparsify.counterexamples=0"],
    "hints in sparsify": ["sparsify.hinted=0"],
    "noise in sparsify": [f"sparsify.noise={NEVER}", f"sparsify.hinted_noise={NEVER}"],
    "all noise": [
        f"{stage}.{kind}={NEVER}"
        for stage in ("train", "sparsify")
        for kind in ("noise", "hinted_noise")
    ]
    + [f"sparsify.validation_noise={NEVER}"],
    "pull to -1 and 1": [f"train.binarize={NEVER}", "sparsify.binarize=0"],
    "tilted inputs": ["dataset.tilted=0"],
    "the factor's annealing": [f"train.factor={NEVER}"],
}


@dataclass(frozen=True, eq=False)
class Trial:
    """A plant without one ingredient, its folder, and the one that has its networks, if any."""

    plant: str
    seed: int
    without: str
    base: Path | None
    folder: Path
    planted: Planted


def trials(plants: Sequence[str], seeds: Sequence[int], scratch: Path) -> list[Trial]:
    """All of them, in the order of `WITHOUT`; those without a `base` first make one for others.

    An ingredient that a plant's own parameters do without is not left out again.
    """
    found: list[Trial] = []
    for n, (name, overrides) in enumerate(WITHOUT.items()):
        for plant, seed in product(plants, seeds):
            folder, base = scratch / f"{plant}-{seed}-{n}", scratch / f"{plant}-{seed}-0"
            folder.mkdir()
            said = [f"seed={seed}", *UNPOLISHED, *overrides]
            trained = n > 0 and all(o.startswith("sparsify.") for o in overrides)
            own = planted(Task(plant, GARDEN), folder, said)
            if n > 0 and own.key in {t.planted.key for t in found if t.without == "nothing"}:
                continue
            found.append(Trial(plant, seed, name, base if trained else None, folder, own))
    return found


def row(trial: Trial) -> Row:
    """What came of one trial. Those with a base need it to be there."""
    run = stages()[: stages().index("polish") + 1]
    if trial.base is not None:
        shutil.copytree(trial.base / "data", trial.folder / "data")
        run = run[run.index("train") + 1 :]
    said = {"plant": trial.plant, "seed": trial.seed, "without": trial.without}
    return {**said, "key": trial.planted.key, **grown(trial.planted, trial.folder, LIMIT, run)}


def markdown(rows: Sequence[Row]) -> str:
    """A line an ingredient: of each plant the proven sizes, a seed after the other.

    – is of what was not measured, or of an ingredient that the plant does without by itself.
    """
    plants = list(dict.fromkeys(r["plant"] for r in rows))
    at = {(r["plant"], r["without"], r["seed"]): _size(r) for r in rows}
    seeds = sorted({r["seed"] for r in rows})
    lines = [
        [name, *(", ".join(at.get((p, name, s), "–") for s in seeds) for p in plants)]
        for name in WITHOUT
        if any(r["without"] == name for r in rows)
    ]
    return table(["without", *(f"`{p}`" for p in plants)], lines)


def _size(row: Row) -> str:
    if row["late"]:
        return f"over {row['limit']:g} s"
    return str(row["weights"] + row["biases"]) if row["proven"] else "not proven"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--plants", nargs="+", default=["parens", "gates", "cpu2"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--without", nargs="+", choices=list(WITHOUT), default=list(WITHOUT))
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--markdown", action="store_true", help="print the table, grow nothing")
    given = parser.parse_args()
    if given.markdown:
        if not RESULTS.exists():
            sys.exit(f"{RESULTS}: nothing was measured yet")
        print(markdown(load_json(RESULTS)["rows"]))
        return
    os.environ["POCL_CPU_MAX_CU_COUNT"] = "1"
    described = machine()
    rows: list[Row] = load_json(RESULTS)["rows"] if RESULTS.exists() else []
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(given.jobs) as pool:
        every = trials(given.plants, given.seeds, Path(scratch))
        known = {r["key"] for r in rows}
        waiting = [t for t in every if t.without in given.without and t.planted.key not in known]
        bases = {t.base for t in waiting}
        first = [t for t in every if t.folder in bases or (t in waiting and t.base is None)]
        for some in (first, [t for t in waiting if t.base is not None]):
            for done in as_completed([pool.submit(row, trial) for trial in some]):
                found = done.result()
                rows = [r for r in rows if r["key"] != found["key"]] + [found]
                save("ablation", described, {"rows": sorted(rows, key=_order)})
                print(_told(found), file=sys.stderr)
    print(markdown(sorted(rows, key=_order)))


def _order(row: Row) -> tuple:
    return row["plant"], list(WITHOUT).index(row["without"]), row["seed"]


def _told(row: Row) -> str:
    return f"{row['plant']}, seed {row['seed']}, without {row['without']}: {_size(row)}"


if __name__ == "__main__":
    main()
