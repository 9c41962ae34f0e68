"""Stages as forks of one process: what `python -m` would do, quicker."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from dvc.stage.exceptions import StageCmdFailedError
from terminal import Terminal
from test_pipeline import PLANTS, TINY, Copy

from stages import dvc as quick
from stages.forkserver import ForkServer

LIMIT = 60  # seconds that nothing here may take
PROBE = '''"""Tells what it is, as a stage of its own would be."""
import json, os, signal, sys, threading

assert __name__ == "__main__" and sys.modules["__main__"].__spec__.name == "stages.probe"
told = {
    "arguments": sys.argv[1:],
    "orig": sys.orig_argv[1:],
    "file": sys.argv[0],
    "env": os.environ.get("PROBE"),
    "folder": os.getcwd(),
    "own": os.getpid(),
    "parent": os.getppid(),
    "group": os.getpgid(0),
    "threads": threading.active_count(),
    "loaded": [name in sys.modules for name in ("bonsai.chart", "kernels.fused")],
    "opencl": any("libpocl" in line for line in open("/proc/self/maps")),
    "held": [s.name for s in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
    "handlers": [signal.getsignal(s).__name__ for s in (signal.SIGINT, signal.SIGTERM)],
    "files": [os.path.exists(f"/proc/self/fd/{n}") for n in range(20)],
}
open(sys.argv[1], "w").write(json.dumps(told))
exec(os.environ.get("FAULT", ""))
'''
DRIVER = """
import signal, sys, time
from stages.forkserver import ForkServer
signal.signal(signal.SIGINT, signal.SIG_IGN)
server = ForkServer()
while not server.ready():
    time.sleep(0.01)
print("loaded", server._process.pid, flush=True)
status = server.run("stages.probe", ["told.json"], {"FAULT": sys.argv[1]})
print("status", status, flush=True)
server.close()
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    copy = Copy(tmp_path_factory.mktemp("forks"))
    (copy.folder / "stages/probe.py").write_text(PROBE)
    return copy


@pytest.fixture
def folder(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(copy.folder)
    return copy.folder


@pytest.fixture(scope="module")
def loaded(copy: Copy) -> Iterator[ForkServer]:
    """A server that stays as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(copy.folder)
        server = ForkServer()
    eventually(server.ready)
    yield server
    server.close()


@pytest.fixture
def server(folder: Path) -> Iterator[ForkServer]:
    """A server of one test's own."""
    server = ForkServer()
    eventually(server.ready)
    yield server
    server.close()


def eventually(true: Callable[[], bool]) -> None:
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < LIMIT
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether the process has ended, whoever has to wait for it."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def probed(server: ForkServer, *more: str, **env: str) -> dict:
    assert server.run("stages.probe", ["told.json", *more], env) == 0
    return json.loads(Path("told.json").read_text())


def test_a_fork_is_what_a_new_process_would_be(loaded: ForkServer, folder: Path) -> None:
    told = probed(loaded, "a_plant", PROBE="set")
    alone = [sys.executable, "-m", "stages.probe", "told.json", "a_plant"]
    subprocess.run(alone, check=True, env=os.environ | {"PROBE": "set"}, stdin=None)
    new = json.loads((folder / "told.json").read_text())
    assert told.pop("parent") == loaded._process.pid != new.pop("parent")
    assert told.pop("loaded") == [True, True]
    assert new.pop("loaded") == [False, False]
    assert told.pop("own") != new.pop("own")
    assert told == new
    assert told["arguments"] == ["told.json", "a_plant"]
    assert told["held"] == []
    assert told["opencl"] is False


@pytest.mark.usefixtures("folder")
def test_the_environment_is_that_of_one_run(loaded: ForkServer) -> None:
    assert probed(loaded, PROBE="set")["env"] == "set"
    assert probed(loaded)["env"] is None


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("sys.exit(3)", 3),
        ("raise FileNotFoundError('no such thing')", 1),
        ("os.kill(os.getpid(), signal.SIGTERM)", 143),
        ("os.kill(os.getpid(), signal.SIGKILL)", -9),
        ("os._exit(7)", 7),
    ],
)
@pytest.mark.usefixtures("folder")
def test_the_status_is_that_of_the_run(loaded: ForkServer, fault: str, status: int) -> None:
    assert loaded.run("stages.probe", ["told.json"], {"FAULT": fault}) == status
    assert loaded.ready()
    probed(loaded)


