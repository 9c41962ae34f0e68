"""How many sequences candidates get right: networks (`evaluate.cl`) and graphs (`graph.cl`)."""

from collections.abc import Sequence

import numpy as np

from bonsai.graph import Graph
from bonsai.network import Architecture
from kernels.device import open_device
from kernels.layout import as_float, cell_constants, expect_fit, interleaved, record
from kernels.program import contents, on_device, overwrite, repeated, source

BATCH = 1024  # dense candidates a launch
EDGE_AT, SOURCE, BIAS, WEIGHT, INITIAL = 1, 3, 5, 6, 7  # places in `_table`


class Evaluator:
    """Holds sequences on the device and counts how many of them candidates get right.

    inputs: (N, T, I) of -1/+1, N a multiple of 16; targets: (N, T, O), 0 where not checked
    early: stop a candidate at its first wrong sequence, and count those before it
    """

    def __init__(
        self,
        architecture: Architecture,
        leak: float,
        inputs: np.ndarray,
        targets: np.ndarray,
        early: bool,
    ) -> None:
        expect_fit(inputs, targets, (architecture.inputs, architecture.outputs))
        device = open_device()
        self.architecture = architecture
        self.sequences = len(inputs)
        constants = cell_constants(architecture) | {
            "LANES": device.lanes,
            "PAIR": 1,
            "ITEMS": BATCH,
            "STEPS": inputs.shape[1],
            "EARLY": int(early),
            "LEAK": as_float(leak),
            "NOISE_SEED": "0u",
        }
        self._lanes = device.lanes
        values = BATCH * 2 * record(architecture) * device.lanes
        self._right = on_device(np.zeros(BATCH, np.int32))
        self._parameters = on_device(np.zeros((BATCH, architecture.size), np.float32))
        self._inputs = on_device(interleaved(inputs, device.lanes))
        self._targets = on_device(interleaved(targets, device.lanes))
        self._counts = on_device(np.zeros(2, np.int32))  # of candidates, and of groups
        self._settings = on_device(np.zeros(2, np.float32))  # factor and noise
        self._count = repeated(
            source(constants, "ameo.cl", "count.cl", "cell.cl", "evaluate.cl"),
            "evaluate",
            2,
            -(-BATCH // device.group),
            device.group,
            self._right,
            on_device(np.zeros(values, np.float32)),
            self._parameters,
            self._inputs,
            self._targets,
            self._counts,
            self._settings,
        )

    def replace(self, inputs: np.ndarray, targets: np.ndarray) -> None:
        """Hold other sequences from now on, as many and as long."""
        overwrite(self._inputs, interleaved(inputs, self._lanes))
        overwrite(self._targets, interleaved(targets, self._lanes))

    def right(
        self,
        parameters: np.ndarray,
        factor: float,
        sequences: int | None = None,
        noise: float = 0.0,
    ) -> np.ndarray:
        """(C, P) to (C,) int32: sequences right, out of the first `sequences` (all by default).

        factor: of the activation
        noise: each state gets a uniform random number up to this added after each step, the same
        ones for every candidate
        """
        groups = (sequences or self.sequences) // self._lanes
        overwrite(self._settings, np.array([factor, noise], np.float32))
        padded = np.zeros((BATCH, self.architecture.size), np.float32)
        counts = []
        for first in range(0, len(parameters), BATCH):
            some = parameters[first : first + BATCH]
            padded[: len(some)] = some
            overwrite(self._parameters, padded)
            overwrite(self._counts, np.array([len(some), groups], np.int32))
            self._count()
            counts.append(contents(self._right)[: len(some)])
        return np.concatenate(counts) if counts else np.zeros(0, np.int32)


class GraphEvaluator:
    """Counts how many sequences each of some graphs gets right, at the cost of their edges alone.

    inputs: (N, T, I) of -1/+1, N a multiple of 16; targets: (N, T, O), 0 where not checked
    early: stop a graph at its first wrong sequence, and count those before it
    nodes: graphs up to this size share one compiled kernel
    """

    def __init__(
        self,
        graphs: Sequence[Graph],
        inputs: np.ndarray,
        targets: np.ndarray,
        early: bool,
        nodes: int = 0,
    ) -> None:
        for graph in graphs:
            expect_fit(inputs, targets, (len(graph.where("input")), len(graph.where("head"))))
        device = open_device()
        items = len(graphs)
        table = _table(graphs)
        constants = {
            "LANES": device.lanes,
            "ITEMS": items,
            "NODES": max(nodes, *(len(g.nodes) for g in graphs)),
            "INPUTS": inputs.shape[2],
            "OUTPUTS": targets.shape[2],
            "STEPS": inputs.shape[1],
            "EARLY": int(early),
        }
        values = items * int(constants["NODES"]) * device.lanes
        groups = np.array([len(inputs) // device.lanes], np.int32)
        arrays = [
            *table,
            interleaved(inputs, device.lanes),
            interleaved(targets, device.lanes),
            groups,
        ]
        self._edge_at, self._source = table[EDGE_AT], table[SOURCE]
        self._right = on_device(np.zeros(items, np.int32))
        self._arrays = [on_device(a) for a in arrays]
        self._count = repeated(
            source(constants, "ameo.cl", "count.cl", "graph.cl"),
            "evaluate_graphs",
            2,
            -(-items // device.group),
            device.group,
            self._right,
            on_device(np.zeros(values, np.float32)),
            *self._arrays,
        )

    def right_with(
        self, biases: np.ndarray, weights: np.ndarray, initial: np.ndarray
    ) -> np.ndarray:
        """(G,) int32, with other numbers in the order in which `_table` has them.

        Edges of weight 0 cost nothing.
        """
        given = weights.reshape(-1)
        kept = np.flatnonzero(given)
        before = np.concatenate([[0], np.cumsum(given != 0)])  # edges kept before each
        weight, source = np.zeros_like(self._source, np.float32), np.zeros_like(self._source)
        weight[: len(kept)], source[: len(kept)] = given[kept], self._source[kept]
        for place, values in (
            (EDGE_AT, before[self._edge_at].astype(np.int32)),
            (SOURCE, source),
            (BIAS, biases.astype(np.float32)),
            (WEIGHT, weight),
            (INITIAL, initial.astype(np.float32)),
        ):
            if values.size:
                overwrite(self._arrays[place], values.reshape(-1))
        return self.right()

    def right(self) -> np.ndarray:
        """(G,) int32"""
        self._count()
        return contents(self._right)


class VariantEvaluator:
    """Counts how many sequences variants of one graph get right before the first wrong one.

    count: of variants; nodes: of the largest graph that shares the compiled kernel
    inputs: (N, T, I) of -1/+1, N a multiple of 16; targets: (N, T, O), 0 where not checked
    """

    def __init__(
        self, graph: Graph, count: int, nodes: int, inputs: np.ndarray, targets: np.ndarray
    ) -> None:
        column = {(e.source, e.target): i for i, e in enumerate(graph.edges)}
        biased = graph.where("output", "recurrent", "head")
        computed = [*graph.where("output", "recurrent"), *graph.where("head")]
        self._edges = [column[source, n] for n in computed for source, _ in graph.incoming[n]]
        self._biases = [biased.index(n) for n in computed]
        self._all = GraphEvaluator([graph] * count, inputs, targets, early=True, nodes=nodes)

    def right(self, weights: np.ndarray, biases: np.ndarray, initial: np.ndarray) -> np.ndarray:
        """(C,) int32, for weights (C, E) in the order of the edges, biases (C, K) of all neurons
        and heads and initial states (C, S), both in the order of the nodes.
        """
        return self._all.right_with(biases[:, self._biases], weights[:, self._edges], initial)


def _table(graphs: Sequence[Graph]) -> list[np.ndarray]:
    """The graphs one after the other, as `graph.cl` wants them."""
    node_at, edge_at, state_at = [0], [0], [0]
    source: list[int] = []
    link: list[int] = []
    bias: list[float] = []
    weight: list[float] = []
    initial: list[float] = []
    for graph in graphs:
        computed = [*graph.where("output", "recurrent"), *graph.where("head")]
        order = [*graph.where("input"), *graph.where("state"), *computed]
        number = {node: i for i, node in enumerate(order)}
        fed = {s: r for r, s in graph.feedback}
        for node in computed:
            bias.append(graph.nodes[node].bias)
            source += [number[s] for s, _ in graph.incoming[node]]
            weight += [w for _, w in graph.incoming[node]]
            edge_at.append(len(source))
        for state in graph.where("state"):
            link.append(number[fed[state]])
            initial.append(graph.nodes[state].initial)
        node_at.append(len(bias))
        state_at.append(len(link))
    integers = [node_at, edge_at, state_at, source or [0], link or [0]]
    activation = [v for g in graphs for v in (g.factor, g.leak)]
    floats = [bias, weight or [0.0], initial or [0.0], activation]
    return [np.array(a, np.int32) for a in integers] + [np.array(a, np.float32) for a in floats]
