"""The report of a garden: one page, one Markdown table, and the same figures as JSON.

Every number comes from the artifacts of the plants; nothing is computed here but sums.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np
from markupsafe import Markup

from bonsai.artifact import ArtifactError, load_json, load_table
from bonsai.chart import activation_chart, milestones, penalty_chart
from bonsai.draw import NEGATIVE, POSITIVE, counted, fraction, inlined, number
from bonsai.graph import Graph
from bonsai.listing import highlighted, load_logic
from bonsai.machine import Machine
from bonsai.network import Network
from bonsai.result import Result

PICTURES = (
    "machine",
    "automaton",
    "graph",
    "dense",
    "weights",
    "loss",
    "curves",
    "clip",
    "quantize",
)
STAGES = (
    "machine", "dataset", "train", "sparsify", "clip", "quantize", "dce", "prove", "polish",
    "extract", "render",
)  # fmt: skip
COLUMNS = (
    "plant",
    "weights + biases (states)",
    "published",
    "holds",
    "published holds",
    "certificate",
    "margin",
    "program",
    "restarts: all / exact / proven",
    "seconds: training / all",
)
SHOWN_STEPS = 64  # of a counterexample's word; the whole word is in garden.json


@dataclass(frozen=True)
class Plant:
    """All that the report says about one plant.

    result: the network and its proof; published: weights, biases, states and `holds` of the graph
    to compare with, each or all None; restarts, exact_restarts: of training; machine: its task;
    logic: as `load_logic` reads it; activation: factor and leak of the graph; train: the plant's
    parameters of that stage; exact: the step at which the result's restart was first exact in
    validation, and falls: those of its live weights after that, as `milestones` says
    dense: non-zero weights and biases of the same restart before pruning;
    seconds: what each stage took; pictures: SVG by name (PICTURES)
    """

    name: str
    task: str
    result: Result
    published: Mapping[str, Any]
    restarts: int
    exact_restarts: int
    machine: Machine
    logic: Mapping[str, Any]
    activation: tuple[float, float]
    train: Any
    exact: int | None
    falls: Sequence[tuple[int, int, int]]
    dense: tuple[int, int]
    seconds: Mapping[str, float]
    pictures: Mapping[str, str]


def load_plant(folder: Path, name: str, parameters: Any) -> Plant:
    """Read the plant's folder. Raises ArtifactError naming the file that is missing or broken."""
    result = Result.load(folder / "proof.json")
    runs = Network.load(folder / "runs.npz")
    row = runs.parameters[result.row_in(runs, folder / "runs.npz")]
    masks = [runs.architecture.mask(kind) for kind in ("weight", "bias")]
    weights, biases = (int(np.count_nonzero(row[mask])) for mask in masks)
    train = _fields(folder / "train.json", "restarts", "exact_restarts")
    seconds = {
        stage: float(_fields(folder / "seconds" / f"{stage}.json", "seconds")["seconds"])
        for stage in STAGES
    }
    columns = ["restart", "step", "accuracy", "live"]
    history, _ = load_table(folder / "history.parquet", "history", columns)
    exact, falls = milestones(history, result.restart)
    graph = Graph.load(folder)
    published = parameters.published
    return Plant(
        name=name,
        task=parameters.task.source,
        result=result,
        published={k: published.get(k) for k in ("weights", "biases", "states", "holds")},
        restarts=train["restarts"],
        exact_restarts=train["exact_restarts"],
        machine=Machine.load(folder / "machine.parquet"),
        logic=load_logic(folder / "logic.json"),
        activation=(graph.factor, graph.leak),
        train=parameters.train,
        exact=exact,
        falls=falls,
        dense=(weights, biases),
        seconds=seconds,
        pictures={picture: _text(folder / f"{picture}.svg") for picture in PICTURES},
    )


def garden(plants: Sequence[Plant]) -> dict[str, Any]:
    """What `garden.json` holds."""
    entries = []
    for plant in plants:
        found = asdict(plant.result)
        kept = ("proven", "certificate", "certificate_states", "margin", "counterexample")
        sizes = ("neurons", "weights", "biases", "states", "grid")
        entries.append(
            {
                "plant": plant.name,
                "task": plant.task,
                **{name: found[name] for name in (*kept, *sizes)},
                "restarts": plant.restarts,
                "exact_restarts": plant.exact_restarts,
                "proven_restarts": plant.result.proven_restarts,
                "program_lines": (plant.logic["program"] or {}).get("lines"),
                "train_seconds": plant.seconds["train"],
                "total_seconds": _total(plant),
                "published": dict(plant.published),
            }
        )
    return {"plants": entries}


