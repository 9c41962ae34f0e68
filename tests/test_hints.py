"""Hints and sizes: what training takes from the task's machine."""

from dataclasses import replace

import numpy as np
import pytest
from omegaconf import OmegaConf

import stages.dataset
import stages.machine
import stages.train
from bonsai.artifact import ArtifactError, load_json
from bonsai.counter import counter
from bonsai.dataset import Sequences, draw
from bonsai.hints import Codes, codes, counted, features
from bonsai.machine import Machine
from bonsai.network import Architecture, Network
from bonsai.recipe import Recipe, Regularizer
from bonsai.sizing import Attempt, attempts, depth, distinguishing, length
from bonsai.tasks import TASKS
from kernels.evaluate import Evaluator
from kernels.fused import FusedTraining
from stages.configure import composed

LEAK = 0.0625


@pytest.mark.parametrize("task", ["gates", "div7", "min_seen", "cpu4"])
def test_every_code_tells_all_states_apart(task):
    machine, rng = TASKS[task]().minimized(), np.random.default_rng(0)
    table = features(machine, np.random.default_rng(0))[0]
    found = codes(machine, [3, 16], 12, 1.0, rng)
    assert found.hinted.sum() >= 8  # in three neurons some machines have few codes, or none
    for code in found.code[found.hinted]:
        own = found.table[:, code[code >= 0]]  # (Q, n)
        assert len(np.unique(own, axis=0)) == len(machine.states)
    assert len(np.unique(np.concatenate([table, -table]), axis=0)) == 2 * len(table)


def test_a_share_of_the_restarts_has_hints():
    machine = TASKS["gates"]()
    found = codes(machine, [4], 10, 0.3, np.random.default_rng(0))
    assert found.hinted.sum() == 3


def test_there_is_nothing_to_tell_without_states_or_room():
    rng = np.random.default_rng(0)
    data = Sequences(*np.zeros((3, 4, 5), int))
    assert codes(TASKS["bitwise_xor"](), [4], 10, 1.0, rng).hints(data) is None
    assert codes(TASKS["div7"](), [2, 1], 10, 1.0, rng).hints(data) is None


def test_codes_are_kept_in_a_file(tmp_path):
    found = codes(TASKS["gates"](), [4], 10, 0.5, np.random.default_rng(0))
    found.save(tmp_path / "hints.npz")
    again = Codes.load(tmp_path / "hints.npz")
    np.testing.assert_array_equal(found.table, again.table)
    np.testing.assert_array_equal(found.code, again.code)
    Codes.bits(found.table[:, :0], found.code).save(tmp_path / "hints.npz")
    with pytest.raises(ArtifactError, match="no valid hints"):
        Codes.load(tmp_path / "hints.npz")


def test_what_is_taught_works_when_it_runs_free():
    """A sum modulo 5, which no restart learns from the outputs alone in so few steps."""
    rng, steps = np.random.default_rng(0), 1000
    machine = TASKS["add_mod5"]()
    a = Architecture(3, ((24, 6),), 3, stacked=True)
    recipe = Recipe(
        architecture=a,
        restarts=8,
        batch=32,
        length=16,
        seed=1,
        rate=np.full(steps, 0.01),
        strength=np.full(steps, 0.002),
        factor=np.full(steps, 0.5),
        noise=np.zeros(steps),
        hinted_noise=np.full(steps, 0.3),
        binarize=np.zeros(steps),
        leak=LEAK,
        regularizer=Regularizer(0.025, 25.0, 0.001, biases=True),
    )
    data, check = draw(machine, rng, 4096, 16, 0.3), draw(machine, rng, 256, 40, 0.3)
    start = a.initialize(rng, 8)
    start[:, a.mask("initial")] = -1
    evaluator = Evaluator(a, LEAK, check.inputs, check.targets, early=False)
    exact = []
    for told in (codes(machine, [6], 8, 1.0, rng).hints(data), None):
        training = FusedTraining(recipe, data.inputs, data.targets, start, told)
        training.advance(steps)
        right = evaluator.right(training.state("parameters")["parameters"], 0.5)
        exact.append(int((right == 256).sum()))
    assert exact[0] >= 1
    assert exact[1] == 0


