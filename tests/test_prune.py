import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonsai.graph import Edge, Graph, Node
from bonsai.network import Architecture, Network
from bonsai.prune import clip, eliminate_dead_code, first_exact, quantize, sparse
from kernels.evaluate import Evaluator
from kernels.oracle import forward

LEAK = 0.0625


def delay1_network(noise: float) -> Network:
    """Two restarts that delay by one step, with `noise` where a weight should be 0."""
    a = Architecture(1, ((2, 2),), 1)
    p = np.full((2, a.size), noise, np.float32)
    for row, strength in zip(p, (1.06, 2.0), strict=True):
        w = row[a.block("weight", 0).slice].reshape(3, 4)
        w[:] = noise
        w[1, 0], w[0, 2] = strength, 1.0  # o0 = A(s0), r0 = A(x): A(1) = -1
        row[a.block("weight", -1).slice] = [1.0, noise]
        row[a.block("initial", 0).slice] = [0.9, 0.1]
    p[1, a.block("weight", 0).slice] *= -1  # A(2) = 0: the second restart never works
    return Network(a, 0.5, LEAK, p, np.array([3, 7], np.int32), np.array([30, 70], np.int32))


def words(count=64, length=12):
    x = np.random.default_rng(0).choice([-1, 1], (count, length, 1))
    y = np.concatenate([-np.ones((count, 1, 1)), x[:, :-1]], axis=1)
    return x, y


def evaluator(network, early=True):
    return Evaluator(network.architecture, network.leak, *words(), early=early)


def test_clip_finds_the_highest_threshold_that_stays_exact():
    network = delay1_network(0.05)
    clipped, trials = clip(network, "weight", evaluator(network))
    assert (clipped.restart.tolist(), clipped.candidate.tolist()) == ([3], [30])
    weights = clipped.parameters[0, network.architecture.mask("weight")]
    assert np.count_nonzero(weights) == 3
    # every higher threshold is wrong, by the reference
    x, y = words()
    used = trials.candidate == 30
    for threshold, exact in zip(trials.setting[used], trials.exact[used], strict=True):
        row = network.parameters[0].copy()
        row[network.architecture.mask("weight") & (np.abs(row) <= threshold)] = 0
        right = (forward(network.architecture, row, x, 0.5, LEAK) * y > 0).all()
        assert exact == right


def test_clip_leaves_the_other_kind_alone():
    network = delay1_network(0.05)
    clipped, _ = clip(network, "bias", evaluator(network))
    kept = ~network.architecture.mask("bias")
    assert np.array_equal(clipped.parameters[0, kept], network.parameters[0, kept])
    assert not clipped.parameters[0, network.architecture.mask("bias")].any()


def test_clip_keeps_something_to_show_when_nothing_is_exact():
    network = delay1_network(0.05).rows(np.array([1]))
    clipped, trials = clip(network, "weight", evaluator(network))
    assert len(clipped) == 1
    assert not trials.exact.any()


def test_quantize_finds_the_coarsest_grid():
    network = delay1_network(0.0).rows(np.array([0]))
    rounded, settings, trials = quantize(network, [1.0, 0.5, 0.25], 2, evaluator(network))
    assert settings[0].tolist() == [1, 1, 1]
    assert settings[-1].tolist() == [0, 0, 0]
    assert np.array_equal(rounded.parameters[0], np.round(network.parameters[0]))
    assert np.array_equal(rounded.parameters[-1], network.parameters[0])
    assert trials.exact.all()


def test_first_exact_prefers_the_order_given():
    network = delay1_network(0.0)
    good, bad = network.parameters
    chosen, passed, checked = first_exact(
        evaluator(network), network, [np.array([bad, good, good]), np.array([bad])], keep=1
    )
    assert chosen == [[1], []]
    assert passed[0] < checked[0]
    assert passed[1] == checked[1] == 64


