import sys
from dataclasses import replace

import graphs as made
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import stages.prove
from bonsai.activation import ameo
from bonsai.artifact import load_json, save_table
from bonsai.boxes import Intervals
from bonsai.certificate import Certificate, Counterexample, Undecided
from bonsai.check import check
from bonsai.graph import Graph, save_graphs
from bonsai.machine import Machine
from bonsai.network import Architecture, Network
from bonsai.points import Plan
from bonsai.processes import processes
from bonsai.prove import FitError, prove
from bonsai.tasks import TASKS
from stages import ParameterError
from stages.polish import stage as polish_stage
from stages.prove import Trial, rank, stage

quarters = st.integers(-12, 12).map(lambda n: n / 4)
whole = st.integers(-3, 3).map(float)  # closes often, for A(-3), A(-1), A(1), A(3) are -1 or 1
odd_eighths = st.integers(-8, 8).map(lambda n: n / 4 + 0.125)  # and rarely sums to an output of 0


@st.composite
def some_graphs(draw, weights=quarters, heads=quarters):
    """A graph of one input, one or two states and two or three neurons."""
    states = ["s", "t"][: draw(st.integers(1, 2))]
    sources = ["x", *states]
    neurons = {
        name: (draw(weights), {s: draw(weights) for s in sources})
        for name in ["o", *(f"r{s}" for s in states)]
    }
    head = (draw(heads), {"o": draw(heads), "rs": draw(heads)})
    return made.build(
        "x",
        {s: (draw(st.sampled_from([-1.0, 0.5, 1.0])), f"r{s}") for s in states},
        neurons,
        {"y": head},
        factor=draw(st.sampled_from([0.0, 0.5, 1.0])),
        leak=draw(st.sampled_from([0.0, 0.0625])),
    )


@st.composite
def some_machines(draw):
    """Of one input and up to three states; some inputs illegal, some outputs not checked."""
    count = draw(st.integers(1, 3))
    after = np.array(draw(st.lists(st.integers(-1, count - 1), min_size=6, max_size=6)))
    after = after.reshape(3, 2)[:count].astype(np.int32)
    after[:, 0] = np.maximum(after[:, 0], 0)
    output = draw(st.lists(st.sampled_from([-1, -1, 0, 1, 1]), min_size=6, max_size=6))
    output = np.array(output, np.int8).reshape(3, 2, 1)[:count]
    probability = (after >= 0) / (after >= 0).sum(axis=1, keepdims=True)
    symbols = np.array([[-1], [1]], np.int8)
    states = tuple("abc"[:count])
    return Machine("some", ("x",), ("y",), states, symbols, after, output, probability)


class NoMachine(Exception):
    pass


def behaviour(graph: Graph, most: int = 40) -> Machine | None:
    """The machine that a graph computes; None if it has too many states or an output of 0."""
    seen = set()

    def step(state, bits):
        seen.add(state)
        x = np.array([bits]) * 2 - 1
        after, y = graph.step(np.array([state], np.float32), x)
        if len(seen) > most or (y == 0).any():
            raise NoMachine
        return tuple((after[0] + 0).tolist()), tuple((y[0] > 0).tolist())

    try:
        return Machine.from_step(tuple(graph.initial.tolist()), step, ["x"])
    except NoMachine:
        return None


def agrees(verdict, graph: Graph, machine: Machine, length: int) -> bool:
    """Whether a verdict is what all words up to `length` say."""
    wrong = made.shortest_wrong(graph, machine, length)
    if isinstance(verdict, Certificate):
        check(verdict, graph, machine)
        return wrong is None
    if isinstance(verdict, Undecided):
        return wrong is None
    assert right_until_last(verdict.word, graph, machine)
    if wrong is None or not verdict.shortest:
        return len(verdict.word) > (wrong or length)
    return len(verdict.word) == wrong


def right_until_last(word, graph: Graph, machine: Machine) -> bool:
    _, expected = machine.run(word)
    y = graph.run(machine.symbols[list(word)][None])[0]
    wrong = ((expected != 0) & ~(y * expected > 0)).any(axis=1)
    return bool(wrong[-1]) and not wrong[:-1].any()


# ---- known machines


