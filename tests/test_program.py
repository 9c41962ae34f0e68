"""Programs from graphs: their text, run as Python, against the task; and that wrong ones end."""

import doctest
import json
import re
import types
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from graphs import RIGHT, build, divided, division, lookup
from hypothesis import given, settings
from hypothesis import strategies as st

from bonsai.certificate import Certificate
from bonsai.design import countings
from bonsai.extract import ExtractError, Extraction, described, example, extract
from bonsai.graph import Graph
from bonsai.kiss2 import parse_kiss2
from bonsai.levels import Automaton
from bonsai.logic import Expr, negated, signal
from bonsai.machine import Machine
from bonsai.program import Assignment, Program, ProgramError, Variable, identifiers, prove_equal
from bonsai.prove import prove
from bonsai.sums import compared, summed
from bonsai.tasks import TASKS
from stages.extract import stage

GRAPHS = {**RIGHT, "gates": lookup(TASKS["gates"]()), "cpu2": lookup(TASKS["cpu2"]())}
GRAPHS["division"] = division
PUBLISHED = SimpleNamespace(lines=None, literals=None)


def proven(graph: Graph, machine: Machine) -> Certificate:
    certificate = prove(graph, machine)
    assert isinstance(certificate, Certificate), certificate
    return certificate


def derived(graph: Graph, machine: Machine) -> Extraction:
    return extract(graph, machine, proven(graph, machine))


@pytest.fixture(scope="module")
def extractions() -> dict[str, Extraction]:
    every = TASKS | {"division": divided}
    return {task: derived(GRAPHS[task], every[task]().minimized()) for task in GRAPHS}


def run(text: str, word: list[tuple[bool, ...]]) -> list[tuple[bool, ...]]:
    """What the program of a file yields for a word."""
    module = types.ModuleType("program")
    exec(compile(text, "program.py", "exec"), module.__dict__)
    return list(module.program(iter(word)))


def random_words(machine: Machine, count: int, length: int) -> list[list[int]]:
    symbols, _ = machine.sample(np.random.default_rng(3), count, length)
    return symbols.tolist()


def tells_apart(text: str, machine: Machine) -> bool:
    """Whether the file's program has an output on some legal word that the task has not.

    Tries every word up to a length, and long ones.
    """
    few = [()] if not machine.inputs else range(len(machine.symbols))
    length = 12 if len(few) == 1 else 7 if len(few) == 2 else 3
    words = [list(w) for w in product(range(len(machine.symbols)), repeat=length)]
    for word in [*words, *random_words(machine, 20, 200)]:
        legal, q = [], 0
        for a in word:
            if machine.next[q, a] < 0:
                break
            legal.append(a)
            q = int(machine.next[q, a])
        _, y = machine.run(legal)
        bits = [tuple(bool(b > 0) for b in machine.symbols[a]) for a in legal]
        yielded = np.array(run(text, bits)).reshape(y.shape)
        if ((y != 0) & (yielded != (y > 0))).any():
            return True
    return False


@pytest.mark.parametrize("task", GRAPHS)
def test_the_text_has_the_outputs_of_the_task(extractions, task: str) -> None:
    e = extractions[task]
    text = e.program.text(task, [], example(e.task))
    assert not tells_apart(text, e.task)


@pytest.mark.parametrize("task", GRAPHS)
def test_the_program_is_the_task_as_a_machine(extractions, task: str) -> None:
    e = extractions[task]
    found = prove_equal(e.program, e.task).minimized()
    assert len(found.states) == len(e.task.states)


@pytest.mark.parametrize("task", GRAPHS)
def test_the_doctest_passes(extractions, task: str) -> None:
    e = extractions[task]
    module = types.ModuleType("program")
    exec(e.program.text(task, ["Facts."], example(e.task)), module.__dict__)
    assert doctest.testmod(module) == doctest.TestResults(0, 2)


@pytest.mark.parametrize(
    ("task", "code"),
    [
        ("delay1", ["yield (last_x,)", "last_x = x"]),
        ("delay2", ["yield (x_2_ago,)", "last_x, x_2_ago = x, last_x"]),
        ("loop3", ["s, t = s == t, s", "yield (s,)"]),
        ("parens", ["count = count - 1 if x else count + 1", "yield (count == 0,)"]),
    ],
)
def test_it_is_what_a_reader_would_write(extractions, task: str, code: list[str]) -> None:
    assert [line.strip() for line in extractions[task].program.code()[2:]] == code


