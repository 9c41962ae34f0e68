"""Commands that are killed: what the tests of it share."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

# The tests' own Python and packages, in place of those that the Makefile would install.
MAKE = ("make", "repro", f"BIN={Path(sys.executable).parent}", "INSTALLED=")
LONGEST = 9.0  # seconds until a kill
WRITING = "Updating lock file"  # DVC says it just before it writes


def killed(
    folder: Path, env: dict[str, str], random: Random, command: Sequence[str] = MAKE
) -> str | None:
    """Run a command and kill its process group: what was going on, or None if it had ended.

    Half of the kills come at any time, half soon after DVC began to write dvc.lock.
    """
    delay, writes = random.uniform(0, LONGEST), None
    if random.random() < 0.5:
        delay, writes = random.uniform(0, 0.3), random.randint(1, 4)
    started = time.monotonic()

    def due(said: str) -> bool:
        nonlocal started, writes
        if writes is not None and said.count(WRITING) >= writes:
            started, writes = time.monotonic(), None
        return writes is None and time.monotonic() - started > delay

    return killed_when(folder, env, command, due)


def killed_when(
    folder: Path, env: dict[str, str], command: Sequence[str], due: Callable[[str], bool]
) -> str | None:
    """The same, at the moment when this is true of what the command has said."""
    log = folder.parent / f"{folder.name}.log"
    with log.open("wb") as said:
        run = subprocess.Popen(
            command, cwd=folder, env=env, stdout=said, stderr=said, start_new_session=True
        )
    while run.poll() is None:
        if due(log.read_text(encoding="utf-8", errors="replace")):
            os.killpg(run.pid, signal.SIGKILL)
            break
        time.sleep(0.005)
    ended = run.wait()
    text = log.read_text(encoding="utf-8", errors="replace")
    assert ended in (0, -signal.SIGKILL), f"{' '.join(command)}: {ended}\n{text}"
    return None if ended == 0 else _last(text)


def _last(text: str) -> str:
    """What a log ends with; `cut off` if the run had to put something right."""
    lines = [line for line in text.splitlines() if line.strip()]
    repaired = "was cut off; " if re.search("was cut off", text) else ""
    return repaired + (lines[-1][:70] if lines else "nothing said yet")


def left_over(folder: Path) -> list[str]:
    """What a kill may leave and a run has to clear away."""
    data = folder / "data"
    return [str(p) for p in _files(data) if p.suffix == ".part" or "checkpoints" in p.parts]


def _files(folder: Path) -> Iterator[Path]:
    return (p for p in folder.rglob("*") if p.is_file())