@pytest.mark.parametrize("task", made.RIGHT)
def test_graphs_made_by_hand_are_proven_exactly(task):
    machine = TASKS[task]()
    verdict = prove(made.RIGHT[task], machine)
    assert isinstance(verdict, Certificate)
    assert (verdict.kind, verdict.arithmetic) == ("points", "exact")
    check(verdict, made.RIGHT[task], machine)


@pytest.mark.parametrize(
    ("task", "pairs", "margin"),
    [("delay1", 2, 1), ("delay2", 4, 1), ("loop3", 3, 1), ("parens", 9, 0.125)],
)
def test_points_are_the_reachable_pairs(task, pairs, margin):
    verdict = prove(made.RIGHT[task], TASKS[task]())
    assert (len(verdict), verdict.margin) == (pairs, margin)


@pytest.mark.parametrize("task", made.RIGHT)
def test_no_wrong_mutant_is_proven_and_counterexamples_are_shortest(task):
    machine = TASKS[task]()
    mutants = made.mutants(made.RIGHT[task])
    verdicts = [prove(mutant, machine) for mutant in mutants]
    for mutant, verdict in zip(mutants, verdicts, strict=True):
        assert agrees(verdict, mutant, machine, 9)
    assert any(isinstance(verdict, Counterexample) for verdict in verdicts)


def test_a_contracting_graph_is_proven_by_boxes():
    machine = TASKS["delay1"]()
    verdict = prove(made.average, machine)
    assert (verdict.kind, verdict.arithmetic) == ("boxes", "any float32")
    assert 0.94 < verdict.margin < 0.95  # the average is at most 1/2 and weighs 0.1
    check(verdict, made.average, machine)


def test_mutants_of_a_contracting_graph():
    machine = TASKS["delay1"]()
    for mutant in made.mutants(made.average):
        assert agrees(prove(mutant, machine), mutant, machine, 9)


def test_cells_hold_correlated_states_apart():
    # s = x[n-1] and t = -x[n-1] cancel, which one box for the machine's only state cannot know.
    graph = made.build(
        "x",
        {"s": (-1, "r"), "t": (1, "q"), "m": (0, "n")},
        {
            "r": (0, {"x": -1}),
            "q": (0, {"x": 1}),
            "n": (0, {"m": 0.7, "x": -0.3}),
            "o": (0, {"x": -1}),
        },
        {"y": (0, {"o": 1, "s": 1, "t": 1, "m": 0.1})},
        factor=1,
    )
    machine = Machine.from_step(0, lambda q, x: (q, x), ["x"])
    assert isinstance(prove(graph, machine, cells=1), Undecided)
    verdict = prove(graph, machine)
    assert (verdict.kind, len(verdict)) == ("boxes", 2)
    check(verdict, graph, machine)


def test_a_fault_too_deep_for_breadth_first_search_is_found():
    machine = TASKS["delay1"]()
    verdict = prove(made.drowned, machine)
    assert isinstance(verdict, Counterexample)
    assert right_until_last(verdict.word, made.drowned, machine)
    assert not verdict.shortest
    assert 20 < len(verdict.word) < 40  # only many equal inputs drown the bit
    assert made.shortest_wrong(made.drowned, machine, 12) is None


def test_a_wrong_word_stays_legal_as_it_is_shortened():
    """A counter of parentheses that drifts: cuts of a long word are illegal at different steps."""
    machine, drifting = TASKS["parens"](), made.moved(made.parens, 1, -0.995)
    verdict = prove(drifting, machine)
    assert isinstance(verdict, Counterexample)
    assert right_until_last(verdict.word, drifting, machine)  # it refuses illegal words
    assert len(verdict.word) < 60  # far from that of the simulated words


def test_small_budgets_leave_it_undecided():
    machine = TASKS["delay1"]()
    assert isinstance(prove(made.average, machine), Certificate)
    verdict = prove(made.average, machine, pairs=50, rounds=1)
    assert isinstance(verdict, Undecided)
    assert "points: " in verdict.reason
    assert "boxes: cells of inf: do not close in 1 rounds" in verdict.reason


def test_an_output_of_zero_is_wrong():
    graph = made.build("x", {}, {"o": (0, {})}, {"y": (0, {"o": 1})})
    verdict = prove(graph, Machine.from_step(0, lambda q, x: (q, x), ["x"]))
    assert verdict == Counterexample((0,), shortest=True)


