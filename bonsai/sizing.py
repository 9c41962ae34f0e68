"""What a network needs to learn a machine, from the machine: sizes, and lengths of sequences."""

from dataclasses import dataclass

import numpy as np

from bonsai.counter import counter
from bonsai.machine import Machine

SHORTEST, LONGEST = 16, 48  # training sequences
FEW = 8  # states that need no counter, but make as small graphs of bits


@dataclass(frozen=True)
class Attempt:
    """cells: outputs and states of each; stacked: see `bonsai.network`

    hinted: share of the restarts that have hints (`bonsai.hints`)
    batch, strength, rate: what those of the plant are multiplied with: its minibatch, its
    regulariser, and its learning rate
    resort: whether it is only for a machine that no restart has learned before
    counter: the step of the machine's counter (`bonsai.counter`) if that is taught, else 0
    checked: steps of validation sequences that count, None for all
    """

    cells: tuple[tuple[int, int], ...]
    stacked: bool
    hinted: float
    batch: float = 1.0
    strength: float = 1.0
    rate: float = 1.0
    resort: bool = False
    counter: float = 0.0
    checked: int | None = None


def attempts(machine: Machine, hinted: float) -> list[Attempt]:
    """What to train, one after the other until enough restarts learn the machine.

    First one plain cell, in which only a share `hinted` of the restarts has hints. Then, for a
    machine of many states that counts, a small stacked cell that is taught to. Then stacked
    cells, twice as wide each time, with room for a state neuron for each state of the machine, or
    twice the bits that number them, and hints for all restarts: each step is then learned by
    itself, for which fewer sequences do, and what is wide is thinned later. The last resort is
    the widest, slowly, with just the bits that number the states.
    """
    states = len(machine.states)
    bits = (states - 1).bit_length()
    wide = -(-(len(machine.inputs) + 2 * bits + 2 * len(machine.outputs)) // 4) * 4
    plain = Attempt(((max(6, 2 * len(machine.outputs) + 4), 2 * bits + 2),), False, hinted)
    room = max(4, 2 * bits, min(states, 16))
    own = counter(machine) if states > FEW else None
    counting = []
    if own is not None:
        cells = ((plain.cells[0][0], 1 + int(np.count_nonzero(own.slope))),)
        # One that doubles in each step doubles its error, and is not right for long before it is
        # exact; a few steps reach every state.
        steps = depth(machine) + 1 if abs(own.rate) > 1 else None
        counting = [Attempt(cells, True, 1.0, 0.25, 0.025, 2.0, counter=own.step, checked=steps)]
    return [
        plain,
        *counting,
        *(Attempt(((max(12, wide) << n, room),), True, 1.0, 0.25, 0.1) for n in range(3)),
        Attempt(((max(12, wide) << 3, max(1, bits)),), True, 1.0, 1.0, 0.1, 0.5, resort=True),
    ]


def length(machine: Machine) -> int:
    """Steps of training sequences: enough to reach every state and to tell it from any other."""
    return min(LONGEST, max(SHORTEST, depth(machine) + distinguishing(machine) + 2))


def depth(machine: Machine) -> int:
    """The most steps that it takes to reach a state.

    >>> from bonsai.tasks import TASKS
    >>> depth(TASKS["parens"]())
    8
    """
    reached = np.zeros(len(machine.states), bool)
    reached[0] = True
    steps = 0
    while True:
        after = machine.next[reached]
        grown = reached.copy()
        grown[after[after >= 0]] = True
        if (grown == reached).all():
            return steps
        reached, steps = grown, steps + 1


def distinguishing(machine: Machine) -> int:
    """The most symbols that it takes to tell two states of a minimal machine apart.

    >>> from bonsai.tasks import TASKS
    >>> distinguishing(TASKS["delay2"]())
    2
    """
    return sum(1 for _ in machine.partitions())
