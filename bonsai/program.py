"""`Program`: a few lines of Python that compute a task, and the proof that they do.

A program is a loop over the inputs with state variables, Boolean or integer. It is kept as
expressions (`bonsai.logic.Expr`), from which come its text, its run, and its Mealy machine.
"""

import keyword
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bonsai.logic import Expr, negated
from bonsai.machine import Bits, Machine, MachineError

WIDTH = 88  # of a line of the text
INDENT = 8  # of what is inside of the loop
STATES = 100_000  # pairs of program and task that a proof may visit

Value = bool | int


@dataclass(frozen=True)
class Variable:
    """A state variable: False and True, or the integers from `low` to `high`."""

    name: str
    initial: Value
    low: int = 0
    high: int = 1

    @property
    def boolean(self) -> bool:
        return isinstance(self.initial, bool)


@dataclass(frozen=True)
class Assignment:
    """targets = values, all at once"""

    targets: tuple[str, ...]
    values: tuple[Expr, ...]

    @property
    def code(self) -> list[str]:
        """In one line, if it fits; below an `if`, where nothing changes without its condition."""
        guard, values = self._guarded()
        several, targets = len(values) > 1, ", ".join(self.targets)
        texts = [f"({e})" if several and e.op == "if" else str(e) for e in values]
        lines = [f"{targets} = {', '.join(texts)}"]
        if several and len(lines[0]) > WIDTH - INDENT:
            lines = [f"{targets} = (", *(f"    {e}," for e in values), ")"]
        return [f"if {guard}:", *(f"    {line}" for line in lines)] if guard else lines

    def place(self, target: str) -> int:
        """The number of the line of `code` that has the target's formula."""
        first = 1 if self._guarded()[0] else 0
        alone = len(self.code) > first + 1
        return first + (1 + self.targets.index(target) if alone else 0)

    @property
    def lines(self) -> int:
        """Statements."""
        return 2 if self._guarded()[0] else 1

    def _guarded(self) -> tuple[Expr | None, tuple[Expr, ...]]:
        """A condition without which no target changes, and what they become then."""
        for turned in (False, True):
            conditions, values = set[Expr](), []
            for target, e in zip(self.targets, self.values, strict=True):
                if e.op == "if":
                    then, other = e.args[1:][:: -1 if turned else 1]
                    if other == Expr("signal", (), target):
                        conditions.add(negated(e.args[0]) if turned else e.args[0])
                        values.append(then)
            if len(conditions) == 1 and len(values) == len(self.targets):
                return conditions.pop(), tuple(values)
        return None, self.values


class ProgramError(ValueError):
    """A program is not equal to its task. The message names a shortest word that tells."""


@dataclass(frozen=True)
class Program:
    """inputs: of the task, as they are called in the program; variables: its state

    before, update, after: what is done in a step, in this order; `outputs` is yielded after all
    of it, or before `update` if nothing comes after it
    """

    inputs: tuple[str, ...]
    variables: tuple[Variable, ...]
    before: tuple[Assignment, ...]
    update: Assignment | None
    after: tuple[Assignment, ...]
    outputs: tuple[Expr, ...]
    early: bool  # whether the outputs are of the state before `update`

    # ---- sizes

    @property
    def body(self) -> tuple[Assignment, ...]:
        return (*self.before, *([self.update] if self.update else []), *self.after)

    @property
    def literals(self) -> int:
        """How often a signal occurs on a right-hand side, or in an output that is a formula.

        An output that only names a signal assigned in the same step counts for nothing.
        """
        assigned = {t for a in (*self.before, *self.after) for t in a.targets}
        total = sum(e.literals for a in self.body for e in a.values)
        named = [e for e in self.outputs if e.op == "signal" and e.value in assigned]
        return total + sum(e.literals for e in self.outputs if e not in named)

    @property
    def effort(self) -> int:
        """Of reading it; see `Expr.effort`."""
        return sum(e.effort for a in self.body for e in a.values) + sum(
            e.effort for e in self.outputs
        )

    @property
    def signals(self) -> int:
        """Names that are assigned."""
        return len({t for a in self.body for t in a.targets} | {v.name for v in self.variables})

    @property
    def lines(self) -> int:
        """Statements, without def, docstring and blank lines."""
        return sum(a.lines for a in self.body) + 2 + bool(self.variables)

    # ---- running

    @cached_property
    def initial(self) -> tuple[Value, ...]:
        return tuple(v.initial for v in self.variables)

    def step(self, state: tuple[Value, ...], bits: Bits) -> tuple[tuple[Value, ...], Bits]:
        env: dict[str, Value] = dict(zip(self.inputs, bits, strict=True))
        env |= {v.name: value for v, value in zip(self.variables, state, strict=True)}
        y: Bits = ()
        for assignment in self.before:
            env |= _assigned(assignment, env)
        if self.early:
            y = tuple(bool(e.evaluate(env)) for e in self.outputs)
        if self.update:
            env |= _assigned(self.update, env)
        for assignment in self.after:
            env |= _assigned(assignment, env)
        if not self.early:
            y = tuple(bool(e.evaluate(env)) for e in self.outputs)
        return tuple(env[v.name] for v in self.variables), y

    def machine(self, task: Machine) -> Machine:
        """The program enumerated, under the inputs that the task allows.

        Its states are pairs of the task's state and the program's; raises ProgramError if a
        variable leaves its range.
        """
        symbols = {tuple(bool(b > 0) for b in row): a for a, row in enumerate(task.symbols)}

        def step(pair: tuple[int, tuple[Value, ...]], bits: Bits) -> tuple[Any, Bits]:
            q, state = pair
            after, y = self.step(state, bits)
            for variable, value in zip(self.variables, after, strict=True):
                if not variable.low <= value <= variable.high:
                    raise ProgramError(f"{variable.name} becomes {value}")
            return (int(task.next[q, symbols[bits]]), after), y

        def weight(pair: tuple[int, tuple[Value, ...]], bits: Bits) -> float:
            a = symbols.get(bits)
            return 0.0 if a is None or task.next[pair[0], a] < 0 else 1.0

        return Machine.from_step(
            (0, self.initial), step, task.inputs, task.outputs, weight, task.name
        )

    # ---- text

    def text(self, title: str, facts: Sequence[str], example: Sequence[Bits]) -> str:
        """The file: a docstring with a title, facts and a doctest of `example`, and the loop."""
        expected, state = [], self.initial
        for bits in example:
            state, y = self.step(state, bits)
            expected.append(y)
        doc = [f'"""{_plain(title)}', ""]
        doc += [line for fact in facts for line in textwrap.wrap(_plain(fact), WIDTH)]
        doc += ["", *_doctest(example, expected), '"""', "", ""]
        return "\n".join([*doc, "def program(inputs):", *self.code()]) + "\n"

    def code(self) -> list[str]:
        """The lines of the function `program` after its first."""
        lines = []
        if self.variables:
            names = ", ".join(v.name for v in self.variables)
            values = ", ".join(str(v.initial) for v in self.variables)
            counted = [v for v in self.variables if not v.boolean]
            notes = ", ".join(f"{v.name} is {v.low} to {v.high}" for v in counted)
            lines.append(f"    {names} = {values}" + (f"  # {notes}" if notes else ""))
        read = {name for a in self.body for e in a.values for name in e.signals}
        read |= {name for e in self.outputs for name in e.signals}
        if read & set(self.inputs):
            bits = ", ".join(n if n in read else f"_{n}" for n in self.inputs)
            lines.append(f"    for {bits if len(self.inputs) > 1 else f'({bits},)'} in inputs:")
        else:
            lines.append("    for _ in inputs:")
        comma = "," if len(self.outputs) == 1 else ""
        result = f"yield ({', '.join(map(str, self.outputs))}{comma})"
        body = [line for a in self.before for line in a.code]
        if self.early:
            body.append(result)
        body += self.update.code if self.update else []
        body += [line for a in self.after for line in a.code]
        if not self.early:
            body.append(result)
        return lines + [" " * INDENT + line for line in body]


