"""Batches of restarts on a Dask cluster: the same bytes, whatever is killed, and one line if not.

The stage and the cluster run as processes of their own, in a copy of the repository.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from conftest import ROOT
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from test_faults import Terminal
from test_pipeline import TINY, Copy

from bonsai import batches
from bonsai.batches import Batch, Finished, Problem, merged, split, train_here
from bonsai.cluster import ClusterError, cluster
from bonsai.dataset import draw, save_dataset
from bonsai.hints import Codes
from bonsai.network import Architecture, Network
from bonsai.sizing import Attempt
from bonsai.tasks import TASKS
from bonsai.train import Trained
from stages import ParameterError, configure

pytestmark = pytest.mark.usefixtures("root")

PLANT = "delay1"
LIMIT = 120  # seconds that nothing here may take
MADE = ("runs.npz", "hints.npz", "history.parquet", "train.json", "curves.csv")
OVERRIDES = (
    TINY, "train.restarts=11", "train.together=3", "train.steps=6000", "train.patience=99",
)  # fmt: skip
ENDLESS = (f"plants.{PLANT}.train.steps=4000000", f"plants.{PLANT}.train.patience=4000000")


# ---- a cluster as the README starts it


class Cluster:
    """A scheduler and workers, in processes of their own."""

    def __init__(self, copy: Copy, folder: Path, protocol: str) -> None:
        self.copy, self.file = copy, folder / "scheduler.json"
        self.log = (folder / "log").open("wb")
        self.processes: list[subprocess.Popen] = []
        self.scheduler = self.start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--protocol", protocol,
            "--scheduler-file", str(self.file),
        )  # fmt: skip
        self.address = until(self._told)

    def _told(self) -> str | None:
        """The address that the scheduler has written down, not halfway."""
        with suppress(FileNotFoundError, json.JSONDecodeError):
            return json.loads(self.file.read_text())["address"]
        return None

    def start(self, *command: str, where: Path | None = None) -> subprocess.Popen:
        process = subprocess.Popen(
            (sys.executable, "-m", "dask", *command, "--no-dashboard"),
            cwd=where or self.copy.folder,
            env=self.copy.env,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def workers(self, *flags: str, where: Path | None = None) -> subprocess.Popen:
        return self.start("worker", self.address, *flags, where=where)

    def end(self, process: subprocess.Popen) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for process in self.processes:
            self.end(process)
        self.log.close()


def until(holds: Callable[[], Any]) -> Any:
    """What `holds` returns once that is true."""
    started = time.monotonic()
    while not (found := holds()):
        assert time.monotonic() - started < LIMIT
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    copy = Copy(tmp_path_factory.mktemp("dask"))
    copy.configure(TINY)
    for stage in ("machine", "dataset"):
        copy.run("python", "-m", f"stages.{stage}", PLANT)
    return copy


@pytest.fixture(scope="module")
def expected(copy: Copy) -> dict[str, bytes]:
    """What the stage makes without a cluster."""
    set_up(copy)
    copy.run("python", "-m", "stages.train", PLANT)
    return made(copy)


@contextmanager
def running(copy: Copy, folder: Path, protocol: str = "tcp") -> Iterator[Cluster]:
    folder.mkdir()
    cluster = Cluster(copy, folder, protocol)
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def dask(copy: Copy, tmp_path: Path) -> Iterator[Cluster]:
    with running(copy, tmp_path / "dask") as cluster:
        yield cluster


def set_up(copy: Copy, *overrides: str) -> None:
    """What `python -m stages.configure` does there, in less time."""
    text = configure.composed([*OVERRIDES, *overrides])
    (copy.folder / "params.yaml").write_text(text)


def made(copy: Copy) -> dict[str, bytes]:
    """The artifacts, which are taken away."""
    assert kept(copy) == {}
    paths = {name: copy.folder / "data/plants" / PLANT / name for name in MADE}
    content = {name: path.read_bytes() for name, path in paths.items()}
    for path in paths.values():
        path.unlink()
    return content


def kept(copy: Copy) -> dict[str, int]:
    """Finished batches, with the time at which they were."""
    found = (copy.folder / "data/checkpoints" / PLANT).glob("train-*.npz")
    return {path.name: path.stat().st_mtime_ns for path in found}


def started(copy: Copy, *overrides: str) -> subprocess.Popen:
    """The stage at work."""
    set_up(copy, "compute=dask", *overrides)
    return subprocess.Popen(
        [sys.executable, "-m", "stages.train", PLANT],
        cwd=copy.folder,
        env=copy.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def succeeded(run: subprocess.Popen) -> None:
    said, wrong = run.communicate(timeout=LIMIT)
    assert (run.returncode, wrong) == (0, "")
    assert said.startswith(f"train {PLANT}: ")


def failed(run: subprocess.Popen) -> str:
    """The one line that it ends with."""
    said, wrong = run.communicate(timeout=LIMIT)
    assert (run.returncode, said, wrong.count("\n")) == (1, "", 1), wrong
    assert wrong.startswith(f"stage train of plant {PLANT}: ")
    return wrong


@contextmanager
def looking(address: str) -> Iterator[Any]:
    """A client of its own, to see what the cluster does."""
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        yield client


# ---- bytes


def test_one_worker_here(copy: Copy, expected: dict[str, bytes]) -> None:
    succeeded(started(copy, "compute.workers=1"))
    assert made(copy) == expected


def test_a_worker_killed_at_work(copy: Copy, expected: dict[str, bytes], dask: Cluster) -> None:
    dask.workers("--nthreads", "1", "--nworkers", "2")
    with looking(dask.address) as client:
        run = started(copy, f"compute.address={dask.address}")
        until(lambda: kept(copy))
        worker, process = until(lambda: stopped_at_work(client, copy))
        os.kill(process, signal.SIGKILL)
        until(lambda: worker not in client.nthreads())
        succeeded(run)
        pids = client.run(os.getpid)
        assert process not in pids.values()
    assert made(copy) == expected


def stopped_at_work(client: Any, copy: Copy) -> tuple[str, int] | None:
    """A worker, and its process, that is stopped in the middle of a batch."""
    for worker in client.processing():
        process = client.run(os.getpid, workers=[worker])[worker]
        os.kill(process, signal.SIGSTOP)
        time.sleep(0.2)  # for what it had said before
        keys = client.processing()[worker]
        if any(key.startswith("batch-") for key in keys):
            return worker, process
        os.kill(process, signal.SIGCONT)
    return None


def test_a_scheduler_lost(copy: Copy, expected: dict[str, bytes], tmp_path: Path) -> None:
    with running(copy, tmp_path / "first") as dask:
        dask.workers("--nthreads", "1")
        run = started(copy, f"compute.address={dask.address}")
        until(lambda: kept(copy))
        dask.scheduler.kill()
        said = failed(run)
    before = kept(copy)
    assert f"the scheduler at {dask.address} is lost; {len(before)} of 4 batches are kept" in said
    assert 1 <= len(before) < 4
    with running(copy, tmp_path / "second") as dask:
        dask.workers("--nthreads", "1")
        succeeded(started(copy, f"compute.address={dask.address}"))
        with looking(dask.address) as client:
            trained = client.run_on_scheduler(
                lambda dask_scheduler: dask_scheduler.task_prefixes["batch"].state_counts["memory"]
            )
    assert trained == 4 - len(before)
    assert made(copy) == expected


def signed(folder: Path) -> tuple[Path, Path]:
    """A key, and the certificate that it has signed for itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bonsai")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem, format = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(pem, format, serialization.NoEncryption()))
    (folder / "certificate.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem))
    return folder / "key.pem", folder / "certificate.pem"


def test_an_encrypted_cluster(
    copy: Copy, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = map(str, signed(tmp_path))
    tls = "DASK_DISTRIBUTED__COMM__TLS"
    known = {f"{tls}__CA_FILE": certificate}
    for who in ("SCHEDULER", "WORKER", "CLIENT"):
        known |= {f"{tls}__{who}__KEY": key, f"{tls}__{who}__CERT": certificate}
    for name, value in known.items():
        monkeypatch.setitem(copy.env, name, value)
    with running(copy, tmp_path / "dask", "tls") as dask:
        assert dask.address.startswith("tls://127.0.0.1:")
        dask.workers("--nthreads", "1")
        at = f"compute.address={dask.address}"
        succeeded(started(copy, at))
        assert made(copy) == expected
        for name in known:
            monkeypatch.delitem(copy.env, name)
        said = failed(started(copy, at))
        assert f"no Dask scheduler answers at {at} (TLS needs certificates here too" in said


def test_what_is_finished_goes_on_without_a_cluster(
    copy: Copy, expected: dict[str, bytes], dask: Cluster
) -> None:
    dask.workers("--nthreads", "1")
    run = started(copy, f"compute.address={dask.address}")
    until(lambda: kept(copy))
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=LIMIT)
    assert run.returncode == 130
    assert said.endswith("interrupted; what is finished is kept, run it again to go on\n")
    assert kept(copy)
    succeeded(started(copy, "compute=local"))
    assert made(copy) == expected


SBATCH = """#!/bin/sh
cp "$1" "$0.job"
setsid sh "$0.job" </dev/null >"$0.log" 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
kill -9 -- "-$1"
"""


@pytest.mark.slow
def test_slurm_as_the_readme_has_it(
    copy: Copy, expected: dict[str, bytes], tmp_path: Path
) -> None:
    """With an `sbatch` that runs the job here, at once."""
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    text = (ROOT / "README.md").read_text()
    (block,) = re.findall(r"    from dask_jobqueue .*?\n\n(?! )", text, re.DOTALL)
    script = textwrap.dedent(block).replace("=16", "=1").replace("jobs=8", "jobs=1")
    with subprocess.Popen(
        [sys.executable, "-c", script.replace("8786", "0")],
        cwd=copy.folder,
        env=copy.env | {"PATH": f"{tmp_path}{os.pathsep}{copy.env['PATH']}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as cluster:
        assert cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        succeeded(started(copy, f"compute.address={address}"))
        cluster.communicate("\n", timeout=LIMIT)
    assert cluster.returncode == 0
    assert made(copy) == expected


# ---- how it ends otherwise


@pytest.fixture
def endless(copy: Copy) -> tuple[Terminal, list[psutil.Process]]:
    """A stage at work in a terminal, and its workers."""
    set_up(copy, "compute=dask", *ENDLESS)
    terminal = Terminal(copy, "python", "-m", "stages.train", PLANT)
    terminal.until("workers=2")
    assert f"train {PLANT}:   0%|" in terminal.said
    workers = psutil.Process(terminal.process).children(recursive=True)
    assert len(workers) >= 3
    return terminal, workers


def test_control_c_ends_the_workers_too(endless: tuple[Terminal, list[psutil.Process]]) -> None:
    terminal, workers = endless
    terminal.press(b"\x03")
    assert terminal.ended() == 130
    assert "Traceback" not in terminal.said
    assert terminal.said.splitlines()[-1].endswith(
        "interrupted; what is finished is kept, run it again to go on"
    )
    assert psutil.wait_procs(workers, LIMIT)[1] == []


def test_a_killed_stage_leaves_no_workers(endless: tuple[Terminal, list[psutil.Process]]) -> None:
    terminal, workers = endless
    os.kill(terminal.process, signal.SIGKILL)
    assert terminal.ended() == 128 + signal.SIGKILL
    assert psutil.wait_procs(workers, LIMIT)[1] == []


def test_no_scheduler_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bonsai.cluster.CONNECT", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        says = f"no Dask scheduler answers at compute.address={address} "
        with pytest.raises(ClusterError, match=says), cluster(address, 1, print):
            pass
    with pytest.raises(ClusterError, match=says), cluster(address, 1, print):
        pass


def test_workers_that_do_not_fit(copy: Copy, dask: Cluster, tmp_path: Path) -> None:
    at = f"compute.address={dask.address}"
    workers = dask.workers("--nthreads", "1", where=tmp_path)
    assert "does not find the project; start scheduler and workers in the project's" in failed(
        started(copy, at)
    )
    dask.end(workers)
    other = tmp_path / "other"
    for package in ("bonsai", "kernels"):
        shutil.copytree(copy.folder / package, other / package)
    module = other / "bonsai/recipe.py"
    module.write_text(f"{module.read_text()}# another version\n")
    workers = dask.workers("--nthreads", "1", where=other)
    said = failed(started(copy, at))
    assert re.search(r"a worker at \S+ project \w{12}, not \w{12}; start scheduler and wor", said)
    dask.end(workers)
    dask.workers("--nthreads", "2")
    said = failed(started(copy, at))
    assert "takes 2 batches at once; start it with --nthreads 1" in said
    assert said.endswith("; 0 of 4 batches are kept, run it again to go on\n")


def test_the_extra_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(ClusterError, match=r"needs the extra dask .*`make repro`"),
        cluster(None, 1, print),
    ):
        pass


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["compute=cloud"], "compute/cloud"),
        (["compute.kind=cloud"], "compute.kind"),
        (["compute.workers=0"], "compute.workers=0 must be 1 or more"),
        (["compute.address=tcp://a:1"], "compute.address=tcp://a:1 must be null where"),
        (["compute=dask", "compute.address=a"], "compute.address=a must be null, or that of"),
        (["train.together=0"], "train.together=0 must be null, or 1 or more"),
        ([f"plants.{PLANT}.train.together=few"], f"plants.{PLANT}.train.together"),
    ],
)
def test_refused_before_any_stage(overrides: list[str], says: str) -> None:
    with pytest.raises(ParameterError) as error:
        configure.composed(overrides)
    assert says in str(error.value)


