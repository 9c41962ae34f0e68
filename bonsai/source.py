"""Where a task comes from: a built-in name, a KISS2 file, a truth table, or a Python file.

A KISS2 file (`.kiss2`) is a state machine, a truth table (`.pla`) a function without memory. A
Python file (`.py`) has these names at its top level:

    inputs = ["a", "b"]                     # names of the input bits
    initial = 0                             # the first state: anything that can be hashed
    def step(state, bits): ...              # -> the next state, and a tuple of the output bits
    outputs = ["y"]                         # names of the output bits; this if left out
    def weight(state, bits): ...            # relative probability, 0: illegal; 1 if left out
    name = "sum"                            # the file's, if left out

Bits are False or True; an output may also be None, a don't-care. A Python file is executed, so it
is read only where it was named as the task; the other kinds are data.
"""

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bonsai.kiss2 import cube_symbols, fields, lines, read_kiss2, read_text
from bonsai.machine import Bits, Machine, MachineError, all_symbols, shortened
from bonsai.tasks import TASKS

MAX_ROWS = 1 << 16  # of a truth table
MAX_CELLS = 1 << 28  # outputs that its rows say, each for every symbol of its cube
TYPES = ("f", "fd", "fr", "fdr")
OUTPUTS = {"0": "0", "1": "1", "-": "-", "~": "~", "2": "-", "4": "1", "3": "~"}


def load_task(source: str, root: Path) -> Machine:
    """The machine of a built-in task, or of the file `source` in the folder `tasks` of `root`.

    Raises MachineError with one line that says what is wrong.
    """
    if source in TASKS:
        return TASKS[source]()
    if Path(source).suffix not in READERS:
        raise MachineError(
            f"task.source: no task {shortened(source)}; there are {', '.join(TASKS)}, "
            f"or give the path of a file in tasks/: {', '.join(READERS)}"
        )
    path = root / source
    if not path.resolve().is_relative_to((root / "tasks").resolve()):
        raise MachineError(
            f"task.source: {source} lies outside of this project's folder tasks; copy it there, "
            f"or run `python -m bonsai grow {source}`"
        )
    if not path.is_file():
        raise MachineError(f"task.source: {source}: no such file in this project")
    return read_task(path)


def read_task(path: str | Path) -> Machine:
    """The machine of a file, of the kind that the end of its name says."""
    path = Path(path)
    if path.suffix not in READERS:
        raise MachineError(
            f"{path}: a task is a file of one of the kinds {', '.join(READERS)}, "
            "and its name has to end so"
        )
    return READERS[path.suffix](path)


# ---- truth tables


def read_pla(path: Path) -> Machine:
    """Read an Espresso truth table. Raises MachineError naming the line that is wrong."""
    return parse_pla(read_text(path), path.stem, str(path))


def parse_pla(text: str, name: str = "task", where: str | None = None) -> Machine:
    """A `Machine` of one state from an Espresso truth table: `.i .o .ilb .ob .p .type`.

    A row is a cube of inputs (0, 1, or `-` for both) and its outputs. Of type fd, which is taken
    if none is said, 1 is on, `-` is a don't-care, and what no row says is off; of type f, `-` says
    nothing; of type fr, 1 is on, 0 is off, and what no row says is a don't-care. Where rows of
    types f and fd meet, a don't-care goes before on, and on before off.
    Source: espresso(5), Berkeley 1988.
    """
    where = name if where is None else where
    header: dict[str, str] = {}
    rows: list[tuple[int, str]] = []
    for number, line in lines(text):
        if not line[0].startswith("."):
            rows.append((number, "".join(line).replace("|", "")))
        elif line[0] in (".i", ".o", ".p", ".type", ".ilb", ".ob"):
            header[line[0]] = " ".join(line[1:])
        else:
            raise MachineError(
                f"{where}, line {number}: {shortened(line[0])} is not known in a truth table"
            )
    inputs, outputs = fields(header, where)
    kind = header.get(".type", "fd")
    if kind not in TYPES:
        raise MachineError(f"{where}: .type {shortened(kind)} is none of {', '.join(TYPES)}")
    if not 0 < len(rows) <= MAX_ROWS:
        raise MachineError(f"{where}: has {len(rows)} rows, and may have 1 to {MAX_ROWS}")
    on, off, free = np.zeros((3, 1 << len(inputs), len(outputs)), bool)
    budget = MAX_CELLS
    for number, row in rows:
        row_at = f"{where}, line {number}"
        cube = row[: len(inputs)].replace("2", "-")
        out = [OUTPUTS.get(c) for c in row[len(inputs) :]]
        if len(out) != len(outputs) or None in out:
            raise MachineError(
                f"{row_at}: expected {len(inputs)} inputs and {len(outputs)} outputs of 0, 1, -; "
                f"found {shortened(row)}"
            )
        a = cube_symbols(cube, len(inputs), row_at)
        budget -= len(a) * len(out)
        if budget < 0:
            raise MachineError(f"{row_at}: the rows before say more than {MAX_CELLS} outputs")
        for table, digit in ((on, "1"), (off, "0"), (free, "-")):
            told = np.array([c == digit for c in out])
            table[a] |= told
        if "r" in kind and (on[a] & off[a]).any():
            raise MachineError(f"{row_at}: contradicts an earlier row")
    output = np.where(on, 1, -1)
    if "r" in kind:
        output = np.where(on | off, output, 0)
    if "d" in kind:
        output = np.where(free, 0, output)
    return Machine.from_tables(
        name,
        inputs,
        outputs,
        ["s0"],
        all_symbols(len(inputs)),
        np.zeros((1, 1 << len(inputs)), np.int32),
        output[None].astype(np.int8),
    )


