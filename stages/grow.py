"""Add a task to the project, and grow it: `make grow TASK=path/to/file`.

The file is copied into `tasks`. The plant gets `conf/plant/NAME.yaml` and a garden of its own,
`conf/garden/NAME.yaml`; where they are there already they are kept, with what was changed in them.
`params.yaml` is composed for that garden and `dvc repro` run, so that growing an unchanged task
again does nothing.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from bonsai import account
from bonsai.artifact import load_json, replaced, save_text
from bonsai.draw import counted
from bonsai.machine import Machine
from bonsai.source import read_task
from bonsai.tasks import TASKS
from stages import CONF, PARAMS, PLANTS
from stages.configure import composed

TASKS_FOLDER = Path("tasks")
REPORT = Path("data/report/index.html")
MAX_NAME = 40  # letters of a plant's name

PLANT = """\
# Added by `make grow`. What it may say is in base.yaml: a value here is for this plant alone.
defaults:
  - base
name: {name}
task:
  source: {source}
"""
GARDEN = """\
# @package _global_
# The task {source} by itself, added by `make grow`.
defaults:
  - /plant@plants.{name}: {name}
garden: [{name}]
"""


class GrowError(ValueError):
    """A task cannot be added, or was not grown. The message says why and what to do."""


def grow(path: Path, overrides: Sequence[str] = ()) -> bool:
    """Add the task in this file, grow it, and print the outcome. Returns whether it is proven.

    overrides: of parameters, as `train.steps=20000`
    Raises GrowError or another error of ours before any stage runs if it cannot be added.
    """
    name, machine = add(path)
    save_text(PARAMS, composed([f"garden={name}", *overrides]))
    print(
        f"{name}: {counted(len(machine.states), 'states')}, "
        f"{counted(len(machine.inputs), 'inputs')}, "
        f"{counted(len(machine.outputs), 'outputs')}; "
        f"its settings are in {CONF / 'plant' / name}.yaml",
        flush=True,
    )
    ended = _dvc("repro")
    done = _done(name)
    if ended == 0 and load_json(PLANTS / name / "proof.json").get("proven") is True:
        print("\n".join(account.grown(PLANTS / name, REPORT)))
        print(f"`python -m bonsai explain {name}` prints the program", end="; ")
        print(f"`python -m bonsai explore --open {name}` shows the graph at work")
        return True
    told, advice = account.reached(PLANTS / name, done)
    print("\n".join([f"{name} is not proven", *told]))
    if told:
        print(f"  artifacts    {PLANTS / name}")
    for said in advice:
        print(f'  try          make grow TASK={path} SET="{said}"')
    if not advice:
        print("  try          what the error above says; the same command goes on from there")
    return False


def add(path: Path) -> tuple[str, Machine]:
    """Copy the task into the project with a plant and a garden; its name, and minimal machine.

    Raises GrowError if something else has its name, and MachineError if it is no task; then
    nothing is written.
    """
    if not (CONF / "config.yaml").is_file():
        raise GrowError(f"there is no {CONF / 'config.yaml'} here; run it in the project's folder")
    machine = read_task(path).minimized()
    name = plant_name(path)
    kept = TASKS_FOLDER / f"{name}{path.suffix}"
    plant, garden = (CONF / group / f"{name}.yaml" for group in ("plant", "garden"))
    renamed = f"rename {path} to give it a name of its own"
    own = _settings(plant)
    if name in TASKS or (own is not None and _source(own) != str(kept)):
        raise GrowError(f"there is a plant {name} already, of another task; {renamed}")
    grows = _settings(garden)
    if grows is not None and name not in (grows.get("garden") or []):
        raise GrowError(f"{garden} is a garden of other plants; {renamed}")
    content = path.read_bytes()
    if kept.exists() and kept.read_bytes() != content:
        raise GrowError(
            f"{kept} is there already, and differs from {path}; {renamed}, "
            f"or remove {kept} to replace it"
        )
    if not kept.exists():
        with replaced(kept) as temporary:
            temporary.write_bytes(content)
    if own is None:
        save_text(plant, PLANT.format(name=name, source=kept))
    if grows is None:
        save_text(garden, GARDEN.format(name=name, source=kept))
    return name, machine


def plant_name(path: Path) -> str:
    """The name of a file's plant: a-z, 0-9 and _, and a letter first.

    >>> plant_name(Path("Traffic-Light 2.kiss2")), plant_name(Path("3.pla"))
    ('traffic_light_2', 'task_3')
    """
    name = re.sub("[^a-z0-9]+", "_", path.stem.lower()).strip("_")
    if not name:
        raise GrowError(f"{path}: its name holds no letter or digit; rename it")
    if len(name) > MAX_NAME:
        raise GrowError(f"{path}: its name is longer than {MAX_NAME} letters; rename it")
    plain = name[0].isalpha() and yaml.safe_load(name) == name
    return name if plain and name not in ("inf", "nan") else f"task_{name}"


def _settings(path: Path) -> dict[str, Any] | None:
    """What a YAML file of `conf` says, or None if there is none."""
    if not path.exists():
        return None
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        said = " ".join(str(e).split())
        raise GrowError(f"{path}: cannot be read ({said}); mend it, or remove it") from e
    return found if isinstance(found, dict) else {}


def _source(settings: dict[str, Any]) -> str | None:
    task = settings.get("task")
    return task.get("source") if isinstance(task, dict) else None


def _dvc(*arguments: str) -> int:
    """Run DVC to its end, also after a Ctrl-C, which it gets as well; its exit status."""
    with subprocess.Popen([sys.executable, "-m", "stages.dvc", *arguments]) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.wait()
            raise


def _done(plant: str) -> set[str]:
    """The stages of the plant whose artifacts fit the parameters, code and files of now."""
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    if said.returncode != 0:
        return set()
    changed = json.loads(said.stdout)
    listed = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return {stage for stage in listed if f"{stage}@{plant}" not in changed}
