import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonsai.artifact import ArtifactError
from bonsai.kiss2 import parse_kiss2
from bonsai.machine import Machine, MachineError
from bonsai.tasks import TASKS

MINIMAL = {
    "delay1": 2,
    "delay2": 4,
    "loop3": 3,
    "parens": 9,
    "ones_triple": 3,
    "gates": 4,
    "cpu2": 4,
    "cpu4": 16,
    # As published: Michaud et al. 2024, and Tomita 1982.
    "binary_addition": 2,
    **{f"base{k}_addition": 2 for k in range(3, 8)},
    **{f"bitwise_{name}": 1 for name in ("xor", "or", "and", "not")},
    "parity_last2": 2, "parity_last3": 4, "parity_last4": 8,
    "parity_all": 2, "parity_zeros": 2, "parity_of_index": 2,
    "alternating_last3": 4, "alternating_last4": 6,
    "bit_shift_right": 2, "bit_dot_product_mod2": 2,
    "div3": 3, "div5": 5, "div7": 7,
    **{f"add_mod{k}": k for k in range(3, 9)},
    "min_seen": 10, "previous_equals_current": 8, "evens_detector": 1,
    "perfect_square_detector": 1, "dithering": 15,
    "tomita1": 2, "tomita2": 3, "tomita3": 5, "tomita4": 4, "tomita5": 4, "tomita6": 3,
    "tomita7": 5,
}  # fmt: skip


def outputs(task: str, *words: str) -> str:
    """Run a built-in task on words of 0s and 1s, one a step; its outputs as 0s and 1s."""
    machine = TASKS[task]()
    rows = [tuple(1 if c == "1" else -1 for c in word) for word in words]
    symbols = [tuple(s) for s in machine.symbols.tolist()]
    y = machine.run([symbols.index(row) for row in rows])[1]
    return "".join("".join("1" if v > 0 else "0" for v in step) for step in y)


