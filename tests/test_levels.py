"""Levels of the nodes on a certificate, the automaton they make, and boxes that straddle none."""

from dataclasses import replace

import numpy as np
import pytest
from graphs import RIGHT, build, lookup, loop3, parens

from bonsai.certificate import Certificate
from bonsai.check import check
from bonsai.graph import Graph
from bonsai.levels import Reach, abstractions, apparent, automaton, levels, ranges, reach
from bonsai.machine import Machine
from bonsai.prove import prove
from bonsai.tasks import TASKS

# It closes with three boxes, one for each state of the task.
BOXED = build(
    "x",
    {"s": (-1, "r"), "t": (1, "q")},
    {
        "r": (0, {"t": 0.5}),
        "q": (1, {"x": 1.5, "s": 0.5, "t": -0.5}),
        "o": (1, {"x": 0.5, "s": 0.5, "t": -0.5}),
    },
    {"y": (0, {"o": -1.5})},
    factor=0,
    leak=0.0625,
)


def halved(c: Certificate, column: int) -> Certificate:
    """The same boxes, each of them cut in the middle of one side."""
    low, high = np.repeat(c.low, 2, axis=0), np.repeat(c.high, 2, axis=0)
    high[0::2, column] = low[1::2, column] = (c.low + c.high)[:, column] / 2
    rows = [(2 * k + i, a, 2 * to + j) for k, a, to in c.transitions for i, j in np.ndindex(2, 2)]
    transitions = np.unique(np.array(rows, np.int32), axis=0)
    q = np.repeat(c.machine_state, 2)
    return replace(c, machine_state=q, low=low, high=high, transitions=transitions)


def found(graph: Graph, machine: Machine) -> Reach:
    certificate = prove(graph, machine)
    assert isinstance(certificate, Certificate), certificate
    return reach(graph, machine, certificate)


def test_gaps_that_stand_out_make_levels() -> None:
    bits = ranges(np.array([-1.0, -0.9, 0.8, 1.0]), np.array([-1.0, -0.9, 0.8, 1.0]))
    assert len(apparent(bits)) == 1
    ladder = np.arange(-1, 1.1, 0.25)
    assert len(apparent(ranges(ladder, ladder))) == 8
    noise = np.random.default_rng(0).random(1000)
    assert apparent(ranges(noise, noise)) == []


@pytest.mark.parametrize("task", RIGHT)
def test_the_automaton_has_the_outputs_of_the_task(task: str) -> None:
    machine = TASKS[task]().minimized()
    automata = abstractions(found(RIGHT[task], machine))
    assert automata
    for small in automata:
        pairs = {(0, 0)}
        for c, q in list(pairs):
            for a in np.flatnonzero(machine.legal[q]):
                assert (small.output[c, a] == machine.output[q, a]).all()
                pairs.add((int(small.successor[c, a]), int(machine.next[q, a])))


def test_a_counter_is_a_ladder() -> None:
    reached = found(parens, TASKS["parens"]())
    (small,) = abstractions(reached)
    assert small.level.max() == 8
    own = levels(reached, small)
    assert own[1] == [(n / 4 - 1, n / 4 - 1) for n in range(9)]
    assert len(own[-1]) == 2  # the head, by its sign


def test_too_few_cuts_do_not_carry_the_behaviour() -> None:
    reached = found(loop3, TASKS["loop3"]())
    assert automaton(reached, [(0, 0.0)]) is None
    assert automaton(reached, [(0, 0.0), (1, 0.0)]) is not None


def test_a_state_that_nothing_needs_has_no_cut() -> None:
    copies = build(
        "x",
        {"s": (-1, "r"), "t": (-1, "q")},
        {"r": (0, {"x": -1}), "q": (0, {"x": -1}), "o": (0, {"s": -0.5, "t": -0.5})},
        {"y": (0, {"o": 1})},
    )
    for small in abstractions(found(copies, TASKS["delay1"]()))[:2]:
        assert len(small.cuts) == 1


def test_every_reachable_value_lies_in_one_level() -> None:
    machine = TASKS["ones_triple"]()
    reached = found(lookup(machine), machine)
    own = levels(reached, abstractions(reached)[0])
    for node, ranged in enumerate(own):
        for low, high in zip(reached.low[node], reached.high[node], strict=True):
            assert sum(a <= low and high <= b for a, b in ranged) == 1


def test_boxes_that_overlap_have_no_levels_that_carry_the_behaviour() -> None:
    machine = TASKS["ones_triple"]().minimized()
    c = found(BOXED, machine).certificate
    assert c.kind == "boxes"
    low, high = (np.full_like(c.low, edge) for edge in (c.low.min(), c.high.max()))
    assert abstractions(reach(BOXED, machine, replace(c, low=low, high=high))) == []


def test_cells_that_nothing_needs_are_one_level() -> None:
    """Each box is cut in two, so that an entry leads to several: no behaviour tells them apart."""
    machine = TASKS["ones_triple"]().minimized()
    c = found(BOXED, machine).certificate
    cut = halved(c, 0)
    check(cut, BOXED, machine)
    assert len(cut.transitions) > 2 * len(c.transitions)
    sizes = [
        {len(small.level) for small in abstractions(reach(BOXED, machine, each))}
        for each in (c, cut)
    ]
    assert sizes[0] == sizes[1]
