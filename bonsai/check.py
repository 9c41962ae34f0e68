"""Check a certificate: small, slow, and sharing no code with the search that found it.

It reads the fields of the graph, the machine and the certificate, and nothing else of theirs:
neither `bonsai.activation` nor `Graph.values`. If it does not raise, then the float32 network has
the right sign at every output checked, after every legal word of every length: entry 0 holds the
initial pair, and each legal input leads from all of an entry into entries.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from bonsai.certificate import Certificate
from bonsai.graph import Graph
from bonsai.machine import Machine

Interval = tuple[float, float]


class CheckError(ValueError):
    """The certificate does not hold. The message names the entry, the symbol and what is wrong."""


def check(certificate: Certificate, graph: Graph, machine: Machine) -> None:
    """Raise CheckError unless the certificate shows that the graph computes the machine."""
    _check_shape(certificate, graph, machine)
    evaluations: list[Callable[..., tuple[list[Interval], list[Interval]]]]
    evaluations = {
        ("points", "float32"): [_float32_step(graph)],
        ("points", "exact"): [_float32_step(graph), _exact_step(graph)],
        ("boxes", "any float32"): [_interval_step(graph)],
    }[certificate.kind, certificate.arithmetic]
    low, high = certificate.low.tolist(), certificate.high.tolist()
    machine_state = certificate.machine_state.tolist()
    leads: dict[tuple[int, int], list[int]] = {}
    for k, a, to in certificate.transitions.tolist():
        leads.setdefault((k, a), []).append(to)
    symbols, output = machine.symbols.tolist(), machine.output.tolist()
    after = machine.next.tolist()
    initial = [float(np.float32(n.initial)) for n in graph.nodes if n.kind == "state"]
    if machine_state[0] != 0 or not _covered([(s, s) for s in initial], [(low[0], high[0])]):
        raise CheckError("entry 0 does not hold the initial pair")
    for k, q in enumerate(machine_state):
        for a, symbol in enumerate(symbols):
            into, where = leads.get((k, a), []), f"entry {k}, symbol {a}"
            if after[q][a] < 0:
                if into:
                    raise CheckError(f"{where}: is illegal, but leads to entry {into[0]}")
                continue
            for to in into:
                if machine_state[to] != after[q][a]:
                    raise CheckError(f"{where}: entry {to} is not in state {after[q][a]}")
            for evaluate in evaluations:
                try:
                    states, y = evaluate(low[k], high[k], symbol)
                except CheckError as e:
                    raise CheckError(f"{where}: {e}") from None
                if not _covered(states, [(low[to], high[to]) for to in into]):
                    raise CheckError(f"{where}: leads outside of entries {into}")
                for (least, most), sign in zip(y, output[q][a], strict=True):
                    bound = least if sign > 0 else -most
                    if sign and not (bound > 0 and bound >= certificate.margin):
                        raise CheckError(f"{where}: output in [{least}, {most}], expected {sign}")


def _check_shape(c: Certificate, graph: Graph, machine: Machine) -> None:
    count = c.machine_state.size
    states = sum(n.kind == "state" for n in graph.nodes)
    shapes = {
        "machine_state": (count,),
        "low": (count, states),
        "high": (count, states),
        "transitions": (*c.transitions.shape[:1], 3),
    }
    for name, shape in shapes.items():
        array = getattr(c, name)
        if array.shape != shape:
            raise CheckError(f"{name} is {array.shape}, not {shape}")
        if array.dtype != (np.float64 if name in ("low", "high") else np.int32):
            raise CheckError(f"{name} is of type {array.dtype}")
    if count == 0:
        raise CheckError("the certificate has no entries: nothing is proven")
    kinds = [("points", "float32"), ("points", "exact"), ("boxes", "any float32")]
    if (c.kind, c.arithmetic) not in kinds:
        raise CheckError(f"unknown kind of certificate: {c.kind}, {c.arithmetic}")
    for k, a, to in c.transitions.tolist():
        if not (0 <= k < count and 0 <= a < len(machine.symbols) and 0 <= to < count):
            raise CheckError(f"entry {k}, symbol {a}: no such transition to entry {to}")
    for k in range(count):
        if not 0 <= c.machine_state[k] < len(machine.states):
            raise CheckError(f"entry {k}: no machine state {c.machine_state[k]}")
        if not np.isfinite([c.low[k], c.high[k]]).all() or (c.low[k] > c.high[k]).any():
            raise CheckError(f"entry {k}: not a box: {c.low[k]} to {c.high[k]}")
        with np.errstate(over="ignore"):
            point = c.low[k].astype(np.float32)
        if c.kind == "points" and not ((c.low[k] == point) & (c.high[k] == point)).all():
            raise CheckError(f"entry {k}: not a float32 point: {c.low[k]} to {c.high[k]}")
    if not np.isfinite([graph.factor, graph.leak]).all():
        raise CheckError(f"factor {graph.factor} and leak {graph.leak} are not finite")
    if not c.margin > 0:
        raise CheckError(f"a margin of {c.margin} proves nothing")
    for kind, bits in (("input", machine.inputs), ("head", machine.outputs)):
        if sum(n.kind == kind for n in graph.nodes) != len(bits):
            raise CheckError(f"the graph has not the {len(bits)} {kind} nodes of the machine")


def _covered(image: Sequence[Interval], boxes: Sequence[tuple[list[float], list[float]]]) -> bool:
    """Whether these boxes, of low and high bounds, hold all of `image` together.

    What sticks out of the first box that meets the image is cut off, side by side, and has to lie
    in the boxes after it.
    """
    for n, (low, high) in enumerate(boxes):
        if not all(s <= b and a <= t for a, (s, t), b in zip(low, image, high, strict=True)):
            continue
        rest = list(image)
        for d, (a, b) in enumerate(zip(low, high, strict=True)):
            s, t = rest[d]
            for out in ((s, a), (b, t)):
                if out[0] < out[1] and not _covered(
                    [*rest[:d], out, *rest[d + 1 :]], boxes[n + 1 :]
                ):
                    return False
            rest[d] = (max(s, a), min(t, b))
        return True
    return False


def _walk(
    graph: Graph, leaf: Callable[[float, float], Any], total: Callable, activation: Callable
) -> Callable[..., tuple[list[Interval], list[Interval]]]:
    """A step of the network, whose numbers are what `leaf(low, high)` makes."""
    incoming: list[list[tuple[float, int]]] = [[] for _ in graph.nodes]
    for edge in graph.edges:  # sorted by target and source: the order of evaluation
        incoming[edge.target].append((edge.weight, edge.source))
    feeds = {state: neuron for neuron, state in graph.feedback}

    def interval(value: Any) -> Interval:
        return value if isinstance(value, tuple) else (value, value)

    def step(low: list[float], high: list[float], symbol: list[int]) -> tuple:
        values: list[Any] = []
        inputs, states = iter(symbol), iter(zip(low, high, strict=True))
        for node, edges in zip(graph.nodes, incoming, strict=True):
            if node.kind == "input":
                bit = float(next(inputs))
                values.append(leaf(bit, bit))
            elif node.kind == "state":
                values.append(leaf(*next(states)))
            else:
                x = total(node.bias, [(weight, values[source]) for weight, source in edges])
                values.append(x if node.kind == "head" else activation(x))
        heads = [interval(values[i]) for i, n in enumerate(graph.nodes) if n.kind == "head"]
        fed = [feeds[i] for i, n in enumerate(graph.nodes) if n.kind == "state"]
        return [interval(values[i]) for i in fed], heads

    return step


# ---- points: float32 in the order of `bonsai.graph` and `bonsai.activation`, and fractions


def _float32_step(graph: Graph) -> Callable:
    f, leak = np.float32(graph.factor), np.float32(graph.leak)

    def total(bias: float, terms: list[tuple[float, np.float32]]) -> np.float32:
        result = np.float32(bias)
        with np.errstate(over="ignore", invalid="ignore"):
            for weight, value in terms:
                result = result + np.float32(weight) * value
        return result

    @cache
    def activation(x: np.float32) -> np.float32:
        with np.errstate(over="ignore", invalid="ignore"):
            return _activation(x, f, leak, lambda value: value)

    return _walk(graph, lambda low, _: np.float32(low), total, activation)


def _exact_step(graph: Graph) -> Callable:
    f, leak = Fraction(graph.factor), Fraction(graph.leak)

    def total(bias: float, terms: list[tuple[float, Fraction]]) -> Fraction:
        parts = [_short(Fraction(bias)), *(_short(Fraction(w)) * value for w, value in terms)]
        parts = [p for p in parts if p]
        if not parts:
            return Fraction(0)
        # All are multiples of this power of two; 24 bits hold any partial sum, in any order.
        unit = min(Fraction(p.numerator & -p.numerator, p.denominator) for p in parts)
        if sum(abs(p) for p in parts) > 2**24 * unit or unit < Fraction(1, 2**149):
            raise CheckError("a sum is not exact in float32")
        return sum(parts, Fraction(0))

    @cache
    def activation(x: Fraction) -> Fraction:
        return _activation(x, f, leak, _short)

    return _walk(graph, lambda low, _: Fraction(low), total, activation)


def _activation(x: Any, f: Any, leak: Any, keep: Callable[[Any], Any]) -> Any:
    """A(x) in the type of x and the order of operations of the deployed network.

    `keep` sees every result on the way; terms that are 0 times something are left out.
    """
    t = abs(x)
    if t > 3:
        value = 1 + 0 * x if leak == 0 else keep(1 + keep(keep(leak) * keep(t - 3)))
    else:
        linear = smooth = 0 * x
        if f != 0:
            linear = keep(keep(f) * keep(abs(keep(t - 1)) - 1))
        if f != 1:
            e = keep(t - 1) if t <= 2 else keep(keep(t - 1) - 2)
            quartic = keep(keep(keep(e * e) * keep(e * e)) - 1)
            smooth = keep(keep(1 - f) * (quartic if t <= 2 else -quartic))
        value = keep(linear + smooth)
    return value if x >= 0 else -value


def _short(value: Fraction) -> Fraction:
    """`value`, which float32 must hold."""
    try:
        if Fraction(float(np.float32(float(value)))) == value:
            return value
    except (OverflowError, ValueError):
        pass
    raise CheckError(f"{value} is not exact in float32")


# ---- boxes: intervals in float64, rounded outward, with slack for float32


def _interval_step(graph: Graph) -> Callable:
    f, leak = float(np.float32(graph.factor)), float(np.float32(graph.leak))
    if not (0 <= f <= 1 and leak >= 0):
        raise CheckError(f"boxes need a factor in [0, 1] and a leak >= 0, not {f} and {leak}")

    def up(value: float) -> float:
        return math.nextafter(value, math.inf)

    def down(value: float) -> float:
        return math.nextafter(value, -math.inf)

    def total(bias: float, terms: list[tuple[float, Interval]]) -> Interval:
        low = high = float(np.float32(bias))
        size = abs(low)  # at least the sum of the sizes of all terms
        for weight, (a, b) in terms:
            w = float(np.float32(weight))
            least, most = min(w * a, w * b), max(w * a, w * b)
            low, high = down(low + down(least)), up(high + up(most))
            size = up(size + up(abs(w) * max(abs(a), abs(b))))
        # Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1: any order
        # of n additions and n products errs by at most gamma * size, plus underflow
        # (at most 2^-126 each, where it is flushed to zero).
        roundings = (len(terms) + 1) * 2.0**-24
        slack = up(up(up(roundings / (1 - roundings)) * size) + 2.0**-100)
        if not (roundings < 0.5 and size < 2.0**120):
            raise CheckError("a sum may overflow in float32")
        return down(low - slack), up(high + slack)

    def exact(x: float) -> float:
        """A(x) by its definition; the error in float64 is far below the slack below."""
        u = x / 2 - 0.5
        if x <= -3 or x >= 3:
            return math.copysign(1 + leak * (abs(x) - 3), x)
        p = x + 2 if x <= -1 else -x if x <= 1 else x - 2
        if u <= -1.5:
            r = 8 * (u + 2) ** 4
        elif u <= -0.5:
            r = 1 - 8 * (u + 1) ** 4
        else:
            r = 8 * u**4 if u <= 0.5 else 1 - 8 * (u - 1) ** 4
        return f * p + (1 - f) * (2 * r - 1)

    def activation(x: Interval) -> Interval:
        # A rises up to -1, where it is 1, falls up to 1, where it is -1, and rises from there.
        # Evaluated in float32 it errs by at most 2^-21 up to 3 (e: 2^-25, e^4: 7 * 2^-25, minus 1:
        # 2^-25 more, the mixture: 2^-23 more) and relatively by 3 * 2^-24 beyond.
        ends = [exact(x[0]), exact(x[1])]
        ends += [-turn for turn in (-1.0, 1.0) if x[0] <= turn <= x[1]]
        most = max(1.0, *(abs(end) for end in ends))
        if not most < 2.0**120:
            raise CheckError("the activation may overflow in float32")
        slack = 2.0**-20 * most
        return down(min(ends) - slack), up(max(ends) + slack)

    return _walk(graph, lambda low, high: (low, high), total, activation)
