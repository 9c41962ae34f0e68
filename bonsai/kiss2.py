"""KISS2, the SIS manual's text form of state machines, and what it shares with truth tables."""

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bonsai.machine import (
    MAX_INPUT_BITS,
    MAX_OUTPUT_BITS,
    MAX_TRANSITIONS,
    Machine,
    MachineError,
    all_symbols,
    check_size,
    shortened,
)

MAX_BYTES = 1 << 22  # of a file
SIGN = {"0": -1, "-": 0, "1": 1}
ANY = ("*", "-")  # in the place of a state's name


def read_kiss2(path: Path) -> Machine:
    """The machine of a file. Raises MachineError naming the line that is wrong."""
    return parse_kiss2(read_text(path), path.stem, str(path))


def kiss2_text(machine: Machine) -> str:
    """The machine as KISS2 text, one row a legal transition, `-` for don't-care outputs."""
    digits = {-1: "0", 0: "-", 1: "1"}
    names = _state_names(machine.states)
    rows = [
        " ".join(
            [
                "".join(digits[int(b)] for b in machine.symbols[a]),
                names[q],
                names[n],
                "".join(digits[int(b)] for b in machine.output[q, a]),
            ]
        ).strip()
        for q, a, n in machine.edges()
    ]
    head = [
        f"# {' '.join(machine.name.split())}",
        f".i {len(machine.inputs)}",
        f".o {len(machine.outputs)}",
        f".p {len(rows)}",
        f".s {len(machine.states)}",
        f".r {names[0]}",
    ]
    if machine.inputs:
        head.append(".ilb " + " ".join(machine.inputs))
    return "\n".join([*head, ".ob " + " ".join(machine.outputs), *rows, ".e"]) + "\n"


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
    there, and so is one that leads to any state, `*`, with no output that is checked: of both
    nothing is demanded. Without `.r` the first row starts, where its state is `*` in the next one.
    All legal inputs of a state are equally likely. `where` is what errors call the file.
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
    initial = header.get(".r") or next((q for q in rows[0][2:4] if q not in ANY), "*")
    free = "-" * len(outputs)
    rows = [row for row in rows if row[3] not in ANY or row[4] != free]
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
            check_size(where, len(table) + 1, size, len(outputs))
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


def _cut(name: str) -> str:
    return shortened(name)[1:-1]


def _state_names(states: Sequence[str]) -> list[str]:
    """State names as KISS2 words; numbered where one is not a word, or two are the same."""
    words = all(s and s.isprintable() and not set(s) & set(" #.") for s in states)
    if words and len(set(states)) == len(states):
        return [f"s{s}" for s in states] if any(s[0].isdecimal() for s in states) else list(states)
    return [f"s{q}" for q in range(len(states))]


def _names(names: str | None, count: int, letter: str, where: str) -> tuple[str, ...]:
    if names is None:
        return (letter,) if count == 1 else tuple(f"{letter}{i}" for i in range(count))
    found = tuple(names.split())
    if len(found) != count or len(set(found)) != count:
        raise MachineError(f"{where}: {len(found)} names for {count} bits: {shortened(names)}")
    return found
