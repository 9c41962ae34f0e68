"""Draw the training, validation and test sequences: python -m stages.dataset PLANT"""

from pathlib import Path
from typing import Any

import numpy as np

from bonsai.dataset import SPLITS, draw, save_dataset
from bonsai.machine import Machine
from bonsai.sizing import length
from stages import run_stage


def stage(parameters: Any, folder: Path) -> None:
    p = parameters.dataset
    machine = Machine.load(folder / "machine.parquet")
    rng = np.random.default_rng(p.seed)
    steps = p.length or length(machine)
    lengths = {"train": steps, "validation": steps, "test": p.test_length}
    splits = {name: draw(machine, rng, p[name], lengths[name], p.tilted) for name in SPLITS}
    save_dataset(folder / "dataset.parquet", splits)


if __name__ == "__main__":
    run_stage(stage)
