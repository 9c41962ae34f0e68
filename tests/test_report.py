"""The stages render and report, on a plant folder made by hand."""

import html
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

import stages.report
from bonsai.artifact import ArtifactError, load_table, save_json, save_table, save_text
from bonsai.chart import milestones
from bonsai.draw import layout, machine_dot
from bonsai.graph import Edge, Graph, Node
from bonsai.kiss2 import parse_kiss2
from bonsai.network import Architecture, Network
from bonsai.report import PICTURES, STAGES, garden, load_plant, markdown, page, totals
from bonsai.tasks import delay1
from stages.render import stage as render

PROOF = {
    "task": "delay1", "proven": True, "certificate": "points", "certificate_states": 3,
    "margin": 0.75, "arithmetic": "exact", "counterexample": None, "reason": None, "restart": 4,
    "candidate": 2, "grid": {"weight": 0.5, "bias": 0.25, "initial": 1.0}, "neurons": 2,
    "weights": 31, "biases": 17, "states": 1, "proven_restarts": 2, "tried": 5,
    "weights_pruned": 33, "biases_pruned": 18,
    "rounded": {"weight": 0.5, "bias": 0.25, "initial": 1.0},
}  # fmt: skip
WRONG = {
    "proven": False, "certificate": None, "certificate_states": None, "margin": None,
    "arithmetic": None, "proven_restarts": 0,
    "counterexample": {"word": [[0], [1], [1]], "step": 2, "shortest": True},
}  # fmt: skip
PUBLISHED = {"weights": 61, "biases": 62, "states": 9, "holds": "for ever"}
PARAMETERS = {"render": SimpleNamespace(direction="LR", letters="01")}
TRAIN = SimpleNamespace(
    factor=[[0, 0.5], [1, 0]],
    leak=0.0625,
    regularizer=SimpleNamespace(strength=[[0, 0], [1, 0.2]], threshold=0.03, steepness=25, l1=0),
)
LOGIC = {
    "program": {"text": "def f(x):\n    return '</pre><script>'\n", "lines": 2},
    "reason": None, "signals": [], "states": [], "by_hand": {"lines": 3, "literals": 1},
}  # fmt: skip


def of_plant(task: str = "delay1", published=None) -> SimpleNamespace:
    """What the report reads of a plant's parameters."""
    source, published = SimpleNamespace(source=task), PUBLISHED if published is None else published
    return SimpleNamespace(task=source, published=published, train=TRAIN)


