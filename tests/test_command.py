"""`python -m bonsai`: what it prints, and the status it ends with."""

import importlib
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT
from graphs import average, delay1, delay2, loop3, moved, ones_triple

from bonsai.__main__ import main
from bonsai.artifact import save_json, save_table
from bonsai.certificate import Certificate
from bonsai.graph import Graph
from bonsai.prove import prove
from bonsai.result import Result
from bonsai.tasks import TASKS
from stages.extract import stage as extract

Said = Callable[..., tuple[int, str, str]]


def grow(folder: Path, graph: Graph, task: str, **proof: object) -> None:
    """A plant's folder as the stages leave it, as far as commands read it."""
    machine = TASKS[task]().minimized()
    machine.save(folder / "machine.parquet")
    graph.save(folder)
    found = prove(graph, machine)
    proven = isinstance(found, Certificate)
    certificate = found if isinstance(found, Certificate) else Certificate.empty(1)
    certificate.save(folder / "certificate.npz")
    result = Result(
        plant=folder.name,
        task=task,
        proven=proven,
        certificate=certificate.kind,
        certificate_states=len(certificate),
        margin=certificate.margin,
        arithmetic=certificate.arithmetic,
        counterexample=None,
        reason=None,
        restart=0,
        candidate=0,
        rounded={},
        grid={},
        neurons=graph.neurons,
        weights=graph.weights,
        biases=graph.biases,
        states=len(graph.initial),
        weights_pruned=0,
        biases_pruned=0,
        proven_restarts=1,
        tried=1,
    )
    save_json(folder / "proof.json", {**asdict(result), **proof})
    none = SimpleNamespace(lines=None, literals=None)
    extract(SimpleNamespace(name=folder.name, published=none), folder)
    (folder / "explorer.html").write_text("<p>")


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Said:
    """Run a command in a folder with two plants: its status, stdout and stderr."""
    grow(tmp_path / "data/plants/good", delay2, "delay2")
    grow(tmp_path / "data/plants/bad", moved(delay1, 0, 0.5), "delay1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BONSAI_DEBUG", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        return status, *capsys.readouterr()

    return run


def test_explain_prints_the_program_and_its_variables(said):
    status, out, _ = said("explain", "good")
    assert status == 0
    assert "good is proven for every input sequence of every length" in out
    assert "4 weights, 0 biases, 3 neurons, 2 states" in out
    assert "def program(inputs):\n" in out
    assert "state t: False at -1, True at 1" in out


def test_explained_variables_are_those_of_the_program(said):
    _, out, _ = said("explain", "good")
    program, told = out.split("\n\n")[1:]
    names = {line.split()[0] for line in told.splitlines()}
    first = program.splitlines()[1].split(" = ")[0]
    assert set(first.strip().split(", ")) <= names


def test_a_plant_that_is_not_proven_has_nothing_to_explain(said):
    assert "bad is not proven" in said("explain", "bad")[1]


def test_explore_prints_the_page(said, tmp_path):
    page = tmp_path / "data/plants/good/explorer.html"
    assert said("explore", "good") == (0, f"{page}\n", "")


@pytest.mark.parametrize("opens", [True, False])
def test_explore_opens_the_page(said, monkeypatch, opens):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or opens)
    status, _, err = said("explore", "good", "--open")
    assert opened[0].startswith("file:///")
    assert (status, "open the page by hand" in err) == ((0, False) if opens else (1, True))


def test_plants_are_listed(said):
    assert said("plants")[1].splitlines() == [
        "bad: not proven, 3 weights, 0 biases, 2 neurons, 1 state",
        "good: proven, 4 weights, 0 biases, 3 neurons, 2 states",
    ]


def test_prove_judges_a_plant_by_its_own_task(said):
    status, out, _ = said("prove", "good")
    assert status == 0
    assert out.startswith("proven: ")
    assert out.endswith("the independent checker accepts it\n")


def test_prove_judges_a_folder_by_a_task(said, tmp_path):
    delay2.save(tmp_path / "graph")
    assert said("prove", "graph", "delay2")[0] == 0
    TASKS["delay2"]().save_kiss2(tmp_path / "task.kiss2")
    assert said("prove", "graph", "task.kiss2")[0] == 0


