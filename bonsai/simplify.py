"""Make a proven graph smaller and prove it again: what a compiler would do with what it knows.

On the certificate every node's values are known. Nodes that are constant are folded, nodes that
are a multiple of another (equal, opposite, or a linear copy) are merged with it, a neuron that
works where the activation is straight is folded into what it feeds, and edges and biases that
change no output are dropped, until nothing changes. The values only propose; the proof decides.
Hence also a node that is merely much like another is tried in its place: signs may not care.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bonsai.certificate import Certificate
from bonsai.graph import NEURONS, Edge, Graph
from bonsai.machine import Machine
from bonsai.prove import prove as default_prove
from bonsai.prune import eliminate_dead_code

WORDS, LENGTH = 96, 48  # sampled where a certificate holds boxes, which say nothing of two nodes
CLOSE = 0.08  # how far a node may be from a multiple of another that is tried in its place
ALIKE = 0.6  # least correlation of two nodes that are tried in each other's place
SNAP = 64.0  # factors and shifts of a merge are tried as multiples of 1/SNAP

Prove = Callable[[Graph, Machine], Any]


@dataclass(frozen=True)
class Rewrite:
    """name: what is done to which nodes, for telling rewrites apart; graph: after it"""

    name: tuple
    graph: Graph


def simplify(
    graph: Graph, machine: Machine, certificate: Certificate, prove: Prove = default_prove
) -> tuple[Graph, Certificate]:
    """The graph after all rewrites that are still proven, and its certificate.

    certificate: of `graph`, which must hold
    prove: called with a graph and the machine; a rewrite counts if a Certificate comes back

    No rewrite makes the graph larger (in weights + biases, then neurons, then states). The order
    is fixed: what shrinks the graph most comes first. A proof is asked for once for each rewrite
    tried, hundreds of times for a graph of a hundred weights.
    """
    if not len(certificate):
        raise ValueError("a graph that is not proven cannot be simplified: no certificate")
    refused: set[tuple] = set()
    accepted = False
    while True:
        found = None
        for rewrite in _rewrites(graph, machine, certificate):
            if rewrite.name in refused:
                continue
            verdict = prove(rewrite.graph, machine)
            if isinstance(verdict, Certificate):
                found = rewrite.graph, verdict
                break
            refused.add(rewrite.name)
        if found is not None:
            (graph, certificate), accepted = found, True
        elif accepted:
            refused, accepted = set(), False  # what failed before may hold by now
        else:
            return graph, certificate


def cost(graph: Graph) -> tuple[int, int, int]:
    """What a rewrite must make less: weights + biases, neurons, states."""
    return graph.size, graph.neurons, len(graph.initial)


def observed(graph: Graph, machine: Machine, certificate: Certificate) -> np.ndarray:
    """Values (nodes, N) float64 that the nodes take together.

    All there are, where the certificate holds points; on sampled words where it holds boxes.
    """
    if certificate.kind == "points":
        k, a = np.unique(certificate.transitions[:, :2], axis=0).T
        states, x = certificate.low[k].astype(np.float32), machine.symbols[a]
        return np.array(graph.values(states, x), np.float64)
    symbols, _ = machine.sample(np.random.default_rng(0), WORDS, LENGTH)
    states = np.tile(graph.initial, (WORDS, 1))
    columns = []
    for t in range(LENGTH):
        x = machine.symbols[symbols[:, t]]
        columns.append(np.array(graph.values(states, x), np.float64))
        states, _ = graph.step(states, x)
    return np.concatenate(columns, axis=1)


def _rewrites(graph: Graph, machine: Machine, certificate: Certificate) -> list[Rewrite]:
    """Every rewrite that makes the graph less, what shrinks it most first."""
    values = observed(graph, machine, certificate)
    before = cost(graph)
    found = []
    for name, changed in (
        *_constant(graph, values),
        *_merged(graph, values),
        *_straightened(graph, values),
        *_dropped(graph, values),
    ):
        after = eliminate_dead_code(changed)
        if cost(after) < before:
            found.append(Rewrite(name, after))
    return sorted(found, key=lambda r: cost(r.graph))


Named = Iterator[tuple[tuple, Graph]]


def _constant(graph: Graph, values: np.ndarray) -> Named:
    """A node that hardly moves becomes its mean, in the biases of what it feeds.

    A neuron that a state needs keeps its place, with a bias that gives the mean.
    """
    fed = {r for r, _ in graph.feedback}
    for i, node in enumerate(graph.nodes):
        low, high = values[i].min(), values[i].max()
        if node.kind in ("input", "head") or high - low > CLOSE:
            continue
        yield ("constant", node.name), _redirected(graph, i, None, 0.0, _mean(low, high))
        if i in fed and graph.incoming[i]:
            total = sum(w * values[s] for s, w in graph.incoming[i]) + node.bias
            bias = float(np.float32(_mean(np.min(total), np.max(total))))
            nodes = _with_bias(graph, {i: bias})
            edges = tuple(e for e in graph.edges if e.target != i)
            yield ("held", node.name), replace(graph, nodes=nodes, edges=edges)


def _merged(graph: Graph, values: np.ndarray) -> Named:
    """A node that is `factor` times another plus `shift` is replaced by that one."""
    kinds = [n.kind for n in graph.nodes]
    feeds = {s: r for r, s in graph.feedback}
    moving = [i for i in range(len(kinds)) if kinds[i] != "head" and np.ptp(values[i]) > CLOSE]
    for j in moving:
        for i in moving:
            if i == j:
                continue
            for factor, shift in _fits(values[i], values[j]):
                names = (graph.nodes[i].name, graph.nodes[j].name, factor, shift)
                if i < j and kinds[j] != "input":
                    yield ("merge", *names), _redirected(graph, j, i, factor, shift)
                # A state that another neuron could feed as well.
                if kinds[i] in NEURONS and kinds[j] in NEURONS and j in feeds.values():
                    for state, neuron in feeds.items():
                        if neuron == j:
                            moved = _refed(graph, state, i, factor, shift)
                            yield ("feed", graph.nodes[state].name, *names), moved


def _straightened(graph: Graph, values: np.ndarray) -> Named:
    """A neuron that is linear in its own sum is replaced by its sources."""
    for i in graph.where(*NEURONS):
        if not graph.incoming[i] or np.ptp(values[i]) <= CLOSE:
            continue
        node = graph.nodes[i]
        total = np.sum([w * values[s] for s, w in graph.incoming[i]], axis=0) + node.bias
        for factor, shift in _fits(total, values[i]):
            weights: dict[tuple[int, int], float] = {
                (e.source, e.target): e.weight for e in graph.edges if e.source != i
            }
            bias: dict[int, float] = {}
            for e in graph.edges:
                if e.source == i:
                    bias[e.target] = graph.nodes[e.target].bias + e.weight * (
                        factor * node.bias + shift
                    )
                    for s, w in graph.incoming[i]:
                        key = s, e.target
                        weights[key] = weights.get(key, 0.0) + e.weight * factor * w
            changed = replace(graph, nodes=_with_bias(graph, bias), edges=_edges(weights))
            yield ("straight", node.name, factor, shift), changed


def _dropped(graph: Graph, values: np.ndarray) -> Named:
    """Every edge and every bias, the least influence first; an edge's mean goes to the bias."""
    swing = [abs(e.weight) * np.ptp(values[e.source]) for e in graph.edges]
    for e in sorted(range(len(graph.edges)), key=lambda e: (swing[e], e)):
        edge = graph.edges[e]
        source, target = graph.nodes[edge.source], graph.nodes[edge.target]
        edges = graph.edges[:e] + graph.edges[e + 1 :]
        yield ("edge", source.name, target.name), replace(graph, edges=edges)
        low, high = values[edge.source].min(), values[edge.source].max()
        if target.bias != 0 and low + high != 0:
            bias = target.bias + edge.weight * _mean(low, high)
            nodes = _with_bias(graph, {edge.target: bias})
            changed = replace(graph, nodes=nodes, edges=edges)
            yield ("mean", source.name, target.name), changed
    for i, node in enumerate(graph.nodes):
        if node.bias != 0:
            yield ("bias", node.name), replace(graph, nodes=_with_bias(graph, {i: 0.0}))


