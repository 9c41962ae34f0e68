"""From trained networks to small exact ones: clip, quantize, and dead-code elimination.

"Exact" here means right at every step of every one of many random sequences, longer than those of
training. It is no proof; `bonsai.prove` gives that.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bonsai.activation import ameo
from bonsai.graph import NEURONS, Edge, Graph
from bonsai.network import Network
from kernels.evaluate import Evaluator

SCREEN = 256  # sequences on which all candidates are tried before a few see all of them


@dataclass(frozen=True, eq=False)
class Trials:
    """What was tried, a row a candidate.

    restart, candidate: (C,) int32; setting: (C,) or (C, 3) float32, what was varied
    passed: (C,) int32, sequences right before the first wrong one, out of `checked`
    """

    restart: np.ndarray
    candidate: np.ndarray
    setting: np.ndarray
    passed: np.ndarray
    checked: np.ndarray

    @property
    def exact(self) -> np.ndarray:
        return self.passed == self.checked


def first_exact(
    evaluator: Evaluator, network: Network, candidates: list[np.ndarray], keep: int = 1
) -> tuple[list[list[int]], np.ndarray, np.ndarray]:
    """For each list of candidates (C, P), in order of preference, the first `keep` exact ones.

    network: what the candidates are variants of

    All are screened on SCREEN sequences; only those preferred go on to all sequences.
    Returns their indices, list by list, and for all candidates one after the other how many
    sequences they passed and on how many they were checked.
    """
    flat = np.concatenate(candidates)
    screen = min(SCREEN, evaluator.sequences)
    seen: dict[bytes, int] = {}  # small networks round to the same numbers on many grids
    same = np.array([seen.setdefault(row.tobytes(), len(seen)) for row in flat], int)
    distinct = np.unique(same, return_index=True)[1]
    passed = evaluator.right(flat[distinct], network.factor, screen)[same]
    checked = np.full(len(flat), screen, np.int32)
    starts = np.cumsum([0, *(len(c) for c in candidates)])
    queues = [
        [int(i) for i in np.arange(begin, end)[passed[begin:end] == screen]]
        for begin, end in itertools.pairwise(starts)
    ]
    chosen: list[list[int]] = [[] for _ in candidates]
    while True:
        asked = [
            (k, queue.pop(0))
            for k, queue in enumerate(queues)
            for _ in range(min(keep - len(chosen[k]), len(queue)))
        ]
        if not asked:
            break
        index = np.array([i for _, i in asked])
        passed[index] = evaluator.right_sparse(sparse(network, flat[index]))
        checked[index] = evaluator.sequences
        for k, i in asked:
            if passed[i] == evaluator.sequences:
                chosen[k].append(i - int(starts[k]))
    return chosen, passed, checked


def sparse(network: Network, candidates: np.ndarray) -> list[Graph]:
    """Graphs of what the network would be with these parameters (C, P), without dead code."""
    varied = network.with_parameters(candidates, np.zeros(len(candidates), int))
    a = network.architecture
    bits = [f"x{i}" for i in range(a.inputs)], [f"y{i}" for i in range(a.outputs)]
    graphs = [Graph.from_network(varied, row, *bits) for row in range(len(candidates))]
    return [eliminate_dead_code(graph, fold=False) for graph in graphs]


def clip(network: Network, kind: str, evaluator: Evaluator) -> tuple[Network, Trials]:
    """Set to 0 all parameters of a kind up to the highest threshold that keeps a network exact.

    kind: "weight" or "bias". Every magnitude that occurs in a network is tried as its threshold,
    and 0. A network that is not exact even at 0 is dropped; if none is exact, the one that passes
    most sequences is kept as it is, so that there is something to show.
    """
    chosen = network.architecture.mask(kind)
    thresholds, candidates = [], []
    for row in network.parameters:
        levels = np.unique(np.abs(row[chosen]))[::-1]
        if not levels.size or levels[-1] > 0:
            levels = np.append(levels, np.float32(0))
        cut = chosen & (np.abs(row) <= levels[:, None])
        thresholds.append(levels)
        candidates.append(np.where(cut, np.float32(0), row).astype(np.float32))
    best, passed, checked = first_exact(evaluator, network, candidates)
    counts = [len(levels) for levels in thresholds]
    trials = Trials(
        np.repeat(network.restart, counts),
        np.repeat(network.candidate, counts),
        np.concatenate(thresholds),
        passed,
        checked,
    )
    rows = [k for k, found in enumerate(best) if found]
    clipped = [candidates[k][best[k][0]] for k in rows]
    if not rows:
        unclipped = passed[np.cumsum(counts) - 1]
        rows = [int(np.argmax(unclipped))]
        clipped = [network.parameters[rows[0]]]
    return network.with_parameters(np.array(clipped), np.array(rows)), trials


def quantized(network: Network, row: int, grid: np.ndarray) -> np.ndarray:
    """(G, P) float32: a network with its weights, biases and initial states rounded to multiples
    of their own step, the three of each row of `grid` (G, 3).
    """
    parameters = np.tile(network.parameters[row], (len(grid), 1))
    for kind, steps in zip(("weight", "bias", "initial"), grid.T, strict=True):
        chosen, step = network.architecture.mask(kind), steps[:, None].astype(np.float32)
        parameters[:, chosen] = np.round(parameters[:, chosen] / step) * step + 0.0
    return parameters


def quantize(
    network: Network, steps: Sequence[float], keep: int, evaluator: Evaluator
) -> tuple[Network, np.ndarray, Trials]:
    """Round to the coarsest grids that keep a network exact.

    steps: grid steps to try, in all combinations for weights, biases and initial states
    keep: settings kept a network, coarsest first; after them comes the unrounded network, with
    steps of 0, as the last resort of the proof
    Returns the networks, a row a setting kept, their settings (C, 3), and all trials.
    """
    grid = np.array(list(itertools.product(steps, repeat=3)), np.float32)
    grid = grid[np.lexsort((-grid[:, 1], -grid[:, 0], -np.log2(grid).sum(axis=1)))]
    candidates = [quantized(network, k, grid) for k in range(len(network))]
    found, passed, checked = first_exact(evaluator, network, candidates, keep)
    kept = [(k, i) for k, exact in enumerate(found) for i in [*exact, None]]
    result = network.with_parameters(
        np.array([network.parameters[k] if i is None else candidates[k][i] for k, i in kept]),
        np.array([k for k, _ in kept]),
    )
    settings = np.array([np.zeros(3) if i is None else grid[i] for _, i in kept], np.float32)
    trials = Trials(
        np.repeat(network.restart, len(grid)),
        np.repeat(network.candidate, len(grid)),
        np.tile(grid, (len(network), 1)),
        passed,
        checked,
    )
    return result, settings, trials


def eliminate_dead_code(graph: Graph, fold: bool = True) -> Graph:
    """Drop every node that no output depends on, then fold constant neurons into biases.

    A neuron without sources is constant, and so is a state that starts at the value its constant
    neuron feeds back. Its value moves into the biases of its targets, until nothing changes.
    Inputs and heads are kept, connected or not.
    """
    while True:
        graph = _reachable(graph)
        constant = _constants(graph) if fold else {}
        if not constant:
            return graph
        graph = _folded(graph, constant)


def _reachable(graph: Graph) -> Graph:
    """The part that a depth-first search finds from the heads against the edges."""
    sources: dict[int, list[int]] = {}
    for e in graph.edges:
        if e.weight != 0:
            sources.setdefault(e.target, []).append(e.source)
    for r, s in graph.feedback:
        sources.setdefault(s, []).append(r)
    stack = graph.where("head")
    live = set(stack)
    while stack:
        for source in sources.get(stack.pop(), ()):
            if source not in live:
                live.add(source)
                stack.append(source)
    return _kept(graph, live)


def _constants(graph: Graph) -> dict[int, np.float32]:
    """Values of the neurons without sources, and of states that are constant with them."""
    fed = {e.target for e in graph.edges}
    constant = {
        i: ameo(np.array([graph.nodes[i].bias], np.float32), graph.factor, graph.leak)[0]
        for i in graph.where(*NEURONS)
        if i not in fed
    }
    used = {e.source for e in graph.edges}
    for r, s in graph.feedback:
        if r in constant and np.float32(graph.nodes[s].initial) == constant[r]:
            constant[s] = constant[r]
    feeding = {r for r, s in graph.feedback if s not in constant}
    return {i: v for i, v in constant.items() if i in used or i not in feeding}


def _folded(graph: Graph, constant: dict[int, np.float32]) -> Graph:
    nodes = list(graph.nodes)
    for e in graph.edges:
        if e.source in constant:
            moved = np.float32(nodes[e.target].bias) + np.float32(e.weight) * constant[e.source]
            nodes[e.target] = replace(nodes[e.target], bias=float(moved))
    edges = tuple(e for e in graph.edges if e.source not in constant)
    gone = {s for _, s in graph.feedback if s in constant}
    feeding = {r for r, s in graph.feedback if s not in gone}
    live = {i for i in range(len(nodes)) if i not in constant or i in feeding}
    return _kept(replace(graph, nodes=tuple(nodes), edges=edges), live)


def _kept(graph: Graph, live: set[int]) -> Graph:
    """The graph of these nodes, inputs and heads, without zero weights, renumbered."""
    keep = [i for i, n in enumerate(graph.nodes) if i in live or n.kind in ("input", "head")]
    number = {i: k for k, i in enumerate(keep)}
    return Graph(
        nodes=tuple(graph.nodes[i] for i in keep),
        edges=tuple(
            Edge(number[e.source], number[e.target], e.weight)
            for e in graph.edges
            if e.weight != 0 and e.source in number and e.target in number
        ),
        feedback=tuple((number[r], number[s]) for r, s in graph.feedback if s in number),
        factor=graph.factor,
        leak=graph.leak,
    )
