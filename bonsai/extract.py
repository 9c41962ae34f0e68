"""From a proven graph to a program: levels, an automaton, and the shortest formulas found for it.

The state nodes' levels are the state of a finite automaton (`bonsai.levels`). Each of them, and
each output, is a function of the levels before and the inputs, given by as many rows as can occur;
`bonsai.logic` finds a short formula for it. Several choices of states, of Booleans or integers for
a state of many levels, and of neurons as signals of their own are tried; the program of fewest
literals wins, if it is proven equal to the task (`bonsai.program.prove_equal`). One that adds up
what comes in (`bonsai.sums`) is taken where it is much shorter.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bonsai.certificate import Certificate
from bonsai.design import LEVELS, Column, Design, Made, cost, countings
from bonsai.encode import codes
from bonsai.graph import NEURONS, Graph
from bonsai.levels import Automaton, Range, Reach, abstractions, levels, reach
from bonsai.logic import Expr
from bonsai.machine import Bits, Machine
from bonsai.program import Program, prove_equal
from bonsai.sums import Sums

SHORTER = 0.75  # of a program by levels: how long a sum, or one with variables in no node, may be
CHOICES = 6  # automata that programs are made for
STEPS = 8  # of the word in the doctest
BITS = 24  # of its inputs, together
WORDS = 64  # that it is the best of


class ExtractError(ValueError):
    """No program can be derived. The message says why."""


@dataclass(frozen=True, eq=False)
class Extraction:
    """program: proven equal to the task; levels: of each node of the graph

    values: for each node, what its levels are in the program; where it does not occur there,
    False and True, or numbers
    names: for each node, its signals in the program
    functions: for each node, the formula in the program that gives its value
    automaton: of levels, as it is; mealy: minimised; block: (C,) the state of `mealy` of each
    variables: for each state of `automaton`, what the program's variables are there
    hidden: those of them that are in no node
    """

    graph: Graph
    task: Machine
    program: Program
    levels: list[list[Range]]
    values: list[list[Any]]
    names: list[str | None]
    functions: list[Expr | None]
    automaton: Automaton
    mealy: Machine
    block: np.ndarray
    variables: list[dict[str, Any]]
    hidden: tuple[str, ...]

    @property
    def remark(self) -> str | None:
        """What a reader must know of a program with a variable that is in no node."""
        if not self.hidden:
            return None
        columns = sorted({column for column, _ in self.automaton.cuts})
        nodes = [self.graph.nodes[i].name for i in self.graph.where("state")]
        names = [nodes[c] for c in columns if c < len(nodes)]
        one = len(self.hidden) == 1
        said = f"{_listed(self.hidden)} {'is' if one else 'are'} in no node of the network: "
        if len(columns) == len(names):
            return (
                said + f"the levels of {_listed(names)} tell {'it' if one else 'them'} together."
            )
        return said + (
            "no gaps in the values of its states carry the whole behaviour, and only the "
            f"certificate tells {'it' if one else 'them'}."
        )


def extract(graph: Graph, machine: Machine, certificate: Certificate) -> Extraction:
    """The shortest program found for a proven graph. Raises ExtractError if there is none.

    Variables are levels of nodes, unless these have more states than the task and those of a code
    (`bonsai.encode`) make it much shorter.
    """
    if not len(certificate):
        raise ExtractError("the graph is not proven")
    found = reach(graph, machine, certificate)
    automata = abstractions(found)[:CHOICES]
    sums = _sums(found, automata)
    # The search for formulas of very many levels takes long, and finds none as short as a sum.
    designs = _designs(found, [a for a in automata if not sums or a.level.max() < LEVELS])
    if automata:
        mealy, block = _mealy(found, automata[0])
        member, cuts = block[automata[0].member], automata[0].cuts
    else:
        share = machine.legal / machine.legal.sum(axis=1, keepdims=True)
        mealy, block = _minimized(replace(machine, probability=share))
        member = block[certificate.machine_state]
        cuts = tuple((column, cut) for _, column, cut in sorted(found.gaps, reverse=True))
    spare = all(len(automaton.level) > len(mealy.states) for automaton in automata)
    coded = _designs(found, codes(found, mealy, member, cuts)) if spare and not sums else []
    nodes = len(graph.initial)
    ranked = [
        *sorted(designs, key=lambda d: cost(d[0].program))[:1],
        *sorted(sums, key=lambda d: cost(d[0].program))[:1],
        *sorted(
            coded, key=lambda d: (_read(d[0]) + len(_hidden(d[0], nodes)), cost(d[0].program))
        )[:1],
    ]
    if not ranked:
        raise ExtractError("its levels carry no automaton that a few variables stand for")
    chosen = ranked[0]
    for other in ranked[1:]:
        if _read(other[0]) <= SHORTER * _read(chosen[0]):
            chosen = other
    made, automaton = chosen
    prove_equal(made.program, machine)
    shown = automata[0] if designs and chosen in coded else automaton
    own = levels(found, shown)
    values, names, functions = _signals(found, automaton, made, own)
    variables = _variables(made, automaton)
    if shown is not automaton:  # whose states are those of the minimised one
        variables = [variables[n] for n in block]
    mealy, block = _mealy(found, shown)
    return Extraction(
        graph, machine, made.program, own, values, names, functions, shown, mealy, block,
        variables, _hidden(made, nodes),
    )  # fmt: skip


def _hidden(made: Made, nodes: int) -> tuple[str, ...]:
    """The program's variables that are in none of so many state nodes."""
    return tuple(name for c in made.columns if c.column >= nodes for name in c.names)


