"""One task grown from nothing to its program, by the stages of `dvc.yaml`, within a time limit.

It is what `make grow` does, without DVC: the task gets the default plant in a scratch folder, and
every stage runs there as a process of its own. So a crash, or the end of the time, is a row of
figures like any other.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from bonsai import account
from bonsai.artifact import load_json, save_text
from bonsai.listing import load_logic
from bonsai.machine import Machine, MachineError
from bonsai.result import Result
from bonsai.source import load_task
from stages import PARAMS, PLANTS
from stages.configure import composed
from stages.grow import add

ROOT = Path(__file__).resolve().parent.parent
PLANT = "task"  # of a file: one name for all, so that none clashes with a task of the project
Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """name: as the tables call it

    kind: random | file, or the garden that it is a plant of
    path: of its file, absolute; None in a garden
    """

    name: str
    kind: str
    path: Path | None = None


@dataclass(frozen=True, eq=False)
class Planted:
    """A task in a folder that has the parameters of its plant.

    key: of the minimal machine and all parameters
    """

    plant: str
    machine: Machine
    key: str


@cache
def stages() -> tuple[str, ...]:
    """The stages of a plant, in the order in which they run."""
    listed = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return tuple(name for name, stage in listed.items() if "matrix" in stage)


def planted(task: Task, folder: Path, overrides: Sequence[str] = ()) -> Planted:
    """Give the task its plant in this empty folder, as `make grow` does in the project's.

    Raises MachineError if the task is none.
    """
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("__pycache__"))
    with contextlib.chdir(folder):
        plant = garden = PLANT
        if task.path is None:
            plant, garden = task.name, task.kind
        else:
            copy = folder / f"{PLANT}{task.path.suffix}"
            try:
                shutil.copyfile(task.path, copy)
                add(copy)
            except (MachineError, OSError) as e:
                said = " ".join(str(e).split()).removeprefix(f"{copy}: ").removeprefix(f"{copy}, ")
                raise MachineError(said.replace(str(copy), task.path.name)) from e
        save_text(PARAMS, composed([f"garden={garden}", *overrides]))
        own = OmegaConf.load(PARAMS).plants[plant]
        machine = load_task(own.task.source, Path()).minimized()
    said = machine.to_kiss2() + OmegaConf.to_yaml(own)
    return Planted(plant, machine, hashlib.sha256(said.encode()).hexdigest())


def grown(planted: Planted, folder: Path, limit: float, run: Sequence[str] | None = None) -> Row:
    """Run the stages in the folder, at most `limit` seconds together; what came of it.

    run: which of them, one after the other; what is before them must be there. All by default.

    The seconds are of the processes, with what it takes to start them.
    """
    started = time.perf_counter()
    seconds: dict[str, float] = {}
    failure, late = None, False
    run = stages() if run is None else run
    done = list(stages()[: stages().index(run[0])])
    for stage in run:
        begun = time.perf_counter()
        try:
            failure = _run(stage, planted.plant, folder, started + limit - begun)
        except subprocess.TimeoutExpired:
            failure, late = f"not finished within {limit:g} s", True
        seconds[stage] = round(time.perf_counter() - begun, 2)
        if failure is not None:
            failure = f"{stage}: {failure}"
            break
        done.append(stage)
    return {
        **outcome(folder / PLANTS / planted.plant, done, failure),
        "seconds": seconds,
        "total": round(sum(seconds.values()), 2),
        "limit": limit,
        "late": late,
    }


def _run(stage: str, plant: str, folder: Path, seconds: float) -> str | None:
    """Why a stage failed, or None. Raises TimeoutExpired when it has been killed for its time."""
    log = folder / f"{stage}.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", f"stages.{stage}", plant],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that what it starts itself is killed with it
        )
        try:
            status = process.wait(max(seconds, 0))
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if status == 0:
        return None
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), f"status {status}")


def outcome(folder: Path, done: Collection[str], failure: str | None) -> Row:
    """What the artifacts of these stages in a plant's folder say; null where none does.

    Weights, biases and neurons are of the smallest proven graph, or of the best that is not.
    failure: why the next stage has no artifacts, if one was tried
    """
    row: Row = dict.fromkeys(
        ("restarts", "exact", "attempts", "attempt", "cells", "stacked", "tried", "neurons")
    )
    row |= dict.fromkeys(("weights", "biases", "certificate", "entries", "margin"))
    row |= {"proven": False, "lines": None, "literals": None, "reason": failure}
    if "train" in done:
        found = load_json(folder / "train.json")
        taken = max(found["attempts"], key=lambda a: a["exact"])
        row |= {"restarts": found["restarts"], "exact": found["exact_restarts"]}
        row |= {"attempts": len(found["attempts"]), "attempt": found["attempts"].index(taken) + 1}
        row |= {"cells": taken["cells"], "stacked": taken["stacked"]}
    if "polish" in done:
        result = Result.load(folder / "proof.json")
        row |= {name: getattr(result, name) for name in ("proven", "tried", "certificate")}
        row |= {name: getattr(result, name) for name in ("neurons", "weights", "biases")}
        row |= {"entries": result.certificate_states, "margin": result.margin}
    if "extract" in done:
        program = load_logic(folder / "logic.json")["program"]
        if program is not None:
            row |= {"lines": program["lines"], "literals": program["literals"]}
    if not row["proven"]:
        told = account.reached(folder, done)[0]
        said = [failure] if failure else []
        row["reason"] = "; ".join(said + [" ".join(line.split()) for line in told])
    return row