def test_prove_shows_a_shortest_counterexample(said, tmp_path):
    ones_triple.save(tmp_path / "graph")
    status, out, _ = said("prove", "graph", "delay1")
    assert (status, out) == (1, "wrong at step 0 of the input 1, the shortest there is\n")


def test_a_word_without_inputs_is_a_row_of_dots(said, tmp_path):
    moved(loop3, 0, 0.5).save(tmp_path / "graph")
    assert "of the input . " in said("prove", "graph", "loop3")[1]


def test_prove_says_what_it_ran_out_of(said, tmp_path):
    average.save(tmp_path / "graph")
    status, out, _ = said("prove", "graph", "delay1", "--pairs", "1", "--cells", "1")
    assert status == 1
    assert re.match(r"undecided: .*; every word of \d+ steps is right", out)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["explain", "none"], "no plant none is grown here, there are bad, good; `python -m"),
        (["explain", ".."], "no plant .. is grown here"),
        (["explore", "none"], "`make repro` the garden"),
        (["prove", "none"], "machine.parquet: no such file; `dvc repro` makes it"),
        (["prove", "good", "none"], "a task is a file of one of the kinds .kiss2, .pla, .py"),
        (["prove", "good", "none.kiss2"], "none.kiss2: cannot be read"),
        (["prove", "good", "gates"], "the graph has 1 input nodes, machine gates needs 3"),
        (["grow", "none.kiss2"], "there is no conf/config.yaml here; run it in the project's"),
    ],
)
def test_errors_are_one_line_with_a_remedy(said, command, told):
    status, out, err = said(*command)
    assert (status, out) == (1, "")
    assert told in err
    assert err.count("\n") == 1
    assert err.startswith(f"bonsai {command[0]}: ")


def test_errors_show_where_they_arose_if_asked(said, monkeypatch):
    monkeypatch.setenv("BONSAI_DEBUG", "1")
    with pytest.raises(ValueError, match="no plant none"):
        said("explain", "none")


def test_show_is_asked_of_versions(said, monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr("bonsai.versions.show", asked.append)
    assert said("show", "v1:good")[0] == 0
    assert asked == ["v1:good"]


def test_an_interrupt_is_no_traceback(said, monkeypatch):
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("bonsai.__main__.run", interrupted)
    assert said("plants") == (130, "", "bonsai plants: interrupted; the same command goes on\n")


@pytest.mark.parametrize("wrong", [[], ["burn"], ["prove", "good", "--pairs", "0"], ["explain"]])
def test_wrong_usage_ends_with_2(wrong):
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2


def test_help_has_a_line_a_command():
    command = [sys.executable, "-m", "bonsai", "--help"]
    told = subprocess.check_output(command, cwd=ROOT, text=True)
    for name in ("grow", "prove", "explain", "explore", "show", "plants"):
        assert sum(line.split()[:1] == [name] for line in told.splitlines()) == 1


def test_undecided_and_unreadable_plants_are_told(said, tmp_path):
    account = importlib.import_module("bonsai.account")
    folder = tmp_path / "data/plants/bad"
    attempt = {"cells": [[6, 4]], "stacked": False, "steps": 9, "exact": 2}
    found = {"steps": 9, "restarts": 4, "exact_restarts": 2, "attempts": [attempt]}
    save_json(folder / "train.json", found)
    save_table(folder / "proofs.parquet", "proofs", {"verdict": ["wrong", "undecided"]})
    assert account.reached(folder, {"machine"}) == ([], [])
    told, advice = account.reached(folder, {"train"})
    training = "  training     2 of 4 restarts exact after 9 steps, cells [[6, 4]]"
    assert (told, advice) == ([training], [])
    grow(folder, moved(delay1, 0, 0.5), "delay1", reason="spent")
    told, advice = account.reached(folder, {"train", "prove", "polish"})
    assert told[1:] == [
        "  candidates   2 tried: 0 proven, 1 wrong, 1 undecided",
        "  best graph   3 weights, 0 biases, 2 neurons, 1 state",
        "  undecided    spent",
    ]
    assert "train.restarts=8" in advice[1]
    (folder / "proof.json").unlink()
    assert "bad: not grown to a proof" in said("plants")[1]
