"""Boxes keyed by levels: a certificate in which no box straddles a gap of a state node.

Where the boxes of a certificate overlap, they do not show what the states encode. The gaps in the
values on sampled words do: keyed by the machine's state and the level of each state node, boxes
are grown until every image lies in one of them. A gap that some image straddles is given up.
"""

import numpy as np

from bonsai.boxes import GRID, LARGEST, Intervals
from bonsai.certificate import Certificate, margin
from bonsai.check import CheckError, check
from bonsai.graph import Graph
from bonsai.levels import gaps, ranges
from bonsai.machine import Machine

WORDS, LENGTH = 256, 128  # sampled
WIDE = 0.1  # of a state's spread: the least gap in the samples that is tried as a cut
CUTS = 12  # of all states together
ROUNDS = 400
KEYS = 4096

Key = tuple[int, tuple[bool, ...]]


def refine(graph: Graph, machine: Machine) -> Certificate | None:
    """A certificate of boxes keyed by machine state and levels, or None if none closes."""
    values = _sampled(graph, machine)
    found = [
        (width, column, cut)
        for column, own in enumerate(values.T)
        for width, cut in gaps(ranges(np.unique(own), np.unique(own)))
        if width >= WIDE
    ]
    cuts = [(column, cut) for _, column, cut in sorted(found, reverse=True)[:CUTS]]
    intervals = Intervals(graph)
    while cuts:
        grown = _grown(intervals, machine, cuts)
        if isinstance(grown, Certificate):
            try:
                check(grown, graph, machine)
            except CheckError:
                return None
            return grown
        if grown is None:
            return None
        cuts = [cut for n, cut in enumerate(cuts) if n != grown]
    return None


def _sampled(graph: Graph, machine: Machine) -> np.ndarray:
    """(N, S) float64, states on sampled words."""
    symbols, _ = machine.sample(np.random.default_rng(0), WORDS, LENGTH)
    states = np.tile(graph.initial, (WORDS, 1))
    rows = [states]
    for t in range(LENGTH):
        states, _ = graph.step(states, machine.symbols[symbols[:, t]])
        rows.append(states)
    return np.concatenate(rows).astype(np.float64)


def _grown(
    intervals: Intervals, machine: Machine, cuts: list[tuple[int, float]]
) -> Certificate | int | None:
    """The boxes, or the last cut in the list that an image straddles, or None: no end."""
    columns = np.array([column for column, _ in cuts])
    numbers = np.array([cut for _, cut in cuts])
    initial = intervals.graph.initial.astype(np.float64)
    start: Key = (0, tuple((initial[columns] > numbers).tolist()))
    index: dict[Key, int] = {start: 0}
    keys = [start]
    low, high = [initial.copy()], [initial.copy()]
    changed = {0}
    for n in range(ROUNDS):
        if not changed:
            break
        grid = GRID * 2.0 ** (n // 32)
        legal = {k: np.flatnonzero(machine.legal[keys[k][0]]).tolist() for k in sorted(changed)}
        rows = [(k, a) for k in legal for a in legal[k]]
        k, a = (np.array(part) for part in zip(*rows, strict=True))
        box = np.array([low[i] for i in k]), np.array([high[i] for i in k])
        lows, highs, _, _ = intervals.step(*box, machine.symbols[a])
        above = lows[:, columns] > numbers
        straddled = (above != (highs[:, columns] > numbers)).any(axis=0)
        if straddled.any():
            return int(np.flatnonzero(straddled)[-1])
        lows, highs = np.floor(lows / grid) * grid, np.ceil(highs / grid) * grid
        changed = set()
        for row, (i, symbol) in enumerate(rows):
            key = int(machine.next[keys[i][0], symbol]), tuple(above[row].tolist())
            if key not in index:
                if len(keys) == KEYS:
                    return None
                index[key] = len(keys)
                keys.append(key)
                low.append(np.full_like(initial, np.inf))
                high.append(np.full_like(initial, -np.inf))
            to = index[key]
            if (lows[row] < low[to]).any() or (highs[row] > high[to]).any():
                low[to] = np.minimum(low[to], lows[row])
                high[to] = np.maximum(high[to], highs[row])
                changed.add(to)
        if not np.abs(np.concatenate([low, high])).max() < LARGEST:
            return None
    if changed:
        return None
    return _certificate(intervals, machine, keys, np.array(low), np.array(high), cuts)


def _certificate(
    intervals: Intervals,
    machine: Machine,
    keys: list[Key],
    low: np.ndarray,
    high: np.ndarray,
    cuts: list[tuple[int, float]],
) -> Certificate | None:
    q = np.array([state for state, _ in keys], np.int32)
    index = {key: n for n, key in enumerate(keys)}
    k, a = np.nonzero(machine.legal[q])
    lows, _, bottom, top = intervals.step(low[k], high[k], machine.symbols[a])
    least = margin(bottom, top, machine.output[q[k], a])
    if not least > 2.0**-30:
        return None
    successor = np.full((len(keys), len(machine.symbols)), -1, np.int32)
    for row, (i, symbol) in enumerate(zip(k.tolist(), a.tolist(), strict=True)):
        above = tuple(bool(lows[row, column] > cut) for column, cut in cuts)
        successor[i, symbol] = index[int(machine.next[q[i], symbol]), above]
    # A few bits less, so that the last ones of float64 matrix products do not show.
    least = least if least == np.inf else float(np.floor(least * 2**30) / 2**30)
    return Certificate("boxes", "any float32", q, low, high, successor, least)
