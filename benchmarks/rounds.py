"""Contenders side by side: each in a process of its own, taking turns A B A B.

A process of its own, because libraries keep threads that wait by spinning; turns, because another
job on the machine then slows all of them and leaves the ratios.
"""

import multiprocessing as mp
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

PAUSE = 0.02  # seconds before a turn, in which the threads of the last one fall asleep


# Does the work this many times, to the end; a float returned is taken for the seconds of one.
Turn = Callable[[int], float | None]


@dataclass(frozen=True)
class Built:
    """note: which form was taken; seconds: to import, compile and check"""

    note: str
    seconds: float


class Contender:
    """A process that builds something to time with `build(*arguments)`, and then waits for turns.

    build: returns the work and a note; must be importable, for it runs in the new process
    limit: seconds that building may take
    """

    def __init__(
        self, name: str, build: Callable[..., tuple[Turn, str]], arguments: tuple, limit: float
    ) -> None:
        self.name = name
        context = mp.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, build, arguments), daemon=True)
        start = time.perf_counter()
        self._process.start()
        other.close()
        self.left_out: str | None = None
        self.built: Built | None = None
        self.times = 1  # how often a turn does the work
        if not self._pipe.poll(limit):
            self.left_out = f"not built within {limit:.0f} s"
            self.stop()
            return
        note, error = self._receive()
        if error is not None:
            self.left_out = error
            self.stop()
            return
        self.built = Built(note, time.perf_counter() - start)

    def size(self, seconds: float, most: int, unit: int = 1) -> None:
        """Let a turn take about this long, a multiple of `unit` and at most `most` times the work.

        The first turn is not counted: something may still be compiled in it.
        """
        self.times = unit
        self.turn()
        while (taken := self.turn() * self.times) < seconds / 2 and self.times < most:
            wanted = int(self.times * min(seconds / taken, 20) / unit) * unit
            self.times = min(most, max(self.times + unit, wanted))

    def turn(self) -> float:
        """Seconds that the work took, once."""
        time.sleep(PAUSE)
        self._pipe.send(self.times)
        seconds, error = self._receive()
        if error is not None:
            raise RuntimeError(f"{self.name}: {error}")
        return seconds

    def stop(self) -> None:
        """End the process and what it started: the compilers of `torch.compile`, a node."""
        self._pipe.close()  # one that waits for its turn takes this for the end
        self._process.join(0 if self.built is None else 5)
        assert self._process.pid is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.join()

    def _receive(self) -> tuple:
        try:
            return self._pipe.recv()
        except EOFError:
            self._process.join(2)
            return None, f"its process ended with exit status {self._process.exitcode}"


def take_turns(contenders: Sequence[Contender], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender's work in each round."""
    taken: dict[str, list[float]] = {c.name: [] for c in contenders}
    for _ in range(rounds):
        for contender in contenders:
            taken[contender.name].append(contender.turn())
    return taken


def _serve(pipe: Connection, build: Callable[..., tuple[Turn, str]], arguments: tuple) -> None:
    os.setsid()  # a group of its own, which `stop` ends
    try:
        work, note = build(*arguments)
        pipe.send((note, None))
        while True:
            times = pipe.recv()
            start = time.perf_counter()
            own = work(times)
            pipe.send(((time.perf_counter() - start) / times if own is None else own, None))
    except (EOFError, KeyboardInterrupt):
        return
    except Exception as e:  # the parent says it, and goes on with the others
        pipe.send((None, f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"))
