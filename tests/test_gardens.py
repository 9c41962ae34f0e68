"""Tasks that others are measured by, grown for real with the default plant."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from test_pipeline import Copy

import stages.clip
import stages.dataset
import stages.dce
import stages.machine
import stages.polish
import stages.prove
import stages.quantize
import stages.sparsify
import stages.train
from bonsai import Graph, Machine, check
from bonsai.certificate import Certificate
from bonsai.mips import TASKS as MIPS
from bonsai.tomita import TASKS as TOMITA
from stages.configure import composed

STAGES = (
    stages.machine, stages.dataset, stages.train, stages.sparsify, stages.clip, stages.quantize,
    stages.dce, stages.prove, stages.polish,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("stages_run_here")
@pytest.mark.parametrize(
    ("garden", "task", "most"),
    [
        ("mips", "bit_shift_right", 3),
        ("mips", "add_mod4", 30),
    ],
)
def test_a_task_is_grown_with_the_default_plant(tmp_path: Path, garden, task, most):
    own = OmegaConf.create(composed([f"garden={garden}"])).plants[task]
    for module in STAGES:
        module.stage(own, tmp_path)
    graph, machine = Graph.load(tmp_path), Machine.load(tmp_path / "machine.parquet")
    check(Certificate.load(tmp_path / "certificate.npz"), graph, machine)
    assert graph.size <= most


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(("garden", "tasks"), [("mips", MIPS), ("tomita", TOMITA)])
def test_no_task_of_these_gardens_has_a_setting_of_its_own(garden, tasks):
    config = OmegaConf.to_container(OmegaConf.create(composed([f"garden={garden}"])))
    assert set(config["plants"]) == set(config["garden"]) == set(tasks)
    first, *others = config["plants"].values()
    for plant in (first, *others):
        assert plant["task"]["source"] == plant["name"]
        assert {k: v for k, v in plant.items() if k not in ("name", "task")} == {
            k: v for k, v in first.items() if k not in ("name", "task")
        }


@pytest.mark.slow
def test_all_languages_of_tomita_are_proven(tmp_path_factory: pytest.TempPathFactory) -> None:
    copy = Copy(tmp_path_factory.mktemp("tomita"))
    copy.run("dvc", "exp", "run", "-S", "garden=tomita")
    garden = json.loads((copy.folder / "data/report/garden.json").read_text())
    assert {plant["plant"] for plant in garden["plants"] if plant["proven"]} == set(TOMITA)
