"""Certificates of points: every reachable pair of machine state and float32 network state.

Pairs are searched breadth first, a level at a time, so that the first wrong output ends a shortest
counterexample.
"""

from collections.abc import Iterator
from itertools import count

import numpy as np

from bonsai.activation import ameo
from bonsai.certificate import Certificate, Counterexample, margin
from bonsai.graph import NEURONS, Graph
from bonsai.machine import Machine

ROWS = 1 << 16  # pairs evaluated at once
LEVEL = 10  # a step of the breadth-first search costs as much as so many pairs


class Plan:
    """A graph laid out in layers: the float32 evaluation of `Graph.step`, to the bit, but faster.

    All neurons of a layer are evaluated at once. Each still adds its edges one by one in the order
    of `Graph.incoming`; where a neuron has no more edges, 0 times a row of zeros is added.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.inputs, self.states = graph.where("input"), graph.where("state")
        self.heads = graph.where("head")
        link = {s: r for r, s in graph.feedback}
        self.links = [link[s] for s in self.states]
        rank = [0] * len(graph.nodes)
        for i, node in enumerate(graph.nodes):
            if node.kind in NEURONS:
                rank[i] = 1 + max((rank[source] for source, _ in graph.incoming[i]), default=0)
        layers = [[i for i, r in enumerate(rank) if r == n] for n in range(1, max(rank) + 1)]
        zeros = len(graph.nodes)
        self.layers: list[tuple[list[int], np.ndarray, np.ndarray, np.ndarray]] = []
        for nodes in [*layers, self.heads]:
            width = max(len(graph.incoming[i]) for i in nodes)
            sources = np.full((width, len(nodes)), zeros)
            weights = np.zeros((width, len(nodes), 1), np.float32)
            for column, i in enumerate(nodes):
                for row, (source, weight) in enumerate(graph.incoming[i]):
                    sources[row, column], weights[row, column, 0] = source, weight
            bias = np.array([[graph.nodes[i].bias] for i in nodes], np.float32)
            self.layers.append((nodes, bias, sources, weights))

    def step(self, states: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """States (N, S) float32 and inputs (N, I) to states (N, S), without -0, and y (N, O)."""
        graph = self.graph
        values = np.zeros((len(graph.nodes) + 1, len(states)), np.float32)
        values[self.inputs], values[self.states] = x.T, states.T
        for nodes, bias, sources, weights in self.layers:
            total = np.repeat(bias, len(states), axis=1)
            for source, weight in zip(sources, weights, strict=True):
                total = total + weight * values[source]
            linear = nodes is self.heads
            values[nodes] = total if linear else ameo(total, graph.factor, graph.leak)
        return values[self.links].T + np.float32(0), values[self.heads].T


def wrong(y: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(N,) bool: does an output of y (N, O) lack the sign of its target (0: not checked)?"""
    return ((target != 0) & ~(y * target > 0)).any(axis=1)


def search_points(
    plan: Plan, machine: Machine, pairs: int
) -> tuple[Certificate | Counterexample | None, int, str]:
    """Breadth-first search for at most so many pairs.

    Returns the verdict, if there is one; the length up to which all words are known to be right;
    and why the search ended, if it did without a verdict.
    """
    frontier = np.zeros(1, np.int32), plan.graph.initial[None] + np.float32(0)  # without -0
    index = {_keys(*frontier)[0]: 0}
    levels = [frontier]  # machine states (N,) and network states (N, S), by distance
    parents = [np.zeros((1, 2), np.int64)]  # pair and symbol that each pair was first met by
    transitions: list[np.ndarray] = []
    least = np.inf
    for depth in count():
        q, s = frontier
        if not len(q):
            break
        first = len(index) - len(q)
        fresh: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for i, a in _transitions(machine, q):
            target = machine.output[q[i], a]
            states, y = plan.step(s[i], machine.symbols[a])
            failed = wrong(y, target)
            if failed.any():
                at = int(failed.argmax())
                word = [*_path(np.concatenate(parents), first + int(i[at])), int(a[at])]
                return Counterexample(tuple(word), shortest=True), depth, ""
            least = min(least, margin(y, y, target))
            if not np.isfinite(states).all():
                return None, depth, f"points: states overflow after {depth + 1} steps"
            below = machine.next[q[i], a]
            new: list[int] = []
            into: list[int] = []
            for row, key in enumerate(_keys(below, states)):
                size = len(index)
                found = index.setdefault(key, size)
                into.append(found)
                if found == size:
                    new.append(row)
            transitions.append(np.column_stack([first + i, a, into]).astype(np.int32))
            fresh.append((below[new], states[new], np.column_stack([first + i[new], a[new]])))
            if len(index) > pairs or depth > pairs // LEVEL + len(machine.states):
                why = f"points: {len(index)} pairs after {depth + 1} steps and no end"
                return None, depth, why
        q, s, parent = (np.concatenate(parts) for parts in zip(*fresh, strict=True))
        frontier = q, s
        levels.append(frontier)
        parents.append(parent)
    q, s = (np.concatenate(parts) for parts in zip(*levels, strict=True))
    arithmetic = "exact" if _exact(plan.graph, machine, q, s) else "float32"
    box = s.astype(np.float64)
    after = np.concatenate(transitions)
    return Certificate("points", arithmetic, q, box, box, after, least), depth, ""


