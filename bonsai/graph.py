"""`Graph`: one pruned network as nodes and weighted edges, and how it is evaluated.

A state node holds a value between steps. An output or recurrent node is a neuron: weighted sum,
bias, activation. A head node is linear. The link from a recurrent node to its state (`feedback`)
is fixed, and is no weight.

The deployed network is this evaluation in float32, in this order: a neuron starts from its bias
and adds `weight * source` edge by edge in the order of `Graph.edges`, each product and each sum
rounded; then the activation as `bonsai.activation` writes it. The proof speaks of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from bonsai.activation import ameo
from bonsai.artifact import ArtifactError, load_table, save_table
from bonsai.network import Network

KINDS = ("input", "state", "output", "recurrent", "head")
NEURONS = ("output", "recurrent")


@dataclass(frozen=True)
class Node:
    """kind: one of KINDS; cell and index: its place in the network (cell -1: inputs and head).

    name: for people, unique in its graph; bias: of neurons and heads; initial: of states.
    """

    kind: str
    cell: int
    index: int
    name: str
    bias: float = 0.0
    initial: float = 0.0


@dataclass(frozen=True)
class Edge:
    """From node `source` to node `target` (positions in `Graph.nodes`)."""

    source: int
    target: int
    weight: float


@dataclass(frozen=True, eq=False)
class Graph:
    """nodes: in an order in which every neuron comes after its sources (inputs and states first)

    edges: weighted edges, sorted by (target, source)
    feedback: (recurrent node, state node) pairs, one a state
    factor, leak: of the activation
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    feedback: tuple[tuple[int, int], ...]
    factor: float
    leak: float

    def __post_init__(self) -> None:
        if list(self.edges) != sorted(self.edges, key=lambda e: (e.target, e.source)):
            raise ValueError("edges are not sorted by target and source")
        for node in self.nodes:
            if node.kind not in KINDS:
                raise ValueError(f"node {node.name} is of unknown kind '{node.kind}'")
            if not np.isfinite([node.bias, node.initial]).all():
                raise ValueError(
                    f"node {node.name} has a bias or initial state that is not finite"
                )
        if len({n.name for n in self.nodes}) != len(self.nodes):
            raise ValueError("two nodes have the same name")
        for e in self.edges:
            if not 0 <= e.source < e.target < len(self.nodes):
                raise ValueError(f"edge {e.source} -> {e.target} does not go forward")
            if (
                self.nodes[e.target].kind in ("input", "state")
                or self.nodes[e.source].kind == "head"
            ):
                raise ValueError(f"edge {e.source} -> {e.target} ends or starts at the wrong kind")
            if not np.isfinite(e.weight):
                raise ValueError(f"edge {e.source} -> {e.target} has weight {e.weight}")
        if len({(e.source, e.target) for e in self.edges}) != len(self.edges):
            raise ValueError("two edges join the same nodes")
        if sorted(s for _, s in self.feedback) != self.where("state"):
            raise ValueError("every state needs one feedback link")
        for r, _ in self.feedback:
            if not 0 <= r < len(self.nodes) or self.nodes[r].kind not in NEURONS:
                raise ValueError(f"feedback from node {r}, which is not a neuron")

    def where(self, *kinds: str) -> list[int]:
        """Positions of the nodes of these kinds."""
        return [i for i, n in enumerate(self.nodes) if n.kind in kinds]

    # ---- sizes

    @property
    def neurons(self) -> int:
        return len(self.where(*NEURONS))

    @property
    def weights(self) -> int:
        """Non-zero weights, head included, without the fixed feedback links."""
        return sum(e.weight != 0 for e in self.edges)

    @property
    def biases(self) -> int:
        return sum(n.bias != 0 for n in self.nodes)

    @property
    def size(self) -> int:
        return self.weights + self.biases

    # ---- evaluation

    @cached_property
    def initial(self) -> np.ndarray:
        """(S,) float32, the states at time 0."""
        return np.array([self.nodes[i].initial for i in self.where("state")], np.float32)

    @cached_property
    def incoming(self) -> tuple[tuple[tuple[int, float], ...], ...]:
        """For each node its (source, weight) pairs, in the order of evaluation."""
        found: list[list[tuple[int, float]]] = [[] for _ in self.nodes]
        for e in self.edges:
            found[e.target].append((e.source, e.weight))
        return tuple(tuple(pairs) for pairs in found)

    def values(self, states: np.ndarray, x: np.ndarray) -> list[np.ndarray]:
        """Each node's value for states (N, S) and inputs (N, I), in the dtype of `states`."""
        number = states.dtype.type
        given = [*x.T.astype(states.dtype), *states.T]
        leaves = [*self.where("input"), *self.where("state")]
        values: list[np.ndarray] = [np.empty(0)] * len(self.nodes)
        for i, value in zip(leaves, given, strict=True):
            values[i] = value
        for i, node in enumerate(self.nodes):
            if node.kind in ("input", "state"):
                continue
            total = np.full(len(states), node.bias, states.dtype)
            for source, weight in self.incoming[i]:
                total = total + number(weight) * values[source]
            values[i] = total if node.kind == "head" else ameo(total, self.factor, self.leak)
        return values

    def step(self, states: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One step: states (N, S) and inputs (N, I) of -1/+1 to new states (N, S) and y (N, O)."""
        values = self.values(states, x)
        link = {s: r for r, s in self.feedback}
        after = np.empty_like(states)
        for column, s in enumerate(self.where("state")):
            after[:, column] = values[link[s]]
        return after, np.stack([values[i] for i in self.where("head")], axis=1)

    def run(self, x: np.ndarray) -> np.ndarray:
        """Outputs (N, T, O) float32 for input words (N, T, I)."""
        states = np.tile(self.initial, (len(x), 1))
        outputs = []
        for t in range(x.shape[1]):
            states, y = self.step(states, x[:, t])
            outputs.append(y)
        return np.stack(outputs, axis=1)

    # ---- construction

    @classmethod
    def from_network(
        cls, network: Network, row: int, inputs: Sequence[str], outputs: Sequence[str]
    ) -> "Graph":
        """Row `row` of a network, zero weights left out. Names are those of the machine's bits."""
        a = network.architecture
        suffix = ["" if len(a.cells) == 1 else f".{k}" for k in range(len(a.cells))]
        nodes = [Node("input", -1, i, name) for i, name in enumerate(inputs)]
        taken = {*inputs}

        def named(name: str) -> str:
            while name in taken:
                name += "'"
            taken.add(name)
            return name

        state_at: list[list[int]] = []
        for k, (_, s) in enumerate(a.cells):
            initial = network.tensor("initial", k)[row]
            state_at.append(list(range(len(nodes), len(nodes) + s)))
            nodes += [
                Node("state", k, i, named(f"s{i}{suffix[k]}"), initial=float(initial[i]))
                for i in range(s)
            ]
        edges: list[Edge] = []
        feedback: list[tuple[int, int]] = []

        def connect(sources: list[int], first: int, weights: np.ndarray) -> None:
            for j, i in np.argwhere(weights.T != 0):
                edges.append(Edge(sources[i], first + int(j), float(weights[i, j])))

        x = list(range(len(inputs)))
        for k, (o, s) in enumerate(a.cells):
            bias = network.tensor("bias", k)[row]
            first = len(nodes)
            for j in range(o + s):
                kind, i, letter = ("output", j, "o") if j < o else ("recurrent", j - o, "r")
                nodes.append(Node(kind, k, i, named(f"{letter}{i}{suffix[k]}"), float(bias[j])))
            outputs_at = list(range(first, first + o))
            for layer in (found for found in a.layers if found.cell == k):
                sources = [*(outputs_at if layer.reads == k else x), *state_at[k]]
                connect(sources, first + layer.neurons.start, network.values(layer.weight)[row])
            feedback += [(first + o + i, state_at[k][i]) for i in range(s)]
            x = outputs_at
        bias = network.tensor("bias", -1)[row]
        first = len(nodes)
        nodes += [Node("head", -1, i, named(n), float(bias[i])) for i, n in enumerate(outputs)]
        connect(x, first, network.tensor("weight", -1)[row])
        edges.sort(key=lambda e: (e.target, e.source))
        return cls(tuple(nodes), tuple(edges), tuple(feedback), network.factor, network.leak)

    # ---- files

    def save(self, folder: str | Path) -> None:
        """Write `nodes.parquet` and `edges.parquet`."""
        save_graphs(folder, [self])

    @classmethod
    def load(cls, folder: str | Path) -> "Graph":
        graphs = load_graphs(folder)
        if len(graphs) != 1:
            raise ArtifactError(f"{folder}: holds {len(graphs)} graphs, expected one")
        return graphs[0]


def save_graphs(folder: str | Path, graphs: Sequence[Graph]) -> None:
    """Write graphs as `nodes.parquet` and `edges.parquet`, told apart by the column `graph`."""
    folder = Path(folder)
    nodes = [(g, i, n) for g, graph in enumerate(graphs) for i, n in enumerate(graph.nodes)]
    neuron = [n.kind in NEURONS for _, _, n in nodes]

    def column(values: list, kind: pa.DataType, present: list[bool] | None = None) -> pa.Array:
        if present is not None:
            values = [v if p else None for v, p in zip(values, present, strict=True)]
        return pa.array(values, kind)

    save_table(
        folder / "nodes.parquet",
        "nodes",
        {
            "graph": column([g for g, _, _ in nodes], pa.int32()),
            "node": column([i for _, i, _ in nodes], pa.int32()),
            "kind": column([n.kind for _, _, n in nodes], pa.string()),
            "cell": column(
                [n.cell for *_, n in nodes], pa.int32(), [n.cell >= 0 for *_, n in nodes]
            ),
            "index": column([n.index for *_, n in nodes], pa.int32()),
            "name": column([n.name for *_, n in nodes], pa.string()),
            "bias": column(
                [n.bias for *_, n in nodes],
                pa.float32(),
                [n.kind not in ("input", "state") for *_, n in nodes],
            ),
            "initial": column(
                [n.initial for *_, n in nodes],
                pa.float32(),
                [n.kind == "state" for *_, n in nodes],
            ),
            "factor": column([graphs[g].factor for g, *_ in nodes], pa.float64(), neuron),
            "leak": column([graphs[g].leak for g, *_ in nodes], pa.float64(), neuron),
        },
        {"activation": [[g.factor, g.leak] for g in graphs]},
    )
    links = [
        (g, e.source, e.target, e.weight, False)
        for g, graph in enumerate(graphs)
        for e in graph.edges
    ] + [(g, r, s, 1.0, True) for g, graph in enumerate(graphs) for r, s in graph.feedback]
    columns = list(zip(*links, strict=True)) or [()] * 5
    save_table(
        folder / "edges.parquet",
        "edges",
        {
            "graph": pa.array(columns[0], pa.int32()),
            "source": pa.array(columns[1], pa.int32()),
            "target": pa.array(columns[2], pa.int32()),
            "weight": pa.array(columns[3], pa.float32()),
            "feedback": pa.array(columns[4], pa.bool_()),
        },
    )


def load_graphs(folder: str | Path) -> list[Graph]:
    """Read what `save_graphs` wrote. Raises ArtifactError naming the file and what is wrong."""
    folder = Path(folder)
    node_columns = ["graph", "kind", "cell", "index", "name", "bias", "initial"]
    edge_columns = ["graph", "source", "target", "weight", "feedback"]
    node_table, about = load_table(folder / "nodes.parquet", "nodes", node_columns)
    edge_table, _ = load_table(folder / "edges.parquet", "edges", edge_columns)
    try:
        activation = [(float(f), float(leak)) for f, leak in about["activation"]]
        nodes: list[list[Node]] = [[] for _ in activation]
        edges: list[list[Edge]] = [[] for _ in activation]
        feedback: list[list[tuple[int, int]]] = [[] for _ in activation]
        for row in zip(*(node_table[c].to_pylist() for c in node_columns), strict=True):
            g, kind, cell, index, name, bias, initial = row
            cell = -1 if cell is None else cell
            nodes[g].append(Node(kind, cell, index, name, bias or 0.0, initial or 0.0))
        for row in zip(*(edge_table[c].to_pylist() for c in edge_columns), strict=True):
            g, source, target, weight, fixed = row
            if fixed:
                feedback[g].append((source, target))
            else:
                edges[g].append(Edge(source, target, weight))
        return [
            Graph(tuple(n), tuple(e), tuple(f), factor, leak)
            for n, e, f, (factor, leak) in zip(nodes, edges, feedback, activation, strict=True)
        ]
    except (KeyError, TypeError, IndexError, ValueError) as e:
        raise ArtifactError(
            f"{folder}: nodes.parquet and edges.parquet: no valid graph: {e}"
        ) from e
