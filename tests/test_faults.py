"""What a user sees when something goes wrong: one line, a status, and nothing damaged.

The stages run as processes of their own, in a copy of the repository with one plant grown.
"""

import ctypes
import errno
import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pyopencl
import pytest
import zc.lockfile
from conftest import ROOT
from terminal import Terminal
from test_pipeline import STAGES, TINY, Copy

from bonsai.certificate import Certificate
from bonsai.dataset import SPLITS, draw, save_dataset
from bonsai.tasks import TASKS
from kernels import device
from stages import recover

PLANT = "delay1"
LIMIT = 60  # seconds that nothing here may take
SAID: dict[str, str] = {}  # by each stage while the plant was grown


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    copy = Copy(tmp_path_factory.mktemp("faults"))
    copy.configure(TINY)
    for stage in STAGES:
        SAID[stage] = copy.run("python", "-m", f"stages.{stage}", PLANT)
    return copy


@pytest.fixture
def copy(grown: Copy, tmp_path: Path) -> Iterator[Copy]:
    """The grown copy, whose files are afterwards as they were."""
    kept = [*(grown.folder / name for name in ("data", "params.yaml", "stages"))]
    for path in kept:
        _copied(path, tmp_path / path.name)
    yield grown
    for path in kept:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        _copied(tmp_path / path.name, path)


def _copied(path: Path, to: Path) -> None:
    shutil.copytree(path, to) if path.is_dir() else shutil.copy2(path, to)


def failed(
    copy: Copy,
    stage: str,
    status: int = 1,
    prepare: Callable[[], None] | None = None,
    prefix: tuple[str, ...] = (),
    **env: str,
) -> str:
    """The one line that a stage says, which has to end with this status and damage nothing."""
    before = copy.artifacts()
    ended = subprocess.run(
        [*prefix, sys.executable, "-m", f"stages.{stage}", PLANT],
        cwd=copy.folder,
        env=copy.env | env,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        preexec_fn=prepare,
        check=False,
    )
    assert ended.returncode == status, ended.stderr
    line, *rest = ended.stderr.splitlines()
    assert (rest, ended.stdout) == ([], "")
    assert copy.artifacts() == before
    assert line.startswith(f"stage {stage} of plant {PLANT}: ")
    return line


# ---- files that are not what they should be


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)


def of_another_kind(path: Path) -> None:
    other = {".parquet": "history.parquet", ".npz": "certificate.npz"}[path.suffix]
    shutil.copy2(path.with_name(other), path)


def deleted(path: Path) -> None:
    path.unlink()


def older(path: Path) -> None:
    table = pq.read_table(path)
    about = {**table.schema.metadata, b"schema": b"0"}
    pq.write_table(table.replace_schema_metadata(about), path)


@pytest.mark.parametrize(
    ("damage", "stage", "name", "says"),
    [
        (cut, "dataset", "machine.parquet", "cannot be read"),
        (cut, "render", "history.parquet", "cannot be read"),
        (cut, "sparsify", "runs.npz", "cannot be read"),
        (cut, "extract", "proof.json", "cannot be read"),
        (emptied, "train", "dataset.parquet", "cannot be read"),
        (emptied, "clip", "candidates.npz", "cannot be read"),
        (flipped, "quantize", "clipped.npz", "cannot be read"),
        (of_another_kind, "train", "dataset.parquet", "expected a file of kind 'dataset'"),
        (of_another_kind, "dce", "quantized.npz", "expected a file of kind 'network'"),
        (older, "clip", "machine.parquet", "written with schema 0, this version reads 1"),
        (deleted, "prove", "quantized.npz", "no such file"),
    ],
)
def test_a_damaged_file_is_named(
    copy: Copy, damage: Callable[[Path], None], stage: str, name: str, says: str
) -> None:
    damage(copy.folder / "data/plants" / PLANT / name)
    line = failed(copy, stage)
    assert f"/{name}: {says}" in line
    assert "`dvc repro`" in line


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        ("sparsify", "machine.parquet"),
        ("sparsify", "dataset.parquet"),
        ("clip", "machine.parquet"),
        ("dce", "dataset.parquet"),
        ("prove", "machine.parquet"),
        ("polish", "machine.parquet"),
        ("extract", "certificate.npz"),
    ],
)
def test_a_file_of_another_plant_is_noticed(copy: Copy, stage: str, name: str) -> None:
    """A kernel would read beyond the end of its arrays."""
    path, machine = copy.folder / "data/plants" / PLANT / name, TASKS["gates"]()
    if stage == "extract":
        Certificate.empty(7).save(path)
    elif name == "machine.parquet":
        machine.save(path)
    else:
        rng = np.random.default_rng(0)
        save_dataset(path, {split: draw(machine, rng, 64, 10) for split in SPLITS})
    assert failed(copy, stage).endswith("; run `dvc repro` again")


