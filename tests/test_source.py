"""Tasks from files: state machines, truth tables, and Python step functions."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from bonsai.machine import Machine, MachineError
from bonsai.source import load_task, parse_pla, read_task
from bonsai.tasks import delay2, gates

ADDER = """
.i 2
.o 2
.ilb a b
.ob sum carry
10 10
01 10
11 01
.e
"""

SUM = """
inputs = ["a", "b"]
outputs = ["sum"]
initial = 0


def step(carry, bits):
    total = carry + sum(bits)
    return total // 2, (total % 2,)
"""


def table(machine: Machine) -> list[str]:
    """Outputs of a machine of one state, an input symbol each."""
    return ["".join("0-1"[v + 1] for v in y) for y in machine.output[0].tolist()]


def python(folder: Path, text: str) -> Path:
    path = folder / "task.py"
    path.write_text(text)
    return path


# ---- where a task may lie


def test_a_task_by_name_and_by_path(tmp_path):
    assert load_task("delay2", tmp_path).states == delay2().states
    delay2().save_kiss2(tmp_path / "tasks/mine.kiss2")
    assert len(load_task("tasks/mine.kiss2", tmp_path).states) == 4


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("delay3", "no task 'delay3'; there are delay1, delay2"),
        ("../outside.kiss2", "lies outside of this project's folder tasks"),
        ("other.py", "lies outside of this project's folder tasks"),
        ("tasks/../other.py", "lies outside of this project's folder tasks"),
        ("tasks/link.kiss2", "lies outside of this project's folder tasks"),
        ("tasks/none.kiss2", "no such file"),
        ("tasks/folder.kiss2", "no such file"),
        ("tasks/broken.kiss2", r"broken\.kiss2, line 1: expected"),
    ],
)
def test_a_task_elsewhere_is_refused(tmp_path, source, said):
    project = tmp_path / "project"
    (project / "tasks/folder.kiss2").mkdir(parents=True)
    delay2().save_kiss2(tmp_path / "outside.kiss2")
    (project / "tasks/link.kiss2").symlink_to(tmp_path / "outside.kiss2")
    (project / "tasks/broken.kiss2").write_text("nothing\n")
    (project / "other.py").write_text("raise AssertionError('it was executed')")
    with pytest.raises(MachineError, match=said):
        load_task(source, project)


def test_the_kind_of_a_file_is_the_end_of_its_name(tmp_path):
    (tmp_path / "task.txt").write_text(ADDER)
    with pytest.raises(MachineError, match=r"\.kiss2, \.pla, \.py"):
        read_task(tmp_path / "task.txt")


def test_a_large_file_is_refused(tmp_path):
    path = tmp_path / "large.kiss2"
    with path.open("wb") as file:
        file.truncate(1 << 32)
    with pytest.raises(MachineError, match="is larger than"):
        read_task(path)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"\x00" * 100])
@pytest.mark.parametrize("kind", ["kiss2", "pla", "py"])
def test_a_file_of_something_else_is_refused(tmp_path, kind, content):
    path = tmp_path / f"task.{kind}"
    path.write_bytes(content)
    with pytest.raises(MachineError, match=f"task.{kind}"):
        read_task(path)


# ---- truth tables


def test_a_truth_table_is_a_machine_of_one_state(tmp_path):
    (tmp_path / "adder.pla").write_text(ADDER)
    machine = read_task(tmp_path / "adder.pla").minimized()
    assert machine.name == "adder"
    assert (machine.inputs, machine.outputs) == (("a", "b"), ("sum", "carry"))
    assert machine.next.tolist() == [[0, 0, 0, 0]]
    assert table(machine) == ["00", "10", "10", "01"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("f", ["0", "0", "1", "1"]),
        ("fd", ["0", "-", "1", "1"]),
        ("fr", ["0", "-", "1", "1"]),
        ("fdr", ["0", "-", "1", "1"]),
    ],
)
def test_what_a_row_says_depends_on_the_type(kind, expected):
    assert table(parse_pla(f".i 2\n.o 1\n.type {kind}\n1- 1\n01 -\n00 0\n")) == expected


def test_what_no_row_says_depends_on_the_type():
    rows = ".i 2\n.o 1\n11 1\n"
    assert table(parse_pla(rows)) == ["0", "0", "0", "1"]
    assert table(parse_pla(".type fr\n" + rows)) == ["-", "-", "-", "1"]


def test_rows_may_be_written_with_a_bar_and_with_espressos_digits():
    assert table(parse_pla(".i 2\n.o 2\n1 2|41 # both\n00|~2\n")) == ["0-", "00", "11", "11"]


def test_a_function_of_nothing():
    assert table(parse_pla(".i 0\n.o 1\n1\n")) == ["1"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"needs a line `\.i N`"),
        (".i 2\n.o 1\n", "has 0 rows"),
        (".i 2\n.o 0\n11\n", "has no outputs"),
        (".i 2\n.o 1\n11 1 1\n", "line 3: expected 2 inputs and 1 outputs"),
        (".i 2\n.o 1\n1x 1\n", "line 3: '1x' is not 2 of 0, 1, -"),
        (".i 2\n.o 1\n11 x\n", "line 3: expected 2 inputs"),
        (".i 2\n.o 1\n.type g\n11 1\n", "type 'g' is none of f, fd"),
        (".i 2\n.o 1\n.mv 3 2 1\n11 1\n", r"line 3: '\.mv' is not known"),
        (".i 2\n.o 1\n.type fr\n1- 1\n11 0\n", "line 5: contradicts"),
        (".i 13\n.o 1\n1 1\n", "N from 0 to 12"),
        (f".i {'9' * 5000}\n.o 1\n1 1\n", r"N from 0 to 12, has '9+\.\.\.'$"),
        (".i 2\n.o 1\n.ilb a a\n11 1\n", "2 names for 2 bits: 'a a'"),
    ],
)
def test_errors_in_truth_tables_name_the_line(text, said):
    with pytest.raises(MachineError, match=said):
        parse_pla(text)


@pytest.mark.parametrize("kind", ["kiss2", "pla"])
def test_many_rows_that_stand_for_many_are_refused(tmp_path, kind):
    row = "-" * 12 + (" a a " if kind == "kiss2" else " ") + "1" * 1024 + "\n"
    path = tmp_path / f"large.{kind}"
    path.write_text(".i 12\n.o 1024\n" + row * 4000)
    with pytest.raises(MachineError, match=r"is larger than|more than"):
        read_task(path)


def test_a_million_states_are_refused(tmp_path):
    path = tmp_path / "long.kiss2"
    path.write_text(".i 0\n.o 1\n" + "".join(f"{n} {n + 1} 1\n" for n in range(200_000)))
    with pytest.raises(MachineError, match=r"long\.kiss2: more than 100000 states"):
        read_task(path)


def test_states_that_only_long_words_tell_apart_are_refused(monkeypatch):
    monkeypatch.setattr("bonsai.machine.MAX_REFINING", 20_000)
    slow = Machine.from_step(0, lambda n, _: (min(n + 1, 400), (n == 400,)), [])
    with pytest.raises(MachineError, match="401 states are too many to be minimised"):
        slow.minimized()


# ---- Python files


def test_a_step_function_is_enumerated(tmp_path):
    machine = read_task(python(tmp_path, SUM))
    assert (machine.name, machine.inputs, machine.outputs) == ("task", ("a", "b"), ("sum",))
    assert machine.next.tolist() == [[0, 0, 0, 1], [0, 1, 1, 1]]
    assert machine.output[:, :, 0].tolist() == [[-1, 1, 1, -1], [1, -1, -1, 1]]


def test_weights_and_dont_cares(tmp_path):
    text = """
