"""Counters that are trained and then set to numbers of few bits, for ever exact."""

import numpy as np
import pytest
from omegaconf import OmegaConf

import bonsai.snap
import bonsai.train
import stages.dataset
import stages.machine
import stages.sparsify
import stages.train
from bonsai.artifact import load_json
from bonsai.batches import Problem, split, train_batch
from bonsai.certificate import Certificate
from bonsai.counter import counter
from bonsai.dataset import draw
from bonsai.graph import Graph
from bonsai.hints import Codes
from bonsai.network import Architecture, Network
from bonsai.prove import prove
from bonsai.prune import eliminate_dead_code
from bonsai.sizing import Attempt, depth
from bonsai.snap import GRID, _tried, bits, rounded, significant, snap
from bonsai.tasks import TASKS
from bonsai.train import Checkpoint
from bonsai.wiring import Wiring
from stages.configure import composed


@pytest.fixture(scope="module")
def trained():
    """div5, which doubles with each step: the problem, what was trained, the attempt, settings."""
    machine = TASKS["div5"]().minimized()
    rng = np.random.default_rng(0)
    problem = Problem(machine, *(draw(machine, rng, n, 16, 0.3) for n in (4096, 256)))
    parameters = OmegaConf.create(composed(["garden=mips", "train.steps=2000"])).plants.div5
    settings = OmegaConf.to_container(parameters.train)
    own = counter(machine)
    attempt = Attempt(
        ((6, 2),), True, 1.0, 0.25, 0.025, 2.0, counter=own.step, checked=depth(machine) + 1
    )
    (batch,) = split(settings, attempt, 1)
    return problem, train_batch(batch, problem), attempt, settings


def test_a_counter_becomes_exact_and_small(trained, monkeypatch):
    monkeypatch.setattr(bonsai.snap, "ROUNDS", 120)
    problem, before, attempt, settings = trained
    assert before.network.leak == 0
    assert before.network.factor == 1
    assert 0 < before.exact.sum() < 128
    network, codes = snap(problem, before, attempt, settings)
    counted = Wiring(network.architecture).counted
    values = network.parameters[:, counted]
    assert (values % GRID == 0).all()
    assert codes.counts
    assert len(codes.code) == len(network)
    assert set(network.restart) <= set(before.network.restart[before.exact])
    assert len(set(network.restart)) == len(network)  # one of each
    size = (values != 0).sum(axis=1)
    assert (np.diff(size) >= 0).all()
    assert size[0] < (before.network.parameters[before.exact][:, counted] != 0).sum(axis=1).min()
    machine = problem.machine
    graph = Graph.from_network(network, 0, machine.inputs, machine.outputs)
    found = prove(eliminate_dead_code(graph), machine)
    assert isinstance(found, Certificate)
    assert found.arithmetic == "exact"


def test_a_killed_run_goes_on_and_ends_the_same(trained, monkeypatch, tmp_path):
    monkeypatch.setattr(bonsai.train, "CHECKPOINT_SECONDS", 0)
    for name, value in {"ROUNDS": 3, "TRIALS": 2, "STEPS": 20, "REPLACE": 2}.items():
        monkeypatch.setattr(bonsai.snap, name, value)
    fields = ["trial", "rounds", "parameters", "fixed", "restart"]

    def ended(name, kill=None):
        """What is in the checkpoint in the end."""
        rounds = []

        def report(done, found):
            rounds.append(done)
            if done == kill:
                raise KeyboardInterrupt

        file = Checkpoint(tmp_path / name, "k")
        if kill:
            with pytest.raises(KeyboardInterrupt):
                snap(*trained, file, report)
            rounds.clear()
        snap(*trained, file)
        return file.load(fields)

    whole, resumed = ended("whole.npz"), ended("resumed.npz", kill=5)
    assert (int(whole["trial"]), int(whole["rounds"])) == (1, 3)
    for name in fields:
        np.testing.assert_array_equal(whole[name], resumed[name])


