"""How many sequences candidates get right: networks (`evaluate.cl`) and graphs (`graph.cl`)."""

from collections.abc import Sequence, Sized
from functools import cached_property

import numpy as np
from tinygrad import Tensor

from bonsai.graph import Graph
from bonsai.network import Architecture
from bonsai.recipe import UNIT
from kernels.device import open_device
from kernels.edges import CONSTANTS, EdgeLists
from kernels.layout import as_float, cell_constants, expect_fit, interleaved, record
from kernels.program import Replay, contents, launch, on_device, overwrite, source

BATCH = 1024  # candidates a launch
LISTS = 1 << 23  # numbers in lists of their edges, at most
PRUNED = 0.4  # share of the weights below which it takes less time to go by lists of edges
BLOCK = 4  # groups of sequences that a CPU takes through a pruned network or a graph at once


class Sequences:
    """Sequences on the device, for candidates to be evaluated on.

    inputs: (N, T, I) of -1/+1, N a multiple of 16; targets: (N, T, O), 0 where not checked
    """

    def __init__(self, inputs: np.ndarray, targets: np.ndarray) -> None:
        self._lanes = open_device().lanes
        self.shape = inputs.shape
        self.target_shape = targets.shape
        self.inputs = on_device(interleaved(inputs, self._lanes))
        self.targets = on_device(interleaved(targets, self._lanes))

    def replace(self, inputs: np.ndarray, targets: np.ndarray) -> None:
        """Hold others from now on, as many and as long."""
        overwrite(self.inputs, interleaved(inputs, self._lanes))
        overwrite(self.targets, interleaved(targets, self._lanes))

    def expect_fit(self, inputs: int, outputs: int) -> None:
        """Raise ShapeError unless they are of networks with so many inputs and outputs."""
        expect_fit(self.shape, self.target_shape, (inputs, outputs))