def _fits(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    """(factor, shift) for which y is like factor * x + shift, the roundest first."""
    spread = x - x.mean()
    slope = float(spread @ y / (spread @ spread))
    if abs(slope) * x.std() < ALIKE * y.std():  # their correlation
        return []
    rounded = round(slope * SNAP) / SNAP
    fitted = slope, float(y.mean() - slope * x.mean())
    tried = [
        (float(np.sign(slope)), 0.0),
        (rounded, 0.0),
        (rounded, round((y.mean() - rounded * x.mean()) * SNAP) / SNAP),
        (float(np.float32(fitted[0])), float(np.float32(fitted[1]))),
    ]
    found: list[tuple[float, float]] = []
    for factor, shift in tried:
        if factor != 0 and (factor, shift) not in found:
            found.append((factor, shift))
            if np.abs(factor * x + shift - y).max() < 1e-6:
                break
    return found


def _redirected(graph: Graph, old: int, new: int | None, factor: float, shift: float) -> Graph:
    """The graph in which factor * new + shift goes wherever `old` went; `new` may be nothing."""
    weights: dict[tuple[int, int], float] = {}
    bias: dict[int, float] = {}
    for e in graph.edges:
        if e.source == old:
            bias[e.target] = graph.nodes[e.target].bias + e.weight * shift
    for e in graph.edges:
        if e.source != old:
            source, weight = e.source, e.weight
        elif new is None:
            continue
        else:
            source, weight = new, e.weight * factor
        weights[source, e.target] = weights.get((source, e.target), 0.0) + weight
    return replace(graph, nodes=_with_bias(graph, bias), edges=_edges(weights))


def _refed(graph: Graph, state: int, neuron: int, factor: float, shift: float) -> Graph:
    """The graph whose `state` is fed by `neuron`, and was factor * neuron + shift before."""
    changed = _redirected(graph, state, state, factor, shift)
    nodes = list(changed.nodes)
    start = float(np.float32((nodes[state].initial - shift) / factor))
    nodes[state] = replace(nodes[state], initial=start)
    feedback = tuple((neuron if s == state else r, s) for r, s in graph.feedback)
    return replace(changed, nodes=tuple(nodes), feedback=feedback)


def _with_bias(graph: Graph, bias: dict[int, float]) -> tuple:
    nodes = list(graph.nodes)
    for i, value in bias.items():
        nodes[i] = replace(nodes[i], bias=float(np.float32(value)))
    return tuple(nodes)


def _edges(weights: dict[tuple[int, int], float]) -> tuple[Edge, ...]:
    rounded = {ends: float(np.float32(weight)) for ends, weight in weights.items()}
    edges = [Edge(*ends, weight) for ends, weight in rounded.items() if weight != 0]
    return tuple(sorted(edges, key=lambda e: (e.target, e.source)))


def _mean(low: float, high: float) -> float:
    """The middle, as a multiple of 1/SNAP where that is as good."""
    middle = (low + high) / 2
    snapped = round(middle * SNAP) / SNAP
    return snapped if low <= snapped <= high or high - low > 1 / SNAP else middle
