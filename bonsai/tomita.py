"""The seven regular languages of Tomita, "Dynamic construction of finite automata from examples
using hill-climbing", 1982: whether what was read so far is in the language.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

from bonsai.machine import Bits, Machine


def language(name: str, table: Sequence[tuple[int, int]], accepting: Sequence[int]) -> Machine:
    """table: the next state after a 0 and after a 1, for each state of a complete DFA"""

    def step(state: int, x: Bits) -> tuple[int, Bits]:
        state = table[state][x[0]]
        return state, (state in accepting,)

    return Machine.from_step(0, step, ["x"], name=name)


def counted(
    name: str, initial: Hashable, step: Callable[[Any, bool], Any], accepts: Callable[[Any], bool]
) -> Machine:
    """A DFA given by what it counts."""

    def mealy(state: Any, x: Bits) -> tuple[Any, Bits]:
        state = step(state, x[0])
        return state, (accepts(state),)

    return Machine.from_step(initial, mealy, ["x"], name=name)


def _blocks(state: tuple[bool, bool, bool, bool], x: bool) -> tuple[bool, bool, bool, bool]:
    """The last symbol, whether its run is odd, whether an odd run of 1s came, and failure."""
    last, odd, ones, failed = state
    if x == last:
        odd = not odd
    else:
        ones = ones or (last and odd)
        failed = failed or (not last and odd and ones)
        odd = True
    return x, odd, ones, failed


def _in_3(state: tuple[bool, bool, bool, bool]) -> bool:
    last, odd, ones, failed = state
    return not (failed or (not last and odd and ones))


TASKS: dict[str, Callable[[str], Machine]] = {
    "tomita1": partial(language, table=[(1, 0), (1, 1)], accepting=[0]),  # 1*
    "tomita2": partial(language, table=[(2, 1), (0, 2), (2, 2)], accepting=[0]),  # (10)*
    # no odd run of 1s followed later by an odd run of 0s
    "tomita3": partial(counted, initial=(False, False, False, False), step=_blocks, accepts=_in_3),
    # no 000
    "tomita4": partial(language, table=[(1, 0), (2, 0), (3, 0), (3, 3)], accepting=[0, 1, 2]),
    # an even number of 0s and an even number of 1s
    "tomita5": partial(language, table=[(1, 2), (0, 3), (3, 0), (2, 1)], accepting=[0]),
    # the number of 0s less that of 1s is a multiple of 3
    "tomita6": partial(language, table=[(1, 2), (2, 0), (0, 1)], accepting=[0]),
    # 0*1*0*1*
    "tomita7": partial(
        language, table=[(0, 1), (2, 1), (2, 3), (4, 3), (4, 4)], accepting=[0, 1, 2, 3]
    ),
}
