"""Pictures of graphs and machines, and the stage machine."""

import itertools
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from bonsai.chart import (
    activation_chart,
    clip_chart,
    loss_chart,
    penalty_chart,
    quantize_chart,
    training_chart,
    weights_chart,
)
from bonsai.draw import (
    SVG,
    cubes,
    dense_dot,
    dot_text,
    fraction,
    graph_dot,
    graph_titles,
    inlined,
    layout,
    machine_dot,
    number,
    whole_dot,
)
from bonsai.graph import Edge, Graph, Node
from bonsai.machine import Machine
from bonsai.network import Architecture, Network
from bonsai.tasks import TASKS, delay2, gates, loop3, parens
from stages.machine import stage as machine_stage

HOSTILE = ['"', "a\\", "\\N\\n", "</svg><script>alert(1)</script>", "<b>", "&lt;x&gt;", "é–✓", "%"]


def small(names=("x", "s0", "o0", "r0", "y"), weight: float = -0.25) -> Graph:
    kinds = ("input", "state", "output", "recurrent", "head")
    nodes = tuple(
        Node(kind, -1 if kind in ("input", "head") else 0, 0, name, bias=b, initial=s)
        for kind, name, b, s in zip(
            kinds, names, (0, 0, 0.5, 0, -1), (0, -1, 0, 0, 0), strict=True
        )
    )
    edges = (Edge(1, 2, weight), Edge(0, 3, 1.5), Edge(2, 4, 2.0))
    return Graph(nodes, edges, ((3, 1),), 0.5, 0.0625)


def texts(svg: str) -> list[str]:
    return ["".join(e.itertext()) for e in ET.fromstring(svg).iter(f"{{{SVG}}}text")]


def test_graph_shows_names_biases_initials_and_weights():
    shown = texts(layout(graph_dot(small())))
    assert {"x", "s0", "o0", "r0", "y", "+0.5", "−1", "−0.25", "1.5", "2"} <= {
        t.strip() for t in shown
    }


def test_graph_edges_differ_by_sign_and_kind():
    svg = layout(graph_dot(small()))
    negative, positive = layout(graph_dot(small(weight=-1))), layout(graph_dot(small(weight=1)))
    assert negative != positive
    assert svg.count("stroke-dasharray") == 1  # the one link back to the state
    assert 'stroke="currentColor"' in svg
    assert "#1f2328" not in svg.split("</style>")[1]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stand_for_themselves(name):
    svg = layout(graph_dot(small(("x", "s0", name, "r0", "y"))), label=name)
    assert name in texts(svg)
    assert "<script" not in svg
    assert ET.fromstring(svg).get("aria-label") == name


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_titles_stand_for_themselves(name):
    graph = small(("x", "s0", name, "r0", "y"))
    svg = layout(graph_dot(graph), graph_titles(graph))
    titles = [e.text for e in ET.fromstring(svg).iter(f"{{{SVG}}}title")]
    assert f"output neuron {name}, bias 0.5" in titles
    assert f"s0 → {name}: -0.25" in titles
    assert len(titles) == len(graph.nodes) + len(graph.edges) + 1


def test_control_characters_do_not_break_the_svg():
    svg = layout(graph_dot(small(("x\x00", "s\x1b0", "o\n0", "r\ud800", "y"))))
    assert "x\ufffd" in texts(svg)


def test_layout_is_the_same_after_other_pictures():
    first = layout(graph_dot(small()))
    layout(machine_dot(gates()))
    assert layout(graph_dot(small())) == first


@pytest.mark.parametrize("place", ["cache", "file/cache"])  # a folder, and what cannot be one
def test_pictures_are_the_same_with_and_without_a_cache(root, tmp_path, place):
    (tmp_path / "file").write_text("")
    line = "from bonsai.draw import layout; print(layout('digraph { a -> b }'), end='')"
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path / place)}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", line], env=env, capture_output=True, check=True
        )
        assert done.stdout.decode() == layout("digraph { a -> b }")
    assert bool([*tmp_path.rglob("*wasmtime*")]) == (place == "cache")


def test_direction():
    wide, tall = (ET.fromstring(layout(graph_dot(small(), d))) for d in ("LR", "TB"))
    size = [
        [float(r.get(k).removesuffix("pt")) for k in ("width", "height")] for r in (wide, tall)
    ]
    assert size[0][0] > size[0][1]
    assert size[1][0] < size[1][1]


def test_large_graphs_have_no_weight_labels():
    architecture = Architecture(3, ((16, 10), (16, 10)), 1)
    network = Network(
        architecture,
        0.5,
        0.0,
        architecture.initialize(np.random.default_rng(0), 1),
        *[np.zeros(1, np.int32)] * 2,
    )
    graph = Graph.from_network(network, 0, ["a", "b", "c"], ["y"])
    for dot in (graph_dot(graph), dense_dot(graph)):
        assert dot.count("->") >= len(graph.edges)
        assert not [line for line in dot.splitlines() if "->" in line and "label=" in line]
    assert texts(layout(dense_dot(graph))).count("y") == 1


def test_every_task_is_drawn():
    for make in TASKS.values():
        machine = make().minimized()
        shown = texts(layout(machine_dot(machine)))
        for state in machine.states:
            assert state in shown
        assert " ".join([*machine.inputs, "/", *machine.outputs]) in shown


def test_machine_arrows():
    assert [t.strip() for t in texts(layout(machine_dot(loop3()))) if "/" in t] == [
        "/ y", "/ 0", "/ 0", "/ 1",
    ]  # fmt: skip
    shown = [t.strip() for t in texts(layout(machine_dot(parens())))]
    assert shown.count("1 / 1") == 1  # back to depth 0, the only +1
    assert shown.count("- / 0") == 0  # never are both inputs legal on one arrow


