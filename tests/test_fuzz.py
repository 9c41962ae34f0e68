"""Every reader, on files that are no longer what was written: an error of ours, or a valid object.

`make fuzz` runs it on 100,000 inputs and more; BONSAI_FUZZ is how many times as many as here.
"""

import io
import json
import os
import resource
import signal
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import ROOT
from graphs import delay2
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import stages
from bonsai.artifact import (
    ArtifactError,
    load_arrays,
    load_json,
    load_table,
    save_arrays,
    save_json,
    save_table,
)
from bonsai.certificate import Certificate
from bonsai.check import CheckError, check
from bonsai.dataset import draw, load_dataset, save_dataset
from bonsai.graph import Graph
from bonsai.kiss2 import parse_kiss2
from bonsai.listing import load_logic
from bonsai.machine import Machine, MachineError
from bonsai.network import Architecture, Network
from bonsai.prove import prove
from bonsai.result import Result
from bonsai.source import parse_pla, read_task
from bonsai.tasks import TASKS, gates
from stages import ParameterError, configure

TIMES = int(os.environ.get("BONSAI_FUZZ", "1"))
OURS = (ArtifactError, MachineError, ParameterError)
SECONDS, MEMORY = 30, 3 << 30  # that one input may take


class Hang(BaseException):
    """No `except Exception` takes it for an error of a file."""


@contextmanager
def bounded() -> Iterator[None]:
    """Fails what takes too long; what takes too much memory is a MemoryError."""

    def hang(*_: object) -> None:
        raise Hang(f"longer than {SECONDS} s")

    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def tried(load: Callable[[], Any]) -> Any:
    """What is loaded, or None if it is refused as it should be."""
    with bounded():
        try:
            return load()
        except OURS as e:
            refused = e
    said = str(refused)
    assert "\n" not in said
    assert len(said) < 1000
    cause: BaseException | None = refused
    while cause is not None:
        assert not isinstance(cause, MemoryError), "it took memory before it was refused"
        cause = cause.__cause__
    return None


