"""Short formulas: expressions over Boolean and integer signals, and the search for the shortest.

A function is given by its truth table on rows that can occur; all other combinations are
don't-cares for free, because they have no row. Every formula of up to three literals is tabled
(and, or, ==, !=, if-else), so that what is found there is the shortest there is. Longer ones are
split into parts, and compared with the sum of products and the product of sums of
sympy (Quine and McCluskey's method).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from sympy import Symbol, false, true
from sympy.logic import POSform, SOPform
from sympy.logic.boolalg import And, Boolean, Not, Or

TABLED = 20  # terms up to which formulas of three literals are tabled; beyond, of two
PARTS = 400  # formulas that are tried as one half of a longer one
PAIRS = 60  # of such halves that are compared, the shortest first
BEAM = (6, 3, 2, 1)  # splits of a longer function that are followed, by depth
PLAIN = 3  # more, that are choices by one signal
DEPTH = len(BEAM)
WIDEST = 6  # variables of a two-level form
FORMS = 40  # conditions tried between integer expressions

FLIPPED = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
BINDING = {"if": 1, "or": 2, "and": 3, "not": 4, "==": 5, "!=": 5, "compare": 5, "+": 6, "sum": 6}
TIMES = 7  # how a product binds


@dataclass(frozen=True)
class Expr:
    """op: signal (its name in `value`), const (False, True or a number), not, and, or, ==, != (of
    Booleans), if (condition, then, else), compare (an integer with a number; `value` is such as
    `< 3`), + (`value` is the number added), sum (of an integer and Booleans that count as 0 and 1;
    `value` is what the whole is divided by, a number added before, and a factor of each argument),
    or lookup (`value` is the values in order, beginning with the least number the argument may be,
    which comes first)
    """

    op: str
    args: tuple["Expr", ...] = ()
    value: bool | int | str | tuple[int, ...] = False

    @cached_property
    def literals(self) -> int:
        """How often a signal occurs."""
        return (self.op == "signal") + sum(arg.literals for arg in self.args)

    @cached_property
    def effort(self) -> int:
        """Operators, and what a reader has to keep in mind meanwhile.

        That is one for a formula that is compared or a condition, two for a choice inside of
        another formula, and two for a signal that parts joined by an operator both read.
        """
        own = {"signal": 0, "const": 0, "not": 1, "if": 2, "compare": 1, "+": 1, "lookup": 1}
        nested = 0
        if self.op in ("==", "!="):
            nested = sum(arg.op != "signal" for arg in self.args)
        if self.op in ("and", "or", "not", "==", "!="):
            nested += 2 * sum(arg.op == "if" for arg in self.args)
        if self.op == "if":
            nested = (self.args[0].op not in ("signal", "compare")) + 2 * sum(
                arg.op == "if" for arg in self.args[:2]
            )
        if self.op == "sum":
            assert isinstance(self.value, tuple)
            divisor, constant, *factors = self.value
            nested = sum(abs(f) != 1 for f in factors) + (divisor != 1) + (constant != 0)
        read = [arg.signals for arg in self.args]
        pairs = combinations(read, 2) if self.op != "if" else ((read[0], r) for r in read[1:])
        nested += 2 * sum(len(a & b) for a, b in pairs)
        inner = sum(arg.effort for arg in self.args)
        return own.get(self.op, len(self.args) - 1) + nested + inner

    @cached_property
    def cost(self) -> tuple[int, int, str]:
        """What the best formula has least of: literals and effort together, then literals."""
        return self.literals + self.effort, self.literals, str(self)

    def __str__(self) -> str:
        return self._text

    @cached_property
    def _text(self) -> str:
        """The expression in Python."""

        def inner(arg: Expr, above: int) -> str:
            text = str(arg)
            return f"({text})" if BINDING.get(arg.op, 9) <= above else text

        binding = BINDING.get(self.op, 9)
        if self.op in ("signal", "const"):
            return str(self.value)
        if self.op == "not":
            return f"not {inner(self.args[0], 3)}"
        if self.op == "compare":
            return f"{inner(self.args[0], binding)} {self.value}"
        if self.op == "+":
            assert isinstance(self.value, int)
            sign = "+" if self.value > 0 else "-"
            return f"{inner(self.args[0], binding)} {sign} {abs(self.value)}"
        if self.op == "sum":
            assert isinstance(self.value, tuple)
            divisor, constant, *factors = self.value
            parts = [
                (f, inner(arg, binding) if abs(f) == 1 else f"{abs(f)} * {inner(arg, TIMES)}")
                for f, arg in zip(factors, self.args, strict=True)
            ]
            parts += [(constant, str(abs(constant)))] if constant or not parts else []
            (first, text), *rest = sorted(parts, key=lambda part: part[0] < 0)
            text = "-" * (first < 0) + text
            text += "".join(f" {'-' if f < 0 else '+'} {t}" for f, t in rest)
            return text if divisor == 1 else f"({text}) // {divisor}"
        if self.op == "lookup":
            assert isinstance(self.value, tuple)
            least, *values = self.value
            offset = "" if least == 0 else f" {'+' if least < 0 else '-'} {abs(least)}"
            return f"({', '.join(map(str, values))})[{inner(self.args[0], 5)}{offset}]"
        if self.op == "if":
            condition, then, other = self.args
            return f"{inner(then, 1)} if {inner(condition, 1)} else {inner(other, 0)}"
        return f" {self.op} ".join(inner(arg, binding) for arg in self.args)

    def evaluate(self, env: Mapping[str, bool | int]) -> bool | int:
        if self.op == "signal":
            return env[str(self.value)]
        if self.op == "const":
            assert isinstance(self.value, int)
            return self.value
        if self.op == "if":
            condition, then, other = self.args
            return (then if condition.evaluate(env) else other).evaluate(env)
        values = [arg.evaluate(env) for arg in self.args]
        if self.op == "not":
            return not values[0]
        if self.op == "and":
            return all(values)
        if self.op == "or":
            return any(values)
        if self.op in ("==", "!="):
            return (values[0] == values[1]) == (self.op == "==")
        if self.op == "+":
            assert isinstance(self.value, int)
            return values[0] + self.value
        if self.op == "sum":
            assert isinstance(self.value, tuple)
            divisor, constant, *factors = self.value
            return (constant + sum(f * v for f, v in zip(factors, values, strict=True))) // divisor
        if self.op == "lookup":
            assert isinstance(self.value, tuple)
            return self.value[1 + values[0] - self.value[0]]
        operator, number = str(self.value).split()
        return {
            "==": values[0] == int(number),
            "!=": values[0] != int(number),
            "<": values[0] < int(number),
            ">=": values[0] >= int(number),
            ">": values[0] > int(number),
            "<=": values[0] <= int(number),
        }[operator]

    @cached_property
    def signals(self) -> frozenset[str]:
        own = frozenset({str(self.value)} if self.op == "signal" else ())
        return own.union(*(arg.signals for arg in self.args))

    def with_signals(self, replaced: Mapping[str, "Expr"]) -> "Expr":
        """The expression with other expressions in place of some signals."""
        if self.op == "signal":
            return replaced.get(str(self.value), self)
        if not self.args:
            return self
        args = [arg.with_signals(replaced) for arg in self.args]
        if self.op == "not":
            return negated(args[0])
        if self.op in ("and", "or"):
            return joined(self.op, args)
        if self.op in ("==", "!="):
            return different(*args) if self.op == "!=" else negated(different(*args))
        if self.op == "if":
            return chosen(*args)
        return Expr(self.op, tuple(args), self.value)


FALSE, TRUE = Expr("const", (), False), Expr("const", (), True)


def signal(name: str) -> Expr:
    return Expr("signal", (), name)


def negated(e: Expr) -> Expr:
    """not e, with fewer signs where that can be.

    >>> str(negated(joined("or", [signal("a"), negated(signal("b"))])))
    'b and not a'
    """
    if e.op == "const":
        return Expr("const", (), not e.value)
    if e.op == "not":
        return e.args[0]
    if e.op in ("==", "!="):
        return Expr(FLIPPED[e.op], e.args)
    if e.op == "compare":
        operator, number = str(e.value).split()
        return Expr("compare", e.args, f"{FLIPPED[operator]} {number}")
    outside = Expr("not", (e,))
    if e.op in ("and", "or"):
        inside = joined("or" if e.op == "and" else "and", [negated(a) for a in e.args])
    elif e.op == "if":
        inside = Expr("if", (e.args[0], negated(e.args[1]), negated(e.args[2])))
    else:
        return outside
    return min(inside, outside, key=lambda found: found.cost)


def joined(op: str, args: Iterable[Expr]) -> Expr:
    """and / or of expressions: flattened, short ones first, and what is negated under one not.

    >>> a, b, c = (signal(name) for name in "abc")
    >>> str(joined("and", [negated(b), negated(a), c]))
    'c and not (a or b)'
    """
    dual = "or" if op == "and" else "and"
    absorbing, neutral = (FALSE, TRUE) if op == "and" else (TRUE, FALSE)
    flat: list[Expr] = []
    for arg in args:
        flat += arg.args if arg.op == op else [arg]
    denied = [arg.args[0] for arg in flat if arg.op == "not"]
    if len(denied) > 1:
        flat = [arg for arg in flat if arg.op != "not"] + [Expr("not", (joined(dual, denied),))]
    flat = sorted((arg for arg in dict.fromkeys(flat) if arg != neutral), key=_place)
    if absorbing in flat:
        return absorbing
    return Expr(op, tuple(flat)) if len(flat) > 1 else (flat or [neutral])[0]


def _place(e: Expr) -> tuple:
    """Where it stands in a sum or product."""
    return e.literals, e.op == "not", e.effort, str(e)


def different(a: Expr, b: Expr) -> Expr:
    """a != b of Booleans, or a == b where one of them is negated."""
    equal = False
    sides = []
    for side in (a, b):
        if side.op in ("not", "=="):
            side, equal = negated(side), not equal
        sides.append(side)
    for one, two in (sides, sides[::-1]):
        if one.op == "const":
            return negated(two) if bool(one.value) != equal else two
    return Expr("==" if equal else "!=", tuple(sides))


def chosen(condition: Expr, then: Expr, other: Expr) -> Expr:
    """then if condition else other"""
    if then == other:
        return then
    if condition.op == "const":
        return then if condition.value else other
    turned = negated(condition)
    if turned.cost < condition.cost:
        condition, then, other = turned, other, then
    return Expr("if", (condition, then, other))


class Search:
    """Formulas over `terms`, which are (expression, truth table) of one literal each.

    Truth tables are integers: bit n is the value in row n of `rows`.
    variables: the terms that a two-level form is made of
    """

    def __init__(
        self, terms: Sequence[tuple[Expr, int]], rows: int, variables: Sequence[int] = ()
    ) -> None:
        self.full = (1 << rows) - 1
        self.words = max(1, -(-rows // 64))
        self.terms = list(terms)
        self.variables = list(variables)
        self.index: dict[int, int] = {}
        self.tables: list[int] = []
        self.sizes: list[int] = []
        self.recipes: list[tuple] = []
        self.exprs: dict[tuple[int, bool], Expr] = {}
        self.memo: dict[tuple[int, int, int], Expr] = {}
        self.found: dict[tuple[int, int], int | None] = {}
        for expr, table in terms:
            self._add(table, 1, ("term", expr))
        one = list(range(len(self.tables)))
        for i, j in combinations(one, 2):
            self._pair(i, j, 2)
        if len(one) <= TABLED:
            two = range(len(one), len(self.tables))
            for j in two:
                for i in one:
                    self._pair(i, j, 3)
            for c in one:
                for i, j in combinations(one, 2):
                    for m in range(4):
                        for a, b in ((i, j), (j, i)):
                            self._if(c, a, b, m)
        tables = np.array([self._row(t) for t in self.tables], np.uint64)
        self.columns = np.ascontiguousarray(tables.reshape(len(self.tables), self.words).T)

    def _row(self, table: int) -> np.ndarray:
        """(words,) uint64"""
        return np.frombuffer(table.to_bytes(8 * self.words, "little"), "<u8")

    def _add(self, table: int, size: int, recipe: tuple) -> None:
        """Functions and their complements are one entry, of the table that begins with 0."""
        turned = bool(table & 1)
        key = table ^ self.full if turned else table
        if key and key not in self.index:
            self.index[key] = len(self.tables)
            self.tables.append(key)
            self.sizes.append(size)
            self.recipes.append((*recipe, turned))

    def _pair(self, i: int, j: int, size: int) -> None:
        a, b, full = self.tables[i], self.tables[j], self.full
        self._add(a & b, size, ("and", (i, False), (j, False)))
        self._add(a | b, size, ("or", (i, False), (j, False)))
        self._add(a ^ b, size, ("!=", (i, False), (j, False)))
        self._add(a & ~b & full, size, ("and", (i, False), (j, True)))
        self._add(~a & b & full, size, ("and", (i, True), (j, False)))

    def _if(self, c: int, i: int, j: int, turned: int) -> None:
        flip_i, flip_j = bool(turned & 1), bool(turned & 2)
        a = self.tables[i] ^ (self.full if flip_i else 0)
        b = self.tables[j] ^ (self.full if flip_j else 0)
        table = (self.tables[c] & a) | (~self.tables[c] & b & self.full)
        self._add(table, 3, ("if", (c, False), (i, flip_i), (j, flip_j)))

    def _expr(self, at: int, turned: bool) -> Expr:
        """The formula of a tabled function, or of its complement."""
        if (at, turned) not in self.exprs:
            op, *parts, own = self.recipes[at]
            if op == "term":
                made = parts[0]
            else:
                args = [self._expr(i, flip) for i, flip in parts]
                made = chosen(*args) if op == "if" else _made(op, *args)
            self.exprs[at, turned] = negated(made) if turned != own else made
        return self.exprs[at, turned]

    def _find(self, table: int, care: int) -> np.ndarray:
        """(tabled functions,) 1 where one agrees on the rows `care`, 2 where its inverse does."""
        masks, wanted = self._row(care), self._row(table)
        match = np.zeros(len(self.tables), np.int8)
        order = np.argsort(-np.bitwise_count(masks).astype(int), kind="stable")
        order = order[masks[order] != 0]  # first where few functions agree
        for value, inverse in ((1, False), (2, True)):
            left = np.arange(len(match))
            for n, w in enumerate(order.tolist()):
                column = self.columns[w][left] if n else self.columns[w]
                wrong = (column ^ wanted[w]) & masks[w]
                left = left[wrong == (masks[w] if inverse else 0)]
                if not left.size:
                    break
            match[left] += value
        return match

    def _size(self, table: int, care: int) -> int | None:
        """Literals of the shortest tabled formula that agrees on the rows `care`."""
        table &= care
        if table in (0, care):
            return 0
        key = table, care
        if key not in self.found:
            match = self._find(table, care)
            # Tabled functions stand in the order of their literals.
            first = int((match > 0).argmax()) if match.size else 0
            self.found[key] = self.sizes[first] if match.size and match[first] else None
        return self.found[key]

    def _tabled(self, table: int, care: int) -> Expr | None:
        """The shortest tabled formula that agrees on the rows `care`."""
        table &= care
        if table in (0, care):
            return TRUE if table else FALSE
        least = self._size(table, care)
        if least is None:
            return None
        match = self._find(table, care)
        best = [i for i in np.flatnonzero(match).tolist() if self.sizes[i] == least][:64]
        return min((self._expr(i, match[i] == 2) for i in best), key=lambda e: e.cost)

    def formula(self, table: int, care: int | None = None, depth: int = 0) -> Expr:
        """The best formula found of the function on the rows `care`.

        Of the fewest literals there are, if that is three (two, beyond TABLED terms).
        """
        care = self.full if care is None else care
        table &= care
        if table == 0:
            return FALSE
        if table == care:
            return TRUE
        key = table, care, depth
        if key not in self.memo:
            found = self._tabled(table, care)
            if found is None:
                candidates = self._two_level(table, care) if depth == 0 else []
                candidates += self._halves(table, care) if depth == 0 else []
                candidates += self._split(table, care, depth)
                found = min(candidates, key=lambda e: e.cost)
            self.memo[key] = found
        return self.memo[key]

    def determined(self, table: int, care: int) -> bool:
        """Whether the terms tell the rows of the function's ones from those of its zeros."""
        groups = [care]
        for _, own in self.terms:
            groups = [part for group in groups for part in (group & own, group & ~own) if part]
        return all(table & group in (0, group) for group in groups)

    def _split(self, table: int, care: int, depth: int) -> list[Expr]:
        """A short formula, and formulas of what is left where it holds and where it does not.

        The most promising ones, fewer at each depth; at last only one.
        """
        made: list[tuple[int, str, int, bool]] = []  # literals expected, how, formula, negated
        for at, own in enumerate(self.tables):
            size = self.sizes[at]
            if size > (2 if depth < 2 else 1):
                break  # they stand in the order of their literals
            if not (care & own and care & ~own):
                continue
            parts = self._guess(table, care & own) + self._guess(table, care & ~own)
            made.append((size + parts, "if", at, False))
            if depth == DEPTH:
                continue
            if not depth or self._size(table ^ own, care) is not None:
                made.append((size + self._guess(table ^ own, care), "!=", at, False))
            for flip, value in ((False, own), (True, own ^ self.full)):
                if not table & ~value:
                    made.append((size + self._guess(table, care & value), "and", at, flip))
                if not care & ~table & value:
                    made.append((size + self._guess(table, care & ~value), "or", at, flip))
        found = []
        ranked = sorted(made)
        tried = ranked[: BEAM[depth] if depth < DEPTH else 1]
        if depth < 2:  # choices by one signal are read most easily
            plain = [m for m in ranked if m[1] == "if" and self.sizes[m[2]] == 1]
            tried += [m for m in plain[:PLAIN] if m not in tried]
        for _, op, at, flip in tried:
            own = self.tables[at] ^ (self.full if flip else 0)
            what, rows = _left(op, table, care, own)
            rest = [self.formula(what, part, min(depth + 1, DEPTH)) for part in rows]
            found.append(_made(op, self._expr(at, flip), *rest))
        return found

    def _guess(self, table: int, care: int) -> int:
        """Literals of a tabled formula, or as many as rows could ask for."""
        found = self._size(table, care)
        return 4 + care.bit_count() // 4 if found is None else found

    def _halves(self, table: int, care: int) -> list[Expr]:
        """Two tabled formulas joined by and, or, !=, or chosen between by a third."""
        ways: list[tuple[int, str, int, bool]] = []
        parts = [at for at, size in enumerate(self.sizes[:PARTS]) if size <= 2]
        for at in parts:
            own = self.tables[at]
            for flip, value in ((False, own), (True, own ^ self.full)):
                if not table & ~value and care & ~value:
                    ways.append((self._guess(table, care & value), "and", at, flip))
                if not care & ~table & value and care & value:
                    ways.append((self._guess(table, care & ~value), "or", at, flip))
            ways.append((self._guess(table ^ own, care), "!=", at, False))
            if care & own and care & ~own:
                size = self._guess(table, care & own) + self._guess(table, care & ~own)
                ways.append((size, "if", at, False))
        ranked = sorted((self.sizes[at] + size, op, at, flip) for size, op, at, flip in ways)
        found = []
        for size, op, at, flip in ranked[:PAIRS]:
            own = self.tables[at] ^ (self.full if flip else 0)
            what, rows = _left(op, table, care, own)
            rest = [e for part in rows if (e := self._tabled(what, part)) is not None]
            if len(rest) == len(rows) and size == ranked[0][0]:
                found.append(_made(op, self._expr(at, flip), *rest))
        return [*found, *self._chosen(table, care, parts)]

    def _chosen(self, table: int, care: int, parts: Sequence[int]) -> list[Expr]:
        """One tabled formula if a third holds, else another: the shortest."""
        right = [
            (self.sizes[at], at, flip, (~(self.tables[at] ^ table) & care) ^ (care if flip else 0))
            for at in parts
            for flip in (False, True)
        ]
        pairs = sorted(
            (m + n, a, flip, b, turned, one & ~two, one ^ two)
            for (m, a, flip, one), (n, b, turned, two) in combinations(right, 2)
            if a != b and one | two == care
        )[:PARTS]
        ways = sorted((p[0] + self._guess(*p[-2:]), *p[1:]) for p in pairs)[:PAIRS]
        found = []
        for size, a, flip, b, turned, what, rows in ways:
            condition = self._tabled(what, rows)
            if condition is not None and size == ways[0][0]:
                found.append(_if_shorter(condition, self._expr(a, flip), self._expr(b, turned)))
        return found

    def _two_level(self, table: int, care: int) -> list[Expr]:
        """A sum of products and a product of sums, unless the variables are too many."""
        number = self._needed(table, care)
        if number is None:
            return []
        names = {Symbol(f"v{n}"): self.terms[n][0] for n in number}
        ones, zeros = set[tuple[int, ...]](), set[tuple[int, ...]]()
        for row in range(care.bit_length()):
            if care >> row & 1:
                point = tuple(self.terms[n][1] >> row & 1 for n in number)
                (ones if table >> row & 1 else zeros).add(point)
        every = {tuple(n >> i & 1 for i in range(len(number))) for n in range(1 << len(number))}
        free = [list(p) for p in sorted(every - ones - zeros)]
        minterms = [list(p) for p in sorted(ones)]
        forms = [form(list(names), minterms, free) for form in (SOPform, POSform)]
        return [_from_sympy(form, names) for form in forms]

    def _needed(self, table: int, care: int) -> list[int] | None:
        """As few variables as tell the ones from the zeros, or None if they are too many."""

        def apart(numbers: Sequence[int]) -> bool:
            seen: dict[tuple[int, ...], int] = {}
            for row in range(care.bit_length()):
                if care >> row & 1:
                    point = tuple(self.terms[n][1] >> row & 1 for n in numbers)
                    if seen.setdefault(point, table >> row & 1) != table >> row & 1:
                        return False
            return True

        numbers = list(self.variables)
        if not apart(numbers):
            return None
        for n in self.variables[::-1]:
            fewer = [m for m in numbers if m != n]
            if apart(fewer):
                numbers = fewer
        return numbers if len(numbers) <= WIDEST else None

    def choice(self, values: np.ndarray, forms: Sequence[tuple[Expr, np.ndarray]]) -> Expr | None:
        """An integer function (rows,) as one of `forms`, or two or three with conditions."""
        matches = [
            (expr, sum(1 << n for n in np.flatnonzero(own == values).tolist()))
            for expr, own in forms
        ]
        found = [expr for expr, match in matches if match == self.full]
        if found:
            return min(found, key=lambda e: e.cost)
        matches = [(e, m) for e, m in matches if m]
        pairs = [p for p in combinations(matches, 2) if p[0][1] | p[1][1] == self.full]
        for (a, rows), (b, others) in pairs[:FORMS]:
            found.append(chosen(self.formula(rows & ~others, rows ^ others), a, b))
        if not found:
            every = list(combinations(matches, 3))
            triples = [t for t in every if t[0][1] | t[1][1] | t[2][1] == self.full]
            for triple in triples[:FORMS]:
                for n in range(3):
                    (a, rows), (b, two), (c, three) = triple[n], *triple[:n], *triple[n + 1 :]
                    rest = two | three
                    first = self.formula(rows & ~rest, self.full & ~(rows & rest))
                    second = self.formula(two & ~three, rest & ~rows & (two ^ three))
                    found.append(chosen(first, a, chosen(second, b, c)))
        return min(found, key=lambda e: e.cost, default=None)


