import numpy as np
import pytest

from bonsai.activation import ameo, ameo_derivative
from bonsai.artifact import ArtifactError, load_arrays, save_arrays
from bonsai.graph import Edge, Graph, Node
from bonsai.network import Architecture, Network
from bonsai.recipe import UNIT, Recipe, Regularizer, schedule
from kernels.oracle import forward


def published(x: float, f: float, leak: float) -> float:
    """The activation, case by case as it was published."""
    if x <= -3:
        p = -1 + leak * (x + 3)
    elif x <= -1:
        p = x + 2
    elif x <= 1:
        p = -x
    elif x <= 3:
        p = x - 2
    else:
        p = 1 + leak * (x - 3)
    u = x / 2 - 0.5
    if u <= -2:
        return f * p + (1 - f) * (-1 + leak * (x + 3))
    if u <= -1.5:
        r = 8 * (u + 2) ** 4
    elif u <= -0.5:
        r = 1 - 8 * (u + 1) ** 4
    elif u <= 0.5:
        r = 8 * u**4
    elif u <= 1:
        r = 1 - 8 * (u - 1) ** 4
    else:
        return f * p + (1 - f) * (1 + leak * (x - 3))
    return f * p + (1 - f) * (2 * r - 1)


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.6, 1.0])
@pytest.mark.parametrize("leak", [0.0, 0.0625, 1.0])
def test_activation_is_the_published_one(factor, leak):
    breakpoints = [-5, -3, -2, -1, 0, 1, 2, 3, 5]
    x = np.sort(np.concatenate([breakpoints, np.linspace(-6, 6, 1201)]))
    expected = [published(float(v), factor, leak) for v in x]
    np.testing.assert_allclose(ameo(x, factor, leak), expected, atol=1e-12)


def test_activation_at_its_breakpoints():
    x = np.array([-3.0, -2, -1, 0, 1, 2, 3])
    for factor in (0.0, 0.25, 0.5, 1.0):
        assert ameo(x, factor, 0.0625).tolist() == [-1, 0, 1, 0, -1, 0, 1]


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0])
def test_derivative_is_the_slope(factor):
    x = np.linspace(-5, 5, 2003)
    x = x[(np.abs(np.abs(x) - 1) > 1e-4) & (np.abs(np.abs(x) - 3) > 1e-4)]
    h = 1e-6
    slope = (ameo(x + h, factor, 0.1) - ameo(x - h, factor, 0.1)) / (2 * h)
    np.testing.assert_allclose(ameo_derivative(x, factor, 0.1), slope, atol=1e-5)


def test_derivative_at_the_kinks():
    x = np.array([1.0, 3.0])
    assert ameo_derivative(x, 1.0, 0.25).tolist() == [1, 1]
    np.testing.assert_array_equal(ameo_derivative(-x, 1.0, 0.25), ameo_derivative(x, 1.0, 0.25))


def test_one_neuron_computes_xor():
    x = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float64)
    assert np.sign(ameo(x.sum(axis=1) - 1, 0.5, 0)).tolist() == [-1, 1, 1, -1]


def test_regularizer_is_its_formula():
    a = Architecture(1, ((1, 1),), 1)
    g = Regularizer(0.025, 10, 0.001, biases=False)
    w = np.random.default_rng(0).normal(size=(3, a.size))
    total = np.zeros(3)
    for block, columns in (("weight", 0), ("weight", 1)):
        tensor = w[:, a.block(block, 0).slice].reshape(3, 2, 2)[:, :, columns]
        bent = np.tanh((np.abs(tensor) - 0.025) * 10) - np.tanh(-0.25)
        total += (0.3 * bent + 0.001 * np.abs(tensor)).mean(axis=1)
    head = w[:, a.block("weight", -1).slice]
    total += (0.3 * (np.tanh((np.abs(head) - 0.025) * 10) + np.tanh(0.25))).mean(axis=1)
    total += 0.001 * np.abs(head).mean(axis=1)
    np.testing.assert_allclose(g.penalty(w, g.share(a), 0.3), total, rtol=1e-6)


@pytest.mark.parametrize(("stacked", "fan"), [(False, 70), (True, 80)])
def test_glorot_deviation(stacked, fan):
    a = Architecture(30, ((40, 20),), 5, stacked)
    p = a.initialize(np.random.default_rng(0), 20)
    o, r = (i for k, i in a.tensors() if k == "weight" and i.shape[1] in (40, 20))
    assert abs(p[:, o].std() / np.sqrt(2 / 90) - 1) < 0.02
    assert abs(p[:, r].std() / np.sqrt(2 / fan) - 1) < 0.02
    assert (p[:, a.mask("bias")] == 0).all()


def test_schedule_ends_where_it_says():
    values = schedule([[0, 1.0], [0.25, 0.5], [1, 0.0]], 401)
    assert (values[0], values[100], values[400]) == (1.0, 0.5, 0.0)