def _path(parents: np.ndarray, pair: int) -> list[int]:
    """The symbols that lead from the initial pair to this one; parents: (K, 2) pair and symbol."""
    word = []
    while pair:
        pair, symbol = (int(n) for n in parents[pair])
        word.append(symbol)
    return word[::-1]


def _transitions(machine: Machine, q: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions in `q` and their legal symbols, in this order, at most ROWS at once."""
    stride = max(1, ROWS // len(machine.symbols))
    for start in range(0, len(q), stride):
        i, a = np.nonzero(machine.legal[q[start : start + stride]])
        yield i + start, a


def _keys(q: np.ndarray, states: np.ndarray) -> list[bytes]:
    """One hashable value a pair; states must be without -0."""
    rows = np.column_stack([q.astype(np.int32), np.ascontiguousarray(states).view(np.int32)])
    buffer, size = rows.tobytes(), rows.shape[1] * 4
    return [buffer[n : n + size] for n in range(0, len(buffer), size)]


def _exact(graph: Graph, machine: Machine, q: np.ndarray, states: np.ndarray) -> bool:
    """Whether no operation rounds from any of these pairs, with the sums in any order.

    The terms of a sum are multiples of a power of two, 2^24 times which is at least the sum of
    their sizes: then every partial sum has 24 bits. The activation is followed step by step.
    Products of float32 numbers are exact in float64, and sums are checked by their rounding error
    (Knuth, "The Art of Computer Programming", volume 2, 4.2.2).
    """
    parameters = [*(e.weight for e in graph.edges), *(n.bias for n in graph.nodes)]
    if not _short(np.array(parameters)):
        return False
    for i, a in _transitions(machine, q):
        rows = len(i)
        values: list[np.ndarray] = [np.zeros(rows)] * len(graph.nodes)
        for column, node in enumerate(graph.where("input")):
            values[node] = machine.symbols[a][:, column].astype(np.float64)
        for column, node in enumerate(graph.where("state")):
            values[node] = states[i, column].astype(np.float64)
        for n in graph.where(*NEURONS, "head"):
            products = [weight * values[source] for source, weight in graph.incoming[n]]
            terms = np.array([np.full(rows, graph.nodes[n].bias), *products])  # (n + 1, N)
            fraction, exponent = np.frexp(np.abs(terms).sum(axis=0))
            exponent = np.where(fraction == 0.5, exponent - 1, exponent) - 24
            scaled = np.ldexp(terms, -exponent)
            if (exponent[fraction != 0] < -149).any() or (scaled != np.rint(scaled)).any():
                return False
            total = terms.sum(axis=0)
            if graph.nodes[n].kind != "head":
                value = _exact_activation(total, graph.factor, graph.leak)
                if value is None:
                    return False
                total = value
            values[n] = total
    return True


def _exact_activation(x: np.ndarray, factor: float, leak: float) -> np.ndarray | None:
    """A(x) (N,) float64 for x of 24 bits, or None if an operation that matters would round."""
    exact = True

    def kept(value: np.ndarray) -> np.ndarray:
        nonlocal exact
        exact = exact and _short(value)
        return value

    def plus(a: np.ndarray, b: np.ndarray | float) -> np.ndarray:
        nonlocal exact
        total = a + b
        part = total - a
        exact = exact and not ((a - (total - part)) + (b - part)).any()
        return kept(total)

    t = np.abs(x)
    inner, outer = t[t <= 3], t[t > 3]
    inside = np.zeros_like(inner)
    if factor != 0:
        linear = plus(np.abs(plus(inner, -1.0)), -1.0)
        inside = kept(kept(np.array(factor)) * linear)
    if factor != 1:
        past = plus(inner, -1.0)
        e = np.where(inner <= 2, past, plus(np.where(inner <= 2, 2.0, past), -2.0))
        quartic = plus(kept(kept(e * e) ** 2), -1.0)
        smooth = kept(plus(np.array(1.0), -factor) * np.where(inner <= 2, quartic, -quartic))
        inside = plus(inside, smooth)
    value = np.ones_like(t)
    value[t <= 3] = inside
    if leak != 0 and outer.size:
        value[t > 3] = plus(kept(kept(np.array(leak)) * plus(outer, -3.0)), 1.0)
    return np.copysign(1.0, x) * value if exact else None


def _short(values: np.ndarray) -> bool:
    """Whether float32 holds all these float64 numbers."""
    return bool((values.astype(np.float32) == values).all())
