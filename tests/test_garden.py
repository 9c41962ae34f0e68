"""The garden `post` from nothing, as `make repro` grows it."""

import json
from pathlib import Path

import pytest
from aalpy.utils import bisimilar
from test_circuit import equal_by_yosys, mealy
from test_pipeline import Copy
from test_program import mutants

from bonsai import Graph, Machine, check
from bonsai.certificate import Certificate
from bonsai.circuit import verilog
from bonsai.extract import extract
from bonsai.program import ProgramError, prove_equal

MOST = {  # delay2, ones_triple as published; the others far below it
    "delay1": 3, "delay2": 4, "loop3": 5, "parens": 8, "ones_triple": 10, "gates": 30, "cpu2": 60,
}  # fmt: skip


@pytest.mark.slow
def test_all_of_the_garden_is_proven_and_as_small_as_said(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    copy = Copy(tmp_path_factory.mktemp("post"))
    copy.run("dvc", "repro")
    garden = json.loads((copy.folder / "data/report/garden.json").read_text())
    plants = {plant["plant"]: plant for plant in garden["plants"]}
    assert set(plants) == set(MOST)
    for name, most in MOST.items():
        assert plants[name]["proven"], name
        assert plants[name]["weights"] + plants[name]["biases"] <= most, name
        folder = copy.folder / "data/plants" / name
        graph = Graph.load(folder)
        assert graph.size == plants[name]["weights"] + plants[name]["biases"]
        machine = Machine.load(folder / "machine.parquet")
        check(Certificate.load(folder / "certificate.npz"), graph, machine)
        agreed(folder, graph, machine)


def agreed(folder: Path, graph: Graph, machine: Machine) -> None:
    """Ours, yosys and AALpy find what was extracted equal to the task, and refuse errors in it."""
    e = extract(graph, machine, Certificate.load(folder / "certificate.npz"))
    circuit = verilog(e.program, machine)
    assert circuit.strip() in (folder / "circuit.v").read_text()
    assert equal_by_yosys(folder / "yosys", e.program, circuit, machine)
    assert bisimilar(mealy(Machine.from_kiss2(folder / "automaton.kiss2")), mealy(machine))
    for n, wrong in enumerate(mutants(e.program)[:2]):
        try:
            prove_equal(wrong, machine)
            right = True
        except ProgramError:
            right = False
        where = folder / f"yosys{n}"
        assert equal_by_yosys(where, wrong, verilog(wrong, machine), machine) == right
