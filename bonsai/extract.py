"""From a proven graph to a program: levels, an automaton, and the shortest formulas found for it.

The state nodes' levels are the state of a finite automaton (`bonsai.levels`). Each of them, and
each output, is a function of the levels before and the inputs, given by as many rows as can occur;
`bonsai.logic` finds a short formula for it. Several choices of states, of Booleans or integers for
a state of many levels, and of neurons as signals of their own are tried; the program of fewest
literals wins, if it is proven equal to the task (`bonsai.program.prove_equal`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bonsai.certificate import Certificate
from bonsai.design import Column, Design, Made, cost, countings
from bonsai.graph import NEURONS, Graph
from bonsai.levels import Automaton, Cut, Range, Reach, abstractions, levels, reach
from bonsai.logic import Expr
from bonsai.machine import Bits, Machine
from bonsai.program import Program, prove_equal

LARGEST = 32  # states of the task that no levels tell apart
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
    columns: of the program's variables
    automaton: of levels, as it is; mealy: minimised; block: (C,) the state of `mealy` of each
    """

    graph: Graph
    task: Machine
    program: Program
    levels: list[list[Range]]
    values: list[list[Any]]
    names: list[str | None]
    functions: list[Expr | None]
    columns: tuple[Column, ...]
    automaton: Automaton
    mealy: Machine
    block: np.ndarray

    @property
    def remark(self) -> str | None:
        """What a reader must know of a program with a variable that is in no node."""
        columns = len(self.graph.initial)
        own = [name for c in self.columns if c.column == columns for name in c.names]
        if not own:
            return None
        return (
            "No gaps in the values of the network's states carry the whole behaviour: "
            f"{', '.join(own)} {'is' if len(own) == 1 else 'are'} told by what the certificate "
            "knows of the task's state, not by the level of any node."
        )


def extract(graph: Graph, machine: Machine, certificate: Certificate) -> Extraction:
    """The shortest program found for a proven graph. Raises ExtractError if there is none."""
    if not len(certificate):
        raise ExtractError("the graph is not proven")
    found = reach(graph, machine, certificate)
    automata = abstractions(found)
    if not automata:
        automata = [_known(found)]
    designs = [
        design
        for automaton in automata[:CHOICES]
        for counting in countings(automaton)
        if (design := Design(found, automaton, counting).made()) is not None
    ]
    if not designs:
        raise ExtractError("no formula was found for an integer signal")
    best = min(designs, key=lambda d: cost(d[0].program))
    made, automaton = best
    prove_equal(made.program, machine)
    own = levels(found, automaton)
    mealy, block = _mealy(found, automaton)
    values, names, functions = _signals(found, automaton, made, own)
    return Extraction(
        graph, machine, made.program, own, values, names, functions, made.columns, automaton,
        mealy, block,
    )  # fmt: skip


def _known(found: Reach) -> Automaton:
    """The task's own automaton, minimised, for a network whose levels carry no automaton.

    Its states mean different things together with others then; but every entry of a certificate
    tells the state of the task. Levels that are on one side for each of those states are kept, the
    widest gaps first, and what they do not tell apart is numbered in a column beyond the states.
    """
    c, task = found.certificate, found.machine
    share = task.legal / task.legal.sum(axis=1, keepdims=True)
    small, block = _minimized(replace(task, probability=share))
    count, columns = len(small.states), c.low.shape[1]
    member = block[c.machine_state]
    sides: dict[Cut, np.ndarray] = {}
    for _, column, cut in sorted(found.gaps, reverse=True):
        on = np.zeros((2, count), bool)
        on[(c.low[:, column] > cut).astype(np.int64), member] = True
        more = {**sides, (column, cut): on[1]}
        if not on.all(axis=0).any() and len(_alike(more, count)) > len(_alike(sides, count)):
            sides = more
    rest = max(_alike(sides, count).values())
    for gone in list(sides)[::-1]:
        fewer = {cut: side for cut, side in sides.items() if cut != gone}
        if max(_alike(fewer, count).values()) == rest:
            sides = fewer
    if rest > LARGEST:
        raise ExtractError(
            "no gaps in the values of its states carry the behaviour, and leave "
            f"{rest} states of the task together, more than {LARGEST}"
        )
    level = np.zeros((count, columns + 1), np.int64)
    for (column, _), side in sides.items():
        level[:, column] += side
    told = np.array([*sides.values()], bool).reshape(-1, count)
    for n in range(count):
        level[n, columns] = (told[:, :n] == told[:, [n]]).all(axis=0).sum()
    cuts = [*sides, *((columns, n + 0.5) for n in range(rest - 1))]
    successor = small.next.astype(np.int64)
    return Automaton(tuple(sorted(cuts)), level, successor, small.output.astype(np.int64), member)


def _alike(sides: Mapping[Cut, np.ndarray], count: int) -> Counter:
    """How many of so many states are on these sides of all cuts."""
    told = np.array([*sides.values(), np.zeros(count, bool)])
    return Counter(map(tuple, told.T.tolist()))


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
    position of each state node's level in `levels`; remark: of variables that are in no node
    """
    e, p = extraction, extraction.program
    lines = [line.strip() for line in text.splitlines()]
    place = {
        target: len(lines) - 1 - lines[::-1].index(str(a)) for a in p.body for target in a.targets
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
