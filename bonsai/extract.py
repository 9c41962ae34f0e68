"""From a proven graph to a program: levels, an automaton, and the shortest formulas found for it.

The state nodes' levels are the state of a finite automaton (`bonsai.levels`). Each of them, and
each output, is a function of the levels before and the inputs, given by as many rows as can occur;
`bonsai.logic` finds a short formula for it. Several choices of states, of Booleans or integers for
a state of many levels, and of neurons as signals of their own are tried; the program of fewest
literals wins, if it is proven equal to the task (`bonsai.program.prove_equal`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bonsai.certificate import Certificate
from bonsai.graph import NEURONS, Graph
from bonsai.levels import Automaton, Range, Reach, abstractions, levels, reach
from bonsai.logic import Expr, Search, negated, signal
from bonsai.machine import Bits, Machine
from bonsai.program import Assignment, Program, Variable, identifiers, prove_equal
from bonsai.refine import refine

SHOWN = 56  # letters of outputs that fit into the line that yields them
CHOICES = 6  # automata that programs are made for
STEPS = 8  # of the word in the doctest
BITS = 24  # of its inputs, together
NEURONS_TRIED = 12  # as signals of their own


class ExtractError(ValueError):
    """No program can be derived. The message says why."""


@dataclass(frozen=True, eq=False)
class Extraction:
    """program: proven equal to the task; levels: of each node of the graph

    values: for each node, what its levels are in the program, or None where it does not occur
    names: for each node, its signals in the program
    functions: for each node, the formula in the program that gives its value
    automaton: of levels, as it is; mealy: minimised; block: (C,) the state of `mealy` of each
    certificate: that the levels are of, whose boxes may be finer than those of the proof
    """

    graph: Graph
    task: Machine
    program: Program
    levels: list[list[Range]]
    values: list[list[Any] | None]
    names: list[str | None]
    functions: list[Expr | None]
    automaton: Automaton
    mealy: Machine
    block: np.ndarray
    certificate: Certificate


@dataclass(frozen=True, eq=False)
class Column:
    """How one state node occurs in a program.

    names: one signal, or one a cut; values: (levels, signals) what they are at each level
    """

    column: int
    names: tuple[str, ...]
    values: np.ndarray
    boolean: bool


def extract(graph: Graph, machine: Machine, certificate: Certificate) -> Extraction:
    """The shortest program found for a proven graph. Raises ExtractError if there is none."""
    if not len(certificate):
        raise ExtractError("the graph is not proven")
    found = reach(graph, machine, certificate)
    automata = abstractions(found)
    if not automata and certificate.kind == "boxes":
        finer = refine(graph, machine)
        if finer is not None:
            found = reach(graph, machine, finer)
            automata = abstractions(found)
    if not automata:
        raise ExtractError(
            "the boxes of the certificate overlap, and none were found that tell the levels of "
            "the states apart"
        )
    designs = [
        design
        for automaton in automata[:CHOICES]
        for counting in _countings(automaton)
        if (design := Design(found, automaton, counting).made()) is not None
    ]
    if not designs:
        raise ExtractError("no formula was found for an integer signal")
    best = min(designs, key=lambda d: _cost(d[0].program))
    made, automaton = best
    prove_equal(made.program, machine)
    own = levels(found, automaton)
    mealy, block = _mealy(found, automaton)
    values, names, functions = _signals(found, automaton, made, own)
    return Extraction(
        graph, machine, made.program, own, values, names, functions, automaton, mealy, block,
        found.certificate,
    )  # fmt: skip


def example(machine: Machine) -> list[Bits]:
    """A short word for the doctest: drawn from the task, seeded."""
    steps = max(3, min(STEPS, BITS // max(1, len(machine.inputs))))
    symbols, _ = machine.sample(np.random.default_rng(0), 1, steps)
    return [tuple(bool(b > 0) for b in machine.symbols[a]) for a in symbols[0]]


@dataclass(frozen=True, eq=False)
class Made:
    """A program, and where the nodes of the graph are in it."""

    program: Program
    columns: tuple[Column, ...]
    shared: Mapping[int, str]  # node -> name
    outputs: tuple[Expr, ...]  # formulas, in the order of the heads


def _cost(program: Program) -> tuple:
    return program.literals, program.lines, program.effort, "\n".join(program.code())


def _countings(automaton: Automaton) -> list[bool]:
    """Integers or Booleans for states of more than two levels; both, if there are any."""
    return [True, False] if (automaton.level.max(axis=0, initial=0) > 1).any() else [False]


class Design:
    """The search for one automaton's program; `counting`: states of many levels are integers."""

    def __init__(self, found: Reach, automaton: Automaton, counting: bool) -> None:
        self.found, self.automaton = found, automaton
        self.state, self.symbol = np.nonzero(automaton.successor >= 0)
        self.after = automaton.successor[self.state, self.symbol]
        self.rows = len(self.state)
        self.inputs = identifiers(found.machine.inputs)
        self.outputs = identifiers(found.machine.outputs, self.inputs)
        self.columns = self._columns(counting)
        self.searches: dict[tuple[tuple[Expr, int], ...], Search] = {}

    def made(self) -> tuple[Made, Automaton] | None:
        best = self._made({})
        if best is None:
            return None
        shared: dict[int, str] = {}
        if best.program.literals > 4:
            for node, name in self._candidates().items():
                tried = self._made({**shared, node: name})
                if tried is not None and _cost(tried.program) < _cost(best.program):
                    best, shared = tried, {**shared, node: name}
        return _named(_turned(best)), self.automaton

    # ---- what the rows say

    def _columns(self, counting: bool) -> tuple[Column, ...]:
        graph, level = self.found.graph, self.automaton.level
        cut = [column for column, _ in self.automaton.cuts]
        nodes = graph.where("state")
        made = []
        taken = [*self.inputs, *self.outputs]
        for column in sorted(set(cut)):
            count = cut.count(column) + 1
            (name,) = identifiers([graph.nodes[nodes[column]].name], taken)
            if count > 2 and counting:
                first = int(level[0, column])
                up = np.arange(count) - first if first < count - 1 else count - 1 - np.arange(count)
                made.append(Column(column, (name,), up[:, None], False))
            else:
                names = [name] if count == 2 else [f"{name}_{n}" for n in range(count - 1)]
                above = np.arange(count)[:, None] > np.arange(count - 1)
                made.append(Column(column, tuple(identifiers(names, taken)), above, True))
            taken += made[-1].names
        return tuple(made)

    def _table(self, values: np.ndarray) -> int:
        return sum(1 << int(n) for n in np.flatnonzero(values))

    def _given(self) -> list[tuple[Expr, int]]:
        bits = self.found.machine.symbols[self.symbol] > 0
        return [(signal(n), self._table(bits[:, i])) for i, n in enumerate(self.inputs)]

    def _stored(self, states: np.ndarray) -> list[tuple[Expr, int]]:
        """Terms of the state variables in these states (rows,) of the automaton."""
        terms = []
        for c in self.columns:
            values = c.values[self.automaton.level[states, c.column]]
            if c.boolean:
                terms += [(signal(n), self._table(values[:, i])) for i, n in enumerate(c.names)]
                continue
            e, low, high = signal(c.names[0]), int(c.values.min()), int(c.values.max())
            own = values[:, 0]
            for number in range(low, high + 1):
                terms.append((Expr("compare", (e,), f"== {number}"), self._table(own == number)))
            for number in range(low + 2, high):
                terms.append((Expr("compare", (e,), f"< {number}"), self._table(own < number)))
        return terms

    def _candidates(self) -> dict[int, str]:
        """Neurons that could be signals of their own: of two levels, told by state and input.

        The first few that are no simpler signal, nor one of the outputs.
        """
        graph, found = self.found.graph, self.found
        own = levels(found, self.automaton)
        search = self._search([*self._given(), *self._stored(self.state)])
        seen = {search.full, *search.tables[: len(search.terms)]}
        for bit in self.automaton.output[self.state, self.symbol].T:
            table = self._table(bit > 0)
            seen |= {table, table ^ search.full}
        nodes = []
        for i in graph.where("output"):
            table = self._neuron(i, own[i]) if len(own[i]) == 2 else 0
            if table and table not in seen:
                seen |= {table, table ^ search.full}
                nodes.append(i)
        taken = [*self.inputs, *self.outputs, *(n for c in self.columns for n in c.names)]
        nodes = nodes[:NEURONS_TRIED]
        names = identifiers([graph.nodes[i].name for i in nodes], taken)
        return dict(zip(nodes, names, strict=True))

    def _neuron(self, node: int, own: Sequence[Range]) -> int | None:
        """The table of a neuron of two levels, if state and input tell which it is at."""
        found, automaton = self.found, self.automaton
        high = found.low[node] > own[0][1]
        place = np.full(automaton.successor.shape, -1)
        place[self.state, self.symbol] = np.arange(self.rows)
        row = place[automaton.member[found.entry], found.symbol]
        table = np.zeros(self.rows, bool)
        table[row] = high
        return self._table(table) if (table[row] == high).all() else None

    # ---- formulas

    def _search(self, terms: Sequence[tuple[Expr, int]]) -> Search:
        key = tuple(terms)
        if key not in self.searches:
            variables = [n for n, (e, _) in enumerate(terms) if e.op == "signal"]
            self.searches[key] = Search(terms, self.rows, variables)
        return self.searches[key]

    def _made(self, shared: Mapping[int, str]) -> Made | None:
        """The better of two programs: outputs before the states change, or after."""
        own = levels(self.found, self.automaton)
        terms = [*self._given(), *self._stored(self.state)]
        before: list[Assignment] = []
        for node, name in shared.items():
            table = self._neuron(node, own[node])
            assert table is not None
            before.append(Assignment((name,), (self._search(terms).formula(table),)))
            terms.append((signal(name), table))
        y = self.automaton.output[self.state, self.symbol]
        wanted = [(self._table(bit > 0), self._table(bit != 0)) for bit in y.T]
        search = self._search(terms)
        early = [search.formula(*each) for each in wanted]
        late_terms = [*self._given(), *self._stored(self.after), *terms[len(terms) - len(shared) :]]
        late_search = self._search(late_terms)
        told = all(late_search.determined(*each) for each in wanted)
        late = [late_search.formula(*each) for each in wanted] if told else []
        named = [
            (signal(name), sum(1 << n for n in range(self.rows) if self._true(e, n, terms)))
            for name, e in zip(self.outputs, early, strict=True)
            if e.literals > 1
        ]
        programs = []
        ways = [(early, [*terms, *named]), (early, terms), *([(late, terms)] if told else [])]
        for outputs, uses in ways:
            update = self._update(self._search(uses))
            if update is None:
                continue
            programs.append(self._assembled(before, outputs, update, outputs is late, shared))
        return min(programs, key=lambda m: _cost(m.program), default=None)

    def _true(self, e: Expr, row: int, terms: Sequence[tuple[Expr, int]]) -> bool:
        env: dict[str, bool | int] = {
            str(t.value): bool(table >> row & 1) for t, table in terms if t.op == "signal"
        }
        for c in self.columns:
            if not c.boolean:
                level = self.automaton.level[self.state[row], c.column]
                env[c.names[0]] = int(c.values[level, 0])
        return bool(e.evaluate(env))

    def _update(self, search: Search) -> dict[str, Expr] | None:
        """Each variable's next value."""
        update = {}
        for c in self.columns:
            values = c.values[self.automaton.level[self.after, c.column]]
            if c.boolean:
                for i, name in enumerate(c.names):
                    update[name] = search.formula(self._table(values[:, i]))
                continue
            found = search.choice(values[:, 0], self._forms(values[:, 0]))
            if found is None:
                return None
            update[c.names[0]] = found
        return update

    def _forms(self, target: np.ndarray) -> list[tuple[Expr, np.ndarray]]:
        """What an integer may become: another plus a number, a number, or looked up."""
        forms: list[tuple[Expr, np.ndarray]] = []
        for c in self.columns:
            if c.boolean:
                continue
            e = signal(c.names[0])
            now = c.values[self.automaton.level[self.state, c.column], 0]
            for step in np.unique(target - now).tolist():
                forms.append((Expr("+", (e,), step) if step else e, now + step))
            low, high = int(now.min()), int(now.max())
            after = [set(target[now == n].tolist()) for n in range(low, high + 1)]
            if all(len(values) <= 1 for values in after):
                table = tuple(next(iter(values), 0) for values in after)
                looked = np.array(table)[now - low]
                forms.append((Expr("lookup", (e,), (low, *table)), looked))
        for number in np.unique(target).tolist():
            forms.append((Expr("const", (), number), np.full(self.rows, number)))
        return forms

    def _assembled(
        self,
        before: Sequence[Assignment],
        outputs: Sequence[Expr],
        update: Mapping[str, Expr],
        late: bool,
        shared: Mapping[int, str],
    ) -> Made:
        """The program of these formulas; variables that no output needs are left out."""
        formulas = {**{a.targets[0]: a.values[0] for a in before}, **update}
        formulas |= dict(zip(self.outputs, outputs, strict=True))
        live, stack = set[str](), list(self.outputs)
        while stack:
            name = stack.pop()
            if name not in live:
                live.add(name)
                stack += formulas[name].signals() if name in formulas else []
        columns = tuple(c for c in self.columns if set(c.names) & live)
        variables = []
        for c in columns:
            first = c.values[self.automaton.level[0, c.column]].tolist()
            for name, value in zip(c.names, first, strict=True):
                low, high = (0, 1) if c.boolean else (int(c.values.min()), int(c.values.max()))
                variables.append(Variable(name, value, low, high))
        names = tuple(v.name for v in variables)
        changed = Assignment(names, tuple(update[n] for n in names)) if names else None
        used = {n for e in update.values() for n in e.signals()} & set(self.outputs)
        short = sum(len(str(e)) for e in outputs) <= SHOWN and not used
        own = [
            Assignment((n,), (e,)) for n, e in zip(self.outputs, outputs, strict=True) if not short
        ]
        result = tuple(outputs) if short else tuple(signal(n) for n in self.outputs)
        kept = [a for a in before if a.targets[0] in live]
        program = Program(
            tuple(self.inputs),
            tuple(variables),
            tuple(kept if late else [*kept, *own]),
            changed,
            tuple(own if late else ()),
            result,
            not late,
        )
        remaining = {node: name for node, name in shared.items() if name in live}
        return Made(program, columns, remaining, tuple(outputs))


