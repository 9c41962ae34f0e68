"""Round to the coarsest grids that stay exact: python -m stages.quantize PLANT"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bonsai.artifact import save_json, save_table, save_text
from bonsai.dataset import draw
from bonsai.machine import Machine
from bonsai.network import Network
from bonsai.prune import quantize
from kernels.evaluate import Evaluator
from stages import run_stage


def stage(parameters: Any, folder: Path) -> None:
    p = parameters.quantize
    network = Network.load(folder / "clipped.npz")
    machine = Machine.load(folder / "machine.parquet")
    fresh = draw(machine, np.random.default_rng([p.seed, 2]), p.sequences, p.length, p.tilted)
    evaluator = Evaluator(
        network.architecture, network.leak, fresh.inputs, fresh.targets, early=True
    )
    rounded, settings, trials = quantize(network, p.steps, p.keep, evaluator)
    rounded.save(folder / "quantized.npz")

    row = {key: r for r, key in enumerate(_keys(rounded.candidate, settings))}
    tried = _keys(trials.candidate, trials.setting)
    unrounded = [key for key in row if key not in set(tried)]
    every = [*tried, *unrounded]
    restart = dict(zip(rounded.candidate.tolist(), rounded.restart.tolist(), strict=True))
    passed = [*trials.passed, *[None] * len(unrounded)]
    checked = [*trials.checked, *[None] * len(unrounded)]
    save_table(
        folder / "quantize.parquet",
        "quantize",
        {
            "row": pa.array([row.get(key) for key in every], pa.int32()),
            "candidate": pa.array([key[0] for key in every], pa.int32()),
            "restart": pa.array([restart[int(key[0])] for key in every], pa.int32()),
            "weight_step": pa.array([key[1] for key in every], pa.float32()),
            "bias_step": pa.array([key[2] for key in every], pa.float32()),
            "initial_step": pa.array([key[3] for key in every], pa.float32()),
            "passed": pa.array(passed, pa.int32()),
            "checked": pa.array(checked, pa.int32()),
            "exact": pa.array([*trials.exact, *[None] * len(unrounded)], pa.bool_()),
        },
    )
    lines = ["weight_step,exact"]
    for step in sorted(p.steps):
        fits = trials.exact & (trials.setting[:, 0] == np.float32(step))
        lines.append(f"{step},{len(np.unique(trials.candidate[fits]))}")
    save_text(folder / "quantize.csv", "\n".join(lines) + "\n")
    coarsest = trials.setting[trials.exact, 0]
    save_json(
        folder / "quantize.json",
        {
            "rounded": len(rounded),
            "coarsest_weight_step": float(coarsest.max()) if coarsest.size else None,
        },
    )


def _keys(candidate: np.ndarray, settings: np.ndarray) -> list[tuple[float, ...]]:
    """Candidate and the three steps of each row."""
    return [(int(c), *map(float, s)) for c, s in zip(candidate, settings, strict=True)]


if __name__ == "__main__":
    run_stage(stage)
