"""Prove that a graph computes its machine for every legal input sequence, or find where it fails.

`prove` looks for a certificate: entries, each a machine state with a box of network states, such
that entry 0 holds the initial pair, every legal input leads from all of an entry into entries, and
every output checked has the right sign all over them. First a few points are tried; then words are
simulated, in which most wrong graphs fail, and a few boxes grown around what was met; then many
long words and many boxes, and at last many points. `bonsai.check` checks a certificate
independently.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bonsai.boxes import grow_boxes
from bonsai.certificate import Certificate, Counterexample, Undecided
from bonsai.graph import Graph
from bonsai.machine import Machine
from bonsai.points import Plan, search_points, wrong

FEW = 256  # points and boxes that are tried first
SHORT, LONG = (192, 64), (768, 400)  # words simulated, and their length
NEAR = 256  # simulated states are taken to be equal on a grid of one part in so many
SHORTEN = 4000  # steps simulated to shorten what the search found


class FitError(ValueError):
    """A graph and a machine are of different tasks. The message says how they differ."""


def prove(
    graph: Graph,
    machine: Machine,
    pairs: int = 20000,
    cells: int = 4000,
    rounds: int = 300,
    quick: bool = False,
) -> Certificate | Counterexample | Undecided:
    """Decide whether `graph` has the outputs of `machine` on every legal word of every length.

    pairs: the largest certificate of points; the search for it goes a tenth as many steps deep,
    and one more for each state of the machine
    cells: the largest certificate of boxes
    rounds: of growing boxes, for each size of cells
    quick: whether to give up after a few points and cells, which nearly all small proofs need

    Deterministic. Raises FitError if the graph has other numbers of inputs or outputs.
    """
    for kind, bits in (("input", machine.inputs), ("head", machine.outputs)):
        if len(graph.where(kind)) != len(bits):
            raise FitError(
                f"the graph has {len(graph.where(kind))} {kind} nodes, "
                f"machine {machine.name} needs {len(bits)}: they are of different tasks"
            )
    plan = Plan(graph)
    with np.errstate(over="ignore", invalid="ignore"):
        found, right, points = search_points(plan, machine, min(FEW, pairs))
        if found is not None:
            return found
        attempts = (min(FEW, cells), SHORT), (cells, LONG)
        for most, (number, length) in attempts[: 1 if quick else 2]:
            word, machine_state, states = simulate(plan, machine, number, length)
            if word is not None:
                short = _shortened(plan, machine, word)
                return Counterexample(short, shortest=len(short) == right + 1)
            boxed, boxes = grow_boxes(graph, machine, machine_state, states, most, rounds)
            if boxed is not None:
                return boxed
        if pairs > FEW and not quick:
            found, right, points = search_points(plan, machine, pairs)
            if found is not None:
                return found
    tried = words(machine, *(SHORT if quick else LONG)).symbols
    return Undecided(
        f"{points}; {boxes}; every word of {right} steps is right, "
        f"and so are {tried.shape[1]} random ones of {len(tried)}"
    )


def refute(graph: Graph, machine: Machine, words_right: bool = False) -> Counterexample | None:
    """A word that the graph gets wrong, if a few pairs or words tell; None proves nothing.

    words_right: it is known to get all `words` of SHORT right
    """
    plan = Plan(graph)
    with np.errstate(over="ignore", invalid="ignore"):
        found = search_points(plan, machine, FEW)[0]
        if found is None and not words_right:
            word = simulate(plan, machine, *SHORT)[0]
            if word is not None:
                return Counterexample(_shortened(plan, machine, word), shortest=False)
    return found if isinstance(found, Counterexample) else None


# ---- simulated words


@dataclass(frozen=True, eq=False)
class Words:
    """Legal words (T, N): symbols, the machine's states before them, and at the end (T + 1, N)."""

    symbols: np.ndarray
    machine_state: np.ndarray


