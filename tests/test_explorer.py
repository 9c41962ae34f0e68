"""The explorer, in a real headless Chromium: its evaluation, and every control on the page.

Screenshots are kept in `screenshots/`, which git ignores.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import graphs
import numpy as np
import pytest
from conftest import ROOT
from playwright.sync_api import Browser, Page, sync_playwright

from bonsai.artifact import ArtifactError, save_json
from bonsai.certificate import Certificate, Counterexample
from bonsai.explorer import as_json, page
from bonsai.graph import Graph
from bonsai.kiss2 import parse_kiss2
from bonsai.listing import load_logic
from bonsai.machine import Machine
from bonsai.network import Architecture, Network
from bonsai.prove import prove
from bonsai.result import Result
from bonsai.tasks import TASKS, delay1, gates, ones_triple, parens

SIZES = {"desk": (1280, 800), "phone": (390, 844)}
NO_LOGIC = {
    "program": None,
    "reason": "no program was found",
    "signals": [],
    "states": [],
    "by_hand": None,
}
PROGRAM = '''def ones_triple(bits):
    """a 1 locks the output"""
    s = t = False
    for x in bits:
        y = x or s or t
        s, t = x and not s and not t, s
        yield y
'''
BOTH = [[-1.0, -1.0], [1.0, 1.0]]


def signal(node: str, kind: str, function: str | None, line: int | None) -> dict:
    found = {"node": node, "kind": kind, "signal": node, "levels": BOTH}
    return found | {"values": [False, True], "function": function, "line": line}


LOGIC = {
    "program": {"text": PROGRAM, "lines": 7, "literals": 7, "signals": 3},
    "reason": None,
    "signals": [
        signal("x", "input", None, 3),
        signal("s", "state", None, None),
        signal("t", "state", None, None),
        signal("r", "recurrent", "x and not s and not t", 5),
        signal("q", "recurrent", "s", 5),
        signal("o", "output", "x or s or t", 4),
    ],
    "states": [
        {"state": 0, "machine_state": "0", "levels": {"s": 0, "t": 0}},
        {"state": 1, "machine_state": "2", "levels": {"s": 1, "t": 0}},
        {"state": 2, "machine_state": "1", "levels": {"s": 0, "t": 1}},
    ],
    "by_hand": None,
}
HOSTILE = """.i 1
.o 1
.ilb <img/src=x/onerror="pwned=1">
.ob </script><script>pwned=1</script>
.r "><script>pwned=1</script>
0 "><script>pwned=1</script> ']]>é✓{{7*7}} 0
1 "><script>pwned=1</script> "><script>pwned=1</script> 0
- ']]>é✓{{7*7}} "><script>pwned=1</script> 1
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("no Chromium on the PATH; .ci/run installs Debian's")
    if found is None:
        pytest.skip("no Chromium on the PATH; install it to test the explorer")
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        opened = playwright.chromium.launch(executable_path=found, args=options)
        yield opened
        opened.close()


class Opened:
    """A page in the browser that asks for nothing and meets no error; `said` is what it logged."""

    def __init__(self, browser: Browser, path: Path, html: str, fragment: str, **context) -> None:
        path.write_text(html, encoding="utf-8")
        width, height = SIZES[context.pop("size", "desk")]
        viewport = {"width": width, "height": height}
        self.context = browser.new_context(viewport=viewport, **context)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.url = path.as_uri()
        self.page.goto(self.url + fragment)

    def close(self) -> None:
        assert not self.said
        assert {url.split("#")[0] for url in self.asked if not url.startswith("blob:")} == {
            self.url
        }
        self.context.close()


@pytest.fixture
def show(browser: Browser, tmp_path: Path):
    """show(graph, machine, ...): the plant's page, opened."""
    opened: list[Opened] = []

    def show(graph, machine, name="plant", logic=NO_LOGIC, letters="01", fragment="", **context):
        html = explorer(graph, machine, name, logic, letters)
        opened.append(Opened(browser, tmp_path / f"{name}.html", html, fragment, **context))
        return opened[-1].page

    yield show
    for each in opened:
        each.close()


def explorer(graph, machine, name="plant", logic=NO_LOGIC, letters="01") -> str:
    return page(name, graph, graph, machine, proof(graph, machine), logic, letters)