def test_outputs_that_are_not_checked_do_not_matter():
    machine = TASKS["delay1"]()
    checked = np.array([0, 1], np.int8)[:, None, None]
    free = replace(machine, output=machine.output * checked)
    always = made.build("x", {}, {"o": (1, {})}, {"y": (0, {"o": -1})})
    assert isinstance(prove(always, machine), Counterexample)
    assert isinstance(prove(always, free), Certificate)


def test_arithmetic_that_rounds_is_named():
    graph = made.moved(made.delay1, len(made.delay1.edges) - 1, 0.1)
    assert prove(graph, TASKS["delay1"]()).arithmetic == "float32"


def test_a_graph_of_another_task_is_refused():
    with pytest.raises(FitError, match="has 1 input nodes, machine gates needs 3"):
        prove(made.delay1, TASKS["gates"]())


def test_proofs_are_the_same_every_time():
    machine = TASKS["delay1"]()
    first, second = prove(made.average, machine), prove(made.average, machine)
    assert (first.low == second.low).all()
    assert (first.high == second.high).all()
    assert prove(made.drowned, machine) == prove(made.drowned, machine)


# ---- any graph, any machine


@settings(max_examples=150, deadline=None)
@given(some_graphs(), some_machines())
def test_verdicts_agree_with_every_word(graph, machine):
    assert agrees(prove(graph, machine, pairs=2000), graph, machine, 7)


@settings(max_examples=40, deadline=None)
@given(some_graphs(whole, odd_eighths), st.data())
def test_a_graph_computes_its_own_behaviour_and_nothing_else(graph, data):
    machine = behaviour(graph)
    assume(machine is not None)
    verdict = prove(graph, machine)
    assert isinstance(verdict, Certificate)
    check(verdict, graph, machine)
    flipped = machine.output.copy()
    flipped.reshape(-1)[data.draw(st.integers(0, flipped.size - 1))] *= -1
    other = replace(machine, output=flipped)
    verdict = prove(graph, other)
    assert isinstance(verdict, Counterexample)
    assert right_until_last(verdict.word, graph, other)
    length = min(len(verdict.word) - 1, 8)
    assert made.shortest_wrong(graph, other, length) is None


@settings(max_examples=100, deadline=None)
@given(some_graphs(st.floats(-3, 3, width=32)), st.integers(0, 2**32 - 1))
def test_the_plan_is_the_graph_to_the_bit(graph, seed):
    rng = np.random.default_rng(seed)
    states = rng.uniform(-2, 2, (20, len(graph.initial))).astype(np.float32)
    x = rng.choice([-1, 1], (20, 1))
    for fast, slow in zip(Plan(graph).step(states, x), graph.step(states, x), strict=True):
        np.testing.assert_array_equal(fast, slow)


@settings(max_examples=100, deadline=None)
@given(some_graphs(st.floats(-3, 3, width=32)), st.integers(0, 2**32 - 1))
def test_intervals_hold_the_image(graph, seed):
    rng = np.random.default_rng(seed)
    ends = np.sort(rng.uniform(-2, 2, (2, 1, len(graph.initial))).astype(np.float32), axis=0)
    states = rng.uniform(*ends, (200, ends.shape[-1])).astype(np.float32).clip(*ends)
    states[:2] = ends[:, 0]
    x = np.ones((200, 1))
    low, high, bottom, top = Intervals(graph).step(*ends.astype(np.float64), x[:1])
    for dtype in (np.float32, np.float64):
        after, y = graph.step(states.astype(dtype), x)
        assert ((low <= after) & (after <= high)).all()
        assert ((bottom <= y) & (y <= top)).all()


@pytest.mark.parametrize("factor", [0, 0.3, 0.5, 1])
def test_the_activation_in_float32_errs_less_than_the_proof_allows(factor):
    x = np.linspace(-6, 6, 400_001).astype(np.float32)
    exact = ameo(x.astype(np.float64), float(np.float32(factor)), 0.5)
    error = np.abs(ameo(x, factor, 0.5) - exact)
    assert (error <= 2.0**-21 * np.maximum(1, np.abs(exact))).all()