# ---- signs and names


def _rewritten(
    made: Made, replaced: Mapping[str, Expr], turned: Sequence[str], names: Mapping[str, str]
) -> Made:
    """Signals replaced on the right-hand sides, variables negated, and targets renamed."""
    p = made.program

    def changed(a: Assignment) -> Assignment:
        values = [e.with_signals(replaced) for e in a.values]
        values = [negated(e) if t in turned else e for t, e in zip(a.targets, values, strict=True)]
        return Assignment(tuple(names.get(t, t) for t in a.targets), tuple(values))

    variables = [
        replace(v, initial=(not v.initial) if v.name in turned else v.initial,
                name=names.get(v.name, v.name))
        for v in p.variables
    ]  # fmt: skip
    columns = []
    for c in made.columns:
        flip = [name in turned for name in c.names]
        values = c.values ^ np.array(flip) if c.boolean else c.values
        own = tuple(names.get(name, name) for name in c.names)
        columns.append(replace(c, names=own, values=values))
    program = replace(
        p,
        variables=tuple(variables),
        before=tuple(changed(a) for a in p.before),
        update=changed(p.update) if p.update else None,
        after=tuple(changed(a) for a in p.after),
        outputs=tuple(e.with_signals(replaced) for e in p.outputs),
    )
    outputs = tuple(e.with_signals(replaced) for e in made.outputs)
    return replace(made, program=program, columns=tuple(columns), outputs=outputs)