# ---- a place that cannot be written to


def small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))


def without_override() -> None:
    """Let permissions hold for root too."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def test_a_file_that_cannot_grow(copy: Copy) -> None:
    line = failed(copy, "dataset", prepare=small_files)
    assert f"/dataset.parquet: cannot be written ({os.strerror(errno.EFBIG)}); free some" in line


def on_a_disk(options: str) -> tuple[str, ...]:
    """Run what follows with the plant's folder on a disk of its own; skips where none can be."""
    own = ("unshare", "--map-root-user", "--mount", "sh", "-c")
    mount = f"cp -r data/plants/{PLANT} .kept && mount -t tmpfs none data/plants/{PLANT} -o "
    tried = f"mount -t tmpfs none {Path(__file__).parent} -o {options}"
    if shutil.which("unshare") is None or subprocess.run([*own, tried], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    back = f"cp .kept/*.parquet .kept/*.npz data/plants/{PLANT}; rm -r .kept"
    return (*own, f'{mount}{options} && {back} && exec "$0" "$@"')


@pytest.mark.parametrize(("stage", "name"), [("dataset", "dataset.parquet"), ("clip", ".npz")])
def test_a_full_disk(copy: Copy, stage: str, name: str) -> None:
    folder = copy.folder / "data/plants" / PLANT
    used = sum(
        -(-p.stat().st_size // 4096) * 4
        for p in folder.iterdir()
        if p.suffix in (".npz", ".parquet")
    )
    line = failed(copy, stage, prefix=on_a_disk(f"size={used}k"))
    assert f"{name}: cannot be written ({os.strerror(errno.ENOSPC)}); free some space" in line


def test_a_read_only_folder(copy: Copy) -> None:
    folder = copy.folder / "data/plants" / PLANT
    folder.chmod(0o555)
    try:
        line = failed(copy, "machine", prepare=without_override)
    finally:
        folder.chmod(0o755)
    says = f"/machine.parquet: cannot be written ({os.strerror(errno.EACCES)}); make its folder"
    assert says in line


# ---- no device


def test_no_opencl(copy: Copy) -> None:
    line = failed(copy, "train", OPENCL_PATH="/nowhere/libOpenCL.so")
    assert "OpenCL: no device can be opened" in line
    assert device.REMEDY in line


def test_a_platform_without_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyopencl.get_platforms", lambda: [SimpleNamespace(get_devices=list)])
    with pytest.raises(device.DeviceError, match="no device can be opened"):
        device.open_device.__wrapped__()


def test_a_gpu_comes_first_unless_another_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    there = pyopencl.get_platforms()[0].get_devices()[0]
    gpu = SimpleNamespace(
        name="Fast ",
        platform=SimpleNamespace(name="Firm"),
        type=pyopencl.device_type.GPU,
        int_ptr=there.int_ptr,
        version="OpenCL 3.0 Firm",
        max_compute_units=100,
        extensions="cl_khr_icd cl_nv_device_attribute_query",
        warp_size_nv=48,
        max_work_group_size=128,
    )
    monkeypatch.setattr(
        "pyopencl.get_platforms", lambda: [SimpleNamespace(get_devices=lambda: [there, gpu])]
    )
    again = device.open_device.__wrapped__
    found = again()
    assert (found.name, found.lanes, found.group, found.is_cpu) == ("Fast", 1, 48, False)
    assert found.rows == 128
    monkeypatch.setenv(device.CHOICE, there.platform.name.upper())
    assert again().name == there.name.strip()
    monkeypatch.setenv(device.CHOICE, "Quick")
    with pytest.raises(device.DeviceError, match="no such OpenCL device; there are: Fast on"):
        again()


# ---- two at once


def test_a_second_stage_of_the_plant_is_refused(copy: Copy) -> None:
    opened = os.open(copy.folder / "data/plants" / PLANT, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        line = failed(copy, "train")
    finally:
        os.close(opened)
    assert f"data/plants/{PLANT}: another stage is at work there; wait until it ends" in line
    copy.run("python", "-m", "stages.machine", PLANT)


# ---- errors of any kind

BROKEN = '''"""A stage that goes wrong as FAULT says."""
import os
import time

from stages import run_stage


class Slow:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(60)


def stage(parameters, folder):
    exec(os.environ["FAULT"])


if os.environ["FAULT"] == "import":
    print("ready", flush=True)
    time.sleep(60)
run_stage(stage)
'''
SLEEPING = "print('ready', flush=True); time.sleep(60)"
IN_DEL = "Slow()"
MASKED = f"""
try:
    {SLEEPING}
except BaseException:
    None.nothing
"""
COMPILE = (
    "from tinygrad.device import CompileError; raise CompileError('OpenCL\\n\\n' + 'x' * 9999)"
)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("1 / 0", "unexpected ZeroDivisionError: division by zero at <string>:1; BONSAI_DEBUG=1"),
        ("raise KeyError('a\\nb')", "unexpected KeyError: 'a\\nb' at"),
        ("raise MemoryError", "out of memory (of this machine); give the plant fewer restarts"),
        ("raise RuntimeError('OpenCL Error -4: X')", "out of memory (OpenCL Error -4: X); give"),
        ("raise RuntimeError('OpenCL Error -48: X')", "unexpected RuntimeError: OpenCL Error"),
        (COMPILE, "a kernel cannot be built (OpenCL xxx"),
        ("import nothing", "No module named 'nothing'; run it with .venv/bin/python"),
    ],
)
def test_any_error_is_one_line(copy: Copy, fault: str, says: str) -> None:
    (copy.folder / "stages/broken.py").write_text(BROKEN)
    line = failed(copy, "broken", FAULT=fault)
    assert says.replace("<string>", "") in line.replace("<string>", "")
    assert len(line) < 1200


def test_the_traceback_is_shown_when_asked_for(copy: Copy) -> None:
    (copy.folder / "stages/broken.py").write_text(BROKEN)
    copy.env |= {"FAULT": "1 / 0", "BONSAI_DEBUG": "1"}
    try:
        said = copy.run("python", "-m", "stages.broken", PLANT, fails=True)
    finally:
        del copy.env["FAULT"], copy.env["BONSAI_DEBUG"]
    assert said.startswith("Traceback (most recent call last)")
    assert said.splitlines()[-1].startswith(f"stage broken of plant {PLANT}: unexpected Zero")


# ---- signals


@pytest.mark.parametrize("fault", [SLEEPING, IN_DEL, MASKED, "import"])
@pytest.mark.parametrize(
    ("number", "status", "says"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_at_any_moment(
    copy: Copy, fault: str, number: int, status: int, says: str
) -> None:
    (copy.folder / "stages/broken.py").write_text(BROKEN)
    with subprocess.Popen(
        [sys.executable, "-m", "stages.broken", PLANT],
        cwd=copy.folder,
        env=copy.env | {"FAULT": fault},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        run.send_signal(number)
        _, said = run.communicate(timeout=LIMIT)
    assert run.returncode == status
    name = "broken" if fault == "import" else f"stage broken of plant {PLANT}"
    assert said == f"{name}: {says}; what is finished is kept, run it again to go on\n"


LONG = {  # what makes a stage long enough
    "train": ("train.steps=200000", "train.patience=200000"),
    "sparsify": ("sparsify.rounds=4000", "sparsify.patience=4000"),
    "polish": ("polish.starts=20", "polish.rounds=100000", "polish.patience=100000"),
}


@pytest.mark.parametrize("stage", LONG)
def test_control_c_in_a_long_stage(copy: Copy, stage: str) -> None:
    """On a terminal, where there is a bar with the progress."""
    copy.configure(TINY, *(f"plants.{PLANT}.{o}" for o in LONG[stage]))
    before = copy.artifacts()
    terminal = Terminal(copy, "python", "-m", f"stages.{stage}", PLANT)
    terminal.until(f"{stage} {PLANT}:")
    time.sleep(0.3)
    terminal.press(b"\x03")
    assert terminal.ended() == 130
    assert "Traceback" not in terminal.said
    last = terminal.said.splitlines()[-1]
    assert last == f"\x1b[Kstage {stage} of plant {PLANT}: interrupted; " + (
        "what is finished is kept, run it again to go on"
    )
    assert copy.artifacts() == before
    assert not list((copy.folder / "data").rglob("*.part"))


def test_a_log_gets_one_line_of_a_long_stage(grown: Copy) -> None:
    told = [stage for stage in STAGES if SAID[stage]]
    assert told == ["train", "sparsify", "prove", "polish"]
    assert all(SAID[stage].count("\n") == 1 for stage in told)
    assert SAID["train"].startswith(f"train {PLANT}: 8 of 8 restarts exact after ")


# ---- what DVC leaves


@pytest.fixture
def broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path(".dvc/tmp").mkdir(parents=True)
    shutil.copy2(ROOT / "dvc.lock", "dvc.lock")
    return tmp_path / "dvc.lock"


def stages_of(lock: Path) -> dict[str, object]:
    return recover.yaml.load(lock.read_text(), recover.yaml.CSafeLoader)["stages"]


def test_a_lock_that_is_whole_is_left_alone(
    broken_off: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = broken_off.read_bytes()
    (broken_off.parent / ".dvc/tmp/rwlock").write_text("{}")
    recover.main()
    assert broken_off.read_bytes() == before
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("share", [0.1, 0.33, 0.5, 0.77, 0.9])
@pytest.mark.parametrize("more", range(3))
def test_a_lock_that_was_cut_off_keeps_its_whole_entries(
    broken_off: Path, capsys: pytest.CaptureFixture[str], share: float, more: int
) -> None:
    whole, text = stages_of(broken_off), broken_off.read_text()
    broken_off.write_text(text[: int(len(text) * share) + 7 * more])
    recover.main()
    kept = stages_of(broken_off)
    said = capsys.readouterr().err
    if said:  # else it was cut at the end of a value, and DVC reads it
        assert said.startswith(f"dvc.lock was cut off, as when DVC is killed: {len(kept)} stages")
        assert all(whole[name] == entry for name, entry in kept.items())
    assert abs(len(kept) - share * len(whole)) < 0.1 * len(whole) + 2


@pytest.mark.parametrize("text", ["", "sche", "schema: '2.0'\n", "schema: '2.0'\nstages:\n  mach"])
def test_a_lock_of_which_nothing_is_left_is_deleted(
    broken_off: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    broken_off.write_text(text)
    recover.main()
    if broken_off.exists():
        assert recover._valid(broken_off.read_text())
    else:
        assert "0 stages are kept in it" in capsys.readouterr().err


def test_a_list_of_running_commands_that_was_cut_off_is_deleted(
    broken_off: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running = broken_off.parent / ".dvc/tmp/rwlock"
    running.write_text('{"write": {"a": ')
    lock = zc.lockfile.LockFile(".dvc/tmp/lock")
    recover.main()
    assert running.exists()  # a DVC is at work
    lock.close()
    recover.main()
    assert not running.exists()
    assert "rwlock was cut off" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["rwlock", "exps/rwlock"])
def test_commands_that_have_ended_are_not_running(broken_off: Path, name: str) -> None:
    subprocess.run(["git", "init", "--quiet"], check=True)  # which experiments ask
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # from now on a zombie
    old, own = ({"pid": pid, "cmd": "dvc repro"} for pid in (ended.pid, os.getpid()))
    running = broken_off.parent / ".dvc/tmp" / name
    running.parent.mkdir(exist_ok=True)
    listed = {"read": {"a": [old, own], "b": [old]}, "write": {"c": old, "d": own}}
    running.write_text(json.dumps(listed))
    recover.main()
    assert json.loads(running.read_text()) == {"read": {"a": [own]}, "write": {"d": own}}
    ended.wait()


def test_a_lock_that_recover_made_is_one_that_dvc_reads(copy: Copy) -> None:
    """DVC refuses the one that was cut off, so that recovering it is needed."""
    text = (ROOT / "dvc.lock").read_text()
    lock = copy.folder / "dvc.lock"
    try:
        lock.write_text(text[: text.index("      md5:", len(text) // 2) + 9])
        copy.run("dvc", "status", "--json", f"machine@{PLANT}", fails=True)
        (copy.folder / ".dvc/tmp").mkdir(exist_ok=True)
        copy.run("python", "-m", "stages.recover")
        json.loads(copy.run("dvc", "status", "--json", f"machine@{PLANT}"))
    finally:
        lock.unlink(missing_ok=True)
