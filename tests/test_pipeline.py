"""DVC itself, run on the garden `tiny` in copies of this repository that have a git of their own.

The copies are made once for the whole file. A test that changes parameters puts them back, so that
every test finds the first copy as `dvc repro` left it.
"""

import fcntl
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from kills import MAKE, killed, left_over

from stages import code

TINY = "garden=tiny"
PLANTS = ("delay1", "delay2")
STAGES = (
    "machine", "dataset", "train", "sparsify", "clip", "quantize", "dce", "prove", "polish",
    "extract", "render",
)  # fmt: skip
# These tell the seconds.
TIMED = tuple(f"report/{n}" for n in ("index.html", "report.md", "garden.json", "metrics.json"))


class Copy:
    """A copy of the repository, committed to a git of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.check_output(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            text=True,
        )
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file() and name != "dvc.lock":
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        self.env = _environment(folder)
        self.run("git", "init", "--quiet")
        self.run("git", "config", "user.name", "Bonsai")
        self.run("git", "config", "user.email", "bonsai@example.org")
        self.commit()

    @classmethod
    def grown(cls, tmp_path_factory: pytest.TempPathFactory) -> tuple["Copy", list[set[str]]]:
        """One in which the garden `tiny` is grown, by the first test of a run that asks for it and
        for all its workers, and what `repro` returned.
        """
        shared = tmp_path_factory.getbasetemp()
        if "PYTEST_XDIST_WORKER" in os.environ:
            shared = shared.parent
        first, done = shared / "tiny", shared / "tiny.json"
        with (shared / "tiny.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(first, ignore_errors=True)
                first.mkdir()
                made = cls(first)
                made.configure(TINY)
                stages = [sorted(found) for found in made.repro()]
                made.commit()
                done.write_text(json.dumps(stages))
        copy = cls.__new__(cls)
        copy.folder = tmp_path_factory.mktemp("grown") / "copy"
        copy.env = _environment(copy.folder)
        shutil.copytree(first, copy.folder, symlinks=True)
        return copy, [set(found) for found in json.loads(done.read_text())]

    def run(self, *command: str, fails: bool = False) -> str:
        """What the command says on stdout and stderr; it has to succeed, or else to fail."""
        ended = subprocess.run(
            command,
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert (ended.returncode != 0) == fails, f"{command}: {ended.returncode}\n{ended.stdout}"
        return ended.stdout

    def commit(self) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--allow-empty", "--message", "as it is")

    def configure(self, *overrides: str) -> None:
        self.run("python", "-m", "stages.configure", *overrides)

    def repro(self) -> tuple[set[str], set[str]]:
        """The stages that DVC ran, and those that it had only to fetch from its run cache."""
        said = self.run("python", "-m", "stages.dvc", "repro")
        return _ran(said), set(re.findall(r"Stage '([^']+)' is cached", said))

    def artifacts(self) -> dict[str, bytes]:
        data = self.folder / "data"
        return {
            str(path.relative_to(data)): path.read_bytes()
            for path in sorted(data.rglob("*"))
            if path.is_file() and path.parent.name != "seconds"
        }


def _environment(folder: Path) -> dict[str, str]:
    """That of commands in a copy, which see no settings but its own."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DVC_", "GIT_", "HYDRA_"))
    }
    return own | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "DVC_GLOBAL_CONFIG_DIR": str(folder / ".dvc/tmp/global"),
        "DVC_SYSTEM_CONFIG_DIR": str(folder / ".dvc/tmp/system"),
        "DVC_SITE_CACHE_DIR": str(folder / ".dvc/tmp/site"),
    }


