"""Make the task's machine: its transition table, and what a person wants to see of it.

Run as `python -m stages.machine PLANT`. The task is `task.source` in the plant's parameters: the
name of a built-in task (`bonsai/tasks.py`), or a file in the folder `tasks` (`bonsai/source.py`).
"""

from pathlib import Path
from typing import Any

from bonsai.artifact import save_json, save_text
from bonsai.draw import layout, machine_dot
from bonsai.source import load_task
from stages import run_stage


def stage(parameters: Any, folder: Path) -> None:
    machine = load_task(parameters.task.source, Path()).minimized()
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