def _turned(made: Made) -> Made:
    """Booleans stand for the higher or the lower level, as gives fewer signs; starts at False."""

    def rank(m: Made) -> tuple:
        return m.program.effort, sum(bool(v.initial) for v in m.program.variables if v.boolean)

    while True:
        tried = [
            _rewritten(made, {v.name: negated(signal(v.name))}, [v.name], {})
            for v in made.program.variables
            if v.boolean
        ]
        best = min(tried, key=rank, default=made)
        if not rank(best) < rank(made):
            return made
        made = best


def _named(made: Made) -> Made:
    """State variables by their role: an earlier input, or a count; others as in the graph."""
    p = made.program
    if p.update is None:
        return made
    formula = dict(zip(p.update.targets, p.update.values, strict=True))
    names: dict[str, str] = {}
    taken = {*p.inputs, *formula, *(t for a in p.body for t in a.targets)}
    counts = [v.name for v in p.variables if not v.boolean and formula[v.name].op != "lookup"]
    for variable in p.variables:
        wanted = variable.name
        source, steps = formula[wanted], 1
        while source.op == "signal" and source.value in formula and steps <= len(formula):
            source, steps = formula[str(source.value)], steps + 1
        if source.op == "signal" and source.value in p.inputs:
            wanted = f"last_{source.value}" if steps == 1 else f"{source.value}_{steps}_ago"
        elif variable.name in counts:
            wanted = "count" if len(counts) == 1 else f"count_{variable.name}"
        if wanted != variable.name:
            (wanted,) = identifiers([wanted], sorted(taken))
            names[variable.name] = wanted
            taken.add(wanted)
    return _rewritten(made, {old: signal(new) for old, new in names.items()}, [], names)


