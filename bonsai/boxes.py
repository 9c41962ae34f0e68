"""Certificates of boxes: one box of network states for each machine state and last h inputs.

The boxes are the least fixed point, on a grid, of outward-rounded interval arithmetic in float64
with slack for float32: the image of every box under every legal input lies in the next key's box.
"""

import numpy as np

from bonsai.activation import ameo
from bonsai.certificate import Certificate, margin
from bonsai.graph import Graph
from bonsai.machine import Machine
from bonsai.points import Plan

EDGES = 1 << 15  # the most transitions between boxes
LARGEST = 2.0**20  # bound of a box, beyond which it is taken to grow for ever
IMAGES = 1 << 19  # the most boxes mapped for one history, two seconds for a large graph
GRID = 2.0**-14  # on which the bounds of boxes lie, and which makes their growth end
COARSEN = 32  # rounds after which the grid doubles, so that slow growth ends too
TIGHTEN = 20  # rounds on the finest grid, once the boxes have closed

# A little more than `bonsai.check` asks for, so that the rounding of the check itself fits in.
UNIT = 2.0**-24  # relative error of one float32 operation
ACTIVATION = 1.25 * 2.0**-20  # error of the activation in float32, times max(1, |A|)
UNDERFLOW = 2.0**-99


class Intervals:
    """The graph on boxes, in float64, with slack for any float32 evaluation and for float64."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.plan = Plan(graph)
        self.matrices = []
        for nodes, bias, sources, weights in self.plan.layers:
            matrix = np.zeros((len(nodes), len(graph.nodes) + 1))
            for source, weight in zip(sources, weights, strict=True):
                matrix[np.arange(len(nodes)), source] += weight[:, 0]
            # n edges: at most n + 1 float32 roundings of each term. One more pays for float64.
            gamma = [[(len(graph.incoming[i]) + 2) * UNIT] for i in nodes]
            self.matrices.append((nodes, matrix, bias.astype(np.float64), np.array(gamma)))
        self.factor, self.leak = float(np.float32(graph.factor)), float(np.float32(graph.leak))

    def activation(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A rises up to -1, where it is 1, falls up to 1, where it is -1, and rises from there.

        Both p and q do, so their mixture does for f in [0, 1] and a leak of at least 0.
        """
        a, b = ameo(low, self.factor, self.leak), ameo(high, self.factor, self.leak)
        trough = np.where((low <= 1) & (high >= 1), -1.0, np.inf)
        crest = np.where((low <= -1) & (high >= -1), 1.0, -np.inf)
        least, most = np.minimum(trough, np.minimum(a, b)), np.maximum(crest, np.maximum(a, b))
        slack = ACTIVATION * np.maximum(1.0, np.maximum(np.abs(least), np.abs(most)))
        return least - slack, most + slack

    def step(
        self, low: np.ndarray, high: np.ndarray, x: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Boxes (N, S) and inputs (N, I) to the bounds of new states (N, S) and of y (N, O)."""
        plan = self.plan
        lows, highs = self.values(low, high, x)
        return lows[plan.links].T, highs[plan.links].T, lows[plan.heads].T, highs[plan.heads].T

    def values(
        self, low: np.ndarray, high: np.ndarray, x: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The bounds (nodes + 1, N) of every node for boxes (N, S) and inputs (N, I)."""
        plan = self.plan
        lows = np.zeros((len(self.graph.nodes) + 1, len(low)))
        lows[plan.inputs] = x.T
        highs = lows.copy()
        lows[plan.states], highs[plan.states] = low.T, high.T
        for nodes, matrix, bias, gamma in self.matrices:
            positive, negative = np.maximum(matrix, 0), np.minimum(matrix, 0)
            slack = np.abs(matrix) @ np.maximum(np.abs(lows), np.abs(highs)) + np.abs(bias)
            slack = gamma * slack + UNDERFLOW
            a = positive @ lows + negative @ highs + bias - slack
            b = positive @ highs + negative @ lows + bias + slack
            lows[nodes], highs[nodes] = (a, b) if nodes is plan.heads else self.activation(a, b)
        return lows, highs


def grow_boxes(
    graph: Graph, machine: Machine, history: int, rounds: int
) -> tuple[Certificate | None, str]:
    """The first history whose boxes close with every sign right, or why none did."""
    if not (0 <= graph.factor <= 1 and graph.leak >= 0):
        return None, f"boxes: no proof for factor {graph.factor} and leak {graph.leak}"
    if max((len(sources) for sources in graph.incoming), default=0) > 2000:
        return None, "boxes: a neuron has more than 2000 edges"
    intervals = Intervals(graph)
    reasons = []
    for h in range(history + 1):
        keys = _histories(machine, h)
        if keys is None:
            reasons.append(f"h={h} needs more than {EDGES} transitions")
            break
        found = _grow(intervals, machine, *keys, rounds)
        if isinstance(found, Certificate):
            return found, ""
        reasons.append(f"h={h} {found}")
    return None, "boxes: " + (", ".join(reasons) or "no history allowed")


def _histories(machine: Machine, h: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Reachable keys (machine state, last h inputs): machine states (K,), successors (K, A).

    Key 0 is the initial state with no input yet. None if there are too many.
    """
    keys: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    index = {keys[0]: 0}
    successor: list[list[int]] = []
    for q, last in keys:  # `keys` grows while it is walked
        if len(keys) * len(machine.symbols) > EDGES:
            return None
        row = []
        for a, after in enumerate(machine.next[q].tolist()):
            key = (after, (*last, a)[-h:] if h else ())
            if after >= 0 and key not in index:
                index[key] = len(keys)
                keys.append(key)
            row.append(index[key] if after >= 0 else -1)
        successor.append(row)
    return np.array([q for q, _ in keys], np.int32), np.array(successor, np.int32)


def _grow(
    intervals: Intervals, machine: Machine, q: np.ndarray, successor: np.ndarray, rounds: int
) -> Certificate | str:
    """Grow boxes from the initial state until they hold their images, or say why they do not."""
    k, a = np.nonzero(successor >= 0)
    order = np.argsort(successor[k, a], kind="stable")
    k, a = k[order], a[order]
    target = successor[k, a]
    x, y = machine.symbols[a], machine.output[q[k], a]
    initial = intervals.graph.initial.astype(np.float64)
    low, high = np.full((len(q), len(initial)), np.inf), np.full((len(q), len(initial)), -np.inf)
    low[0] = high[0] = initial
    changed = np.arange(len(q)) == 0

    def images(use: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Keys (n,) that edges `use` lead to, their images' hulls (n, S) twice, and the margin."""
        lows, highs, bottom, top = intervals.step(low[k[use]], high[k[use]], x[use])
        into = target[use]
        start = np.flatnonzero(np.r_[True, into[1:] != into[:-1]])
        hulls = np.minimum.reduceat(lows, start), np.maximum.reduceat(highs, start)
        return into[start], *hulls, margin(bottom, top, y[use])

    mapped = 0
    for n in range(rounds):
        use = np.flatnonzero(changed[k])
        if not use.size:
            break
        into, lows, highs, least = images(use)
        if not least > 0:
            return f"has an output without a sure sign after {n + 1} rounds"
        mapped += use.size
        if mapped > IMAGES or not max(-lows.min(), highs.max()) < LARGEST:
            return f"does not close in {n + 1} rounds"
        grid = GRID * 2.0 ** (n // COARSEN)
        lows = np.where(lows < low[into], np.floor(lows / grid) * grid, low[into])
        highs = np.where(highs > high[into], np.ceil(highs / grid) * grid, high[into])
        changed[:] = False
        changed[into] = ((lows < low[into]) | (highs > high[into])).any(axis=1)
        low[into], high[into] = lows, highs
    if changed.any():
        return f"does not close in {rounds} rounds"

    every = np.arange(len(k))
    for _ in range(TIGHTEN):  # what maps into itself maps its own image into itself
        into, lows, highs, _ = images(every)
        lows = np.floor(lows / GRID) * GRID
        highs = np.ceil(highs / GRID) * GRID
        lows[into == 0] = np.minimum(lows[into == 0], initial)
        highs[into == 0] = np.maximum(highs[into == 0], initial)
        lows, highs = np.maximum(lows, low[into]), np.minimum(highs, high[into])
        if (lows == low[into]).all() and (highs == high[into]).all():
            break
        low[into], high[into] = lows, highs
    into, lows, highs, least = images(every)
    if not (lows >= low[into]).all() or not (highs <= high[into]).all() or not least > 0:
        return "does not close"
    # A few bits less, so that the last ones of float64 matrix products do not show.
    least = least if least == np.inf else np.floor(least * 2**30) / 2**30
    if not least > 0:
        return f"has a margin below {2.0**-30}"
    return Certificate("boxes", "any float32", q, low, high, successor, float(least))
