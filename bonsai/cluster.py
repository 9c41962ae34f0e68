"""Batches of restarts on a Dask cluster: one that runs already, or workers on this machine.

A worker is sent a batch and the plant's files, and returns the file of the result, which is kept
here. What a worker that is killed had begun, the scheduler gives to another. Whatever can make
results differ is compared: workers have to have the code and libraries that are here, and one
kind of processor among them, so that the bytes do not tell which of them did what.

Results are files of ours, and read like any. But Dask unpickles what it is sent, here, in the
scheduler and in the workers: connect to a cluster that you trust, and to no other.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

from bonsai.artifact import one_line
from bonsai.batches import FILES, Batch, Finished, Problem, computed_by, keep, train_batch
from bonsai.processes import cores
from bonsai.train import Checkpoint, Trained
from kernels.device import DeviceError

CONNECT = 5  # seconds to reach a scheduler
REFRESH = 1  # seconds between reports
PATIENCE = 10  # seconds without a worker, after which that is said
SETTINGS = {  # of Dask, here
    "logging": dict.fromkeys(("distributed", "distributed.client"), "critical"),
    "distributed.scheduler.allowed-failures": 100,  # workers that may die with a batch
    "distributed.scheduler.worker-saturation": 1.0,  # a batch waits for any worker, not for one
    "distributed.admin.large-graph-warning-threshold": "1 GB",
}
SAME = (
    "start scheduler and workers in the project's folder, with the same commit and its "
    "requirements.lock as here, on one kind of processor (README, Many machines)"
)
WORKER = (
    *("-m", "dask", "worker", "--nthreads", "1", "--memory-limit", "0", "--no-dashboard"),
    *("--death-timeout", "60"),  # where the stage was killed before they had reached it
)


class ClusterError(RuntimeError):
    """The cluster cannot be used, or is lost. The message says why, and the remedy."""


@dataclass(frozen=True)
class Standing:
    """done: batches, of how many; exact: restarts, of those done; workers: that are there now"""

    done: int
    batches: int
    exact: int
    restarts: int
    workers: int


@contextmanager
def cluster(address: str | None, workers: int, say: Callable[[str], None]) -> Iterator["Cluster"]:
    """Connect to the scheduler at `address`; None: start one here, with so many workers.

    say: told, once each time, that there is no worker to go on with
    Raises ClusterError if Dask is not installed, nothing answers there, or workers do not start.
    """
    try:
        import dask

        dask.config.set(SETTINGS)  # before it is first imported
        import distributed
    except ImportError as e:
        raise ClusterError(
            f"compute.kind=dask needs the extra dask ({e}); `make repro` installs it, and "
            "compute=local does without"
        ) from e
    with ExitStack() as held:
        look = None
        if address is None:
            scheduler = distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0")
            held.callback(scheduler.close)
            address = scheduler.scheduler_address
            look = held.enter_context(_started(address, workers))
        try:
            asyncio.run(_reach(address))
            with warnings.catch_warnings():  # of other versions, which are compared below
                warnings.simplefilter("ignore")
                client = held.enter_context(distributed.Client(address, timeout=CONNECT))
        except (OSError, ValueError) as e:
            said = one_line(e) or "what listens there is none"
            raise ClusterError(
                f"no Dask scheduler answers at compute.address={address} ({said}); start one "
                "there (README, Many machines), or use workers here by compute.address=null"
            ) from e
        yield Cluster(client, address, say, look)


async def _reach(address: str) -> None:
    """Raise OSError if no scheduler is there; a client would wait for ever for what is none."""
    from distributed import Security
    from distributed.comm import connect

    keys = Security().get_connection_args("client")
    if address.startswith("tls:") and keys.get("ssl_context") is None:
        raise ValueError(
            "TLS needs certificates here too, DASK_DISTRIBUTED__COMM__TLS__CA_FILE, "
            "..._CLIENT__CERT and ..._CLIENT__KEY"
        )
    comm = await asyncio.wait_for(connect(address, timeout=CONNECT, **keys), CONNECT + 1)
    await comm.close()


@contextmanager
def _started(address: str, count: int) -> Iterator[Callable[[], None]]:
    """Workers on this machine, in a session of their own, with an equal share of the cores each.

    They end with the block, or with the scheduler. Yields what raises ClusterError if they have.
    """
    share = str(max(1, cores() // count))
    settings = {
        "POCL_MAX_PTHREAD_COUNT": share,
        "POCL_CPU_MAX_CU_COUNT": share,  # what PoCL 4 and later call it
        "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    }
    root = Path(__file__).resolve().parent.parent
    with TemporaryDirectory(prefix="bonsai-") as scratch, TemporaryFile() as said:
        command = (sys.executable, *WORKER, "--nworkers", str(count))
        process = subprocess.Popen(
            (*command, "--local-directory", scratch, address),
            cwd=root,
            env=settings | os.environ,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )

        def look() -> None:
            if process.poll() is None:
                return
            said.seek(0)
            *_, last = [b"no reason given", *filter(None, said.read().splitlines())]
            raise ClusterError(f"the workers ended ({one_line(last.decode(errors='replace'))})")

        try:
            yield look
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Cluster:
    """Trains batches of a plant on the workers of a Dask client.

    by: of `computed_by`, in one of the workers; the others have to be like it
    say: told, once each time, that there is no worker
    look: raises ClusterError if there can be none any more; None where they start elsewhere
    Raises ClusterError if the worker has another version of the project.
    """

    def __init__(
        self,
        client: Any,
        address: str,
        say: Callable[[str], None],
        look: Callable[[], None] | None,
    ) -> None:
        self._client, self._address, self._say, self._look = client, address, say, look
        self._kept = "nothing was begun"  # what an error says of it
        self._seen = 0  # workers
        self._manned, self._told = time.monotonic(), False  # when a worker was seen; if not: said
        self._find()
        (asked,) = self._ended({client.submit(_described, pure=False)}, lambda: None)
        self.by: dict[str, str] = self._result(asked)
        same = ("project", "numpy", "tinygrad")
        _expect(self.by, computed_by(), f"a worker at {address}", *same)

    def train(
        self,
        batches: Sequence[Batch],
        plant: Path,
        problem: Problem,
        finished: Finished,
        report: Callable[[Standing], None],
    ) -> list[Trained]:
        """Train those that are not finished, and return all in order.

        plant: the folder where FILES are
        Raises ClusterError if the cluster is lost; what was finished is kept.
        """
        loaded = {batch.number: finished.load(batch, problem) for batch in batches}
        done = {number: trained for number, trained in loaded.items() if trained is not None}
        files = {name: (plant / name).read_bytes() for name in FILES}
        name = sha256(b"".join(files.values())).hexdigest()
        # A task, not scattered data: the scheduler makes it again when its worker was killed.
        sent = self._client.submit(_sent, files, key=f"files-{name}")
        futures = {}
        for batch in batches:
            if batch.number not in done:
                key = finished.key(batch)
                arguments = (batch.text, key, sent, self.by)
                futures[self._client.submit(_train, *arguments, key=f"batch-{key}")] = batch

        def standing() -> None:
            self._kept = f"{len(done)} of {len(batches)} batches are kept, run it again to go on"
            exact = sum(int(trained.exact.sum()) for trained in done.values())
            restarts = sum(batch.restarts for batch in batches if batch.number in done)
            report(Standing(len(done), len(batches), exact, restarts, self._seen))

        standing()
        while futures:
            for future in self._ended(set(futures), standing):
                batch = futures.pop(future)
                finished.receive(batch, self._result(future))
                trained = finished.load(batch, problem)
                if trained is None:
                    raise ClusterError(f"batch {batch.number} came back broken; {self._kept}")
                done[batch.number] = trained
                standing()
        return [done[batch.number] for batch in batches]

    def _find(self) -> None:
        """Wait for a worker. One that does not find the project would end when sent a batch."""
        found: dict[str, Any] = {}
        while not found:
            self._look_round()
            with self._connected():
                found = self._client.run(find_spec, __name__, on_error="return")
            for worker, spec in found.items():
                if not isinstance(spec, ModuleSpec):
                    raise ClusterError(f"worker {worker} does not find the project; {SAME}")
            time.sleep(REFRESH / 10)

    def _ended(self, futures: set, report: Callable[[], None]) -> list:
        """Those of the futures that end first, errors last; reports while it waits."""
        from distributed import wait

        while True:
            self._look_round()
            report()
            with self._connected(), suppress(TimeoutError):
                ended = wait(futures, timeout=REFRESH, return_when="FIRST_COMPLETED").done
                return sorted(ended, key=lambda future: future.status != "finished")

    def _look_round(self) -> None:
        """Count the workers; say that there is none. Raises ClusterError if none can come."""
        with self._connected():
            self._seen = len(self._client.nthreads())
        now = time.monotonic()
        if self._look is not None:
            self._look()
        elif self._seen:
            self._manned, self._told = now, False
        elif now - self._manned > PATIENCE and not self._told:
            self._say(f"no worker at {self._address}; waiting for one (README, Many machines)")
            self._told = True

    def _result(self, future: Any) -> Any:
        """What a future that has ended came to. Raises ClusterError, or what the batch raised."""
        from distributed import KilledWorker

        with self._connected():
            if future.status == "finished":
                return future.result()
            error = future.exception()
        match error:
            case KilledWorker():
                raise ClusterError(
                    "one worker after the other died with the same batch, perhaps of memory: see "
                    f"their logs, and make batches smaller by train.together; {self._kept}"
                ) from error
            case RuntimeError() if "deserialization of the task graph" in str(error):
                raise ClusterError(f"the scheduler does not find the project; {SAME}") from error
            case ClusterError():
                raise ClusterError(f"{error}; {self._kept}") from error
        raise error

    @contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except (CancelledError, OSError) as e:
            raise ClusterError(f"the scheduler at {self._address} is lost; {self._kept}") from e


def _expect(found: dict[str, str], wanted: dict[str, str], who: str, *names: str) -> None:
    """Raise ClusterError if two answers of `computed_by` differ in what is named."""
    for name in names:
        if found.get(name) != wanted[name]:
            raise ClusterError(f"{who} {name} {found.get(name)}, not {wanted[name]}; {SAME}")


def _described() -> dict[str, str]:
    """Runs in a worker: of `computed_by`."""
    from distributed import get_worker

    try:
        return computed_by()
    except DeviceError as e:
        raise ClusterError(f"worker {get_worker().address}: {e}") from e


def _sent(files: dict[str, bytes]) -> dict[str, bytes]:
    """Runs in a worker, which keeps the files for all batches."""
    return files


def _train(text: str, key: str, files: dict[str, bytes], by: dict[str, str]) -> bytes:
    """Runs in a worker: the file of the batch's result."""
    from distributed import get_worker

    worker = get_worker()
    if worker.state.nthreads > 1:
        raise ClusterError(
            f"worker {worker.address} takes {worker.state.nthreads} batches at once; start it "
            "with --nthreads 1, and --nworkers for as many as it has cores"
        )
    _expect(_described(), by, f"worker {worker.address}", *by)
    with TemporaryDirectory(prefix="bonsai-") as name:
        folder = Path(name)
        for file, content in files.items():
            (folder / file).write_bytes(content)
        batch, result = Batch.parse(text), Checkpoint(folder / "batch.npz", key)
        keep(train_batch(batch, Problem.load(folder)), result)
        return result.path.read_bytes()
