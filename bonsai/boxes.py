"""Certificates of boxes: a few boxes of network states for each machine state.

Network states are divided into cells (`bonsai.cells`), by the gaps between simulated states. One
box a cell is grown, in outward-rounded interval arithmetic in float64 with slack for float32,
until the image of every box under every legal input lies in boxes, cut where cells end. If an
output has no sure sign then, cells are made smaller.
"""

import numpy as np

from bonsai.activation import ameo
from bonsai.cells import GRID, Cells, Overfull
from bonsai.certificate import Certificate, margin
from bonsai.graph import Graph
from bonsai.machine import Machine
from bonsai.points import Plan

# Cells are cut at gaps above the first number, then until no side is longer than the second, where
# sides are scaled so that the network stretches them equally.
LEVELS = [(np.inf, np.inf), (0.4, np.inf)] + [(2.0**-n / 2, 2.0**-n) for n in range(8)]
LARGEST = 2.0**20  # bound of a box, beyond which it is taken to grow for ever
IMAGES = 32  # the most boxes mapped for one level, for each cell allowed
COARSEN = 8  # rounds after which the grid of bounds doubles, so that slow growth ends
TIGHTEN = 10  # rounds on the finest grid, once the boxes have closed
STRETCHED = 512  # states on which the stretching is measured

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
    graph: Graph,
    machine: Machine,
    machine_state: np.ndarray,
    states: np.ndarray,
    cells: int,
    rounds: int,
) -> tuple[Certificate | None, str]:
    """The coarsest cells whose boxes close with every sign right, or why none did.

    machine_state, states: (N,) and (N, S), pairs that are reached
    cells: how many there may be; rounds: of growing them, for each size of cells
    """
    if not (0 <= graph.factor <= 1 and graph.leak >= 0):
        return None, f"boxes: no proof for factor {graph.factor} and leak {graph.leak}"
    if max((len(sources) for sources in graph.incoming), default=0) > 2000:
        return None, "boxes: a neuron has more than 2000 edges"
    if not (np.abs(states) < LARGEST).all():
        return None, f"boxes: states beyond {LARGEST:.0f} are reached"
    intervals = Intervals(graph)
    scale = _scale(intervals.plan, machine, machine_state, states)
    reason = ""
    for gap, side in LEVELS:
        try:
            divided = Cells(len(machine.states), scale, cells)
            divided.divide(machine_state, states.astype(np.float64), gap, side)
            growth = _Growth(intervals, machine, divided, side)
            reason = growth.run(IMAGES * cells, rounds)
        except Overfull as e:
            return None, f"boxes: cells of {side}: {e}"
        if not reason:
            return growth.certificate()
        reason = f"boxes: cells of {side} {reason}"
    return None, reason


def _scale(
    plan: Plan, machine: Machine, machine_state: np.ndarray, states: np.ndarray
) -> np.ndarray:
    """(S,) by which boxes are measured: a box with equal sides then stretches equally in a step.

    The sides are the Perron vector of how strongly each state acts on each, on average: its root
    mean square derivative, by central differences on some of the states.
    """
    every = np.linspace(0, len(states) - 1, min(STRETCHED, len(states))).astype(np.int64)
    s, legal = states[every], machine.legal[machine_state[every]]
    n = s.shape[1]
    nth = np.arange(len(s)) % legal.sum(axis=1) + 1  # of the legal symbols, in turn
    x = machine.symbols[(legal.cumsum(axis=1) >= nth[:, None]).argmax(axis=1)]
    action = np.empty((n, n))
    for j in range(n):
        moved = np.zeros(n, np.float32)
        moved[j] = 1 / 64
        change = plan.step(s + moved, x)[0] - plan.step(s - moved, x)[0]
        action[:, j] = np.sqrt(np.mean(np.square(change.astype(np.float64) * 32), axis=0))
    side = np.ones(n)
    for _ in range(64):
        side = action @ side + 1e-3
        side /= side.max(initial=1e-3)
    # To powers of two, so that the last bits of sums do not show.
    return 2.0 ** -np.rint(np.log2(np.maximum(side, 1 / 16)))