def make_plant(folder: Path, name: str = "delay1", restarts: int = 6, **proof) -> Path:
    """A plant's folder as the stages leave it, rendered; `proof` overrides fields of PROOF."""
    rng = np.random.default_rng(1)
    machine = delay1()
    machine.save(folder / "machine.parquet")
    save_text(folder / "machine.svg", layout(machine_dot(machine)))
    architecture = Architecture(1, ((4, 2),), 1)
    numbers = np.arange(restarts, dtype=np.int32)
    initial = architecture.initialize(rng, restarts)
    runs = Network(architecture, 0.5, 0.0625, initial, numbers, numbers)
    runs.save(folder / "runs.npz")
    nodes = (
        Node("input", -1, 0, "x"),
        Node("state", 0, 0, "s0", initial=-1.0),
        Node("output", 0, 0, "o0"),
        Node("recurrent", 0, 0, "r0", bias=0.25),
        Node("head", -1, 0, "y"),
    )
    edges = (Edge(1, 2, -1.0), Edge(0, 3, 1.5), Edge(2, 4, 2.0))
    Graph(nodes, edges, ((3, 1),), 0.5, 0.0625).save(folder)

    step = np.tile(np.arange(0, 2000, 50), restarts)
    restart = np.repeat(numbers, len(step) // restarts)
    noise = np.exp(rng.normal(0, 0.3, len(step)))
    checked = step % 250 == 0
    loss = noise * np.exp(-step / (200 + 100 * restart)) + 1e-4
    live = np.where(checked, 25 - step / 120 - restart, np.nan)
    save_table(
        folder / "history.parquet",
        "history",
        {
            "restart": pa.array(restart, pa.int32()),
            "step": pa.array(step, pa.int32()),
            "loss": pa.array(loss, pa.float32()),
            "penalty": pa.array(0.06 * np.exp(-step / 900) + 0.002, pa.float32()),
            "accuracy": pa.array(np.clip(step / 900 - restart / 5, 0, 1), pa.float32(), ~checked),
            "live": pa.array(np.nan_to_num(live).astype(int), pa.int32(), ~checked),
        },
    )
    rows = [
        (r, kind, t / size, t + r < 5)
        for r in range(restarts)
        for kind, size in (("weight", 20), ("bias", 7))
        for t in range(size)
    ]
    names = ("candidate", "kind", "threshold", "exact")
    columns = zip(names, zip(*rows, strict=True), strict=True)
    save_table(folder / "clip.parquet", "clip", {n: pa.array(v) for n, v in columns})
    steps = [1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625]
    rows = [
        (r, w, b, i, w + b / 2 + r / 9 < 1) for r in range(restarts) for w in steps for b in steps
        for i in steps[:2]
    ]  # fmt: skip
    names = ("candidate", "weight_step", "bias_step", "initial_step", "exact")
    rows.append((2, 0.0, 0.0, 0.0, None))  # as it is
    columns = zip(names, zip(*rows, strict=True), strict=True)
    save_table(folder / "quantize.parquet", "quantize", {n: pa.array(v) for n, v in columns})
    save_json(folder / "train.json", {"restarts": restarts, "exact_restarts": 5})
    for stage in STAGES:
        save_json(folder / "seconds" / f"{stage}.json", {"seconds": 0.25})
    save_json(folder / "seconds/train.json", {"seconds": 12.5})
    logic = LOGIC if "proven" not in proof else {**LOGIC, "program": None, "reason": "not proven"}
    save_json(folder / "logic.json", logic)
    save_text(folder / "automaton.svg", layout(machine_dot(machine)))
    save_json(folder / "proof.json", {**PROOF, "plant": name, **proof})
    render(SimpleNamespace(name=name, **PARAMETERS), folder)
    return folder


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    return make_plant(tmp_path_factory.mktemp("right"))


@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    return make_plant(tmp_path_factory.mktemp("wrong"), "bad", **WRONG)


@pytest.fixture(scope="module")
def plants(right, wrong):
    nothing = dict.fromkeys(PUBLISHED)
    return [
        load_plant(right, "delay1", of_plant()),
        load_plant(wrong, 'a|"<script>alert(1)</script>', of_plant("bad & task", nothing)),
    ]


def test_render_is_deterministic(right, tmp_path):
    again = make_plant(tmp_path)
    pictures = (f"{name}.svg" for name in PICTURES)
    for name in ("graph.dot", "explorer.html", *pictures):
        assert (right / name).read_bytes() == (again / name).read_bytes(), name


def test_render_names_what_is_missing(right, tmp_path):
    for file in right.glob("*.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "clip.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"clip\.parquet"):
        render(SimpleNamespace(name="delay1", **PARAMETERS), tmp_path)
    save_json(tmp_path / "proof.json", {**PROOF, "plant": "delay1", "restart": 99})
    with pytest.raises(ArtifactError, match="0 rows for restart 99"):
        render(SimpleNamespace(name="delay1", **PARAMETERS), tmp_path)


def test_garden_comes_from_the_artifacts(plants):
    first, second = garden(plants)["plants"]
    for name in ("proven", "certificate", "certificate_states", "margin", "weights", "states"):
        assert first[name] == PROOF[name]
    assert first["grid"] == PROOF["grid"]
    assert (first["restarts"], first["exact_restarts"], first["proven_restarts"]) == (6, 5, 2)
    assert (first["train_seconds"], first["total_seconds"]) == (12.5, 15.0)
    assert first["published"] == PUBLISHED
    assert (first["program_lines"], second["program_lines"]) == (2, None)
    assert second["counterexample"] == WRONG["counterexample"]
    json.dumps(first)


def test_markdown_has_one_row_a_plant(plants):
    lines = markdown(plants).splitlines()
    assert "1 of 2 proven" in lines[2]
    first, second = lines[6:]
    assert (
        "31 + 17 (1) | 61 + 62 (9) | for ever, proven | for ever | 3 points | 0.75 | 2 lines |"
        in first
    )
    assert "| 6 / 5 / 2 | 12.5 / 15.0 |" in first
    assert "no: wrong at step 2 | — | none | — | — |" in second
    assert "<script>" not in second
    assert len(re.findall(r"(?<!\\)\|", first)) == len(re.findall(r"(?<!\\)\|", second))


def test_page_shows_every_plant(plants):
    text = page(plants)
    assert text.count("<section") == 3  # the last is of all plants
    for shown in ("31 + 17 (1)", "61 + 62 (9)", "12.5 / 15.0", "6 / 5 / 2", "in one of 3 states"):
        assert shown in text, shown
    assert "x = 011, and on no shorter one" in html.unescape(text)
    assert text.count('class="badge good"') == text.count('class="badge bad"') == 1


def test_page_links_every_explorer(plants):
    links = re.findall(r'href="(\.\./plants/[^"]+)"', page(plants))
    assert links[0] == "../plants/delay1/explorer.html"
    assert links[1] == "../plants/a%7C%22%3Cscript%3Ealert%281%29%3C%2Fscript%3E/explorer.html"


def test_program_is_shown_and_counted(right):
    plant = load_plant(right, "p", of_plant())
    text = page([plant])
    assert '<span class="nf">f</span>' in text
    assert "beside 3 lines by hand" in text
    assert "</pre><script>" not in text
    assert "| 2 lines |" in markdown([plant])
    assert garden([plant])["plants"][0]["program_lines"] == 2


def test_totals_are_few_and_of_all_plants(plants):
    assert totals(plants) == {
        "proven": 1, "weights": 62, "biases": 34, "margin": 0.75, "seconds": 30.0,
    }  # fmt: skip


def test_page_tells_the_late_falls(right, plants):
    history, _ = load_table(right / "history.parquet", "history")
    exact, falls = milestones(history, PROOF["restart"])
    assert exact == plants[0].exact == 1750
    assert falls == []  # the made-up history ends before
    assert "Exact in validation from step 1750 on; no weight fell" in page(plants)


def test_milestones_are_the_falls_after_exactness():
    rows = [(0, 0.5, 9), (250, 1.0, 8), (500, 1.0, 8), (750, 0.9, 5), (1000, 1.0, 4)]
    names = ("step", "accuracy", "live")
    columns = dict(zip(names, map(pa.array, zip(*rows, strict=True)), strict=True))
    history = pa.table({"restart": pa.array([7] * 5), **columns})
    assert milestones(history, 7) == (250, [(750, 8, 5), (1000, 5, 4)])
    assert milestones(history, 8) == (None, [])


def copy(plant: Path, to: Path) -> None:
    for file in (*plant.glob("*.*"), *plant.glob("seconds/*")):
        (to / file.relative_to(plant)).parent.mkdir(exist_ok=True)
        (to / file.relative_to(plant)).write_bytes(file.read_bytes())


def test_page_escapes_names(plants):
    text = page(plants)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "bad &amp; task" in text


def test_hostile_machines_inject_nothing(right, tmp_path):
    """Names of states and bits from a KISS2 file reach the page through the state diagram."""
    copy(right, tmp_path)
    bad = "<script>alert(1)</script>"
    machine = parse_kiss2(f".i 1\n.o 1\n.ilb {bad}\n.ob </svg>{bad}\n- {bad} {bad} 1\n", "bad")
    machine.save(tmp_path / "machine.parquet")
    save_text(tmp_path / "machine.svg", layout(machine_dot(machine)))
    word = {"word": [[0]], "step": 0, "shortest": True}
    save_json(tmp_path / "proof.json", {**PROOF, **WRONG, "plant": "p", "counterexample": word})
    text = page([load_plant(tmp_path, "p", of_plant())])
    assert "<script" not in text
    assert "input sequence &lt;script&gt;" in text


def test_page_asks_for_no_other_file(plants):
    text = page(plants)
    links = set(re.findall(r"\w+://[^\"'\s<>]+", text))
    assert links == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(r"<(link|script|img|iframe)|@import|url\((?!#)", text)


def test_page_ids_are_unique_and_found(plants):
    text = page(plants)
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids)) > 50
    wanted = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert wanted
    assert wanted <= set(ids)


