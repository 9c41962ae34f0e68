"""Words that networks get wrong, as training data."""

import numpy as np
import pytest

import bonsai.train
from bonsai.counterexamples import Practice, near
from bonsai.dataset import Sequences, draw
from bonsai.hints import Codes
from bonsai.machine import Machine
from bonsai.network import Architecture, Network
from bonsai.points import Plan
from bonsai.prove import SHORT, simulate
from bonsai.recipe import UNIT
from bonsai.sparsify import Pace, sparsify
from bonsai.tasks import TASKS
from bonsai.train import Checkpoint, train
from kernels.evaluate import Evaluator
from kernels.fused import FusedTraining
from tests.test_sparsify import LEAK, recipe

RUN = 2


def pair() -> Machine:
    """Whether the last two inputs were both 1."""

    def step(ones, x):
        ones = min(ones + 1, RUN) if x[0] else 0
        return ones, (ones == RUN,)

    return Machine.from_step(0, step, ["x"], name="pair")


@pytest.mark.parametrize("length", [4, 12, 30])
def test_neighbours_are_legal_and_reach_what_the_word_reaches(length):
    machine = TASKS["parens"]()
    rng = np.random.default_rng(0)
    symbols, _ = machine.sample(rng, 3, 20)
    words = [symbols[0, :3], symbols[1, :20], symbols[2, :9]]
    found = near(machine, words, rng, 48, length)
    assert found.inputs.shape == (48, length, len(machine.inputs))
    symbol = {tuple(s): a for a, s in enumerate(machine.symbols.tolist())}
    for x, y, after in zip(found.inputs, found.targets, found.states, strict=True):
        word = [symbol[tuple(bits)] for bits in x.tolist()]
        path, outputs = machine.run(word)  # raises where it is not legal
        assert path[1:] == after.tolist()
        assert outputs.tolist() == y.tolist()
    for n, word in enumerate(words):
        own = found.inputs[n]  # goes on as the word does, from a shortest way into it
        fits = min(len(word), length)
        if len(word) <= length:
            assert own[:fits].tolist() == machine.symbols[word].tolist()
        else:
            ends = own[:length].tolist(), machine.symbols[word].tolist()
            shared = next(k for k in range(length, 0, -1) if ends[0][-k:] == ends[1][-k:])
            assert shared >= length - len(machine.states)
    assert len(np.unique(found.inputs.reshape(48, -1), axis=0)) > (3, 12)[length > 4]


def test_neighbours_are_the_same_for_the_same_words():
    machine = TASKS["gates"]()
    words = [machine.sample(np.random.default_rng(1), 1, 12)[0][0]]
    one, two = (near(machine, words, np.random.default_rng(7), 32, 10) for _ in range(2))
    np.testing.assert_array_equal(one.inputs, two.inputs)


@pytest.fixture(scope="module")
def trained():
    """Right networks, and words that never ask for a 1."""
    machine, rng = pair().minimized(), np.random.default_rng(3)
    data, check = draw(machine, rng, 32768, 10), draw(machine, rng, 8192, 10)
    a = Architecture(1, ((4, 3),), 1)
    start = a.initialize(rng, 16)
    training = FusedTraining(recipe(a, 16, 800), data.inputs, data.targets, start)
    evaluator = Evaluator(a, LEAK, check.inputs, check.targets, early=False)
    result = train(training.recipe, training, evaluator, 100, 1000, 0.1)
    network = result.network.rows(result.accuracy[-1] == 1)
    assert len(network) >= 4
    data, check = (kept(s, n) for s, n in ((data, 1024), (check, 256)))
    return machine, network, data, check


def shrunk(trained, practised: bool, checkpoint=None, report=lambda row: None):
    machine, network, data, check = trained
    a, pace = network.architecture, Pace(np.zeros(20), 40, 0.15, 0.3, 0.5, 4, 20)
    evaluator = Evaluator(a, LEAK, check.inputs, check.targets, early=True)
    own = recipe(a, len(network), pace.rounds * pace.steps)
    training = FusedTraining(own, data.inputs, data.targets, network.parameters)
    codes = Codes.bits(np.zeros((RUN + 1, 0), np.int8), np.full((len(network), 3), -1, np.int32))
    practice = Practice(machine, training, data, codes, evaluator, check, 256, 4 * UNIT, 0)
    return sparsify(
        network,
        training,
        evaluator,
        pace,
        0,
        20,
        practice=practice if practised else None,
        checkpoint=checkpoint,
        report=report,
    )


