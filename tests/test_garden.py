"""The garden `post` from nothing, as `make repro` grows it."""

import json

import pytest
from test_pipeline import Copy

from bonsai import Graph, Machine, check
from bonsai.certificate import Certificate

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