@pytest.mark.parametrize(
    ("task", "most"),
    [("loop3", 4), ("ones_triple", 7), ("parens", 4), ("gates", 13), ("cpu2", 15)],
)
def test_no_more_literals_than_have_been_reached(extractions, task: str, most: int) -> None:
    assert extractions[task].program.literals <= most


def test_the_size_counts_what_is_written(extractions) -> None:
    p = extractions["cpu2"].program
    assert p.lines == len(p.code()) == 5
    assert p.signals == 3  # the two registers and the output
    code = " ".join(p.code()[2:])
    read = re.findall(r"\w+", re.sub(r"\b(y|s0, s1) =|yield \(y,\)|if|else|and|or|not", "", code))
    assert p.literals == len(read)


@st.composite
def machines(draw) -> Machine:
    """Small machines with illegal inputs and don't-care outputs."""
    states, bits = draw(st.integers(1, 5)), draw(st.integers(0, 2))
    rows = [f".i {bits}", ".o 2", ".r s0"]
    for q in range(states):
        legal = draw(st.lists(st.booleans(), min_size=2**bits, max_size=2**bits))
        for a in range(2**bits):
            if legal[a] or a == 0:
                cube = format(a, f"0{bits}b") if bits else ""
                after = draw(st.integers(0, states - 1))
                y = draw(st.sampled_from(["00", "01", "10", "11", "1-", "-0"]))
                rows.append(f"{cube} s{q} s{after} {y}")
    return parse_kiss2("\n".join(rows)).minimized()


@given(machines())
@settings(max_examples=25, deadline=None)
def test_any_machine_looked_up_becomes_a_program(machine: Machine) -> None:
    e = derived(lookup(machine), machine)
    assert not tells_apart(e.program.text("random", [], example(machine)), machine)


def test_three_levels_become_a_lookup() -> None:
    """One state walks -1, 0, 1 and back to -1: with factor 1, A(2) = 0, A(-1) = 1, A(-4) = -1."""
    cycle = build("", {"s": (-1, "r")}, {"r": (-1, {"s": -3})}, {"y": (-0.5, {"s": 1})}, factor=1)
    e = derived(cycle, TASKS["loop3"]())
    assert [line.strip() for line in e.program.code()[2:]] == [
        "s = (1, 2, 0)[s]",
        "yield (s == 0,)",
    ]
    assert not tells_apart(e.program.text("loop3", [], []), e.task)
    assert e.values[0] == [0, 1, 2]


def test_a_network_that_counts_becomes_a_sum(extractions) -> None:
    e = extractions["division"]
    assert e.program.variables == (Variable("count", 0, 0, 21),)
    assert [line.strip() for line in e.program.code()[2:]] == [
        "count = 2 * count + x - 22 * (count >= 11)",
        "yield (count >= 11,)",
    ]
    assert e.values[1] == [*range(21, -1, -1)]


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (lambda n, x, y: n - 3 * y + 1, "n + 1 - 3 * (n >= 2)"),
        (lambda n, x, y: -n - 2, "-n - 2"),
        (lambda n, x, y: (n - x * 1 + (n - x) % 2) // 2, None),
        (lambda n, x, y: x - 5 * y, None),  # no integer is kept
        (lambda n, x, y: n * x, None),
    ],
)
def test_what_a_sum_can_be(target, text) -> None:
    n, x = (v.reshape(-1) for v in np.meshgrid(np.arange(5), np.arange(2)))
    y = n >= 2
    terms = [signal("n"), signal("x"), Expr("compare", (signal("n"),), ">= 2")]
    found = summed(terms, np.column_stack([n, x, y]), target(n, x, y))
    assert (found and str(found)) == text


