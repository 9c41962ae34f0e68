"""The 34 finite-state tasks of Michaud et al., "Opening the AI black box: program synthesis via
mechanistic interpretability", 2024 (arXiv 2402.05110).

Integers are fields of bits, least significant first; only values in range are legal. Values before
the start count as 0.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import isqrt

from bonsai.machine import Bits, Machine


def bits_of(value: int, count: int) -> Bits:
    """
    >>> bits_of(6, 4)
    (False, True, True, False)
    """
    return tuple(bool(value >> i & 1) for i in range(count))


def number(bits: Sequence[bool]) -> int:
    """
    >>> number((False, True, True, False))
    6
    """
    return sum(bit << i for i, bit in enumerate(bits))


def fields(names: str, count: int) -> list[str]:
    """Names of the bits of several fields.

    >>> fields("ab", 2)
    ['a0', 'a1', 'b0', 'b1']
    """
    return [f"{name}{i}" if count > 1 else name for name in names for i in range(count)]


def bitwise(name: str, function: Callable[..., bool], names: Sequence[str] = "ab") -> Machine:
    """A function of the bits of one step."""
    return Machine.from_step(0, lambda _, x: (0, (function(*x),)), list(names), name=name)


def recent(name: str, count: int, function: Callable[[Bits], bool]) -> Machine:
    """A function of the last `count` bits, this one last."""

    def step(last: Bits, x: Bits) -> tuple[Bits, Bits]:
        window = (*last, x[0])
        return window[1:], (function(window),)

    return Machine.from_step((False,) * (count - 1), step, ["x"], name=name)


def running(name: str, function: Callable[[bool, Bits], bool], names: Sequence[str]) -> Machine:
    """A bit that is kept, and is the output: function(bit, inputs)."""

    def step(bit: bool, x: Bits) -> tuple[bool, Bits]:
        bit = function(bit, x)
        return bit, (bit,)

    return Machine.from_step(False, step, list(names), name=name)


def addition(name: str, base: int) -> Machine:
    """A digit of each of two numbers a step, the least significant first, with a carry."""
    size = (base - 1).bit_length()

    def step(carry: int, x: Bits) -> tuple[int, Bits]:
        total = number(x[:size]) + number(x[size:]) + carry
        return total // base, bits_of(total % base, size)

    def legal(_: int, x: Bits) -> float:
        return float(number(x[:size]) < base and number(x[size:]) < base)

    return Machine.from_step(0, step, fields("ab", size), fields("y", size), legal, name)


def division(name: str, divisor: int) -> Machine:
    """The quotient's bits, of a number whose most significant bit comes first."""

    def step(rest: int, x: Bits) -> tuple[int, Bits]:
        rest = 2 * rest + x[0]
        return rest % divisor, (rest >= divisor,)

    return Machine.from_step(0, step, ["x"], name=name)


def counting(
    name: str,
    values: int,
    step: Callable[[int, int], tuple[int, int]],
    initial: int = 0,
    largest: int = 1,
) -> Machine:
    """A state and an output, both integers, from the state and an integer below `values`."""
    size, out = (values - 1).bit_length(), largest.bit_length()

    def bitwise_step(state: int, x: Bits) -> tuple[int, Bits]:
        state, y = step(state, number(x))
        return state, bits_of(y, out)

    def legal(_: int, x: Bits) -> float:
        return float(number(x) < values)

    return Machine.from_step(
        initial, bitwise_step, fields("x", size), fields("y", out), legal, name
    )


def add_mod(name: str, modulus: int) -> Machine:
    """The running sum."""

    def step(total: int, x: int) -> tuple[int, int]:
        return ((total + x) % modulus,) * 2

    return counting(name, modulus, step, largest=modulus - 1)


def min_seen(name: str) -> Machine:
    """The least of 0..9 so far."""
    return counting(name, 10, lambda least, x: (min(least, x),) * 2, initial=9, largest=9)


def dithering(name: str) -> Machine:
    """How much the running sum of 0..15, divided by 15 and rounded down, has grown."""
    return counting(name, 16, lambda rest, x: ((rest + x) % 15, (rest + x) // 15))


def binary_addition(name: str) -> Machine:
    """Sum bits of two numbers, the least significant first."""

    def step(carry: bool, x: Bits) -> tuple[bool, Bits]:
        total = x[0] + x[1] + carry
        return total > 1, (total % 2 == 1,)

    return Machine.from_step(False, step, ["a", "b"], name=name)


def parity_of_index(name: str) -> Machine:
    """0, 1, 0, 1, whatever is read."""
    return Machine.from_step(False, lambda odd, x: (not odd, (odd,)), ["x"], name=name)


def _alternating(window: Bits) -> bool:
    return all(a != b for a, b in pairwise(window))


def _odd(bits: Bits) -> bool:
    return sum(bits) % 2 == 1


TASKS: dict[str, Callable[[str], Machine]] = {
    "binary_addition": binary_addition,
    **{f"base{k}_addition": partial(addition, base=k) for k in (3, 4, 5, 6, 7)},
    "bitwise_xor": partial(bitwise, function=lambda a, b: a != b),
    "bitwise_or": partial(bitwise, function=lambda a, b: a or b),
    "bitwise_and": partial(bitwise, function=lambda a, b: a and b),
    "bitwise_not": partial(bitwise, function=lambda x: not x, names="x"),
    **{f"parity_last{k}": partial(recent, count=k, function=_odd) for k in (2, 3, 4)},
    "parity_all": partial(running, function=lambda odd, x: odd != x[0], names="x"),
    "parity_zeros": partial(running, function=lambda odd, x: odd == x[0], names="x"),
    "parity_of_index": parity_of_index,
    **{f"alternating_last{k}": partial(recent, count=k, function=_alternating) for k in (3, 4)},
    "bit_shift_right": partial(recent, count=2, function=lambda window: window[0]),
    "bit_dot_product_mod2": partial(
        running, function=lambda odd, x: odd != (x[0] and x[1]), names="ab"
    ),
    **{f"div{k}": partial(division, divisor=k) for k in (3, 5, 7)},
    **{f"add_mod{k}": partial(add_mod, modulus=k) for k in (3, 4, 5, 6, 7, 8)},
    "min_seen": min_seen,
    "previous_equals_current": partial(
        counting, values=8, step=lambda last, x: (x, int(x == last))
    ),
    "evens_detector": partial(counting, values=10, step=lambda _, x: (0, int(x % 2 == 0))),
    "perfect_square_detector": partial(
        counting, values=20, step=lambda _, x: (0, int(isqrt(x) ** 2 == x))
    ),
    "dithering": dithering,
}
