"""The hand-written kernels against NumPy in float64, finite differences and autograd."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import kernels.evaluate
import kernels.fused
from bonsai.graph import Graph
from bonsai.hints import Hints
from bonsai.network import Architecture, Network
from bonsai.prune import eliminate_dead_code
from bonsai.recipe import BETA1, BETA2, EPSILON, UNIT, Recipe, Regularizer
from bonsai.wiring import Wiring
from kernels.device import open_device
from kernels.edges import HEAD, EdgeLists
from kernels.evaluate import BLOCK, Evaluator, GraphEvaluator, Sequences
from kernels.fused import SHARED, FusedTraining
from kernels.oracle import forward, loss_and_gradient, states
from kernels.plain import PlainTraining
from kernels.program import contents

FACTOR, LEAK = 0.5, 0.0625
SHAPES = [  # cells, inputs, outputs, T, B, R
    (((4, 2),), 1, 1, 20, 1024, 1),
    (((8, 8),), 1, 1, 20, 1024, 2),
    (((8, 8),), 1, 1, 20, 128, 64),
    (((12, 6),), 3, 1, 24, 128, 32),
    (((16, 10), (16, 10)), 3, 1, 40, 512, 2),
    (((5, 0), (3, 9)), 2, 3, 7, 48, 3),
    (((3, 2),), 0, 1, 9, 16, 2),
    (((1, 1),), 1, 1, 1, 16, 1),
]
STACKED = [
    (((12, 4),), 3, 1, 16, 128, 3),
    (((5, 9), (3, 2)), 2, 3, 7, 48, 3),
    (((4, 0), (2, 7), (6, 1)), 1, 2, 6, 80, 2),
    (((3, 2), (1, 1)), 0, 1, 9, 16, 2),
]
EVERY = [(*shape, False) for shape in SHAPES] + [(*shape, True) for shape in STACKED]


def problem(
    cells,
    inputs,
    outputs,
    length,
    batch,
    restarts,
    stacked=False,
    noise=0.0,
    binarize=0.0,
):
    """A recipe, data with don't-cares, and parameters whose gradients do not explode in time."""
    rng, steps = np.random.default_rng(0), 60
    a = Architecture(inputs, cells, outputs, stacked)
    recipe = Recipe(
        architecture=a,
        restarts=restarts,
        batch=batch,
        length=length,
        seed=3,
        rate=np.linspace(0.02, 0.01, steps),
        strength=np.linspace(0, 0.2, steps),
        factor=np.linspace(FACTOR, 0.25, steps),
        noise=np.linspace(0, noise, steps),
        hinted_noise=np.linspace(2 * noise, 0, steps),
        binarize=np.linspace(0, binarize, steps),
        leak=LEAK,
        regularizer=Regularizer(0.025, 10.0, 0.001, biases=True),
    )
    x = rng.choice([-1, 1], (max(256, batch), length, inputs))
    y = rng.choice([-1, 0, 1], (max(256, batch), length, outputs))
    p = 0.5 * a.initialize(rng, restarts) + rng.normal(0, 0.05, (restarts, a.size))
    return recipe, x, y, p.astype(np.float32)


