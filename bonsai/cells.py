"""`Cells`: the network states of each machine state, cut by hyperplanes into cells with boxes.

A binary tree a machine state: an inner node is cut at a value of one state neuron, and a leaf is
a cell. A cell's box is the hull of what has been found in it. Cuts go through gaps between states
that are reached, where there are any, so that boxes do not touch.
"""

import numpy as np

GRID = 2.0**-14  # on which cuts and bounds of boxes lie, which makes the growth of boxes end
PIECES = 64  # the most that boxes are cut into at once, for each cell allowed
MIDDLE = 0.3, 0.7  # the part of a side within which it is cut where there is no gap


class Overfull(Exception):
    """There are more cells, or pieces of boxes in them, than allowed."""


class Cells:
    """dim, cut, kids: where a node is cut, and its two parts; dim is -1 at a leaf

    machine_state: (N,) int32 of each node
    held, low, high: (N,) bool and (N, S), whether anything is in a leaf, and the box that holds it
    root: (Q,) the node of all states of a machine state
    scale: (S,) what sides are multiplied by, to compare them and to measure them
    most: how many cells there may be
    """

    def __init__(self, machine_states: int, scale: np.ndarray, most: int) -> None:
        self.scale, self.most = scale, most
        self.count = 0
        self.dim, self.cut = np.zeros(0, np.int64), np.zeros(0)
        self.kids = np.zeros((0, 2), np.int64)
        self.machine_state, self.held = np.zeros(0, np.int32), np.zeros(0, bool)
        self.low = self.high = np.zeros((0, len(scale)))
        self.root = self._add(np.arange(machine_states, dtype=np.int32))

    def _add(self, machine_state: np.ndarray) -> np.ndarray:
        """New leaves without content; the arrays grow by doubling."""
        first, self.count = self.count, self.count + len(machine_state)
        if self.count > len(self.dim):
            more = self.count + 64
            empty = np.full((more, len(self.scale)), np.inf)
            self.dim = np.concatenate([self.dim, np.full(more, -1)])
            self.cut = np.concatenate([self.cut, np.zeros(more)])
            self.kids = np.concatenate([self.kids, np.zeros((more, 2), np.int64)])
            self.machine_state = np.concatenate([self.machine_state, np.zeros(more, np.int32)])
            self.held = np.concatenate([self.held, np.zeros(more, bool)])
            self.low = np.concatenate([self.low, empty])
            self.high = np.concatenate([self.high, -empty])
        self.machine_state[first : self.count] = machine_state
        return np.arange(first, self.count)

    def put(self, leaves: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        """Make these the boxes of leaves (n,)."""
        self.held[leaves], self.low[leaves], self.high[leaves] = True, low, high

    def clear(self, leaves: np.ndarray) -> None:
        self.held[leaves], self.low[leaves], self.high[leaves] = False, np.inf, -np.inf

    def split(self, leaves: np.ndarray, dim: np.ndarray, cut: np.ndarray) -> None:
        """Cut leaves (n,), of which nothing is in their parts yet."""
        if self.count > 2 * self.most + len(self.root):
            raise Overfull(f"more than {self.most}")
        parts = self._add(np.repeat(self.machine_state[leaves], 2))
        self.dim[leaves], self.cut[leaves] = dim, np.rint(cut / GRID) * GRID
        self.kids[leaves] = parts.reshape(-1, 2)
        self.clear(leaves)

    def pieces(
        self, nodes: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Boxes (n, S) below nodes (n,), cut wherever the nodes are.

        Returns for each piece the position of its box, the leaf it is in, and its bounds; pieces
        in the same leaf follow each other.
        """
        origin = np.arange(len(nodes))
        done = []
        while len(nodes):
            if len(nodes) > PIECES * self.most:
                raise Overfull(f"more than {PIECES * self.most} pieces")
            dim = self.dim[nodes]
            ready = dim < 0
            done.append((origin[ready], nodes[ready], low[ready], high[ready]))
            rest = np.flatnonzero(~ready)
            nodes, origin, low, high, dim = (v[rest] for v in (nodes, origin, low, high, dim))
            cut, side = self.cut[nodes], (np.arange(len(nodes)), dim)
            above = np.flatnonzero(high[side] > cut)
            below = np.flatnonzero((low[side] < cut) | (high[side] <= cut))
            lower, upper = low[above], high[below]
            lower[np.arange(len(above)), dim[above]] = np.maximum(low[side], cut)[above]
            upper[np.arange(len(below)), dim[below]] = np.minimum(high[side], cut)[below]
            nodes = np.concatenate([self.kids[nodes[below], 0], self.kids[nodes[above], 1]])
            origin = np.concatenate([origin[below], origin[above]])
            low, high = np.concatenate([low[below], lower]), np.concatenate([upper, high[above]])
        origin, leaves, low, high = (np.concatenate(parts) for parts in zip(*done, strict=True))
        order = np.argsort(leaves, kind="stable")
        return origin[order], leaves[order], low[order], high[order]

    def sides(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """(n, S) scaled, of boxes (n, S)."""
        return (high - low) * self.scale

    def divide(self, machine_state: np.ndarray, states: np.ndarray, gap: float, most: float):
        """Cut at the gaps above `gap` among states (N, S) that are reached, largest first, and
        then until no side is longer than `most`; the boxes are the hulls of what is left.
        """
        for q, root in enumerate(self.root):
            todo = [(root, states[machine_state == q])]
            while todo:
                leaf, own = todo.pop()
                if not len(own):
                    continue
                where = self._cut(own, gap, most)
                if where is None:
                    low, high = np.floor(own.min(axis=0) / GRID), np.ceil(own.max(axis=0) / GRID)
                    self.put(leaf, low * GRID, high * GRID)
                    continue
                self.split(np.array([leaf]), *np.array([where]).T)
                below = own[:, where[0]] <= self.cut[leaf]
                todo += zip(self.kids[leaf], (own[below], own[~below]), strict=True)

    def _cut(self, states: np.ndarray, gap: float, most: float) -> tuple[int, float] | None:
        """The dimension and the value to cut states (n, S) at."""
        sides = self.sides(states.min(axis=0), states.max(axis=0))
        if not sides.size or sides.max() <= min(gap, most):
            return None
        ordered = np.sort(states, axis=0)
        gaps = self.sides(ordered[:-1], ordered[1:])
        n, dim = divmod(int(gaps.argmax()), gaps.shape[1])
        if gaps[n, dim] <= gap:
            if sides.max() <= most:
                return None
            dim = int(sides.argmax())
            place = (ordered[:, dim] - ordered[0, dim]) / (ordered[-1, dim] - ordered[0, dim])
            middle = (place[1:] > MIDDLE[0]) & (place[:-1] < MIDDLE[1])
            n = int(np.where(middle, gaps[:, dim], -1).argmax())
        cut = float(ordered[n, dim] + ordered[n + 1, dim]) / 2
        return dim, cut