# ---- what is said about it


def _signals(
    found: Reach, automaton: Automaton, made: Made, own: Sequence[Sequence[Range]]
) -> tuple[list[list[Any] | None], list[str | None], list[Expr | None]]:
    """For each node: values of its levels, names, and the formula that gives them."""
    graph, p = found.graph, made.program
    column = {node: n for n, node in enumerate(graph.where("state"))}
    at = {c.column: c for c in made.columns}
    feeds = {r: column[s] for r, s in graph.feedback if column[s] in at}
    formula = {t: e for a in p.body for t, e in zip(a.targets, a.values, strict=True)}
    heads = dict(zip(graph.where("head"), range(len(made.outputs)), strict=True))
    inputs = dict(zip(graph.where("input"), p.inputs, strict=True))
    values: list[list[Any] | None] = []
    names: list[str | None] = []
    functions: list[Expr | None] = []
    for i, node in enumerate(graph.nodes):
        value: list[Any] | None = None
        name: str | None = None
        function: Expr | None = None
        c = at.get(column[i]) if node.kind == "state" else None
        if node.kind in NEURONS and i in feeds and i not in made.shared:
            c = at[feeds[i]]
        if i in inputs:
            value, name = [False, True][: len(own[i])], inputs[i]
        elif c is not None:
            value = _shown(c, own[i], automaton)
            name = ", ".join(c.names) if node.kind == "state" else None
            function = formula[c.names[0]] if len(c.names) == 1 else None
        elif i in made.shared:
            value, name = [False, True], made.shared[i]
            function = formula[name]
        elif i in heads:
            value = [False, True] if len(own[i]) == 2 else None
            function = made.outputs[heads[i]]
            result = p.outputs[heads[i]]
            name = str(result.value) if result != function and result.op == "signal" else None
        values.append(value)
        names.append(name)
        functions.append(function)
    return values, names, functions


