"""Experiments and versions, as docs/experiments.md tells them, in copies with a git of their own.

One copy grows the garden `tiny` for the whole file; a test that changes it puts it back.
"""

import contextlib
import json
import logging
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from conftest import ROOT
from kills import MAKE, killed_when
from test_faults import Terminal
from test_pipeline import TINY, Copy, _ran

from bonsai.artifact import ArtifactError
from bonsai.versions import FILES, VersionError, show
from stages.configure import composed

GOES_ON = "the same command goes on"
TURNED = "plants.delay2.render.direction=TB"
SHOW = "import sys; from bonsai.versions import show; show(sys.argv[1])"


class Clone(Copy):
    """A clone of a copy's git, with a cache of its own that holds nothing."""

    def __init__(self, origin: Copy, folder: Path) -> None:
        self.folder, self.env = folder, dict(origin.env)
        self.env["DVC_SITE_CACHE_DIR"] = str(folder / ".dvc/tmp/site")
        self.run("git", "clone", "--quiet", str(origin.folder), ".")
        config = origin.folder / ".dvc/config.local"
        if config.exists():
            shutil.copy(config, folder / ".dvc")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    copy, _ = Copy.grown(tmp_path_factory)
    copy.run("gto", "register", "delay2", "--version", "v1.0.0")
    return copy


@pytest.fixture
def unchanged(copy: Copy) -> Iterator[Copy]:
    yield copy
    copy.run("git", "checkout", "--quiet", ".")
    copy.run("dvc", "checkout", "--quiet")


def exp_run(copy: Copy, *overrides: str, options: tuple[str, ...] = ()) -> str:
    settings = [part for override in overrides for part in ("--set-param", override)]
    return copy.run("dvc", "exp", "run", *options, *settings)


def test_a_default_changes_every_plant_that_does_not_set_its_own(root: Path) -> None:
    plants = yaml.safe_load(composed(["train.restarts=5"]))["plants"]
    restarts = {name: plant["train"]["restarts"] for name, plant in plants.items()}
    assert restarts["delay1"] == restarts["delay2"] == 5
    assert restarts["gates"] == 64  # conf/plant/gates.yaml


def test_an_experiment_is_compared_applied_and_branched(unchanged: Copy) -> None:
    copy = unchanged
    before = copy.artifacts()
    assert _ran(exp_run(copy, TINY, TURNED, options=("--name", "turned"))) == {
        "render@delay2",
        "report",
    }
    after = copy.artifacts()
    diff = json.loads(copy.run("dvc", "params", "diff", "--json"))
    assert diff == {"params.yaml": {TURNED.split("=")[0]: {"old": "LR", "new": "TB"}}}
    changed = json.loads(copy.run("dvc", "metrics", "diff", "--json", "--all"))
    assert changed["data/report/metrics.json"]["weights"]["diff"] == 0

    copy.run("git", "checkout", "--quiet", ".")
    copy.run("dvc", "checkout", "--quiet")
    assert copy.artifacts().keys() == before.keys()
    assert copy.artifacts()["plants/delay2/graph.svg"] == before["plants/delay2/graph.svg"]
    copy.run("dvc", "exp", "apply", "turned")
    assert copy.artifacts() == after

    (command,) = re.findall(r"dvc (exp show .*)", (ROOT / "Makefile").read_text())
    shown = copy.run("dvc", *shlex.split(command.replace("$$", "$")), "--csv").splitlines()
    assert shown[0].split(",")[-2:] == ["seconds", TURNED.split("=")[0]]
    assert any(line.startswith("turned,") and line.endswith(",TB") for line in shown)

    copy.run("dvc", "exp", "branch", "turned", "kept")
    assert "kept" in copy.run("git", "branch", "--list", "kept")
    assert "direction: TB" in copy.run("git", "show", "kept:params.yaml")


def state(copy: Copy) -> tuple[str, ...]:
    """What git knows of the workspace, and what a killed `dvc exp run` may leave."""
    return tuple(
        copy.run("git", *command.split())
        for command in (
            "branch --show-current", "status --short", "diff HEAD -- README.md", "stash list",
            "for-each-ref refs/exps/exec/EXEC_BASELINE refs/exps/exec/EXEC_MERGE refs/exps/stash",
        )
    )  # fmt: skip


def stashed(copy: Copy) -> Callable[[str], bool]:
    """The moment when `dvc exp run` has put away what is not committed."""
    return lambda said: (copy.folder / ".git/refs/stash").exists()


def rendered(copy: Copy, *overrides: str) -> bytes:
    """What the stage makes without DVC, which then puts its own back."""
    copy.configure(TINY, *overrides)
    copy.run("python", "-m", "stages.render", "delay2")
    made = copy.artifacts()["plants/delay2/explorer.html"]
    copy.run("dvc", "checkout", "--quiet", "--force", "render@delay2")
    return made


