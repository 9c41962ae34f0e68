"""Adding a task to the project, and growing it."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from test_pipeline import Copy

import stages.grow
from bonsai.machine import MachineError
from stages.grow import GrowError, add, plant_name

NOT = ".i 1\n.o 1\n0 1\n"
FAST = (
    "dataset.train=2048", "dataset.validation=256", "dataset.test=256", "train.restarts=8",
    "clip.sequences=2000", "quantize.sequences=2000", "sparsify.slots=8", "sparsify.rounds=5",
    "sparsify.steps=20", "sparsify.keep=4", "polish.starts=1", "polish.rounds=5",
)  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    for name in ("conf", "tasks"):
        shutil.copytree(ROOT / name, folder / name)
    monkeypatch.chdir(folder)
    return folder


def task(project: Path, name: str, text: str = NOT) -> Path:
    path = project.parent / name
    path.write_text(text)
    return path


def files(project: Path) -> dict[str, bytes]:
    return {str(p.relative_to(project)): p.read_bytes() for p in project.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("lion9.kiss2", "lion9"),
        ("Traffic-Light 2.py", "traffic_light_2"),
        ("7.pla", "task_7"),
        ("1e5.pla", "task_1e5"),
        ("null.pla", "task_null"),
        ("on.pla", "task_on"),
        ("inf.pla", "task_inf"),
        ("ümlaut.pla", "mlaut"),
    ],
)
def test_a_plants_name_is_a_word_that_yaml_and_hydra_take_for_one(file, name):
    assert plant_name(Path(file)) == name
    assert yaml.safe_load(name) == name


@pytest.mark.parametrize("file", ["--.pla", "ü.pla", "x" * 41 + ".pla"])
def test_a_file_without_a_name_is_refused(file):
    with pytest.raises(GrowError, match="rename it"):
        plant_name(Path(file))


def test_a_task_gets_a_plant_and_a_garden(project):
    before = files(project)
    name, machine = add(task(project, "Not.pla"))
    assert (name, len(machine.states)) == ("not", 1)
    added = files(project).keys() - before.keys()
    assert added == {"tasks/not.pla", "conf/plant/not.yaml", "conf/garden/not.yaml"}
    assert (project / "tasks/not.pla").read_text() == NOT
    assert "/plant@plants.not: not" in (project / "conf/garden/not.yaml").read_text()


def test_adding_it_again_changes_nothing_and_keeps_what_was_edited(project):
    path = task(project, "not.pla")
    add(path)
    with (project / "conf/plant/not.yaml").open("a") as file:
        file.write("train:\n  steps: 7\n")
    before = files(project)
    add(path)
    add(Path("tasks/not.pla"))
    assert files(project) == before


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("gates.pla", "there is a plant gates already, of another task; rename"),
        ("base.pla", "there is a plant base already"),
        ("tiny.pla", r"conf/garden/tiny\.yaml is a garden of other plants; rename"),
        ("turnstile.kiss2", r"tasks/turnstile\.kiss2 is there already, and differs"),
    ],
)
def test_names_that_are_taken_are_refused(project, file, said):
    text = NOT if file.endswith("pla") else ".i 1\n.o 1\n- s s 1\n"
    path = task(project, file, text)
    before = files(project)
    with pytest.raises(GrowError, match=said):
        add(path)
    assert files(project) == before


def test_the_same_name_with_another_ending_is_refused(project):
    add(task(project, "not.pla"))
    path = task(project, "not.kiss2", ".i 1\n.o 1\n- s s 1\n")
    with pytest.raises(GrowError, match="there is a plant not already"):
        add(path)


def test_a_file_that_changed_outside_does_not_replace_the_copy(project):
    path = task(project, "not.pla")
    add(path)
    path.write_text(NOT.replace("0 1", "1 1"))
    with pytest.raises(GrowError, match=r"remove tasks/not\.pla to replace it"):
        add(path)
    (project / "tasks/not.pla").unlink()
    add(path)
    assert (project / "tasks/not.pla").read_bytes() == path.read_bytes()


def test_what_is_no_task_leaves_nothing_behind(project):
    path = task(project, "bad.pla", "nothing")
    before = files(project)
    with pytest.raises(MachineError, match=r"bad\.pla"):
        add(path)
    assert files(project) == before


def test_settings_that_cannot_be_read_are_named(project):
    (project / "conf/plant/not.yaml").write_text("a: [")
    with pytest.raises(GrowError, match=r"conf/plant/not\.yaml: cannot be read .*mend it"):
        add(task(project, "not.pla"))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    copy = Copy(tmp_path_factory.mktemp("grown"))
    (copy.folder / "outside").mkdir()
    (copy.folder / "outside/Xor.pla").write_text(".i 2\n.o 1\n01 1\n10 1\n")
    return copy


def grow(copy: Copy, *overrides: str, fails: bool = False) -> str:
    command = ("python", "-m", "bonsai", "grow", "outside/Xor.pla", *FAST, *overrides)
    return copy.run(*command, fails=fails)


def test_a_task_that_is_not_proven_is_told_with_what_to_try(copy: Copy) -> None:
    said = grow(copy, "train.steps=1", fails=True)
    assert "xor is not proven\n  training     0 of 8 restarts exact after 1 step, cells" in said
    assert "wrong at     step 0 of the input" in said
    assert 'make grow TASK=outside/Xor.pla SET="train.steps=2 train.restarts=16"' in said


def test_a_task_is_grown_to_its_proof_and_then_left_alone(copy: Copy) -> None:
    said = grow(copy, "train.steps=1500")
    assert said.startswith("xor: 1 state, 2 inputs, 1 output; its settings are in conf/plant/xor.")
    assert "xor is proven for every input sequence of every length" in said
    for shown in ("program.py", "explorer.html"):
        assert (copy.folder / re.findall(rf"(\S+/{shown})", said)[0]).is_file()
    before = copy.artifacts()
    again = grow(copy, "train.steps=1500")
    assert "Running stage" not in again
    assert "Data and pipelines are up to date." in again
    assert copy.artifacts() == before


def test_overrides_that_make_no_sense_stop_before_any_stage(copy: Copy) -> None:
    before = (copy.folder / "params.yaml").read_text()
    said = grow(copy, "train.stepz=1", fails=True)
    assert re.fullmatch(r"bonsai grow: .*stepz.*\n", said)
    assert (copy.folder / "params.yaml").read_text() == before


def test_a_stage_that_fails_points_at_its_error(project, monkeypatch, capsys):
    monkeypatch.setattr(stages.grow, "_dvc", lambda *arguments: 255)
    monkeypatch.setattr(stages.grow, "_done", lambda plant: {"machine"})
    assert not stages.grow.grow(task(project, "not.pla"))
    assert capsys.readouterr().out.endswith(
        "not is not proven\n"
        "  try          what the error above says; the same command goes on from there\n"
    )