def proof(graph: Graph, machine: Machine) -> Result:
    verdict = prove(graph, machine)
    wrong = None
    if isinstance(verdict, Counterexample):
        word = [((machine.symbols[a] + 1) // 2).tolist() for a in verdict.word]
        wrong = {"word": word, "step": len(word) - 1, "shortest": verdict.shortest}
    proven = isinstance(verdict, Certificate)
    grid = {"weight": 1.0, "bias": 1.0, "initial": 1.0}
    return Result(
        "plant", machine.name, proven, "points" if proven else None, 1 if proven else None,
        1.0 if proven else None, "exact" if proven else None, wrong, None, 0, 0,
        grid, grid, graph.neurons, graph.weights, graph.biases, len(graph.initial),
        graph.weights, graph.biases, 1, 1,
    )  # fmt: skip


def wild(task: str, cells=((16, 10), (16, 10)), seed: int = 0) -> tuple[Graph, Machine]:
    """An untrained network of the size of the published `gates`, and its task."""
    machine = TASKS[task]()
    architecture = Architecture(len(machine.inputs), cells, len(machine.outputs))
    rng = np.random.default_rng(seed)
    parameters = architecture.initialize(rng, 1)
    parameters += rng.normal(0, 0.3, parameters.shape).astype(np.float32)
    network = Network(architecture, 0.6, 0.1, parameters, *[np.zeros(1, np.int32)] * 2)
    return Graph.from_network(network, 0, machine.inputs, machine.outputs), machine


def bits(values) -> list[int]:
    return np.asarray(values, np.float32).reshape(-1).view(np.uint32).tolist()


VALUES = """rows => rows.map(([states, x]) => {
  const values = explorer.network.values(Float32Array.from(states), x);
  return Array.from(new Uint32Array(values.buffer));
})"""
WORD = """([symbols, nodes]) => {
  const run = new explorer.Run(explorer.network, explorer.task, {kind: "hand", symbols});
  run.at(symbols.length - 1);
  const found = run.steps.flatMap((step) => nodes.map((i) => step.values[i]));
  return Array.from(new Uint32Array(Float32Array.from(found).buffer));
}"""


# ---- evaluation


@pytest.mark.parametrize("task", graphs.RIGHT)
def test_agrees_on_every_state_of_the_certificate(show, task):
    graph, machine = graphs.RIGHT[task], TASKS[task]()
    certificate = prove(graph, machine)
    ends = np.concatenate([certificate.low, certificate.high]).astype(np.float32)
    states = np.repeat(ends, len(machine.symbols), axis=0)
    x = np.tile(machine.symbols, (len(ends), 1))
    found = show(graph, machine).evaluate(
        VALUES, list(zip(states.tolist(), x.tolist(), strict=True))
    )
    assert found == [bits(row) for row in np.stack(graph.values(states, x), axis=1)]


@pytest.mark.parametrize(
    ("graph", "machine", "steps"),
    [
        (graphs.ones_triple, ones_triple(), 5000),
        (graphs.average, delay1(), 5000),
        (graphs.drowned, delay1(), 5000),
        (*wild("gates"), 300),
        (*wild("cpu2", seed=1), 300),
    ],
)
def test_agrees_on_long_random_words(show, graph, machine, steps):
    symbols, _ = machine.sample(np.random.default_rng(2), 1, steps)
    words = machine.symbols[symbols]
    found = show(graph, machine).evaluate(WORD, [symbols[0].tolist(), graph.where("head")])
    assert found == bits(graph.run(words))


def test_generator_follows_the_task(show):
    drawn = """() => { const run = new explorer.Run(explorer.network, explorer.task,
      {kind: "random", seed: 5}); run.at(9999);
      return run.steps.map((step) => [step.symbol, step.state, step.after]); }"""
    machine = gates()
    found = show(*wild("gates", ((2, 2),))).evaluate(drawn)
    states, _ = machine.run([symbol for symbol, *_ in found])
    assert states == [0, *(after for *_, after in found)]
    changes = np.mean([machine.symbols[symbol][0] > 0 for symbol, *_ in found])
    assert abs(changes - 0.3) < 0.02


# ---- time


def at(page: Page) -> int:
    return page.evaluate("explorer.view.t")


def until(page: Page, holds: str) -> None:
    """Wait for what a script says; the page's policy forbids Playwright's own way."""
    for _ in range(500):
        if page.evaluate(holds):
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"not in ten seconds: {holds}")


def test_controls_move_through_time(show):
    page = show(graphs.ones_triple, ones_triple())
    for button, step in (("step", 1), ("step", 2), ("back", 1), ("reset", 0)):
        page.click(f"#{button}")
        assert at(page) == step
    page.click("#back")
    assert at(page) == 0
    page.fill("#speed", "6")
    assert "64 a second" in page.inner_text("#speed-now")
    page.click("#play")
    until(page, "explorer.view.t > 8")
    page.click("#play")
    stopped = at(page)
    page.fill("#scrub", "3")
    assert at(page) == 3 < stopped
    assert "Step 3" in page.inner_text("#step-now")
    assert page.inner_text("#play") == "Play"


def test_keys_do_what_the_controls_do(show):
    page = show(graphs.ones_triple, ones_triple())
    keys = [("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", 2), ("Home", 0)]
    for key, step in keys:
        page.keyboard.press(key)
        assert at(page) == step
    page.keyboard.press("]")
    assert "8 a second" in page.inner_text("#speed-now")
    page.keyboard.press(" ")
    until(page, "explorer.view.t > 1")
    page.keyboard.press(" ")
    assert page.inner_text("#play") == "Play"
    page.click("#word", force=True) if page.is_visible("#word") else page.select_option(
        "#source", "typed"
    )
    page.fill("#word", "")
    page.type("#word", "01 ] 0")
    assert page.input_value("#word") == "01 ] 0"


def test_every_step_is_compared_with_the_task(show):
    page = show(graphs.ones_triple, ones_triple(), fragment="#word=0100011&step=2")
    assert "from state 2 to 1" in page.inner_text("#step-now")
    assert page.inner_text("#step-now tr:nth-child(2)").split() == ["y", "1", "1", "(1.00)", "✓"]
    assert "y is 1, right" in page.text_content("#status")
    assert page.locator("#machine .lit").evaluate_all("all => all.map((e) => e.id)") == [
        "m-q1",
        "m-t1-2",
    ]


def test_zoom_pan_and_fit(show):
    page = show(graphs.ones_triple, ones_triple())
    moved = lambda: page.get_attribute("#own-graph > .viewport", "transform")  # noqa: E731
    box = page.locator("#graph").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 30, box["y"] + 200)
    page.mouse.wheel(0, -300)
    until(page, "document.querySelector('.viewport').getAttribute('transform')")
    assert "scale(1)" not in moved()
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 130, box["y"] + 150)
    page.mouse.up()
    dragged = moved()
    page.click("#zoom-in")
    assert moved() != dragged
    page.click("#fit")
    assert moved() == "translate(0,0) scale(1)"