def filled(rows: np.ndarray) -> np.ndarray:
    """These rows, and the first ones again, up to a multiple of 16, as `Sequences` wants."""
    return np.resize(rows, -(-len(rows) // UNIT) * UNIT)


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
        self.held = Sequences(inputs, targets)
        self.held.expect_fit(architecture.inputs, architecture.outputs)
        self.architecture, self.leak = architecture, leak
        self.sequences = len(inputs)
        self._early = early
        self._edges = EdgeLists(architecture)

    @cached_property
    def _whole(self) -> "_Launch":
        return _Launch(self.architecture, self.leak, self.held, None)

    @cached_property
    def _pruned(self) -> "_Launch":
        return _Launch(self.architecture, self.leak, self.held, self._edges)

    def right(
        self,
        parameters: np.ndarray,
        factor: float,
        sequences: int | None = None,
        noise: float = 0.0,
    ) -> np.ndarray:
        """(C, P) to (C,) int32: sequences right, out of the first `sequences` (all by default).

        On a CPU pruned networks take the time of the weights that they have left.

        factor: of the activation
        noise: each state gets a uniform random number up to this added after each step, the same
        ones for every candidate
        """
        left = self._edges.left(parameters)
        pruned = open_device().is_cpu and self._edges.share(left) < PRUNED
        kernel = self._pruned if pruned else self._whole
        held = self.sequences if sequences is None else sequences
        counts = [
            kernel.right(
                parameters[i : i + kernel.most],
                left[i : i + kernel.most],
                held,
                [factor, noise],
                self._early,
            )
            for i in range(0, len(parameters), kernel.most)
        ]
        return np.concatenate(counts) if counts else np.zeros(0, np.int32)

    def right_sparse(self, graphs: Sequence[Graph]) -> np.ndarray:
        """(G,) int32, as `right` for the networks that these graphs are of; on many sequences it
        takes two thirds of the time. Sums are the same but for the order of those of the head.
        """
        return GraphEvaluator(graphs, self.held, self._early).right()


class _Launch:
    """The kernel `evaluate` for whole networks, or for pruned ones if there are lists of edges.

    most: candidates a call
    """

    def __init__(
        self, architecture: Architecture, leak: float, held: Sequences, edges: EdgeLists | None
    ) -> None:
        device = open_device()
        self._held, self._edges, self._lanes = held, edges, device.lanes
        size = edges.size if edges else 0
        self.most = max(16, min(BATCH, LISTS // size)) if size else BATCH
        # On a CPU one candidate is work enough for a core; a GPU takes many parts of it at once.
        items = self.most if device.is_cpu else max(self.most, device.items)
        self._items, self._one_part = items, device.is_cpu
        pair = BLOCK if edges else 1
        constants: dict[str, object] = {
            "LANES": device.lanes,
            "PAIR": pair,
            "LEAK": as_float(leak),
        }
        whole = {"ITEMS": items, "LIST": 0} | cell_constants(architecture)
        constants |= CONSTANTS if edges else whole
        values = items * 2 * pair * record(architecture) * device.lanes
        self._parameters = on_device(np.zeros((self.most, architecture.size), np.float32))
        self._lists = on_device(np.zeros((self.most, size) if size else 1, np.int32))
        self._limits = on_device(np.zeros(6, np.int32))
        self._settings = on_device(np.zeros(2, np.float32))  # factor and noise
        self._right = on_device(np.zeros(items, np.int32))
        self._scratch = on_device(np.zeros(values, np.float32))
        forward = "sparse.cl" if edges else "dense.cl"
        self._text = source(constants, "ameo.cl", "count.cl", "cell.cl", forward, "evaluate.cl")
        self._work = -(-items // device.group), device.group
        self._replay = Replay(self._launch)

    def _launch(self) -> None:
        given = self._parameters, self._lists, self._held.inputs, self._held.targets
        written = self._right, self._scratch
        rest = self._limits, self._settings
        after = launch(self._text, "evaluate", 2, *self._work, *written, *given, *rest)
        self._right, self._scratch = after[:2]
        Tensor.realize(self._right, self._scratch)

    def right(
        self,
        parameters: np.ndarray,
        left: np.ndarray,
        sequences: int,
        settings: list[float],
        early: bool,
    ) -> np.ndarray:
        """(C,) int32 for `most` candidates at most.

        left: (C, P) bool, the weights and biases of each one that a head depends on
        settings: the activation's factor, and the noise on the states
        """
        count, groups = len(parameters), sequences // self._lanes
        parts = 1 if self._one_part else min(groups, self._items // count)
        overwrite(self._settings, np.array(settings, np.float32))
        overwrite(self._parameters, parameters.astype(np.float32, copy=False))
        if self._edges:
            overwrite(self._lists, self._edges.of(left))
        limits = [count, groups, parts, self._held.shape[1], early, self._items]
        overwrite(self._limits, np.array(limits, np.int32))
        self._replay()
        told = contents(self._right)[: count * parts]
        return _in_all(told.reshape(count, parts))


class GraphEvaluator:
    """Counts how many sequences each of some graphs gets right, at the cost of their edges alone.

    early: stop a graph at its first wrong sequence, and count those before it
    hasty: stop it at its first wrong step; what is counted is then less than N, and says no more

    on: what is on the device, by the names of `graph.cl`
    """

    def __init__(
        self, graphs: Sequence[Graph], held: Sequences, early: bool, hasty: bool = False
    ) -> None:
        for graph in graphs:
            held.expect_fit(len(graph.where("input")), len(graph.where("head")))
        device = open_device()
        block = BLOCK if device.is_cpu else 1
        nodes = max(len(g.nodes) for g in graphs)
        count, steps, inputs = held.shape
        stop = 2 if hasty else int(early)
        outputs, groups = held.target_shape[2], count // device.lanes
        self._parts = 1 if device.is_cpu else max(1, min(groups, device.items // len(graphs)))
        items = len(graphs) * self._parts
        shape = [len(graphs), groups, nodes, inputs, outputs, steps, stop, self._parts]
        arrays = {
            "right": np.zeros(items, np.int32),
            "scratch": np.zeros(items * nodes * block * device.lanes, np.float32),
            **_table(graphs),
        }
        self.on = {name: on_device(values) for name, values in arrays.items()}
        self.on |= {"inputs": held.inputs, "targets": held.targets}
        self.on["shape"] = on_device(np.array(shape, np.int32))
        constants = {"LANES": device.lanes, "BLOCK": block}
        self._text = source(constants, "ameo.cl", "count.cl", "graph.cl")
        self._work = -(-items // device.group), device.group
        self._replay = Replay(self.launch)

    def right(self) -> np.ndarray:
        """(G,) int32"""
        self._replay()
        return self.counted()

    def launch(self, *others: Tensor) -> None:
        """What `Replay` repeats; others: that have to be realised with it"""
        after = launch(self._text, "evaluate_graphs", 2, *self._work, *self.on.values())
        self.on |= zip(("right", "scratch"), after, strict=False)
        Tensor.realize(self.on["right"], self.on["scratch"], *others)

    def counted(self) -> np.ndarray:
        """(G,) int32 after the last launch"""
        return _in_all(contents(self.on["right"]).reshape(-1, self._parts))


def _in_all(told: np.ndarray) -> np.ndarray:
    """(C, parts) counts, below 0 where a part was stopped, to (C,): up to the first such part."""
    stopped = told < 0
    if told.shape[1] == 1:  # on a CPU
        return np.where(stopped, -1 - told, told)[:, 0]
    before = np.cumsum(stopped, axis=1) > stopped
    counted = np.where(stopped, -1 - told, told)
    return np.where(before, 0, counted).sum(axis=1, dtype=np.int32)


def _table(graphs: Sequence[Graph]) -> dict[str, np.ndarray]:
    """The graphs one after the other, as `graph.cl` wants them, in the order of its arguments."""
    parts = {id(graph): _part(graph) for graph in {id(g): g for g in graphs}.values()}
    every = [parts[id(graph)] for graph in graphs]
    first = _starts([part["source"] for part in every])[:-1]
    joined = {
        "node_at": _starts([part["bias"] for part in every]),
        "edge_at": np.concatenate([p["edge_at"] + at for p, at in zip(every, first, strict=True)]),
        "state_at": _starts([part["link"] for part in every]),
    }
    for name in ("source", "link", "bias", "weight", "initial", "activation"):
        values = np.concatenate([part[name] for part in every])
        joined[name] = values if values.size else np.zeros(1, values.dtype)
    return joined


def _part(graph: Graph) -> dict[str, np.ndarray]:
    """What `_table` has of one graph; its edges begin at 0."""
    computed = [*graph.where("output", "recurrent"), *graph.where("head")]
    states = graph.where("state")
    order = [*graph.where("input"), *states, *computed]
    number = {node: i for i, node in enumerate(order)}
    fed = {s: r for r, s in graph.feedback}
    incoming = [graph.incoming[node] for node in computed]
    return {
        "edge_at": _starts(incoming),
        "source": np.array([number[s] for edges in incoming for s, _ in edges], np.int32),
        "weight": np.array([w for edges in incoming for _, w in edges], np.float32),
        "bias": np.array([graph.nodes[node].bias for node in computed], np.float32),
        "link": np.array([number[fed[state]] for state in states], np.int32),
        "initial": np.array([graph.nodes[state].initial for state in states], np.float32),
        "activation": np.array([graph.factor, graph.leak], np.float32),
    }


def _starts(parts: Sequence[Sized]) -> np.ndarray:
    """(parts + 1,) int32: where each begins among all, and where the last one ends."""
    return np.cumsum([0, *map(len, parts)], dtype=np.int32)