@pytest.fixture(scope="module")
def grown(trained):
    """What sparsify makes of them without and with practice."""
    return trained[0], [shrunk(trained, practised) for practised in (False, True)]


def kept(data: Sequences, count: int) -> Sequences:
    rows = np.flatnonzero((data.targets < 0).all(axis=(1, 2)))[:count]
    assert len(rows) == count
    return Sequences(data.inputs[rows], data.targets[rows], data.states[rows])


def test_counterexamples_are_found_and_learned_from(grown):
    machine, (without, practised) = grown
    assert without.log[-1, 4] == 0
    assert practised.log[-1, 4] > 0
    a = practised.network.architecture
    fresh = near(machine, [np.ones(RUN, int)], np.random.default_rng(9), 256, 16)
    evaluator = Evaluator(a, LEAK, fresh.inputs, fresh.targets, early=False)
    best = [evaluator.right(f.network.parameters, 0.5)[0] for f in (without, practised)]
    assert best[1] > best[0]


def test_words_that_are_got_wrong_are_told_once():
    machine = pair().minimized()
    a = Architecture(1, ((2, 2),), 1)
    parameters = np.zeros((2, a.size), np.float32)
    parameters[:, a.mask("bias")] = 1.0  # always 1
    labels = np.zeros(2, np.int32)
    network = Network(a, 0.5, LEAK, parameters, labels, labels)
    data = draw(machine, np.random.default_rng(0), 16, 10)
    evaluator = Evaluator(a, LEAK, data.inputs, data.targets, early=True)
    training = FusedTraining(recipe(a, 2, 10), data.inputs, data.targets, parameters)
    codes = Codes.bits(np.zeros((RUN + 1, 0), np.int8), np.full((2, 2), -1, np.int32))
    practice = Practice(machine, training, data, codes, evaluator, data, 16, 16, 0)
    (word,) = practice.examine(network)
    assert len(word) == 1
    practice.teach([word])
    rng = np.random.default_rng([0, 1])  # of the seed, and of how many words there are
    taught, tested = (near(machine, [word], rng, 16, 10) for _ in range(2))
    own = FusedTraining(recipe(a, 2, 10), taught.inputs, taught.targets, parameters)
    for ours, theirs in zip(training.gradient(), own.gradient(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    fresh = Evaluator(a, LEAK, tested.inputs, tested.targets, early=True)
    assert evaluator.right(parameters, 0.5).tolist() == fresh.right(parameters, 0.5).tolist()


def test_the_device_knows_which_networks_get_the_words_right(trained, monkeypatch):
    machine, network, data, check = trained
    p = network.parameters.copy()
    p[::2, network.architecture.mask("weight")] *= -1
    a, training = network.architecture, None
    evaluator = Evaluator(a, LEAK, check.inputs, check.targets, early=True)
    codes = Codes.bits(np.zeros((RUN + 1, 0), np.int8), np.full((len(p), 3), -1, np.int32))
    practice = Practice(machine, training, data, codes, evaluator, check, 16, 16, 0)
    told, expected = [], []

    def noted(graph, machine, words_right):
        told.append(words_right)
        expected.append(simulate(Plan(graph), machine, *SHORT)[0] is None)

    monkeypatch.setattr("bonsai.counterexamples.refute", noted)
    practice.examine(network.with_parameters(p, np.arange(len(p))))
    assert told == expected
    assert {*told} == {False, True}


def test_a_killed_run_practises_what_it_had_found(trained, grown, tmp_path, monkeypatch):
    monkeypatch.setattr(bonsai.train, "CHECKPOINT_SECONDS", 0)
    rows: list[np.ndarray] = []

    def kill(row):
        rows.append(row)
        if len(rows) > 1 and rows[-2][4] > 0:  # the round before, which was saved, found some
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shrunk(trained, True, Checkpoint(tmp_path / "c.npz", "k"), kill)
    resumed = shrunk(trained, True, Checkpoint(tmp_path / "c.npz", "k"))
    whole = grown[1][1]
    assert resumed.log.tolist() == whole.log.tolist()
    assert resumed.network.parameters.tobytes() == whole.network.parameters.tobytes()