def fuzz(number: int) -> Callable[[Callable], Callable]:
    """A test that is run on so many inputs."""
    return settings(
        max_examples=number * TIMES,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


# ---- inputs


@st.composite
def mutated(draw: st.DrawFn, valid: st.SearchStrategy[bytes]) -> bytes:
    """Bytes flipped, cut off, doubled, moved, or overwritten by numbers that mean something."""
    content = bytearray(draw(valid))
    for _ in range(draw(st.integers(1, 4))):
        if not content:
            break
        # Sizes and offsets lie at the ends of a file.
        at = draw(st.integers(0, len(content) - 1) | st.integers(0, min(200, len(content) - 1)))
        at = len(content) - 1 - at if draw(st.booleans()) else at
        kind = draw(st.sampled_from(["flip", "cut", "byte", "word", "double", "drop"]))
        end = min(len(content), at + draw(st.integers(1, 40)))
        if kind == "flip":
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del content[at:]
        elif kind == "byte":
            content[at] = draw(st.sampled_from(b"\x00\x01\x7f\x80\xff 019-.#\n{}[]:&*"))
        elif kind == "word":
            content[at : at + 4] = draw(
                st.sampled_from([b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0" * 4, b"9999"])
            )
        elif kind == "double":
            content[at:at] = content[at:end]
        else:
            del content[at:end]
    return bytes(content)


WORDS = st.sampled_from([
    "0", "1", "-", "00", "01", "1-", "--", "11", "2", "~", "|", ".i", ".o", ".s", ".p", ".r", ".e",
    ".type", ".ilb", ".ob", ".mv", "fd", "fr", "f", "fdr", "s0", "s1", "a", "b", "*", "#",
    "999999999", "12", "13", "1024", "0x1", "٣", "----", "------------", "\x00", "\u2028",
])  # fmt: skip
LINES = st.lists(WORDS, max_size=6).map(" ".join)
HEADS = st.sampled_from([".i 2\n.o 1\n", ".i 1\n.o 2\n.r a\n", ".i 0\n.o 1\n", ".i 12\n.o 9\n"])
TEXTS = st.builds(lambda head, rows: head + "\n".join(rows), HEADS, st.lists(LINES, max_size=8))
KISS2 = [task().to_kiss2().encode() for task in TASKS.values()]
PLA = [b".i 2\n.o 2\n.ilb a b\n.ob s c\n.type fd\n10 10\n01 1-\n11 01\n.e\n", b".i 0\n.o 1\n1\n"]


def used(machine: Machine | None) -> None:
    """A machine that was read does what every stage asks of it."""
    if machine is None:
        return
    with bounded():
        small = machine.minimized()
        symbols, _ = small.sample(np.random.default_rng(0), 4, 6, 0.5)
        for word in symbols:
            assert np.array_equal(small.run(word.tolist())[1], machine.run(word.tolist())[1])
        parse_kiss2(small.to_kiss2())


@fuzz(100)
@given(TEXTS)
def test_any_kiss2_text(text):
    used(tried(lambda: parse_kiss2(text)))


@fuzz(100)
@given(TEXTS)
def test_any_truth_table(text):
    used(tried(lambda: parse_pla(text)))


@fuzz(60)
@given(content=mutated(st.sampled_from(KISS2)) | mutated(st.sampled_from(PLA)) | st.binary())
@pytest.mark.parametrize("kind", ["kiss2", "pla"])
def test_any_file_of_a_task(tmp_path, kind, content):
    path = tmp_path / f"task.{kind}"
    path.write_bytes(content)
    used(tried(lambda: read_task(path)))


# ---- artifacts


def written(save: Callable[[Path], None], name: str) -> bytes:
    """The bytes that `save` leaves in a file of this name in a folder."""
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder))
        return (Path(folder) / name).read_bytes()


def some_network() -> Network:
    rng = np.random.default_rng(0)
    architecture = Architecture(2, ((3, 2), (2, 1)), 1)
    numbers = np.arange(3, dtype=np.int32)
    return Network(architecture, 0.5, 0.0625, architecture.initialize(rng, 3), numbers, numbers)


def some_certificate() -> Certificate:
    found = prove(delay2, TASKS["delay2"]())
    assert isinstance(found, Certificate)
    return found


def some_dataset(path: Path) -> None:
    save_dataset(path, {"train": draw(gates(), np.random.default_rng(0), 16, 5)})


MACHINE = written(lambda f: gates().save(f / "machine.parquet"), "machine.parquet")
NODES = written(delay2.save, "nodes.parquet")
EDGES = written(delay2.save, "edges.parquet")
DATASET = written(lambda f: some_dataset(f / "dataset.parquet"), "dataset.parquet")
NETWORK = written(lambda f: some_network().save(f / "network.npz"), "network.npz")
CERTIFICATE = written(lambda f: some_certificate().save(f / "c.npz"), "c.npz")
TABLES = [MACHINE, NODES, EDGES, DATASET]
ARRAYS = [NETWORK, CERTIFICATE]


def same_or_mutated(own: bytes, others: list[bytes]) -> st.SearchStrategy[bytes]:
    return mutated(st.just(own)) | mutated(st.sampled_from(others)) | st.sampled_from(others)


@fuzz(80)
@given(content=same_or_mutated(MACHINE, TABLES + ARRAYS))
def test_any_machine(tmp_path, content):
    path = tmp_path / "machine.parquet"
    path.write_bytes(content)
    used(tried(lambda: Machine.load(path)))


@fuzz(80)
@given(nodes=same_or_mutated(NODES, TABLES), edges=st.just(EDGES) | mutated(st.just(EDGES)))
def test_any_graph(tmp_path, nodes, edges):
    (tmp_path / "nodes.parquet").write_bytes(nodes)
    (tmp_path / "edges.parquet").write_bytes(edges)
    graph = tried(lambda: Graph.load(tmp_path))
    if graph is not None:
        with np.errstate(all="ignore"):
            graph.run(np.ones((2, 3, len(graph.where("input"))), np.float32))


@fuzz(40)
@given(content=same_or_mutated(DATASET, TABLES))
def test_any_dataset(tmp_path, content):
    path = tmp_path / "dataset.parquet"
    path.write_bytes(content)
    found = tried(lambda: load_dataset(path, "train"))
    if found is not None:
        assert found.inputs.shape[:2] == found.targets.shape[:2]


@st.composite
def repacked(draw: st.DrawFn, content: bytes) -> bytes:
    """An NPZ of which one array is missing, or has another header, shape, type or content."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    name = draw(st.sampled_from(sorted(members)))
    array = np.load(io.BytesIO(members[name]))
    shape = draw(st.lists(st.sampled_from([-1, 0, 1, 2, 3, 1 << 20, 1 << 40, 10**30]), max_size=4))
    kind = draw(
        st.sampled_from(["|O", "<U0", "<U9999999", "|V0", "<f4", "<f8", "<i4", "|b1", "x"])
    )
    header = str({"descr": kind, "fortran_order": draw(st.booleans()), "shape": tuple(shape)})
    header = draw(st.just(header) | mutated(st.just(header.encode())).map(repr))
    text = header.encode() + b"\n"
    lies = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    other = io.BytesIO()
    with np.errstate(all="ignore"):
        values = array.reshape(-1)[: draw(st.integers(0, 4))]
        if array.dtype.kind in "fi" and draw(st.booleans()):
            values = values * np.array(draw(st.sampled_from([-1, 1e30, np.nan])))
    np.save(other, values)
    plain = np.full(draw(st.integers(0, 9)), 1, "<f4").tobytes()
    changed = draw(st.sampled_from([None, lies, lies + plain, other.getvalue(), b""]))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", draw(st.sampled_from([0, 8, 12, 14]))) as file:
        for member, own in members.items():
            if member != name or changed is not None:
                file.writestr(member, own if member != name else changed or b"")
    return packed.getvalue()


@fuzz(100)
@given(content=same_or_mutated(NETWORK, ARRAYS + TABLES) | repacked(NETWORK))
def test_any_network(tmp_path, content):
    path = tmp_path / "network.npz"
    path.write_bytes(content)
    network = tried(lambda: Network.load(path))
    if network is not None and len(network):
        a = network.architecture
        names = [[f"{c}{i}" for i in range(n)] for c, n in (("x", a.inputs), ("y", a.outputs))]
        if np.isfinite(network.parameters).all():
            Graph.from_network(network, 0, *names)


@fuzz(100)
@given(content=same_or_mutated(CERTIFICATE, ARRAYS + TABLES) | repacked(CERTIFICATE))
def test_any_certificate(tmp_path, content):
    path = tmp_path / "certificate.npz"
    path.write_bytes(content)
    found = tried(lambda: Certificate.load(path))
    if found is not None:
        with bounded():
            try:
                check(found, delay2, TASKS["delay2"]())
            except CheckError:
                return


# What JSON can say, in the place of what it should say.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
COLUMNS = st.sampled_from(
    [
        pa.array([0, 1, 2**40, None]),
        pa.array([-1, 0, 1, 7], pa.int8()),
        pa.array(["input", "state", "head", None]),
        pa.array([0.5, float("nan"), float("inf"), None]),
        pa.array([[1], [], None, [2**40, -1]]),
        pa.array([True, False, None, True]),
        pa.array([None] * 4),
        pa.array([{"a": 1}, None, {"a": None}, {"a": 2}]),
    ]
)


@st.composite
def told(draw: st.DrawFn, path: Path, kind: str) -> tuple[dict[str, Any], Any]:
    """The columns and the metadata of a table, of which some are something else."""
    table, about = load_table(path, kind)
    columns = {name: table[name].combine_chunks()[:4] for name in table.column_names}
    for name in draw(st.lists(st.sampled_from(table.column_names), max_size=2)):
        columns[name] = draw(COLUMNS)[: len(table)]
    if isinstance(about, dict) and draw(st.booleans()):
        about = {**about, draw(st.sampled_from(sorted(about))): draw(VALUES)}
    elif draw(st.booleans()):
        about = draw(VALUES)
    return columns, about


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("valid")
    contents = zip(("machine", "nodes", "edges", "dataset"), TABLES, strict=True)
    for name, content in contents:
        (folder / f"{name}.parquet").write_bytes(content)
    return folder


@fuzz(60)
@given(data=st.data())
@pytest.mark.parametrize("kind", ["machine", "nodes", "edges", "dataset"])
def test_any_table_of_the_right_kind(tmp_path, valid, kind, data):
    columns, about = data.draw(told(valid / f"{kind}.parquet", kind))
    size = min(len(c) for c in columns.values())
    cut = {name: column[:size] for name, column in columns.items()}
    save_table(tmp_path / f"{kind}.parquet", kind, cut, about)
    if kind == "machine":
        used(tried(lambda: Machine.load(tmp_path / "machine.parquet")))
    elif kind == "dataset":
        tried(lambda: load_dataset(tmp_path / "dataset.parquet", "train"))
    else:
        other = {"nodes": EDGES, "edges": NODES}[kind]
        name = {"nodes": "edges", "edges": "nodes"}[kind]
        (tmp_path / f"{name}.parquet").write_bytes(other)
        graph = tried(lambda: Graph.load(tmp_path))
        if graph is not None:
            with np.errstate(all="ignore"):
                graph.run(np.ones((2, 3, len(graph.where("input"))), np.float32))


# ---- JSON and parameters

PROOF = dict.fromkeys(Result.__dataclass_fields__, 1)
LOGIC = {"program": None, "reason": "", "signals": [], "states": [], "by_hand": None}


@fuzz(60)
@given(content=st.binary() | VALUES.map(lambda v: json.dumps(v).encode()) | st.just(b"[" * 99999))
@example(content=b"9" * 5000)
def test_any_json(tmp_path, content):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    for load in (load_json, Result.load, load_logic):
        tried(lambda load=load: load(path))


@fuzz(60)
@given(name=st.sampled_from([*PROOF, *LOGIC]), value=VALUES)
def test_any_field_of_a_result(tmp_path, name, value):
    save_json(tmp_path / "proof.json", {**PROOF, name: value})
    save_json(tmp_path / "logic.json", {**LOGIC, name: value})
    tried(lambda: Result.load(tmp_path / "proof.json"))
    tried(lambda: load_logic(tmp_path / "logic.json"))


PARAMS = [
    b"a: &a [x]\n", b"b: *a\n", b"${oc.env:HOME}", b"${checked:1}", b"${train}",
    b"!!python/name:os", b"? ", b"- ", b"{", b"[[[[", b"\t", b"null", b".inf", b"1e999",
    b"0x7fffffffffffffffff", b"---\n", b"'", b"99999999999999999999999",
]  # fmt: skip


@st.composite
def parameters(draw: st.DrawFn, text: bytes) -> bytes:
    lines = text.splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        key = lines[at].partition(b":")[0]
        put = draw(st.sampled_from(PARAMS) | st.binary(max_size=6))
        lines[at] = draw(
            st.sampled_from([b"", lines[at] * 2, key + b": " + put + b"\n", put + b"\n"])
        )
    return b"".join(lines)


TINY = (ROOT / "params.yaml").read_bytes()


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> Path:
    path = tmp_path / "params.yaml"
    monkeypatch.setattr(stages, "PARAMS", path)
    return path


@fuzz(10)
@given(content=parameters(TINY) | mutated(st.just(TINY)) | st.binary())
@example(content=b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in range(98, 108)
))  # fmt: skip
@example(content=b"0")
@example(content=b"{a: " * 5000)
@example(content=b"[" * 5000)
def test_any_parameters(params, content):
    params.write_bytes(content)
    tried(stages.parameters)
    tried(lambda: stages.plant_parameters("delay2"))


KEYS = st.sampled_from([
    "garden", "train.steps", "plants.delay2.train.cells", "train", "+new", "~train",
    "hydra.run.dir", "plants.delay2.task.source", "plant@plants.x",
])  # fmt: skip
PUT = st.text(max_size=8) | st.sampled_from([
    "${oc.env:HOME}", "[[", "{a:1}", "null", "1e99", "../x.py", "tasks/../../x.py", "${train}",
])  # fmt: skip


@fuzz(2)
@given(st.text(max_size=12) | st.builds("{}={}".format, KEYS, PUT))
@pytest.mark.usefixtures("root")
def test_any_override(override):
    tried(lambda: configure.composed([override]))


# ---- files that lie about their size


def zipped(name: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, content)
    return packed.getvalue()


def test_a_header_that_claims_a_terabyte_is_refused(tmp_path):
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}\n"
    header = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    (tmp_path / "n.npz").write_bytes(zipped("kind.npy", header + b"1234"))
    with pytest.raises(ArtifactError, match="shorter than its header says"):
        load_arrays(tmp_path / "n.npz", "network", [])


def test_a_zip_bomb_is_refused(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "n.npz", "w", zipfile.ZIP_DEFLATED) as file,
        file.open("kind.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(1100):
            member.write(bytes(1 << 20))
    assert (tmp_path / "n.npz").stat().st_size < 1 << 21
    assert tried(lambda: load_arrays(tmp_path / "n.npz", "network", [])) is None


def test_a_table_of_a_long_word_again_and_again_is_refused(tmp_path):
    word = pa.DictionaryArray.from_arrays(np.zeros(1 << 16, np.int32), ["x" * (1 << 20)])
    save_table(tmp_path / "t.parquet", "nodes", {"name": word})
    assert (tmp_path / "t.parquet").stat().st_size < 1 << 20
    assert tried(lambda: load_table(tmp_path / "t.parquet", "nodes")) is None


def test_no_byte_of_a_footer_ends_the_process(tmp_path):
    """Five of these made pyarrow abort, where it was asked for the metadata of a column."""
    path = tmp_path / "edges.parquet"
    refused = 0
    for at in range(len(EDGES) - 8 - int.from_bytes(EDGES[-8:-4], "little"), len(EDGES)):
        content = bytearray(EDGES)
        content[at] ^= 0x10
        path.write_bytes(content)
        refused += tried(lambda: load_table(path, "edges")) is None
    assert refused > 500


def test_a_pickle_in_an_archive_is_not_loaded(tmp_path):
    class Evil:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "it was loaded"),)

    np.savez(tmp_path / "n.npz", kind=np.array([Evil()], dtype=object))
    with pytest.raises(ArtifactError, match="is an array"):
        load_arrays(tmp_path / "n.npz", "network", [])
    assert [p.name for p in tmp_path.iterdir()] == ["n.npz"]


def test_what_is_written_is_read(tmp_path):
    """That the inputs above start from what the readers take."""
    for name, content in (("machine", MACHINE), ("nodes", NODES), ("edges", EDGES)):
        (tmp_path / f"{name}.parquet").write_bytes(content)
    (tmp_path / "n.npz").write_bytes(NETWORK)
    (tmp_path / "c.npz").write_bytes(CERTIFICATE)
    (tmp_path / "d.parquet").write_bytes(DATASET)
    assert Machine.load(tmp_path / "machine.parquet").inputs == ("change", "a", "b")
    assert Graph.load(tmp_path).size == delay2.size
    assert len(Network.load(tmp_path / "n.npz")) == 3
    assert len(Certificate.load(tmp_path / "c.npz"))
    assert len(load_dataset(tmp_path / "d.parquet", "train")) == 16
    save_arrays(tmp_path / "e.npz", "thing", {"x": np.zeros((0, 3))})
    assert load_arrays(tmp_path / "e.npz", "thing", ["x"])["x"].shape == (0, 3)
