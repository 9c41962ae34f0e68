"""The search for a program with the behaviour of an automaton of levels, of fewest literals.

Each state node's levels become one Boolean, one a cut, or an integer; its next value, and each
output, is a function on the rows (state of the automaton, input) that occur, for which
`bonsai.logic` finds a short formula. Outputs are formed before the state changes, or after, and
neurons of two levels become signals of their own, where that saves literals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bonsai.levels import Automaton, Range, Reach, levels
from bonsai.logic import Expr, Search, negated, signal
from bonsai.program import Assignment, Program, Variable, identifiers

SHOWN = 56  # letters of outputs that fit into the line that yields them
NEURONS_TRIED = 12  # as signals of their own
MANY = 96  # rows, beyond which none are
LEVELS = 16  # from which on a state is no integer of a program
ENTRIES = 3000  # variables times rows, beyond which states are no Booleans,
SMALL, ROWS = 4, 4096  # unless they are so few on so many rows,
LONGEST = 100  # and no formula has more literals


@dataclass(frozen=True, eq=False)
class Column:
    """How one state node occurs in a program.

    names: one signal, or one a cut; values: (levels, signals) what they are at each level
    """

    column: int
    names: tuple[str, ...]
    values: np.ndarray
    boolean: bool


@dataclass(frozen=True, eq=False)
class Made:
    """A program, and where the nodes of the graph are in it."""

    program: Program
    columns: tuple[Column, ...]
    shared: Mapping[int, str]  # node -> name
    outputs: tuple[Expr, ...]  # formulas, in the order of the heads


def cost(program: Program) -> tuple:
    return (
        program.literals + program.effort,
        program.lines,
        program.literals,
        "\n".join(program.code()),
    )


def countings(automaton: Automaton) -> list[bool]:
    """Integers or Booleans for states of more than two levels; both, if there are any.

    Neither where the search for formulas would take minutes: an integer of very many levels, or
    very many variables on very many transitions.
    """
    highest = automaton.level.max(axis=0, initial=0)
    ways = [True] if 1 < highest.max(initial=0) < LEVELS else []
    booleans, rows = int(highest.sum()), int((automaton.successor >= 0).sum())
    few = booleans * rows <= ENTRIES or (booleans <= SMALL and rows <= ROWS)
    return [*ways, False] if few else ways


class TooLong(Exception):
    """A formula on very many rows that nobody would read, nor wait for the others."""


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
        entries = self.rows * sum(len(c.names) for c in self.columns)
        self.longest = LONGEST if entries > ENTRIES else None

    def made(self) -> tuple[Made, Automaton] | None:
        try:
            best = self._made({})
        except TooLong:
            return None
        if best is None:
            return None
        shared: dict[int, str] = {}
        if best.program.literals > 4:
            for node, name in self._candidates().items():
                tried = self._made({**shared, node: name})
                if tried is not None and cost(tried.program) < cost(best.program):
                    best, shared = tried, {**shared, node: name}
        return by_role(_turned(best)), self.automaton

    # ---- what the rows say

    def _columns(self, counting: bool) -> tuple[Column, ...]:
        graph, level = self.found.graph, self.automaton.level
        cut = [column for column, _ in self.automaton.cuts]
        known = [graph.nodes[i].name for i in graph.where("state")]
        beyond = level.shape[1] - len(known)  # what no levels tell
        known += ["state"] if beyond == 1 else [f"state_{n}" for n in range(beyond)]
        made = []
        taken = [*self.inputs, *self.outputs]
        for column in sorted(set(cut)):
            count = cut.count(column) + 1
            (name,) = identifiers([known[column]], taken)
            if count > 2 and counting:
                first = int(level[0, column])
                rung = np.arange(count)  # 0 at the start, and upwards from there if that may be
                rung = rung - first if first < count - 1 else count - 1 - rung
                made.append(Column(column, (name,), rung[:, None], False))
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
            table = (self._neuron(i, own[i]) if len(own[i]) == 2 else None) or 0
            if table and table not in seen:
                seen |= {table, table ^ search.full}
                nodes.append(i)
        taken = [*self.inputs, *self.outputs, *(n for c in self.columns for n in c.names)]
        nodes = nodes[: NEURONS_TRIED if self.rows <= MANY else 0]
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

    def _formula(self, search: Search, wanted: int, care: int | None = None) -> Expr:
        e = search.formula(wanted, care)
        if self.longest is not None and e.literals > self.longest:
            raise TooLong
        return e

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
            table = self._neuron(node, own[node]) or 0
            before.append(Assignment((name,), (self._formula(self._search(terms), table),)))
            terms.append((signal(name), table))
        y = self.automaton.output[self.state, self.symbol]
        wanted = [(self._table(bit > 0), self._table(bit != 0)) for bit in y.T]
        search = self._search(terms)
        early = [self._formula(search, *each) for each in wanted]
        own_terms = terms[len(terms) - len(shared) :]
        late_terms = [*self._given(), *self._stored(self.after), *own_terms]
        late_search = self._search(late_terms)
        told = all(late_search.determined(*each) for each in wanted)
        late = [self._formula(late_search, *each) for each in wanted] if told else []
        named, chain = list(terms), list[Expr]()  # each output may use those before it
        for name, each in zip(self.outputs, wanted, strict=True):
            e = self._formula(self._search(named), *each)
            chain.append(e)
            if e.literals > 1:
                table = sum(1 << n for n in range(self.rows) if self._true(e, n, named))
                named.append((signal(name), table))
        programs = []
        ways = [(chain, named), (early, terms), *([(late, terms)] if told else [])]
        for outputs, uses in ways:
            update = self._update(self._search(uses))
            if update is None:
                continue
            programs.append(self._assembled(before, outputs, update, outputs is late, shared))
        return min(programs, key=lambda m: cost(m.program), default=None)

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
                    update[name] = self._formula(search, self._table(values[:, i]))
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
                stack += formulas[name].signals if name in formulas else []
        columns = tuple(c for c in self.columns if set(c.names) & live)
        variables = []
        for c in columns:
            first = c.values[self.automaton.level[0, c.column]].tolist()
            for name, value in zip(c.names, first, strict=True):
                low, high = (0, 1) if c.boolean else (int(c.values.min()), int(c.values.max()))
                variables.append(Variable(name, value, low, high))
        names = tuple(v.name for v in variables)
        changed = Assignment(names, tuple(update[n] for n in names)) if names else None
        read = {n for e in (*update.values(), *outputs) for n in e.signals}
        used = read & set(self.outputs)
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


def by_role(made: Made) -> Made:
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