# ---- the stages prove and polish


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """No other processes, which take long to start where OpenCL is open."""
    for module in (stages.prove, sys.modules[polish_stage.__module__]):
        monkeypatch.setattr(module, "processes", lambda _: processes(1))


def plant(folder, graphs, restarts, task="delay1"):
    """What the stages before prove leave behind, for these graphs."""
    TASKS[task]().save(folder / "machine.parquet")
    save_graphs(folder / "pruned", graphs)
    architecture = Architecture(1, ((1, 1),), 1)
    zeros = np.zeros((len(graphs), architecture.size), np.float32)
    candidate = np.arange(len(graphs), dtype=np.int32)
    Network(architecture, 0.5, 0.0, zeros, np.array(restarts, np.int32), candidate).save(
        folder / "quantized.npz"
    )
    steps = [2.0**-c for c in range(len(graphs))]
    columns = {f"{kind}_step": steps for kind in ("weight", "bias", "initial")}
    save_table(folder / "quantize.parquet", "quantize", {"row": range(len(graphs)), **columns})
    return OmegaConf.create(
        {
            "name": task,
            "prove": {"pairs": 500, "cells": 100, "rounds": 100, "enough": 2, "most": 9},
            "polish": {
                "seed": 0, "starts": 2, "rounds": 3, "walkers": 4, "variants": 4,
                "patience": 9,
                "sequences": 64, "length": 12, "tilted": 0.3,
            },
        }
    )  # fmt: skip


def proven(folder, graphs, restarts):
    parameters = plant(folder, graphs, restarts)
    print(stage(parameters, folder))
    print(polish_stage(parameters, folder))
    return load_json(folder / "proof.json")


WRONG = made.moved(made.delay1, 0, 0)


@pytest.mark.parametrize(("enough", "tried"), [(1, [1, 2]), (2, [1, 2, 0]), (3, [1, 2, 0, 4])])
def test_proofs_side_by_side_are_those_one_after_the_other(tmp_path, monkeypatch, enough, tried):
    first, last = (made.biased(made.delay1, len(made.delay1.nodes) - 1, b) for b in (0.5, 0.25))
    graphs = [first, WRONG, made.delay1, made.delay1, last]
    found = []
    for most in (1, 4):
        folder = tmp_path / str(most)
        folder.mkdir()
        parameters = plant(folder, graphs, [3, 5, 5, 5, 7])
        network = Network.load(folder / "quantized.npz")
        replace(network, candidate=np.array([2, 0, 0, 0, 1], np.int32)).save(
            folder / "quantized.npz"
        )
        parameters.prove.enough = enough
        monkeypatch.setattr(stages.prove, "side_by_side", lambda most=most: most)
        monkeypatch.setattr(stages.prove, "processes", lambda _, most=most: processes(most))
        stage(parameters, folder)
        found.append((folder / "proofs.parquet").read_bytes())
    assert found[0] == found[1]
    assert pq.read_table(folder / "proofs.parquet")["row"].to_pylist() == tried


def test_the_stages_end_with_the_smallest_proven_graph(tmp_path):
    larger = made.biased(made.delay1, len(made.delay1.nodes) - 1, 0.25)
    proof = proven(tmp_path, [larger, WRONG, made.delay1], [3, 5, 5])
    assert (proof["proven"], proof["tried"], proof["proven_restarts"]) == (True, 3, 2)
    graph = Graph.load(tmp_path)
    assert graph.size == proof["weights"] + proof["biases"] <= made.delay1.size
    assert proof["weights_pruned"] >= proof["weights"]
    check(Certificate.load(tmp_path / "certificate.npz"), graph, TASKS["delay1"]())
    assert pq.read_table(tmp_path / "automaton.parquet").num_rows >= 4


def test_the_stage_stops_when_enough_candidates_are_proven(tmp_path):
    parameters = plant(tmp_path, [WRONG, *[made.delay1] * 5], range(6))
    stage(parameters, tmp_path)
    verdicts = pq.read_table(tmp_path / "proofs.parquet")["verdict"].to_pylist()
    assert verdicts.count("proven") == 2
    assert load_json(tmp_path / "prove.json")["rows"] == [1, 2]