class _Growth:
    """Boxes of cells that grow until they hold their images."""

    def __init__(self, intervals: Intervals, machine: Machine, cells: Cells, side: float) -> None:
        self.intervals, self.machine, self.cells, self.side = intervals, machine, cells, side
        self.initial = intervals.graph.initial.astype(np.float64)[None]
        self.grow(cells.root[:1], self.initial, self.initial, GRID)

    def images(
        self, leaves: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
        """The leaf (n,) and symbol (n,) of each transition, its image (n, S) twice, the margin."""
        machine, cells = self.machine, self.cells
        q = cells.machine_state[leaves]
        i, a = np.nonzero(machine.legal[q])
        low, high, bottom, top = self.intervals.step(
            cells.low[leaves[i]], cells.high[leaves[i]], machine.symbols[a]
        )
        return leaves[i], a, low, high, margin(bottom, top, machine.output[q[i], a])

    def targets(self, leaves: np.ndarray, a: np.ndarray) -> np.ndarray:
        """(n,) the roots that transitions lead to."""
        return self.cells.root[self.machine.next[self.cells.machine_state[leaves], a]]

    def run(self, images: int, rounds: int) -> str:
        """Grow; returns why it failed, or nothing. Raises Overfull after so many images."""
        mapped = 0
        changed = np.flatnonzero(self.cells.held)
        for n in range(rounds):
            if not len(changed):
                return ""
            leaves, a, low, high, least = self.images(changed)
            mapped += len(leaves)
            if not least > 0:
                return f"have an output without a sure sign after {n + 1} rounds"
            if not (np.abs([low, high]) < LARGEST).all():
                return f"do not close in {n + 1} rounds"
            changed = self.grow(self.targets(leaves, a), low, high, GRID * 2.0 ** (n // COARSEN))
            if mapped > images:
                raise Overfull(f"do not close in {n + 1} rounds")
        raise Overfull(f"do not close in {rounds} rounds")

    def grow(
        self, nodes: np.ndarray, low: np.ndarray, high: np.ndarray, grid: float
    ) -> np.ndarray:
        """Put boxes (n, S) into the cells below nodes (n,), and return the leaves that grew.

        A cell that would become too wide is cut on the way, between what was in it and what comes
        where these are apart, else in the middle.
        """
        cells, grown = self.cells, [np.zeros(0, np.int64)]
        while len(nodes):
            _, nodes, low, high = cells.pieces(nodes, low, high)
            start = np.flatnonzero(np.r_[True, nodes[1:] != nodes[:-1]])
            into = nodes[start]
            lows, highs = np.minimum.reduceat(low, start), np.maximum.reduceat(high, start)
            old_low, old_high, held = cells.low[into], cells.high[into], cells.held[into]
            less, more = lows < old_low, highs > old_high
            new_low = np.where(less, np.floor(lows / grid) * grid, old_low)
            new_high = np.where(more, np.ceil(highs / grid) * grid, old_high)
            grew = ~held | (less | more).any(axis=1)
            sides = cells.sides(new_low, new_high)
            wide = grew & (sides.max(axis=1, initial=0) > self.side)
            kept = grew & ~wide
            cells.put(into[kept], new_low[kept], new_high[kept])
            grown.append(into[kept])
            if not wide.any():
                break
            dim = sides[wide].argmax(axis=1)
            side = np.flatnonzero(wide), dim
            lower, upper = np.minimum(old_high, highs)[side], np.maximum(old_low, lows)[side]
            apart = held[wide] & (lower < upper)
            cut = np.where(apart, lower + upper, new_low[side] + new_high[side]) / 2
            again, old = np.isin(nodes, into[wide]), wide & held
            nodes = np.concatenate([nodes[again], into[old]])
            low = np.concatenate([low[again], old_low[old]])
            high = np.concatenate([high[again], old_high[old]])
            cells.split(into[wide], dim, cut)
        leaves = np.concatenate(grown)
        return np.unique(leaves[cells.held[leaves]])

    def certificate(self) -> tuple[Certificate | None, str]:
        """The boxes that have closed, made smaller for as long as they shrink."""
        cells = self.cells
        for n in range(TIGHTEN + 1):  # what maps into itself maps its own image into itself
            leaves = np.flatnonzero(cells.held)
            source, a, low, high, least = self.images(leaves)
            nodes = np.append(self.targets(source, a), cells.root[0])
            low, high = np.concatenate([low, self.initial]), np.concatenate([high, self.initial])
            origin, into, low, high = cells.pieces(nodes, low, high)
            start = np.flatnonzero(np.r_[True, into[1:] != into[:-1]])
            target = into[start]
            lows = np.floor(np.minimum.reduceat(low, start) / GRID) * GRID
            highs = np.ceil(np.maximum.reduceat(high, start) / GRID) * GRID
            lows, highs = (
                np.maximum(lows, cells.low[target]),
                np.minimum(highs, cells.high[target]),
            )
            same = (lows == cells.low[target]).all() and (highs == cells.high[target]).all()
            if n == TIGHTEN or (same and len(target) == len(leaves)):
                break
            cells.clear(leaves)
            cells.put(target, lows, highs)
        if not ((cells.low[into] <= low) & (high <= cells.high[into])).all() or not least > 0:
            return None, "boxes: do not close"
        # A few bits less, so that the last ones of float64 matrix products do not show.
        least = least if least == np.inf else np.floor(least * 2**30) / 2**30
        if not least > 0:
            return None, f"boxes: have a margin below {2.0**-30}"
        first = into[origin == len(source)]
        leaves = np.flatnonzero(cells.held)
        keys = [*cells.low[leaves].T[::-1], cells.machine_state[leaves], leaves != first]
        leaves = leaves[np.lexsort(keys)]  # the initial one first, then by machine state
        number = np.zeros(cells.count, np.int32)
        number[leaves] = np.arange(len(leaves))
        moves = origin < len(source)
        origin, into = origin[moves], into[moves]
        rows = np.column_stack([number[source[origin]], a[origin], number[into]])
        certificate = Certificate(
            kind="boxes",
            arithmetic="any float32",
            machine_state=cells.machine_state[leaves],
            low=cells.low[leaves],
            high=cells.high[leaves],
            transitions=np.unique(rows, axis=0).astype(np.int32),
            margin=float(least),
        )
        return certificate, ""
