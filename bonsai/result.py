"""`Result`: which network a plant ended with, and what is proven of it (`proof.json`)."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from bonsai.artifact import ArtifactError, load_json
from bonsai.network import Network


@dataclass(frozen=True)
class Result:
    """The fields of `proof.json`.

    certificate: points | boxes, with `certificate_states` entries, or None if not proven
    margin: the least distance of an output from zero on the certificate
    arithmetic: exact | float32 | any float32, what the proof speaks of
    counterexample: {word: input bits of each step, step: the wrong one, from 0, shortest: bool}
    reason: why it is neither proven nor wrong
    grid: steps of weight, bias and initial state
    tried: how many candidates were tried; backed_off: whether coarser ones did not prove
    """

    plant: str
    task: str
    proven: bool
    certificate: str | None
    certificate_states: int | None
    margin: float | None
    arithmetic: str | None
    counterexample: dict[str, Any] | None
    reason: str | None
    restart: int
    candidate: int
    grid: dict[str, float]
    neurons: int
    weights: int
    biases: int
    states: int
    proven_restarts: int
    tried: int
    backed_off: bool

    @classmethod
    def load(cls, path: str | Path) -> "Result":
        """Raises ArtifactError naming the field that `path` lacks."""
        found = load_json(path)
        for name in [f.name for f in fields(cls)]:
            if not isinstance(found, dict) or name not in found:
                raise ArtifactError(f"{path}: has no field '{name}'; rerun the stage prove")
        return cls(**{f.name: found[f.name] for f in fields(cls)})

    def row_in(self, network: Network, path: str | Path) -> int:
        """The row of this result's restart in `network`, which was read from `path`."""
        rows = np.flatnonzero(network.restart == self.restart)
        if len(rows) != 1:
            raise ArtifactError(
                f"{path}: has {len(rows)} rows for restart {self.restart}, expected one; "
                "run `dvc repro` again"
            )
        return int(rows[0])