# ---- input


def test_the_address_keeps_the_view(show):
    page = show(graphs.parens, parens(), letters="()")
    page.select_option("#source", "typed")
    page.fill("#word", "(()())")
    page.click("#of-typed button")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    shared = page.url
    assert shared.endswith("#plant=plant&step=3&word=%28%28%29%28%29%29")
    text = page.inner_text("#step-now")
    page.goto("about:blank")
    page.goto(shared)
    assert page.inner_text("#step-now") == text
    page.goto(shared.replace("plant=plant", "plant=other"))
    until(page, "document.getElementById('refusal').textContent.includes('of plant other')")


@pytest.mark.parametrize(
    ("task", "letters", "typed", "spelled"),
    [
        ("parens", "()", "(()())", "(()())"),
        ("parens", "()", "(*3 )*2 01", "((())()"),
        ("delay1", "01", "01 1*10, 0", "0 1*11 0"),
        ("gates", "01", "011*3 100", "011*3 100"),
        ("gates", "01", "a=01*2 b=1 change=0*3+1", "001 011 001 111"),
        ("loop3", "01", "7", "7"),
    ],
)
def test_typed_words_are_read(show, task, letters, typed, spelled):
    machine = TASKS[task]()
    graph = graphs.RIGHT.get(task) or wild(task, ((2, 2),))[0]
    page = show(graph, machine, letters=letters)
    assert page.evaluate("w => explorer.task.text(explorer.task.parse(w))", typed) == spelled