def test_undecided_is_said(right, tmp_path):
    copy(right, tmp_path)
    proof = {**PROOF, **WRONG, "plant": "p", "counterexample": None, "reason": "20000 pairs"}
    save_json(tmp_path / "proof.json", proof)
    plant = load_plant(tmp_path, "p", of_plant())
    text = page([plant])
    assert "no certificate either. What was tried: 20000 pairs." in text
    assert "not decided" in markdown([plant])


@pytest.mark.parametrize("name", ["proof.json", "seconds/train.json", "graph.svg", "train.json"])
def test_load_names_what_is_missing(right, tmp_path, name):
    copy(right, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ArtifactError, match=re.escape(name)):
        load_plant(tmp_path, "p", of_plant())


def test_proof_without_a_field_is_refused(tmp_path):
    save_json(tmp_path / "proof.json", {"plant": "p"})
    with pytest.raises(ArtifactError, match="no field 'task'"):
        load_plant(tmp_path, "p", of_plant())


def test_stage_prints_the_path_last(right, tmp_path, monkeypatch, capsys):
    settings = SimpleNamespace(garden=[right.name], plants={right.name: of_plant()})
    monkeypatch.setattr(stages.report, "parameters", lambda: settings)
    monkeypatch.setattr(stages.report, "PLANTS", right.parent)
    monkeypatch.chdir(tmp_path)
    stages.report.main()
    path = capsys.readouterr().out.splitlines()[-1].removeprefix("report: ")
    assert Path(path).read_text().startswith("<!DOCTYPE html>")
    names = {"index.html", "report.md", "garden.json", "metrics.json"}
    assert {p.name for p in Path(path).parent.iterdir()} == names
