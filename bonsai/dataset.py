"""Sequences drawn from a machine: inputs and the outputs expected at every step."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute

from bonsai.artifact import ArtifactError, load_table, one_line, save_table
from bonsai.machine import Machine

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Sequences:
    """inputs: (N, T, I) int8 of -1/+1; targets: (N, T, O) int8, 0 for a don't-care

    states: (N, T) int32, the machine's state after each step
    """

    inputs: np.ndarray
    targets: np.ndarray
    states: np.ndarray

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def length(self) -> int:
        """T"""
        return self.inputs.shape[1]


def draw(
    machine: Machine, rng: np.random.Generator, count: int, length: int, tilted: float = 0
) -> Sequences:
    """`count` fresh words of `length` symbols; see `Machine.sample`."""
    symbols, states = machine.sample(rng, count, length, tilted)
    y = machine.output[states[:, :-1], symbols]
    return Sequences(machine.symbols[symbols], y, states[:, 1:])


def save_dataset(path: str | Path, splits: dict[str, Sequences]) -> None:
    """Write Parquet: a row a sequence; inputs, targets and states flattened step by step."""
    shapes = {
        name: [*s.inputs.shape[1:], s.targets.shape[2]] for name, s in splits.items()
    }  # T, I, O
    save_table(
        path,
        "dataset",
        {
            "split": pa.array([name for name, s in splits.items() for _ in range(len(s))]),
            "inputs": _lists([s.inputs for s in splits.values()], pa.int8()),
            "targets": _lists([s.targets for s in splits.values()], pa.int8()),
            "states": _lists([s.states for s in splits.values()], pa.int32()),
        },
        shapes,
    )


def load_dataset(path: str | Path, split: str) -> Sequences:
    """One split. Raises ArtifactError if the file or the split is missing or broken."""
    table, shapes = load_table(path, "dataset", ["split", "inputs", "targets", "states"])
    try:
        t, i, o = (int(size) for size in shapes[split])
        if min(t, i, o) < 0:
            raise ValueError(f"its shape is {t}, {i}, {o}")
        chosen = table.filter(pa.compute.equal(table["split"], split))
        n = len(chosen)
        return Sequences(
            _flat(chosen["inputs"], pa.int8()).reshape(n, t, i),
            _flat(chosen["targets"], pa.int8()).reshape(n, t, o),
            _flat(chosen["states"], pa.int32()).reshape(n, t),
        )
    except (ArithmeticError, KeyError, TypeError, ValueError, pa.ArrowException) as e:
        raise ArtifactError(f"{path}: no valid split '{split}': {one_line(e)}") from e


def _lists(arrays: list[np.ndarray], kind: pa.DataType) -> pa.Array:
    lengths = np.concatenate([np.full(len(a), a[0].size if len(a) else 0) for a in arrays])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    flat = np.concatenate([a.reshape(-1) for a in arrays])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, kind))


def _flat(column: pa.ChunkedArray, kind: pa.DataType) -> np.ndarray:
    if column.type != pa.list_(kind):
        raise ValueError(f"a column holds {column.type}, not lists of {kind}")
    values = column.combine_chunks().flatten()
    if values.null_count:
        raise ValueError("a list has gaps")
    return np.array(values.to_numpy())
