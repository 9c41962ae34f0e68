"""Make the task's machine: its transition table, and what a person wants to see of it.

Run as `python -m stages.machine PLANT`. The task is `task.source` in the plant's parameters: the
name of a built-in task (`bonsai/tasks.py`), or a KISS2 file inside the project's folder.
"""

from pathlib import Path
from typing import Any

from bonsai.artifact import save_json, save_text
from bonsai.draw import layout, machine_dot
from bonsai.machine import Machine, MachineError
from bonsai.tasks import TASKS
from stages import run_stage


def load_task(source: str, root: Path) -> Machine:
    """The machine of a built-in task, or of the KISS2 file `source` below the folder `root`."""
    if source in TASKS:
        return TASKS[source]()
    if not source.endswith(".kiss2"):
        raise MachineError(
            f"task.source: no task '{source}'; there are {', '.join(TASKS)}, "
            "or give the path of a .kiss2 file in this project"
        )
    path = (root / source).resolve()
    if not path.is_relative_to(root.resolve()):
        raise MachineError(f"task.source: {source} lies outside this project; copy it inside")
    if not path.is_file():
        raise MachineError(f"task.source: {source}: no such file in this project")
    return Machine.from_kiss2(path)


def stage(parameters: Any, folder: Path) -> None:
    machine = load_task(parameters.task.source, Path.cwd()).minimized()
    svg = layout(machine_dot(machine), label=f"State diagram of the task {machine.name}")
    machine.save(folder / "machine.parquet")
    machine.save_kiss2(folder / "machine.kiss2")
    save_text(folder / "machine.svg", svg)
    save_json(
        folder / "machine.json",
        {
            "states": len(machine.states),
            "inputs": len(machine.inputs),
            "outputs": len(machine.outputs),
            "symbols": len(machine.symbols),
            "transitions": int(machine.legal.sum()),
        },
    )


if __name__ == "__main__":
    run_stage(stage)
