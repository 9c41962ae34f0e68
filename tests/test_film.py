"""The moving picture of a graph at work."""

import xml.etree.ElementTree as ET

import graphs
import numpy as np
import pytest

from bonsai.draw import NEGATIVE, POSITIVE, SVG, number
from bonsai.film import film
from bonsai.machine import MachineError
from bonsai.tasks import delay1, ones_triple, parens

WORD = [0, 1, 0, 0, 0, 1, 1]


def frames(element: ET.Element, name: str) -> list[str]:
    """The values of an attribute, a frame each."""
    found = [a for a in element if a.get("attributeName") == name]
    return found[0].get("values", "").split(";") if found else [element.get(name, "")] * len(WORD)


def group(svg: str, name: str) -> ET.Element:
    return next(g for g in ET.fromstring(svg).iter(f"{{{SVG}}}g") if g.get("id") == name)


def test_each_frame_shows_its_values():
    graph, machine = graphs.ones_triple, ones_triple()
    y = graph.run(machine.symbols[WORD][None])[0, :, 0]
    head = group(film(graph, machine, WORD), "n6")
    texts = [text for text in head.iter(f"{{{SVG}}}text") if text.get("visibility")]
    for t, value in enumerate(y):
        shown = [text.text for text in texts if frames(text, "visibility")[t] == "visible"]
        assert shown == [number(round(float(value), 2))]
    fills = frames(next(c for c in head if c.tag.endswith("polygon")), "fill")
    assert fills == [POSITIVE if value > 0 else NEGATIVE for value in y]


def test_edges_carry_weight_times_source():
    svg = film(graphs.delay1, delay1(), WORD)
    path = next(c for c in group(svg, "e0-2") if c.tag.endswith("path"))  # x -> r, weight -1
    assert frames(path, "stroke") == [NEGATIVE if bit else POSITIVE for bit in WORD]


def test_all_change_at_once_and_for_ever():
    root = ET.fromstring(film(graphs.delay1, delay1(), WORD, pace=0.5))
    every = list(root.iter(f"{{{SVG}}}animate"))
    assert {a.get("dur") for a in every} == {"3.5s"}
    assert {a.get("repeatCount") for a in every} == {"indefinite"}
    assert {len(a.get("values", "").split(";")) for a in every} == {len(WORD)}


def test_expected_bits_stand_above_those_found():
    texts = [
        t.text for t in ET.fromstring(film(graphs.drowned, delay1(), WORD)).iter(f"{{{SVG}}}text")
    ]
    rows = [texts[len(texts) - texts[::-1].index(name) :][:7] for name in ("y expected",)]
    assert rows == [["0", "0", "1", "0", "0", "0", "1"]]


def test_it_has_no_script_and_is_small():
    word = ones_triple().sample(np.random.default_rng(0), 1, 40)[0][0].tolist()
    svg = film(graphs.ones_triple, ones_triple(), word)
    assert "<script" not in svg
    assert len(svg) < 2_000_000
    assert svg == film(graphs.ones_triple, ones_triple(), word)


def test_an_illegal_word_is_refused():
    with pytest.raises(MachineError, match="illegal"):
        film(graphs.parens, parens(), [1])
