"""The benchmark that grows tasks it has never seen: its machines, its rows and its tables."""

from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from test_grow import FAST

from benchmarks import growth, shares
from benchmarks.growth import Task, stages
from benchmarks.machines import Results, measure, random_machine, sample, tasks_of
from benchmarks.published import GPT4
from bonsai.artifact import load_json
from bonsai.kiss2 import read_kiss2
from bonsai.machine import MachineError
from bonsai.mips import TASKS

WIDE = ".i 13\n.o 1\n.r a\n0000000000000 a a 1\n"
ROW = {
    "name": "one", "kind": "file", "key": "k", "states": 2, "inputs": 1, "outputs": 1,
    "neurons": 3, "weights": 4, "biases": 1, "proven": True, "exact": 8, "restarts": 32,
    "attempt": 1, "lines": 5, "total": 12.4, "limit": 600.0, "late": False, "reason": None,
}  # fmt: skip


def results(folder: Path) -> Results:
    return Results(folder / "machines.json", dict)


def written(folder: Path, states: int = 2) -> Task:
    own = random_machine(states, 1, 1, 0)
    own.save_kiss2(folder / "made.kiss2")
    return Task("made", "random", folder / "made.kiss2")


@pytest.mark.parametrize(
    ("states", "inputs", "outputs"), [(1, 1, 1), (2, 3, 1), (5, 2, 3), (8, 1, 1), (8, 3, 2)]
)
def test_a_random_machine_is_minimal_reachable_and_of_the_size_asked_for(states, inputs, outputs):
    made = random_machine(states, inputs, outputs, seed=3)
    assert made.next.shape == (states, 2**inputs)
    assert made.output.shape == (states, 2**inputs, outputs)
    assert made.legal.all()
    assert (made.output != 0).all()
    assert len(made.minimized().states) == states


def test_a_random_machine_is_the_same_every_time_and_another_for_another_seed():
    one, same, other = (random_machine(6, 2, 1, seed) for seed in (0, 0, 1))
    assert one.to_kiss2() == same.to_kiss2()
    assert one.next.tolist() != other.next.tolist()


def test_no_machine_is_made_where_there_is_none():
    with pytest.raises(MachineError, match="minimal and reachable"):
        random_machine(4, 0, 0, seed=0)


def test_a_larger_sample_adds_to_the_smaller_one():
    few, many = ([m.name for m in sample(each, 2, 5, seed=0)] for each in (1, 3))
    assert len(few) == 4
    assert len(set(many)) == 12
    assert many[::3] == few


def test_a_random_machine_is_read_back_from_its_file(tmp_path):
    made = random_machine(7, 2, 2, seed=5)
    made.save_kiss2(tmp_path / "made.kiss2")
    again = read_kiss2(tmp_path / "made.kiss2").minimized()
    assert np.array_equal(again.next, made.next)
    assert np.array_equal(again.output, made.output)


def test_a_task_that_is_too_wide_is_a_row_with_the_reason_and_is_tried_again(tmp_path):
    (tmp_path / "wide.kiss2").write_text(WIDE)
    task = Task("wide", "file", tmp_path / "wide.kiss2")
    for _ in range(2):
        row = measure(task, results(tmp_path))
        assert row is not None
        assert row["states"] is None
        assert row["reason"] == "refused: needs a line `.i N` with N from 0 to 12, has '13'"
    assert len(results(tmp_path).rows) == 1
    assert "| `wide` |  |  | refused |" in shares.tasks(results(tmp_path).rows)


def test_a_task_that_takes_too_long_is_a_row_and_is_tried_again_with_more_time(tmp_path):
    task = written(tmp_path)
    row = measure(task, results(tmp_path), limit=0)
    assert row is not None
    assert row["reason"] == "machine: not finished within 0 s"
    assert row["late"]
    assert results(tmp_path).done(task, row["key"], 0)
    assert not results(tmp_path).done(task, row["key"], 1)
    assert measure(task, results(tmp_path), limit=0) is None


@pytest.mark.slow
def test_a_machine_of_two_states_is_grown_to_its_program_once(tmp_path):
    task, overrides = written(tmp_path), (*FAST, "train.steps=1500")
    row = measure(task, results(tmp_path), overrides=overrides, keep=tmp_path)
    assert row is not None
    assert tuple(row["seconds"]) == stages()
    assert row["total"] == pytest.approx(sum(row["seconds"].values()), abs=0.1)
    assert row["proven"], row["reason"]
    assert row["restarts"] == 8
    assert row["exact"] > 0
    assert row["attempt"] == 1
    assert row["lines"] > 2
    assert row["weights"] > 0
    assert load_json(tmp_path / "machines.json")["results"] == [row]
    assert measure(task, results(tmp_path), overrides=overrides) is None


def test_some_stages_go_on_from_what_is_there(tmp_path, monkeypatch):
    plant, ran = growth.planted(Task("delay1", "post"), tmp_path), []
    monkeypatch.setattr(growth, "_run", lambda stage, *_: ran.append(stage))
    monkeypatch.setattr(growth, "outcome", lambda folder, done, failure: {"done": list(done)})
    row = growth.grown(plant, tmp_path, 60, stages()[3:5])
    assert tuple(ran) == tuple(row["seconds"]) == stages()[3:5]
    assert tuple(row["done"]) == stages()[:5]


def test_files_go_from_few_states_to_many_and_gardens_list_their_plants(tmp_path):
    for states in (5, 2, 3):
        random_machine(states, 1, 1, 0).save_kiss2(tmp_path / f"of{states}.kiss2")
    (tmp_path / "broken.kiss2").write_text("nothing")
    found = tasks_of(tmp_path.glob("*.kiss2"), ["tomita"])
    assert [task.name for task in found[:4]] == ["of2", "of3", "of5", "broken"]
    assert found[4] == Task("tomita1", "tomita")
    assert len(found) == 11
    only = tasks_of(tmp_path.glob("*.kiss2"), ["tomita"], ["of3", "tomita7"])
    assert [task.name for task in only] == ["of3", "tomita7"]


def test_shares_are_by_states():
    rows = [ROW, ROW | {"states": 3, "total": 20.0}]
    rows += [ROW | {"states": 3, "proven": False, "total": 600.0, "reason": "train: late"}]
    said = shares.shares(rows).splitlines()
    assert said[2] == "| 2 | 1 | 1 | 100% | 5 | 12 | 12 |"
    assert said[3] == "| 3 | 2 | 1 | 50% | 5 | 310 | 600 |"
    assert said[4].startswith("| all | 3 | 2 | 67% |")
    assert shares.summary(rows, 2) == "1 of 1 of up to 2 states proven (100%), within 600 s each"
    assert list(shares.unproven(rows)) == ["- `one`: train: late"]


def test_a_garden_stands_beside_what_others_report():
    rows = [ROW | {"name": "div3", "kind": "mips"}, ROW | {"name": "tomita1", "kind": "tomita"}]
    said = shares.garden(rows).splitlines()
    assert said[2] == "| `div3` | 2 | yes | yes | 3 | 4 + 1 | 12 | 5 |"
    assert said[3] == "| `tomita1` | 2 |  | yes | 3 | 4 + 1 | 12 | 5 |"


def test_what_others_report_is_of_the_tasks_of_mips():
    assert set(TASKS) >= GPT4
    assert len(GPT4) == 14


def test_the_project_is_left_as_it_is(tmp_path):
    before = sorted(p.name for p in (ROOT / "conf/plant").iterdir())
    measure(written(tmp_path), results(tmp_path), limit=0)
    assert sorted(p.name for p in (ROOT / "conf/plant").iterdir()) == before