@lru_cache(maxsize=8)
def words(machine: Machine, number: int, length: int) -> Words:
    """Random words: a third of the task's own distribution, a third of it tilted at random so that
    runs are long, and a third that repeats one to three symbols wherever they are legal.

    There are fewer, but at least 48, for large alphabets.
    """
    rng = np.random.default_rng(0)
    symbols = len(machine.symbols)
    number = max(48, min(number, (1 << 17) // symbols))
    every = np.arange(number)
    kind = every % 3
    tilt = rng.dirichlet(np.full(symbols, 0.25), number) + 1e-6
    tilt[kind == 0] = 1
    cycle = rng.integers(0, symbols, (number, 3))
    period = rng.integers(1, 4, number)
    prefix = np.where(kind == 2, rng.integers(0, 40, number), length)
    word = np.zeros((length, number), np.int64)
    q = np.zeros((length + 1, number), np.int32)
    for t in range(length):
        share = np.cumsum(tilt * machine.probability[q[t]], axis=1)
        a = (share > rng.random((number, 1)) * share[:, -1:]).argmax(axis=1)
        held = cycle[every, t % period]
        a = np.where((t >= prefix) & machine.legal[q[t], held], held, a)
        word[t], q[t + 1] = a, machine.next[q[t], a]
    return Words(word, q)


def simulate(
    plan: Plan, machine: Machine, number: int, length: int
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """A word (T,) of `words` that is wrong at its end, if any is, and the pairs that were met.

    Pairs are machine states (M,) and network states (M, S); nearly equal ones appear once.
    """
    tried = words(machine, number, length)
    states = np.tile(plan.graph.initial, (tried.symbols.shape[1], 1))
    met = [states]
    for t, (a, q) in enumerate(zip(tried.symbols, tried.machine_state[:-1], strict=True)):
        states, y = plan.step(states, machine.symbols[a])
        met.append(states)
        failed = wrong(y, machine.output[q, a])
        if failed.any():
            return tried.symbols[: t + 1, failed.argmax()], q[:0], states[:0]
    machine_state, states = tried.machine_state.reshape(-1), np.concatenate(met)
    near = np.rint(np.clip(states, -1e3, 1e3) * NEAR).astype(np.int64)
    mixed = np.random.default_rng(0).integers(1 << 62, size=near.shape[1]) | 1
    key = (near * mixed).sum(axis=1) * len(machine.states) + machine_state
    first = np.sort(np.unique(key, return_index=True)[1])
    return None, machine_state[first], states[first]


def _shortened(plan: Plan, machine: Machine, word: np.ndarray) -> tuple[int, ...]:
    """Cut stretches out of a wrong word (T,) for as long as it stays legal and wrong."""
    spent, size = 0, len(word) // 2
    while size and spent < SHORTEN:
        starts = np.arange(len(word) - size + 1)[:, None]
        places = np.arange(len(word) - size)
        words = word[places + size * (places >= starts)]  # (N, T - size): every cut of this size
        found = _first_wrong(plan, machine, words)
        spent += words.shape[1] if found is None else len(found)
        word = word if found is None else found
        size = size // 2 if found is None else min(size, len(word) // 2)
    return tuple(int(a) for a in word)


def _first_wrong(plan: Plan, machine: Machine, words: np.ndarray) -> np.ndarray | None:
    """Of words (N, T) that one wrong first, up to there; None if all legal ones are right."""
    q, states = np.zeros(len(words), np.int32), np.tile(plan.graph.initial, (len(words), 1))
    for t in range(words.shape[1]):
        legal = machine.legal[q, words[:, t]]
        q, states, words = q[legal], states[legal], words[legal]
        if not len(q):
            return None
        a = words[:, t]
        states, y = plan.step(states, machine.symbols[a])
        failed = wrong(y, machine.output[q, a])
        if failed.any():
            return words[failed.argmax(), : t + 1]
        q = machine.next[q, a]
    return None
