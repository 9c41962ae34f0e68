"""Saturated states: recurrent neurons solved for anew, so that states are exactly -1 or +1.

A trained network whose states are bits keeps them near -1 and +1, not on them, and where it is
large, intervals around them grow faster than the prover can bound. But without a leak the
activation is level beyond -3 and 3. A neuron that ends there gives the same number whatever came
in, to the bit, and a network all of whose states do is a finite automaton that a search can walk.

So the network is walked with its states rounded to bits, in step with the machine; that comes to
an end. What each recurrent neuron reads there, and the bit that it makes of it, is a linear
program: the smallest weights with which it ends beyond 3 on the right side, every time. Heads
that have the wrong sign anywhere are solved for in the same way. Neurons between are as they were.

Sources: Giles et al., "Learning and extracting finite state automata with second-order recurrent
neural networks", 1992 (the walk); Chen, Donoho and Saunders, "Atomic decomposition by basis
pursuit", 1998 (few weights by the least sum of their sizes).
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linprog

from bonsai.activation import ameo
from bonsai.graph import NEURONS, Edge, Graph
from bonsai.machine import Machine
from bonsai.prune import eliminate_dead_code

LEVEL = 3.0  # beyond which the activation is level, if it has no leak
SPARE = 0.25  # by which sums are beyond it, and heads from 0
ROUGH = 0.125  # what is left of that after rounding
GRIDS = 2.0 ** -np.arange(0, 11)  # that weights are put on, the coarsest that does
PAIRS = 4096  # of a machine's state and the network's bits
ROWS = 1 << 16  # transitions of these


@dataclass(frozen=True, eq=False)
class Walk:
    """values: (nodes, N) float64 in each transition, recurrent neurons as bits; wanted: (O, N) the
    outputs of the machine, 0 where they are not checked
    """

    values: np.ndarray
    wanted: np.ndarray


def saturated(graph: Graph, machine: Machine) -> Graph | None:
    """The graph without a leak whose states are exactly -1 and +1; None if there is none.

    Its hidden neurons and what they read are those of `graph`. It has the machine's outputs
    wherever the walk came, which is all there is; `bonsai.prove` has the last word.
    """
    level = replace(graph, leak=0.0)
    walk = walked(level, machine)
    if walk is None:
        return None
    recurrent = {r for r, _ in graph.feedback}
    solved: dict[int, tuple[float, dict[int, float]]] = {}
    for node in sorted(recurrent):
        found = _separated(level, node, walk.values, walk.values[node], LEVEL + SPARE)
        if found is None:
            return None
        solved[node] = found
    for o, node in enumerate(graph.where("head")):
        y = sum(w * walk.values[s] for s, w in graph.incoming[node]) + graph.nodes[node].bias
        if ((walk.wanted[o] != 0) & (y * walk.wanted[o] < ROUGH)).any():
            found = _separated(level, node, walk.values, walk.wanted[o], SPARE)
            if found is None:
                return None
            solved[node] = found
    nodes = list(graph.nodes)
    for node, (bias, _) in solved.items():
        nodes[node] = replace(nodes[node], bias=bias)
    for node in graph.where("state"):
        nodes[node] = replace(nodes[node], initial=1.0 if nodes[node].initial >= 0 else -1.0)
    edges = [e for e in graph.edges if e.target not in solved]
    edges += [Edge(s, node, w) for node, (_, own) in solved.items() for s, w in own.items()]
    edges.sort(key=lambda e: (e.target, e.source))
    return eliminate_dead_code(replace(level, nodes=tuple(nodes), edges=tuple(edges)))


def walked(graph: Graph, machine: Machine) -> Walk | None:
    """Every transition that the graph with bits for states and the machine can make together.

    None if these are very many.
    """
    states, link = graph.where("state"), {s: r for r, s in graph.feedback}
    fed = [link[s] for s in states]
    start = np.where(graph.initial >= 0, 1.0, -1.0)
    seen = {(0, start.tobytes())}
    frontier = np.zeros(1, np.int32), start[None]
    values: list[np.ndarray] = []
    wanted: list[np.ndarray] = []
    rows = 0
    while len(frontier[0]):
        q, bits = frontier
        i, a = np.nonzero(machine.legal[q])
        rows += len(i)
        if rows > ROWS:
            return None
        values.append(_values(graph, bits[i], machine.symbols[a], set(fed)))
        wanted.append(machine.output[q[i], a].T)
        after, below = machine.next[q[i], a], values[-1][fed].T
        new = []
        for row, key in enumerate(zip(after.tolist(), map(bytes, below), strict=True)):
            if key not in seen:
                seen.add(key)
                new.append(row)
        if len(seen) > PAIRS:
            return None
        frontier = after[new], below[new]
    return Walk(np.concatenate(values, axis=1), np.concatenate(wanted, axis=1))


def _values(graph: Graph, states: np.ndarray, x: np.ndarray, bits: set[int]) -> np.ndarray:
    """(nodes, N) float64 for states (N, S) and inputs (N, I); those of `bits` are -1 or +1."""
    values = np.zeros((len(graph.nodes), len(states)))
    values[graph.where("input")], values[graph.where("state")] = x.T, states.T
    for i, node in enumerate(graph.nodes):
        if node.kind not in NEURONS:
            continue
        total = np.full(len(states), float(node.bias))
        for source, weight in graph.incoming[i]:
            total += weight * values[source]
        value = ameo(total, graph.factor, graph.leak)
        values[i] = np.where(value >= 0, 1.0, -1.0) if i in bits else value
    return values


def _separated(
    graph: Graph, node: int, values: np.ndarray, side: np.ndarray, by: float
) -> tuple[float, dict[int, float]] | None:
    """Bias and weights of a neuron whose sum has the sign of `side` (N,), and is at least `by`.

    It reads what it read before, if that is enough, and else whatever may be read there.
    """
    cared = np.flatnonzero(side)
    own = [source for source, _ in graph.incoming[node]]
    every = [n for n in graph.where("input", "state", "output") if n < node]
    for sources in (own, every):
        table = np.column_stack([np.ones(len(cared)), *values[sources][:, cared]])
        rows = np.unique(side[cared, None] * table, axis=0)
        found = _least(rows, by)
        if found is not None:
            bias, *weights = found.tolist()
            return bias, {s: w for s, w in zip(sources, weights, strict=True) if w}
    return None


def _least(rows: np.ndarray, by: float) -> np.ndarray | None:
    """(K,) numbers w of the least sum of sizes with rows (N, K) times w at least `by`, rounded to
    the coarsest grid that leaves enough of it; None if there are none.
    """
    count = rows.shape[1]
    found = linprog(
        np.ones(2 * count), A_ub=-np.hstack([rows, -rows]), b_ub=np.full(len(rows), -by)
    )
    if not found.success:
        return None
    exact = found.x[:count] - found.x[count:]
    for grid in GRIDS:
        rounded = np.round(exact / grid) * grid
        if (rows @ rounded >= by - SPARE + ROUGH).all():
            return np.asarray(rounded)
    return None