def test_machine_merges_inputs_where_they_do_not_matter():
    steps = Machine.from_step(
        0, lambda n, x: ((n + 1) % 3, (n == 2,)), ["a", "b"], name="ignores its input"
    )
    assert [t.strip() for t in texts(layout(machine_dot(steps)))].count("-- / 0") == 2


def test_large_machine_is_not_drawn():
    counter = Machine.from_step(0, lambda n, x: ((n + 1) % 300, (n == 0,)), [])
    (first, second) = texts(layout(machine_dot(counter)))
    assert first.startswith("300 states and 300 arrows")
    assert "kiss2" in second


@pytest.mark.parametrize("seed", range(20))
def test_cubes_cover_exactly(seed):
    rng = np.random.default_rng(seed)
    space = np.array(list(itertools.product((-1, 1), repeat=4)))
    wanted = rng.random(16) < rng.random()
    found = cubes(space[wanted])
    inside = [
        any(
            all(c == "-" or (c == "1") == (b > 0) for c, b in zip(cube, row, strict=True))
            for cube in found
        )
        for row in space
    ]
    assert inside == wanted.tolist()
    assert len(found) <= max(wanted.sum(), 0)


def test_numbers():
    assert [number(v) for v in (1.5, -0.25, 2, 1 / 64)] == ["1.5", "−0.25", "2", "0.01562"]
    assert [fraction(v) for v in (1, 0.5, 1 / 64, 0.3, 2)] == ["1", "1/2", "1/64", "0.3", "2"]
    assert dot_text("a", "b\\n") == "a\\nb\\\\n"


def test_inlined_scopes_ids_and_drops_the_style():
    svg = layout(machine_dot(delay2()))
    assert "<style" in svg
    page = inlined(svg, "p1-")
    assert "<style" not in page
    ids = [e.get("id") for e in ET.fromstring(page).iter() if e.get("id")]
    assert ids
    assert all(i.startswith("p1-") for i in ids)


def table(**columns) -> pa.Table:
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def test_charts_of_almost_nothing():
    history = table(
        restart=[0], step=[0], loss=[0.0], penalty=[0.0],
        accuracy=pa.nulls(1, pa.float32()), live=pa.nulls(1, pa.int32()),
    )  # fmt: skip
    clip = table(candidate=[0], kind=["weight"], threshold=[0.0], exact=[False])
    quantize = table(
        candidate=[0], weight_step=[0.3], bias_step=[1.0], initial_step=[1.0], exact=[False]
    )
    grid = {"weight": 0.0, "bias": float(np.float32(0.3)), "initial": 1.0}
    for svg in (
        training_chart(history, 0),
        loss_chart(history, 0),
        clip_chart(clip, 0),
        quantize_chart(quantize, 0, grid),
    ):
        assert ET.fromstring(svg).tag == f"{{{SVG}}}svg"
        assert re.search("(restart|candidate) 0", " ".join(texts(svg)))


def test_weights_before_and_after():
    names = ("x$", "s<0>", "o0", "r0", "é✓")
    svg = weights_chart(small(names), replace(small(names), edges=small().edges[:1]))
    assert {"cell, before", "head, after", "x$", "s<0>", "bias"} <= set(texts(svg))
    shades = [e.get("style", "") for e in ET.fromstring(svg).iter(f"{{{SVG}}}path")]
    after = sum("fill: #" in style for style in shades)
    assert after == 3 + 2 + 1 + 2  # weights and biases, before and after


def test_activation_and_penalty_are_labelled():
    shown = texts(activation_chart({"a$b$c": (0.5, 0.0625), "<b>": (1, 0)}))
    assert {"f = 0.5, leak 1/16: a$b$c", "f = 1, leak 0: <b>"} <= set(shown)
    assert "i_T 0.2, t 0.03, s 25, i_L1 0: all" in texts(
        penalty_chart({"all": (0.2, 0.03, 25, 0)})
    )


def test_whole_shows_what_was_pruned_away():
    dense = small()
    svg = layout(whole_dot(replace(dense, edges=dense.edges[:1]), dense))
    root = ET.fromstring(svg)
    ids = {g.get("id") for g in root.iter(f"{{{SVG}}}g")}
    assert {"n0", "n4", "e1-2", "f3-1"} <= ids
    assert "e0-3" not in ids
    assert sum(g.get("class") == "edge rest" for g in root.iter(f"{{{SVG}}}g")) == 2


def test_machine_states_and_arrows_have_ids():
    ids = {g.get("id") for g in ET.fromstring(layout(machine_dot(delay2()))).iter(f"{{{SVG}}}g")}
    assert {"q0", "q3", "t0-1", "t3-3"} <= ids


def test_machine_stage_writes_the_minimal_machine(tmp_path: Path, monkeypatch):
    wasteful = Machine.from_step(0, lambda n, x: ((n + 1) % 6, (n % 3 == 2,)), [], name="loop")
    wasteful.save_kiss2(tmp_path / "tasks/loop.kiss2")
    monkeypatch.chdir(tmp_path)
    machine_stage(
        SimpleNamespace(task=SimpleNamespace(source="tasks/loop.kiss2")), tmp_path / "out"
    )
    names = {"machine.parquet", "machine.kiss2", "machine.svg", "machine.json"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == names
    assert len(Machine.load(tmp_path / "out/machine.parquet").states) == 3
    assert '"transitions": 3' in (tmp_path / "out/machine.json").read_text()
