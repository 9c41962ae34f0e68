from dataclasses import replace

import graphs as made
import numpy as np
import pytest

from bonsai import Graph, Machine, check, prove
from bonsai.artifact import ArtifactError, save_arrays
from bonsai.certificate import Certificate
from bonsai.check import CheckError
from bonsai.tasks import TASKS

CASES = {
    "points": (made.ones_triple, TASKS["ones_triple"]()),
    "boxes": (made.average, TASKS["delay1"]()),
}
PROVEN = {kind: prove(*case) for kind, case in CASES.items()}
both = pytest.mark.parametrize("kind", CASES)


def refused(certificate: Certificate, graph: Graph, machine: Machine, match: str) -> None:
    with pytest.raises(CheckError, match=match):
        check(certificate, graph, machine)


def put(array: np.ndarray, place, value) -> np.ndarray:
    changed = array.copy()
    changed[place] = value
    return changed


@both
def test_what_is_proven_is_accepted(kind):
    assert PROVEN[kind].kind == kind
    check(PROVEN[kind], *CASES[kind])


@both
def test_a_bound_moved_inward_is_refused(kind):
    c = PROVEN[kind]
    for k, s in np.ndindex(c.low.shape):
        low = put(c.low, (k, s), c.low[k, s] + 1e-3)
        refused(replace(c, low=low), *CASES[kind], "entry")
        high = put(c.high, (k, s), c.high[k, s] - 1e-3)
        refused(replace(c, high=high), *CASES[kind], "entry")


def test_an_image_a_hair_outside_is_refused():
    c = PROVEN["boxes"]
    graph, machine = CASES["boxes"]
    column = 0  # the bit, of which the image is [-1, 1] and float32 slack
    tight = replace(
        c, low=put(c.low, (slice(None), column), -1.0), high=put(c.high, (..., column), 1.0)
    )
    refused(tight, graph, machine, "leads outside")


@both
def test_every_other_transition_is_refused(kind):
    c = PROVEN[kind]
    for row, (k, a, to) in enumerate(c.transitions.tolist()):
        for other in {-1, len(c), *range(len(c))} - {to}:
            changed = replace(c, transitions=put(c.transitions, row, [k, a, other]))
            refused(changed, *CASES[kind], "entry")
        refused(
            replace(c, transitions=np.delete(c.transitions, row, axis=0)), *CASES[kind], "entry"
        )


@both
def test_a_dropped_entry_is_refused(kind):
    c = PROVEN[kind]
    for k in range(len(c)):
        rows = [np.delete(a, k, axis=0) for a in (c.machine_state, c.low, c.high)]
        refused(
            Certificate(c.kind, c.arithmetic, *rows, c.transitions, c.margin),
            *CASES[kind],
            "entry",
        )


@both
def test_every_other_machine_state_is_refused(kind):
    c = PROVEN[kind]
    for k in range(len(c)):
        for other in {-1, 0, 1, 2, 99} - {int(c.machine_state[k])}:
            changed = replace(c, machine_state=put(c.machine_state, k, other))
            refused(changed, *CASES[kind], "entry")


@both
@pytest.mark.parametrize("margin", [0.0, -1.0, np.nan, np.inf, 2.0])
def test_a_margin_that_is_not_there_is_refused(kind, margin):
    refused(replace(PROVEN[kind], margin=margin), *CASES[kind], "margin|output in")


def test_the_margin_of_points_is_sharp():
    c = PROVEN["points"]
    refused(replace(c, margin=np.nextafter(c.margin, 2)), *CASES["points"], "output in")


@both
def test_another_task_is_refused(kind):
    graph, machine = CASES[kind]
    for output in (-machine.output, np.abs(machine.output)):
        refused(PROVEN[kind], graph, replace(machine, output=output), "entry .*expected")


@both
def test_another_weight_or_bias_is_refused(kind):
    graph, machine = CASES[kind]
    for e, edge in enumerate(graph.edges):
        scale = -1 if graph.nodes[edge.source].name != "m" else 12  # the average has no sign
        refused(PROVEN[kind], made.moved(graph, e, scale * edge.weight), machine, "entry")
    for n in graph.where("recurrent", "output", "head"):
        refused(PROVEN[kind], made.biased(graph, n, graph.nodes[n].bias + 1.5), machine, "entry")


@both
def test_another_initial_state_is_refused(kind):
    graph, machine = CASES[kind]
    nodes = tuple(replace(n, initial=7.0) if n.kind == "state" else n for n in graph.nodes)
    refused(PROVEN[kind], replace(graph, nodes=nodes), machine, "entry 0 .*initial pair")