inputs, outputs, initial, name = ["x"], ("y", "z"), "start", "other"
def step(state, bits):
    return "on", (bits[0], None)
def weight(state, bits):
    return 3 if bits[0] else state == "on"
"""
    machine = read_task(python(tmp_path, text))
    assert machine.name == "other"
    assert machine.states == ("start", "on")
    assert machine.legal.tolist() == [[False, True], [True, True]]
    assert machine.probability.tolist() == [[0, 1], [0.25, 0.75]]
    assert machine.output[1].tolist() == [[-1, 0], [1, 0]]


def test_states_of_other_kinds_are_numbered(tmp_path):
    """Their own texts may differ from run to run."""
    text = """
from __future__ import annotations
from dataclasses import dataclass
@dataclass(frozen=True)
class Seen:
    letters: frozenset[str]
inputs, initial = ["x"], Seen(frozenset())
def step(seen, bits):
    seen = Seen(seen.letters | {"ab"[bits[0]]})
    return seen, (len(seen.letters) == 2,)
"""
    assert read_task(python(tmp_path, text)).states == ("s0", "s1", "s2", "s3")


def test_executing_a_task_leaves_nothing_behind(tmp_path):
    before = set(sys.modules), list(sys.path)
    read_task(python(tmp_path, SUM))
    assert [p.name for p in tmp_path.iterdir()] == ["task.py"]
    assert (set(sys.modules), list(sys.path)) == before


FAILS = "inputs = ['x']\ninitial = 0\ndef step(state, bits):\n    "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def step(:", r"task\.py, line 1: invalid syntax"),
        ("\nimport nothing_like_it", r"task\.py, line 2: ModuleNotFoundError: No module"),
        ("raise SystemExit(3)", r"task\.py, line 1: SystemExit: 3"),
        ("inputs = []\ninitial = 0", "has no `step` at its top level; see bonsai.source"),
        (SUM + "inputs = 'ab'\n", "`inputs` is 'ab', not a list of names"),
        (SUM + "inputs = ['a', 'a']\n", "`inputs` holds a name twice"),
        (SUM + "inputs = ['a b']\n", "`inputs` holds 'a b', which is not a word"),
        (SUM + "outputs = []\n", "has no outputs"),
        (SUM + "name = 7\n", "`name` is '7'"),
        (SUM + "inputs = [f'x{i}' for i in range(13)]\n", "13 input bits, at most 12"),
        (SUM + "initial = []\n", "unhashable"),
        (FAILS + "return 1 // state, (True,)", r"line 4: step\(0, \(0,\)\) fails: ZeroDivision"),
        (FAILS + "raise ValueError('a\\nb')", "fails: ValueError: a b$"),
        (FAILS + "exit()", r"step\(0, \(0,\)\) fails: SystemExit"),
        (FAILS + "return step(state, bits)", "line 4: .* fails: RecursionError"),
        (FAILS + "return [state], (True,)", "fails: TypeError: unhashable|cannot use 'list'"),
        (FAILS + "return True", "return the next state, and a tuple of the outputs"),
        (FAILS + "return state, True", "its outputs are True, not a tuple of 1: y"),
        (FAILS + "return state, (True, False)", r"its outputs are \(True, False\), not a tuple"),
        (FAILS + "return state, (-1,)", "an output is -1, not False, True or None"),
        (FAILS + "return state, ('no',)", "an output is 'no', not False, True or None"),
        (FAILS + "return state + 1, (True,)", "more than 100000 states|100000 reachable states"),
        (FAILS + "return object(), (True,)", "is not the same when it is called again"),
        (SUM + "def weight(state, bits): return -1", r"weight of .* is -1\.0; it may be 0"),
        (SUM + "def weight(state, bits): return 0", "state 0 has no legal input"),
        (SUM + "def weight(state, bits): return 'x'", r"weight\(0, \(0, 0\)\) fails: ValueError"),
    ],
)
def test_errors_in_python_tasks_are_one_line_that_names_the_file(tmp_path, text, said):
    with pytest.raises(MachineError, match=said) as error:
        read_task(python(tmp_path, text))
    assert str(error.value).startswith(str(tmp_path / "task.py"))
    assert "\n" not in str(error.value)


def test_an_object_that_fails_at_everything_is_refused(tmp_path):
    text = """
