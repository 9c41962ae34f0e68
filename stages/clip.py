"""Clip weights, then biases, as high as the network stays exact: python -m stages.clip PLANT"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bonsai.artifact import save_json, save_table, save_text
from bonsai.dataset import draw
from bonsai.machine import Machine
from bonsai.network import Network
from bonsai.prune import Trials, clip
from kernels.evaluate import Evaluator
from stages import run_stage

CURVE = np.round(np.geomspace(0.01, 4, 40), 4)


def stage(parameters: Any, folder: Path) -> None:
    p = parameters.clip
    network = Network.load(folder / "candidates.npz")
    machine = Machine.load(folder / "machine.parquet")
    fresh = draw(machine, np.random.default_rng([p.seed, 1]), p.sequences, p.length, p.tilted)
    evaluator = Evaluator(
        network.architecture, network.leak, fresh.inputs, fresh.targets, early=True
    )
    kinds, found = ("weight", "bias"), []
    for kind in kinds:
        network, trials = clip(network, kind, evaluator)
        found.append(trials)
    network.save(folder / "clipped.npz")
    save_table(
        folder / "clip.parquet",
        "clip",
        {
            "restart": pa.array(np.concatenate([t.restart for t in found])),
            "candidate": pa.array(np.concatenate([t.candidate for t in found])),
            "kind": pa.array([k for k, t in zip(kinds, found, strict=True) for _ in t.restart]),
            "threshold": pa.array(np.concatenate([t.setting for t in found])),
            "passed": pa.array(np.concatenate([t.passed for t in found])),
            "checked": pa.array(np.concatenate([t.checked for t in found])),
            "exact": pa.array(np.concatenate([t.exact for t in found])),
        },
    )
    rows = [
        f"{kind},{threshold},{exact_candidates(trials, threshold)}"
        for kind, trials in zip(kinds, found, strict=True)
        for threshold in CURVE
    ]
    save_text(folder / "clip.csv", "\n".join(["kind,threshold,exact", *rows]) + "\n")
    weights = [
        np.count_nonzero(network.parameters[:, network.architecture.mask(k)], axis=1)
        for k in kinds
    ]
    smallest = int(np.argmin(sum(weights)))
    save_json(
        folder / "clip.json",
        {
            "exact_candidates": len(network) if found[0].exact.any() else 0,
            "smallest_weights": int(weights[0][smallest]),
            "smallest_biases": int(weights[1][smallest]),
        },
    )


def exact_candidates(trials: Trials, threshold: float) -> int:
    """How many candidates are exact with everything up to this threshold clipped."""
    count = 0
    for candidate in np.unique(trials.candidate):
        below = (trials.candidate == candidate) & (trials.setting <= threshold)
        if below.any():
            highest = np.flatnonzero(below)[np.argmax(trials.setting[below])]
            count += bool(trials.exact[highest])
    return count


if __name__ == "__main__":
    run_stage(stage)
