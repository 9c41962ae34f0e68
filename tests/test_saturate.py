"""States solved for anew: what is proven with them, and what cannot be."""

from dataclasses import replace

import numpy as np
import pytest
from graphs import build, lookup
from hypothesis import given, settings
from test_machine import machines

from bonsai.certificate import Certificate
from bonsai.check import check
from bonsai.graph import Graph
from bonsai.machine import Machine
from bonsai.prove import prove
from bonsai.saturate import ROUGH, SPARE, _least, saturated, walked
from bonsai.tasks import TASKS


def rough(graph: Graph, size: float, seed: int = 0) -> Graph:
    """As after training: no number is round, and the activation leaks."""
    rng = np.random.default_rng(seed)

    def near(value: float) -> float:
        return float(np.float32(value * (1 + size * rng.uniform(-1, 1))))

    nodes = tuple(replace(n, bias=near(n.bias), initial=near(n.initial)) for n in graph.nodes)
    edges = tuple(replace(e, weight=near(e.weight)) for e in graph.edges)
    return replace(graph, nodes=nodes, edges=edges, leak=0.0625)


def proven(graph: Graph | None, machine: Machine) -> Certificate:
    assert graph is not None
    certificate = prove(graph, machine)
    assert isinstance(certificate, Certificate), certificate
    check(certificate, graph, machine)
    return certificate


@given(machines())
@settings(max_examples=25, deadline=None)
def test_any_machine_looked_up_roughly_is_proven_with_bits(machine: Machine) -> None:
    c = proven(saturated(rough(lookup(machine), 0.001), machine), machine)
    assert c.kind == "points"
    assert (np.abs(c.low) == 1).all()
    assert len(c) <= len(machine.states)


# `delay2` with states near -1 and 1, and not on them.
drifting = build(
    "x",
    {"s": (-1, "r"), "t": (-1, "q")},
    {"r": (0, {"x": -1.02}), "q": (0, {"s": -0.97}), "o": (0, {"t": -1.03})},
    {"y": (0.1, {"o": 1})},
    leak=0.0625,
)


def test_states_end_on_bits_and_hidden_neurons_stay() -> None:
    machine = TASKS["delay2"]().minimized()
    found = saturated(drifting, machine)
    assert found is not None
    assert found.leak == 0
    certificate = proven(found, machine)
    assert (np.abs(certificate.low) == 1).all()
    before = {drifting.nodes[e.source].name: e.weight for e in drifting.edges if e.target == 5}
    at = next(i for i, n in enumerate(found.nodes) if n.name == "o")
    after = {found.nodes[e.source].name: e.weight for e in found.edges if e.target == at}
    assert before == after
    for r, _ in found.feedback:
        reach = sum(abs(e.weight) for e in found.edges if e.target == r)
        assert reach - abs(found.nodes[r].bias) >= 3 + ROUGH


def test_a_head_with_a_wrong_sign_is_solved_for() -> None:
    machine = TASKS["delay2"]().minimized()
    head = drifting.where("head")[0]
    nodes = list(drifting.nodes)
    nodes[head] = replace(nodes[head], bias=1.5)  # always 1
    proven(saturated(replace(drifting, nodes=tuple(nodes)), machine), machine)


AGREE = Machine.from_step(False, lambda s, x: (s == x[0], (s == x[0],)), ["x"], ["y"])


@pytest.mark.parametrize("beside", [False, True])
def test_what_no_sum_separates_needs_another_neuron_to_read(beside: bool) -> None:
    """A(1 + s + x) is -1 where s and x differ, by the bend of A; o is 1 where both are."""
    hidden = {"o": (-3, {"x": 3, "s": 3})} if beside else {}
    bent = build(
        "x",
        {"s": (-1, "r")},
        {**hidden, "r": (1, {"s": 1, "x": 1})},
        {"y": (0, {"r": 1})},
        leak=0.0625,
    )
    assert isinstance(prove(bent, AGREE), Certificate)
    found = saturated(rough(bent, 0.01), AGREE)
    if beside:
        proven(found, AGREE)
    else:
        assert found is None


def test_another_task_is_not_made_of_a_graph() -> None:
    assert saturated(drifting, TASKS["parens"]()) is None


def test_a_walk_ends_where_pairs_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = TASKS["delay2"]().minimized()
    walk = walked(drifting, machine)
    assert walk is not None
    assert walk.values.shape == (len(drifting.nodes), 8)
    assert walk.wanted.shape == (1, 8)
    monkeypatch.setattr("bonsai.saturate.PAIRS", 3)
    assert walked(drifting, machine) is None
    monkeypatch.setattr("bonsai.saturate.PAIRS", 4)
    monkeypatch.setattr("bonsai.saturate.ROWS", 7)
    assert walked(drifting, machine) is None


def test_the_least_weights_are_round_and_spare_something() -> None:
    rows = np.array([[1, 1.03, 0.2], [1, 0.98, -1.1], [-1, 1.01, 0.7]])
    found = _least(rows, 3 + SPARE)
    assert found is not None
    assert (rows @ found >= 3 + ROUGH).all()
    assert np.count_nonzero(found) == 1
    assert (found * 1024 == np.round(found * 1024)).all()
    assert _least(np.array([[1.0], [-1.0]]), 1.0) is None
