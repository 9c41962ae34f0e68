"""Seconds of `clip` and `quantize` of grown plants: `python -m benchmarks.pruning --help`.

The two stages as they are, on all candidates of a plant and 50,000 sequences each, in a
scratch folder. It needs plants that `make repro` has trained.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from benchmarks.results import machine, print_table, save
from stages import PLANTS, clip, plant_parameters, quantize

SEQUENCES = 50_000
READ = ("candidates.npz", "machine.parquet")


def measure(plant: str, plants: Path, sequences: int) -> dict[str, float | str]:
    p: Any = OmegaConf.create(OmegaConf.to_container(plant_parameters(plant)))  # own, to change
    p.clip.sequences = p.quantize.sequences = sequences
    seconds = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in READ:
            shutil.copy(plants / plant / name, scratch)
        for module in (clip, quantize):
            start = time.perf_counter()
            module.stage(p, Path(scratch))
            seconds[module.__name__.split(".")[-1]] = round(time.perf_counter() - start, 2)
    return {"plant": plant, **seconds, "both": round(sum(seconds.values()), 2)}


def run(plants: Path, sequences: int) -> None:
    """Measure every plant that is there, print a table, and write `results/pruning.json`."""
    found = sorted(p.parent.name for p in plants.glob("*/candidates.npz"))
    if not found:
        print(f"clip and quantize: left out, {plants} has no trained plant; `make repro` grows\n")
        return
    described = machine()
    rows = [measure(plant, plants, sequences) for plant in found]
    print(f"clip and quantize of {sequences} sequences each, all candidates")
    names = ("clip", "quantize", "both")
    table = [[str(row["plant"]), *(f"{row[name]:.2f}" for name in names)] for row in rows]
    print_table(["plant", *(f"{name} s" for name in names)], table)
    save("pruning", described, {"sequences": sequences, "results": rows})


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds of clip and quantize of grown plants")
    parser.add_argument("--plants", type=Path, default=PLANTS, help="the folder of the plants")
    parser.add_argument("--sequences", type=int, default=SEQUENCES)
    given = parser.parse_args()
    run(given.plants, given.sequences)


if __name__ == "__main__":
    main()
