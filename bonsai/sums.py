"""Programs that count: their one variable is an integer that takes a step which is a sum.

A network that was taught to count (`bonsai.counter`), or that found it by itself, has a state
whose levels are numbers in their order. Outputs are told by comparing it, and it becomes

    n' = (r n + w.x + v.y + c) / d

with the inputs x, the outputs y of the step before, integers r, w, v and c, and d 1 or 2. That is
looked for here, without a search for formulas, so that levels may be many.
"""

from collections.abc import Sequence

import numpy as np

from bonsai.design import Design, Made, by_role
from bonsai.levels import Automaton, Reach
from bonsai.logic import FALSE, TRUE, Expr, signal

DIVISORS = (1, 2)


class Sums(Design):
    """The search for such a program of one automaton."""

    def __init__(self, found: Reach, automaton: Automaton) -> None:
        super().__init__(found, automaton, counting=True)

    def made(self) -> tuple[Made, Automaton] | None:
        if [c.boolean for c in self.columns] != [False]:
            return None
        (column,) = self.columns
        numbers = column.values[self.automaton.level[:, column.column], 0]
        before, after = numbers[self.state], numbers[self.after]
        n = signal(column.names[0])
        outputs = []
        for wanted in self.automaton.output[self.state, self.symbol].T:
            found = compared(n, after, wanted)
            if found is None:
                return None
            outputs.append(found)
        bits = self.found.machine.symbols[self.symbol] > 0
        terms = {n: before} | dict(zip(map(signal, self.inputs), bits.T, strict=True))
        for y in outputs:
            terms[y] = np.array([y.evaluate({str(n): value}) for value in before.tolist()])
        step = summed(list(terms), np.column_stack(list(terms.values())), after)
        if step is None:
            return None
        return by_role(self._assembled((), outputs, {str(n): step}, True, {})), self.automaton


def compared(n: Expr, numbers: np.ndarray, wanted: np.ndarray) -> Expr | None:
    """A comparison of n that holds where an output is wanted to be 1, and not where it is -1.

    numbers: (rows,) what n is; wanted: (rows,), 0 where it is not cared for

    >>> str(compared(signal("n"), np.array([1, 2, 3]), np.array([-1, 0, 1])))
    'n >= 3'
    """
    yes, no = set(numbers[wanted > 0].tolist()), set(numbers[wanted < 0].tolist())
    if not yes or not no:
        return TRUE if yes else FALSE
    if max(no) < min(yes):
        return Expr("compare", (n,), f">= {min(yes)}")
    if max(yes) < min(no):
        return Expr("compare", (n,), f"< {min(no)}")
    return None


def summed(terms: Sequence[Expr], values: np.ndarray, target: np.ndarray) -> Expr | None:
    """A sum that is the target (rows,) on all rows; None if there is none.

    terms: an integer, which the sum has to depend on, and Booleans; values: (rows, terms)

    >>> n, x = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    >>> str(summed([signal("n"), signal("x")], np.column_stack([n, x]), 2 * n - 3 * x + 1))
    '2 * n + 1 - 3 * x'
    """
    kept, chosen = [np.ones(len(target))], list[int]()  # what tells something that others do not
    for i, column in enumerate(values.T.astype(float)):
        if np.linalg.matrix_rank(np.column_stack([*kept, column])) > len(kept):
            kept.append(column)
            chosen.append(i)
    matrix = np.column_stack(kept)
    exact = np.linalg.lstsq(matrix, target, rcond=None)[0]
    for divisor in DIVISORS:
        constant, *factors = np.round(divisor * exact).astype(int).tolist()
        if (matrix @ [constant, *factors] == divisor * target).all():
            used = [(i, f) for i, f in zip(chosen, factors, strict=True) if f]
            if not used or used[0][0] != 0:
                return None
            value = (divisor, constant, *(f for _, f in used))
            return Expr("sum", tuple(terms[i] for i, _ in used), value)
    return None
