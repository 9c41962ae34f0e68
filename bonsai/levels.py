"""Levels: the few values, or ranges of values, that a node takes on a certificate.

A cut is a number inside a gap of a node's reachable values; the ranges between cuts are its
levels. `abstractions` finds sets of cuts of the state nodes that carry the whole behaviour: with
the same levels and the same input, all entries of the certificate give the same outputs and lead
to the same levels. What is left then is a finite automaton whose states are levels (`Automaton`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from bonsai.boxes import Intervals
from bonsai.certificate import Certificate
from bonsai.graph import Graph
from bonsai.machine import Machine

FINEST = 96  # cuts of all states together that are tried at most
FEW = 0.25  # of a node's spread: the least gap that makes two levels of a node beside the states

Cut = tuple[int, float]  # column of a state, and a number in one of its gaps
Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Reach:
    """What every node may be, in every entry of a certificate and for every legal symbol.

    entry, symbol: (N,); low, high: (nodes, N), equal where the certificate holds points
    row: (M,) for each transition of the certificate, which of these entries and symbols it leaves
    """

    graph: Graph
    machine: Machine
    certificate: Certificate
    entry: np.ndarray
    symbol: np.ndarray
    low: np.ndarray
    high: np.ndarray
    row: np.ndarray

    @cached_property
    def states(self) -> list[list[Range]]:
        """The disjoint ranges of each state, over the entries."""
        c = self.certificate
        return [ranges(low, high) for low, high in zip(c.low.T, c.high.T, strict=True)]

    @cached_property
    def gaps(self) -> list[tuple[float, int, float]]:
        """(width as a share of the spread, column, middle) of every gap of a state."""
        return [(width, n, cut) for n, own in enumerate(self.states) for width, cut in gaps(own)]


def reach(graph: Graph, machine: Machine, certificate: Certificate) -> Reach:
    """Every node's bounds: exact float32 values of points, outward-rounded bounds of boxes."""
    left, row = np.unique(certificate.transitions[:, :2], axis=0, return_inverse=True)
    k, a = left.T.astype(np.int64)
    x = machine.symbols[a]
    if certificate.kind == "points":
        low = np.array(graph.values(certificate.low[k].astype(np.float32), x), np.float64)
        high = low
    else:
        low, high = Intervals(graph).values(certificate.low[k], certificate.high[k], x)
        low, high = low[:-1], high[:-1]
    return Reach(graph, machine, certificate, k, a, low, high, row.reshape(-1))


def ranges(low: np.ndarray, high: np.ndarray) -> list[Range]:
    """The disjoint ranges that intervals (N,) make, overlapping ones joined, ascending.

    >>> ranges(np.array([0.0, 3.0, 1.0]), np.array([2.0, 4.0, 2.5]))
    [(0.0, 2.5), (3.0, 4.0)]
    """
    order = np.argsort(low, kind="stable")
    low, top = low[order], np.maximum.accumulate(high[order])
    first = np.flatnonzero(np.r_[True, low[1:] > top[:-1]])
    last = np.r_[first[1:] - 1, len(low) - 1]
    return [(float(low[i]), float(top[j])) for i, j in zip(first, last, strict=True)]


def divided(parts: Sequence[Range], cuts: Sequence[float]) -> list[Range]:
    """The levels that these cuts make of disjoint ranges: their hulls between the cuts."""
    level = np.searchsorted(sorted(cuts), [low for low, _ in parts])
    found = []
    for n in range(len(cuts) + 1):
        own = [part for part, at in zip(parts, level, strict=True) if at == n]
        if own:
            found.append((own[0][0], own[-1][1]))
    return found


def gaps(parts: Sequence[Range]) -> list[tuple[float, float]]:
    """(width as a share of the spread, middle) of the gaps between disjoint ranges."""
    spread = parts[-1][1] - parts[0][0]
    return [((b[0] - a[1]) / spread, (a[1] + b[0]) / 2) for a, b in pairwise(parts)]


def apparent(parts: Sequence[Range]) -> list[float]:
    """Cuts at the gaps that stand out: at least half as wide as the widest, and not slight."""
    found = gaps(parts)
    widest = max((width for width, _ in found), default=0.0)
    if widest < FEW:  # a ladder has many rungs, all alike
        alike = [middle for width, middle in found if width >= 0.75 * widest]
        return alike if widest * len(alike) >= 2 * FEW else []
    return [middle for width, middle in found if width >= widest / 2]


