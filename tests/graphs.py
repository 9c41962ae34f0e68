"""Graphs made by hand that compute the built-in tasks, and an oracle that tries every word."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bonsai.graph import Edge, Graph, Node
from bonsai.machine import Bits, Machine

Terms = Mapping[str, float]


def build(
    inputs: str,
    states: Mapping[str, tuple[float, str]],
    neurons: Mapping[str, tuple[float, Terms]],
    heads: Mapping[str, tuple[float, Terms]],
    factor: float = 0.5,
    leak: float = 0.0,
) -> Graph:
    """states: name -> (initial, neuron that feeds it); neurons, heads: name -> (bias, weights)"""
    nodes = [Node("input", -1, i, name) for i, name in enumerate(inputs.split())]
    nodes += [Node("state", 0, i, n, initial=v) for i, (n, (v, _)) in enumerate(states.items())]
    fed = {neuron for _, neuron in states.values()}
    for i, (name, (bias, _)) in enumerate(neurons.items()):
        nodes.append(Node("recurrent" if name in fed else "output", 0, i, name, bias))
    nodes += [Node("head", -1, i, name, bias) for i, (name, (bias, _)) in enumerate(heads.items())]
    at = {node.name: i for i, node in enumerate(nodes)}
    edges = [
        Edge(at[source], at[target], weight)
        for target, (_, terms) in {**neurons, **heads}.items()
        for source, weight in terms.items()
    ]
    edges.sort(key=lambda e: (e.target, e.source))
    feedback = tuple((at[neuron], at[state]) for state, (_, neuron) in states.items())
    return Graph(tuple(nodes), tuple(edges), feedback, factor, leak)


# A(-1) = 1, A(1) = -1 and A(3) = 1 for any factor: a weight of -1 passes a bit on.
delay1 = build(
    "x", {"s": (-1, "r")}, {"r": (0, {"x": -1}), "o": (0, {"s": -1})}, {"y": (0, {"o": 1})}
)
delay2 = build(
    "x",
    {"s": (-1, "r"), "t": (-1, "q")},
    {"r": (0, {"x": -1}), "q": (0, {"s": -1}), "o": (0, {"t": -1})},
    {"y": (0, {"o": 1})},
)
loop3 = build(
    "",
    {"s": (1, "r"), "t": (-1, "q")},
    {"r": (1, {"s": 1, "t": 1}), "q": (0, {"s": -1})},
    {"y": (0, {"r": 1})},
)
# With factor 1, A(x) = -x on [-1, 1]: s walks there in steps of 1/4.
parens = build(
    "x",
    {"s": (-1, "r")},
    {"r": (0, {"s": -1, "x": 0.25})},
    {"y": (-0.875, {"r": -1})},
    factor=1,
    leak=0.1,
)
ones_triple = build(
    "x",
    {"s": (-1, "r"), "t": (-1, "q")},
    {
        "r": (-1, {"x": 2, "s": -2, "t": -2}),
        "q": (0, {"s": -1}),
        "o": (4, {"x": 1, "s": 1, "t": 1}),
    },
    {"y": (0, {"o": 1})},
)
RIGHT = {
    "delay1": delay1,
    "delay2": delay2,
    "loop3": loop3,
    "parens": parens,
    "ones_triple": ones_triple,
}

# Long division by 11, as it was grown: s holds 2 s + x, less 22 where that was 11 or more, which t
# tells.
division = build(
    "x",
    {"s": (0.65625, "r"), "t": (-1, "q")},
    {
        "o": (0, {"x": -0.5, "s": 4.5}),
        "p": (0, {"s": -7.5}),
        "r": (0, {"x": 0.03125, "s": -2, "t": -0.6875}),
        "q": (0, {"s": -12, "t": -6, "o": -7, "p": 9}),
    },
    {"y": (0, {"r": -1})},
    factor=1,
)


def divided() -> Machine:
    """Its task: the quotient, bit by bit, of a number that comes from its highest bit on."""

    def step(n: int, bits: Bits) -> tuple[int, Bits]:
        total = 2 * n + bits[0]
        return total % 11, (total >= 11,)

    return Machine.from_step(0, step, ["x"], ["y"], name="division")


# delay1 beside a state that holds an ever longer average of the input: points do not close.
average = build(
    "x",
    {"s": (-1, "r"), "m": (0, "n")},
    {"r": (0, {"x": -1}), "n": (0, {"m": 0.7, "x": -0.15}), "o": (0, {"s": -1, "m": 0.1})},
    {"y": (0, {"o": 1})},
    factor=1,
)
# The same, but the average comes to weigh more than the bit after many equal inputs.
drowned = build(
    "x",
    {"s": (-1, "r"), "m": (0, "n")},
    {"r": (0, {"x": -1}), "n": (0, {"m": -0.95, "x": 0.06}), "o": (0, {"s": -1})},
    {"y": (0, {"o": 1, "m": -1.2})},
    factor=1,
)


def moved(graph: Graph, edge: int, weight: float) -> Graph:
    """The graph with another weight on one edge; 0 cuts it."""
    edges = list(graph.edges)
    edges[edge] = replace(edges[edge], weight=weight)
    return replace(graph, edges=tuple(e for e in edges if e.weight != 0))


def biased(graph: Graph, node: int, bias: float) -> Graph:
    nodes = list(graph.nodes)
    nodes[node] = replace(nodes[node], bias=bias)
    return replace(graph, nodes=tuple(nodes))


def mutants(graph: Graph) -> list[Graph]:
    """One weight moved, one edge cut, one bias moved: every one near the graph."""
    found = [
        moved(graph, e, edge.weight * scale + shift)
        for e, edge in enumerate(graph.edges)
        for scale, shift in ((0, 0), (-1, 0), (1, 0.5), (1, -0.25), (2, 0))
    ]
    return found + [
        biased(graph, n, graph.nodes[n].bias + shift)
        for n in graph.where("output", "recurrent", "head")
        for shift in (-1, 0.25, 2)
    ]


def shortest_wrong(graph: Graph, machine: Machine, length: int) -> int | None:
    """The length of a shortest wrong word, trying every legal word up to `length`; or None."""
    q, states = np.zeros(1, np.int32), graph.initial[None]
    for steps in range(1, length + 1):
        i, a = np.nonzero(machine.legal[q])
        states, y = graph.step(states[i], machine.symbols[a])
        expected = machine.output[q[i], a]
        if not (np.where(expected != 0, y * expected, 1) > 0).all():
            return steps
        q = machine.next[q[i], a]
    return None


def lookup(machine: Machine) -> Graph:
    """A graph that looks every transition up: a neuron for each, and one for each bit it sets.

    A neuron with n weights of +3 or -3 and bias 3 - 3n is the conjunction of its sources.
    """
    width = max(1, (len(machine.states) - 1).bit_length())
    bits = [[1 if q >> b & 1 else -1 for b in range(width)] for q in range(len(machine.states))]
    sources = [*machine.inputs, *(f"s{b}" for b in range(width))]
    minterms: dict[str, tuple[float, Terms]] = {}
    setters: dict[str, list[str]] = {f"r{b}": [] for b in range(width)}
    setters |= {f"o{name}": [] for name in machine.outputs}
    for q, a, after in machine.edges():
        name = f"m{q}.{a}"
        given = [*machine.symbols[a].tolist(), *bits[q]]
        weights = {n: 3.0 * bit for n, bit in zip(sources, given, strict=True)}
        minterms[name] = 3.0 - 3.0 * len(sources), weights
        sets = [*bits[after], *machine.output[q, a].tolist()]
        for neuron, bit in zip(setters.values(), sets, strict=True):
            neuron += [name] if bit > 0 else []
    either = {n: (3.0 * len(m) - 3.0, dict.fromkeys(m, 3.0)) for n, m in setters.items()}
    return build(
        " ".join(machine.inputs),
        {f"s{b}": (bits[0][b], f"r{b}") for b in range(width)},
        {**minterms, **either},
        {name: (0, {f"o{name}": 1}) for name in machine.outputs},
    )