@pytest.mark.parametrize(
    ("task", "typed", "reason"),
    [
        (
            "parens",
            "())",
            r"Step 2: \) is not legal when the task is in state 0; legal there: \(\.",
        ),
        ("parens", "(x", r"“x” is no letter of this task; they are \( and \)"),
        ("gates", "01", "has 2 bits, and a step has 3: change, a, b"),
        ("gates", "a=01 b=1", "Field change is missing"),
        ("gates", "a=01 b=011 change=0", "Field a has 2 steps, another 3"),
        ("gates", "a=01 q=1", "“q=1” is no field"),
        ("loop3", "many", "type a number of steps"),
        ("parens", "(*2000000", "100000 steps at most"),
        ("parens", "", "empty"),
    ],
)
def test_illegal_input_is_refused_with_the_reason(show, task, typed, reason):
    machine = TASKS[task]()
    graph = graphs.RIGHT.get(task) or wild(task, ((2, 2),))[0]
    page = show(graph, machine, letters="()" if task == "parens" else "01")
    page.select_option("#source", "typed")
    page.fill("#word", typed)
    page.click("#of-typed button")
    assert page.is_visible("#refusal")
    assert re.search(reason, page.inner_text("#refusal"))


def test_clicking_an_input_flips_it(show):
    page = show(graphs.parens, parens(), letters="()", fragment="#word=(()&step=2")
    page.click("#g-n0")
    assert page.input_value("#source") == "hand"
    assert "reads x = (" in page.inner_text("#step-now")
    assert page.get_attribute("#g-n0", "aria-checked") == "false"
    page.focus("#g-n0")
    page.keyboard.press("Enter")
    assert "reads x = )" in page.inner_text("#step-now")
    page.click("#step")
    assert "reads x = )" in page.inner_text("#step-now")  # held
    page.click("#step")
    assert "reads x = (" in page.inner_text("#step-now")  # ")" is not legal at depth 0
    page.click("#g-n0")
    assert "legal there: (." in page.inner_text("#refusal")


def test_seeds(show):
    page = show(graphs.delay1, delay1())
    drawn = (
        "() => (explorer.view.run.at(40), explorer.view.run.steps.map((s) => s.symbol).join(''))"
    )
    first = page.evaluate(drawn)
    page.click("#reseed")
    assert page.evaluate(drawn) != first
    page.fill("#seed", "1")
    page.press("#seed", "Tab")
    assert page.evaluate(drawn) == first


# ---- errors


def test_a_wrong_graph_comes_with_its_counterexample(show):
    page = show(graphs.drowned, delay1(), "drowned")
    verdict = prove(graphs.drowned, delay1())
    last = len(verdict.word) - 1
    assert page.inner_text(".badge") == "not proven"
    assert page.input_value("#source") == "typed"
    page.fill("#speed", "6")
    page.click("#play")
    until(page, f"explorer.view.t === {last} && !explorer.view.playing")
    assert page.inner_text("#alert") == f"Wrong at step {last}."
    assert page.locator("#g-n6.wrong").count() == 1
    page.click("#reset")
    assert f"Wrong at step {last}; this is step 0" in page.inner_text("#alert")
    page.select_option("#source", "random")
    page.click("#counterexample")
    assert page.input_value("#source") == "typed"
    page.screenshot(path=screenshot("wrong"))


def test_a_loaded_graph_breaks_in_view(show, tmp_path):
    """As the published `gates` does when XOR is held: right for long, then wrong for good."""
    (sinking,) = [e for e, edge in enumerate(graphs.drowned.edges) if edge.weight < -1]
    held = graphs.moved(graphs.drowned, sinking, 1.2)
    page = show(graphs.delay1, delay1())
    file = tmp_path / "drifts.json"
    file.write_text(json.dumps({**as_json(held), "word": "1*60"}))
    page.set_input_files("#file", file)
    until(page, "document.getElementById('file-said').textContent.includes('drifts.json')")
    page.fill("#speed", "6")
    page.click("#play")
    until(page, "explorer.view.t > 1 && !explorer.view.playing")
    broke = at(page)
    run = held.run(np.ones((1, 60, 1), np.int8))[0, :, 0]
    assert broke > 5
    assert broke == np.flatnonzero(run[1:] <= 0)[0] + 1
    assert page.inner_text("#alert") == f"Wrong at step {broke}."
    assert page.is_hidden(".badge")  # this graph is not what is proven
    page.screenshot(path=screenshot("loaded"))
    page.click("#own")
    assert page.is_visible("#own-graph")
    assert page.is_hidden("#alert")