@dataclass(frozen=True, eq=False)
class Automaton:
    """The network as a finite automaton of C states, which are levels of its state nodes.

    cuts: what tells the levels apart, ascending by (column, number)
    level: (C, S) the level of each state node; state 0 is the initial one
    successor: (C, A), -1 where no entry allows the symbol
    output: (C, A, O): -1, +1, or 0 where it is not checked
    member: (K,) the state that each entry of the certificate belongs to
    """

    cuts: tuple[Cut, ...]
    level: np.ndarray
    successor: np.ndarray
    output: np.ndarray
    member: np.ndarray


def automaton(found: Reach, cuts: Sequence[Cut]) -> Automaton | None:
    """The automaton of these cuts, or None if the levels do not carry the behaviour."""
    c, machine = found.certificate, found.machine
    level = np.zeros(c.low.shape, np.int64)
    for column, cut in cuts:
        level[:, column] += c.low[:, column] > cut
    vectors, first, member = np.unique(level, axis=0, return_index=True, return_inverse=True)
    member = member.reshape(-1)
    order = np.argsort(first, kind="stable")  # entry 0 is in state 0
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    vectors, member = vectors[order], number[member]
    k, a = found.entry, found.symbol
    key = member[k] * len(machine.symbols) + a
    size = len(vectors) * len(machine.symbols)
    leaves, target = key[found.row], member[c.transitions[:, 2]]
    after = np.full(size, -1, np.int64)
    after[leaves] = target
    if (after[leaves] != target).any():
        return None
    y = machine.output[c.machine_state[k], a].astype(np.int64)
    least, most = (np.zeros((size, y.shape[1]), np.int64) for _ in range(2))
    np.minimum.at(least, key, y)
    np.maximum.at(most, key, y)
    if ((least < 0) & (most > 0)).any():
        return None
    shape = len(vectors), len(machine.symbols)
    return Automaton(
        tuple(sorted(cuts)),
        vectors,
        after.reshape(shape),
        (least + most).reshape(*shape, -1),
        member,
    )


def abstractions(found: Reach) -> list[Automaton]:
    """Automata of as few cuts as will do, by several orders of leaving cuts out.

    Empty if none of the widest gaps do: then boxes overlap that should not, or points lie dense.
    """
    every = sorted(found.gaps, reverse=True)
    start: tuple[Cut, ...] | None = None
    for n in range(min(len(every), FINEST) + 1):
        alike = 0 < n < len(every) and every[n][0] == every[n - 1][0]  # gaps as wide stay together
        cuts = tuple((column, cut) for _, column, cut in every[:n])
        if not alike and automaton(found, cuts):
            start = cuts
            break
    if start is None:
        return []
    columns = sorted({column for column, _ in start})
    widest = {cut: -width for width, column, x in every for cut in [(column, x)]}
    orders = [columns, columns[::-1]]
    orders += [[c, *(d for d in columns if d != c)] for c in columns]
    orders += [[*(d for d in columns if d != c), c] for c in columns]
    results: dict[tuple[Cut, ...], Automaton] = {}
    for order in orders:
        cuts = start
        for column in order:  # a whole state first, then its narrow gaps
            own = sorted((c for c in cuts if c[0] == column), key=lambda c: widest[c])[::-1]
            for gone in [own, *([cut] for cut in own)]:
                fewer = tuple(c for c in cuts if c not in gone)
                if automaton(found, fewer):
                    cuts = fewer
        best = automaton(found, cuts)
        assert best is not None
        results.setdefault(best.cuts, best)
    full = automaton(found, start)
    assert full is not None
    results.setdefault(full.cuts, full)
    return list(results.values())


def levels(found: Reach, chosen: Automaton | None) -> list[list[Range]]:
    """Each node's levels: of a state by the automaton's cuts, of a neuron by the state it feeds.

    Where there are none, by the gaps that stand out; of a head by its sign.
    """
    graph = found.graph
    at = {node: column for column, node in enumerate(graph.where("state"))}
    cut: dict[int, list[float]] = {}
    for column, number in chosen.cuts if chosen else ():
        cut.setdefault(column, []).append(number)
    fed: dict[int, list[float]] = {}
    for r, s in graph.feedback:
        if at[s] in cut:
            fed.setdefault(r, cut[at[s]])
    result = []
    for i, node in enumerate(graph.nodes):
        if node.kind == "state":
            parts = found.states[at[i]]
            result.append(divided(parts, cut.get(at[i]) or apparent(parts)))
            continue
        parts = ranges(found.low[i], found.high[i])
        if node.kind == "head" and all(low > 0 or high < 0 for low, high in parts):
            result.append(divided(parts, [0.0]))
        else:
            result.append(divided(parts, fed.get(i) or apparent(parts)))
    return result