@st.composite
def machines(draw):
    """Random machines: some inputs illegal, some outputs don't-care, some states equivalent."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    states, bits, outs = (draw(st.integers(a, b)) for a, b in ((1, 7), (0, 3), (1, 3)))
    after = rng.integers(0, states, (states, 2**bits))
    y = rng.integers(-1, 2, (states, 2**bits, outs))
    weight = rng.choice([0.0, 0.3, 1.0], (states, 2**bits))
    weight[:, -1] = 1
    rows = [
        (q, a, int(after[q, a]), y[q, a].tolist(), float(weight[q, a]))
        for q in range(states)
        for a in range(2**bits)
    ]
    symbols = (np.indices((2,) * bits).reshape(bits, 2**bits).T * 2 - 1).astype(np.int8)
    names = [f"x{i}" for i in range(bits)], [f"y{i}" for i in range(outs)]
    return Machine._from_rows("random", *names, [f"q{i}" for i in range(states)], symbols, rows)


def same(a: Machine, b: Machine) -> bool:
    return all(
        np.array_equal(getattr(a, k), getattr(b, k)) for k in ("symbols", "next", "output")
    ) and (a.inputs, a.outputs) == (b.inputs, b.outputs)


@pytest.mark.parametrize("task", TASKS)
def test_built_in_tasks_have_the_known_minimal_size(task):
    assert len(TASKS[task]().minimized().states) == MINIMAL[task]


def test_delays():
    assert outputs("delay1", *"1011") == "0101"
    assert outputs("delay2", *"1011") == "0010"


def test_loop3_needs_no_input():
    assert outputs("loop3", "", "", "", "", "") == "00100"


def test_parens_is_true_when_balanced():
    assert outputs("parens", *"00110101") == "00010101"


def test_parens_refuses_what_is_illegal():
    with pytest.raises(MachineError, match="symbol 1 at step 2 is illegal"):
        TASKS["parens"]().run([0, 1, 1])
    with pytest.raises(MachineError, match="step 8 is illegal"):
        TASKS["parens"]().run([0] * 9)


def test_ones_triple_locks():
    assert outputs("ones_triple", *"0101000110001") == "0111000111001"


def test_gates_switch_before_they_answer():
    assert outputs("gates", "011", "001", "111", "011", "100", "111", "111") == "0111100"


def test_cpu2_moves_and_stores():
    # store 1 in r1; move r1 to r0; store 0 in r1; move r0 to r1
    assert outputs("cpu2", "011", "110", "010", "101", "110") == "11011"


class Zeros:
    """A generator whose draws are all 0, the edge of every interval of probability."""

    def integers(self, low, high, size, dtype=np.int64):
        return np.full(size, low, dtype)

    def dirichlet(self, alpha, size):
        return np.zeros((size, len(alpha)))


def test_a_draw_on_the_edge_is_legal():
    symbols, states = TASKS["parens"]().sample(Zeros(), 1, 20)  # "(" where it is legal
    assert states[0].tolist() == [*range(9), *[7, 8] * 6]
    assert symbols[0].tolist() == [0] * 8 + [1, 0] * 6


def test_minimizing_merges_equal_states():
    twice = Machine.from_step(0, lambda n, x: ((n + 1) % 6, (n % 3 == 2,)), [])
    assert len(twice.states) == 6
    assert len(twice.minimized().states) == 3


@given(machines(), st.integers(0, 1000))
def test_minimizing_keeps_the_behaviour(machine, seed):
    small = machine.minimized()
    symbols, _ = machine.sample(np.random.default_rng(seed), 8, 12)
    for word in symbols:
        assert np.array_equal(machine.run(word)[1], small.run(word)[1])
    assert len(small.minimized().states) == len(small.states)


def test_samples_follow_the_probabilities():
    gates = TASKS["gates"]()
    symbols, states = gates.sample(np.random.default_rng(0), 20_000, 10)
    change = gates.symbols[symbols][:, :, 0] > 0
    assert abs(change.mean() - 0.3) < 0.01
    assert np.array_equal(states[:, 1:], gates.next[states[:, :-1], symbols])


def test_samples_are_legal_and_reproducible():
    parens = TASKS["parens"]()
    symbols, states = parens.sample(np.random.default_rng(1), 5000, 50)
    assert parens.legal[states[:, :-1], symbols].all()
    assert (states[:, :-1] == 8).any()
    again, _ = parens.sample(np.random.default_rng(1), 5000, 50)
    assert np.array_equal(symbols, again)


@given(machine=machines())
@settings(max_examples=50)
def test_files_give_the_machine_back(tmp_path_factory, machine):
    folder = tmp_path_factory.mktemp("machine")
    machine.save(folder / "m.parquet")
    loaded = Machine.load(folder / "m.parquet")
    assert same(machine, loaded)
    np.testing.assert_allclose(machine.probability, loaded.probability, rtol=1e-14)
    machine.save_kiss2(folder / "m.kiss2")
    read = Machine.from_kiss2(folder / "m.kiss2")
    symbols, _ = read.sample(np.random.default_rng(0), 8, 10)
    back = [[machine.symbols.tolist().index(s) for s in read.symbols[w].tolist()] for w in symbols]
    for there, here in zip(symbols, back, strict=True):
        assert np.array_equal(read.run(there)[1], machine.run(here)[1])


def test_kiss2_expands_dont_cares():
    machine = parse_kiss2(".i 2\n.o 2\n.r a\n1- a b -1\n0- a a 0-\n-- b a 11\n.e")
    assert machine.states == ("a", "b")
    assert machine.legal.all()
    assert machine.output[0, 2].tolist() == [0, 1]


def test_kiss2_expands_rows_for_every_state():
    machine = parse_kiss2(".i 1\n.o 1\n.r a\n1 * a 0\n0 a b 0\n0 b b 1\n")
    assert machine.states == ("a", "b")
    assert machine.next.tolist() == [[1, 0], [1, 0]]


def test_kiss2_starts_where_a_first_row_for_every_state_leads():
    machine = parse_kiss2(".i 1\n.o 1\n1 * a 0\n0 b b 1\n0 a b 0\n")
    assert machine.states == ("a", "b")


def test_kiss2_rows_that_demand_nothing_make_their_input_illegal():
    machine = parse_kiss2(".i 1\n.o 2\n0 a a 1-\n1 a * --\n")
    assert machine.states == ("a",)
    assert machine.symbols.tolist() == [[-1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".i 1\n.o 1\n0 a * 1\n", r"line 3: the next state is '\*'; name one, or leave"),
        (".i 1\n.o 1\n.r a\n1 * a 0\n1 a b 0\n", "line 5: contradicts"),
        (".i 1\n.o 1\n1 * * 0\n", r"no transition leaves the initial state '\*'"),
        ("", "needs a line `.i N`"),
        (".i 1\n.o 0\n", "has no outputs"),
        (".i 1\n.o 1\n", "no transitions"),
        (".i 1\n.o 1\n0 a a\n", "line 3: expected `input current next output`"),
        (".i 1\n.o 1\n2 a a 1\n", "line 3: '2' is not 1 of 0, 1, -"),
        (".i 1\n.o 1\n0 a a 11\n", "line 3: '11' is not 1 of 0, 1, -"),
        (".i 1\n.o 1\n0 a a 1\n- a a 0\n", "line 4: contradicts"),
        (".i 1\n.o 1\n0 a b 1\n", "state b has no legal input"),
        (".i 1\n.o 1\n.r z\n0 a a 1\n", "no transition leaves the initial state 'z'"),
        (".i 999\n.o 1\n0 a a 1\n", "N from 0 to 12"),
    ],
)
def test_kiss2_errors_name_the_line(text, message):
    with pytest.raises(MachineError, match=message):
        parse_kiss2(text)


def test_a_step_function_must_fit_its_outputs():
    with pytest.raises(MachineError, match="gave 2 outputs, not 1"):
        Machine.from_step(0, lambda s, x: (s, (True, False)), ["x"])


def test_an_endless_state_space_is_refused(monkeypatch):
    monkeypatch.setattr("bonsai.machine.MAX_STATES", 50)
    with pytest.raises(MachineError, match="more than 50 reachable states"):
        Machine.from_step(0, lambda n, x: (n + 1, (True,)), [])


def test_a_table_of_another_kind_is_refused(tmp_path):
    from bonsai.artifact import save_table

    save_table(tmp_path / "m.parquet", "dataset", {"state": [1]})
    with pytest.raises(ArtifactError, match="expected a file of kind 'machine'"):
        Machine.load(tmp_path / "m.parquet")


LANGUAGES = {  # Tomita's, as regular expressions or conditions on the word read so far
    "tomita1": lambda w: re.fullmatch("1*", w),
    "tomita2": lambda w: re.fullmatch("(10)*", w),
    "tomita3": lambda w: not re.search("(?<!1)1(11)*(?!1).*(?<!0)0(00)*(?!0)", w),
    "tomita4": lambda w: "000" not in w,
    "tomita5": lambda w: w.count("0") % 2 == 0 and w.count("1") % 2 == 0,
    "tomita6": lambda w: (w.count("0") - w.count("1")) % 3 == 0,
    "tomita7": lambda w: re.fullmatch("0*1*0*1*", w),
}


@pytest.mark.parametrize("task", LANGUAGES)
def test_languages_are_tomitas(task):
    rng = np.random.default_rng(0)
    for n in range(200):
        word = "".join(rng.choice(["0", "1"], 12, p=[(p := [0.2, 0.5, 0.8][n % 3]), 1 - p]))
        expected = "".join("01"[bool(LANGUAGES[task](word[: i + 1]))] for i in range(12))
        assert outputs(task, *word) == expected, word


def values(*numbers, bits):
    """Integers as words of bits, the least significant first."""
    return [format(n, f"0{bits}b")[::-1] for n in numbers]


def test_integers_are_read_and_written_least_significant_bit_first():
    x = [2, 4, 3, 0, 1]
    assert outputs("add_mod5", *values(*x, bits=3)) == "".join(values(2, 1, 4, 4, 0, bits=3))
    digits = zip(values(6, 5, 0, bits=3), values(6, 1, 0, bits=3), strict=True)
    assert outputs("base7_addition", *map("".join, digits)) == "".join(values(5, 0, 1, bits=3))
    assert outputs("min_seen", *values(7, 9, 4, 5, bits=4)) == "".join(values(7, 7, 4, 4, bits=4))
    assert outputs("div5", *"11011") == "00101"  # 27 // 5
    assert outputs("dithering", *values(8, 8, 15, 14, bits=4)) == "0111"
    assert outputs("previous_equals_current", *values(0, 3, 3, 0, bits=3)) == "1010"
    assert outputs("perfect_square_detector", *values(0, 3, 16, 18, bits=5)) == "1010"


def test_cpu4_stores_moves_inverts_and_combines():
    # op0 op1 a0 a1 b0 b1 i: reg1 = 1; reg2 = not reg1; reg3 = reg1; reg3 ^= reg1; reg1 ^= reg2
    words = "0000101", "0110010", "1010110", "1110110", "1101100"
    assert outputs("cpu4", *words) == "10101"


def test_tilted_words_walk_to_transitions_that_random_ones_hardly_meet():
    machine = TASKS["parens"]()
    least = []
    for tilted in (0.0, 1.0):
        symbols, states = machine.sample(np.random.default_rng(0), 1000, 16, tilted)
        found = np.zeros(machine.next.shape, int)
        np.add.at(found, (states[:, :-1], symbols), 1)
        assert not found[~machine.legal].any()
        least.append(found[machine.legal].min())
    assert least[1] > 3 * least[0]


def test_a_walk_goes_the_shortest_way():
    machine = TASKS["parens"]()  # a chain of depths, with "(" down and ")" up
    towards = machine.towards()
    depth = np.arange(9)
    expected = np.where(depth[:, None] < depth, 0, 1)
    np.fill_diagonal(expected, -1)
    assert (towards == expected).all()
