"""Hints: what state neurons may stand for, taught while a network is trained.

A task's outputs say little of its state, and late: whether a sum modulo 7 was kept right shows
steps after it went wrong. But the machine is known, and so is its state in every step of every
sequence. A *feature* is a bit of it, a function from the machine's states to -1 and +1. Some
restarts are given a *code*: features, enough to tell all states of the machine apart, one for each
of some of their state neurons. While they are trained, these neurons learn to compute their
feature, and the next step starts from the feature itself (teacher forcing, Williams and Zipser
1989), with noise, so that each step is learned by itself and corrects what the one before got
slightly wrong. Each restart has a code of its own, as it has its own first weights, and others
have none and find their own. After training nothing is left of the hints but the weights.

Where the machine counts (`bonsai.counter`), a feature may also be a number, the level of the
counter, whose code has the outputs that it depends on beside it.

Source: Abu-Mostafa, "Learning from hints in neural networks", 1990.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bonsai.artifact import ArtifactError, load_arrays, save_arrays
from bonsai.counter import Counter, counter
from bonsai.dataset import Sequences
from bonsai.machine import Machine
from bonsai.network import Architecture

MOST = 48  # features of a machine
TOLD = 24  # of these that outputs tell, at most
CODES = ("table", "code", "slope")  # arrays of a file of codes
TRIES = 64  # codes drawn for a restart until one tells all states apart


@dataclass(frozen=True, eq=False)
class Hints:
    """features: (N, T, K), after each step; int8, -1 or +1, or float32 where a counter is taught

    code: (R, S) int32, the feature that each state neuron is taught, -1 for none
    """

    features: np.ndarray
    code: np.ndarray

    def told(self, rows: np.ndarray) -> np.ndarray:
        """(R, len(rows), T, S): the features themselves, 0 for none, and next to it for zero."""
        chosen = self.features[rows][:, :, np.maximum(self.code, 0)]  # (B, T, R, S)
        chosen = np.where(chosen == 0, np.finfo(np.float32).tiny, chosen)
        return np.where(self.code >= 0, chosen, 0).transpose(2, 0, 1, 3)


@dataclass(frozen=True, eq=False)
class Codes:
    """table: (Q, K) int8, -1 or +1, each feature in each state of the machine

    code: (R, S) int32, the feature that each state neuron of a restart is taught, -1 for none
    slope: (O, K) float32, how features depend on the outputs of the step as well, table[q] +
    y.slope, where a counter is taught, and (0, K) elsewhere; table is float32 with it
    """

    table: np.ndarray
    code: np.ndarray
    slope: np.ndarray

    @property
    def hinted(self) -> np.ndarray:
        """(R,) bool"""
        return np.asarray((self.code >= 0).any(axis=1))

    @property
    def counts(self) -> bool:
        """Whether a counter is taught."""
        return len(self.slope) > 0

    def hints(self, data: Sequences) -> Hints | None:
        """For these sequences; None if no restart has hints."""
        return Hints(self.features(data), self.code) if self.hinted.any() else None

    def features(self, data: Sequences) -> np.ndarray:
        """(N, T, K). Raises ArtifactError if the machine has no such states."""
        if data.states.max(initial=0) >= len(self.table):
            raise ArtifactError(
                f"hints for {len(self.table)} states and sequences with {data.states.max() + 1}: "
                "they are of different tasks; run `dvc repro` again"
            )
        found = np.asarray(self.table[data.states])
        return found + data.targets.astype(np.float32) @ self.slope if self.counts else found

    def first(self, machine: Machine) -> np.ndarray:
        """(R, S) float32: what states that are taught a feature are before the first step."""
        value = np.full(self.table.shape[1], -1, np.float32)
        if self.counts and (own := counter(machine)) is not None:
            value = self.table[0] + own.before.astype(np.float32) @ self.slope
        return np.append(value, np.float32(0))[self.code]

    def rows(self, index: np.ndarray) -> "Codes":
        """Of the restarts at these positions, or under this mask."""
        return Codes(self.table, self.code[index], self.slope)

    @classmethod
    def bits(cls, table: np.ndarray, code: np.ndarray) -> "Codes":
        """Of features that are functions of the machine's state, and -1 or +1."""
        return cls(table, code, np.zeros((0, table.shape[1]), np.float32))

    @classmethod
    def none(cls, architecture: Architecture, restarts: int) -> "Codes":
        """All restarts are free."""
        states = sum(s for _, s in architecture.cells)
        return cls.bits(np.zeros((1, 0), np.int8), np.full((restarts, states), -1, np.int32))

    @classmethod
    def joined(cls, every: Iterable["Codes"]) -> "Codes":
        """The restarts of all of them, in order, of one machine."""
        parts = list(every)
        first = np.cumsum([0, *(part.table.shape[1] for part in parts)])
        codes = [np.where(p.code >= 0, p.code + n, -1) for p, n in zip(parts, first, strict=False)]
        tables, slopes = ([getattr(p, n) for p in parts] for n in ("table", "slope"))
        return cls(
            np.concatenate(tables, axis=1),
            np.concatenate(codes).astype(np.int32),
            np.concatenate(slopes, axis=1),
        )

    def save(self, path: str | Path) -> None:
        save_arrays(path, "hints", {name: getattr(self, name) for name in CODES})

    @classmethod
    def load(cls, path: str | Path) -> "Codes":
        """Raises ArtifactError if the file is missing or broken."""
        found = load_arrays(path, "hints", [*CODES])
        table, code, slope = (found[name] for name in CODES)
        kind = np.float32 if len(slope) else np.int8
        if (
            (table.dtype, code.dtype, slope.dtype) != (kind, np.int32, np.float32)
            or (table.ndim, code.ndim, slope.ndim) != (2, 2, 2)
            or table.shape[1] != slope.shape[1]
            or not (np.isfinite(table) if len(slope) else np.abs(table) == 1).all()
            or not np.isfinite(slope).all()
            or code.min(initial=-1) < -1
            or code.max(initial=-1) >= table.shape[1]
        ):
            raise ArtifactError(f"{path}: no valid hints; delete it, then `dvc repro` again")
        return cls(table, code, slope)


