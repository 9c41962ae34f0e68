"""The dead-code elimination of proven graphs: planted redundancies go, and the rest is proven."""

import pytest
from graphs import RIGHT, build, delay1, lookup, ones_triple

from bonsai.certificate import Certificate, Undecided
from bonsai.check import check
from bonsai.graph import Graph
from bonsai.prove import prove
from bonsai.simplify import cost, observed, simplify
from bonsai.tasks import TASKS

X = {"x": -1}
REDUNDANT = {
    "constant neuron": build(
        "x",
        {"s": (-1, "r")},
        {"r": (0, X), "k": (-3, {}), "o": (2, {"s": -1, "k": 2})},
        {"y": (0, {"o": 1})},
    ),
    "constant state": build(
        "x",
        {"s": (-1, "r"), "k": (1, "c")},
        {"r": (0, X), "c": (0, {"k": 3}), "o": (-2, {"s": -1, "k": 2})},
        {"y": (0, {"o": 1})},
    ),
    "equal states": build(
        "x",
        {"s": (-1, "r"), "t": (-1, "q")},
        {"r": (0, X), "q": (0, X), "o": (0, {"s": -0.5, "t": -0.5})},
        {"y": (0, {"o": 1})},
    ),
    "opposite states": build(
        "x",
        {"s": (-1, "r"), "t": (1, "q")},
        {"r": (0, X), "q": (0, {"x": 1}), "o": (0, {"s": -0.5, "t": 0.5})},
        {"y": (0, {"o": 1})},
    ),
    "state fed twice": build(
        "x",
        {"s": (-1, "r"), "t": (-1, "r")},
        {"r": (0, X), "o": (0, {"s": -0.5, "t": -0.5})},
        {"y": (0, {"o": 1})},
    ),
    "output like a recurrent neuron": build(
        "x",
        {"s": (-1, "r")},
        {"r": (0, X), "o": (0, X), "p": (0, {"s": -1, "o": 4, "r": -4})},
        {"y": (0, {"p": 1})},
    ),
    "copies in a row": build(
        "x",
        {"s": (-1, "r")},
        {"r": (0, X), "o": (0, {"s": -1}), "p": (0, {"o": -1}), "u": (0, {"p": -1})},
        {"y": (0, {"u": 1})},
    ),
    "edge and bias that change nothing": build(
        "x",
        {"s": (-1, "r")},
        {"r": (0.125, X), "o": (0.25, {"s": -1, "x": 0.125})},
        {"y": (0.5, {"o": 1})},
    ),
}


@pytest.mark.parametrize("planted", REDUNDANT)
def test_what_is_planted_goes(planted: str) -> None:
    graph, machine = REDUNDANT[planted], TASKS["delay1"]()
    found, certificate = simplify(graph, machine, proven(graph, machine))
    check(certificate, found, machine)
    assert (found.weights, found.biases, len(found.initial), found.neurons) == (2, 0, 1, 1)


@pytest.mark.parametrize("task", RIGHT)
def test_no_graph_becomes_larger(task: str) -> None:
    graph, machine = RIGHT[task], TASKS[task]()
    found, certificate = simplify(graph, machine, proven(graph, machine))
    check(certificate, found, machine)
    assert cost(found) <= cost(graph)
    again, _ = simplify(graph, machine, proven(graph, machine))
    assert (again.nodes, again.edges) == (found.nodes, found.edges)


def test_a_lookup_of_every_transition_shrinks() -> None:
    machine = TASKS["ones_triple"]().minimized()
    graph = lookup(machine)
    found, certificate = simplify(graph, machine, proven(graph, machine))
    check(certificate, found, machine)
    assert found.size < graph.size / 2


def test_only_the_proof_accepts() -> None:
    machine = TASKS["ones_triple"]()
    certificate = proven(ones_triple, machine)
    asked = []

    def never(graph: Graph, _: object) -> Undecided:
        asked.append(cost(graph))
        return Undecided("not tried")

    assert simplify(ones_triple, machine, certificate, never) == (ones_triple, certificate)
    assert asked == sorted(asked)
    assert all(tried < cost(ones_triple) for tried in asked)


def test_a_neuron_is_straightened_where_the_activation_is() -> None:
    # With factor 1 the neuron o stays on the straight part, so that the head can do its work.
    graph = build(
        "x",
        {"s": (-1, "r")},
        {"r": (0, X), "o": (0, {"s": 0.25, "x": 0.125})},
        {"y": (0, {"o": -1, "x": -0.125})},
        factor=1,
    )
    machine = TASKS["delay1"]()
    found, _ = simplify(graph, machine, proven(graph, machine))
    assert "o" not in [node.name for node in found.nodes]


def test_observed_values_are_those_of_the_certificate() -> None:
    machine = TASKS["delay1"]()
    values = observed(delay1, machine, proven(delay1, machine))
    names = [node.name for node in delay1.nodes]
    assert set(values[names.index("s")]) == {-1.0, 1.0}
    assert values.shape == (len(names), 4)  # two entries, two inputs


def test_without_a_certificate_it_refuses() -> None:
    with pytest.raises(ValueError, match="not proven"):
        simplify(delay1, TASKS["delay1"](), Certificate.empty(1))


def proven(graph: Graph, machine) -> Certificate:
    found = prove(graph, machine)
    assert isinstance(found, Certificate), found
    return found
