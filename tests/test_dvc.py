"""DVC with quick YAML: the same data, and the same bytes, as DVC's own."""

import copy
from pathlib import Path

import pytest
from dvc.utils import serialize
from test_pipeline import ROOT

from stages import dvc as quick

COMMAND = 'PATH="$DVC_ROOT/.venv/bin:$PATH" python -m stages.train'
STAGE = {
    "cmd": f"{COMMAND} a_plant",
    "deps": [{"path": "data/é.npz", "hash": "md5", "md5": "1234e567890123456789", "size": 3}],
    "params": {"params.yaml": {"a": None, "b": 1e-05, "c": [[0.0, 0.5], []], "d": {}, "e": "no"}},
}
CHANGES: list[dict] = [
    {"train@a_plant": STAGE},
    {"train@another": {**STAGE, "cmd": f"{COMMAND} {'a_name_of_which_the_line_is_folded' * 2}"}},
    {"train@a_plant": {**STAGE, "outs": [{"path": "x\ny", "md5": "00e1"}, {"path": "😀"}]}},
    {"train@a_plant": STAGE},
    {},
    {"report": {"cmd": "true"}, "train@another": STAGE},
]


def changed(modify, file: Path, stages: dict) -> None:
    """As DVC does it after a stage."""
    with modify(str(file)) as data:
        if not data:
            data.update({"schema": "2.0"})
        data["stages"] = data.get("stages", {})
        data["stages"].update({name: copy.deepcopy(stage) for name, stage in stages.items()})


@pytest.fixture
def locks(tmp_path):
    """Two `dvc.lock`, of which DVC writes the first, and both of what it is given."""
    files = tmp_path / "own/dvc.lock", tmp_path / "quick/dvc.lock"

    def change(stages: dict) -> str:
        for modify, file in zip((serialize.modify_yaml, quick.modify_yaml), files, strict=True):
            file.parent.mkdir(exist_ok=True)
            changed(modify, file, stages)
        own, ours = (file.read_text() for file in files)
        assert own == ours
        return ours

    change.files = files
    return change


def test_a_lock_has_the_bytes_that_dvc_would_write(locks):
    for stages in CHANGES:
        locks(stages)
    assert [*serialize.load_yaml(locks.files[1])["stages"]] == [
        "train@a_plant",
        "train@another",
        "report",
    ]


def test_the_lock_of_the_garden_has_the_bytes_that_dvc_would_write(locks):
    text = (ROOT / "dvc.lock").read_text()
    for file in locks.files:
        file.parent.mkdir()
        file.write_text(text)
    first, *_, last = serialize.load_yaml(locks.files[0])["stages"]
    before = locks({})
    assert before == text
    after = locks({first: STAGE, "new@plant": STAGE})
    assert locks({last: STAGE}) != after != before


def test_a_lock_that_another_has_written_meanwhile_is_read_again(locks):
    locks({"train@a_plant": STAGE})
    locks({"report": STAGE})  # what is there already is known from here on
    for file in locks.files:
        file.write_text(file.read_text().replace("a_plant", "changed"))
    assert "train@changed" in locks({"another": STAGE})


@pytest.mark.parametrize(
    "text",
    [
        "schema: '2.0'\nstages:\n  # a remark\n  a:\n    cmd: b\n  c: {cmd: d}\n",
        "schema: '2.0'\nstages:\n  a:\n    cmd: b\ndatasets:\n- name: c\n",
        "stages:\n  'a':\n    cmd: b\nschema: '2.0'\n",
        "schema: '2.0'\nstages: {}\n",
    ],
)
def test_a_lock_of_another_form_holds_the_same(tmp_path, text):
    found = []
    for name, modify in (("own", serialize.modify_yaml), ("quick", quick.modify_yaml)):
        file = tmp_path / name / "dvc.lock"
        file.parent.mkdir()
        file.write_text(text)
        changed(modify, file, {"train@a_plant": STAGE})
        found.append(serialize.load_yaml(file))
    assert found[0] == found[1]


def test_a_lock_that_is_cut_off_is_refused_and_left(tmp_path):
    file = tmp_path / "dvc.lock"
    file.write_text("schema: '2.0'\nstages:\n  a:\n    cmd: [b")
    with pytest.raises(serialize.YAMLError, match=r"unable to read: .*dvc\.lock"):
        changed(quick.modify_yaml, file, {"train@a_plant": STAGE})
    assert file.read_text().endswith("cmd: [b")


def test_a_stage_that_fails_meanwhile_changes_nothing(locks):
    locks({"train@a_plant": STAGE})
    locks({"report": STAGE})
    before = locks.files[1].read_text()

    def fail() -> None:
        with quick.modify_yaml(str(locks.files[1])) as data:
            data["stages"] |= {"train@a_plant": {"cmd": "half"}, "more": {"cmd": "half"}}
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert locks.files[1].read_text() == before == locks({})


def test_other_files_keep_their_remarks(tmp_path):
    file = tmp_path / "dvc.yaml"
    file.write_text("# a remark\nstages:\n  a:\n    cmd: b\n")
    with quick.modify_yaml(str(file)) as data:
        data["stages"]["c"] = {"cmd": "d"}
    assert file.read_text() == "# a remark\nstages:\n  a:\n    cmd: b\n  c:\n    cmd: d\n"


def test_what_is_loaded_once_is_each_callers_own(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text("a: {b: [1, 2]}\nc:\n")
    first = quick.load_yaml(str(file))
    assert first == serialize.load_yaml(file) == {"a": {"b": [1, 2]}, "c": None}
    first["a"]["b"].append(3)
    assert quick.load_yaml(str(file)) == serialize.load_yaml(file)
    file.write_text("a: 1\n")
    assert quick.load_yaml(str(file)) == {"a": 1}
    file.write_bytes(b"a: \xff\n")
    with pytest.raises(serialize.EncodingError):
        quick.load_yaml(str(file))


def test_dvc_uses_them(monkeypatch):
    """DVC's names for what is replaced: with others, an updated DVC would be slow unseen."""
    monkeypatch.setattr(quick.dvcfile, "modify_yaml", quick.dvcfile.modify_yaml)
    monkeypatch.setitem(serialize.LOADERS, ".yaml", serialize.LOADERS[".yaml"])
    monkeypatch.setattr(quick.dvc_run, "_run", quick.dvc_run._run)
    with quick.quicken() as forks:
        assert quick.dvcfile.Lockfile.dump_stages.__globals__["modify_yaml"] is quick.modify_yaml
        assert serialize.load_path.__globals__["LOADERS"][".yaml"] is quick.load_yaml
        assert quick.dvc_run.cmd_run.__globals__["_run"] == forks.run
