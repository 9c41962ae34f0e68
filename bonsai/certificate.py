"""What `bonsai.prove` finds: a certificate, a counterexample, or neither within its budget."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bonsai.artifact import ArtifactError, load_arrays, save_arrays


@dataclass(frozen=True, eq=False)
class Certificate:
    """A finite invariant of K entries.

    kind: "points" (each box is one float32 state) or "boxes"
    arithmetic: which evaluations it speaks of: "exact" (no operation rounds, so that neither order
    nor precision matter), "float32" (the order of `Graph.values`) or "any float32" (any order of
    the sums, with or without fused multiply-add)
    machine_state: (K,) int32
    low, high: (K, S) float64, the box of network states of each entry
    transitions: (M, 3) int32, rows of entry, symbol and next entry, in this order and sorted; the
    boxes of all entries that a symbol leads to hold, together, what the entry's box becomes
    margin: least |y| of an output checked, or a lower bound of it; inf if none is checked
    """

    kind: str
    arithmetic: str
    machine_state: np.ndarray
    low: np.ndarray
    high: np.ndarray
    transitions: np.ndarray
    margin: float

    def __len__(self) -> int:
        return len(self.machine_state)

    @classmethod
    def empty(cls, states: int) -> "Certificate":
        """Of kind "none", without entries: in the file of a graph that is not proven."""
        box = np.zeros((0, states))
        none = np.zeros((0, 3), np.int32)
        return cls("none", "none", np.zeros(0, np.int32), box, box, none, 0.0)

    def save(self, path: str | Path) -> None:
        save_arrays(
            path,
            "certificate",
            {
                "certificate": np.array([self.kind, self.arithmetic]),
                "machine_state": self.machine_state,
                "low": self.low,
                "high": self.high,
                "transitions": self.transitions,
                "margin": np.array(self.margin),
            },
        )

    @classmethod
    def load(cls, path: str | Path) -> "Certificate":
        """Read what `save` wrote. Raises ArtifactError; only `check` says whether it holds."""
        names = ["certificate", "machine_state", "low", "high", "transitions", "margin"]
        found = load_arrays(path, "certificate", names)
        try:
            kind, arithmetic = (str(name) for name in found["certificate"])
            q, low, high, transitions = (found[name] for name in names[1:-1])
            if [a.ndim for a in (q, low, high, transitions)] != [1, 2, 2, 2]:
                raise ValueError("an array has the wrong number of axes")
            return cls(kind, arithmetic, q, low, high, transitions, float(found["margin"]))
        except (TypeError, ValueError) as e:
            raise ArtifactError(f"{path}: not a valid certificate: {e}") from e


@dataclass(frozen=True)
class Counterexample:
    """word: symbols of the machine; the output is wrong (or 0) at the last, and at none before it

    shortest: whether every shorter word is known to be right
    """

    word: tuple[int, ...]
    shortest: bool


@dataclass(frozen=True)
class Undecided:
    """reason: which budget was spent, and how far it reached"""

    reason: str


def margin(low: np.ndarray, high: np.ndarray, target: np.ndarray) -> float:
    """Least signed bound of outputs in [low, high], (N, O), that should be `target`.

    target: (N, O), -1, +1, or 0 where the output is not checked
    Returns -inf where a bound is no number, inf if nothing is checked.
    """
    bound = np.where(target > 0, low, -high)[target != 0]
    return float(np.min(np.where(np.isnan(bound), -np.inf, bound), initial=np.inf))
