from functools import partial

import graphs as made
import numpy as np
import pytest

from bonsai.certificate import Certificate
from bonsai.check import check
from bonsai.dataset import draw
from bonsai.polish import (
    SLACK,
    SMALL,
    Numbers,
    connected,
    distinct,
    grid,
    moves,
    polish,
    rank,
    roughness,
    shape,
    varied,
)
from bonsai.prove import prove
from bonsai.tasks import TASKS
from kernels.evaluate import GraphEvaluator, Sequences, VariantEvaluator


def sequences(machine):
    return draw(machine, np.random.default_rng(0), 128, 24, 0.3)


def test_each_sequence_is_searched_once():
    rng = np.random.default_rng(0)
    inputs = np.concatenate([rng.choice([-1, 1], (40, 5, 2))] * 3)
    targets = np.concatenate([rng.choice([-1, 0, 1], (40, 5, 1))] * 3)
    x, y = distinct(inputs, targets)
    assert len(x) == len(y) == 48  # a multiple of 16
    found, given = (
        {np.concatenate([a, b], axis=1).tobytes() for a, b in zip(*both, strict=True)}
        for both in ((x, y), (inputs, targets))
    )
    assert found == given
    assert len(given) == 40
    x, y = distinct(inputs[:, :, :0], 0 * targets)  # of a task without inputs
    assert x.shape == (16, 5, 0)


def test_a_rough_graph_becomes_round_and_no_larger():
    machine, rough = TASKS["delay1"](), made.biased(made.moved(made.delay1, 0, -1.07), 2, 0.031)
    certificate = prove(rough, machine)
    words = sequences(machine)
    quick = partial(prove, quick=True)
    x, y = words.inputs, words.targets
    graph, found = polish(rough, certificate, machine, quick, x, y, 60, 8, 8, 60, seed=0)
    assert rank(graph, found) < rank(rough, certificate)
    assert graph.size < rough.size
    assert isinstance(found, Certificate)
    check(found, graph, machine)


@pytest.mark.parametrize("name", ["delay2", "parens"])
def test_a_connected_graph_has_every_forward_edge_and_computes_the_same(name):
    graph = getattr(made, name)
    full = connected(graph)
    assert len(full.edges) > len(graph.edges)
    assert full.size == graph.size
    later = [(i, j) for j in full.where("output", "recurrent", "head") for i in range(j)]
    wanted = {(i, j) for i, j in later if full.nodes[i].kind != "head"}
    assert {(e.source, e.target) for e in full.edges} == wanted
    x = sequences(TASKS[name]()).inputs[:4].astype(np.float32)
    np.testing.assert_array_equal(full.run(x), graph.run(x))
    large = made.lookup(TASKS["gates"]())
    assert len(large.edges) > SMALL or connected(large) == large


def test_the_search_is_repeatable():
    machine, words = TASKS["delay2"](), sequences(TASKS["delay2"]())
    certificate = prove(made.delay2, machine)
    x, y = words.inputs, words.targets
    first, again = (
        polish(made.delay2, certificate, machine, prove, x, y, 8, 8, 4, 8, seed=3)[0]
        for _ in range(2)
    )
    assert (first.nodes, first.edges) == (again.nodes, again.edges)


@pytest.mark.parametrize("name", ["delay1", "delay2", "loop3", "parens"])
def test_variants_are_counted_as_graphs_are(name):
    graph, words = getattr(made, name), sequences(TASKS[name]())
    numbers = Numbers(graph)
    vector = numbers.vector()
    rng = np.random.default_rng(0)
    changed = vector + rng.choice([0, 0, 0.01, 1.5], (16, len(vector))).astype(np.float32)
    changed[0] = vector
    parts = np.split(changed, np.cumsum(numbers.sizes)[:2], axis=1)
    held = Sequences(words.inputs, words.targets)
    evaluator = VariantEvaluator(graph, 16, held)
    apart = [numbers.with_vector(row) for row in changed]
    expected = np.array([GraphEvaluator([g], held, early=True).right()[0] for g in apart])
    found = evaluator.right(*parts)
    assert ((found == len(words)) == (expected == len(words))).all()
    assert found[0] == len(words)
    assert (found <= expected).all()


def test_grids_are_the_coarsest_that_hold():
    graph = made.biased(made.moved(made.delay1, 0, 0.75), 2, 3.0)
    assert grid(graph) == {"weight": 0.25, "bias": 1.0, "initial": 1.0}
    assert grid(made.moved(made.delay1, 0, 0.1))["weight"] < 2.0**-23


