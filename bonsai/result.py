"""`Result`: which network a plant ended with, and what is proven of it (`proof.json`)."""

from dataclasses import dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import numpy as np

from bonsai.artifact import ArtifactError, load_json, one_line
from bonsai.network import Network


@dataclass(frozen=True)
class Result:
    """The fields of `proof.json`.

    certificate: points | boxes, with `certificate_states` entries, or None if not proven
    margin: the least distance of an output from zero on the certificate
    arithmetic: exact | float32 | any float32, what the proof speaks of
    counterexample: {word: input bits of each step, step: the wrong one, from 0, shortest: bool}
    reason: why it is neither proven nor wrong
    restart, candidate: of training and of the stage sparsify
    rounded: steps that weights, biases and initial states were rounded to by the stage quantize
    grid: coarsest steps that hold all of them in the end
    weights_pruned, biases_pruned: before the stage polish
    tried: how many rounded candidates were tried
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
    rounded: dict[str, float]
    grid: dict[str, float]
    neurons: int
    weights: int
    biases: int
    states: int
    weights_pruned: int
    biases_pruned: int
    proven_restarts: int
    tried: int

    @classmethod
    def load(cls, path: str | Path) -> "Result":
        """Raises ArtifactError naming the field that `path` lacks, or that is of another type."""
        found = load_json(path)
        for f in fields(cls):
            if not isinstance(found, dict) or f.name not in found:
                raise ArtifactError(f"{path}: has no field '{f.name}'; rerun the stage polish")
            if not _fits(found[f.name], f.type):
                raise ArtifactError(
                    f"{path}: {f.name} is {one_line(found[f.name])}; rerun the stage polish"
                )
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


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value of JSON is of the type of a field, such as `float | None`."""
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    types = {get_origin(k) or k for k in kinds}
    if isinstance(value, bool):
        return bool in types
    return isinstance(value, tuple(types | ({int} if float in types else set())))
