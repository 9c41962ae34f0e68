"""`explorer.html`: one self-contained page on which a plant's graph can be watched at work.

The page asks for nothing: pictures, data, style and script stand in it, and its content security
policy allows no request and no script but its own. The script is bonsai/web/*.js, in the order of
SCRIPTS, behind parts.js, which holds what is taken from npm (`make parts` bundles it).
"""

import base64
import hashlib
import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from bonsai.draw import (
    SVG,
    counted,
    graph_dot,
    graph_titles,
    inlined,
    layout,
    machine_dot,
    whole_dot,
)
from bonsai.graph import Graph
from bonsai.listing import highlighted
from bonsai.machine import Machine
from bonsai.result import Result

WEB = Path(__file__).parent / "web"
STYLES = ("parts.css", "explorer.css")
SCRIPTS = ("network.js", "task.js", "run.js", "picture.js", "analyser.js", "panel.js", "main.js")


def page(
    name: str,
    graph: Graph,
    dense: Graph,
    machine: Machine,
    result: Result,
    logic: Mapping[str, Any],
    letters: str = "01",
    direction: str = "LR",
) -> str:
    """The page of plant `name`.

    graph: its result, and dense: the network of the same restart before pruning
    logic: as `load_logic` reads it
    letters: two characters in which inputs are typed, for -1 and +1
    direction: of the layout, LR or TB
    """
    titles = graph_titles(graph)
    own = layout(graph_dot(graph, direction, values=True), titles, f"The graph of {name}")
    whole = layout(whole_dot(graph, dense, direction), titles, f"{name} before pruning")
    parts = (WEB / "parts.js").read_text(encoding="utf-8")
    scripts = [(WEB / script).read_text(encoding="utf-8") for script in SCRIPTS]
    script = "\n".join([parts, '(() => { "use strict";', *scripts, "})();"])
    style = "\n".join((WEB / sheet).read_text(encoding="utf-8") for sheet in STYLES)
    text = (logic["program"] or {}).get("text")
    return (
        _environment()
        .from_string((WEB / "explorer.html").read_text(encoding="utf-8"))
        .render(
            plant=name,
            proven=result.proven,
            about=_about(graph, machine, result),
            counterexample=result.counterexample is not None,
            spelling=_spelling(machine, letters),
            program=highlighted(text) if text else [],
            preface=_preface(text or ""),
            reason=logic["reason"],
            # The pictures are our own, and escape every name.
            graph=Markup(_picture(own, "g-", "own-graph")),
            whole=Markup(_picture(_joined(whole), "w-", "whole-graph", hidden=True)),
            machine=Markup(inlined(layout(machine_dot(machine)), "m-")),
            data=Markup(_data(name, graph, machine, result, logic, letters)),
            script=Markup(script),
            style=Markup(style),
            script_hash=Markup(_hash(script)),
            style_hash=Markup(_hash(style)),
        )
    )


def as_json(graph: Graph) -> dict[str, Any]:
    """The graph as the explorer saves and loads it."""
    return {
        "kind": "bonsai graph",
        "schema": 1,
        "factor": graph.factor,
        "leak": graph.leak,
        "nodes": [
            {
                "kind": n.kind,
                "cell": n.cell,
                "index": n.index,
                "name": n.name,
                "bias": n.bias,
                "initial": n.initial,
            }
            for n in graph.nodes
        ],
        "edges": [[e.source, e.target, e.weight] for e in graph.edges],
        "feedback": [list(link) for link in graph.feedback],
    }


def _data(
    name: str,
    graph: Graph,
    machine: Machine,
    result: Result,
    logic: Mapping[str, Any],
    letters: str,
) -> str:
    """The JSON that the script reads, for a place inside <script>."""
    digits = {-1: "0", 0: "-", 1: "1"}
    word = None
    if result.counterexample is not None:
        word = ["".join(str(bit) for bit in bits) for bits in result.counterexample["word"]]
    found = {
        "plant": name,
        "letters": letters,
        "counterexample": word,
        "graph": as_json(graph),
        "machine": {
            "name": machine.name,
            "inputs": machine.inputs,
            "outputs": machine.outputs,
            "states": machine.states,
            "symbols": ["".join(digits[int(b)] for b in symbol) for symbol in machine.symbols],
            "next": machine.next.tolist(),
            "output": [
                ["".join(digits[int(b)] for b in y) for y in of_state]
                for of_state in machine.output
            ],
            "probability": machine.probability.tolist(),
        },
        "logic": {"signals": logic["signals"], "states": logic["states"]},
    }
    return json.dumps(found, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")


def _picture(svg: str, prefix: str, name: str, hidden: bool = False) -> str:
    """The SVG for inside the page, a group of nodes for those who cannot see it."""
    root = ET.fromstring(inlined(svg, prefix))
    root.set("id", name)
    root.set("role", "group")
    if hidden:
        root.set("hidden", "")
    return ET.tostring(root, encoding="unicode")


def _joined(svg: str) -> str:
    """The SVG with all edges of class "rest" as one path, behind all else: a tenth of the size."""
    root = ET.fromstring(svg)
    picture = root.find(f"{{{SVG}}}g")
    assert picture is not None
    rest = [g for g in picture if g.get("class") == "edge rest"]
    if not rest:
        return svg
    lines = [path for g in rest for path in g.iter(f"{{{SVG}}}path")]
    joined = ET.Element(f"{{{SVG}}}path", lines[0].attrib)
    joined.set("d", "".join(line.get("d", "") for line in lines))
    for g in rest:
        picture.remove(g)
    picture.insert(0, joined)
    return ET.tostring(root, encoding="unicode")


def _preface(program: str) -> int:
    """How many lines stand before the first function: the program's own description."""
    lines = program.split("\n")
    return next((i for i, line in enumerate(lines) if line.startswith("def ")), 0)


def _about(graph: Graph, machine: Machine, result: Result) -> str:
    sizes = {"weights": graph.weights, "biases": graph.biases, "states": len(graph.initial)}
    size = ", ".join(counted(count, plural) for plural, count in sizes.items())
    if result.proven:
        return f"{machine.name}: {size}. Right for every input, for ever."
    if result.counterexample is not None:
        return f"{machine.name}: {size}. Wrong at step {result.counterexample['step']}."
    return f"{machine.name}: {size}. Neither proven nor found wrong."


def _spelling(machine: Machine, letters: str) -> str:
    """How inputs are typed, in the task's own letters."""
    zero, one = letters[0], letters[1]
    if not machine.inputs:
        return "The task has no inputs: a number of steps."
    if len(machine.inputs) == 1:
        return f"A letter a step, {zero} or {one}, as in {zero}{one}{one}{zero}; {one}*46 repeats."
    names = list(machine.inputs)
    fields = " ".join([f"{names[0]}={zero}{one}", *(f"{name}={one}" for name in names[1:])])
    group = zero + one * (len(names) - 1)
    return (
        f"A group of {len(names)} a step ({', '.join(names)}), as in {group}; {group}*46 repeats. "
        f"Or field by field: {fields}, where a single letter is held."
    )


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
