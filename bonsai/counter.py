"""A counter: a machine's state as a number that a linear rule takes from step to step.

The states of some machines can be numbered so that with every step, of inputs x and outputs y,

    n' = r n + w.x + v.y + b

`dithering` adds its input and takes 15 away with each output of 1; the remainder of a long
division is doubled, gets a bit, and loses the divisor with each 1 of the quotient. In bits that
takes many neurons, but one can count, for A is a straight line on [-1, 1]. What it can hold is the
number before the outputs are taken into account,

    level = r n + w.x + b = n' - v.y,    for    level' = r (level + v.y) + w.x' + b

is linear in what the neuron and those of the outputs were, and in the inputs.
"""

from dataclasses import dataclass

import numpy as np

from bonsai.machine import Machine

RATES = (1.0, 2.0, 0.5, -1.0)  # r
NEARLY = 1e-6  # zero, of the linear algebra
MOST = 100  # states, whose levels are at least 1/64 apart
LARGEST = 1 << 24  # entries of the system of equations


@dataclass(frozen=True, eq=False)
class Counter:
    """The level, scaled into (-1, 1), is level[q] + y.slope after a step into q with outputs y.

    level: (Q,) and slope: (O,) float64, multiples of half the step; step: a power of two, between
    neighbouring numbers; rate: r; before: (O,) int8, outputs that may have come before the initial
    state
    """

    level: np.ndarray
    slope: np.ndarray
    step: float
    rate: float
    before: np.ndarray


def counter(machine: Machine) -> Counter | None:
    """That of the machine, if it has just one, which gives each state a number of its own.

    None if an output is a don't-care anywhere, or if there are more than a hundred states, or very
    many transitions.

    >>> from bonsai.tasks import TASKS
    >>> counter(TASKS["dithering"]()).step, counter(TASKS["gates"]())
    (0.0625, None)
    """
    q, a = np.nonzero(machine.legal)
    unknown = len(machine.states) + len(machine.inputs) + len(machine.outputs) + 1
    if len(machine.states) > MOST or len(q) * unknown > LARGEST:
        return None
    outputs = machine.output[q, a].astype(float)
    if (outputs == 0).any():
        return None
    for rate in RATES:
        found = _numbered(machine, q, a, outputs, rate)
        if found is None:
            continue
        number, v = found
        level = number[machine.next[q, a]] - outputs @ v
        low, high = level.min(), level.max()
        if high - low < NEARLY:
            continue  # the inputs that are legal tell the state
        step = 2.0 ** (np.ceil(np.log2(2 / (high - low))) - 1)  # so that they stay within (-1, 1)
        number, slope = step * (number - (low + high) / 2), -step * v
        first = number[0] + outputs @ slope
        inside = np.flatnonzero(np.abs(first) < 1)
        if inside.size:
            before = machine.output[q, a][inside[0]]
            return Counter(number, slope, float(step), rate, before)
    return None


def _numbered(
    machine: Machine, q: np.ndarray, a: np.ndarray, outputs: np.ndarray, rate: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Integers of the states, the initial one's 0, and v, in halves; of legal symbols a in q."""
    states, row = len(machine.states), np.arange(len(q))
    rule = np.zeros((len(q), states))
    rule[row, machine.next[q, a]] += 1
    rule[row, q] -= rate
    known = np.column_stack([machine.symbols[a], outputs, np.ones(len(q))])
    system = np.column_stack([rule, -known])
    square, vectors = np.linalg.eigh(system.T @ system)
    solutions = vectors[:, square < NEARLY**2 * square[-1]].T
    apart = solutions[:, :states] - solutions[:, :1]  # of all states the same number is no counter
    left, size, _ = np.linalg.svd(apart, full_matrices=False)
    if not size.size or size[0] < NEARLY or (size[1:] > NEARLY).any():
        return None
    solution = left[:, 0] @ solutions
    number = solution[:states] - solution[0]
    gaps = np.diff(np.sort(number))
    if gaps.min(initial=np.inf) < NEARLY * np.abs(number).max():
        return None
    solution, number = solution / gaps.min(), number / gaps.min()
    v = solution[states + len(machine.inputs) : -1]
    halves = np.round(2 * v) / 2
    if np.abs(number - np.round(number)).max() > NEARLY or np.abs(v - halves).max() > NEARLY:
        return None
    return np.round(number), halves
