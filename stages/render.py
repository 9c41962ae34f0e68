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
from bonsai.result import Result
from stages import run_stage

HISTORY = ["restart", "step", "loss", "penalty", "accuracy", "live"]
CLIP = ["candidate", "kind", "threshold", "exact"]
QUANTIZE = ["candidate", "weight_step", "bias_step", "initial_step", "exact"]


def stage(parameters: Any, folder: Path) -> None:
    name, direction = parameters.name, parameters.render.direction
    result = Result.load(folder / "proof.json")
    restart = result.restart
    machine = Machine.load(folder / "machine.parquet")

    graph = Graph.load(folder)
    dot = graph_dot(graph, direction)
    svg = layout(dot, graph_titles(graph), f"The pruned network of {name}")
    save_text(folder / "graph.dot", dot)
    save_text(folder / "graph.svg", svg)

    runs = Network.load(folder / "runs.npz")
    row = result.row_in(runs, folder / "runs.npz")
    dense = Graph.from_network(runs, row, machine.inputs, machine.outputs)
    svg = layout(
        dense_dot(dense, direction), graph_titles(dense), f"The network of {name} before pruning"
    )
    save_text(folder / "dense.svg", svg)

    logic = load_logic(folder / "logic.json")
    letters = parameters.render.letters
    text = page(name, graph, dense, machine, result, logic, letters, direction)
    save_text(folder / "explorer.html", text)

    history, _ = load_table(folder / "history.parquet", "history", HISTORY)
    clip, _ = load_table(folder / "clip.parquet", "clip", CLIP)
    quantize, _ = load_table(folder / "quantize.parquet", "quantize", QUANTIZE)
    save_text(folder / "weights.svg", weights_chart(dense, graph))
    save_text(folder / "loss.svg", loss_chart(history, restart))
    save_text(folder / "curves.svg", training_chart(history, restart))
    save_text(folder / "clip.svg", clip_chart(clip, result.candidate))
    save_text(folder / "quantize.svg", quantize_chart(quantize, result.candidate, result.rounded))


if __name__ == "__main__":
    run_stage(stage)
