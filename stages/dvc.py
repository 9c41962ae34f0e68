"""DVC, quickly: python -m stages.dvc repro, and any other command of DVC's

No stage of the pipeline: `make repro` and `make grow` call it. After every stage DVC parses and
writes all of `dvc.lock` in Python, to keep comments that it has none of: two seconds and more,
longer than many a stage takes. Here it is parsed once, by libyaml, and what DVC makes of the stage
that ran takes the place of its old entry. `params.yaml`, which DVC reads four times a stage, is
parsed once. And on Linux our stages are forks of one process (`stages/forkserver.py`), as soon as
that has loaded. The bytes are the same, and all else is DVC's own.
"""

import copy
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from dvc import dvcfile
from dvc.cli import main
from dvc.stage import run as dvc_run
from dvc.stage.exceptions import StageCmdFailedError
from dvc.utils import serialize

from bonsai.artifact import save_text
from stages.forkserver import ForkServer

LOCK = "dvc.lock"
HEAD = "schema: '2.0'\nstages:\n"
BIN = ".venv/bin"
COMMAND = re.compile(  # what dvc.yaml has for a stage
    rf'PATH="\$DVC_ROOT/{re.escape(BIN)}:\$PATH" python -m (?P<name>stages\.\w+)(?P<rest>( \w+)*)'
)
ENTRY = re.compile(r"^(?=  \S)", re.MULTILINE)  # where one begins

# By path: the text of a lock as this process left it, and its data.
_left: dict[str, tuple[str, Any]] = {}


@contextmanager
def quicken() -> Iterator["Forks"]:
    """Let this process's DVC use what follows."""
    dvcfile.modify_yaml = modify_yaml
    serialize.LOADERS[".yaml"] = load_yaml
    forks = Forks()
    if sys.platform == "linux":  # elsewhere libraries of the system may not be forked
        dvc_run._run = forks.run
    try:
        yield forks
    finally:
        forks.close()


@contextmanager
def modify_yaml(path: str, fs: Any = None) -> Iterator[Any]:
    """As DVC's, of the same bytes, and whole or not at all; quick if it is a `dvc.lock`."""
    file = Path(path)
    if file.name != LOCK or not file.exists():
        with serialize.modify_yaml(path, fs=fs) as data:
            yield data
        return
    text = file.read_text(encoding="utf-8")
    known, data = _left.pop(path, ("", None))
    if known != text:
        data = serialize.load_yaml(path)
    before = dict(data.get("stages") or {})
    yield data
    text = _changed(text, before, data)
    save_text(file, text)
    _left[path] = text, data


def _changed(text: str, before: dict[str, Any], data: dict[str, Any]) -> str:
    """What DVC would write of the data, where `text` is what it wrote of the stages `before`."""
    head, *entries = ENTRY.split(text)
    names = [entry[2 : entry.find(":")] for entry in entries]
    if head != HEAD or names != [*before] or [*data] != ["schema", "stages"]:
        return serialize.dumps_yaml(data)
    texts = dict(zip(names, entries, strict=True))
    for name, stage in data["stages"].items():
        if stage is not before.get(name):
            alone = serialize.dumps_yaml({"schema": "2.0", "stages": {name: stage}})
            texts[name] = alone.removeprefix(HEAD)
    return HEAD + "".join(texts[name] for name in data["stages"])


def load_yaml(path: str, fs: Any = None, **options: Any) -> Any:
    """As DVC's; the same content is parsed once."""
    with (fs.open if fs else open)(path, encoding="utf-8", **options) as file:
        try:
            return copy.deepcopy(_parsed(file.read(), path))
        except UnicodeDecodeError as e:
            raise serialize.EncodingError(path, "utf-8") from e


class Forks:
    """Runs commands of DVC's stages: by DVC, or in forks of a server if one has loaded."""

    def __init__(self) -> None:
        self._server: ForkServer | None = None
        self._by_dvc = dvc_run._run

    def run(self, executable: str, command: str, **options: Any) -> None:
        """As DVC's."""
        asked = _asked(command, options["cwd"], options["env"])
        status = None
        if asked and self._server and self._server.ready():
            with _ignored(signal.SIGINT):  # it is the stage's, as in DVC
                status = self._server.run(*asked)
            if status is None:
                self.close()
        elif asked and not self._server:
            self._server = ForkServer()
        if status is None:
            self._by_dvc(executable, command, **options)
        elif status != 0:
            raise StageCmdFailedError(command, status)

    def close(self) -> None:
        if self._server:
            self._server.close()
            self._server = None


def _asked(
    command: str, folder: str, env: dict[str, str]
) -> tuple[str, list[str], dict[str, str]] | None:
    """What a fork server needs to run the command, if it can: module, arguments, environment."""
    found = COMMAND.fullmatch(command)
    if not found or threading.current_thread() is not threading.main_thread():
        return None
    env = {**env, "PATH": f"{env['DVC_ROOT']}/{BIN}:{env.get('PATH', os.defpath)}"}
    python = shutil.which("python", path=env["PATH"])
    same = python and Path(python).parent.samefile(Path(sys.executable).parent)
    if not same or not Path(folder).samefile("."):
        return None
    return found["name"], found["rest"].split(), env


@contextmanager
def _ignored(number: int) -> Iterator[None]:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


@lru_cache(maxsize=4)
def _parsed(text: str, path: str) -> Any:
    return serialize.parse_yaml(text, path)


if __name__ == "__main__":
    # This package lets a stage end in a way of its own; DVC has another.
    sys.excepthook, sys.unraisablehook = sys.__excepthook__, sys.__unraisablehook__
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with quicken():
        status = main(sys.argv[1:])
    sys.exit(status)
