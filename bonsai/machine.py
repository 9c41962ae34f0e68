"""`Machine`: the task, a deterministic Mealy machine over vectors of -1 and +1.

Inputs may be illegal in a state, and outputs may be don't-cares. Everything about a task follows
from its tables: data, validation, proof and pictures.
"""

import itertools
import re
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
MAX_WALKED = 1024  # states of a machine up to which ways between them are looked for
MAX_TRANSITIONS = 1 << 20  # states times input symbols
MAX_ENTRIES = 1 << 22  # of the table of outputs: transitions times output bits
MAX_REFINING = 1 << 24  # entries of all partitions that minimising goes through
MAX_BYTES = 1 << 22  # of a file
SIGN = {"0": -1, "-": 0, "1": 1}
ANY = ("*", "-")  # in the place of a state's name
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
                    _check_size(name, len(found), len(alphabet), len(outputs))
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
        _check_size(name, len(states), len(symbols), len(outputs))
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

    def minimized(self) -> "Machine":
        """The smallest machine with the same legal inputs, outputs and input probabilities.

        Moore's partition refinement; a don't-care output is equal only to a don't-care. States
        keep the order in which a breadth-first search meets them. Raises MachineError if it takes
        too long: with many states that only long words tell apart.
        """
        spent = 0
        rows = np.concatenate(
            [self.legal, self.output.reshape(len(self.states), -1), self.probability], axis=1
        )
        block = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
        while True:
            spent += self.next.size
            if spent > MAX_REFINING:
                raise MachineError(
                    f"{self.name}: {len(self.states)} states are too many to be minimised; "
                    "write the task with fewer"
                )
            after = np.where(self.legal, block[self.next], -1)
            finer = np.unique(np.column_stack([block, after]), axis=0, return_inverse=True)[1]
            finer = finer.reshape(-1)
            if finer.max() == block.max():
                break
            block = finer
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
        walking = (kind % 2 == 1) & (q <= MAX_WALKED)
        towards = self._towards() if walking.any() else np.zeros((1, 1), np.int32)
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

    def _towards(self) -> np.ndarray:
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
        digits = {-1: "0", 0: "-", 1: "1"}
        names = _kiss2_state_names(self.states)
        rows = [
            " ".join(
                [
                    "".join(digits[int(b)] for b in self.symbols[a]),
                    names[q],
                    names[n],
                    "".join(digits[int(b)] for b in self.output[q, a]),
                ]
            ).strip()
            for q, a, n in self.edges()
        ]
        head = [
            f"# {' '.join(self.name.split())}",
            f".i {len(self.inputs)}",
            f".o {len(self.outputs)}",
            f".p {len(rows)}",
            f".s {len(self.states)}",
            f".r {names[0]}",
        ]
        if self.inputs:
            head.append(".ilb " + " ".join(self.inputs))
        return "\n".join([*head, ".ob " + " ".join(self.outputs), *rows, ".e"]) + "\n"

    def save_kiss2(self, path: str | Path) -> None:
        save_text(path, self.to_kiss2())

    @classmethod
    def from_kiss2(cls, path: str | Path) -> "Machine":
        """Read a KISS2 file. Raises MachineError naming the line that is wrong."""
        return parse_kiss2(read_text(path), Path(path).stem, str(path))


# ---- text files