def test_sizes_follow_the_machine():
    assert [depth(TASKS[t]()) for t in ("delay2", "parens", "bitwise_or")] == [2, 8, 0]
    assert distinguishing(TASKS["parens"]()) == 4
    assert length(TASKS["delay1"]()) == 16
    plain, counting, *stacked, last = attempts(TASKS["dithering"]().minimized(), 0.25)
    assert (counting.cells, counting.counter, counting.checked) == (((6, 2),), 1 / 16, None)
    assert not any(a.counter for a in attempts(TASKS["div7"](), 0.25))  # of few states
    long = Machine.from_step(
        0, lambda r, x: ((2 * r + x[0]) % 11, (2 * r + x[0] > 10,)), ["x"], name="div11"
    )
    assert attempts(long, 0.25)[1].checked == 5  # it doubles, and has 11 states
    assert not plain.stacked
    assert plain.hinted == 0.25
    assert all(a.stacked and a.hinted == 1 for a in stacked)
    assert [a.cells[0][1] for a in stacked] == [15, 15, 15]
    assert [a.cells[0][0] for a in stacked] == [16, 32, 64]
    assert last.cells == ((128, 4),)
    assert [a.resort for a in (plain, *stacked, last)] == [False] * 4 + [True]


def test_a_code_without_room_to_spare_is_of_registers_where_there_are_some():
    machine = TASKS["cpu4"]()
    found = codes(machine, [4], 8, 1.0, np.random.default_rng(0))
    registers = np.array([[c == "1" for c in state] for state in machine.states])
    for code in found.code[::2]:
        bits = found.table[:, code] > 0  # (Q, 4)
        assert {b.tobytes() for b in bits.T} == {r.tobytes() for r in registers.T}


def attempted(folder, *given):
    """What is tried of a small delay1, and how it ends."""
    small = ["dataset.train=1024", "dataset.validation=128", "dataset.test=16", "train.steps=500"]
    parameters = OmegaConf.create(composed([*small, "train.restarts=4", *given])).plants.delay1
    for stage in (stages.machine, stages.dataset, stages.train):
        stage.stage(parameters, folder)
    return load_json(folder / "train.json")["attempts"]


@pytest.mark.parametrize(("rate", "tried"), [(1.0, 1), (0.0, 2)])
@pytest.mark.usefixtures("stages_run_here")
def test_the_last_resort_is_for_what_no_restart_has_learned(monkeypatch, tmp_path, rate, tried):
    sizes = [Attempt(((6, 4),), False, 0.5, rate=rate), Attempt(((8, 1),), True, 1.0, resort=True)]
    monkeypatch.setattr(stages.train, "attempts", lambda machine, hinted: sizes)
    assert len(attempted(tmp_path, "train.enough=99")) == tried


@pytest.mark.parametrize(("enough", "tried"), [(1, 1), (99, 2)])
@pytest.mark.usefixtures("stages_run_here")
def test_larger_sizes_are_tried_until_enough_restarts_are_exact(tmp_path, enough, tried):
    found = attempted(tmp_path, "train.attempts=2", f"train.enough={enough}")
    sizes = [([[6, 4]], False, 0.5), ([[12, 4]], True, 1.0)]
    assert [(a["cells"], a["stacked"], a["hinted"]) for a in found] == sizes[:tried]
    best = max(range(tried), key=lambda n: found[n]["exact"])
    cells = Network.load(tmp_path / "runs.npz").architecture.cells
    assert [list(cell) for cell in cells] == sizes[best][0]