def test_a_saved_graph_is_loaded_again(show):
    graph, machine = wild("gates", ((3, 2), (2, 1)))
    page = show(graph, machine)
    page.locator("summary", has_text="Graphs as files").click()
    with page.expect_download() as download:
        page.click("#save")
    saved = json.loads(Path(download.value.path()).read_text())
    assert saved == as_json(graph)
    page.set_input_files("#file", download.value.path())
    nodes = "document.querySelectorAll('#loaded-graph .node').length"
    until(page, f"{nodes} === {len(graph.nodes)}")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "other"}, "it needs"),
        ({"edges": [[0, 99, 1]]}, "edge 0 leads nowhere"),
        ({"edges": [[2, 1, 1]]}, "does not go forward"),
        ({"edges": [[0, 2, "1"]]}, "the weight of edge 0 is no number"),
        ({"edges": [[0, 2, 1e99]]}, "the weight of edge 0 is no number"),
        ({"edges": 5}, "edges is no list"),
        ({"feedback": []}, "every state needs one feedback link"),
        ({"nodes": [{"kind": "input", "name": "x"}] * 2}, "two nodes share a name"),
        ({"nodes": [{"kind": "gate", "name": "x"}]}, "node 0 is of no known kind"),
        ({"word": "012"}, "“2” is no letter"),
        (as_json(graphs.loop3), "it has 0 inputs and 1 outputs, the task 1 and 1"),
        (None, "not JSON"),
    ],
)
def test_bad_graph_files_are_refused(show, tmp_path, change, reason):
    page = show(graphs.delay1, delay1())
    file = tmp_path / "bad.json"
    file.write_text("{" if change is None else json.dumps({**as_json(graphs.delay1), **change}))
    page.set_input_files("#file", file)
    until(page, "document.getElementById('file-said').textContent")
    assert reason in page.text_content("#file-said")
    assert page.is_visible("#own-graph")


# ---- what stands beside the graph


def test_a_node_tells_its_sum_and_its_function(show):
    page = show(graphs.ones_triple, ones_triple(), logic=LOGIC, fragment="#word=1&step=0")
    page.click("#g-n5")  # o: 4 + x + s + t
    rows = [row.split() for row in page.inner_text("#node-now .terms").splitlines()]
    assert ["x", "1", "1", "1"] in rows
    assert ["s", "1", "−1", "−1"] in rows
    assert ["bias", "4"] in rows
    assert ["sum", "3"] in rows
    assert page.get_attribute("#node-now .curve", "aria-label").endswith("sum of 3.00 gives 1.00")
    assert page.inner_text("#node-now .levels .now") == "1 means true"
    assert "x or s or t" in page.inner_text("#node-now")
    assert "line 5, o" in page.inner_text("#node-now")
    assert "own automaton: state 0" in page.inner_text("#automaton-now")


def test_program_lines_and_neurons_light_each_other(show):
    page = show(graphs.ones_triple, ones_triple(), logic=LOGIC)
    page.hover("#program-lines [data-line='5']")
    lit = "all => all.map((e) => e.id)"
    assert page.locator("#own-graph .lit").evaluate_all(lit) == ["g-n3", "g-n4"]
    page.hover("#g-n5")
    assert page.inner_text("#program-lines .lit").strip() == "y = x or s or t"
    page.focus("#program-lines [data-line='4']")
    assert page.locator("#own-graph .lit").evaluate_all(lit) == ["g-n5"]
    assert page.locator("#program-lines .k").count() == 3  # highlighted


def test_what_a_program_says_of_itself_is_folded_away(show):
    program = {**LOGIC["program"], "text": f'"""Right\nfor ever."""\n\n\n{PROGRAM}'}
    page = show(graphs.ones_triple, ones_triple(), logic={**LOGIC, "program": program})
    first = page.locator("#program-lines [data-line]").first
    assert first.get_attribute("data-number") == "5"
    assert page.inner_text("#program-lines").splitlines()[0] == "What it says of itself"
    assert page.is_hidden('text=for ever."""')


def test_no_program_is_said_with_the_reason(show):
    page = show(graphs.delay1, delay1())
    assert "no program was found" in page.inner_text("#program")