LEFT = """
import atexit, pathlib, time
def late():
    time.sleep(0.3)
    pathlib.Path("late").touch()
threading.Thread(target=late).start()
atexit.register(pathlib.Path("last").touch)
print("said")
"""
READ = """
import stages
before = stages._checked.cache_info().misses
told["steps"] = stages.plant_parameters(sys.argv[2]).train.steps
told["read here"] = stages._checked.cache_info().misses - before
with open(sys.argv[1], "w") as file:
    json.dump(told, file)
"""


def test_a_run_that_is_done_leaves_nothing_undone(copy: Copy) -> None:
    said = copy.run("env", "-u", "PYTHONUNBUFFERED", sys.executable, "-c", DRIVER, LEFT)
    assert said.splitlines()[1:] == ["said", "status 0"]
    assert (copy.folder / "late").exists()
    assert (copy.folder / "last").exists()


@pytest.mark.usefixtures("folder")
def test_parameters_are_those_of_now(loaded: ForkServer) -> None:
    file, plant = Path("params.yaml"), PLANTS[0]
    before = file.read_text()
    try:
        for text in (before, before.replace("steps: ", "steps: 1"), before):
            file.write_text(text)
            told = probed(loaded, plant, FAULT=READ)
            assert told["steps"] == yaml.safe_load(text)["plants"][plant]["train"]["steps"]
            assert told["read here"] == 0  # but in the server
        file.write_text("[")
        assert loaded.run("stages.probe", ["told.json", plant], {"FAULT": READ}) == 1
        assert loaded.ready()
    finally:
        file.write_text(before)


def test_an_error_is_one_line(copy: Copy) -> None:
    said = copy.run(sys.executable, "-c", DRIVER, "raise FileNotFoundError('no such thing')")
    first, error, last = said.splitlines()
    assert first.startswith("loaded ")
    assert error == "probe: no such thing"
    assert last == "status 1"


@pytest.mark.parametrize("name", ["bonsai/levels.py", "stages/__init__.py"])
def test_what_is_changed_is_not_run_by_a_server_that_has_the_old(
    server: ForkServer, folder: Path, name: str
) -> None:
    probed(server)
    file = folder / name
    os.utime(file, ns=(1, file.stat().st_mtime_ns - 1))  # by a copy that is older, say
    assert server.run("stages.probe", ["told.json"], {}) is None
    assert not server.ready()


def test_a_file_changed_while_the_server_loads_is_noticed(folder: Path) -> None:
    server = ForkServer()
    file = folder / "bonsai/levels.py"
    os.utime(file, ns=(1, time.time_ns()))
    eventually(server.ready)
    assert server.run("stages.probe", ["told.json"], {}) is None
    server.close()


def test_a_server_that_cannot_load_is_never_ready(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "bonsai/half.py").write_text("def f(")
    try:
        server = ForkServer()
        eventually(lambda: server._process.poll() is not None)
        assert not server.ready()
        server.close()
    finally:
        (folder / "bonsai/half.py").unlink()
    assert capfd.readouterr().err == ""


def test_a_server_that_is_killed_ends_the_run(server: ForkServer) -> None:
    told = Path("told.json")
    told.unlink(missing_ok=True)

    def kill() -> None:
        eventually(lambda: told.exists() and told.stat().st_size > 0)
        server._process.kill()

    threading.Thread(target=kill).start()
    assert server.run("stages.probe", ["told.json"], {"FAULT": "signal.pause()"}) == -9
    assert not server.ready()
    os.kill(json.loads(told.read_text())["own"], signal.SIGKILL)


def test_a_server_ends_with_who_started_it(copy: Copy) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, "signal.pause()"],
        cwd=copy.folder,
        env=copy.env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as driver:
        assert driver.stdout is not None
        pid = int(driver.stdout.readline().split()[1])
        eventually((copy.folder / "told.json").exists)
        assert not gone(pid)
        driver.kill()
        os.killpg(driver.pid, signal.SIGTERM)  # the run; what it ran for is gone
        eventually(lambda: gone(pid))


def test_a_server_that_nobody_asks_ends_without_a_word(copy: Copy) -> None:
    """Whoever started it was killed, and has not read that it is ready."""
    started = "from stages.forkserver import *; import os; s = ForkServer(); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", started], cwd=copy.folder, env=copy.env, stderr=subprocess.PIPE
    ) as driver:
        tasks = Path(f"/proc/{driver.pid}/task/{driver.pid}/children")
        eventually(lambda: bool(tasks.read_text()))
        pid = int(tasks.read_text())
        time.sleep(4)  # until it has loaded, or nearly
        driver.kill()
        eventually(lambda: gone(pid))
        assert driver.stderr is not None
        assert driver.stderr.read() == b""