def same(found, expected, tolerance):
    """Gradients that differ by no more than a share of the largest entry."""
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("shape", EVERY, ids=str)
def test_gradient_is_the_references(shape):
    recipe, x, y, p = problem(*shape)
    loss, gradient = FusedTraining(recipe, x, y, p).gradient()
    rows = recipe.minibatch(0, len(x) // UNIT)
    for r in range(0, recipe.restarts, 13):
        expected = loss_and_gradient(recipe.architecture, p[r], x[rows], y[rows], FACTOR, LEAK)
        assert loss[r] == pytest.approx(expected[0], rel=1e-5)
        same(gradient[r], expected[1], 1e-5)


def test_activation_and_slope_where_their_pieces_meet():
    recipe, x, y, p = problem(((33, 0),), 1, 1, 4, 16, 1)
    a = recipe.architecture
    p[:] = 0
    p[:, a.block("bias", 0).slice] = np.linspace(-4, 4, 33)
    p[:, a.block("weight", -1).slice] = np.linspace(0.01, 0.02, 33)
    loss, gradient = FusedTraining(recipe, x, y, p).gradient()
    rows = recipe.minibatch(0, len(x) // UNIT)
    expected = loss_and_gradient(a, p[0], x[rows], y[rows], FACTOR, LEAK)
    assert loss[0] == pytest.approx(expected[0], rel=1e-5)
    same(gradient[0], expected[1], 1e-5)


@pytest.mark.parametrize("shape", EVERY[4:6] + EVERY[9:], ids=str)
@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("binarize", [0.0, 2.0])
def test_noise_and_pull_reach_every_state_of_every_cell(shape, noise, binarize):
    recipe, x, y, p = problem(*shape, noise=noise, binarize=binarize)
    training = FusedTraining(recipe, x, y, p)
    training.resume(training.state() | {"step": np.full(recipe.restarts, 20, np.int32)})
    loss, gradient = training.gradient()
    rows = recipe.minibatch(20, len(x) // UNIT)
    factor, _, strength, *_ = (float(v) for v in recipe.table[20, 4:])
    for r in range(recipe.restarts):
        expected = loss_and_gradient(
            recipe.architecture,
            p[r],
            x[rows],
            y[rows],
            factor,
            LEAK,
            recipe.noise_at(20),
            strength,
        )
        assert loss[r] == pytest.approx(expected[0], rel=1e-5)
        same(gradient[r], expected[1], 1e-4)


@pytest.mark.parametrize("shape", EVERY[4:6] + EVERY[9:], ids=str)
def test_hints_take_the_place_of_states_that_a_code_names(shape):
    recipe, x, y, p = problem(*shape, noise=0.2, binarize=1.0)
    told = some_hints(recipe, len(x))
    training = FusedTraining(recipe, x, y, p, told)
    training.resume({"step": np.full(recipe.restarts, 20, np.int32)})
    _, gradient = training.gradient()
    rows = recipe.minibatch(20, len(x) // UNIT)
    factor, _, binarize, _ = (float(v) for v in recipe.table[20, 4:])
    for r in range(recipe.restarts):
        own = told.told(rows)[r]
        expected = loss_and_gradient(
            recipe.architecture,
            p[r],
            x[rows],
            y[rows],
            factor,
            LEAK,
            recipe.noise_at(20, hinted=bool((told.code[r] >= 0).any())),
            binarize,
            own,
        )[1]
        same(gradient[r], expected, 1e-4)


def some_hints(recipe, count):
    rng = np.random.default_rng(5)
    features = rng.choice([-1, 1], (count, recipe.length, 4)).astype(np.int8)
    states = sum(s for _, s in recipe.architecture.cells)
    code = rng.integers(-1, 4, (recipe.restarts, states))
    code[-1] = -1
    return Hints(features, code)


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("binarize", [0.0, 0.7])
def test_reference_is_the_finite_difference(stacked, binarize):
    recipe, x, y, p = problem(((3, 2), (4, 0), (2, 3)), 2, 2, 5, 16, 1, stacked)
    a, w, h = recipe.architecture, p[0].astype(np.float64), 1e-6
    noise = np.random.default_rng(2).uniform(-0.2, 0.2, (len(x), 5, 5))

    def pulled(w):
        loss, _ = loss_and_gradient(a, w, x, y, FACTOR, LEAK, noise)
        return loss + binarize * ((1 - states(a, w, x, FACTOR, LEAK, noise) ** 2) ** 2).mean()

    _, gradient = loss_and_gradient(a, w, x, y, FACTOR, LEAK, noise, binarize)
    for i in range(a.size):
        e = np.eye(a.size)[i] * h
        up, down = pulled(w + e), pulled(w - e)
        assert gradient[i] == pytest.approx((up - down) / (2 * h), abs=1e-6)


@pytest.mark.parametrize("stacked", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_fused_training_is_tinygrads_autograd_and_adam(stacked):
    shape = ((2, 3),), 1, 1, 2, 16, 2, stacked
    recipe, x, y, p = problem(*shape, noise=0.3, binarize=2.0)
    told = some_hints(recipe, len(x))
    fused, plain = FusedTraining(recipe, x, y, p, told), PlainTraining(recipe, x, y, p, told)
    for training in (fused, plain):
        training.resume({"step": np.full(2, 20, np.int32)})
        assert training.state("step", "mean").keys() == {"step", "mean"}
    for a, b in zip(fused.gradient(), plain.gradient(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    fused.advance(20)
    plain.advance(20)
    ours, theirs = fused.state(), plain.state()
    for name in ("step", "parameters", "mean", "square", "history"):
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-5, err_msg=name)


def test_one_step_is_adam_with_the_regularizer():
    recipe, x, y, p = problem(((4, 3),), 1, 1, 6, 32, 3, noise=0.2)
    training = FusedTraining(recipe, x, y, p)
    training.advance(30)
    before = training.state()
    loss, g = training.gradient()
    training.advance(1)
    after = training.state()

    w, share = (
        before["parameters"].astype(np.float64),
        recipe.regularizer.share(recipe.architecture),
    )
    rate, strength = recipe.rate[30], recipe.strength[30]
    bent = np.tanh((np.abs(w) - 0.025) * 10)
    g = g + share * np.sign(w) * (strength * 10 * (1 - bent**2) + 0.001)
    m = BETA1 * before["mean"] + (1 - BETA1) * g
    v = BETA2 * before["square"] + (1 - BETA2) * g**2
    step = rate * m / (1 - BETA1**31) / (np.sqrt(v / (1 - BETA2**31)) + EPSILON)
    np.testing.assert_allclose(after["parameters"], w - step, atol=1e-6)
    np.testing.assert_allclose(after["history"][30, :, 0], loss, rtol=1e-6)
    penalty = recipe.regularizer.penalty(w, share, strength)
    np.testing.assert_allclose(after["history"][30, :, 1], penalty, rtol=1e-5)


def test_training_gives_the_same_bytes_again_and_after_an_interruption():
    recipe, x, y, p = problem(((4, 3),), 1, 1, 6, 32, 3, noise=0.2)
    whole, again, before = (FusedTraining(recipe, x, y, p) for _ in range(3))
    whole.advance(60)
    again.advance(37)
    again.advance(23)
    before.advance(31)
    resumed = FusedTraining(recipe, x, y, 0 * p)
    resumed.resume(before.state())
    resumed.advance(29)
    for name, value in whole.state().items():
        assert value.tobytes() == again.state()[name].tobytes(), name
        assert value.tobytes() == resumed.state()[name].tobytes(), name


def test_no_step_is_taken_beyond_the_recipe():
    training = FusedTraining(*problem(((4, 3),), 1, 1, 6, 32, 3))
    training.advance(50)
    with pytest.raises(AssertionError, match="1 steps more"):
        training.advance(11)


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[2], SHAPES[4]], ids=str)
def test_one_launch_for_some_steps_is_what_two_a_step_are(shape, monkeypatch):
    if not open_device().is_cpu:
        pytest.skip("a GPU takes two launches a step")
    recipe, x, y, p = problem(*shape, noise=0.1)
    found = []
    for single in (True, False):
        training = FusedTraining(recipe, x, y, p)
        monkeypatch.setattr(training, "_is_cpu", single)
        training.advance(30)
        found.append(training.state())
    for name, values in found[0].items():
        np.testing.assert_array_equal(values, found[1][name], name)


def test_what_a_worker_leaves_when_it_has_no_patience_is_done_by_the_others():
    if not open_device().is_cpu:
        pytest.skip("on a GPU no worker waits for another")
    recipe, x, y, p = problem(*SHAPES[4], noise=0.1)
    patient, hasty = (FusedTraining(recipe, x, y, p) for _ in range(2))
    text = hasty._texts["gradient_and_update"]
    hasty._texts["gradient_and_update"] = text.replace("PATIENCE (1 << 19)", "PATIENCE 1")
    assert hasty._texts != patient._texts
    for training in (patient, hasty):
        training.advance(60)
    for name, values in patient.state().items():
        np.testing.assert_array_equal(values, hasty.state()[name], name)


def test_workers_leave_what_they_share_as_it_was_but_for_how_many_came():
    if not open_device().is_cpu:
        pytest.skip("on a GPU no workers share anything")
    recipe, x, y, p = problem(*SHAPES[4], noise=0.1)
    training = FusedTraining(recipe, x, y, p)
    training.advance(60)  # three launches
    *ours, everyones = contents(training._on["shared"]).reshape(-1, SHARED)
    assert len(ours) == recipe.restarts
    assert not np.any(ours)
    workers = training._work[0]
    assert workers > recipe.restarts
    assert everyones.tolist() == [3 * workers, *[0] * (SHARED - 1)]


@pytest.mark.parametrize("threads", [1, 7])
def test_however_many_threads_take_the_chunks_the_bytes_are_the_same(threads):
    if not open_device().is_cpu:
        pytest.skip("on a GPU there are no threads that take chunks")
    recipe, x, y, p = problem(*SHAPES[4], noise=0.1)
    training = FusedTraining(recipe, x, y, p)
    training.advance(30)
    line = (
        "from tests.test_kernels import SHAPES, FusedTraining, problem; import sys; "
        "t = FusedTraining(*problem(*SHAPES[4], noise=0.1)); t.advance(30); "
        "sys.stdout.buffer.write(t.state()['parameters'].tobytes())"
    )
    few = os.environ | {"POCL_MAX_PTHREAD_COUNT": str(threads)}
    done = subprocess.run(
        [sys.executable, "-c", line], env=few, capture_output=True, timeout=300, check=True
    )
    assert done.stdout == training.state()["parameters"].tobytes()


@pytest.mark.parametrize("shape", EVERY[3:], ids=str)
def test_evaluation_counts_what_the_reference_gets_right(shape):
    recipe, x, _, p = problem(*shape)
    a = recipe.architecture
    x = x[:64]
    y = np.sign(forward(a, p[0], x, FACTOR, LEAK))  # the first candidate is right
    y[::5] = 0
    p = np.concatenate([p, p[:1] + 0.02]).astype(np.float32)
    values = np.array([forward(a, row, x, FACTOR, LEAK) for row in p])
    right = ((values * y > 0) | (y == 0)).all(axis=(2, 3))
    share = Evaluator(a, LEAK, x, y, early=False).right(p, FACTOR)
    np.testing.assert_array_equal(share, right.sum(axis=1))
    passed = Evaluator(a, LEAK, x, y, early=True).right(p, FACTOR)
    np.testing.assert_array_equal(passed, np.cumprod(right, axis=1).sum(axis=1))
    assert passed[0] == 64


def test_evaluation_counts_nan_as_wrong():
    a = Architecture(1, ((2, 1),), 1)
    ones = np.ones((16, 3, 1))
    p = np.full((1, a.size), np.nan, np.float32)
    assert Evaluator(a, LEAK, ones, ones, early=True).right(p, FACTOR).tolist() == [0]


@pytest.mark.parametrize("shape", EVERY[3:], ids=str)
def test_graph_evaluation_counts_what_graphs_get_right(shape):
    recipe, x, _, p = problem(*shape)
    a = recipe.architecture
    x = x[:112]  # not a multiple of the block that is evaluated at once
    rng = np.random.default_rng(1)
    p[1:] *= rng.random(p[1:].shape) < 0.4  # sparse ones of different sizes
    network = Network(a, FACTOR, LEAK, p, *[np.arange(len(p), dtype=np.int32)] * 2)
    names = [f"x{i}" for i in range(a.inputs)], [f"y{i}" for i in range(a.outputs)]
    graphs = [
        eliminate_dead_code(Graph.from_network(network, row, *names)) for row in range(len(p))
    ]
    y = np.sign(graphs[0].run(x))
    y[::5] = 0
    right = np.array([((g.run(x) * y > 0) | (y == 0)).all(axis=(1, 2)) for g in graphs])
    held = Sequences(x, y)
    share = GraphEvaluator(graphs, held, early=False).right()
    np.testing.assert_array_equal(share, right.sum(axis=1))
    passed = GraphEvaluator(graphs, held, early=True).right()
    np.testing.assert_array_equal(passed, np.cumprod(right, axis=1).sum(axis=1))
    assert passed[0] == len(x)
    hasty = GraphEvaluator(graphs, held, early=True, hasty=True).right()
    np.testing.assert_array_equal(hasty == len(x), passed == len(x))
    device = kernels.evaluate.open_device()
    whole = BLOCK * device.lanes if device.is_cpu else 1
    stopped = hasty < len(x)
    np.testing.assert_array_equal(hasty[stopped], passed[stopped] // whole * whole)


def pruned(recipe, p, density, told=None):
    """Parameters of which so many are left that a head depends on, and a mask of these."""
    wiring = Wiring(recipe.architecture)
    kept = np.random.default_rng(5).random(p.shape) < density
    mask = wiring.live(kept | ~wiring.counted)
    if told is not None:
        told.code[:] = wiring.taught(told.code, mask)
    return np.where(mask, p, np.float32(0)), mask


@pytest.mark.parametrize("shape", EVERY, ids=str)
@pytest.mark.parametrize(("density", "hinted"), [(0.15, False), (0.5, True), (1.0, False)])
def test_pruned_training_gives_the_bits_of_whole_training(shape, density, hinted):
    recipe, x, y, p = problem(*shape, noise=0.1, binarize=1.0)
    told = some_hints(recipe, len(x)) if hinted else None
    p, mask = pruned(recipe, p, density, told)
    found = []
    for prune in (False, True):
        training = FusedTraining(recipe, x, y, p, told)
        (training.prune if prune else training.restrict)(mask)
        training.resume({"step": np.full(recipe.restarts, 10, np.int32)})
        loss, gradient = training.gradient()
        training.advance(30)
        state = training.state()
        moments = {name: np.where(mask, state[name], 0) for name in ("mean", "square")}
        found.append(state | moments | {"loss": loss, "gradient": np.where(mask, gradient, 0)})
    for name, values in found[0].items():
        np.testing.assert_array_equal(found[1][name], values, name)
    assert (found[0]["gradient"] != 0).any() or density < 0.5


def test_pruned_training_leaves_the_rest_out():
    recipe, x, y, p = problem(*EVERY[4])
    p, mask = pruned(recipe, p, 0.3)
    training = FusedTraining(recipe, x, y, p)
    training.advance(5)  # whole
    training.prune(mask)
    training.resume({"parameters": p, "mean": 0 * p, "square": 0 * p})
    _, gradient = training.gradient()
    training.advance(30)
    state = training.state()
    weights = recipe.architecture.mask("weight")
    if open_device().is_cpu:
        assert not gradient[~mask & weights].any()
        assert not state["square"][~mask & weights].any()
    assert not state["parameters"][~mask].any()
    fewer = mask & (np.random.default_rng(6).random(mask.shape) < 0.5)
    fewer = Wiring(recipe.architecture).live(fewer | (mask & ~weights))
    training.prune(fewer)
    training.resume({"parameters": np.where(fewer, p, np.float32(0))})
    again = FusedTraining(recipe, x, y, np.where(fewer, p, np.float32(0)))
    again.restrict(fewer)
    again.resume({"step": training.state()["step"]})
    np.testing.assert_array_equal(
        np.where(fewer, training.gradient()[1], 0), np.where(fewer, again.gradient()[1], 0)
    )


@pytest.mark.parametrize("shape", EVERY[3:], ids=str)
@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("early", [False, True])
def test_pruned_evaluation_counts_what_whole_evaluation_does(shape, noise, early, monkeypatch):
    recipe, x, _, p = problem(*shape)
    a, x = recipe.architecture, x[:112]  # not a multiple of what is evaluated at once
    p, _ = pruned(recipe, np.concatenate([p] * (40 // len(p) + 1)), 0.5)
    p[3::4] += 0.001  # whole ones
    y = np.sign(forward(a, p[0], x, FACTOR, LEAK))
    y[1:] *= np.random.default_rng(0).random(y[1:].shape) < 0.1
    y[0] = 0
    evaluator = Evaluator(a, LEAK, x, y, early=early)
    monkeypatch.setattr(kernels.evaluate, "LISTS", 1 << 14)  # no more than some a launch
    found = []
    for below in (0.0, 2.0):
        monkeypatch.setattr(kernels.evaluate, "PRUNED", below)
        found.append(evaluator.right(p, FACTOR, noise=noise))
        one = evaluator.right(p[1:2], FACTOR, 48, noise)
        np.testing.assert_array_equal(one, evaluator.right(p[:3], FACTOR, 48, noise)[1:2])
        assert evaluator.right(p[:0], FACTOR).shape == (0,)
    np.testing.assert_array_equal(*found)
    assert len(set(found[0].tolist())) > 1


def test_lists_have_what_a_head_depends_on_alone():
    a = Architecture(2, ((3, 2), (2, 1)), 1)
    lists = EdgeLists(a)
    p = np.zeros((2, a.size), np.float32)
    (head,) = np.flatnonzero(a.mask("weight"))[-2:-1]
    second = a.layers[1].weight
    p[0, [head, second.offset, a.layers[0].weight.offset]] = 1  # of one neuron of each cell
    p[1, [second.offset, a.layers[0].weight.offset]] = 1  # that no head reads
    left = lists.left(p)
    assert (left & (a.mask("weight") | a.mask("bias"))).sum(axis=1).tolist() == [3, 0]
    assert lists.of(left)[:, HEAD - 1].tolist() == [2, 0]  # neurons
    assert lists.share(left) == pytest.approx(3 / (2 * a.mask("weight").sum()))


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Kernels in the form that a GPU gets them: one sequence a work-item, 64 of these a group."""
    device = replace(open_device(), is_cpu=False, lanes=1, group=64, rows=96, items=512)
    for module in (kernels.evaluate, kernels.fused):
        monkeypatch.setattr(module, "open_device", lambda: device)


@pytest.mark.parametrize("shape", [EVERY[3], EVERY[5], EVERY[9]], ids=str)
@pytest.mark.usefixtures("as_on_a_gpu")
def test_training_as_on_a_gpu(shape):
    test_gradient_is_the_references(shape)
    test_noise_and_pull_reach_every_state_of_every_cell(shape, 0.2, 2.0)


@pytest.mark.parametrize("shape", [EVERY[5], EVERY[9]], ids=str)
def test_steps_as_on_a_gpu_are_those_of_a_cpu(shape, request):
    recipe, x, y, p = problem(*shape, noise=0.1)
    there = FusedTraining(recipe, x, y, p)
    request.getfixturevalue("as_on_a_gpu")
    here = FusedTraining(recipe, x, y, p)
    for training in (here, there):
        training.advance(30)
    for name, values in here.state().items():
        np.testing.assert_allclose(values, there.state()[name], rtol=0.01, atol=1e-3, err_msg=name)


@pytest.mark.parametrize("shape", [EVERY[5], EVERY[9]], ids=str)
@pytest.mark.usefixtures("as_on_a_gpu")
def test_evaluation_as_on_a_gpu(shape):
    test_evaluation_counts_what_the_reference_gets_right(shape)
    test_graph_evaluation_counts_what_graphs_get_right(shape)