class Awful:
    def __repr__(self): raise ValueError("repr")
    def __hash__(self): return 0
    def __eq__(self, other): raise ValueError("eq")
inputs, initial = ["x"], 0
def step(state, bits):
    return Awful(), (True,)
"""
    with pytest.raises(MachineError, match=r"step\(0, \(0,\)\) fails: ValueError: eq"):
        read_task(python(tmp_path, text))


def test_the_same_task_from_three_kinds_of_files(tmp_path):
    """XOR as a state machine, a truth table and a step function."""
    (tmp_path / "xor.kiss2").write_text(".i 2\n.o 1\n01 s s 1\n10 s s 1\n00 s s 0\n11 s s 0\n")
    (tmp_path / "xor.pla").write_text(".i 2\n.o 1\n01 1\n10 1\n")
    xor = "inputs, initial = ['x0', 'x1'], 0\ndef step(s, x): return s, (x[0] != x[1],)\n"
    (tmp_path / "xor.py").write_text(xor)
    found = [read_task(tmp_path / f"xor.{kind}") for kind in ("kiss2", "pla", "py")]
    for machine in found:
        assert machine.inputs == ("x0", "x1")
        assert np.array_equal(machine.output, found[0].output)
        assert np.array_equal(machine.symbols, found[0].symbols)


def test_built_in_tasks_are_not_files(tmp_path):
    """A file of that name in the working directory is not read in their place."""
    shutil.copy(python(tmp_path, SUM), tmp_path / "gates")
    assert load_task("gates", tmp_path).inputs == gates().inputs
