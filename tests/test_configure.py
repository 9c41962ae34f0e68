"""Parameters: composed as DVC would, and refused where they make no sense."""

from pathlib import Path

import pytest
import yaml

import stages
from stages import ParameterError, configure

pytestmark = pytest.mark.usefixtures("root")


def test_committed_parameters_are_current(root: Path) -> None:
    assert (root / "params.yaml").read_text() == configure.composed(), (
        "conf/ was edited; run `python -m stages.configure` and commit params.yaml"
    )


@pytest.mark.parametrize("garden", [p.stem for p in Path("conf/garden").glob("*.yaml")])
def test_every_garden_composes(garden: str) -> None:
    assert "garden:" in configure.composed([f"garden={garden}"])


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("train.stepz=3", "stepz"),
        ("plants.delay2.clp.sequences=8", "clp"),
        ("plants.delay9.train.steps=3", "delay9"),
        ("garden=nothing", "garden/nothing"),
        ("train.steps", "train.steps"),
        ("train.steps=abc", "train.steps"),
        ("plants.delay2.train.steps=1.5", "plants.delay2.train.steps"),
        ("device.kernel=magic", "device.kernel"),
        ("plants.delay2.render.direction=UP", "plants.delay2.render.direction"),
        ("plants.delay2.render.letters='(('", "plants.delay2.render.letters=(("),
        ("plants.delay2.render.letters='a='", "plants.delay2.render.letters=a="),
        ("render.letters=abc", "render.letters=abc"),
        ("train.restarts=0", "train.restarts=0"),
        ("plants.delay2.train.batch=12", "plants.delay2.train.batch=12"),
        ("plants.delay2.dataset.train=64", "plants.delay2.train.batch"),
        ("train.cells=[[0,2]]", "train.cells"),
        ("train.cells=[]", "train.cells"),
        ("train.rate=[[0,1],[0.5,1]]", "train.rate"),
        ("train.rate=[[0,1],[0.5,1],[0.5,2],[1,1]]", "train.rate"),
        ("train.regularizer.strength=[[0,-1],[1,0]]", "train.regularizer.strength"),
        ("train.factor=1.1", "train.factor"),
        ("train.leak=-0.1", "train.leak"),
        ("quantize.steps=[0.5,1.0]", "quantize.steps"),
        ("plants.delay2.name=other", "plants.delay2.name"),
        ("plants.delay2.task.source=../lion.kiss2", "plants.delay2.task.source"),
    ],
)
def test_refused_in_one_line_naming_the_key(override: str, named: str) -> None:
    with pytest.raises(ParameterError) as error:
        configure.composed([override])
    assert named in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("override", ["plants.delay2.train.leak=0", "train.cells=[[4,2],[3,0]]"])
def test_allowed_at_the_edge(override: str) -> None:
    assert configure.composed([override])


def test_one_override_of_a_default_reaches_every_plant() -> None:
    plants = yaml.safe_load(configure.composed(["clip.length=77"]))["plants"]
    assert {plant["clip"]["length"] for plant in plants.values()} == {77}


def test_refused_overrides_leave_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("as it was")
    monkeypatch.setattr(configure, "PARAMS", params)
    with pytest.raises(ParameterError):
        configure.main(["train.steps=abc"])
    assert params.read_text() == "as it was"


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "params.yaml"
    monkeypatch.setattr(configure, "PARAMS", path)
    monkeypatch.setattr(configure, "ANSWER", tmp_path / "overrides.txt")
    monkeypatch.setattr(stages, "PARAMS", path)
    return path


def test_check_is_silent_on_a_current_file(params: Path, capsys: pytest.CaptureFixture) -> None:
    configure.main([])
    configure.main(["--check"])
    assert capsys.readouterr().err == configure.ANSWER.read_text() == ""


def test_check_names_what_was_overridden(params: Path, capsys: pytest.CaptureFixture) -> None:
    configure.main(["plants.delay2.clip.length=77", "plants.loop3.train.cells=[[3,3]]"])
    configure.main(["--check"])
    said = capsys.readouterr().err
    assert "plants.delay2.clip.length=77 plants.loop3.train.cells=[[3,3]];" in said
    assert configure.ANSWER.read_text() == said


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("restarts: 32", "restartz: 32", "restartz"),
        ("restarts: 32", "restarts: many", "train.restarts"),
        ("restarts: 32", "restarts: 0", "train.restarts=0"),
        ("  l1: ", "# l1: ", "train.regularizer.l1"),
    ],
)
def test_a_file_edited_by_hand_is_refused_too(
    params: Path, old: str, new: str, named: str
) -> None:
    text = configure.composed(["train.restarts=32"])
    assert old in text
    params.write_text(text.replace(old, new))
    for read in (stages.parameters, lambda: stages.plant_parameters("delay1")):
        with pytest.raises(ParameterError, match=named):
            read()


def test_a_plant_is_read_as_it_is_among_all(params: Path) -> None:
    configure.main(["garden=tiny", "plants.delay2.clip.length=77"])
    text = params.read_text()
    every = stages.parameters().plants
    assert stages.plant_parameters("delay2") == every.delay2
    assert stages.plant_parameters("delay1") == every.delay1 != every.delay2
    params.write_text(text.replace("- delay2\n", "- delay9\n"))
    assert stages.plant_parameters("delay1") == every.delay1
    with pytest.raises(ParameterError, match="delay9"):
        stages.parameters()
    params.write_text("seed: 1\n" + text)
    with pytest.raises(ParameterError, match="duplicate key seed"):
        stages.plant_parameters("delay1")
    params.write_text(text.replace("leak: ", "leak: 1e-3 # "))
    assert stages.plant_parameters("delay1").train.leak == 0.001


def test_a_plant_outside_the_garden_is_named(params: Path) -> None:
    configure.main(["garden=tiny"])
    with pytest.raises(ParameterError, match="no plant 'gates'"):
        stages.plant_parameters("gates")