@pytest.mark.parametrize(
    ("task", "rate"), [("dithering", 1), ("div7", 2), ("parens", 1), ("delay2", 2)]
)
def test_the_level_of_a_counter_is_linear_in_what_came_before(task, rate):
    """level' = r (level + v.y) + w.x' + b, for every transition after any other."""
    machine = TASKS[task]().minimized()
    own = counter(machine)
    assert own.rate == rate
    levels = own.level[machine.next] + machine.output @ own.slope  # (Q, A)
    q, a = np.nonzero(machine.legal)
    assert np.abs(levels[q, a]).max() < 1
    assert len(np.unique(own.level)) == len(machine.states)
    assert (np.diff(np.sort(own.level)) % own.step == 0).all()
    rows, wanted = [], []
    for state, symbol in zip(q, a, strict=True):
        for n in np.flatnonzero(machine.next[q, a] == state):
            before = (levels[q[n], a[n]], *machine.output[q[n], a[n]])
            rows.append([*before, *machine.symbols[symbol], 1])
            wanted.append(levels[state, symbol])
    solution, *_ = np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)
    np.testing.assert_allclose(np.array(rows) @ solution, wanted, atol=1e-9)


@pytest.mark.parametrize("task", ["gates", "cpu2", "min_seen", "tomita4", "bitwise_and"])
def test_what_does_not_count_has_no_counter(task):
    assert counter(TASKS[task]().minimized()) is None


def test_a_machine_with_dont_cares_has_no_counter():
    machine = TASKS["dithering"]().minimized()
    output = machine.output.copy()
    output[3, 2] = 0
    assert counter(replace(machine, output=output)) is None


def test_a_counter_is_told_with_the_outputs_that_it_depends_on(tmp_path):
    machine = TASKS["dithering"]().minimized()
    own = counter(machine)
    found = counted(own, 3)
    data = draw(machine, np.random.default_rng(0), 16, 8, 0.3)
    level, y = np.moveaxis(found.features(data), 2, 0)
    np.testing.assert_array_equal(y, data.targets[:, :, 0])
    np.testing.assert_array_equal(
        level, (own.level[data.states] + data.targets @ own.slope).astype(np.float32)
    )
    assert found.first(machine).tolist() == [[own.level[0] + own.before @ own.slope, -1]] * 3
    found.save(tmp_path / "hints.npz")
    again = Codes.load(tmp_path / "hints.npz")
    assert again.counts
    for name in ("table", "code", "slope"):
        np.testing.assert_array_equal(getattr(found, name), getattr(again, name))
    joined = Codes.joined([found.rows(np.array([0])), again])
    assert len(joined.code) == 4
    np.testing.assert_array_equal(joined.features(data)[:, :, joined.code[3, 0]], level)


@pytest.mark.parametrize(
    "broken",
    [
        lambda c: replace(c, table=c.table.astype(np.int8)),
        lambda c: replace(c, table=c.table * np.float32(np.nan)),
        lambda c: replace(c, slope=c.slope[:, :1]),
        lambda c: replace(c, slope=c.slope * np.float32(np.inf)),
        lambda c: replace(c, code=c.code + 9),
    ],
)
def test_a_broken_counter_is_refused(tmp_path, broken):
    broken(counted(counter(TASKS["dithering"]()), 2)).save(tmp_path / "hints.npz")
    with pytest.raises(ArtifactError, match="no valid hints"):
        Codes.load(tmp_path / "hints.npz")


def test_a_machine_whose_inputs_tell_its_state_has_no_counter():
    """However it is numbered, the level can be the same after every step."""
    machine = Machine.from_step(
        0, lambda n, x: (1 - n, (n > 0,)), ["x"], weight=lambda n, x: float(x[0] == n)
    )
    found = counter(machine)
    assert found is None or np.isfinite(found.step)


def test_a_machine_too_large_for_a_counter_has_none():
    def count(number, x):
        return (number + x[0]) % 101, (number + x[0] > 100,)

    assert counter(Machine.from_step(0, count, ["x"])) is None
    small = Machine.from_step(0, lambda n, x: ((n + x[0]) % 100, (n + x[0] > 99,)), ["x"])
    assert counter(small).step == 2**-6
