"""State assignment: variables for an automaton whose states no levels of single nodes tell.

A network's states may tell only together what it does. Then a program's variables are levels of
those nodes that are on one side for each state of the automaton, and others that are in no node:
one integer, or bits. Bits are parts of what the outputs tell of a state after some input word,
chosen so that few of them give each next bit and each output (Hartmanis and Stearns, "Algebraic
Structure Theory of Sequential Machines", 1966).
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from bonsai.levels import Automaton, Cut, Reach
from bonsai.machine import Machine

LARGEST = 32  # states that one integer stands for
CANDIDATES = 20  # bits that sets of bits are chosen from
BITS = 4  # in such a set, at most
SETS = 2  # that are made into automata
MIXED = 3  # what a function counts that is no bit; a bit, or its inverse, counts 1


def codes(
    found: Reach, machine: Machine, member: np.ndarray, cuts: Sequence[Cut]
) -> list[Automaton]:
    """Automata with the Q states of `machine`, coded by levels as far as they tell, and by none.

    member: (K,) the state of `machine` that each entry of the certificate belongs to
    cuts: that may make levels, the best first

    What levels do not tell is in columns beyond those of the state nodes. Empty if that is more
    than one integer or a few bits can stand for.
    """
    cuts, sides = _told(found, member, cuts, len(machine.states))
    made = []
    for n in sorted({len(cuts), 0}):
        ways = [*_bits(machine, sides[:, :n]), *_numbers(sides[:, :n])]
        made += [_automaton(found, machine, member, cuts[:n], sides[:, :n], way) for way in ways]
    return made


def _told(
    found: Reach, member: np.ndarray, cuts: Sequence[Cut], count: int
) -> tuple[list[Cut], np.ndarray]:
    """Cuts that no state is on both sides of, and (Q, cuts) which states are above."""
    kept: list[Cut] = []
    sides = np.zeros((count, 0), bool)
    for column, cut in cuts:
        on = np.zeros((count, 2), bool)
        on[member, (found.certificate.low[:, column] > cut).astype(np.int64)] = True
        more = np.column_stack([sides, on[:, 1]])
        if not on.all(axis=1).any() and _classes(more) > _classes(sides):
            kept, sides = [*kept, (column, cut)], more
    for n in reversed(range(len(kept))):  # those that make what is left to tell no less
        fewer = np.delete(sides, n, axis=1)
        if _largest(fewer) == _largest(sides):
            kept, sides = kept[:n] + kept[n + 1 :], fewer
    return kept, sides


def _classes(sides: np.ndarray) -> int:
    return len(set(map(bytes, sides)))


def _largest(sides: np.ndarray) -> int:
    """How many states (Q, n) are alike at most."""
    rows = [*map(bytes, sides)]
    return max(map(rows.count, rows))


def _numbers(sides: np.ndarray) -> list[np.ndarray]:
    """(Q, 1) numbers that tell states apart that are alike, if there are few enough."""
    if not 1 < _largest(sides) <= LARGEST:
        return []
    rows = [*map(bytes, sides)]
    return [np.array([[rows[:q].count(row)] for q, row in enumerate(rows)])]


def _bits(machine: Machine, sides: np.ndarray) -> list[np.ndarray]:
    """Sets (Q, n) of as few bits as tell states apart that are alike, the simplest first."""
    needed = (_largest(sides) - 1).bit_length()
    if not needed:
        return [np.zeros((len(sides), 0), np.int64)]
    if not needed:
        return [np.zeros((len(sides), 0), np.int64)]
    if needed > BITS:
        return []
    candidates, outputs = _candidates(machine)
    ranked = []
    for chosen in combinations(range(len(candidates)), needed):
        own = np.column_stack([sides, *(candidates[n] for n in chosen)])
        if _classes(own) == len(machine.states):
            ranked.append((_mixed(machine, own, outputs), chosen))
    return [
        np.column_stack([candidates[n] for n in chosen]).astype(np.int64)
        for _, chosen in sorted(ranked)[:SETS]
    ]


def _candidates(machine: Machine) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Bits (Q,) of a state: its outputs after each symbol, and those of the states after it.

    Nearest outputs first; then the outputs themselves.
    """
    outputs = [
        machine.output[:, a, o] > 0
        for a in range(len(machine.symbols))
        for o in range(len(machine.outputs))
    ]
    found: dict[bytes, np.ndarray] = {}
    queue = list(outputs)
    for bit in queue:
        bit = bit ^ bit[0]
        if len(found) < CANDIDATES and bit.any() and bit.tobytes() not in found:
            found[bit.tobytes()] = bit
            queue += [bit[after] for after in machine.next.T]
    return [*found.values()], outputs


def _mixed(machine: Machine, bits: np.ndarray, outputs: Sequence[np.ndarray]) -> int:
    """How far next bits and outputs, after each symbol, are from being constant or a bit."""
    plain = {bytes(bit ^ bit[0]) for bit in bits.T}
    functions = [bit[after] for after in machine.next.T for bit in bits.T]
    turned = [f ^ f[0] for f in [*functions, *outputs]]
    return sum((1 if bytes(f) in plain else MIXED) for f in turned if f.any())


def _automaton(
    found: Reach,
    machine: Machine,
    member: np.ndarray,
    cuts: Sequence[Cut],
    sides: np.ndarray,
    extra: np.ndarray,
) -> Automaton:
    """extra: (Q, n) what is in columns beyond the state nodes"""
    columns = found.certificate.low.shape[1]
    level = np.zeros((len(sides), columns), np.int64)
    for (column, _), side in zip(cuts, sides.T, strict=True):
        level[:, column] += side
    beyond = [
        (columns + n, at + 0.5) for n, own in enumerate(extra.T) for at in range(int(own.max()))
    ]
    return Automaton(
        tuple(sorted([*cuts, *beyond])),
        np.column_stack([level, extra]),
        machine.next.astype(np.int64),
        machine.output.astype(np.int64),
        member,
    )
