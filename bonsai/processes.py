"""Processes of this machine that work side by side, for what is Python more than kernels.

They compute what this process would, bit for bit: each piece of work has a seed of its own, and
results are taken by number, not in the order in which they come. On Linux they are forks, which
take hundredths of a second, of a process that has no other thread and has not opened OpenCL, whose
driver has threads; else they are spawned, which takes two seconds.
"""

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from typing import Any

from kernels.device import open_device


class LostError(RuntimeError):
    """A process was killed. The message says what to do."""


def cores() -> int:
    """Of those that this machine has, as many as this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS


def side_by_side() -> int:
    """How many processes work at once: one more than there are cores, for a kernel leaves some
    idle.
    """
    return cores() + 1


class Here(Executor):
    """This process, which does at once what it is given."""

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        done: Future = Future()
        done.set_result(fn(*args, **kwargs))
        return done


class Others(ProcessPoolExecutor):
    """Processes that a Ctrl-C on the terminal, which is for all of them, does not reach."""

    def __init__(self, size: int) -> None:
        how = "fork" if _may_fork() else "spawn"
        super().__init__(size, multiprocessing.get_context(how), initializer=_follow)
        # What a thread holds back stays held back in a process that it starts, from its first
        # instruction. A thread of its own, for what this one holds back is another's to take, and
        # does not wake this one. Queues that a Ctrl-C cannot leave locked.
        self._asked: SimpleQueue[Callable[[], Future] | None] = SimpleQueue()
        self._told: SimpleQueue[Future | BaseException] = SimpleQueue()
        self._starter = threading.Thread(target=self._start, daemon=True)
        self._starter.start()

    def _start(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        while asked := self._asked.get():
            try:
                self._told.put(asked())
            except BaseException as e:
                self._told.put(e)

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        with warnings.catch_warnings():  # of threads that the libraries of linear algebra have
            warnings.simplefilter("ignore", DeprecationWarning)
            self._asked.put(partial(super().submit, fn, *args, **kwargs))
            told = self._told.get()
        if isinstance(told, BaseException):
            raise told
        return told

    def end(self) -> None:
        """Kills them, whatever they are at, and waits until nothing of them is left.

        `shutdown` waits for what they are at, or for nothing. Then the pool's own thread goes on
        beside this one: the next pool may not fork, and a Python before 3.12.8 that ends meanwhile
        may write of a bad file descriptor (CPython's issue 125451).
        """
        self._asked.put(None)
        self._starter.join()  # from here on, none is being started
        pool: Any = self  # which has no public names for these
        thread, results = pool._executor_manager_thread, pool._result_queue
        children = list(self._processes.values())
        self.shutdown(wait=False, cancel_futures=True)
        for child in children:
            child.kill()
        results._writer.close()  # else the thread waits for the rest of a result half written
        if thread:
            thread.join()


@contextmanager
def processes(most: int) -> Iterator[Executor]:
    """As many as work side by side, but `most` at most; for one, this process.

    They start when first needed, and end with the block, whatever they are at, or with this
    process. Raises LostError if one of them is killed.
    """
    if most == 1:
        yield Here()
        return
    pool = Others(min(most, side_by_side()))
    try:
        yield pool
    except BrokenProcessPool as e:
        raise LostError(
            "a process that helped was killed, perhaps for memory; run it again, with "
            "nothing large beside it"
        ) from e
    finally:
        pool.end()


def _may_fork() -> bool:
    """Whether a fork of this process is as good as a new one."""
    alone = threading.active_count() == 1 and not open_device.cache_info().currsize
    return alone and sys.platform == "linux"  # elsewhere libraries of the system may not be forked


def _follow() -> None:
    """Runs in a new process: whatever stops the one that began it ends this one too."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a fork has what that one does at its end
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
