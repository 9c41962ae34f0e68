"""Stages without Python's start: a process that has their libraries loaded, and forks.

No stage of the pipeline: `stages/dvc.py` starts it. Python and the libraries take a second or more
to load, longer than many a stage takes; a fork of a process that has them takes hundredths. It
opens no OpenCL and has no thread of Python's, so that a fork is as good as a new process, and it
ends if a file that it has loaded was changed since, so that a stage always runs the code that DVC
finds beside it.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from io import TextIOWrapper

from stages import ParameterError, faults, parameters, schema

PACKAGES = ("bonsai", "kernels")  # all their modules are loaded, with what these import
READY, CHANGED = "ready\n", "changed\n"


class ForkServer:
    """Runs `python -m MODULE ARGUMENTS` in forks of a process that it starts, and that ends with
    this one. They inherit this one's working directory, standard streams and process group.
    """

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._lines = self._socket.makefile("rw", encoding="utf-8")
        self._ready = False
        # A Ctrl-C on the terminal is for what the server forks.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            given = [str(theirs.fileno()), str(time.time_ns())]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "stages.forkserver", *given], pass_fds=[theirs.fileno()]
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()

    def ready(self) -> bool:
        """Has it loaded all, and was there no end of it yet?"""
        if not self._ready and select.select([self._socket], [], [], 0)[0]:
            self._ready = _line(self._lines) == READY
        return self._ready

    def run(self, module: str, arguments: Sequence[str], env: dict[str, str]) -> int | None:
        """The exit status, or minus the number of the signal that ended it. None if nothing was
        run, for a file was changed, and the server has ended.

        env: in addition to its own. The server has to be ready.
        """
        asked = {"module": module, "arguments": [*arguments], "env": env}
        _tell(self._lines, f"{json.dumps(asked)}\n")
        answer = _line(self._lines)
        self._ready = answer not in ("", CHANGED)
        return None if answer == CHANGED else int(answer or -signal.SIGKILL)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._lines.close()
        self._socket.close()


def serve(server: socket.socket, started: int) -> None:
    """Run what is asked for, each in a fork, until nobody can ask any more.

    started: when the server was, in nanoseconds since 1970
    In a fork this does not return: it ends the process, or raises what went wrong.
    """
    if not _load():
        return  # a stage by itself says better what is wrong
    loaded = _modified()
    lines = server.makefile("rw", encoding="utf-8")
    _tell(lines, READY)
    while asked := _line(lines):
        if max(loaded.values()) > started or _modified() != loaded:
            _tell(lines, CHANGED)
            return
        request, known = json.loads(asked), len(sys.modules)
        _check(request["arguments"])
        if len(sys.modules) > known:
            loaded = _modified() | loaded
        with warnings.catch_warnings():  # of threads that the libraries of linear algebra have
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            lines.close()
            server.close()
            _run(**request)
            _leave()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        _tell(lines, f"{status}\n")


def _load() -> bool:
    """Import what stages import, and say whether all of it could be."""
    try:
        schema()
        for package in PACKAGES:
            for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
                if module.name != "__main__":
                    importlib.import_module(f"{package}.{module.name}")
        importlib.import_module("pyopencl")
    except Exception:  # of any module that is being changed
        return False
    gc.freeze()  # forks share it, and do not search it
    return True


def _check(plants: Sequence[str]) -> None:
    """Read the parameters of a plant, so that each stage finds them checked, and need not."""
    for plant in plants:
        with contextlib.suppress(ParameterError, OSError):  # which the stage will meet as well
            parameters(plant)


def _leave() -> None:
    """End a fork whose stage is done, as `multiprocessing` ends its own: without taking apart all
    that it shares, which takes 0.1 s.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(0)


def _modified() -> dict[str, int]:
    """When each file that is loaded was modified; 0 if it is gone."""
    found = {}
    for module in [*sys.modules.values()]:
        file = getattr(module, "__file__", None)
        if file:
            found[file] = os.stat(file).st_mtime_ns if os.path.exists(file) else 0
    return found


def _tell(lines: TextIOWrapper, line: str) -> None:
    with contextlib.suppress(ConnectionError):  # of a process that has ended
        lines.write(line)
        lines.flush()


def _line(lines: TextIOWrapper) -> str:
    """The next one; "" if the other process has ended, also with something unread."""
    with contextlib.suppress(ConnectionError):
        return lines.readline()
    return ""


def _run(module: str, arguments: list[str], env: dict[str, str]) -> None:
    """As `python -m MODULE ARGUMENTS` does, in this process."""
    os.environ.update(env)
    sys.orig_argv[:] = [sys.executable, "-m", module, *arguments]
    sys.argv[:] = [module, *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faults.install()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