def _listed(names: Sequence[str]) -> str:
    """
    >>> _listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _variables(made: Made, automaton: Automaton) -> list[dict[str, Any]]:
    return [
        {
            name: value
            for c in made.columns
            for name, value in zip(c.names, c.values[level[c.column]].tolist(), strict=True)
        }
        for level in automaton.level
    ]


def _designs(found: Reach, automata: Sequence[Automaton]) -> list[tuple[Made, Automaton]]:
    return [
        design
        for automaton in automata
        for counting in countings(automaton)
        if (design := Design(found, automaton, counting).made()) is not None
    ]


def _sums(found: Reach, automata: Sequence[Automaton]) -> list[tuple[Made, Automaton]]:
    return [d for automaton in automata if (d := Sums(found, automaton).made()) is not None]


def _read(made: Made) -> int:
    return made.program.literals + made.program.effort


def example(machine: Machine) -> list[Bits]:
    """A short word for the doctest, one of many transitions and changes of the outputs."""
    steps = max(3, min(STEPS, BITS // max(1, len(machine.inputs))))
    symbols, states = machine.sample(np.random.default_rng(0), WORDS, steps)

    def tells(n: int) -> int:
        _, y = machine.run(symbols[n].tolist())
        walked = set(zip(states[n].tolist(), symbols[n].tolist(), strict=False))
        return len(walked) + int((y[1:] != y[:-1]).any(axis=1).sum())

    best = max(range(WORDS), key=lambda n: (tells(n), -n))
    return [tuple(bool(b > 0) for b in machine.symbols[a]) for a in symbols[best]]


def _signals(
    found: Reach, automaton: Automaton, made: Made, own: Sequence[Sequence[Range]]
) -> tuple[list[list[Any]], list[str | None], list[Expr | None]]:
    """For each node: values of its levels, names, and the formula that gives them."""
    graph, p = found.graph, made.program
    column = {node: n for n, node in enumerate(graph.where("state"))}
    at = {c.column: c for c in made.columns}
    feeds = {r: column[s] for r, s in graph.feedback if column[s] in at}
    formula = {t: e for a in p.body for t, e in zip(a.targets, a.values, strict=True)}
    heads = dict(zip(graph.where("head"), range(len(made.outputs)), strict=True))
    inputs = dict(zip(graph.where("input"), p.inputs, strict=True))
    values: list[list[Any]] = []
    names: list[str | None] = []
    functions: list[Expr | None] = []
    for i, node in enumerate(graph.nodes):
        value: list[Any] = [False, True] if len(own[i]) == 2 else list(range(len(own[i])))
        name: str | None = None
        function: Expr | None = None
        c = at.get(column[i]) if node.kind == "state" else None
        if node.kind in NEURONS and i in feeds and i not in made.shared:
            c = at[feeds[i]]
        if i in inputs:
            name = inputs[i]
        elif c is not None:
            value = _shown(c, own[i], automaton)
            name = ", ".join(c.names) if node.kind == "state" else None
            function = formula[c.names[0]] if len(c.names) == 1 else None
        elif i in made.shared:
            name = made.shared[i]
            function = formula[name]
        elif i in heads:
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
    return _minimized(whole)


def _minimized(whole: Machine) -> tuple[Machine, np.ndarray]:
    """The minimal machine, and (Q,) its state for each of the whole one's; all are reachable."""
    small = whole.minimized()
    block = np.full(len(whole.states), -1)
    block[0] = 0
    stack = [0]
    while stack:
        n = stack.pop()
        for a in np.flatnonzero(whole.legal[n]):
            to = int(whole.next[n, a])
            if block[to] < 0:
                block[to] = small.next[block[n], a]
                stack.append(to)
    return small, block