def totals(plants: Sequence[Plant]) -> dict[str, Any]:
    """The garden in a handful of figures, for `dvc metrics` and `dvc exp show`."""
    results = [plant.result for plant in plants]
    return {
        "proven": sum(r.proven for r in results),
        "weights": sum(r.weights for r in results),
        "biases": sum(r.biases for r in results),
        "margin": min((r.margin for r in results if r.margin is not None), default=None),
        "seconds": round(sum(_total(plant) for plant in plants), 1),
    }


def row(plant: Plant) -> list[str]:
    """The plant's cells of the table, in the order of COLUMNS."""
    result, published = plant.result, plant.published
    certificate = "none"
    if result.certificate is not None:
        certificate = counted(result.certificate_states or 0, result.certificate)
    return [
        plant.name,
        _size(result.weights, result.biases, result.states),
        _size(published["weights"], published["biases"], published["states"]),
        _holds(result),
        published["holds"] or "—",
        certificate,
        "—" if result.margin is None else number(result.margin),
        counted(plant.logic["program"]["lines"], "lines") if plant.logic["program"] else "—",
        f"{plant.restarts} / {plant.exact_restarts} / {result.proven_restarts}",
        f"{plant.seconds['train']:.1f} / {_total(plant):.1f}",
    ]


def summary(plants: Sequence[Plant]) -> str:
    proven = sum(p.result.proven for p in plants)
    return f"{proven} of {len(plants)} proven for every input sequence of every length."


def markdown(plants: Sequence[Plant]) -> str:
    """The table as Markdown: one row a plant."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(row(plant) for plant in plants)]
    table = ["| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines]
    return "\n".join(["# Garden", "", summary(plants), "", *table]) + "\n"


def page(plants: Sequence[Plant]) -> str:
    """The self-contained HTML page: nothing in it asks for another file."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [
        {
            "plant": plant,
            "result": plant.result,
            "row": row(plant),
            "verdict": verdict(plant),
            "facts": facts(plant),
            "late": late(plant),
            "explorer": f"../plants/{quote(plant.name, safe='')}/explorer.html",
            "program": highlighted((plant.logic["program"] or {}).get("text") or ""),
            # The SVGs come from our own stages, which escape every name.
            "pictures": {
                name: Markup(inlined(svg, f"p{i}-{name}-")) for name, svg in plant.pictures.items()
            },
        }
        for i, plant in enumerate(plants)
    ]
    return environment.get_template("report.html").render(
        columns=COLUMNS,
        sections=sections,
        summary=summary(plants),
        activation=Markup(inlined(activation_chart(_activations(plants)), "activation-")),
        penalty=Markup(inlined(penalty_chart(_penalties(plants)), "penalty-")),
        positive=POSITIVE,
        negative=NEGATIVE,
    )


def verdict(plant: Plant) -> list[str]:
    """What is proven, or what is wrong, in plain sentences."""
    result = plant.result
    said = []
    if result.proven:
        said.append("Proven: right for every input sequence of every length.")
        count, margin = result.certificate_states or 0, number(result.margin or 0)
        if result.certificate == "points":
            what = (
                f"Whatever it reads, the network is always in one of {count} states"
                if count != 1
                else "Whatever it reads, the network always stays in one state"
            )
        else:
            what = (
                f"Whatever it reads, the network's state always lies in one of {count} boxes, "
                "and every step leads from a box into a box"
            )
        said.append(
            f"{what}; in each of them every output has the right sign and is at least {margin} "
            "away from zero."
        )
        arithmetic = {
            "exact": "All arithmetic on the way is exact, so that precision and order of "
            "evaluation do not matter.",
            "float32": "This speaks of float32 arithmetic in the graph's order of evaluation.",
            "any float32": "This holds for float32 arithmetic in any order of evaluation.",
        }
        said.append(arithmetic.get(result.arithmetic or "", f"Arithmetic: {result.arithmetic}."))
    elif result.counterexample is not None:
        found = result.counterexample
        step = found["step"]
        shortest = ", and on no shorter one" if found["shortest"] else ""
        said.append(
            f"Not proven: the graph is wrong at step {step} (counting from 0) of the input "
            f"sequence {_word(found['word'], plant.machine.inputs)}{shortest}."
        )
    else:
        said.append(
            "Not proven: no input sequence was found on which it is wrong, and no certificate "
            f"either. What was tried: {(result.reason or 'nothing').rstrip('.')}."
        )
    before = result.weights_pruned + result.biases_pruned
    after = result.weights + result.biases
    if after < before:
        said.append(
            f"Pruned to {before} weights and biases; {before - after} more fell where the proof "
            "holds without them."
        )
    return said


