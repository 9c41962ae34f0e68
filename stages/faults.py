"""How a stage ends when it fails or is stopped: one line on stderr, and an exit status that tells.

    1    an error; the line says what is wrong, where, and what to do
    130  Ctrl-C
    143  SIGTERM

`BONSAI_DEBUG=1` shows the traceback before the line. `stages/__init__.py` imports this module
first, so that a stage stopped while it still loads its libraries ends like any other; what it
imports itself is loaded in every Python, or imported where an error is explained.
"""

import os
import signal
import sys
from types import FrameType, TracebackType

OURS = ("bonsai", "kernels", "stages")  # whose errors say by themselves what to do
LONGEST = 600  # characters of a message that are shown
KEPT = "what is finished is kept, run it again to go on"
SMALLER = "give the plant fewer restarts, a smaller batch or fewer sequences, by its parameters"
CLEARED = "\r\x1b[K"  # of a bar that was stopped in the middle of its line

doing = ""  # what the line begins with


class Terminated(BaseException):
    """SIGTERM arrived."""


def explained(error: BaseException) -> str:
    """The line that an error ends in, without what was being done."""
    import re
    import traceback

    from kernels.device import REMEDY

    said = " ".join(str(error).split())
    if len(said) > LONGEST:
        said = f"{said[:LONGEST]}..."
    match error:
        case ModuleNotFoundError():
            return f"{said}; run it with .venv/bin/python, for which `make repro` installs all"
        case MemoryError():
            return f"out of memory ({said or 'of this machine'}); {SMALLER}"
        case RuntimeError() if re.match(r"OpenCL Error -[456]\b", said):
            return f"out of memory ({said}); {SMALLER}"
    kind = type(error)
    if kind.__module__.partition(".")[0] in OURS or isinstance(error, OSError):
        return said
    if kind.__name__ in ("CompileError", "OperationalError"):  # tinygrad's, and of its cache
        return f"a kernel cannot be built ({said}); {REMEDY}"
    *_, last = traceback.extract_tb(error.__traceback__) or [None]
    where = f" at {os.path.relpath(last.filename)}:{last.lineno}" if last else ""
    return (
        f"unexpected {kind.__name__}: {said}{where}; BONSAI_DEBUG=1 shows the traceback, "
        "please report it with that (README, When something goes wrong)"
    )


def _told(error: BaseException) -> int:
    """Say what an error was, and return the exit status."""
    met: BaseException | None = error
    while met is not None:  # a library that is stopped may end in an error of its own
        if isinstance(met, KeyboardInterrupt | Terminated):
            break
        met = met.__context__
    if met is None:
        line, status = explained(error), 1
    elif isinstance(met, KeyboardInterrupt):
        line, status = f"interrupted; {KEPT}", 128 + signal.SIGINT
    else:
        line, status = f"terminated; {KEPT}", 128 + signal.SIGTERM
    over = CLEARED if sys.stderr.isatty() else ""
    print(f"{over}{doing}: {line}", file=sys.stderr, flush=True)
    return status


def _ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """In place of `sys.excepthook`; what it raises is the exit status."""
    if os.environ.get("BONSAI_DEBUG", "") not in ("", "0"):
        sys.__excepthook__(kind, error, trace)
    raise SystemExit(_told(error))


def _ignored(ignored: "sys.UnraisableHookArgs") -> None:
    """In place of `sys.unraisablehook`: a signal that came within a `__del__` is not lost."""
    if not isinstance(ignored.exc_value, KeyboardInterrupt | Terminated):
        return sys.__unraisablehook__(ignored)
    os._exit(_told(ignored.exc_value))


def _terminated(number: int, frame: FrameType | None) -> None:
    raise Terminated


def install() -> None:
    """Let this process end that way."""
    global doing
    doing = next((a for a in sys.orig_argv if a.startswith("stages.")), "")[len("stages.") :]
    sys.excepthook = _ended
    sys.unraisablehook = _ignored
    signal.signal(signal.SIGTERM, _terminated)


if sys.argv[0] == "-m":  # so it is while Python looks for the module in `python -m stages.NAME`
    install()