def test_control_c_is_for_the_run(copy: Copy) -> None:
    fault = "print('begun', flush=True); signal.pause()"
    terminal = Terminal(copy, sys.executable, "-c", DRIVER, fault)
    terminal.until("begun")
    terminal.press(b"\x03")
    assert terminal.ended() == 0
    assert "Traceback" not in terminal.said
    assert "probe: interrupted; what is finished is kept, run it again to go on" in terminal.said
    assert "status 130" in terminal.said


# ---- with DVC

REPRO = """
import sys, time
from dvc.cli import main
from stages import dvc
from stages.forkserver import ForkServer
with dvc.quicken() as forks:
    forks._server = ForkServer()
    while not forks._server.ready():
        time.sleep(0.01)
    sys.exit(main(sys.argv[1:]))
"""
PYTHON = 'PATH="$DVC_ROOT/.venv/bin:$PATH" python -m'


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        (f"{PYTHON} stages.train a_plant", ("stages.train", ["a_plant"])),
        (f"{PYTHON} stages.report", ("stages.report", [])),
        (f"{PYTHON} stages.train a_plant; echo", None),
        (f"{PYTHON} stages.train $PLANT", None),
        (f"{PYTHON} stages.train a 'b c'", None),
        (f"{PYTHON} json.tool", None),
        ("python -m stages.train a_plant", None),
        ("echo", None),
    ],
)
def test_which_commands_are_forked(command: str, asked: tuple | None) -> None:
    env = {"DVC_ROOT": "/nowhere", "PATH": str(Path(sys.executable).parent)}
    found = quick._asked(command, os.getcwd(), env)
    assert (found and found[:2]) == asked
    if found:
        assert found[2] == env | {"PATH": f"/nowhere/.venv/bin:{env['PATH']}"}
    assert quick._asked(command, "/", env) is None  # in another folder
    assert quick._asked(command, os.getcwd(), env | {"PATH": "/bin"}) is None  # another Python


def test_dvc_takes_over_where_there_is_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Server:
        def __init__(self) -> None:
            said.append("start")

        def ready(self) -> bool:
            return answers[0] != "loading"

        def run(self, *asked: object) -> object:
            said.append("fork")
            return answers[0]

        def close(self) -> None:
            said.append("close")

    monkeypatch.setattr(quick, "ForkServer", Server)
    forks = quick.Forks()
    forks._by_dvc = lambda executable, command, **options: said.append("dvc")
    env = {"DVC_ROOT": "/nowhere", "PATH": str(Path(sys.executable).parent)}

    def run(command: str) -> list[str]:
        said.clear()
        forks.run("/bin/sh", command, cwd=os.getcwd(), env=env, shell=False)
        return said.copy()

    answers: list = ["loading"]
    assert run("echo") == ["dvc"]
    assert run(f"{PYTHON} stages.train a") == ["start", "dvc"]
    assert run(f"{PYTHON} stages.train a") == ["dvc"]
    answers[0] = 0
    assert run(f"{PYTHON} stages.train a") == ["fork"]
    assert run("echo") == ["dvc"]
    answers[0] = 3
    with pytest.raises(StageCmdFailedError, match="exited with 3"):
        run(f"{PYTHON} stages.train a")
    answers[0] = None  # a file was changed
    assert run(f"{PYTHON} stages.train a") == ["fork", "close", "dvc"]
    assert run(f"{PYTHON} stages.train a") == ["start", "dvc"]
    forks.close()
    assert said == ["start", "dvc", "close"]


def test_a_pipeline_of_forks_makes_what_dvc_makes_by_itself(copy: Copy) -> None:
    copy.configure(TINY)
    sight = """
import os
open("parents.txt", "a").write(open(f"/proc/{os.getppid()}/cmdline").read())
"""
    file = copy.folder / "stages/dataset.py"
    file.write_text(file.read_text() + sight)
    seen = []
    for command in (["-c", REPRO], ["-m", "dvc"]):
        copy.run(sys.executable, *command, "repro", "--force", f"clip@{PLANTS[0]}")
        by = (copy.folder / "parents.txt").read_text()
        (copy.folder / "parents.txt").unlink()
        seen.append((copy.artifacts(), by.count("stages.forkserver")))
    assert seen[0][0] == seen[1][0]
    assert [count for _, count in seen] == [1, 0]
