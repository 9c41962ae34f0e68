"""`Machine`: the task, a deterministic Mealy machine over vectors of -1 and +1.

Inputs may be illegal in a state, and outputs may be don't-cares. Everything about a task follows
from its tables: data, validation, proof and pictures.
"""

import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bonsai.artifact import ArtifactError, load_table, save_table, save_text

Bits = tuple[bool, ...]

MAX_INPUT_BITS, MAX_OUTPUT_BITS = 12, 1024
MAX_STATES = 100_000
MAX_WALKED = 1 << 24  # states squared times symbols up to which ways are looked for
MAX_TRANSITIONS = 1 << 20  # states times input symbols
MAX_ENTRIES = 1 << 22  # of the table of outputs: transitions times output bits
MAX_REFINING = 1 << 24  # entries of all partitions that minimising goes through
MAX_NAME = 40  # letters of a state's name; longer ones become numbers
TILTS, MAX_TABLE = 256, 1 << 22  # tilted distributions drawn at once, and entries of their table


class MachineError(ValueError):
    """A task cannot be made into a machine, or its file is malformed."""


@dataclass(frozen=True, eq=False)
class Machine:
    """A Mealy machine with Q states, A input symbols of I bits, and O output bits.

    name: the task's name
    inputs, outputs: names of the I input and O output bits
    states: names of the Q states; state 0 is the initial one
    symbols: (A, I) int8, the distinct input vectors, of -1 and +1
    next: (Q, A) int32, the state after reading symbol a in state q; -1 where a is illegal
    output: (Q, A, O) int8, -1 or +1, and 0 for a don't-care
    probability: (Q, A) float64, of symbol a in state q; 0 where it is illegal, rows sum to 1
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    states: tuple[str, ...]
    symbols: np.ndarray
    next: np.ndarray
    output: np.ndarray
    probability: np.ndarray

    def __post_init__(self) -> None:
        q, a = self.next.shape
        shapes = {
            "states": ((len(self.states),), (q,)),
            "symbols": (self.symbols.shape, (a, len(self.inputs))),
            "output": (self.output.shape, (q, a, len(self.outputs))),
            "probability": (self.probability.shape, (q, a)),
        }
        for field, (found, expected) in shapes.items():
            if found != expected:
                raise MachineError(f"machine {self.name}: {field} is {found}, not {expected}")
        if ((self.next < -1) | (self.next >= q)).any():
            raise MachineError(f"machine {self.name}: a transition leads out of its {q} states")
        stuck = np.flatnonzero(~self.legal.any(axis=1))
        if stuck.size:
            raise MachineError(
                f"machine {self.name}: state {self.states[stuck[0]]} has no legal input"
            )
        if (
            not np.allclose(self.probability.sum(axis=1), 1)
            or (self.probability[~self.legal] != 0).any()
        ):
            raise MachineError(f"machine {self.name}: probabilities do not fit the legal inputs")

    @property
    def legal(self) -> np.ndarray:
        """(Q, A) bool"""
        return self.next >= 0

    # ---- construction

    @classmethod
    def from_step(
        cls,
        initial: Hashable,
        step: Callable[[Any, Bits], tuple[Any, Sequence[bool | None]]],
        inputs: Sequence[str],
        outputs: Sequence[str] = ("y",),
        weight: Callable[[Any, Bits], float] = lambda state, bits: 1.0,
        name: str = "task",
    ) -> "Machine":
        """Enumerate the states reachable from `initial` under all legal inputs.

        step(state, bits) returns the next state (hashable) and one bool an output, or None for a
        don't-care.
        weight(state, bits) is the relative probability of the input there; 0 makes it illegal.
        Raises MachineError if there are more than MAX_STATES states, or MAX_TRANSITIONS of them
        and their inputs.

        >>> toggle = Machine.from_step(False, lambda s, x: (s ^ x[0], (s,)), ["x"])
        >>> toggle.next.tolist()
        [[0, 1], [1, 0]]
        """
        if len(inputs) > MAX_INPUT_BITS:
            raise MachineError(f"{name}: {len(inputs)} input bits, at most {MAX_INPUT_BITS}")
        alphabet: list[Bits] = list(itertools.product((False, True), repeat=len(inputs)))
        index: dict[Hashable, int] = {initial: 0}
        found: list[Any] = [initial]
        rows: list[tuple[int, int, int, list[int], float]] = []
        for q, state in enumerate(found):  # `found` grows while it is walked
            for a, bits in enumerate(alphabet):
                w = float(weight(state, bits))
                if not (w == 0 or 1e-9 <= w <= 1e9):
                    raise MachineError(
                        f"{name}: weight of {bits} in state {state!r} is {w}; "
                        "it may be 0, or from 1e-9 to 1e9"
                    )
                if w == 0:
                    continue
                after, y = step(state, bits)
                if len(y) != len(outputs):
                    raise MachineError(
                        f"{name}: step({state!r}, {bits}) gave {len(y)} outputs, "
                        f"not {len(outputs)}"
                    )
                if after not in index:
                    if len(found) == MAX_STATES:
                        raise MachineError(f"{name}: more than {MAX_STATES} reachable states")
                    index[after] = len(found)
                    found.append(after)
                    check_size(name, len(found), len(alphabet), len(outputs))
                signs = [0 if bit is None else 1 if bit else -1 for bit in y]
                rows.append((q, a, index[after], signs, w))
        names = [_state_name(state, q) for q, state in enumerate(found)]
        return cls._from_rows(name, inputs, outputs, names, all_symbols(len(inputs)), rows)

    @classmethod
    def _from_rows(
        cls,
        name: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        states: Sequence[str],
        symbols: np.ndarray,
        rows: Sequence[tuple[int, int, int, list[int], float]],
    ) -> "Machine":
        """Tables from rows (state, symbol, next, output, weight)."""
        check_size(name, len(states), len(symbols), len(outputs))
        size = (len(states), len(symbols))
        after = np.full(size, -1, np.int32)
        output = np.zeros((*size, len(outputs)), np.int8)
        weight = np.zeros(size)
        for q, a, n, y, w in rows:
            after[q, a], output[q, a], weight[q, a] = n, y, w
        return cls.from_tables(name, inputs, outputs, states, symbols, after, output, weight)

    @classmethod
    def from_tables(
        cls,
        name: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        states: Sequence[str],
        symbols: np.ndarray,
        after: np.ndarray,
        output: np.ndarray,
        weight: np.ndarray | None = None,
    ) -> "Machine":
        """As the fields, with `after` for `next`; symbols that are legal nowhere are dropped.

        weight: (Q, A), relative probabilities; without them all legal inputs are equally likely
        """
        used = (after >= 0).any(axis=0)
        after, output = after[:, used], output[:, used]
        weight = (after >= 0).astype(np.float64) if weight is None else weight[:, used]
        total = weight.sum(axis=1, keepdims=True)
        return cls(
            name=name,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            states=tuple(states),
            symbols=symbols[used],
            next=after,
            output=output,
            probability=np.divide(weight, total, out=weight, where=total > 0),
        )

    def partitions(self) -> Iterator[np.ndarray]:
        """(Q,) the states' blocks, those that no word of 1, 2, ... symbols tells apart, until they
        stay. A don't-care output is equal only to a don't-care.

        Raises MachineError if it takes too long: with many states that only long words tell apart.
        Source: Moore, "Gedanken-experiments on sequential machines", 1956.
        """
        rows = np.concatenate(
            [self.legal, self.output.reshape(len(self.states), -1), self.probability], axis=1
        )
        block = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
        for spent in itertools.count(self.next.size, self.next.size):
            yield block
            if spent > MAX_REFINING:
                raise MachineError(
                    f"{self.name}: {len(self.states)} states are too many to be minimised; "
                    "write the task with fewer"
                )
            after = np.where(self.legal, block[self.next], -1)
            finer = np.unique(np.column_stack([block, after]), axis=0, return_inverse=True)[1]
            if finer.max() == block.max():
                return
            block = finer.reshape(-1)

    def minimized(self) -> "Machine":
        """The smallest machine with the same legal inputs, outputs and input probabilities.

        States keep the order in which a breadth-first search meets them. Raises MachineError as
        `partitions` does.
        """
        *_, block = self.partitions()
        order = [0]  # one representative a block, breadth first
        number = {int(block[0]): 0}
        for q in order:
            for n in self.next[q][self.legal[q]]:
                if int(block[n]) not in number:
                    number[int(block[n])] = len(order)
                    order.append(int(n))
        renumber = np.array([number.get(int(b), -1) for b in range(block.max() + 1)])
        after = np.where(self.legal[order], renumber[block[self.next[order]]], -1)
        return Machine(
            name=self.name,
            inputs=self.inputs,
            outputs=self.outputs,
            states=tuple(self.states[q] for q in order),
            symbols=self.symbols,
            next=after.astype(np.int32),
            output=self.output[order],
            probability=self.probability[order],
        )

    # ---- running

    def sample(
        self, rng: np.random.Generator, count: int, length: int, tilted: float = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw `count` words of `length` symbols from the task's input distribution.

        tilted: this share of the words is drawn otherwise. Half of them have a distribution of
        their own over the symbols, itself drawn from Dirichlet(1/4): a few symbols are frequent,
        so that runs are long. The others walk from one transition to the next, each drawn from
        all of them alike, on a shortest way: so that what random words hardly meet is met.
        Returns the symbols (count, length) and the states (count, length + 1), both int32.
        Whole columns are looked up in a cumulative table: 50,000 words of 60 steps take 0.2 s.
        """
        q, a = self.next.shape
        tilts = min(TILTS, 1 + MAX_TABLE // (q * a)) if tilted else 0
        share = np.concatenate([np.ones((1, a)), rng.dirichlet(np.full(a, 0.25), tilts) + 1e-6])
        probability = np.where(self.legal, share[1:, None], 0)  # (tilts, Q, A)
        cumulative = np.cumsum(np.concatenate([self.probability[None], probability]), axis=2)
        cumulative /= cumulative[:, :, -1:]
        table = (np.arange((1 + tilts) * q) + cumulative.reshape(-1, a).T).T.reshape(-1)
        kind = np.zeros(count, np.int64)  # 0: the task's own distribution
        kind[: round(tilted * count)] = rng.integers(1, tilts + 1, round(tilted * count))
        kind = rng.permutation(kind) if tilted else kind
        walking = (kind % 2 == 1) & (q * q * a <= MAX_WALKED)
        towards = self.towards() if walking.any() else np.zeros((1, 1), np.int32)
        edges = np.argwhere(self.legal)
        goal = edges[rng.integers(0, len(edges), count)].T  # (2, count): state and symbol
        symbols = np.empty((length, count), np.int32)
        states = np.zeros((length + 1, count), np.int32)
        for t in range(length):
            uniform = rng.integers(0, 1 << 32, count, dtype=np.uint64) / 2.0**32
            row = kind * q + states[t]
            symbols[t] = np.searchsorted(table, row + uniform, side="right") - row * a
            if walking.any():
                there = walking & (states[t] == goal[0])
                way = np.where(walking, towards[states[t] * walking, goal[0] * walking], -1)
                symbols[t] = np.where(there, goal[1], np.where(way >= 0, way, symbols[t]))
                new = there | (walking & (way < 0))  # arrived, or there is no way
                goal[:, new] = edges[rng.integers(0, len(edges), int(new.sum()))].T
            states[t + 1] = self.next[states[t], symbols[t]]
        return symbols.T.copy(), states.T.copy()

    def towards(self) -> np.ndarray:
        """(Q, Q) int32: the first symbol of a shortest way from a state to another; -1 for none,
        or where they are the same."""
        first = np.full((len(self.states),) * 2, -1, np.int32)
        reached = np.eye(len(self.states), dtype=bool)
        while True:  # one step longer every time
            new = np.zeros_like(reached)
            for a in range(len(self.symbols)):
                beyond = reached[np.maximum(self.next[:, a], 0)] & self.legal[:, a : a + 1]
                fresh = beyond & ~reached & (first < 0)
                first[fresh] = a
                new |= fresh
            if not new.any():
                return first
            reached |= new

    def run(self, word: Sequence[int]) -> tuple[list[int], np.ndarray]:
        """States (length + 1) and outputs (length, O) of one word of symbol indices.

        Raises MachineError at the first illegal symbol.
        """
        states, outputs = [0], []
        for t, a in enumerate(word):
            q = states[-1]
            if not 0 <= a < len(self.symbols) or self.next[q, a] < 0:
                raise MachineError(f"{self.name}: symbol {a} at step {t} is illegal in state {q}")
            outputs.append(self.output[q, a])
            states.append(int(self.next[q, a]))
        return states, np.array(outputs, np.int8).reshape(len(word), len(self.outputs))

    def edges(self) -> Iterator[tuple[int, int, int]]:
        """Every legal (state, symbol, next state)."""
        for q, a in zip(*np.nonzero(self.legal), strict=True):
            yield int(q), int(a), int(self.next[q, a])

    # ---- files

    def save(self, path: str | Path) -> None:
        """Write the transition table as Parquet: one row a legal transition."""
        rows = list(self.edges())
        save_table(
            path,
            "machine",
            {
                "state": pa.array([q for q, _, _ in rows], pa.int32()),
                "symbol": pa.array([a for _, a, _ in rows], pa.int32()),
                "next": pa.array([n for _, _, n in rows], pa.int32()),
                "input": pa.array(
                    [self.symbols[a].tolist() for _, a, _ in rows], pa.list_(pa.int8())
                ),
                "output": pa.array(
                    [self.output[q, a].tolist() for q, a, _ in rows], pa.list_(pa.int8())
                ),
                "probability": pa.array([self.probability[q, a] for q, a, _ in rows]),
            },
            {
                "name": self.name,
                "inputs": self.inputs,
                "outputs": self.outputs,
                "states": self.states,
                "symbols": self.symbols.tolist(),
            },
        )

    @classmethod
    def load(cls, path: str | Path) -> "Machine":
        columns = ["state", "symbol", "next", "output", "probability"]
        table, about = load_table(path, "machine", columns)
        try:
            inputs, outputs, states = (
                _words(about, key) for key in ("inputs", "outputs", "states")
            )
            symbols = np.array(about["symbols"])
            symbols = symbols.reshape(len(about["symbols"]), len(inputs))
            if not np.isin(symbols, (-1, 1)).all() or len(np.unique(symbols, axis=0)) < len(
                symbols
            ):
                raise ValueError("symbols are not distinct vectors of -1 and 1")
            rows = list(zip(*(table[c].to_pylist() for c in columns), strict=True))
            for q, a, _, y, w in rows:
                if not (0 <= q < len(states) and 0 <= a < len(symbols) and 0 <= w < np.inf):
                    raise ValueError(f"no state {q}, symbol {a} with probability {w}")
                if len(y) != len(outputs) or set(y) - {-1, 0, 1}:
                    raise ValueError(f"output {y} in state {q}")
            name, symbols = str(about["name"]), symbols.astype(np.int8)
            return cls._from_rows(name, inputs, outputs, states, symbols, rows)
        except (KeyError, TypeError, IndexError, ValueError, OverflowError) as e:
            raise ArtifactError(f"{path}: not a valid machine: {e}") from e

    def to_kiss2(self) -> str:
        """The machine as KISS2 text, one row a legal transition, `-` for don't-care outputs."""
        from bonsai.kiss2 import kiss2_text  # which makes machines itself

        return kiss2_text(self)

    def save_kiss2(self, path: str | Path) -> None:
        save_text(path, self.to_kiss2())

    @classmethod
    def from_kiss2(cls, path: str | Path) -> "Machine":
        """Read a KISS2 file. Raises MachineError naming the line that is wrong."""
        from bonsai.kiss2 import read_kiss2

        return read_kiss2(Path(path))


def all_symbols(bits: int) -> np.ndarray:
    """(2**bits, bits) int8, every input symbol; the first bit changes last.

    >>> all_symbols(2).tolist()
    [[-1, -1], [-1, 1], [1, -1], [1, 1]]
    """
    every = np.indices((2,) * bits, np.int8).reshape(bits, 1 << bits)
    return np.ascontiguousarray(every.T * 2 - 1)


def shortened(value: object) -> str:
    """A value in quotes, in one line of at most 60 letters, for a message."""
    text = " ".join(str(value).split())
    return f"'{text if len(text) <= 60 else text[:57] + '...'}'"


def check_size(where: str, states: int, symbols: int, outputs: int) -> None:
    if states > MAX_STATES:
        raise MachineError(f"{where}: more than {MAX_STATES} states")
    if states * symbols > MAX_TRANSITIONS:
        raise MachineError(
            f"{where}: {states} states or more with {symbols} input symbols each; "
            f"together at most {MAX_TRANSITIONS}"
        )
    if states * symbols * outputs > MAX_ENTRIES:
        raise MachineError(
            f"{where}: {states} states or more with {symbols} input symbols and {outputs} "
            f"outputs each; together at most {MAX_ENTRIES}"
        )


def _state_name(state: Hashable, number: int) -> str:
    """What Booleans, numbers and words say; else a number, the same in every run."""
    if isinstance(state, tuple):
        parts = [_state_name(part, -1) for part in state]
        text = "".join(parts) if all(parts) else ""
    elif isinstance(state, bool):
        text = str(int(state))
    else:
        short = isinstance(state, int) and abs(state) < 10**MAX_NAME
        text = str(state) if short or isinstance(state, str) else ""
    return text if 0 < len(text) <= MAX_NAME or number < 0 else f"s{number}"


def _words(about: Any, key: str) -> list[str]:
    found = about[key]
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{key} are not a list of names")
    return found