# ---- batches themselves


SETTINGS: dict[str, Any] = {
    "seed": 0, "restarts": 8, "together": 3, "attempts": 1, "batch": 32, "steps": 200,
    "rate": [[0, 0.01], [1, 0.01]], "factor": [[0, 0.5], [1, 0]], "noise": [[0, 0], [1, 0.1]],
    "binarize": [[0, 0], [1, 0]], "hinted_noise": [[0, 0.3], [1, 0.3]], "leak": 0.0625,
    "regularizer": {
        "strength": [[0, 0.02], [1, 0.02]],
        "threshold": 0.025, "steepness": 25.0, "l1": 0.001, "biases": True,
    },
    "check_every": 100, "patience": 9, "live": 0.1, "kernel": "fused",
}  # fmt: skip
ATTEMPT = Attempt(((3, 2),), False, 0.5)


@pytest.fixture
def plant(tmp_path: Path) -> Path:
    machine, rng = TASKS["delay1"](), np.random.default_rng(0)
    machine.save(tmp_path / "machine.parquet")
    splits = {name: draw(machine, rng, 64, 10) for name in ("train", "validation")}
    save_dataset(tmp_path / "dataset.parquet", splits)
    return tmp_path


@pytest.mark.parametrize(
    ("together", "sizes"),
    [(None, [8]), (8, [8]), (99, [8]), (4, [4, 4]), (3, [3, 3, 2]), (1, [1] * 8)],
)
def test_batches_hold_every_restart_once(together: int | None, sizes: list[int]) -> None:
    found = split(SETTINGS | {"together": together}, ATTEMPT, 0)
    assert [batch.restarts for batch in found] == sizes
    assert [batch.first for batch in found] == [sum(sizes[:n]) for n in range(len(sizes))]
    assert [Batch.parse(batch.text) for batch in found] == found