def counted(own: Counter, restarts: int) -> Codes:
    """The level of a counter, and the outputs that it depends on, in the first states of each."""
    read = np.flatnonzero(own.slope)
    table = np.zeros((len(own.level), 1 + len(read)), np.float32)
    slope = np.zeros((len(own.slope), 1 + len(read)), np.float32)
    table[:, 0], slope[:, 0] = own.level, own.slope
    slope[read, 1 + np.arange(len(read))] = 1
    code = np.tile(np.arange(1 + len(read), dtype=np.int32), (restarts, 1))
    return Codes(table, code, slope)


def codes(
    machine: Machine, sizes: list[int], restarts: int, share: float, rng: np.random.Generator
) -> Codes:
    """Codes for a share of the restarts; for none where there is nothing to tell.

    sizes: number of states of each cell; a code is all in one cell that has room for it
    """
    code = np.full((restarts, sum(sizes)), -1, np.int32)
    needed = (len(machine.states) - 1).bit_length()
    rooms = [k for k, size in enumerate(sizes) if size >= needed]
    if not rooms or needed == 0:
        return Codes.bits(np.zeros((len(machine.states), 0), np.int8), code)
    table, kinds = features(machine, rng)
    for row in range(round(share * restarts)):
        k = int(rng.choice(rooms))
        own = _code(table, kinds, sizes[k], row, rng)
        first = sum(sizes[:k])
        code[row, first : first + len(own)] = own
    return Codes.bits(np.ascontiguousarray(table.T), code)


def features(machine: Machine, rng: np.random.Generator) -> tuple[np.ndarray, list[slice]]:
    """(K, Q) int8, no two alike or opposite, and where three kinds of them are: what
    outputs tell, each state apart, and random halves. All are -1 in the initial state.

    What outputs tell: an output bit after a symbol, and these of the state that another symbol
    leads to (Hartmanis and Stearns, "Algebraic Structure Theory of Sequential Machines", 1966).
    """
    after, count = machine.next, len(machine.states)
    found: dict[bytes, np.ndarray] = {}

    def add(bit: np.ndarray, most: int) -> bool:
        """bit: (Q,) bool"""
        value = np.where(bit == bit[0], -1, 1).astype(np.int8)
        new = bool((value > 0).any()) and value.tobytes() not in found and len(found) < most
        if new:
            found[value.tobytes()] = value
        return new

    _, a, o = machine.output.shape
    queue = [machine.output[:, i, j] > 0 for i in range(a) for j in range(o)]
    for bit in queue:  # grows while it is walked
        if add(bit, TOLD):
            queue += [np.where(to >= 0, bit[to], bit[0]) for to in after.T]
    ends = [len(found)]
    for state in range(min(count, (MOST - TOLD) // 2)):
        add(np.arange(count) == state, MOST)
    ends.append(len(found))
    for _ in range(MOST):
        add(rng.permutation(count) < rng.integers(1, count), MOST)
    ends.append(len(found))
    table = np.array(list(found.values()), np.int8).reshape(-1, count)
    return table, [slice(0, ends[0]), slice(ends[0], ends[1]), slice(ends[1], ends[2])]


def _code(
    table: np.ndarray, kinds: list[slice], room: int, row: int, rng: np.random.Generator
) -> list[int]:
    """Features (indices) that tell all states apart; none if no such code is found for the room.

    By turns, from restart (row) to restart: as few as will do of what outputs tell, then of any;
    and as many of what outputs tell as there is room for, or of the states apart. Where there is
    no room to spare, as few as will do: the first ones that outputs tell, which are registers if
    there are any, or any that they tell.
    """
    told, alone, _ = kinds
    every = list(range(len(table)))
    tight = 1 << room < 2 * table.shape[1]
    for tries in range(TRIES):
        kind = (4, 0)[(row + tries) % 2] if tight else (row + tries // 2) % 4
        order = [
            [*rng.permutation(every[told]), *rng.permutation(every[told.stop :])],
            [*rng.permutation(every)],
            [*every[told], *rng.permutation(every[told.stop :])],
            [*rng.permutation(every[alone]), *rng.permutation(every[told])],
            every,
        ][kind]
        own: list[int] = []
        klass = np.zeros(table.shape[1], np.int64)
        for k in order:
            finer = np.unique(klass * 2 + (table[k] > 0), return_inverse=True)[1].reshape(-1)
            if len(own) < room and (finer.max() > klass.max() or (kind == 2 and k < told.stop)):
                own.append(int(k))
                klass = finer
        if klass.max() + 1 == table.shape[1]:
            return own
    return []