def _left(op: str, table: int, care: int, own: int) -> tuple[int, list[int]]:
    """What is to be found beside a formula of table `own`: a table, and the rows of each part."""
    if op == "!=":
        return table ^ own, [care]
    return table, {"and": [care & own], "or": [care & ~own], "if": [care & own, care & ~own]}[op]


def _made(op: str, first: Expr, *rest: Expr) -> Expr:
    """`first` joined with what was left beside it."""
    if op == "if":
        return _if_shorter(first, *rest)
    return different(first, *rest) if op == "!=" else joined(op, [first, *rest])


def _if_shorter(condition: Expr, then: Expr, other: Expr) -> Expr:
    """then if condition else other, as and, or, != where one of the branches allows."""
    for branch, turned in ((then, False), (other, True)):
        if branch.op == "const":
            c = negated(condition) if turned else condition
            rest = other if not turned else then
            return joined("or", [c, rest]) if branch.value else joined("and", [negated(c), rest])
    if negated(then) == other:
        return different(condition, other)
    return chosen(condition, then, other)


def _from_sympy(form: Boolean, names: Mapping[Symbol, Expr]) -> Expr:
    if form in (true, false):
        return TRUE if form == true else FALSE
    if isinstance(form, Symbol):
        return names[form]
    if isinstance(form, Not):
        return negated(_from_sympy(form.args[0], names))
    assert isinstance(form, And | Or)
    parts = [_from_sympy(arg, names) for arg in sorted(form.args, key=str)]
    return joined("and" if isinstance(form, And) else "or", parts)