def test_half_of_a_sum() -> None:
    """The carry of an addition: what the integer is halved with."""
    n, x = np.array([0, 1, 2, 3, 2, 5]), np.array([0, 1, 0, 1, 0, 1])
    found = summed([signal("n"), signal("x")], np.column_stack([n, x]), (n + x) // 2)
    assert str(found) == "(n + x) // 2"
    assert [found.evaluate({"n": a, "x": bool(b)}) for a, b in zip(n, x, strict=True)] == [
        0, 1, 1, 2, 1, 3,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("numbers", "wanted", "text"),
    [
        ([0, 1, 2, 3], [-1, -1, 1, 1], "n >= 2"),
        ([0, 1, 2, 3], [1, 0, 0, -1], "n < 3"),
        ([0, 1], [1, 0], "True"),
        ([0, 1], [0, -1], "False"),
        ([0, 1, 2], [-1, 1, -1], None),
        ([1, 1], [-1, 1], None),
    ],
)
def test_outputs_that_a_number_tells(numbers, wanted, text) -> None:
    found = compared(signal("n"), np.array(numbers), np.array(wanted))
    assert (found and str(found)) == text


@pytest.mark.parametrize("blurred", [(0,), (1,), (0, 1)])
def test_what_no_levels_tell_is_a_variable_of_its_own(blurred: tuple[int, ...]) -> None:
    """Boxes that overlap in some state nodes: the certificate alone tells the task's state."""
    machine = TASKS["delay2"]().minimized()
    c = proven(RIGHT["delay2"], machine)
    low, high = c.low.copy(), c.high.copy()
    for column in blurred:
        low[:, column], high[:, column] = -1, 1
    boxes = replace(c, kind="boxes", arithmetic="any float32", low=low, high=high)
    e = extract(RIGHT["delay2"], machine, boxes)
    assert not tells_apart(e.program.text("delay2", [], []), machine)
    assert e.remark is not None
    assert "in no node" in e.remark
    assert len(e.hidden) == len(blurred)
    assert len(e.program.variables) == 2


def test_a_program_whose_variables_are_levels_needs_no_remark() -> None:
    assert derived(RIGHT["delay2"], TASKS["delay2"]()).remark is None


def test_equal_outputs_are_formed_once() -> None:
    rows = (f"{a:03b} s s {y}{y}{1 - y}" for a in range(8) for y in [int(a in (1, 2, 4, 7))])
    machine = parse_kiss2("\n".join([".i 3", ".o 3", *rows]))
    e = derived(lookup(machine), machine)
    assert e.program.literals <= 5
    assert not tells_apart(e.program.text("parity", [], []), machine)


def test_a_ladder_that_falls_is_counted_upwards() -> None:
    """The counter of `parens`, starting at its top."""
    down = build(
        "x",
        {"s": (1, "r")},
        {"r": (0, {"s": -1, "x": -0.25})},
        {"y": (-0.875, {"r": 1})},
        factor=1,
        leak=0.1,
    )
    e = derived(down, TASKS["parens"]())
    assert e.program.variables == (Variable("count", 0, 0, 8),)
    assert e.values[1] == [8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_a_wrong_program_is_never_accepted(extractions) -> None:
    """Every formula of every program, negated or cut down, is told from the task or equals it."""
    for e in extractions.values():
        machine = e.task
        for wrong in mutants(e.program):
            text = wrong.text("wrong", [], [])
            try:
                prove_equal(wrong, machine)
            except ProgramError:
                assert tells_apart(text, machine)
            else:
                assert not tells_apart(text, machine)


def mutants(program: Program) -> list[Program]:
    found = []
    boolean = {v.name for v in program.variables if v.boolean}
    if program.update:
        for n, (target, e) in enumerate(
            zip(program.update.targets, program.update.values, strict=True)
        ):
            parts = [negated(e)] if target in boolean else [Expr("+", (e,), 1)]
            for wrong in [*parts, *(a for a in e.args if target in boolean)]:
                values = (*program.update.values[:n], wrong, *program.update.values[n + 1 :])
                found.append(replace(program, update=Assignment(program.update.targets, values)))
    found += [replace(program, outputs=tuple(map(negated, program.outputs)))]
    for n, v in enumerate(program.variables):
        if v.boolean:
            start = (*program.variables[:n], replace(v, initial=not v.initial))
            found.append(replace(program, variables=(*start, *program.variables[n + 1 :])))
    return found


def test_the_error_names_a_shortest_word() -> None:
    late = Variable("s", False)
    program = Program(
        ("x",), (late,), (), Assignment(("s",), (signal("x"),)), (), (signal("x"),), True
    )
    with pytest.raises(ProgramError, match=r"after \[\[1\]\] it yields \[1\], not \[-1\]"):
        prove_equal(program, TASKS["delay1"]())


def test_a_counter_that_leaves_its_range_is_refused() -> None:
    up = Assignment(("n",), (Expr("+", (signal("n"),), 1),))
    program = Program((), (Variable("n", 0, 0, 5),), (), up, (), (signal("n"),), True)
    with pytest.raises(ProgramError, match="n becomes 6"):
        prove_equal(program, TASKS["loop3"]())


def test_names_are_words_of_both_languages() -> None:
    names = identifiers(["s0.1", "s0_1", "class", "reg", "2x", "", "inputs", "é"], ["s0_1"])
    assert len(set(names)) == 8
    assert all(name.isidentifier() and name.isascii() for name in names)
    assert not set(names) & {"class", "reg", "inputs", "s0_1"}


def test_logic_says_where_every_signal_is(extractions) -> None:
    for task, e in extractions.items():
        text = e.program.text(task, [], example(e.task))
        found = described(e, text)
        lines = text.splitlines()
        for s in found["signals"]:
            assert len(s["values"]) == len(s["levels"])
            assert s["levels"] == sorted(s["levels"])
            if s["line"] is not None:
                assert s["function"] in lines[s["line"]]
        assert [s["node"] for s in found["signals"]] == [n.name for n in e.graph.nodes]
        assert {s["state"] for s in found["states"]} == set(range(len(e.mealy.states)))
        json.dumps(found)


@pytest.mark.parametrize(
    ("levels", "symbols", "ways"),
    [
        (2, 4, [False]),  # a Boolean
        (9, 4, [True, False]),
        (15, 16, [True]),  # 14 Booleans on 240 rows
        (2, 2048, [False]),
        (2, 4096, []),
        (30, 2, [False]),
        (30, 16, []),
    ],
)
def test_states_of_very_many_levels_are_left_out_of_programs(levels, symbols, ways) -> None:
    after = np.zeros((levels, symbols), int)
    own = Automaton((), np.arange(levels)[:, None], after, after[:, :, None], np.zeros(1, int))
    assert countings(own) == ways


@pytest.mark.parametrize("longest", [4, 100])
def test_formulas_on_very_many_rows_may_not_be_long(monkeypatch, longest: int) -> None:
    monkeypatch.setattr("bonsai.design.ENTRIES", 0)
    monkeypatch.setattr("bonsai.design.LONGEST", longest)
    machine = TASKS["gates"]().minimized()
    if longest == 100:
        assert derived(GRAPHS["gates"], machine).program.literals <= 13
    else:
        with pytest.raises(ExtractError, match="no automaton"):
            derived(GRAPHS["gates"], machine)


def test_an_unproven_graph_has_no_program() -> None:
    with pytest.raises(ExtractError, match="not proven"):
        extract(RIGHT["delay1"], TASKS["delay1"](), Certificate.empty(1))


def make(folder, task: str, certificate: Certificate | None, **proof) -> None:
    machine = TASKS[task]().minimized()
    machine.save(folder / "machine.parquet")
    RIGHT[task].save(folder)
    (certificate or Certificate.empty(1)).save(folder / "certificate.npz")
    plain = {
        "plant": task, "task": task, "proven": certificate is not None, "certificate": "points",
        "certificate_states": 2, "margin": 1.0, "arithmetic": "exact", "counterexample": None,
        "reason": None, "restart": 0, "candidate": 0, "grid": {}, "neurons": 2, "weights": 3,
        "biases": 0, "states": 1, "proven_restarts": 1, "tried": 1, "rounded": {},
        "weights_pruned": 3, "biases_pruned": 0,
    }  # fmt: skip
    (folder / "proof.json").write_text(json.dumps({**plain, **proof}))
    stage(SimpleNamespace(name=task, published=PUBLISHED), folder)


NAMES = ("program.py", "logic.json", "circuit.v", "automaton.kiss2", "automaton.svg")


def test_the_stage_writes_the_same_bytes_twice(tmp_path) -> None:
    machine = TASKS["delay1"]()
    certificate = prove(RIGHT["delay1"], machine)
    for n in "ab":
        make(tmp_path / n, "delay1", certificate)
    for name in NAMES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    logic = json.loads((tmp_path / "a/logic.json").read_text())
    assert logic["program"]["text"] == (tmp_path / "a/program.py").read_text()
    assert (logic["reason"], logic["by_hand"]) == (None, None)
    found = Machine.from_kiss2(tmp_path / "a/automaton.kiss2")
    assert (found.next == machine.next).all()
    assert (found.output == machine.output).all()


def test_the_stage_says_why_nothing_is_derived(tmp_path) -> None:
    make(tmp_path, "delay1", None)
    logic = json.loads((tmp_path / "logic.json").read_text())
    assert logic["program"] is None
    for name in NAMES:
        assert "not proven" in (tmp_path / name).read_text()
    exec((tmp_path / "program.py").read_text(), {})
