"""How a stage ends when it fails or is stopped: one line on stderr, and an exit status that tells.

    1    an error; the line says what is wrong, where, and what to do
    130  Ctrl-C
    143  SIGTERM

`BONSAI_DEBUG=1` shows the traceback before the line. `stages/__init__.py` imports this module
first, so that a stage stopped while it still loads its libraries ends like any other.
"""

import os
import signal
import sys
import traceback
from types import FrameType, TracebackType

OURS = ("bonsai", "kernels", "stages")  # whose errors say by themselves what to do
LONGEST = 400  # characters of another's message that are shown

doing = ""  # what the line begins with


class Terminated(BaseException):
    """SIGTERM arrived."""


def explained(error: BaseException) -> str:
    """The line that an error ends in, without what was being done."""
    kind = type(error)
    said = " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt | Terminated):
        how = "interrupted" if isinstance(error, KeyboardInterrupt) else "terminated"
        return f"{how}; what is finished is kept, run it again to go on"
    if kind.__module__.partition(".")[0] in OURS or isinstance(error, OSError):
        return said
    if isinstance(error, ModuleNotFoundError):
        return (
            f"{said}; run it with .venv/bin/python, into which `make repro` installs all it needs"
        )
    if isinstance(error, MemoryError):
        return (
            f"out of memory{f' ({said})' if said else ''}; give this plant fewer restarts, "
            "a smaller batch or fewer sequences (README, Change a parameter)"
        )
    if len(said) > LONGEST:
        said = f"{said[:LONGEST]}..."
    *_, last = traceback.extract_tb(error.__traceback__) or [None]
    where = f" at {os.path.relpath(last.filename)}:{last.lineno}" if last else ""
    return (
        f"unexpected {kind.__name__}: {said}{where}; BONSAI_DEBUG=1 shows the traceback, "
        "please report it with that (README, When something goes wrong)"
    )


def _status(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    return 128 + signal.SIGTERM if isinstance(error, Terminated) else 1


def _ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """In place of `sys.excepthook`; what it raises is the exit status."""
    if os.environ.get("BONSAI_DEBUG", "") not in ("", "0"):
        sys.__excepthook__(kind, error, trace)
    print(f"{doing}: {explained(error)}", file=sys.stderr)
    raise SystemExit(_status(error))


def _ignored(ignored: "sys.UnraisableHookArgs") -> None:
    """In place of `sys.unraisablehook`: a signal that came within a `__del__` is not lost."""
    error = ignored.exc_value
    if not isinstance(error, KeyboardInterrupt | Terminated):
        return sys.__unraisablehook__(ignored)
    print(f"{doing}: {explained(error)}", file=sys.stderr, flush=True)
    os._exit(_status(error))


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