@st.composite
def networks(draw):
    """Random sparse networks of integer weights, f = 1 and leak 0: all arithmetic is exact."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cells = draw(st.sampled_from([((2, 2),), ((3, 3),), ((2, 2), (2, 2)), ((3, 0), (2, 2))]))
    a = Architecture(draw(st.integers(1, 2)), cells, draw(st.integers(1, 2)))
    p = np.where(a.mask("weight"), rng.integers(-2, 3, a.size), rng.integers(-4, 5, a.size) / 4)
    p = (p * (rng.random(a.size) < draw(st.floats(0, 0.7))))[None]
    return Network(a, 1.0, 0.0, p.astype(np.float32), *[np.zeros(1, np.int32)] * 2)


@given(networks())
def test_dead_code_elimination_changes_no_output(network):
    a = network.architecture
    names = [f"x{i}" for i in range(a.inputs)], [f"y{i}" for i in range(a.outputs)]
    graph = Graph.from_network(network, 0, *names)
    small = eliminate_dead_code(graph)
    x = np.random.default_rng(0).choice([-1, 1], (8, 20, a.inputs))
    assert np.array_equal(graph.run(x), small.run(x))
    assert small.weights <= graph.weights
    assert small.neurons <= graph.neurons
    assert eliminate_dead_code(small).nodes == small.nodes


@given(networks(), st.integers(0, 100))
def test_dead_code_elimination_keeps_real_weights_close(network, seed):
    p = network.parameters * np.float32(0.7391)
    network = Network(network.architecture, 0.5, LEAK, p, network.restart, network.candidate)
    a = network.architecture
    names = [f"x{i}" for i in range(a.inputs)], [f"y{i}" for i in range(a.outputs)]
    graph = Graph.from_network(network, 0, *names)
    x = np.random.default_rng(seed).choice([-1, 1], (8, 3, a.inputs))
    np.testing.assert_allclose(eliminate_dead_code(graph).run(x), graph.run(x), atol=1e-4)


def chain(initial: float) -> Graph:
    """x -> o -> y, and a state fed by a neuron without inputs that o reads as well."""
    nodes = (
        Node("input", -1, 0, "x"),
        Node("state", 0, 0, "s0", initial=initial),
        Node("output", 0, 0, "o0"),
        Node("recurrent", 0, 0, "r0", bias=1.0),
        Node("head", -1, 0, "y"),
    )
    edges = (Edge(0, 2, 1.0), Edge(1, 2, 0.5), Edge(2, 4, 1.0))
    return Graph(nodes, edges, ((3, 1),), 1.0, 0.0)


def test_a_constant_state_becomes_a_bias():
    small = eliminate_dead_code(chain(initial=-1.0))  # A(1) = -1
    assert [(n.name, n.bias) for n in small.nodes] == [("x", 0), ("o0", -0.5), ("y", 0)]
    assert small.feedback == ()


def test_a_state_that_changes_once_stays():
    assert len(eliminate_dead_code(chain(initial=1.0)).nodes) == 5


def test_without_folding_only_the_unreachable_goes():
    assert len(eliminate_dead_code(chain(initial=-1.0), fold=False).nodes) == 5


@pytest.mark.parametrize("kind", ["input", "head"])
def test_inputs_and_heads_stay_though_unconnected(kind):
    nodes = (Node("input", -1, 0, "x"), Node("head", -1, 0, "y"))
    small = eliminate_dead_code(Graph(nodes, (), (), 1.0, 0.0))
    assert small.where(kind)


def test_what_rounds_to_the_same_numbers_is_evaluated_once(monkeypatch):
    network = delay1_network(0.0)
    judge, asked = evaluator(network), []
    right = judge.right

    def counting(parameters, *rest):
        asked.append(len(parameters))
        return right(parameters, *rest)

    monkeypatch.setattr(judge, "right", counting)
    candidates = [np.repeat(network.parameters[:1], 5, axis=0), network.parameters[[1, 0]]]
    chosen, passed, _ = first_exact(judge, network, candidates, keep=2)
    assert asked[0] == 2
    assert chosen == [[0, 1], [1]]
    assert (passed == len(words()[0])).tolist() == [True] * 5 + [False, True]


def test_candidates_get_as_much_right_as_graphs():
    network = delay1_network(0.05)
    rng = np.random.default_rng(0)
    varied = network.parameters[[0] * 24] * (rng.random((24, network.architecture.size)) < 0.8)
    varied[0] = network.parameters[0]
    judge = evaluator(network)
    found = judge.right_sparse(sparse(network, varied))
    assert found.tolist() == judge.right(varied, network.factor).tolist()
    assert len(set(found.tolist())) > 1