def read_text(path: str | Path) -> str:
    """A task's file. Raises MachineError if it cannot be read, or is larger than MAX_BYTES."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8")
    except (OSError, ValueError) as e:
        raise MachineError(f"{path}: cannot be read: {e}") from e
    if len(content) > MAX_BYTES:
        raise MachineError(f"{path}: is larger than {MAX_BYTES} bytes; is it a task at all?")
    return text


def parse_kiss2(text: str, name: str = "task", where: str | None = None) -> Machine:
    """A `Machine` from KISS2 text: `.i .o .s .p .r`, rows `input current next output`.

    `-` is a don't-care: in an input it stands for both bits, in an output that bit is not checked.
    A current state `*` stands for every state that is named. An input without a row is illegal
    there. All legal inputs of a state are equally likely. `where` is what errors call the file.
    Source: the SIS manual, Berkeley 1992.
    """
    where = name if where is None else where
    header: dict[str, str] = {}
    rows: list[tuple[int, str, str, str, str]] = []
    for number, line in lines(text):
        if line[0].startswith("."):
            header[line[0]] = " ".join(line[1:])
            continue
        if header.get(".i") == "0" and len(line) == 3:
            line.insert(0, "")
        if len(line) != 4:
            raise MachineError(f"{where}, line {number}: expected `input current next output`")
        cube, current, after, out = line
        rows.append((number, cube, current, after, out))
    inputs, outputs = fields(header, where)
    if not rows:
        raise MachineError(f"{where}: has no transitions")
    initial = header.get(".r") or rows[0][2]
    if any(current in ANY for _, _, current, _, _ in rows):
        named = [initial, *itertools.chain.from_iterable((row[2], row[3]) for row in rows)]
        named = [state for state in dict.fromkeys(named) if state not in ANY]
        wild = sum(row[2] in ANY for row in rows)
        if wild * len(named) > MAX_TRANSITIONS:
            raise MachineError(f"{where}: {wild} rows for every one of {len(named)} states")
        rows = [
            (number, cube, state, after, out)
            for number, cube, current, after, out in rows
            for state in (named if current in ANY else [current])
        ]
    size = 1 << len(inputs)
    expanded = 0
    kinds: dict[tuple[str, str], int] = {}  # of rows: next state and output
    table: dict[str, np.ndarray] = {}  # a state's (A,) kinds, -1 without a row
    for number, cube, current, after, out in rows:
        row_at = f"{where}, line {number}"
        if len(out) != len(outputs) or set(out) - set("01-"):
            raise MachineError(f"{row_at}: {shortened(out)} is not {len(outputs)} of 0, 1, -")
        if after in ANY:
            raise MachineError(
                f"{row_at}: the next state is '{after}'; name one, or leave the row out, "
                "which makes the input illegal there"
            )
        a = cube_symbols(cube, len(inputs), row_at)
        expanded += len(a)
        if current not in table:
            _check_size(where, len(table) + 1, size, len(outputs))
            table[current] = np.full(size, -1, np.int32)
        if expanded > 2 * MAX_TRANSITIONS:
            raise MachineError(f"{row_at}: more than {2 * MAX_TRANSITIONS} transitions")
        kind = kinds.setdefault((after, out), len(kinds))
        earlier = table[current][a]
        if ((earlier != -1) & (earlier != kind)).any():
            raise MachineError(f"{row_at}: contradicts an earlier row for state {_cut(current)}")
        table[current][a] = kind
    after_of = [after for after, _ in kinds]
    if initial not in table:
        raise MachineError(f"{where}: no transition leaves the initial state {shortened(initial)}")
    found = [initial]  # reachable states, breadth first
    index = {initial: 0}
    for state in found:
        if state not in table:
            raise MachineError(f"{where}: state {_cut(state)} has no legal input")
        for kind in table[state][table[state] >= 0].tolist():
            after = after_of[kind]
            if after not in index:
                index[after] = len(found)
                found.append(after)
    kind_at = np.stack([table[state] for state in found])  # (Q, A)
    legal = kind_at >= 0
    next_of = np.array([index.get(after, -1) for after in after_of], np.int32)
    signs = np.array([[SIGN[c] for c in out] for _, out in kinds], np.int8)
    output = np.where(legal[:, :, None], signs[kind_at], 0).astype(np.int8)
    after_at = np.where(legal, next_of[kind_at], -1).astype(np.int32)
    return Machine.from_tables(
        name, inputs, outputs, found, all_symbols(len(inputs)), after_at, output
    )


def lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """The words of each line of a KISS2 or PLA text, with its number; comments are left out."""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        if words and words[0] not in (".e", ".end"):
            yield number, words


def fields(header: dict[str, str], where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the inputs and outputs, from the lines `.i .o .ilb .ob`."""
    sizes = {}
    for key, most in ((".i", MAX_INPUT_BITS), (".o", MAX_OUTPUT_BITS)):
        said = header.get(key, "")
        if not re.fullmatch("[0-9]{1,6}", said) or int(said) > most:
            raise MachineError(
                f"{where}: needs a line `{key} N` with N from 0 to {most}, has {shortened(said)}"
            )
        sizes[key] = int(said)
    if sizes[".o"] == 0:
        raise MachineError(f"{where}: has no outputs")
    return (
        _names(header.get(".ilb"), sizes[".i"], "x", where),
        _names(header.get(".ob"), sizes[".o"], "y", where),
    )


def cube_symbols(cube: str, bits: int, where: str) -> np.ndarray:
    """(2**n,) the numbers of the input symbols in a cube with n of `-` among 0 and 1."""
    if len(cube) != bits or set(cube) - set("01-"):
        raise MachineError(f"{where}: {shortened(cube)} is not {bits} of 0, 1, -")
    found = np.zeros(1, np.int64)
    for c in cube:
        found = (2 * found[:, None] + {"0": [0], "1": [1], "-": [0, 1]}[c]).reshape(-1)
    return found


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


def _cut(name: str) -> str:
    return shortened(name)[1:-1]


def _check_size(where: str, states: int, symbols: int, outputs: int) -> None:
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


def _kiss2_state_names(states: Sequence[str]) -> list[str]:
    """State names as KISS2 words; numbered where one is not a word, or two are the same."""
    words = all(s and s.isprintable() and not set(s) & set(" #.") for s in states)
    if words and len(set(states)) == len(states):
        return [f"s{s}" for s in states] if any(s[0].isdecimal() for s in states) else list(states)
    return [f"s{q}" for q in range(len(states))]


def _words(about: Any, key: str) -> list[str]:
    found = about[key]
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{key} are not a list of names")
    return found


def _names(names: str | None, count: int, letter: str, where: str) -> tuple[str, ...]:
    if names is None:
        return (letter,) if count == 1 else tuple(f"{letter}{i}" for i in range(count))
    found = tuple(names.split())
    if len(found) != count or len(set(found)) != count:
        raise MachineError(f"{where}: {len(found)} names for {count} bits: {shortened(names)}")
    return found