def diagram(extraction: Extraction) -> Machine:
    """The minimised automaton with states named for a picture: the task's state, and levels."""
    names = []
    for n, name in enumerate(extraction.mealy.states):
        digits = extraction.automaton.level[int((extraction.block == n).argmax())]
        kept = [digits[c] for c in sorted({column for column, _ in extraction.automaton.cuts})]
        names.append(f"{name}: {' '.join(map(str, kept))}" if kept else name)
    return replace(extraction.mealy, states=tuple(names))


def described(extraction: Extraction, text: str) -> dict[str, Any]:
    """What `logic.json` holds of a program, whose file has this text.

    levels: [low, high] of each, ascending; values: what each level is in the program; function: as
    in the program; line: where it stands in the text, from 0; states: the automaton's, with the
    position of each state node's level in `levels`, and what the program's variables are; remark:
    on variables that are in no node
    """
    e, p = extraction, extraction.program
    lines = [line.strip() for line in text.splitlines()]
    place = {
        target: len(lines) - 1 - lines[::-1].index(a.code[0]) + a.place(target)
        for a in p.body
        for target in a.targets
    }
    result = next(n for n, line in enumerate(lines) if line.startswith("yield ("))
    feeds = {r: e.names[s] for r, s in e.graph.feedback}
    signals = []
    for i, node in enumerate(e.graph.nodes):
        name, function = e.names[i], e.functions[i]
        line = None
        if function is not None:
            line = place.get(name or feeds.get(i) or "", result if node.kind == "head" else None)
        signals.append(
            {
                "node": node.name,
                "kind": node.kind,
                "signal": name,
                "levels": [list(level) for level in e.levels[i]],
                "values": e.values[i],
                "function": None if function is None else str(function),
                "line": line,
            }
        )
    nodes = e.graph.where("state")
    kept = sorted({column for column, _ in e.automaton.cuts if column < len(nodes)})
    states = [
        {
            "state": int(e.block[n]),
            "machine_state": e.mealy.states[e.block[n]],
            "levels": {e.graph.nodes[nodes[c]].name: int(level[c]) for c in kept},
            "variables": e.variables[n],
        }
        for n, level in enumerate(e.automaton.level)
    ]
    return {
        "program": {
            "text": text,
            "lines": p.lines,
            "literals": p.literals,
            "signals": p.signals,
        },
        "reason": None,
        "remark": e.remark,
        "signals": signals,
        "states": states,
    }