def test_what_was_pruned_away_is_shown(show, browser, tmp_path):
    machine = ones_triple()
    dense, _ = wild("ones_triple", ((4, 2),))
    html = page(
        "plant", graphs.ones_triple, dense, machine, proof(graphs.ones_triple, machine), LOGIC
    )
    opened = Opened(browser, tmp_path / "whole.html", html, "")
    opened.page.check("#whole")
    assert opened.page.is_visible("#whole-graph")
    assert opened.page.locator("#whole-graph .node.rest").count() == 4 + 2 - 3
    assert opened.page.locator("#whole-graph #w-n6 text").last.text_content() in ("1.00", "−1.00")
    opened.page.screenshot(path=screenshot("pruned-away"))
    opened.page.uncheck("#whole")
    assert opened.page.is_visible("#own-graph")
    opened.close()


# ---- the analyser


def lanes(page: Page) -> list[str]:
    return page.locator("#lanes .lane .name").all_inner_texts()


def test_signals_are_chosen_and_ordered(show):
    page = show(graphs.ones_triple, ones_triple(), fragment="#word=0110100&step=6")
    assert lanes(page) == ["x", "y expected", "y"]
    page.select_option("#signal", "n3")
    page.click("#g-n4")
    page.click("#watch")
    page.select_option("#signal", "state")
    assert lanes(page) == ["x", "y expected", "y", "r", "q", "state of the task"]
    page.click("[aria-label='move up: r']")
    page.click("[aria-label='remove: q']")
    assert lanes(page) == ["x", "y expected", "r", "y", "state of the task"]
    for name in ("r", "state of the task"):
        page.click(f"[aria-label='remove: {name}']")
    page.drag_and_drop("[data-key='n6'] .name", "[data-key='n0'] .name")
    assert lanes(page) == ["y", "x", "y expected"]


def test_the_cursor_tells_values_and_moves_time(show):
    page = show(graphs.ones_triple, ones_triple(), fragment="#word=0110100&step=6")
    over = page.locator("[data-key='n0'] .u-over")
    box = over.bounding_box()
    x = 1.5 / 16 * box["width"]
    page.mouse.move(box["x"] + x, box["y"] + 10)
    assert page.inner_text("[data-key='n0'] output") == "1"
    assert page.inner_text("[data-key='n6'] output") == "1.000"  # in step with the first
    page.mouse.click(box["x"] + x, box["y"] + 10)
    assert at(page) == 1


def test_the_analyser_zooms(show):
    page = show(graphs.ones_triple, ones_triple(), fragment="#seed=1&step=100")
    page.click("#lanes-in")
    page.screenshot(path=screenshot("zoomed"))
    box = page.locator("[data-key='n0'] .u-over").bounding_box()
    y = box["y"] + 15
    page.mouse.move(box["x"] + 100, y)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, y, steps=4)
    page.mouse.up()
    ruler = "() => document.querySelectorAll('#lanes .lane').length"
    assert page.evaluate(ruler) == 3
    page.click("#lanes-out")
    page.click("#lanes-all")


def test_vcd_holds_the_chosen_signals(show):
    graph = graphs.ones_triple
    page = show(graph, ones_triple(), fragment="#word=0110100&step=6")
    page.select_option("#signal", "n3")
    with page.expect_download() as download:
        page.click("#vcd")
    text = Path(download.value.path()).read_text()
    declared = re.findall(r"^\$var (wire 1|real 64) (\S+) (\S+) \$end$", text, re.M)
    assert [(kind, name) for kind, _, name in declared] == [
        ("wire 1", "x"), ("wire 1", "y_expected"), ("real 64", "y"), ("real 64", "r"),
    ]  # fmt: skip
    x = np.array([0, 1, 1, 0, 1, 0, 0])
    code = {name: code for _, code, name in declared}
    assert waveform(text, code["x"]) == x.tolist()
    assert waveform(text, code["y"]) == graph.run(x[None, :, None] * 2 - 1)[0, :, 0].tolist()


def waveform(vcd: str, code: str) -> list[float]:
    """A signal's value at every step of a VCD text."""
    found: list[float] = []
    value = np.nan
    for line in vcd.split("$enddefinitions $end\n")[1].splitlines():
        if line.startswith("#"):
            found += [value] * (int(line[1:]) - len(found))
        elif line.endswith(code) and re.fullmatch(r"(r\S+ |[01x])", line[: -len(code)]):
            value = float(line[: -len(code)].lstrip("r"))
    return found


# ---- for everyone