@both
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_bounds_that_are_no_numbers_are_refused(kind, value):
    c = PROVEN[kind]
    refused(replace(c, high=put(c.high, (0, 0), value)), *CASES[kind], "entry 0: not a box")


def test_points_must_be_float32_numbers_without_width():
    c = PROVEN["points"]
    refused(replace(c, high=c.high + 0.5), *CASES["points"], "not a float32 point")
    refused(replace(c, low=c.low + 1e-12, high=c.low + 1e-12), *CASES["points"], "not a float32")


def test_shapes_and_types_are_checked():
    c = PROVEN["points"]
    refused(replace(c, low=c.low[:, :1]), *CASES["points"], "low is")
    refused(replace(c, transitions=c.transitions[:, :2]), *CASES["points"], "transitions is")
    refused(replace(c, low=c.low.astype(np.float32)), *CASES["points"], "low is of type float32")
    refused(replace(c, kind="boxes"), *CASES["points"], "unknown kind")
    refused(Certificate.empty(2), *CASES["points"], "no entries")
    refused(c, made.delay1, TASKS["delay1"](), "is ")


def test_a_claim_of_exactness_is_checked():
    graph, machine = made.moved(made.delay1, 2, 0.1), TASKS["delay1"]()
    c = prove(graph, machine)
    check(c, graph, machine)
    refused(replace(c, arithmetic="exact"), graph, machine, "not exact in float32")


def test_sums_must_be_exact_in_every_order():
    # With p = q = r = x: 2^24 p - 2^24 q + r is r, but 2^24 p + r - 2^24 q is 0 in float32.
    neurons = {name: (0, {"x": -1}) for name in "pqr"}
    head = {"p": 2.0**24, "q": -(2.0**24), "r": 1}
    graph = made.build("x", {}, neurons, {"y": (0, head)})
    machine = Machine.from_step(0, lambda q, x: (q, x), ["x"])
    c = prove(graph, machine)
    assert c.arithmetic == "float32"
    check(c, graph, machine)
    refused(replace(c, arithmetic="exact"), graph, machine, "a sum is not exact")


def test_boxes_of_an_activation_that_is_not_piecewise_monotone_are_refused():
    graph, machine = CASES["boxes"]
    for changed in (replace(graph, factor=1.5), replace(graph, leak=-0.1)):
        refused(PROVEN["boxes"], changed, machine, "boxes need a factor")


@both
def test_certificates_are_saved_and_loaded(kind, tmp_path):
    PROVEN[kind].save(tmp_path / "certificate.npz")
    check(Certificate.load(tmp_path / "certificate.npz"), *CASES[kind])


def test_a_broken_certificate_file_is_named(tmp_path):
    path = tmp_path / "certificate.npz"
    save_arrays(path, "certificate", {"machine_state": np.zeros(1)})
    with pytest.raises(ArtifactError, match=r"certificate\.npz: .* no array 'certificate'"):
        Certificate.load(path)


def flat_delay(slack: float) -> tuple[Certificate, Graph, Machine]:
    """delay1 at the flat points of the smooth activation, boxes of this half-width about -1, 1."""
    nodes = (
        made.Node("input", -1, 0, "x"),
        made.Node("state", 0, 0, "s0", initial=1.0),
        made.Node("output", 0, 0, "o0"),
        made.Node("recurrent", 0, 0, "r0"),
        made.Node("head", -1, 0, "y"),
    )
    edges = (made.Edge(1, 2, 1.0), made.Edge(0, 3, 1.0), made.Edge(2, 4, 1.0))
    middle = np.array([[1.0], [-1.0]])
    certificate = Certificate(
        kind="boxes",
        arithmetic="any float32",
        machine_state=np.array([0, 1], np.int32),
        low=middle - slack,
        high=middle + slack,
        transitions=np.array([[0, 0, 0], [0, 1, 1], [1, 0, 0], [1, 1, 1]], np.int32),
        margin=0.9,
    )
    return certificate, Graph(nodes, edges, ((3, 1),), 0.0, 0.0), TASKS["delay1"]()


def test_boxes_have_to_hold_the_rounding_of_the_activation():
    check(*flat_delay(1e-3))
    refused(*flat_delay(1e-10), "entry")


def test_arrays_without_axes_are_refused(tmp_path):
    c = PROVEN["points"]
    for name in ("machine_state", "transitions"):
        bare = replace(c, **{name: np.array(1, np.int32)})
        refused(bare, *CASES["points"], f"{name} is ()")
        bare.save(tmp_path / "certificate.npz")
        with pytest.raises(ArtifactError, match="axes"):
            Certificate.load(tmp_path / "certificate.npz")