def _ran(said: str) -> set[str]:
    """All but `configure` and `code`, which look at params.yaml and the code when these change."""
    return set(re.findall(r"Running stage '([^']+)'", said)) - {"configure", "code"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The garden `tiny`, grown by `python -m stages.configure` and `dvc repro`."""
    copy, (ran, cached) = Copy.grown(tmp_path_factory)
    assert ran == {f"{stage}@{plant}" for stage in STAGES for plant in PLANTS} | {"report"}
    assert not cached
    return copy


@pytest.fixture
def unchanged(copy: Copy) -> Iterator[Copy]:
    """The grown copy, put back after the test."""
    yield copy
    copy.run("git", "checkout", "--quiet", ".")
    copy.run("dvc", "checkout", "--quiet")


def test_a_second_run_runs_nothing(copy: Copy) -> None:
    assert copy.repro() == (set(), set())


def test_an_override_reruns_one_plant_from_its_stage_on(unchanged: Copy) -> None:
    grown = unchanged.artifacts()
    unchanged.configure(TINY, "plants.delay2.clip.length=1")
    ran, cached = unchanged.repro()
    after_clip = {f"{stage}@delay2" for stage in STAGES[STAGES.index("clip") :]}
    assert ran == after_clip | {"report"}
    assert not cached
    assert unchanged.artifacts() != grown

    unchanged.configure(TINY)
    assert unchanged.repro() == (set(), ran)  # going back runs nothing
    assert unchanged.artifacts() == grown


def test_where_to_compute_reruns_nothing(unchanged: Copy) -> None:
    unchanged.configure(TINY, "compute=dask", "compute.workers=3")
    assert unchanged.repro() == (set(), set())
    unchanged.configure(TINY, "plants.delay2.train.together=3", "compute=dask")
    status = json.loads(unchanged.run("dvc", "status", "--json"))
    assert "train@delay2" in status
    assert "train@delay1" not in status


def test_files_that_were_damaged_come_back_from_the_cache(copy: Copy) -> None:
    grown, plants = copy.artifacts(), copy.folder / "data/plants"
    for path, data in (
        ("delay1/runs.npz", (plants / "delay2/runs.npz").read_bytes()),
        ("delay2/history.parquet", (plants / "delay2/history.parquet").read_bytes()[:999]),
        ("delay2/proof.json", b""),
    ):
        (plants / path).unlink()
        (plants / path).write_bytes(data)
    copy.repro()
    again = copy.artifacts()
    assert [n for n in grown if again.get(n) != grown[n] and n not in TIMED] == []


def test_a_second_run_at_once_is_refused(unchanged: Copy) -> None:
    grown = unchanged.artifacts()
    unchanged.configure(TINY, *(f"plants.delay2.train.{n}=200000" for n in ("steps", "patience")))
    first = subprocess.Popen(
        ["dvc", "repro"],
        cwd=unchanged.folder,
        env=unchanged.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        assert first.stdout is not None
        assert any(b"Running stage 'train@delay2'" in line for line in first.stdout)
        said = unchanged.run("dvc", "repro", fails=True)
        assert "lock" in said or "is busy" in said
        assert "Traceback" not in said
        assert first.poll() is None  # and is not disturbed
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
    unchanged.configure(TINY)
    unchanged.run("python", "-m", "stages.recover")
    unchanged.repro()
    again = unchanged.artifacts()
    assert [n for n in grown if again.get(n) != grown[n] and n not in TIMED] == []


@pytest.mark.slow
def test_exp_run_writes_the_same_bytes(
    copy: Copy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also that the same seed grows the same bytes again, in a place of another name."""
    other = Copy(tmp_path_factory.mktemp("experiment"))
    ran = _ran(other.run("dvc", "exp", "run", "--set-param", TINY))
    assert "train@delay2" in ran  # nothing came from the first copy's cache
    params = [(c.folder / "params.yaml").read_text() for c in (copy, other)]
    assert params[0] == params[1]
    first, second = copy.artifacts(), other.artifacts()
    assert first.keys() == second.keys()
    assert [n for n in first if first[n] != second[n] and n not in TIMED] == []


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("plants.delay2.clip.sequencez=8", "plants.delay2.clip.sequencez"),
        ("plants.delay2.clip.length=long", "plants.delay2.clip.length"),
        ("plants.delay2.clip.length=0", "plants.delay2.clip.length=0"),
        ("garden=nothing", "garden/nothing"),
        ("+plants.delay2.clip.extra=1", "plants.delay2.clip.extra is no parameter"),
    ],
)
def test_exp_run_refuses_before_any_stage(copy: Copy, override: str, key: str) -> None:
    before = (copy.folder / "params.yaml").read_text()
    said = copy.run("dvc", "exp", "run", "--set-param", override, fails=True)
    assert key in said
    assert not _ran(said)
    assert (copy.folder / "params.yaml").read_text() == before


def test_configure_refuses_in_one_line(copy: Copy) -> None:
    said = copy.run("python", "-m", "stages.configure", "train.stepz=3", fails=True)
    assert re.fullmatch(r"configure: .*stepz.*\n", said)


def test_a_wrong_file_stops_before_any_stage(unchanged: Copy) -> None:
    unchanged.configure(TINY, "plants.delay2.prove.cells=7")
    params = unchanged.folder / "params.yaml"
    params.write_text(params.read_text().replace("cells: 7", "cells: -1"))
    said = unchanged.run("dvc", "repro", fails=True)
    assert "configure: params.yaml: plants.delay2.prove.cells=-1" in said
    assert not _ran(said)