def test_no_network_takes_more_bits_than_before(trained, monkeypatch):
    for name, value in {"ROUNDS": 12, "TRIALS": 1, "LONGER": 0.0}.items():
        monkeypatch.setattr(bonsai.snap, name, value)
    one, lengths = bonsai.snap._Run.round, []

    def noted(self):
        one(self)
        lengths.append(bits(self.slots.parameters, self.slots.fixed, self.wiring))

    monkeypatch.setattr(bonsai.snap._Run, "round", noted)
    snap(*trained)
    change = np.diff(lengths, axis=0)
    assert (change <= 0).all()
    assert (change < 0).any()


def test_what_is_wrong_in_long_sequences_is_not_kept(trained, monkeypatch):
    monkeypatch.setattr(bonsai.snap, "ROUNDS", 120)
    monkeypatch.setattr(bonsai.snap, "TRIALS", 1)
    right, tried = bonsai.snap._Run._right, []

    def short_only(self, evaluator, values):
        if evaluator is self.long:
            tried.append(len(values))
            return np.zeros(len(values), bool)
        return right(self, evaluator, values)

    monkeypatch.setattr(bonsai.snap._Run, "_right", short_only)
    assert snap(*trained) is None
    assert sum(tried)


def test_without_an_exact_restart_there_is_nothing_to_set(trained):
    problem, before, attempt, settings = trained
    before.accuracy[-1], kept = 0.5, before.accuracy[-1].copy()
    assert snap(problem, before, attempt, settings) is None
    before.accuracy[-1] = kept


def test_numbers_of_few_bits():
    values = np.random.default_rng(0).normal(0, 4, 1000)
    for count in (1, 2, 5):
        near = rounded(values, count)
        assert (significant(near) <= count).all()
        assert (np.abs(near - values) <= np.maximum(np.abs(values) / 2**count, GRID / 2)).all()
    assert significant(np.array([0, 1, -6, 0.234375, 5 / 64])).tolist() == [0, 1, 2, 4, 3]


def test_what_is_tried_leaves_other_set_weights_as_they_are():
    a = Architecture(2, ((4, 2),), 1, stacked=True)
    wiring, rng = Wiring(a), np.random.default_rng(0)
    parameters = rounded(rng.normal(0, 2, (64, a.size)), 4)
    fixed = rng.random(parameters.shape) < 0.7
    fixed |= ~wiring.counted
    slots = bonsai.snap.Slots(*[np.array(0)] * 3, parameters, fixed, *[np.zeros(64)] * 3)
    values, after = _tried(slots, wiring, rng)
    changed = values != parameters
    assert changed.any(axis=1).mean() > 0.5
    assert after[changed].all()
    assert (values[~wiring.live(values != 0) & wiring.counted] == 0).all()
    assert bits(values, after, wiring).mean() < bits(parameters, fixed, wiring).mean()


@pytest.mark.parametrize("comes_out", [True, False])
@pytest.mark.usefixtures("stages_run_here")
def test_a_counter_that_does_not_come_out_exact_is_left_for_bits(monkeypatch, tmp_path, comes_out):
    small = ["dataset.train=1024", "dataset.validation=128", "dataset.test=16", "train.steps=250"]
    parameters = OmegaConf.create(composed([*small, "train.restarts=4"])).plants.delay2
    own = counter(TASKS["delay2"]())
    counting = Attempt(((6, 2),), True, 1.0, counter=own.step)
    sizes = [counting, Attempt(((6, 4),), False, 0.5)]
    monkeypatch.setattr(stages.train, "attempts", lambda machine, hinted: sizes)

    def made(problem, trained, *_):
        return (trained.network.rows(np.arange(2)), trained.codes.rows(np.arange(2)))

    monkeypatch.setattr(stages.train, "snap", made if comes_out else lambda *_: None)
    for stage in (stages.machine, stages.dataset, stages.train, stages.sparsify):
        stage.stage(parameters, tmp_path)
    tried = load_json(tmp_path / "train.json")["attempts"]
    assert len(tried) == (1 if comes_out else 2)
    network, codes = Network.load(tmp_path / "runs.npz"), Codes.load(tmp_path / "hints.npz")
    assert codes.counts == comes_out
    assert network.architecture.cells == sizes[0 if comes_out else 1].cells
    if comes_out:
        left = Network.load(tmp_path / "candidates.npz")
        np.testing.assert_array_equal(left.parameters, network.parameters)
