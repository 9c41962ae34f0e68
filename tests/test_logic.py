"""Formulas: their text, and the search for short ones, against truth tables."""

from collections.abc import Callable
from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonsai.logic import FALSE, TRUE, Expr, Search, joined, negated, signal

NAMES = "abcd"
ROWS = list(product((False, True), repeat=4))
FULL = (1 << 16) - 1


def table(function: Callable[..., bool]) -> int:
    return sum(1 << n for n, row in enumerate(ROWS) if function(*row))


SEARCH = Search(
    [(signal(name), table(lambda *row, i=i: row[i])) for i, name in enumerate(NAMES)],
    16,
    range(4),
)


def values(e: Expr) -> int:
    return table(lambda *row: bool(e.evaluate(dict(zip(NAMES, row, strict=True)))))


@given(st.integers(0, FULL), st.integers(0, FULL))
@settings(max_examples=60, deadline=None)
def test_a_formula_agrees_where_it_must(wanted: int, care: int) -> None:
    e = SEARCH.formula(wanted, care)
    assert (values(e) ^ wanted) & care == 0
    assert (values(negated(e)) ^ values(e)) == FULL


@given(st.integers(0, FULL))
@settings(max_examples=40, deadline=None)
def test_the_text_means_the_same_in_python(wanted: int) -> None:
    for e in (SEARCH.formula(wanted), negated(SEARCH.formula(wanted))):
        code = compile(str(e), "formula", "eval")
        read = table(lambda *row, c=code: eval(c, {}, dict(zip(NAMES, row, strict=True))))
        assert read == values(e)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda a, b, c, d: a == b, "a == b"),
        (lambda a, b, c, d: not (a or b), "not (a or b)"),
        (lambda a, b, c, d: c if d else a, "c if d else a"),
        (lambda a, b, c, d: a and not b and not c, "a and not (b or c)"),
        (lambda a, b, c, d: a and b and c and d, "a and b and c and d"),
        (lambda a, b, c, d: (a + b + c) >= 2, "a or b if c else a and b"),
        (lambda a, b, c, d: False, "False"),
    ],
)
def test_it_is_what_a_reader_would_write(function: Callable[..., bool], text: str) -> None:
    found = SEARCH.formula(table(function))
    assert values(found) == table(function)
    assert str(found) == text


def test_three_literals_are_the_fewest() -> None:
    """By trying all formulas of two and fewer."""
    short = {0, FULL}
    for i, j in product(range(4), repeat=2):
        one, two = SEARCH.terms[i][1], SEARCH.terms[j][1]
        for m in range(16):
            rows = (one & two, one & ~two, two & ~one, ~one & ~two)
            short.add(sum((m >> k & 1) * (row & FULL) for k, row in enumerate(rows)))
    for wanted in SEARCH.tables:
        found = SEARCH.formula(wanted)
        assert (found.literals < 3) == (wanted in short)


def test_rows_that_cannot_occur_are_free() -> None:
    never = table(lambda a, b, c, d: a and b)
    wanted = table(lambda a, b, c, d: a != b)
    assert SEARCH.formula(wanted, FULL & ~never).effort == 1
    assert str(SEARCH.formula(wanted & ~never, FULL & ~never)) in ("a or b", "a != b")


def test_a_function_of_more_than_the_terms_is_told() -> None:
    half = Search([(signal("a"), SEARCH.terms[0][1])], 16, [0])
    assert half.determined(SEARCH.terms[0][1], FULL)
    assert not half.determined(SEARCH.terms[1][1], FULL)


def test_constants_vanish() -> None:
    a = signal("a")
    assert joined("and", [a, TRUE]) == joined("or", [a, FALSE, a]) == a
    assert joined("or", [a, TRUE]) == TRUE
    assert negated(negated(a)) == a


@pytest.mark.parametrize("rows", [3, 64, 65, 300])
def test_tabled_functions_that_agree_are_found_on_any_number_of_rows(rows: int) -> None:
    random = Random(rows)
    terms = [(signal(f"x{n}"), random.getrandbits(rows)) for n in range(6)]
    search = Search(terms, rows)
    met = set()
    for _ in range(200):
        care = random.getrandbits(rows) & random.getrandbits(rows) | 1 << random.randrange(rows)
        table = random.choice(search.tables) ^ random.choice((0, search.full))
        for wrong in (0, 1 << random.randrange(rows)):
            wanted = [
                ((own ^ table ^ wrong) & care == 0) + 2 * (~(own ^ table ^ wrong) & care == 0)
                for own in search.tables
            ]
            assert search._find((table ^ wrong) & care, care).tolist() == wanted
            met |= {*wanted}
    assert met == {0, 1, 2}
