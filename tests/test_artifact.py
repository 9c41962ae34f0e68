import os
import subprocess

import numpy as np
import pytest

from bonsai import artifact
from bonsai.artifact import (
    ArtifactError,
    load_arrays,
    load_json,
    load_table,
    replaced,
    save_arrays,
    save_json,
    save_table,
    save_text,
)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    (tmp_path / "a.txt").write_text("old")

    def half_written():
        with replaced(tmp_path / "a.txt") as temporary:
            temporary.write_text("ne")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_written()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_what_a_dead_process_left_goes_when_the_file_is_written(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / f".a.txt.{ended.pid}.part").write_text("ha")
    (tmp_path / f".a.txt.{os.getppid()}.part").write_text("another's")
    (tmp_path / f".b.txt.{ended.pid}.part").write_text("another file's")
    save_text(tmp_path / "a.txt", "whole")
    left = [f".a.txt.{os.getppid()}.part", f".b.txt.{ended.pid}.part", "a.txt"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(left)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ArtifactError, match=r"file/a\.txt: cannot be written \(File exists\); put"
    ):
        save_text(tmp_path / "file" / "a.txt", "text")


def test_tables_and_arrays_come_back(tmp_path):
    save_table(tmp_path / "t.parquet", "thing", {"a": [1, 2]}, {"note": "ü"})
    table, about = load_table(tmp_path / "t.parquet", "thing", ["a"])
    assert (table["a"].to_pylist(), about) == ([1, 2], {"note": "ü"})
    save_arrays(tmp_path / "a.npz", "thing", {"x": np.arange(3)})
    assert load_arrays(tmp_path / "a.npz", "thing", ["x"])["x"].tolist() == [0, 1, 2]


def test_the_same_content_is_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        save_arrays(tmp_path / f"{name}.npz", "thing", {"x": np.arange(3)})
        save_table(tmp_path / f"{name}.parquet", "thing", {"a": [1, 2]})
    for kind in ("npz", "parquet"):
        one, two = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("one", "two"))
        assert one == two


@pytest.mark.parametrize("load", [load_table, load_arrays])
def test_errors_name_the_file_and_the_field(tmp_path, load, monkeypatch):
    path = tmp_path / "f"
    with pytest.raises(ArtifactError, match="no such file; `dvc repro` makes it"):
        load(path, "thing", [])
    path.write_bytes(b"garbage")
    with pytest.raises(ArtifactError, match=r"f: cannot be read .* `dvc repro` again"):
        load(path, "thing", [])
    values = {"a": np.arange(2)}
    save = save_table if load is load_table else save_arrays
    save(path, "thing", values)
    with pytest.raises(ArtifactError, match="expected a file of kind 'other', found 'thing'"):
        load(path, "other", [])
    with pytest.raises(ArtifactError, match=r"has no (column|array) 'b'"):
        load(path, "thing", ["b"])
    monkeypatch.setattr(artifact, "SCHEMA", 2)
    with pytest.raises(ArtifactError, match="written with schema 1, this version reads 2"):
        load(path, "thing", [])


def test_pickles_are_not_read(tmp_path):
    np.savez(tmp_path / "p.npz", kind=np.array("thing"), x=np.array([{}], dtype=object))
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_arrays(tmp_path / "p.npz", "thing", ["x"])


def test_broken_json_is_named(tmp_path):
    save_json(tmp_path / "j.json", {"a": 1})
    assert load_json(tmp_path / "j.json") == {"a": 1}
    (tmp_path / "j.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"j\.json: cannot be read"):
        load_json(tmp_path / "j.json")
