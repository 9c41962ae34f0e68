"""Draw the plant's result: its graph, the trained network before pruning, and the curves.

Run as `python -m stages.render PLANT`.
"""

from pathlib import Path
from typing import Any

from bonsai.artifact import load_table, save_text
from bonsai.chart import (
    clip_chart,
    loss_chart,
    quantize_chart,
    training_chart,
    weights_chart,
)
from bonsai.draw import dense_dot, graph_dot, graph_titles, layout
from bonsai.explorer import page
from bonsai.graph import Graph
from bonsai.listing import load_logic
from bonsai.machine import Machine
from bonsai.network import Network
from bonsai.processes import processes
from bonsai.result import Result
from stages import run_stage

HISTORY = ["restart", "step", "loss", "penalty", "accuracy", "live"]
CLIP = ["candidate", "kind", "threshold", "exact"]
QUANTIZE = ["candidate", "weight_step", "bias_step", "initial_step", "exact"]


def stage(parameters: Any, folder: Path) -> None:
    name, direction = parameters.name, parameters.render.direction
    result = Result.load(folder / "proof.json")
    machine = Machine.load(folder / "machine.parquet")
    logic = load_logic(folder / "logic.json")
    graph = Graph.load(folder)
    runs = Network.load(folder / "runs.npz")
    row = result.row_in(runs, folder / "runs.npz")
    dense = Graph.from_network(runs, row, machine.inputs, machine.outputs)
    history, _ = load_table(folder / "history.parquet", "history", HISTORY)
    clip, _ = load_table(folder / "clip.parquet", "clip", CLIP)
    quantize, _ = load_table(folder / "quantize.parquet", "quantize", QUANTIZE)
    charts: dict[str, tuple] = {  # the longest first
        "curves.svg": (training_chart, history, result.restart),
        "loss.svg": (loss_chart, history, result.restart),
        "weights.svg": (weights_chart, dense, graph),
        "quantize.svg": (quantize_chart, quantize, result.candidate, result.rounded),
        "clip.svg": (clip_chart, clip, result.candidate),
    }
    with processes(len(charts)) as workers:
        drawn = {file: workers.submit(*given) for file, given in charts.items()}

        dot = graph_dot(graph, direction)
        svg = layout(dot, graph_titles(graph), f"The pruned network of {name}")
        save_text(folder / "graph.dot", dot)
        save_text(folder / "graph.svg", svg)
        before = dense_dot(dense, direction)
        svg = layout(before, graph_titles(dense), f"The network of {name} before pruning")
        save_text(folder / "dense.svg", svg)
        letters = parameters.render.letters
        text = page(name, graph, dense, machine, result, logic, letters, direction)
        save_text(folder / "explorer.html", text)

        for file, chart in drawn.items():
            save_text(folder / file, chart.result())


if __name__ == "__main__":
    run_stage(stage)
