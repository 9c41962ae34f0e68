from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import bonsai.train
from bonsai.dataset import draw
from bonsai.hints import Codes
from bonsai.network import Architecture, Network
from bonsai.recipe import Recipe, Regularizer
from bonsai.sparsify import Pace, _chosen, _ladder, _Run, _settled, sparsify
from bonsai.tasks import TASKS
from bonsai.train import Checkpoint, train
from bonsai.wiring import Wiring
from kernels.evaluate import Evaluator
from kernels.fused import FusedTraining
from kernels.oracle import forward
from kernels.plain import PlainTraining
from stages.sparsify import _borne, _hinted

LEAK = 0.0625
PACE = Pace(np.full(12, 0.02), 40, 0.15, 0.3, 0.5, 4, 12)


def recipe(architecture, restarts, steps, noise=0.0, length=10):
    constant = np.full(steps, 1.0)
    return Recipe(
        architecture=architecture,
        restarts=restarts,
        batch=32,
        length=length,
        seed=1,
        rate=0.01 * constant,
        strength=0.02 * constant,
        factor=0.5 * constant,
        noise=noise * constant,
        hinted_noise=0 * constant,
        binarize=0 * constant,
        leak=LEAK,
        regularizer=Regularizer(0.025, 25.0, 0.001, biases=True),
    )


@pytest.fixture(scope="module")
def trained():
    """Exact restarts of delay1, the training data, and validation sequences."""
    rng = np.random.default_rng(0)
    machine = TASKS["delay1"]()
    data, check = draw(machine, rng, 512, 10, 0.3), draw(machine, rng, 256, 20, 0.3)
    a = Architecture(1, ((4, 3),), 1)
    training = FusedTraining(recipe(a, 8, 800), data.inputs, data.targets, a.initialize(rng, 8))
    evaluator = Evaluator(a, LEAK, check.inputs, check.targets, early=False)
    result = train(training.recipe, training, evaluator, 100, 1000, 0.1)
    return result.network.rows(result.accuracy[-1] == 1), data, check


def shrunk(trained, checkpoint=None, report=lambda row: None):
    network, data, check = trained
    a = network.architecture
    training = FusedTraining(
        recipe(a, len(network), PACE.rounds * PACE.steps, noise=0.05),
        data.inputs,
        data.targets,
        network.parameters,
    )
    evaluator = Evaluator(a, LEAK, check.inputs, check.targets, early=True)
    return sparsify(
        network, training, evaluator, PACE, 0, 20, checkpoint=checkpoint, report=report
    )


def test_candidates_are_smaller_and_still_right(trained):
    found = shrunk(trained)
    network, _, check = trained
    dense = Wiring(network.architecture).size(network.parameters != 0)
    assert found.size[0] < 0.7 * dense.min()
    assert (np.diff(found.size) >= 0).all()
    assert set(found.network.restart) <= set(network.restart)
    assert found.network.candidate.tolist() == list(range(len(found.size)))
    for row in found.network.parameters[:5]:
        y = forward(network.architecture, row, check.inputs, 0.5, LEAK)
        assert (y * check.targets > 0).all()