def screenshot(name: str) -> Path:
    return ROOT / "screenshots" / f"{name}.png"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_readable_in_both_themes_and_sizes(show, scheme, size):
    fragment = "#word=01101000&step=4"
    page = show(
        graphs.ones_triple, ones_triple(), "ones_triple", LOGIC, fragment=fragment, size=size,
        color_scheme=scheme,
    )  # fmt: skip
    page.click("#g-n3")
    page.screenshot(path=screenshot(f"{scheme}-{size}"), full_page=size == "phone")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("#g-n6").is_visible()
    unnamed = (
        "all => all.filter((e) => !(e.ariaLabel || e.labels?.length || e.textContent.trim()))"
    )
    assert page.locator("button, select, input:visible").evaluate_all(f"{unnamed}") == []


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const luminance = (colour) => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = Array.from(canvas.getImageData(0, 0, 1, 1).data, (c) =>
      c <= 10 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const group = document.getElementById("g-n0");
  const found = [];
  for (let v = -120; v <= 120; v++) {
    const values = new Float32Array(explorer.network.nodes.length).fill(v / 100);
    explorer.view.picture.paint(values);
    const style = (tag) => getComputedStyle(group.querySelector(tag)).fill;
    const [a, b] = [luminance(style("path")), luminance(style("text"))];
    found.push((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_writing_on_colours_has_contrast(show, scheme):
    found = show(graphs.delay1, delay1(), color_scheme=scheme).evaluate(CONTRAST)
    assert min(found) >= 4.5  # WCAG 2.2, AA


def test_the_theme_can_be_switched(show):
    page = show(graphs.delay1, delay1(), color_scheme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.click("#theme")
    assert page.evaluate(paper) != light
    page.click("#theme")
    assert page.evaluate(paper) == light


def test_hostile_names_inject_nothing(show):
    machine = parse_kiss2(HOSTILE, "hostile")
    names = [*machine.inputs, *machine.outputs]
    graph = graphs.build(
        names[0],
        {"<b>s": (-1, "\"'r")},
        {"\"'r": (0, {names[0]: -1})},
        {names[1]: (0, {"\"'r": 1})},
    )
    logic = {
        "program": {"text": "x = '</pre><script>pwned=1</script>'\n", "lines": 1},
        "reason": "<script>pwned=1</script>",
        "signals": [signal("\"'r", "recurrent", "<img src=x onerror=pwned=1>", 0)],
        "states": [],
    }
    page = show(graph, machine, "hostile", logic)
    page.click("#g-n2")
    page.click("#step")
    page.set_input_files(
        "#file",
        {"name": "<b>.json", "mimeType": "", "buffer": json.dumps(as_json(graph)).encode()},
    )
    assert page.evaluate("typeof pwned") == "undefined"
    assert page.locator("script").count() == 2
    assert page.locator("img, b b, #graph b").count() == 0
    assert names[0] in page.inner_text("#step-now")
    assert machine.states[0][:15] in page.text_content("#machine")


def test_the_policy_forbids_scripts_from_elsewhere(browser, tmp_path):
    html = explorer(graphs.delay1, delay1())
    html = html.replace("</main>", "<script>pwned = 1</script><img src='http://[::1]:9/'></main>")
    path = tmp_path / "page.html"
    path.write_text(html)
    page = browser.new_page()
    page.goto(path.as_uri())
    assert page.evaluate("typeof pwned") == "undefined"
    assert page.evaluate("document.images[0].naturalWidth") == 0
    page.close()


@pytest.mark.parametrize("task", ["gates", "cpu2"])
def test_the_largest_page_is_below_a_megabyte(task):
    dense, machine = wild(task)
    kept = tuple(sorted(dense.edges, key=lambda e: (e.target, e.source))[::10])  # a hundred
    graph = replace(dense, edges=kept)
    html = page("plant", graph, dense, machine, proof(graph, machine), LOGIC)
    assert len(html.encode()) < 1_000_000


def test_pages_are_the_same_bytes():
    assert explorer(graphs.delay1, delay1()) == explorer(graphs.delay1, delay1())


def test_a_broken_logic_file_is_named(tmp_path):
    save_json(tmp_path / "logic.json", {"program": None})
    with pytest.raises(ArtifactError, match=r"logic\.json: has no field 'reason'"):
        load_logic(tmp_path / "logic.json")
    save_json(tmp_path / "logic.json", {**NO_LOGIC, "signals": [{"node": "r"}]})
    with pytest.raises(ArtifactError, match="a signal has no field 'kind'"):
        load_logic(tmp_path / "logic.json")
