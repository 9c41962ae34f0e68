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
)
from bonsai.prove import prove
from bonsai.tasks import TASKS
from kernels.evaluate import GraphEvaluator, Sequences
from kernels.variants import Variants


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
    graph, words = connected(getattr(made, name)), sequences(TASKS[name]())
    numbers = Numbers(graph)
    home = numbers.vector()
    walkers = np.stack([home, home * np.float32(1.5)])
    held = Sequences(words.inputs, words.targets)
    around = Variants(graph, 2, 40, held, seed=0)
    exact = set()
    for n in (0, 1):
        found, drawn = around.tried(walkers, n)
        apart = [numbers.with_vector(row) for row in drawn]
        expected = np.array([GraphEvaluator([g], held, early=True).right()[0] for g in apart])
        same = (drawn == np.repeat(walkers, 40, axis=0)).all(axis=1)
        right = found == len(words)
        assert (right == ((expected == len(words)) & ~same)).all()
        assert (found[~same] <= expected[~same]).all()
        exact |= {*right.tolist()}
    assert exact == {False, True}


def around_zeros(rounds, seed=0):
    """Some numbers of delay1, of which some are 0, and variants of two walkers like this."""
    graph, words = connected(made.delay1), sequences(TASKS["delay1"]())
    numbers = Numbers(graph)
    rng = np.random.default_rng(0)
    home = rng.choice([1.3, -0.7, 0, 0], numbers.vector().size)
    home[sum(numbers.sizes[:2]) :] = 0  # initial states
    held = Sequences(words.inputs, words.targets)
    around = Variants(graph, 2, 1000, held, seed)
    walkers = np.tile(home.astype(np.float32), (2, 1))
    return home.astype(np.float32), numbers, [around.tried(walkers, n)[1] for n in rounds]


def test_variants_change_one_to_three_numbers_and_zeros_only_in_exchange():
    home, numbers, (some,) = around_zeros([0])
    changed = some != home
    assert changed.sum(axis=1).max() <= 6  # an exchange changes two
    assert changed.any(axis=1).mean() > 0.9
    assert changed.any(axis=0).all()
    weighed = sum(numbers.sizes[:2])
    counted = np.count_nonzero(some[:, :weighed], axis=1)
    assert counted.min() < np.count_nonzero(home[:weighed])
    one = changed.sum(axis=1) == 1
    assert not changed[one][:, :weighed][:, home[:weighed] == 0].any()


def test_all_kinds_of_changes_are_as_frequent_on_all_numbers():
    home, _, rounds = around_zeros(range(4))
    some = np.concatenate(rounds)
    changed = some != home
    one = changed.sum(axis=1) == 1
    (left,) = np.flatnonzero(home)[None]
    which = changed[one][:, left].argmax(axis=1)
    counts = np.bincount(which, minlength=len(left))
    assert counts.min() > 0.6 * counts.mean()
    was, now = home[left][which], some[one][:, left][np.arange(one.sum()), which]
    kinds = {
        "zero": now == 0,
        "negated": now == -was,
        "moved": np.isin(np.abs(now - was), 2.0 ** -np.arange(7)),
        "rounded": (now != 0) & (now * 64 == np.rint(now * 64)),
    }
    for kind, found in kinds.items():
        assert found.mean() > 0.05, kind


def test_variants_are_of_their_seed_and_round_and_each_its_own():
    _, _, (first, second) = around_zeros([0, 1])
    _, _, (again,) = around_zeros([1])
    np.testing.assert_array_equal(second, again)
    _, _, (other,) = around_zeros([1], seed=1)
    pairs = (
        (first, second),
        (second, other),
        (first[:1000], first[1000:]),
        (first[::2], first[1::2]),
    )
    for one, two in pairs:
        assert (one != two).any(axis=1).mean() > 0.9


def test_what_came_out_unchanged_is_not_right_by_a_bias_alone():
    graph = made.biased(made.delay1, len(made.delay1.nodes) - 1, 9.0)  # always 1
    words = sequences(TASKS["delay1"]())
    held = Sequences(words.inputs, np.ones_like(words.targets))
    home = Numbers(graph).vector()
    found, drawn = Variants(graph, 1, 2000, held, seed=0).tried(home[None], 0)
    same = (drawn == home).all(axis=1)
    assert same.any()
    assert (found[same] < len(words)).all()
    assert (found[~same] == len(words)).any()


def test_grids_are_the_coarsest_that_hold():
    graph = made.biased(made.moved(made.delay1, 0, 0.75), 2, 3.0)
    assert grid(graph) == {"weight": 0.25, "bias": 1.0, "initial": 1.0}
    assert grid(made.moved(made.delay1, 0, 0.1))["weight"] < 2.0**-23


def test_roughness_counts_bits_after_the_point():
    assert roughness(np.array([[0, 1, -2], [0.5, 0.25, 1], [1 / 3, 0, 0]])).tolist() == [0, 3, 12]


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
    tried = Variants.tried
    told = lambda self, v, n: at.append(v.copy()) or tried(self, v, n)  # noqa: E731
    monkeypatch.setattr("bonsai.polish.Variants.tried", told)
    x, y = words.inputs, words.targets
    polish(made.delay2, certificate, machine, lambda *_: None, x, y, 6, 16, 8, 30, seed=0)
    home = at[0][0]
    away = [bool((vectors != home).any()) for vectors in at]
    assert away == [False, True, True, True, False, False]
