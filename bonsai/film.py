"""A moving picture of a graph at work: an SVG animated by SMIL, without script.

So it plays where an image is allowed and a page is not, as in a README. Each frame is a step; all
change at once. Source: SMIL 3.0 and SVG 1.1, chapter "Animation".
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

import numpy as np

from bonsai.draw import NEGATIVE, POSITIVE, SVG, graph_dot, layout, number
from bonsai.graph import Graph
from bonsai.machine import Machine

FULL = 0.6  # opacity of -1 and +1; the writing on it stays readable in both themes
CELL, ROW = 22, 20  # of the strip of bits below the graph


def film(
    graph: Graph, machine: Machine, word: Sequence[int], direction: str = "LR", pace: float = 0.9
) -> str:
    """The SVG of `graph` reading `word`, for ever from the start again.

    word: symbols of the machine, as in `Machine.run`; pace: seconds a step
    Raises MachineError if the word is illegal.
    """
    _, expected = machine.run(word)
    values = _values(graph, machine.symbols[list(word)])  # (T, nodes)
    clock = {"dur": f"{pace * len(word):g}s", "repeatCount": "indefinite", "calcMode": "discrete"}
    svg = layout(graph_dot(graph, direction, values=True), label=f"{machine.name} at work")
    root = ET.fromstring(svg)
    groups = {g.get("id"): g for g in root.iter(f"{{{SVG}}}g")}
    for i in range(len(graph.nodes)):
        _node(groups[f"n{i}"], values[:, i], clock)
    for e in graph.edges:
        _edge(groups[f"e{e.source}-{e.target}"], e.weight * values[:, e.source], clock)
    for r, s in graph.feedback:
        _edge(groups[f"f{r}-{s}"], values[:, r], clock)
    heads = values[:, graph.where("head")] > 0
    rows = [
        *zip(machine.inputs, (machine.symbols[list(word)] > 0).T, strict=True),
        *(
            (f"{name} expected", bits)
            for name, bits in zip(machine.outputs, expected.T > 0, strict=True)
        ),
        *zip(machine.outputs, heads.T, strict=True),
    ]
    _strip(root, rows, len(word), clock)
    return ET.tostring(root, encoding="unicode") + "\n"


def _values(graph: Graph, x: np.ndarray) -> np.ndarray:
    """Each node's value (T, nodes) float32 while reading x (T, I)."""
    states, rows = graph.initial[None], []
    link = {s: r for r, s in graph.feedback}
    for bits in x:
        values = graph.values(states, bits[None])
        rows.append([v[0] for v in values])
        states = np.array([[values[link[s]][0] for s in graph.where("state")]], np.float32)
    return np.array(rows, np.float32)


def _animate(element: ET.Element, name: str, values: Sequence[str], clock: dict[str, str]) -> None:
    element.set(name, values[0])
    if len(set(values)) > 1:
        about = {"attributeName": name, "values": ";".join(values), **clock}
        ET.SubElement(element, f"{{{SVG}}}animate", about)


def _node(group: ET.Element, values: np.ndarray, clock: dict[str, str]) -> None:
    shape = next(child for child in group if not child.tag.endswith(("title", "text")))
    _animate(shape, "fill", [POSITIVE if v > 0 else NEGATIVE for v in values], clock)
    _animate(shape, "fill-opacity", [f"{FULL * min(abs(v), 1):.2f}" for v in values], clock)
    *_, place = group.findall(f"{{{SVG}}}text")
    group.remove(place)
    said = [number(round(float(v), 2)) for v in values]
    for text in dict.fromkeys(said):
        shown = ET.SubElement(group, place.tag, place.attrib)
        shown.text = text
        _animate(shown, "visibility", ["visible" if s == text else "hidden" for s in said], clock)


def _edge(group: ET.Element, carried: np.ndarray, clock: dict[str, str]) -> None:
    colors = [POSITIVE if v > 0 else NEGATIVE for v in carried]
    faint = [f"{0.25 + 0.75 * min(abs(v), 1):.2f}" for v in carried]
    for child in group:
        if child.tag.endswith(("path", "polygon", "polyline")):
            _animate(child, "stroke", colors, clock)
            _animate(child, "stroke-opacity", faint, clock)
        if child.tag.endswith("polygon"):
            _animate(child, "fill", colors, clock)
            _animate(child, "fill-opacity", faint, clock)


def _strip(
    root: ET.Element, rows: Sequence[tuple[str, np.ndarray]], steps: int, clock: dict[str, str]
) -> None:
    """Rows of bits below the picture, and a cursor on the step shown."""
    x, y, width, height = (float(v) for v in root.get("viewBox", "").split())
    label = 8.0 * max(len(name) for name, _ in rows) + 12
    across = max(width, label + CELL * steps + 8)
    down = height + ROW * len(rows) + 16
    root.set("viewBox", f"{x - (across - width) / 2:g} {y:g} {across:g} {down:g}")
    root.set("width", f"{across:g}pt")
    root.set("height", f"{down:g}pt")
    left, top = x + (width - label - CELL * steps) / 2 + label, y + height + 8
    strip = ET.SubElement(
        root, f"{{{SVG}}}g", {"font-size": "13", "font-family": "Helvetica,Arial,sans-serif"}
    )
    box = {"y": f"{top:g}", "width": str(CELL), "height": f"{ROW * len(rows):g}", "rx": "3"}
    tint = {"fill": "currentColor", "fill-opacity": "0.14"}
    cursor = ET.SubElement(strip, f"{{{SVG}}}rect", box | tint)
    _animate(cursor, "x", [f"{left + CELL * t:g}" for t in range(steps)], clock)
    for row, (name, bits) in enumerate(rows):
        base = f"{top + ROW * (row + 0.72):g}"
        about = {"y": base, "fill": "currentColor"}
        start = {"x": f"{left - 10:g}", "text-anchor": "end"}
        ET.SubElement(strip, f"{{{SVG}}}text", about | start).text = name
        for t, bit in enumerate(bits):
            middle = {"x": f"{left + CELL * (t + 0.5):g}", "text-anchor": "middle"}
            color = {"fill": POSITIVE if bit else NEGATIVE}
            ET.SubElement(strip, f"{{{SVG}}}text", about | middle | color).text = str(int(bit))
