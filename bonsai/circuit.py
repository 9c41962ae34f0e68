"""A program as synthesisable Verilog: a register for each state variable, and a test bench.

An integer variable is a signed register wide enough for its range. The bench feeds one legal word
and compares: `NAME_check` is synthesisable itself, `bench` runs it in a simulator.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from bonsai.logic import Expr
from bonsai.machine import Machine
from bonsai.program import Program, Variable, identifiers

STEPS = 64  # of the word in the test bench


def verilog(program: Program, task: Machine) -> str:
    """The modules NAME, NAME_check and bench; NAME is the task's, as an identifier.

    Ports of NAME: clk, reset (synchronous), and the task's inputs and outputs. Outputs are
    combinational: they belong to the inputs and the state before the clock's edge.
    """
    inside = {t for a in program.body for t in a.targets}
    taken = sorted({*program.inputs, *inside, "clk", "reset", "bench", "step", "failed"})
    (name,) = identifiers([task.name], taken)
    ports = identifiers([f"{n}_out" if n in taken else n for n in task.outputs], taken)
    after = identifiers([f"{v.name}_next" for v in program.variables], [*taken, *ports, name])
    names = {v.name: n for v, n in zip(program.variables, after, strict=True)}
    width = {v.name: _width(v) for v in program.variables}
    lines = [f"module {name}("]
    bits = ["clk", "reset", *program.inputs]
    lines += [f"    input wire {bit}," for bit in bits]
    lines += [f"    output wire {port}{',' * (port != ports[-1])}" for port in ports]
    lines.append(");")
    for v in program.variables:
        lines.append(f"    reg {width[v.name]}{v.name} = {_number(v.initial)};")
    for a in program.before:
        for target, e in zip(a.targets, a.values, strict=True):
            lines.append(f"    wire {target} = {_text(e, {})};")
    if program.update:
        for target, e in zip(program.update.targets, program.update.values, strict=True):
            lines.append(f"    wire {width[target]}{names[target]} = {_text(e, {})};")
    late = {} if program.early else names
    for a in program.after:
        for target, e in zip(a.targets, a.values, strict=True):
            lines.append(f"    wire {target} = {_text(e, late)};")
    for port, e in zip(ports, program.outputs, strict=True):
        lines.append(f"    assign {port} = {_text(e, late)};")
    if program.variables:
        lines += ["    always @(posedge clk)", "        if (reset) begin"]
        lines += [f"            {v.name} <= {_number(v.initial)};" for v in program.variables]
        lines += ["        end else begin"]
        lines += [f"            {v.name} <= {names[v.name]};" for v in program.variables]
        lines += ["        end"]
    lines += ["endmodule", ""]
    return "\n".join([*lines, *_bench(name, program.inputs, ports, task)]) + "\n"


def _bench(name: str, inputs: Sequence[str], outputs: Sequence[str], task: Machine) -> list[str]:
    symbols, _ = task.sample(np.random.default_rng(1), 1, STEPS)
    _, y = task.run(symbols[0].tolist())
    x = task.symbols[symbols[0]]
    columns = {
        **{f"given_{n}": bit > 0 for n, bit in zip(inputs, x.T, strict=True)},
        **{f"wanted_{n}": bit > 0 for n, bit in zip(outputs, y.T, strict=True)},
        **{f"cared_{n}": bit != 0 for n, bit in zip(outputs, y.T, strict=True)},
    }
    words = [
        f"    localparam [{STEPS - 1}:0] {column} = {STEPS}'b"
        + "".join(str(int(bit)) for bit in bits[::-1])
        + ";"
        for column, bits in columns.items()
    ]
    last = (STEPS - 1).bit_length()
    given = [f".{n}(given_{n}[step[{last - 1}:0]])" for n in inputs]
    ports = ", ".join([".clk(clk)", ".reset(1'b0)", *given, *(f".{n}(out_{n})" for n in outputs)])
    wrong = " || ".join(
        f"(cared_{n}[step[{last - 1}:0]] && out_{n} != wanted_{n}[step[{last - 1}:0]])"
        for n in outputs
    )
    return [
        f"// {STEPS} steps of {name}: `failed` after the first wrong output.",
        f"module {name}_check(",
        "    input wire clk,",
        f"    output reg [{last}:0] step,",
        "    output reg failed",
        ");",
        *words,
        *(f"    wire out_{n};" for n in outputs),
        f"    {name} circuit({ports});",
        "    initial step = 0;",
        "    initial failed = 0;",
        "    always @(posedge clk)",
        f"        if (step < {STEPS}) begin",
        f"            if ({wrong}) failed <= 1;",
        "            step <= step + 1;",
        "        end",
        "endmodule",
        "",
        "`ifndef SYNTHESIS",
        "module bench;",
        "    reg clk = 0;",
        f"    wire [{last}:0] step;",
        "    wire failed;",
        f"    {name}_check check(.clk(clk), .step(step), .failed(failed));",
        "    always #1 clk = !clk;",
        "    always @(negedge clk)",
        f"        if (failed || step == {STEPS}) begin",
        '            $display("%s", failed ? "FAIL" : "PASS");',
        "            $finish;",
        "        end",
        "endmodule",
        "`endif",
    ]


def _width(v: Variable) -> str:
    """Of a register: one bit, or signed and with room for the range."""
    if v.boolean:
        return ""
    bits = max(int(v.high).bit_length(), int(-v.low - 1).bit_length() if v.low < 0 else 0)
    return f"signed [{bits}:0] "


def _number(value: bool | int) -> str:
    if isinstance(value, bool):
        return f"1'b{int(value)}"
    return str(value)  # a plain number is signed in Verilog


def _text(e: Expr, names: Mapping[str, str]) -> str:
    """The expression in Verilog, every part of it in brackets; `names` replaces signals."""
    if e.op == "signal":
        return names.get(str(e.value), str(e.value))
    if e.op == "const":
        assert isinstance(e.value, int)
        return _number(e.value)
    args = [_text(arg, names) for arg in e.args]
    if e.op == "not":
        return f"!{args[0]}"
    if e.op == "compare":
        return f"({args[0]} {e.value})"
    if e.op == "+":
        assert isinstance(e.value, int)
        return f"({args[0]} {'+' if e.value > 0 else '-'} {abs(e.value)})"
    if e.op == "sum":
        assert isinstance(e.value, tuple)
        divisor, constant, *factors = e.value
        integer, *bits = args
        terms = [integer if factors[0] == 1 else f"{factors[0]} * {integer}"]
        terms += [str(constant)] if constant else []
        terms += [f"({bit} ? {f} : 0)" for bit, f in zip(bits, factors[1:], strict=True)]
        total = f"({' + '.join(terms)})"
        return total if divisor == 1 else f"({total} >>> {divisor.bit_length() - 1})"
    if e.op == "if":
        return f"({args[0]} ? {args[1]} : {args[2]})"
    if e.op == "lookup":
        assert isinstance(e.value, tuple)
        least, *values = e.value
        text = str(values[-1])
        for n, value in reversed(list(enumerate(values[:-1], least))):
            text = f"({args[0]} == {n} ? {value} : {text})"
        return text
    sign = {"and": "&&", "or": "||"}.get(e.op, e.op)
    return f"({f' {sign} '.join(args)})"
