"""What one can do with a task, from the command line: `python -m bonsai --help`

Each command ends with status 0 if it did what it says and what it judged is proven, with 1 if not,
and with 2 if it was called wrongly. An error is one line; BONSAI_DEBUG=1 shows where it arose.
"""

import argparse
import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from bonsai import account, versions
from bonsai.account import PLANTS, plant_folder
from bonsai.artifact import ArtifactError
from bonsai.certificate import Certificate
from bonsai.check import check
from bonsai.graph import Graph
from bonsai.machine import Machine
from bonsai.prove import prove
from bonsai.source import read_task
from bonsai.tasks import TASKS


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bonsai", description="Grow tiny recurrent networks, and prove them right."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, what: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")

    grow = command("grow", "add a task (.kiss2, .pla or .py) to the project and grow it")
    grow.add_argument("path", type=Path, help="the task's file, wherever it lies")
    grow.add_argument("override", nargs="*", help="a parameter, as train.steps=20000")
    prover = command("prove", "prove a graph for every input sequence, or show where it fails")
    prover.add_argument("graph", help="a plant, or a folder with nodes.parquet and edges.parquet")
    prover.add_argument(
        "task", nargs="?", help="a built-in task or a task's file; the plant's own if left out"
    )
    prover.add_argument("--pairs", type=_positive, default=20000, help="certificate of points")
    prover.add_argument("--cells", type=_positive, default=4000, help="certificate of boxes")
    explain = command("explain", "print the program of a plant, and what its variables stand for")
    explain.add_argument("plant")
    explore = command("explore", "print where the page is that shows a plant's graph at work")
    explore.add_argument("plant")
    explore.add_argument("--open", action="store_true", help="open it in the browser as well")
    show = command("show", "print what a plant is, here or in an earlier revision")
    show.add_argument("what", help="PLANT or REVISION:PLANT")
    command("plants", "list the plants grown here, and what is proven")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; the exit status."""
    if arguments.command == "grow":
        from stages.grow import grow  # Hydra and DVC, which nothing else here needs

        return 0 if grow(arguments.path, arguments.override) else 1
    if arguments.command == "prove":
        return _prove(arguments.graph, arguments.task, arguments.pairs, arguments.cells)
    if arguments.command == "show":
        versions.show(arguments.what)
    elif arguments.command == "plants":
        found = list(account.plants(PLANTS))
        print("\n".join(found or ["no plant is grown here; `make repro` grows the garden"]))
    elif arguments.command == "explain":
        print("\n".join(account.explained(plant_folder(arguments.plant))))
    else:
        page = (plant_folder(arguments.plant) / "explorer.html").resolve()
        if not page.is_file():
            raise ArtifactError(f"{page}: no such file; `dvc repro` makes it")
        print(page)
        if arguments.open and not webbrowser.open(page.as_uri()):
            raise OSError("no browser can be opened here; open the page by hand")
    return 0


def _prove(where: str, task: str | None, pairs: int, cells: int) -> int:
    folder = PLANTS / where if (PLANTS / where).is_dir() else Path(where)
    if task is None:
        machine = Machine.load(folder / "machine.parquet")
    else:
        machine = (TASKS[task]() if task in TASKS else read_task(task)).minimized()
    graph = Graph.load(folder)
    found = prove(graph, machine, pairs, cells)
    said = account.verdict(found, machine)
    if isinstance(found, Certificate):
        check(found, graph, machine)
        said += "; the independent checker accepts it"
    print(said)
    return 0 if isinstance(found, Certificate) else 1


def _positive(text: str) -> int:
    if not text.isdecimal() or not 0 < len(text) < 10 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 on")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    asked = parser().parse_args(arguments)
    try:
        return run(asked)
    except KeyboardInterrupt:
        print(f"bonsai {asked.command}: interrupted; the same command goes on", file=sys.stderr)
        return 130
    except (ImportError, OSError, RuntimeError, ValueError) as e:
        if os.environ.get("BONSAI_DEBUG", "") not in ("", "0"):
            raise
        print(f"bonsai {asked.command}: {' '.join(str(e).split())}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