def test_a_killed_experiment_leaves_the_workspace_as_it_was(unchanged: Copy) -> None:
    """At three moments; tests/test_kills.py has thirty."""
    letters = "plants.delay2.render.letters=kl"  # no other test's, whose result DVC would have
    copy, command = unchanged, ("dvc", "exp", "run", "-S", TINY, "-S", letters)
    (copy.folder / "README.md").write_text("mine")
    (copy.folder / "new.txt").write_text("mine too")
    copy.run("git", "add", "new.txt")
    before, lock = state(copy), copy.folder / ".dvc/tmp/exps/rwlock"

    assert killed_when(copy.folder, copy.env, command, stashed(copy))
    assert state(copy) != before
    said = copy.run("python", "-m", "stages.recover")
    if "is in `git stash list`" in said:  # a file was being written
        copy.run("git", "reset", "--quiet", "--hard")
        copy.run("git", "stash", "pop", "--quiet", "--index")
    else:
        assert "not committed is back" in said
    assert state(copy) == before
    for moment in ("Reproducing experiment", "Running stage 'render@delay2'"):
        assert killed_when(copy.folder, copy.env, command, lambda said, m=moment: m in said)
        assert copy.run("git", "branch", "--show-current") == ""
        (copy.folder / ".git/index.lock").touch()  # as after a kill while DVC adds dvc.lock
        said = copy.run("python", "-m", "stages.recover")
        assert said == f"`dvc exp run` was killed; HEAD is {before[0].strip()} again, {GOES_ON}\n"
        copy.run("git", "checkout", "--quiet", "HEAD", "--", "params.yaml", "dvc.lock")
        assert state(copy) == before
        assert not lock.exists()
    exp_run(copy, TINY, letters)
    drawn = copy.artifacts()["plants/delay2/explorer.html"]
    assert drawn == rendered(copy, letters)
    (copy.folder / "new.txt").unlink()


def test_recover_overwrites_nothing_that_is_newer(unchanged: Copy) -> None:
    copy, readme = unchanged, unchanged.folder / "README.md"
    readme.write_text("mine")
    command = ("dvc", "exp", "run", "-S", TINY, "-S", TURNED)
    assert killed_when(copy.folder, copy.env, command, stashed(copy))
    readme.write_text("newer")
    assert "is in `git stash list`" in copy.run("python", "-m", "stages.recover")
    assert readme.read_text() == "newer"
    assert "mine" in copy.run("git", "show", "stash@{0}:README.md")
    copy.run("git", "stash", "drop", "--quiet")


def test_recover_keeps_parameters_that_were_edited_since(unchanged: Copy) -> None:
    copy, params = unchanged, unchanged.folder / "params.yaml"
    (copy.folder / "README.md").write_text("mine")
    command = ("dvc", "exp", "run", "-S", TINY, "-S", TURNED)
    assert killed_when(copy.folder, copy.env, command, stashed(copy))
    params.write_text(params.read_text() + "# since then\n")
    said = copy.run("python", "-m", "stages.recover")
    kept = params.read_text()
    if "what was not committed is back" in said:  # and not in the stash, a file being half written
        assert "params.yaml as found is in `git stash list`" in said
        assert (copy.folder / "README.md").read_text() == "mine"
        kept = copy.run("git", "show", "stash@{0}:params.yaml")
    assert kept.endswith("# since then\n")
    copy.run("git", "stash", "drop", "--quiet")


def processes(copy: Copy) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cwd"]):
        if Path(process.info["cwd"] or "/").is_relative_to(copy.folder):
            found.append(process)
    return found


def ended(copy: Copy) -> None:
    for process in processes(copy):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.mark.slow
def test_what_a_killed_worker_had_begun_is_queued_again(unchanged: Copy) -> None:
    copy, letters = unchanged, "plants.delay2.render.letters=xy"
    said = exp_run(copy, TINY, letters, options=("--queue", "--name", "late"))
    assert "Queued experiment 'late'" in said
    run = copy.folder / ".dvc/tmp/exps/run"

    def at_work(said: str) -> bool:
        logs = (log.read_text() for log in run.glob("*/*.out"))
        return any("Running stage 'render@delay2'" in log for log in logs)

    try:
        assert killed_when(copy.folder, copy.env, ("python", "-m", "stages.queue", "1"), at_work)
        ended(copy)
        assert "Running" in copy.run("dvc", "queue", "status")  # for ever
        said = copy.run("python", "-m", "stages.queue", "1")
    finally:
        ended(copy)
    assert said.startswith("late: its worker was killed; queued again\n")
    assert re.search(r"^late: done, 25 stages in \d+ s$", said, re.MULTILINE)
    assert not list((copy.folder / ".dvc/tmp/exps").glob("tmp*"))
    copy.run("dvc", "exp", "apply", "late")
    assert copy.artifacts()["plants/delay2/explorer.html"] == rendered(copy, letters)