def test_roughness_counts_bits_after_the_point():
    assert roughness(np.array([[0, 1, -2], [0.5, 0.25, 1], [1 / 3, 0, 0]])).tolist() == [0, 3, 12]


def test_variants_change_one_to_three_numbers_and_zeros_only_in_exchange():
    vector = np.array([1.3, 0, -0.7, 0, 2.1, 0.3, 0, -1.1], np.float32)
    sizes = 5, 3, 0  # edges and biases
    rng = np.random.default_rng(0)
    some = varied(np.tile(vector, (4000, 1)), sizes, rng)
    changed = some != vector
    assert changed.sum(axis=1).max() <= 6  # an exchange changes two
    assert changed.any(axis=1).mean() > 0.9
    assert changed.any(axis=0).all()
    counted = np.count_nonzero(some, axis=1)
    assert counted.min() < np.count_nonzero(vector)
    assert counted.max() == np.count_nonzero(vector)
    one = changed.sum(axis=1) == 1
    assert not changed[one][:, [1, 3, 6]].any()  # a number that is zero is never changed alone


def test_numbers_of_what_no_head_depends_on_are_zero():
    numbers = Numbers(connected(made.delay2))
    vector = numbers.vector()
    edges, biased, _ = numbers.sizes
    heads = made.delay2.where("head")
    into_head = [i for i, e in enumerate(numbers.graph.edges) if e.target in heads]
    cut = vector.copy()
    cut[into_head] = 0
    both = numbers.without_dead(np.stack([vector, cut]))
    np.testing.assert_array_equal(both[0], vector)
    head = [edges + numbers.biased.index(i) for i in heads]
    rest = [i for i in range(edges + biased) if i not in head]
    assert not both[1][rest].any()
    assert both[1][head].tolist() == vector[head].tolist()


def test_graphs_of_one_shape_differ_in_numbers_alone():
    assert shape(made.moved(made.delay2, 0, 0.5)) == shape(made.delay2)
    assert shape(connected(made.delay2)) != shape(made.delay2)


def test_walkers_go_to_what_is_as_much_larger_as_their_freedom():
    walkers = 2 * SLACK
    walker, above = (a.reshape(-1) for a in np.mgrid[0:walkers, -1 : SLACK + 1])
    rough = np.where(above == above.max(), 0, 1)
    rng = np.random.default_rng(0)
    met = {w: set() for w in range(walkers)}
    for _ in range(200):
        moving, to = moves(walker, above, rough, walkers, rng)
        assert moving.tolist() == list(range(walkers))
        assert walker[to].tolist() == moving.tolist()
        for w, i in zip(moving, to, strict=True):
            met[w].add(int(above[i]))
    assert [met[w] for w in range(walkers)] == [set(range(w % SLACK + 1)) for w in range(walkers)]


def test_half_of_the_moves_are_to_the_roundest():
    walker, above, rough = np.full(8, SLACK - 1), np.zeros(8, int), np.arange(8)
    rng = np.random.default_rng(0)
    to = [int(moves(walker, above, rough, SLACK, rng)[1][0]) for _ in range(400)]
    counts = np.bincount(to, minlength=8)
    assert counts[0] > 180
    assert counts[1:].min() > 10


def test_a_walker_without_a_variant_stays():
    walker, above, rng = np.array([0, 2]), np.array([-1, 0]), np.random.default_rng(0)
    moving, to = moves(walker, above, np.zeros(2), 3, rng)
    assert (moving.tolist(), to.tolist()) == ([2], [1])


def test_a_walker_that_finds_nothing_goes_back_to_the_best(monkeypatch):
    machine, words = TASKS["delay2"](), sequences(TASKS["delay2"]())
    certificate, at, steps = prove(made.delay2, machine), [], iter([moves])
    stay = lambda *_: (np.zeros(0, int), np.zeros(0, int))  # noqa: E731
    monkeypatch.setattr("bonsai.polish.LOST", 2)
    monkeypatch.setattr("bonsai.polish.moves", lambda *a: next(steps, stay)(*a))
    monkeypatch.setattr("bonsai.polish.varied", lambda v, *a: at.append(v.copy()) or varied(v, *a))
    x, y = words.inputs, words.targets
    polish(made.delay2, certificate, machine, lambda *_: None, x, y, 6, 16, 8, 30, seed=0)
    home = at[0][0]
    away = [bool((vectors != home).any()) for vectors in at]
    assert away == [False, True, True, True, False, False]