@pytest.mark.slow
def test_kills_change_no_byte(copy: Copy, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Three kills of `make repro`, of one plant; tests/test_kills.py has thirty."""
    (plant, _), other = PLANTS, Copy(tmp_path_factory.mktemp("killed"))
    tiny = (other.folder / "conf/garden/tiny.yaml").read_text()
    lines = [line for line in tiny.splitlines() if "plants.delay2" not in line]
    (other.folder / "conf/garden/one.yaml").write_text(
        "\n".join(lines).replace(f"[{', '.join(PLANTS)}]", f"[{plant}]")
    )
    other.configure("garden=one")
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    hit = [killed(other.folder, other.env, random.Random(seed + n)) for n in range(3)]
    assert any(hit)
    other.run(*MAKE)
    grown = {n: b for n, b in copy.artifacts().items() if n.startswith(f"plants/{plant}/")}
    again = {n: b for n, b in other.artifacts().items() if n.startswith("plants/")}
    assert again == grown
    assert left_over(other.folder) == []


def test_metrics_are_a_handful_of_totals(copy: Copy) -> None:
    shown = json.loads(copy.run("dvc", "metrics", "show", "--json"))[""]["data"]
    assert shown.keys() == {"data/report/metrics.json"}
    totals = shown["data/report/metrics.json"]["data"]
    assert totals.keys() == {"proven", "weights", "biases", "margin", "seconds"}
    assert totals["proven"] == len(PLANTS)


def test_experiments_show_the_totals_and_what_changed(unchanged: Copy) -> None:
    unchanged.configure(TINY, "plants.delay2.render.direction=TB")
    (command,) = re.findall(r"dvc (exp show .*)", (ROOT / "Makefile").read_text())
    flags = shlex.split(command.replace("$$", "$"))
    shown = unchanged.run("dvc", *flags, "--csv").splitlines()[0].split(",")
    totals = ["proven", "weights", "biases", "margin", "seconds"]
    changed = ["plants.delay2.render.direction"]
    assert [name for name in shown if name not in ("rev", "Created")] == totals + changed


def test_metrics_of_plants_are_a_row_a_plant(copy: Copy) -> None:
    files = [f"data/plants/{plant}/proof.json" for plant in PLANTS]
    shown = json.loads(copy.run("dvc", "metrics", "show", "--json", *files))[""]["data"]
    assert shown.keys() == {f"data/plants/{plant}/proof.json" for plant in PLANTS}
    proof = shown["data/plants/delay1/proof.json"]["data"]
    assert {"proven", "margin", "weights", "biases", "states"} <= proof.keys()


def test_params_diff_names_what_was_overridden(unchanged: Copy) -> None:
    unchanged.configure(TINY, "plants.delay2.clip.length=77")
    diff = json.loads(unchanged.run("dvc", "params", "diff", "--json"))
    assert diff["params.yaml"].keys() == {"plants.delay2.clip.length"}


def test_plots_show_curves_and_pictures(copy: Copy) -> None:
    copy.run("dvc", "plots", "show", "--out", ".dvc/tmp/plots")
    page = (copy.folder / ".dvc/tmp/plots/index.html").read_text()
    for shown in ("delay1: median loss", "delay2: exact candidates", "delay2_graph.svg"):
        assert shown in page


def test_plots_diff_sets_two_revisions_side_by_side(unchanged: Copy) -> None:
    unchanged.configure(TINY, "plants.delay2.render.direction=TB")
    unchanged.repro()
    unchanged.run("dvc", "plots", "diff", "HEAD", "workspace", "--out", ".dvc/tmp/diff")
    page = (unchanged.folder / ".dvc/tmp/diff/index.html").read_text()
    for shown in ("workspace_data_plants_delay2_graph.svg", "HEAD_data_plants_delay2_graph.svg"):
        assert shown in page


def test_dag_leads_from_the_machine_to_the_report(copy: Copy) -> None:
    dag = copy.run("dvc", "dag", "--dot", "prove@delay2")
    for stage in ("machine", "dataset", "train", "clip", "quantize", "dce"):
        assert f'"{stage}@delay2" ->' in dag


def test_every_stage_depends_on_its_code() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert set(stages) - {"configure", "code"} == set(code.STAGES)
    assert stages["code"]["outs"] == [f"data/code/{stage}.txt" for stage in code.STAGES]
    for stage in code.STAGES:
        own = [d for d in stages[stage]["deps"] if not d.startswith(("data/plants", "tasks"))]
        assert own == [f"data/code/{stage}.txt"]


@pytest.mark.usefixtures("root")
def test_the_code_of_a_stage_is_what_it_imports_and_reads() -> None:
    train, report = ({str(p) for p in code.read_by(s)} for s in ("train", "report"))
    assert {"stages/train.py", "bonsai/hints.py", "kernels/step.cl"} <= train
    assert not {"bonsai/prove.py", "stages/prove.py", "bonsai/chart.py"} & train
    assert {"bonsai/chart.py", "bonsai/templates/report.html"} <= report
    assert "bonsai/web/main.js" in {str(p) for p in code.read_by("render")}


def test_what_no_other_stage_imports_makes_only_its_own_stage_run_again(unchanged: Copy) -> None:
    path = unchanged.folder / "bonsai/report.py"
    path.write_text(path.read_text() + "# changed\n")
    assert unchanged.repro() == ({"report"}, set())