@pytest.mark.slow
def test_a_sweep_runs_side_by_side_from_the_queue(unchanged: Copy) -> None:
    copy = unchanged
    said = exp_run(copy, TINY, "plants.delay2.render.letters=ab,cd", options=("--queue",))
    names = re.findall(r"Queued experiment '(\S+)'", said)
    assert len(names) == 2
    terminal = Terminal(copy, "make", "queue", "JOBS=2", *MAKE[2:])
    try:
        assert terminal.ended() == 0, terminal.said
    finally:
        ended(copy)
    for name in names:
        assert f"{name}: begun, 25 stages" in terminal.said
        assert re.search(rf"{name}: +\d+%.*render@delay2\]", terminal.said)
        assert re.search(rf"{name}: done, 25 stages in \d+ s", terminal.said)
    assert copy.run("dvc", "queue", "status").count("Success") >= 2
    header, *rows = copy.run("dvc", "exp", "show", "--csv", "--only-changed").splitlines()
    column = header.split(",").index("plants.delay2.render.letters")
    assert {row.split(",")[column] for row in rows} >= {"01", "ab", "cd"}


@pytest.mark.slow
def test_the_queue_says_why_an_experiment_failed(unchanged: Copy) -> None:
    copy = unchanged
    module = copy.folder / "stages/render.py"
    module.write_text("raise ValueError('broken on purpose')\n")
    exp_run(copy, TINY, options=("--queue", "--name", "broken"))
    try:
        said = copy.run("python", "-m", "stages.queue", "1", fails=True)
    finally:
        ended(copy)
    assert re.search(r"^broken: failed at \S+ after \d+ s; .*", said, re.MULTILINE)
    assert said.rstrip().endswith("; `dvc queue logs broken` tells all")


def test_an_experiment_says_that_it_drops_the_garden(unchanged: Copy) -> None:
    said = exp_run(unchanged, TURNED, options=("--queue",))
    unchanged.run("dvc", "queue", "remove", "--queued")
    assert "The garden is now delay1, delay2, loop3" in said
    assert "it was delay1, delay2. What -S does not give is as conf/ says" in said


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("plants.delay2.train.cells=[[4,2]", "no viable alternative at input '[[4,2]'"),
        ("plants.delay2.train.restarts", "missing EQUAL"),
        ("plants.delay2.clip.length=1,2", "can't be used without `--queue`"),
        ("+plants.delay2.clip.length=1", "Either remove + prefix"),
        ("~plants.delay2", "garden lists 'delay2', but plants has delay1 only"),
        ("~plants.delay2.clip.length", "does not support deletion"),
    ],
)
def test_a_mistaken_override_is_named_and_changes_nothing(
    copy: Copy, override: str, said: str
) -> None:
    before = (copy.folder / "params.yaml").read_text()
    command = ("dvc", "exp", "run", "--set-param", TINY, "--set-param", override)
    assert said in copy.run(*command, fails=True)
    assert (copy.folder / "params.yaml").read_text() == before


def test_repro_notices_that_conf_was_edited(unchanged: Copy) -> None:
    check = ("python", "-m", "stages.configure", "--check")
    (before,) = re.findall(r"and (\d+) more", unchanged.run(*check))
    with (unchanged.folder / "conf/plant/delay2.yaml").open("a") as file:
        file.write("clip:\n  length: 7\n")
    said = unchanged.run("dvc", "repro")
    assert "params.yaml is not what conf/ composes, but with" in said
    assert f"and {int(before) + 1} more" in said
    assert not _ran(said)
    again = unchanged.run(*MAKE)  # which asks nothing, for nothing has changed
    assert "Running stage 'configure'" not in again
    assert again.count(f"and {int(before) + 1} more") == 1


def test_every_plant_of_the_garden_is_an_artifact(root: Path) -> None:
    listed = yaml.safe_load((root / "dvc.yaml").read_text())["artifacts"]
    garden = yaml.safe_load(composed())["garden"]
    assert {name: entry["path"] for name, entry in listed.items()} == {
        plant: f"data/plants/{plant}" for plant in garden
    }


