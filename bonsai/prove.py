"""Prove that a graph computes its machine for every legal input sequence, or find where it fails.

`prove` looks for a certificate: entries, each a machine state with a box of network states, such
that entry 0 holds the initial pair, every legal input leads from all of an entry into one entry,
and every output checked has the right sign all over it. First a few points are tried, then boxes,
which a person can still read, then many points; if none closes, long seeded words are searched for
a counterexample. `bonsai.check` checks a certificate independently.
"""

import numpy as np

from bonsai.boxes import grow_boxes
from bonsai.certificate import Certificate, Counterexample, Undecided
from bonsai.graph import Graph
from bonsai.machine import Machine
from bonsai.points import Plan, search_points, wrong

FEW = 256  # points that are tried before boxes
WORDS, LENGTH = 768, 400  # of the search for a counterexample
SHORTEN = 4000  # steps simulated to shorten what the search found


def prove(
    graph: Graph, machine: Machine, pairs: int = 20000, history: int = 3, rounds: int = 2000
) -> Certificate | Counterexample | Undecided:
    """Decide whether `graph` has the outputs of `machine` on every legal word of every length.

    pairs: the largest certificate of points; the search for it goes a tenth as many steps deep,
    and one more for each state of the machine
    history: boxes are keyed by the machine's state and up to this many last inputs
    rounds: of growing boxes, for each history

    Deterministic. Raises ValueError if the graph has other numbers of inputs or outputs.
    """
    for kind, bits in (("input", machine.inputs), ("head", machine.outputs)):
        if len(graph.where(kind)) != len(bits):
            raise ValueError(
                f"the graph has {len(graph.where(kind))} {kind} nodes, "
                f"machine {machine.name} needs {len(bits)}"
            )
    plan = Plan(graph)
    with np.errstate(over="ignore", invalid="ignore"):
        found, _, _ = search_points(plan, machine, min(FEW, pairs))
        if found is not None:
            return found
        boxed, boxes = grow_boxes(graph, machine, history, rounds)
        if boxed is not None:
            return boxed
        found, right, points = search_points(plan, machine, pairs)
        if found is not None:
            return found
        word = _search(plan, machine)
    if word is not None:
        return Counterexample(word, shortest=len(word) == right + 1)
    return Undecided(
        f"{points}; {boxes}; every word of {right} steps is right, "
        f"and so are {_words(machine)} random ones of {LENGTH}"
    )


# ---- counterexamples from long words


def _words(machine: Machine) -> int:
    """How many random words are tried: fewer for large alphabets."""
    return max(48, min(WORDS, (1 << 17) // len(machine.symbols)))


def _search(plan: Plan, machine: Machine) -> tuple[int, ...] | None:
    """A wrong word among long random ones, shortened, or None.

    A third of the words draws from the task's own distribution, a third tilts it at random so that
    runs are long, and a third repeats one to three symbols wherever they are legal.
    """
    rng = np.random.default_rng(0)
    number, symbols = _words(machine), len(machine.symbols)
    every = np.arange(number)
    kind = every % 3
    tilt = rng.dirichlet(np.full(symbols, 0.25), number) + 1e-6
    tilt[kind == 0] = 1
    cycle = rng.integers(0, symbols, (number, 3))
    period = rng.integers(1, 4, number)
    prefix = np.where(kind == 2, rng.integers(0, 40, number), LENGTH)
    words = np.zeros((number, LENGTH), np.int64)
    q, states = np.zeros(number, np.int32), np.tile(plan.graph.initial, (number, 1))
    for t in range(LENGTH):
        share = np.cumsum(tilt * machine.probability[q], axis=1)
        a = (share > rng.random((number, 1)) * share[:, -1:]).argmax(axis=1)
        held = cycle[every, t % period]
        a = np.where((t >= prefix) & machine.legal[q, held], held, a)
        words[:, t] = a
        states, y = plan.step(states, machine.symbols[a])
        failed = wrong(y, machine.output[q, a])
        if failed.any():
            return _shortened(plan, machine, words[failed.argmax(), : t + 1])
        q = machine.next[q, a]
    return None


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
    for t, a in enumerate(words.T):
        legal = machine.legal[q, a]
        q, states, a, words = q[legal], states[legal], a[legal], words[legal]
        if not len(q):
            return None
        states, y = plan.step(states, machine.symbols[a])
        failed = wrong(y, machine.output[q, a])
        if failed.any():
            return words[failed.argmax(), : t + 1]
        q = machine.next[q, a]
    return None
