"""Processes that work side by side, and what happens when one of them is killed."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, as_completed
from contextlib import suppress
from pathlib import Path

import pytest

from bonsai.processes import LostError, processes
from stages import alone

SLEEPS = """
import os, sys, threading, time
from bonsai.processes import processes

if __name__ == "__main__":
    if "spawned" in sys.argv:
        threading.Thread(target=time.sleep, args=[600], daemon=True).start()
    with processes(2) as workers:
        print(workers.submit(os.getpid).result(), flush=True)
        workers.submit(time.sleep, 600).result()
"""


def gone(pid: int) -> bool:
    """Whether the process ends within ten seconds; nobody may be there to hear of its end."""
    stat = Path(f"/proc/{pid}/stat")
    for _ in range(100):
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.1)
    return False


def test_they_are_others_and_return_what_they_are_asked():
    with processes(2) as workers:
        asked = {workers.submit(pow, 2, n): n for n in range(5)}
        assert {asked[done]: done.result() for done in as_completed(asked)} == {
            n: 2**n for n in range(5)
        }
        assert workers.submit(os.getpid).result() != os.getpid()


def test_a_ctrl_c_on_the_terminal_does_not_reach_them():
    with processes(2) as workers:
        held = workers.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result()
    assert signal.SIGINT in held
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_one_is_this_process():
    with processes(1) as workers:
        assert workers.submit(os.getpid).result() == os.getpid()
        with pytest.raises(ZeroDivisionError):
            workers.submit(divmod, 1, 0)


def test_an_error_in_one_is_raised_here():
    with pytest.raises(ZeroDivisionError), processes(2) as workers:
        workers.submit(divmod, 1, 0).result()


def test_a_killed_one_is_told():
    def kill():
        with processes(2) as workers:
            os.kill(workers.submit(os.getpid).result(), signal.SIGKILL)
            workers.submit(time.sleep, 1).result()

    with pytest.raises(LostError, match="run it again"):
        kill()


def test_an_interrupt_ends_them():
    children = []

    def interrupt():
        with processes(2) as workers:
            children.append(workers.submit(os.getpid).result())
            workers.submit(time.sleep, 600)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert gone(children[0])


def test_they_end_with_the_block_whatever_they_are_at():
    with processes(2) as workers:
        child = workers.submit(os.getpid).result()
        busy = workers.submit(time.sleep, 30)
    assert gone(child)
    with suppress(CancelledError):  # it was never begun, for which `wait` would wait in vain
        assert busy.exception(20) is not None  # it was killed


def test_nothing_of_them_is_left_after_the_block():
    threads = set(threading.enumerate())
    with processes(2) as workers:
        assert workers.submit(os.getpid).result()
        cancelled = [workers.submit(time.sleep, 30) for _ in range(9)]
        assert cancelled[-1].cancel()
    assert set(threading.enumerate()) == threads
    assert not multiprocessing.active_children()


WRITES = """
import time
from pathlib import Path
from bonsai.processes import processes

def read():
    return int(Path("/proc/self/io").read_text().split()[1])

if __name__ == "__main__":
    with processes(2) as workers:
        before = read()
        workers.submit(bytes, 2**28)
        while read() < before + 2**20:
            time.sleep(0.001)
    print("left")
"""


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="nothing tells what is read")
def test_a_result_half_written_does_not_keep_the_block(tmp_path):
    script = tmp_path / "writes.py"
    script.write_text(WRITES)
    path = os.environ | {"PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, script], env=path, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("left", "", 0)


@pytest.mark.parametrize("kind", ["forks", "spawned"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_they_end_with_the_process_that_began_them(tmp_path, how, kind):
    script = tmp_path / "sleeps.py"
    script.write_text(SLEEPS)
    path = os.environ | {"PYTHONPATH": os.getcwd()}
    with subprocess.Popen(
        [sys.executable, script, kind], stdout=subprocess.PIPE, env=path
    ) as begun:
        child = int(begun.stdout.readline())
        begun.send_signal(how)
        begun.wait(30)
    assert gone(child)


TELLS = """
import sys, threading
from bonsai.processes import processes
from kernels.device import open_device

known = "as it was imported"

def told():
    return known

if __name__ == "__main__":
    known = "as it was forked"
    done = threading.Event()
    if "thread" in sys.argv:
        threading.Thread(target=done.wait).start()
    if "OpenCL" in sys.argv:
        open_device()
    with processes(2) as workers:
        print(workers.submit(told).result())
    done.set()
"""


@pytest.mark.parametrize(
    ("has", "said"),
    [
        ("nothing", "as it was forked" if sys.platform == "linux" else "as it was imported"),
        ("thread", "as it was imported"),
        ("OpenCL", "as it was imported"),
    ],
)
def test_only_a_process_without_threads_and_opencl_forks(tmp_path, has, said):
    script = tmp_path / "tells.py"
    script.write_text(TELLS)
    path = os.environ | {"PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-W", "error", script, has]
    done = subprocess.run(command, env=path, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr, done.returncode) == (said, "", 0)


HOLDS = """
import os, signal, sys
from pathlib import Path
from bonsai.processes import processes
from stages import alone

if __name__ == "__main__":
    with alone(Path(sys.argv[1])), processes(2) as workers:
        child = workers.submit(os.getpid).result()
        os.kill(child, signal.SIGSTOP)  # it cannot end
        print(child, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_lock_ends_with_the_stage_not_with_its_forks(tmp_path):
    script = tmp_path / "holds.py"
    script.write_text(HOLDS)
    command = [sys.executable, script, tmp_path / "plant"]
    path = os.environ | {"PYTHONPATH": os.getcwd()}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=path) as begun:
        child = int(begun.stdout.readline())
        begun.wait(30)
    try:
        with alone(tmp_path / "plant"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