@pytest.fixture(params=["directory", pytest.param("s3", marks=pytest.mark.slow)])
def pushed(
    unchanged: Copy,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Copy]:
    """The grown copy and its run cache, pushed to a remote of this kind."""
    copy = unchanged
    environment = dict(copy.env)
    if request.param == "s3":
        pytest.importorskip("dvc_s3")
        moto = pytest.importorskip("moto.server")
        server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        host, port = server.get_host_and_port()
        at = f"http://{host}:{port}"
        copy.env |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
        copy.env |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
        bucket = "import boto3, sys; boto3.client('s3', endpoint_url=sys.argv[1])"
        copy.run("python", "-c", f"{bucket}.create_bucket(Bucket='bonsai')", at)
        url = "s3://bonsai/store"
    else:
        url = str(tmp_path_factory.mktemp("store"))
    copy.run("dvc", "remote", "add", "--default", "--local", "--force", "store", url)
    if request.param == "s3":
        copy.run("dvc", "remote", "modify", "--local", "store", "endpointurl", at)
    copy.configure(TINY, TURNED)
    copy.repro()
    copy.run("dvc", "push")  # the run cache holds no outputs, only which there were
    copy.configure(TINY)
    copy.repro()
    copy.run("dvc", "push", "--run-cache")
    yield copy
    copy.run("dvc", "remote", "remove", "--local", "store")
    copy.env = environment
    if request.param == "s3":
        server.stop()


def test_a_clone_shows_the_report_and_repeats_what_was_run(pushed: Copy, tmp_path: Path) -> None:
    clone = Clone(pushed, tmp_path)
    shown = clone.run("python", "-c", SHOW, "delay2@v1.0.0:delay2")  # its cache is empty
    assert "delay2 of delay2@v1.0.0 is proven for every input sequence" in shown
    assert "checked anew" in shown
    (fetched,) = (clone.folder / "data/versions").glob("*/delay2")
    assert {path.name for path in fetched.iterdir()} == set(FILES)
    assert str(fetched.relative_to(clone.folder)) in shown

    clone.run("dvc", "pull", "--run-cache")
    report = (clone.folder / "data/report/index.html").read_text()
    assert "2 of 2 proven" in report
    grown = {n: b for n, b in pushed.artifacts().items() if n.startswith("plants/")}
    assert {n: b for n, b in clone.artifacts().items() if n.startswith("plants/")} == grown
    assert clone.repro() == (set(), set())
    clone.configure(TINY, TURNED)
    said = clone.run("dvc", "repro", "--pull")
    assert not _ran(said)
    assert "Stage 'render@delay2' is cached" in said


def test_dvc_brings_an_artifact_by_its_version(copy: Copy, tmp_path: Path) -> None:
    out = tmp_path / "delay2"
    copy.run("dvc", "artifacts", "get", ".", "delay2", "--rev", "v1.0.0", "--out", str(out))
    for name in ("nodes.parquet", "edges.parquet", "certificate.npz"):
        assert (out / name).read_bytes() == copy.artifacts()[f"plants/delay2/{name}"]


def test_show_tells_of_a_revision_out_of_reach(copy: Copy, tmp_path: Path) -> None:
    clone = Clone(copy, tmp_path)
    for what, said in {
        "nothing:delay2": "nothing: unknown Git revision",
        "HEAD:gates": "HEAD: has no plant 'gates'",
        "HEAD:delay2": "machine.parquet is neither in DVC's cache nor in its remote",
    }.items():
        ended = clone.run("python", "-c", SHOW, what, fails=True).splitlines()
        error = f"bonsai.versions.VersionError: {what.split(':')[0]}"
        assert any(line.startswith(error) and said in line for line in ended)  # DVC may say more
    assert not list(clone.folder.glob("data/versions/*/*/*"))


@pytest.fixture
def here(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(copy.folder)
    return copy.folder


def test_show_prints_a_plant_of_the_working_folder(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show("delay1")
    said = capsys.readouterr().out
    assert said.startswith("delay1 is proven for every input sequence of every length\n")
    assert "least margin" in said
    assert "    for (x,) in inputs:\n" in said
    assert "data/plants/delay1: " in said


@pytest.mark.parametrize("what", ["../delay1", ":delay1", "HEAD:", "HEAD:..", "", "data/delay1"])
def test_show_takes_no_path(here: Path, what: str) -> None:
    with pytest.raises(VersionError, match="is neither PLANT nor REV:PLANT"):
        show(what)


def test_show_lists_what_there_is(here: Path) -> None:
    with pytest.raises(
        ArtifactError, match="no plant gates is grown here, there are delay1, delay2;"
    ):
        show("gates")


def test_show_checks_the_certificate(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(here / "data/plants", tmp_path / "data/plants")
    monkeypatch.chdir(tmp_path)
    shutil.copy("data/plants/delay1/certificate.npz", "data/plants/delay2")
    with pytest.raises(ArtifactError, match=r"certificate.npz: does not prove this graph"):
        show("delay2")


def test_the_page_tells_what_these_tests_try() -> None:
    page = (ROOT / "docs/experiments.md").read_text()
    for command in ("exp apply", "exp branch", "queue start", "push --run-cache", "artifacts get"):
        assert f"dvc {command}" in page