def late(plant: Plant) -> str:
    """When the result's restart learnt the task, and when its weights fell away after that."""
    if plant.exact is None:
        return "This restart was exact in no validation during training."
    said = f"Exact in validation from step {plant.exact} on"
    if not plant.falls:
        return f"{said}; no weight fell away after that."
    step, before, after = min(plant.falls, key=lambda fall: fall[2] - fall[1])
    last, _, left = plant.falls[-1]
    return (
        f"{said}; the weights left above the clip level fall long after the loss is flat: most at "
        f"once at step {step}, from {before} to {after}, and last at step {last}, to {left}."
    )


def _activations(plants: Sequence[Plant]) -> dict[str, tuple[float, float]]:
    """The distinct activations of the graphs, and those that training began with."""
    found: dict[tuple[float, float], list[str]] = {}
    for plant in plants:
        found.setdefault(plant.activation, []).append(plant.name)
    begun = {(float(p.train.factor[0][1]), float(p.train.leak)) for p in plants}
    for setting in sorted(begun - set(found)):
        found[setting] = ["where training begins"]
    return {_listed(names): setting for setting, names in found.items()}


def _penalties(plants: Sequence[Plant]) -> dict[str, tuple[float, float, float, float]]:
    """The distinct regularisers of the garden, with the strength that they end with."""
    found: dict[tuple[float, float, float, float], list[str]] = {}
    for plant in plants:
        r = plant.train.regularizer
        setting = (float(r.strength[-1][1]), float(r.threshold), float(r.steepness), float(r.l1))
        found.setdefault(setting, []).append(plant.name)
    return {_listed(names): setting for setting, names in found.items()}


def _listed(names: Sequence[str]) -> str:
    """`a, b, c and 5 more`"""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def facts(plant: Plant) -> list[tuple[str, str]]:
    """Names and values of the smaller figures."""
    result, machine = plant.result, plant.machine
    grid = [
        f"{name} {fraction(step) if step else 'not rounded'}" for name, step in result.grid.items()
    ]
    before = " + ".join(str(n) for n in plant.dense)
    return [
        (
            "task",
            f"{plant.task}: {counted(len(machine.states), 'states')}, "
            f"{counted(len(machine.inputs), 'input bits')}, "
            f"{counted(len(machine.outputs), 'output bits')}",
        ),
        ("grid steps", ", ".join(grid)),
        (
            "weights + biases",
            f"{before} trained, {result.weights} + {result.biases} after pruning",
        ),
        ("neurons and states", f"{result.neurons} and {result.states}"),
        (
            "restarts",
            f"{plant.restarts} trained, {plant.exact_restarts} exact, "
            f"{result.proven_restarts} proven; this is number {result.restart}",
        ),
        ("candidates tried", str(result.tried)),
        ("seconds", ", ".join(f"{name} {value:.1f}" for name, value in plant.seconds.items())),
    ]


def _holds(result: Result) -> str:
    if result.proven:
        return "for ever, proven"
    if result.counterexample is not None:
        return f"no: wrong at step {result.counterexample['step']}"
    return "not decided"


def _word(word: Sequence[Sequence[int]], inputs: Sequence[str]) -> str:
    """`x = 0110, reset = 0001`, a bit a step; of a machine without inputs, the number of steps."""
    if not inputs:
        return f"of {counted(len(word), 'steps')} (the task has no inputs)"
    more = f"… ({len(word)} steps)" if len(word) > SHOWN_STEPS else ""
    return ", ".join(
        f"{name} = {''.join(str(bits[i]) for bits in word[:SHOWN_STEPS])}{more}"
        for i, name in enumerate(inputs)
    )


def _size(weights: int | None, biases: int | None, states: int | None) -> str:
    if weights is None or biases is None:
        return "—"
    return f"{weights} + {biases}" + ("" if states is None else f" ({states})")


def _total(plant: Plant) -> float:
    return round(sum(plant.seconds.values()), 3)


def _cell(text: str) -> str:
    """Text that stands for itself in a Markdown table."""
    escaped = "".join("\\" + c if c in "\\|`*_[]" else c for c in " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _fields(path: Path, *names: str) -> dict[str, Any]:
    found = load_json(path)
    for name in names:
        if not isinstance(found, dict) or name not in found:
            raise ArtifactError(f"{path}: has no field '{name}'; rerun the stage that wrote it")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; `dvc repro` makes it") from None