def test_what_is_much_larger_than_a_proven_graph_is_not_tried(tmp_path):
    larger = made.biased(made.delay1, len(made.delay1.nodes) - 1, 0.25)
    assert made.delay1.size < larger.size <= 1.5 * made.delay1.size < made.ones_triple.size
    parameters = plant(tmp_path, [made.ones_triple, larger, made.delay1], [3, 5, 5])
    parameters.prove.enough = 3
    stage(parameters, tmp_path)
    assert pq.read_table(tmp_path / "proofs.parquet")["row"].to_pylist() == [2, 1]


def test_what_is_undecided_is_proven_with_saturated_states(tmp_path):
    """The points of `average` do not close, and one box is too few. `drowned` is wrong."""
    parameters = plant(tmp_path, [made.drowned, made.average], [0, 0])
    parameters.prove.pairs, parameters.prove.cells = 64, 1
    stage(parameters, tmp_path)
    assert load_json(tmp_path / "prove.json")["saturated"]
    rows = pq.read_table(tmp_path / "proofs.parquet").select(["row", "verdict", "saturated"])
    assert sorted(tuple(row.values()) for row in rows.to_pylist()) == [
        (0, "wrong", False),
        (1, "proven", True),
    ]
    polish_stage(parameters, tmp_path)
    check(Certificate.load(tmp_path / "certificate.npz"), Graph.load(tmp_path), TASKS["delay1"]())


def test_the_stages_say_that_nothing_is_proven(tmp_path, capsys):
    proof = proven(tmp_path, [WRONG, made.drowned], [0, 0])
    assert (proof["proven"], proof["certificate"], proof["candidate"]) == (False, None, 1)
    word = proof["counterexample"]["word"]
    assert proof["counterexample"]["step"] == len(word) - 1
    assert word[0] in ([0], [1])
    said = capsys.readouterr().out.splitlines()
    assert (said[0], said[1][-10:]) == ("none of 2 candidates proven", "not proven")
    assert len(Certificate.load(tmp_path / "certificate.npz")) == 0


def test_the_stage_without_candidates_names_the_remedy(tmp_path):
    with pytest.raises(ParameterError, match=r"raise plants\.delay1\.train\.steps"):
        stage(plant(tmp_path, [], []), tmp_path)


def test_a_tie_goes_to_the_larger_margin_and_an_unproven_plant_to_the_undecided():
    proofs = [prove(made.moved(made.delay1, 2, w), TASKS["delay1"]()) for w in (1, 2)]
    wrong = Counterexample((0, 1, 0), shortest=True)
    verdicts = [wrong, Undecided("budget"), *proofs]
    trials = [Trial(c, c, c, made.delay1, v) for c, v in enumerate(verdicts)]
    assert [min(trials[:n], key=rank).row for n in (1, 2, 3, 4)] == [0, 1, 2, 3]


def test_a_very_large_graph_stays_as_it_is(tmp_path, monkeypatch):
    module = sys.modules[polish_stage.__module__]
    larger = made.biased(made.delay1, len(made.delay1.nodes) - 1, 0.25)
    monkeypatch.setattr(module, "LARGE", larger.size - 1)
    proof = proven(tmp_path, [larger], [0])
    assert (proof["proven"], proof["weights"] + proof["biases"]) == (True, larger.size)


def test_one_shape_is_searched_from_once(tmp_path, monkeypatch):
    module = sys.modules[polish_stage.__module__]
    searched, search = [], module.polish
    monkeypatch.setattr(module, "polish", lambda *a, **k: searched.append(a) or search(*a, **k))
    proven(tmp_path, [made.delay1, made.moved(made.delay1, 0, -1.07)], [3, 4])
    assert len(searched) == 1


def test_searches_side_by_side_find_what_one_after_the_other_does(tmp_path, monkeypatch):
    module = sys.modules[polish_stage.__module__]
    larger = made.biased(made.delay1, len(made.delay1.nodes) - 1, 0.25)
    found = []
    for most in (3, 1):
        monkeypatch.setattr(module, "processes", lambda _, most=most: processes(most))
        folder = tmp_path / str(most)
        folder.mkdir()
        proven(folder, [larger, made.delay1, made.moved(made.delay1, 0, -1.07)], [3, 4, 5])
        found.append({p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()})
    assert found[0] == found[1]