def test_minibatches_differ_from_step_to_step_and_stay_in_range():
    a = Architecture(1, ((1, 1),), 1)
    none = np.zeros(10)
    recipe = Recipe(a, 1, 64, 5, 7, *[none] * 6, 0, Regularizer(0, 1, 0, False))
    rows = [recipe.minibatch(step, 100) for step in range(10)]
    assert all(r.min() >= 0 and r.max() < 100 * UNIT and len(r) == 64 for r in rows)
    assert len({tuple(r) for r in rows}) == 10


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("cells", [((3, 2),), ((4, 3), (2, 2)), ((3, 0), (2, 1))])
def test_graph_computes_what_the_network_does(cells, stacked):
    a = Architecture(2, cells, 2, stacked)
    rng = np.random.default_rng(1)
    p = a.initialize(rng, 2) + rng.normal(0, 0.1, (2, a.size)).astype(np.float32)
    network = Network(a, 0.5, 0.0625, p.astype(np.float32), *[np.arange(2, dtype=np.int32)] * 2)
    x = rng.choice([-1, 1], (5, 6, 2))
    graph = Graph.from_network(network, 1, ["a", "b"], ["y", "z"])
    expected = forward(a, network.parameters[1], x, 0.5, 0.0625)
    np.testing.assert_allclose(graph.run(x), expected, atol=1e-4)


def test_recurrent_neurons_of_a_stacked_cell_read_its_outputs_and_states_alone():
    a = Architecture(2, ((3, 2),), 1, stacked=True)
    network = Network(a, 0.5, 0, np.ones((1, a.size), np.float32), *[np.zeros(1, np.int32)] * 2)
    graph = Graph.from_network(network, 0, ["a", "b"], ["y"])
    for node in graph.where("recurrent"):
        kinds = [graph.nodes[source].kind for source, _ in graph.incoming[node]]
        assert kinds == ["state"] * 2 + ["output"] * 3
    assert len(graph.edges) == a.mask("weight").sum()


@pytest.mark.parametrize("stacked", [False, True])
def test_tensors_are_every_parameter_once(stacked):
    a = Architecture(2, ((4, 3), (2, 0), (3, 5)), 2, stacked)
    index = np.concatenate([i.reshape(-1) for _, i in a.tensors()])
    assert sorted(index) == list(range(a.size))
    shapes = [i.shape for kind, i in a.tensors() if kind == "weight"]
    plain = [(5, 4), (5, 3), (4, 2), (4, 0), (7, 3), (7, 5), (3, 2)]
    separate = [(5, 4), (7, 3), (4, 2), (4, 0), (7, 3), (8, 5), (3, 2)]
    assert shapes == (separate if stacked else plain)


def test_layers_are_the_neurons_of_their_cells():
    a = Architecture(2, ((4, 3), (2, 0)), 2, stacked=True)
    found = [(layer.cell, layer.reads, layer.neurons, layer.weight.shape) for layer in a.layers]
    assert found == [
        (0, -1, slice(0, 4), (5, 4)),
        (0, 0, slice(4, 7), (7, 3)),
        (1, 0, slice(0, 2), (4, 2)),
    ]
    biases = np.concatenate([np.arange(a.size)[layer.bias] for layer in a.layers])
    assert biases.tolist() == np.flatnonzero(a.mask("bias"))[:9].tolist()
    with pytest.raises(ValueError, match="cell 0 has 2 blocks of kind weight"):
        a.block("weight", 0)


@pytest.mark.parametrize("stacked", [False, True])
def test_files_give_networks_and_graphs_back(tmp_path, stacked):
    a = Architecture(1, ((3, 2),), 1, stacked)
    p = a.initialize(np.random.default_rng(0), 4)
    network = Network(a, 0.5, 0.0625, p, *[np.arange(4, dtype=np.int32)] * 2)
    network.save(tmp_path / "n.npz")
    loaded = Network.load(tmp_path / "n.npz")
    assert loaded.architecture == a
    assert np.array_equal(loaded.parameters, p)
    graph = Graph.from_network(network, 2, ["x"], ["y"])
    graph.save(tmp_path)
    again = Graph.load(tmp_path)
    assert (again.nodes, again.edges, again.feedback) == (graph.nodes, graph.edges, graph.feedback)


def test_a_truncated_network_is_refused(tmp_path):
    a = Architecture(1, ((3, 2),), 1)
    p = a.initialize(np.random.default_rng(0), 4)
    Network(a, 0.5, 0, p, *[np.arange(4, dtype=np.int32)] * 2).save(tmp_path / "n.npz")
    whole = (tmp_path / "n.npz").read_bytes()
    (tmp_path / "n.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match=r"n\.npz: cannot be read"):
        Network.load(tmp_path / "n.npz")


def test_a_network_that_does_not_say_whether_it_is_stacked_is_refused(tmp_path):
    a = Architecture(1, ((3, 2),), 1)
    p = a.initialize(np.random.default_rng(0), 4)
    Network(a, 0.5, 0, p, *[np.arange(4, dtype=np.int32)] * 2).save(tmp_path / "n.npz")
    names = ["sizes", "cells", "activation", "parameters", "restart", "candidate"]
    save_arrays(tmp_path / "n.npz", "network", load_arrays(tmp_path / "n.npz", "network", names))
    with pytest.raises(ArtifactError, match=r"n\.npz: .*stacked"):
        Network.load(tmp_path / "n.npz")


def test_a_graph_must_go_forward():
    nodes = (Node("input", -1, 0, "x"), Node("output", 0, 0, "o"), Node("head", -1, 0, "y"))
    with pytest.raises(ValueError, match="does not go forward"):
        Graph(nodes, (Edge(1, 1, 1.0),), (), 0.5, 0)


def test_node_names_stay_unique_when_a_bit_is_called_like_a_node():
    a = Architecture(1, ((1, 1),), 1)
    p = a.initialize(np.random.default_rng(0), 1)
    network = Network(a, 0.5, 0, p, *[np.zeros(1, np.int32)] * 2)
    graph = Graph.from_network(network, 0, ["s0"], ["o0"])
    assert len({n.name for n in graph.nodes}) == len(graph.nodes)