def _shown(c: Column, own: Sequence[Range], automaton: Automaton) -> list[Any]:
    """What a state, or a neuron that feeds it, is in the program at each of its own levels."""
    cut = [number for column, number in automaton.cuts if column == c.column]
    shown: list[Any] = []
    for low, _ in own:
        row = c.values[int(np.searchsorted(cut, low))].tolist()
        shown.append(row[0] if len(row) == 1 else "".join(str(int(bit)) for bit in row))
    return shown


def _mealy(found: Reach, automaton: Automaton) -> tuple[Machine, np.ndarray]:
    """The automaton as a Mealy machine, minimised, and (C,) its state for each of C."""
    task, c = found.machine, found.certificate
    legal = automaton.successor >= 0
    names = []
    for n in range(len(automaton.level)):
        own = dict.fromkeys(c.machine_state[automaton.member == n].tolist())
        names.append("/".join(task.states[q] for q in own))
    whole = Machine(
        task.name,
        task.inputs,
        task.outputs,
        tuple(names),
        task.symbols,
        automaton.successor.astype(np.int32),
        automaton.output.astype(np.int8),
        legal / legal.sum(axis=1, keepdims=True),
    )
    small = whole.minimized()
    block = np.full(len(names), -1)
    block[0] = 0
    stack = [0]
    while stack:
        n = stack.pop()
        for a in np.flatnonzero(legal[n]):
            to = int(whole.next[n, a])
            if block[to] < 0:
                block[to] = small.next[block[n], a]
                stack.append(to)
    return small, block