def test_a_killed_run_goes_on_and_ends_the_same(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(bonsai.train, "CHECKPOINT_SECONDS", 0)
    rows = []

    def kill(row):
        rows.append(row)
        if len(rows) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shrunk(trained, Checkpoint(tmp_path / "c.npz", "k"), kill)
    resumed = shrunk(trained, Checkpoint(tmp_path / "c.npz", "k"), rows.append)
    whole = shrunk(trained)
    assert len(rows) == 5 + len(whole.log) - 4  # the fifth round was not saved
    assert resumed.network.parameters.tobytes() == whole.network.parameters.tobytes()
    assert resumed.log.tolist() == whole.log.tolist()


@pytest.mark.parametrize(
    "training", [FusedTraining, pytest.param(PlainTraining, marks=pytest.mark.slow)]
)
def test_what_is_not_to_be_trained_stays_as_it_is(training):
    a = Architecture(1, ((2, 2),), 1)
    rng = np.random.default_rng(0)
    x = rng.choice([-1, 1], (256, 4, 1))
    before = a.initialize(rng, 2)
    trained = training(recipe(a, 2, 4, length=4), x, x, before)
    mask = rng.random((2, a.size)) < 0.5
    trained.restrict(mask)
    trained.advance(4)
    after = trained.state("parameters")["parameters"]
    np.testing.assert_array_equal(after[~mask], before[~mask])
    assert (after != before)[mask].all()


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("cells", [((3, 3),), ((2, 2), (3, 2)), ((3, 0), (2, 2))], ids=str)
def test_a_parameter_is_live_where_an_output_can_change_with_it(cells, stacked):
    a = Architecture(2, cells, 1, stacked)
    rng = np.random.default_rng(1)
    mask = rng.random((40, a.size)) < 0.35
    live = Wiring(a).live(mask)
    x = rng.choice([-1.0, 1.0], (8, 8, 2))
    p = rng.normal(0, 1, (40, a.size))
    counted = np.flatnonzero(a.mask("weight") | a.mask("bias"))
    for row in range(40):
        y = forward(a, (p * mask)[row], x, 0.5, LEAK)
        for i in counted[mask[row, counted]]:
            moved = (p * mask)[row].copy()
            moved[i] += 0.37
            if (forward(a, moved, x, 0.5, LEAK) != y).any():
                assert live[row, i]
    assert not (live & ~mask).any()
    assert (live != mask).any()


def test_noise_on_the_states_makes_validation_stricter(trained):
    network, _, check = trained
    evaluator = Evaluator(network.architecture, LEAK, check.inputs, check.targets, early=False)
    shares = [evaluator.right(network.parameters, 0.5, noise=z).sum() for z in (0.0, 0.3, 2.0)]
    assert shares[0] == len(network) * len(check)
    assert shares[0] >= shares[1] > shares[2]


def test_labels_follow_the_rows():
    a = Architecture(1, ((1, 1),), 1)
    labels = np.array([4, 5, 6], np.int32)
    network = Network(a, 0.5, 0.0, np.zeros((3, a.size), np.float32), labels, labels + 10)
    some = network.rows(np.array([2, 0]))
    assert (some.restart.tolist(), some.candidate.tolist()) == ([6, 4], [16, 14])


def test_hinted_slots_are_taught_the_states_that_they_keep():
    a = Architecture(1, ((2, 3),), 1)
    wiring = Wiring(a)
    mask = np.ones((2, a.size), bool)
    weight = a.block("weight", 0)
    rows = np.arange(a.size)[weight.slice].reshape(weight.shape)  # [x, s] x [o, s']
    mask[1, rows[:, 3]] = False  # of the second state
    code = np.array([[0, 1, -1], [0, 1, -1]], np.int32)
    assert wiring.taught(code, mask).tolist() == [[0, 1, -1], [0, -1, -1]]


def test_the_slots_of_a_restart_take_turns_with_their_hints():
    rows = np.resize([3, 5], 8)
    hinted = _hinted(rows, 0.5)
    assert hinted.sum() == 4
    assert all(hinted[rows == r].sum() == 2 for r in (3, 5))
    assert _hinted(rows, 1.0).all()
    assert not _hinted(rows, 0.0).any()


def test_noise_is_halved_until_a_quarter_of_the_networks_bears_it(trained):
    network, _, check = trained
    evaluator = Evaluator(network.architecture, LEAK, check.inputs, check.targets, early=True)
    shares = [_borne(network, evaluator, noise) for noise in (0.0, 0.5, 4.0, 64.0)]
    assert shares[0] == 1
    assert shares[-1] == 0
    assert shares == sorted(shares, reverse=True)


def test_a_ladder_takes_what_is_larger_by_a_tenth():
    size = np.array([10, 10, 11, 12, 12, 14, 20])
    assert _ladder(np.arange(7), size) == [0, 2, 5, 6]
    assert _ladder(np.array([], int), size) == []


class Recorded(FusedTraining):
    """Notes what was left, the codes that it was told, and what it started every round from."""

    def __init__(self, *given):
        super().__init__(*given)
        self.left: list[np.ndarray] = []
        self.told: list[np.ndarray] = []
        self.started: list[np.ndarray] = []
        self.moments: list[np.ndarray] = []

    def prune(self, mask):
        self.left.append(mask.copy())
        super().prune(mask)

    def retell(self, code):
        self.told.append(code.copy())
        super().retell(code)

    def resume(self, state):
        self.started.append(state["parameters"].copy())
        self.moments.append(np.stack([state["mean"], state["square"]]))
        super().resume(state)


def test_every_round_is_told_the_codes_of_the_networks_in_its_slots(trained):
    network, data, check = trained
    rows = np.resize(np.arange(len(network)), 8)
    apart = np.float32(1 + 1e-4 * np.arange(8))[:, None]  # which is which
    network = network.with_parameters(network.parameters[rows] * apart, rows)
    a = network.architecture
    rng = np.random.default_rng(0)
    code = np.array([[0, -1, 1] if n % 2 else [-1] * 3 for n in range(8)], np.int32)
    table = rng.choice(np.array([-1, 1], np.int8), (2, 2))
    told = Codes.bits(table, code).hints(data)
    steps = PACE.rounds * PACE.steps
    still = replace(recipe(a, 8, steps), rate=np.zeros(steps))  # hints and none do as well
    training = Recorded(still, data.inputs, data.targets, network.parameters, told)
    evaluator = Evaluator(a, LEAK, check.inputs, check.targets, early=True)
    sparsify(network, training, evaluator, PACE, 0, 20, code)
    assert len(training.told) == len(training.started) == PACE.rounds
    for codes, left in zip(training.told, training.left, strict=True):
        # None of a state that has gone is taught.
        np.testing.assert_array_equal(Wiring(a).taught(codes, left), codes)
    moved = 0
    for codes, parameters in zip(training.told, training.started, strict=True):
        for slot in range(8):  # whose network is in it has the same numbers, or zeros
            same = (parameters[slot] == network.parameters) | (parameters[slot] == 0)
            (own,) = np.flatnonzero(same.all(axis=1))
            moved += (own % 2) != (slot % 2)
            assert ((codes[slot] == code[own]) | (codes[slot] < 0)).all()
    assert moved  # copies of some that have hints to slots of others, or the other way round


def test_weights_and_biases_that_come_back_begin_without_moments(trained):
    network, data, check = trained
    rows = np.resize(np.arange(len(network)), 8)
    network = network.with_parameters(network.parameters[rows], rows)
    a = network.architecture
    training = Recorded(
        recipe(a, 8, PACE.rounds * PACE.steps), data.inputs, data.targets, network.parameters
    )
    evaluator = Evaluator(a, LEAK, check.inputs, check.targets, early=True)
    sparsify(network, training, evaluator, PACE, 0, 20)
    counted = Wiring(a).counted
    before = training.left[0]
    back = 0
    for left, started, moments in zip(
        training.left, training.started, training.moments, strict=True
    ):
        gone = counted & ~left
        assert not started[gone].any()
        assert not moments[:, gone].any()
        new = counted & left & ~before & (started == 0)  # of slots that stay, or of copies
        assert not moments[:, new].any()
        back += int(new.sum())
        before = left
    assert back > 0
    assert any(moments.any() for moments in training.moments)


@pytest.mark.parametrize("at_once", [2, 3, 64])
@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_the_first_that_bear_noise_are_found(monkeypatch, at_once, count):
    monkeypatch.setattr("bonsai.sparsify.AT_ONCE", at_once)
    right = np.array([[0], [0], [1], [0], [1], [1], [0], [1]])
    run = SimpleNamespace(_right=lambda p, z: p[:, 0], evaluator=SimpleNamespace(sequences=1))
    assert _Run._first_bearing(run, right, 0.1, count) == [2, 4, 5, 7][:count]


@pytest.mark.parametrize("most", [1, 2, 3, 8, 48])
def test_candidates_that_go_on_are_small_or_bear_noise_or_of_every_restart(most):
    size = np.repeat(np.arange(10, 40), 3)
    lineage = np.array([0] * 60 + [1] * 20 + [2] * 10)
    bears = [[n, n + 1, n + 2, n + 3] for n in (80, 70, 61)]
    found = _chosen(size, lineage, bears, most)
    assert found == sorted(set(found))
    assert len(found) <= most
    assert found[: most - most // 2] == list(range(most - most // 2))
    if most == 48:
        assert {80, 70, 61, 60} <= set(found)  # bear noise; 60 and 80 are the smallest of theirs


@pytest.mark.parametrize(
    ("smallest", "median", "words", "settled"),
    [
        ([9, 5, 5, 5, 5], [9, 9, 9, 6, 5], [0] * 5, True),
        ([9, 9, 5, 5, 5], [9, 9, 5, 5, 5], [0] * 5, False),  # too soon
        ([9, 5, 5, 5, 5], [9, 9, 9, 6, 6], [0] * 5, False),  # less than half have it
        ([9, 5, 5, 5, 5], [9, 9, 9, 6, 5], [0, 0, 1, 1, 1], False),  # a counterexample came
        ([9, 9, 9, 9, 9], [9, 9, 9, 9, 9], [0] * 5, False),  # not tiny
        ([5, 5, 5], [5, 5, 5], [0] * 3, False),
        ([], [], [], False),
    ],
)
def test_it_ends_when_half_of_the_slots_have_had_the_smallest_size_for_long(
    smallest, median, words, settled
):
    log = np.zeros((len(smallest), 5), np.int32)
    log[:, 0], log[:, 1], log[:, 4] = smallest, median, words
    assert _settled(log, 3) is settled


def test_it_ends_when_they_have_settled(trained, monkeypatch):
    network, data, check = trained
    network = network.rows(np.resize(np.arange(len(network)), 8))
    a = network.architecture
    training = FusedTraining(
        recipe(a, 8, PACE.rounds * PACE.steps), data.inputs, data.targets, network.parameters
    )
    evaluator = Evaluator(a, LEAK, check.inputs, check.targets, early=True)
    monkeypatch.setattr("bonsai.sparsify._settled", lambda log, patience: len(log) == 2)
    assert len(sparsify(network, training, evaluator, PACE, 0, 20).log) == 2
