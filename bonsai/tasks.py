"""The built-in tasks, each a short step function, enumerated into a `Machine`.

A task is `(initial state, step, inputs, outputs, weight)`: `step(state, bits)` returns the next
state and the output bits, and `weight(state, bits)` is the relative probability of that input in
that state, 0 where it is illegal (all inputs are equally likely where it is left out).
"""

from collections.abc import Callable
from functools import partial

from bonsai import mips, tomita
from bonsai.machine import Bits, Machine


def delay1() -> Machine:
    """y[n] = x[n-1]"""
    return Machine.from_step(False, lambda last, x: (x[0], (last,)), ["x"], name="delay1")


def delay2() -> Machine:
    """y[n] = x[n-2]"""

    def step(last: tuple[bool, bool], x: Bits) -> tuple[tuple[bool, bool], Bits]:
        return (last[1], x[0]), (last[0],)

    return Machine.from_step((False, False), step, ["x"], name="delay2")


def loop3() -> Machine:
    """-1, -1, +1 for ever, without input"""
    return Machine.from_step(0, lambda n, _: ((n + 1) % 3, (n == 2,)), [], name="loop3")


def parens() -> Machine:
    """+1 iff the parentheses read so far are balanced: "(" is -1, ")" is +1, depth at most 8"""

    def step(depth: int, x: Bits) -> tuple[int, Bits]:
        depth += -1 if x[0] else 1
        return depth, (depth == 0,)

    def legal(depth: int, x: Bits) -> float:
        return float(depth > 0 if x[0] else depth < 8)

    return Machine.from_step(0, step, ["x"], weight=legal, name="parens")


def ones_triple() -> Machine:
    """a 1 locks the output to 1 for its step and the next two; else y = x"""

    def step(left: int, x: Bits) -> tuple[int, Bits]:
        if left:
            return left - 1, (True,)
        return (2 if x[0] else 0), x

    return Machine.from_step(0, step, ["x"], name="ones_triple")


def gates() -> Machine:
    """XOR, AND, NOR, NAND of a and b; `change` (probability 0.3) goes to the next mode first"""
    modes: list[Callable[[bool, bool], bool]] = [
        lambda a, b: a != b,
        lambda a, b: a and b,
        lambda a, b: not (a or b),
        lambda a, b: not (a and b),
    ]

    def step(mode: int, x: Bits) -> tuple[int, Bits]:
        change, a, b = x
        mode = (mode + change) % 4
        return mode, (modes[mode](a, b),)

    def weight(_: int, x: Bits) -> float:
        return 0.3 if x[0] else 0.7

    return Machine.from_step(0, step, ["change", "a", "b"], weight=weight, name="gates")


def cpu2() -> Machine:
    """two registers; op -1: reg[r] = t, y = t; op +1: reg[t] = y = reg[r]"""

    def step(registers: tuple[bool, ...], x: Bits) -> tuple[tuple[bool, ...], Bits]:
        move, r, t = x
        target, value = (t, registers[r]) if move else (r, t)
        written = tuple(value if i == target else old for i, old in enumerate(registers))
        return written, (value,)

    return Machine.from_step((False, False), step, ["op", "r", "t"], name="cpu2")


def cpu4() -> Machine:
    """four registers; STORE: reg[b] = i; MOV, NOT, XOR: reg[b] = reg[a], its inverse, or reg[b]
    xor reg[a]; the output is what is written
    """

    def step(registers: tuple[bool, ...], x: Bits) -> tuple[tuple[bool, ...], Bits]:
        op, a, b, immediate = 2 * x[1] + x[0], 2 * x[3] + x[2], 2 * x[5] + x[4], x[6]
        value = (
            immediate,
            registers[a],
            not registers[a],
            registers[a] != registers[b],
        )[op]
        written = tuple(value if i == b else old for i, old in enumerate(registers))
        return written, (value,)

    names = ["op0", "op1", "a0", "a1", "b0", "b1", "i"]
    return Machine.from_step((False,) * 4, step, names, name="cpu4")


_OWN = (delay1, delay2, loop3, parens, ones_triple, gates, cpu2, cpu4)
TASKS: dict[str, Callable[[], Machine]] = {
    **{task.__name__: task for task in _OWN},
    **{name: partial(make, name) for name, make in {**mips.TASKS, **tomita.TASKS}.items()},
}