def prove_equal(program: Program, task: Machine) -> Machine:
    """The program's machine, which has the outputs of the task on every legal word.

    Raises ProgramError with a shortest word on which it has not.
    """
    try:
        found = program.machine(task)
    except MachineError as e:
        raise ProgramError(str(e)) from e
    column = {tuple(row): a for a, row in enumerate(task.symbols.tolist())}
    own = [column[tuple(row)] for row in found.symbols.tolist()]
    pairs: list[tuple[int, int]] = [(0, 0)]
    parent: dict[tuple[int, int], tuple[tuple[int, int], int] | None] = {(0, 0): None}
    for pair in pairs:
        p, q = pair
        if len(pairs) > STATES:
            raise ProgramError(f"more than {STATES} pairs of states")
        for a, symbol in enumerate(own):
            if task.next[q, symbol] < 0:
                continue
            wanted, given = task.output[q, symbol], found.output[p, a]
            if ((wanted != 0) & (wanted != given)).any():
                word = [symbol]
                at: tuple[int, int] = pair
                while (back := parent[at]) is not None:
                    at, earlier = back
                    word.append(earlier)
                bits = [[int(b > 0) for b in task.symbols[n]] for n in word[::-1]]
                said = f"yields {given.tolist()}, not {wanted.tolist()}"
                raise ProgramError(f"after {bits} it {said}")
            after = int(found.next[p, a]), int(task.next[q, symbol])
            if after not in parent:
                parent[after] = pair, symbol
                pairs.append(after)
    return found


def identifiers(names: Sequence[str], taken: Sequence[str] = ()) -> list[str]:
    """Each name as a Python and Verilog identifier, unlike the others and those taken."""
    used = {*taken, "inputs", "program", "_"}
    found = []
    for name in names:
        word = re.sub(r"\W", "_", name, flags=re.ASCII) or "signal"
        if not word[0].isalpha():
            word = f"v{word}"
        while word in used or keyword.iskeyword(word) or word in VERILOG:
            word += "_"
        used.add(word)
        found.append(word)
    return found


RESERVED = (
    "always and assign begin buf case clk cover default disable edge else end event expect for "
    "force fork function generate if initial inout input integer join local logic module nand "
    "negedge nor not or output parameter posedge property pull0 pull1 real reg release repeat "
    "reset sequence signed specify strong0 strong1 supply0 supply1 table task time tri unique "
    "unsigned vectored wait weak0 weak1 while wire within wor xnor xor"
)
VERILOG = frozenset(RESERVED.split())


def _assigned(assignment: Assignment, env: Mapping[str, Value]) -> dict[str, Value]:
    values = [e.evaluate(env) for e in assignment.values]
    return dict(zip(assignment.targets, values, strict=True))


def _plain(text: str) -> str:
    """Text that ends no docstring and hides nothing."""
    return "".join(c if c.isprintable() and c not in '\\"' else "'" for c in text)


def _doctest(example: Sequence[Bits], expected: Sequence[Bits]) -> Iterator[str]:
    """The word and its outputs as digits, which are read and written as tuples of bools."""
    yield f">>> word = {_rows(example)}"
    yield ">>> [tuple(map(int, y)) for y in program([tuple(map(bool, x)) for x in word])]"
    yield _rows(expected)


def _rows(rows: Sequence[Bits]) -> str:
    return str([tuple(int(b) for b in row) for row in rows])
