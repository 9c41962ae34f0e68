"""Processes of this machine that work side by side, for what is Python more than kernels.

They compute what this process would, bit for bit: each piece of work has a seed of its own, and
results are taken by number, not in the order in which they come.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any


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
        super().__init__(size, multiprocessing.get_context("spawn"), initializer=_follow)
        # What a thread holds back stays held back in a process that it starts, from its first
        # instruction. A thread of its own, for what this one holds back is another's to take, and
        # does not wake this one.
        self._starter = ThreadPoolExecutor(
            1, initializer=signal.pthread_sigmask, initargs=(signal.SIG_BLOCK, {signal.SIGINT})
        )

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        return self._starter.submit(super().submit, fn, *args, **kwargs).result()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._starter.shutdown()  # from here on, none is being started
        super().shutdown(wait, cancel_futures=cancel_futures)


@contextmanager
def processes(most: int) -> Iterator[Executor]:
    """As many as work side by side, but `most` at most; for one, this process.

    They are spawned when first needed, which takes two seconds, and end with the block, whatever
    they are at, or with this process. Raises LostError if one of them is killed.
    """
    if most == 1:
        yield Here()
        return
    before = set(multiprocessing.active_children())
    pool = Others(min(most, side_by_side()))
    try:
        yield pool
    except BrokenProcessPool as e:
        raise LostError(
            "a process that helped was killed, perhaps for memory; run it again, with "
            "nothing large beside it"
        ) from e
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.kill()


def _follow() -> None:
    """Runs in a new process: whatever stops the one that began it ends this one too."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
