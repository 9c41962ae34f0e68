"""Remove dead code from every candidate: python -m stages.dce PLANT"""

from pathlib import Path
from typing import Any

import pyarrow as pa

from bonsai.artifact import save_json, save_table
from bonsai.dataset import load_dataset
from bonsai.graph import Graph, save_graphs
from bonsai.machine import Machine
from bonsai.network import Network
from bonsai.prune import eliminate_dead_code
from kernels.evaluate import GraphEvaluator, Sequences
from stages import run_stage


def stage(parameters: Any, folder: Path) -> None:
    machine = Machine.load(folder / "machine.parquet")
    network = Network.load(folder / "quantized.npz")
    before = [
        Graph.from_network(network, row, machine.inputs, machine.outputs)
        for row in range(len(network))
    ]
    after = [eliminate_dead_code(graph, parameters.dce.fold) for graph in before]
    save_graphs(folder / "pruned", after)
    test = load_dataset(folder / "dataset.parquet", "test")
    held = Sequences(test.inputs, test.targets)
    right = GraphEvaluator(after, held, early=False).right() / len(test)
    sizes = ("neurons", "weights", "biases")
    columns = {f"{s}_before": pa.array([getattr(g, s) for g in before], pa.int32()) for s in sizes}
    columns |= {s: pa.array([getattr(g, s) for g in after], pa.int32()) for s in sizes}
    save_table(
        folder / "dce.parquet",
        "dce",
        {
            "row": pa.array(range(len(after)), pa.int32()),
            "candidate": pa.array(network.candidate, pa.int32()),
            "restart": pa.array(network.restart, pa.int32()),
            **columns,
            "test_accuracy": pa.array(right, pa.float32()),
        },
    )
    smallest = min(range(len(after)), key=lambda row: after[row].size)
    save_json(
        folder / "dce.json",
        {f"{s}_before": getattr(before[smallest], s) for s in sizes}
        | {s: getattr(after[smallest], s) for s in sizes}
        | {"test_accuracy": float(right[smallest])},
    )


if __name__ == "__main__":
    run_stage(stage)
