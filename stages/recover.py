"""Put right what DVC leaves when it is killed in the middle of a write: python -m stages.recover

DVC writes two files in place: `dvc.lock`, after each stage, and `.dvc/tmp/rwlock`. If one is cut
off, DVC refuses to run. `make repro` calls this first; it changes nothing while a DVC is at work.
"""

import json
import re
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import yaml
import zc.lockfile
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from voluptuous import Invalid

from bonsai.artifact import save_text

LOCK = Path("dvc.lock")
TEMPORARY = Path(".dvc/tmp")
RUNNING = TEMPORARY / "rwlock"
HELD = (TEMPORARY / "lock", TEMPORARY / "rwlock.lock")  # by a DVC while it writes them


def recover_lock(path: Path) -> None:
    """Keep the whole entries of a `dvc.lock` that was cut off; DVC's run cache has the others."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if _valid(text):
        return
    entries = re.split(r"^(?=  \S)", text, flags=re.MULTILINE)[:-1]
    kept = "".join(entries)
    if _valid(kept):
        save_text(path, kept)
    else:
        kept, entries = "", [""]
        path.unlink()
    print(
        f"{path} was cut off, as when DVC is killed: {len(entries) - 1} stages are kept in it; "
        "the results of the others come from DVC's cache, or they run again",
        file=sys.stderr,
    )


def recover_running(path: Path) -> None:
    """Delete a list of running commands that was cut off; none of them runs any more."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        path.unlink()
        print(f"{path} was cut off, as when DVC is killed: deleted", file=sys.stderr)


def _valid(text: str) -> bool:
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.load(text, loader))
    except (yaml.YAMLError, Invalid):
        return False
    return True


def main() -> None:
    with ExitStack() as held:
        try:
            for lock in HELD:
                if TEMPORARY.is_dir():
                    held.enter_context(closing(zc.lockfile.LockFile(str(lock))))
        except zc.lockfile.LockError:
            return
        for recover, path in ((recover_lock, LOCK), (recover_running, RUNNING)):
            if path.exists():
                recover(path)


if __name__ == "__main__":
    main()
