from dataclasses import replace

import numpy as np

import bonsai.train
from bonsai.dataset import Sequences, draw, load_dataset, save_dataset
from bonsai.network import Architecture
from bonsai.recipe import Recipe, Regularizer
from bonsai.tasks import TASKS
from bonsai.train import Checkpoint, train
from kernels.evaluate import Evaluator
from kernels.fused import FusedTraining


def problem(steps=600, restarts=8):
    rng = np.random.default_rng(0)
    machine = TASKS["delay1"]()
    data, check = draw(machine, rng, 512, 10), draw(machine, rng, 128, 10)
    a = Architecture(1, ((3, 2),), 1)
    recipe = Recipe(
        architecture=a,
        restarts=restarts,
        batch=32,
        length=10,
        seed=1,
        rate=np.full(steps, 0.02),
        strength=np.linspace(0, 0.2, steps),
        factor=np.full(steps, 0.5),
        noise=np.zeros(steps),
        hinted_noise=np.zeros(steps),
        binarize=np.zeros(steps),
        leak=0.0625,
        regularizer=Regularizer(0.025, 10.0, 0.001, biases=True),
    )
    evaluator = Evaluator(a, 0.0625, check.inputs, check.targets, early=False)
    parameters = a.initialize(rng, restarts)
    return recipe, data, evaluator, parameters


def run(parameters=None, checkpoint=None, key="k", patience=1000, report=lambda p: None, **sizes):
    recipe, data, evaluator, initial = problem(**sizes)
    training = FusedTraining(
        recipe, data.inputs, data.targets, initial if parameters is None else parameters
    )
    return train(
        recipe,
        training,
        evaluator,
        check_every=100,
        patience=patience,
        live=0.1,
        checkpoint=checkpoint and Checkpoint(checkpoint, key),
        report=report,
    )


def test_restarts_learn_delay1():
    trained = run()
    assert (trained.accuracy[-1] == 1).sum() >= 4
    assert trained.checks.tolist() == [100, 200, 300, 400, 500, 600]
    assert trained.history.shape == (600, 8, 2)


def test_training_stops_when_nothing_gets_sparser():
    assert len(run(patience=2, steps=4000).history) < 4000


def test_training_does_not_stop_before_the_factor_has_settled():
    recipe, data, evaluator, initial = problem(steps=3000)
    recipe = replace(recipe, factor=np.interp(np.arange(3000), [0, 2000], [0.5, 0.0]))
    training = FusedTraining(recipe, data.inputs, data.targets, initial)
    trained = train(recipe, training, evaluator, check_every=100, patience=2, live=0.1)
    assert 2000 < len(trained.history) < 3000
    assert trained.network.factor == 0


def test_a_restart_that_is_not_finite_is_dropped():
    _, _, _, parameters = problem()
    parameters[3] = np.float32(3e38)
    trained = run(parameters)
    assert trained.dropped == (3,)
    assert trained.network.restart.tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert np.isfinite(trained.network.parameters).all()


class KilledError(Exception):
    pass


def test_a_killed_run_resumes_and_ends_in_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(bonsai.train, "CHECKPOINT_SECONDS", 0)
    checkpoint = tmp_path / "c.npz"

    def kill(progress):
        if progress.step == 400:
            raise KilledError

    try:
        run(checkpoint=checkpoint, report=kill)
    except KilledError:
        assert checkpoint.exists()
    seen = []
    resumed = run(checkpoint=checkpoint, report=lambda p: seen.append(p.step))
    assert seen == [400, 500, 600]
    whole = run()
    assert resumed.network.parameters.tobytes() == whole.network.parameters.tobytes()
    assert resumed.history.tobytes() == whole.history.tobytes()
    assert resumed.accuracy.tobytes() == whole.accuracy.tobytes()


def test_a_checkpoint_of_other_parameters_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(bonsai.train, "CHECKPOINT_SECONDS", 0)
    run(checkpoint=tmp_path / "c.npz", key="a", steps=200)
    seen = []
    run(checkpoint=tmp_path / "c.npz", key="b", steps=200, report=lambda p: seen.append(p.step))
    assert seen == [100, 200]


def test_dataset_files_give_sequences_back(tmp_path):
    rng = np.random.default_rng(0)
    for task in ("gates", "loop3"):
        machine = TASKS[task]()
        splits = {"train": draw(machine, rng, 24, 7), "test": draw(machine, rng, 8, 11)}
        save_dataset(tmp_path / "d.parquet", splits)
        for name, sequences in splits.items():
            loaded = load_dataset(tmp_path / "d.parquet", name)
            assert isinstance(loaded, Sequences)
            assert np.array_equal(loaded.inputs, sequences.inputs)
            assert np.array_equal(loaded.targets, sequences.targets)