# ---- Python files


def read_python(path: Path) -> Machine:
    """Execute the file, and enumerate its step function."""
    text = read_text(path)
    module = types.ModuleType(f"{__name__}.{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where its dataclasses look for themselves
    try:
        exec(compile(text, str(path), "exec", dont_inherit=True), vars(module))
    except SyntaxError as e:
        raise MachineError(f"{path}, line {e.lineno}: {e.msg}") from e
    except (Exception, SystemExit) as e:
        raise MachineError(f"{path}{_line(e, path)}: {_said(e)}") from e
    finally:
        del sys.modules[module.__name__]
    for name in ("initial", "step", "inputs"):
        if not hasattr(module, name):
            raise MachineError(f"{path}: has no `{name}` at its top level; see {__name__}")
    name = getattr(module, "name", path.stem)
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 60:
        raise MachineError(f"{path}: `name` is {shortened(name)}, not a printable word")
    inputs = _bits(path, "inputs", module.inputs)
    outputs = _bits(path, "outputs", getattr(module, "outputs", ["y"]))
    if not outputs:
        raise MachineError(f"{path}: has no outputs; give `outputs` one name or more")
    guarded = Guarded(path, module, outputs)
    try:
        hash(module.initial)
        return Machine.from_step(
            module.initial, guarded.step, inputs, outputs, guarded.weight, name
        )
    except MachineError as e:
        said = str(e)
        raise MachineError(said if said.startswith(str(path)) else f"{path}: {said}") from e
    except (Exception, SystemExit) as e:
        raise MachineError(
            f"{path}{_line(e, path)}: {_said(e)}; states have to be hashable and comparable, "
            "as numbers, words and tuples of them are"
        ) from e


class Guarded:
    """The functions of a Python task, with every result checked and every error in one line."""

    def __init__(self, path: Path, module: Any, outputs: list[str]) -> None:
        self.path, self.outputs = path, outputs
        self._step, self._weight = module.step, getattr(module, "weight", lambda state, bits: 1.0)

    def step(self, state: Any, bits: Bits) -> tuple[Any, list[bool | None]]:
        after, y = self._call("step", self._step, state, bits, self._stepped)
        return after, y

    def weight(self, state: Any, bits: Bits) -> float:
        return self._call("weight", self._weight, state, bits, float)

    def _call(
        self,
        name: str,
        function: Callable[[Any, Bits], Any],
        state: Any,
        bits: Bits,
        checked: Callable[[Any], Any],
    ) -> Any:
        """Twice, for it has to be a function of its arguments."""
        line = ""
        try:
            found, again = (checked(function(state, bits)) for _ in range(2))
            if found == again:
                return found
            problem = "is not the same when it is called again; it may depend on nothing else"
        except (Exception, SystemExit) as e:
            line, problem = _line(e, self.path), f"fails: {_said(e)}"
        given = tuple(int(b) for b in bits)
        raise MachineError(
            f"{self.path}{line}: {name}({_shown(state)}, {given}) {problem}"
        ) from None

    def _stepped(self, found: Any) -> tuple[Any, list[bool | None]]:
        if not isinstance(found, tuple) or len(found) != 2:
            raise TypeError("it has to return the next state, and a tuple of the outputs")
        after, y = found
        hash(after)
        if not isinstance(y, tuple | list | np.ndarray) or len(y) != len(self.outputs):
            raise TypeError(
                f"its outputs are {_shown(y)}, not a tuple of {len(self.outputs)}: "
                f"{', '.join(self.outputs)}"
            )
        for value in y:
            plain = isinstance(value, bool | int | np.bool_ | np.integer)
            if value is not None and not (plain and value in (0, 1)):
                raise TypeError(f"an output is {_shown(value)}, not False, True or None")
        return after, [None if value is None else bool(value) for value in y]


def _bits(path: Path, key: str, names: Any) -> list[str]:
    """Checked names of bits."""
    if not isinstance(names, list | tuple):
        raise MachineError(f"{path}: `{key}` is {_shown(names)}, not a list of names")
    for name in names:
        if not isinstance(name, str) or not name.isprintable() or name.split() != [name]:
            raise MachineError(f"{path}: `{key}` holds {_shown(name)}, which is not a word")
    if len(set(names)) != len(names):
        raise MachineError(f"{path}: `{key}` holds a name twice: {shortened(', '.join(names))}")
    return list(names)


def _said(error: BaseException) -> str:
    """What an error says, in one line; its own `str` may fail."""
    try:
        return f"{type(error).__name__}: {shortened(error)[1:-1]}".rstrip(": ")
    except Exception:  # the user's own code, which may raise anything
        return type(error).__name__


def _shown(value: Any) -> str:
    """A value of the task's own, whose `repr` may fail as it likes."""
    try:
        return shortened(repr(value))[1:-1]
    except Exception:  # the user's own code, which may raise anything
        return f"a {type(value).__name__}"


def _line(error: BaseException, path: Path) -> str:
    """The last line of the task's file that led to an error, as `, line 7`."""
    found, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            found = f", line {trace.tb_lineno}"
        trace = trace.tb_next
    return found


READERS: dict[str, Callable[[Path], Machine]] = {
    ".kiss2": read_kiss2,
    ".pla": read_pla,
    ".py": read_python,
}