def test_more_restarts_begin_with_the_same_batches() -> None:
    few, more = (split(SETTINGS | {"restarts": n, "together": 4}, ATTEMPT, 0) for n in (8, 16))
    assert more[:2] == few


def test_a_batch_alone_is_what_was_trained_before_there_were_batches() -> None:
    """Seeds of a plant's first attempt and batch end in zeros, which change nothing."""
    for seed in (0, 7, 2**32 - 1):
        plain, zeros = (np.random.default_rng(s) for s in (seed, [seed, 0, 0]))
        assert plain.random() == zeros.random()


@pytest.mark.parametrize("together", [1, 3, 8])
def test_every_other_restart_has_hints(
    plant: Path, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hinted: list[int] = []

    def train(*_: Any, codes: Codes, **__: Any) -> Trained:
        hinted.append(int(codes.hinted.sum()))
        return parted(10, len(codes.code))

    monkeypatch.setattr(batches, "train", train)
    problem = Problem.load(plant)
    for batch in split(SETTINGS | {"together": together}, ATTEMPT, 0):
        batches.train_batch(batch, problem)
    assert sum(hinted) == 4
    assert max(hinted) <= (together + 1) // 2


def test_what_is_finished_is_not_trained_again(
    plant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, given = Problem.load(plant), split(SETTINGS, ATTEMPT, 0)
    finished = Finished(tmp_path / "kept", plant, {"project": "a"})
    first = merged(train_here(given, problem, finished, lambda *_: None))
    assert first.network.restart.tolist() == list(range(8))
    assert len(list((tmp_path / "kept").glob("train-0-?-*.npz"))) == 3
    other = Finished(tmp_path / "kept", plant, {"project": "b"})
    assert other.load(given[0], problem) is None
    monkeypatch.delattr(batches, "train_batch")
    again = merged(train_here(given, problem, finished, lambda *_: None))
    for name in ("history", "checks", "accuracy", "live"):
        assert getattr(again, name).tobytes() == getattr(first, name).tobytes()
    assert again.network.parameters.tobytes() == first.network.parameters.tobytes()
    assert again.network.factor == first.network.factor
    assert again.codes.code.tobytes() == first.codes.code.tobytes()
    finished.delete()
    assert list((tmp_path / "kept").iterdir()) == []


def parted(steps: int, restarts: int, dropped: tuple[int, ...] = (), first: int = 0) -> Trained:
    """A batch that ended after so many steps, checked every five, with numbers to tell it by."""
    a, checks = Architecture(1, ((1, 1),), 1), np.arange(5, steps + 1, 5, dtype=np.int32)
    number = np.array(sorted({*range(first, first + restarts)} - {*dropped}), np.int32)
    size = len(number)
    network = Network(a, 0.0, 0.0, np.zeros((size, a.size), np.float32), number, number)
    at = np.arange(1, steps + 1, dtype=np.float32)[:, None, None]
    return Trained(
        network=network,
        history=np.broadcast_to(np.float32(at + 100 * number[:, None]), (steps, size, 2)),
        checks=checks,
        accuracy=np.broadcast_to(np.float32(checks[:, None] / 100), (len(checks), size)),
        live=np.broadcast_to(checks[:, None] + number, (len(checks), size)),
        dropped=dropped,
        codes=Codes.bits(np.int8([[-1], [1]]), np.full((size, 1), 0, np.int32)),
    )


def test_a_batch_that_stopped_before_others_stays_as_it_was() -> None:
    found = merged([parted(10, 2), parted(20, 3, (3,), first=2), parted(5, 1, first=5)])
    assert found.network.restart.tolist() == found.network.candidate.tolist() == [0, 1, 2, 4, 5]
    assert found.dropped == (3,)
    assert found.checks.tolist() == [5, 10, 15, 20]
    assert found.history.shape == (20, 5, 2)
    assert found.history[[0, 9, 19], :, 0].tolist() == [
        [1, 101, 201, 401, 501],
        [10, 110, 210, 410, 505],
        [10, 110, 220, 420, 505],
    ]
    assert found.live.tolist() == [
        [5, 6, 7, 9, 10], [10, 11, 12, 14, 10], [10, 11, 17, 19, 10], [10, 11, 22, 24, 10]
    ]  # fmt: skip
    assert found.codes.code[:, 0].tolist() == [0, 0, 1, 1, 2]  # each batch has features of its own
    assert (found.accuracy[-1] == np.float32([0.1, 0.1, 0.2, 0.2, 0.05])).all()


def test_one_batch_is_left_as_it_is() -> None:
    alone = parted(10, 2)
    found = merged([alone])
    assert found.history.tobytes() == alone.history.tobytes()
    assert found.history.dtype == np.float32
    assert found.live.dtype == alone.live.dtype
