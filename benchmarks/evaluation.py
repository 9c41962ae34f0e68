"""Steps a second of candidates on sequences, beside an evaluator in JavaScript, as the original's:
`python -m benchmarks.evaluation --help`.

Candidates are copies of one graph, and the targets are its own outputs, so that nothing stops
early: steps are candidates x sequences x length. The dense kernel sees the graph as `clip` and
`quantize` do, in the architecture that it was trained in, most weights being zero, and in the
smallest one; the sparse kernel sees its edges alone.
"""

import argparse
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import machine, print_table, save, spread
from benchmarks.rounds import Contender, Turn, take_turns
from bonsai.graph import Graph
from bonsai.network import Architecture, Network
from bonsai.prune import eliminate_dead_code

FACTOR, LEAK = 0.5, 0.0625
LENGTH, CANDIDATES, SEQUENCES = 40, 1024, 1024
WORDS = 64  # that the peer goes through in a pass
TURN = 0.25  # seconds of a turn, about
PATIENCE = 60  # seconds to build a contender
PEER = Path(__file__).with_name("peer.mjs")


@dataclass(frozen=True)
class Size:
    """A published graph's size, in its smallest architecture and in that it was trained in.

    reported: steps a second of the original's evaluator on it, as the issue has them
    """

    name: str
    inputs: int
    packed: tuple[tuple[int, int], ...]
    trained: tuple[tuple[int, int], ...]
    weights: int
    biases: int
    reported: float


SIZES = (
    Size("ones_triple", 1, ((1, 2),), ((4, 2),), 7, 3, 820e3),
    Size("gates", 3, ((6, 5), (4, 4)), ((16, 10), (16, 10)), 50, 10, 317e3),
)


def network(size: Size) -> Network:
    """A random network of this size without dead code, in the smallest architecture."""
    rng = np.random.default_rng(0)
    a = Architecture(size.inputs, size.packed, 1)
    weights, biases = (np.flatnonzero(a.mask(kind)) for kind in ("weight", "bias"))
    for _ in range(100_000):
        p = np.zeros((1, a.size), np.float32)
        for where, count in ((weights, size.weights), (biases, size.biases)):
            chosen = rng.choice(where, count, replace=False)
            p[0, chosen] = rng.choice([-1, -0.75, -0.5, 0.5, 0.75, 1], count)
        p[0, a.mask("initial")] = rng.choice([-1, 1], a.mask("initial").sum())
        found = Network(a, FACTOR, LEAK, p, *[np.zeros(1, np.int32)] * 2)
        graph = as_graph(found)
        if eliminate_dead_code(graph, fold=False).size == size.weights + size.biases:
            return found
    raise ValueError(
        f"{size.name}: no graph of {size.weights} weights without dead code was drawn"
    )


def as_graph(found: Network) -> Graph:
    inputs = [f"x{i}" for i in range(found.architecture.inputs)]
    return Graph.from_network(found, 0, inputs, ["y"])


def embedded(found: Network, cells: tuple[tuple[int, int], ...]) -> Network:
    """The same network in a larger architecture, zero elsewhere."""
    small = found.architecture
    large = Architecture(small.inputs, cells, small.outputs)
    result = Network(
        large,
        FACTOR,
        LEAK,
        np.zeros((1, large.size), np.float32),
        *[np.zeros(1, np.int32)] * 2,
    )
    width = given = small.inputs
    for k, ((o, s), (wide, _)) in enumerate(zip(small.cells, cells, strict=True)):
        rows = np.r_[:given, width : width + s]
        columns = np.r_[:o, wide : wide + s]
        result.tensor("weight", k)[0][np.ix_(rows, columns)] = found.tensor("weight", k)[0]
        result.tensor("bias", k)[0][columns] = found.tensor("bias", k)[0]
        result.tensor("initial", k)[0][:s] = found.tensor("initial", k)[0]
        width, given = wide, o
    result.tensor("weight", -1)[0][:given] = found.tensor("weight", -1)[0]
    result.tensor("bias", -1)[0][:] = found.tensor("bias", -1)[0]
    return result


def words(size: Size, count: int) -> np.ndarray:
    return np.random.default_rng(1).choice([-1.0, 1.0], (count, LENGTH, size.inputs))


def build_kernel(size: Size, cells: tuple[tuple[int, int], ...]) -> tuple[Turn, str]:
    """A turn evaluates all candidates on all sequences."""
    from kernels.evaluate import Evaluator

    small = network(size)
    x = words(size, SEQUENCES)
    y = as_graph(small).run(x)
    targets = np.where(np.abs(y) > 1e-3, np.sign(y), 0)  # sums are in another order here
    evaluator = Evaluator(Architecture(size.inputs, cells, 1), LEAK, x, targets, early=True)
    candidates = np.repeat(embedded(small, cells).parameters, CANDIDATES, axis=0)
    if not (evaluator.right(candidates, FACTOR) == SEQUENCES).all():
        raise ValueError(f"{size.name}: the kernel's outputs are not the graph's")

    def turn(times: int) -> None:
        for _ in range(times):
            evaluator.right(candidates, FACTOR)

    return turn, ""


def build_sparse(size: Size) -> tuple[Turn, str]:
    """The same work on the graph's edges alone."""
    from kernels.evaluate import GraphEvaluator, Sequences

    graph, x = as_graph(network(size)), words(size, SEQUENCES)
    held = Sequences(x, np.sign(graph.run(x)))
    evaluator = GraphEvaluator([graph] * CANDIDATES, held, early=True)

    def turn(times: int) -> None:
        for _ in range(times):
            right = evaluator.right()
        if not (right == SEQUENCES).all():
            raise ValueError(f"{size.name}: the kernel's outputs are not the graph's")

    turn(2)
    return turn, ""


def build_peer(size: Size) -> tuple[Turn, str]:
    """A turn takes all words through the graph."""
    graph, x = as_graph(network(size)), words(size, WORDS)
    nodes = [{"kind": n.kind, "bias": n.bias, "initial": n.initial} for n in graph.nodes]
    described = {
        "nodes": nodes,
        "edges": [[e.source, e.target, e.weight] for e in graph.edges],
        "feedback": graph.feedback,
        "factor": FACTOR,
        "leak": LEAK,
    }
    process = subprocess.Popen(
        ["node", str(PEER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    questions, answers = process.stdin, process.stdout

    def ask(question: Any) -> Any:
        print(json.dumps(question), file=questions, flush=True)
        return json.loads(answers.readline())

    outputs = np.array(ask({"graph": described, "words": x.tolist()}))
    if not np.allclose(outputs, graph.run(x), atol=1e-3):
        raise ValueError(f"{size.name}: the peer's outputs are not the graph's")

    def turn(times: int) -> float:
        return ask(times) / times

    turn(200)  # until the compiler has seen it
    return turn, ""


def compare(size: Size, rounds: int) -> dict[str, Any]:
    contenders = [
        Contender("javascript", build_peer, (size,), PATIENCE),
        Contender("dense, as trained", build_kernel, (size, size.trained), PATIENCE),
        Contender("dense, smallest", build_kernel, (size, size.packed), PATIENCE),
        Contender("sparse", build_sparse, (size,), PATIENCE),
    ]
    steps = {c.name: CANDIDATES * SEQUENCES * LENGTH for c in contenders}
    steps["javascript"] = WORDS * LENGTH
    try:
        for c in contenders:
            if c.left_out:
                raise RuntimeError(f"{size.name}: {c.name}: {c.left_out}")
            c.size(TURN, 100_000)
        taken = take_turns(contenders, rounds)
    finally:
        for c in contenders:
            c.stop()
    rates = {name: steps[name] / np.array(seconds) for name, seconds in taken.items()}
    peer = rates["javascript"]
    results = [
        {
            "name": name,
            "steps_a_second": spread(rate),
            "ratio_to_peer": spread(rate / peer),
            "ratio_to_reported": spread(rate / size.reported),
        }
        for name, rate in rates.items()
    ]
    sizes = {"weights": size.weights, "biases": size.biases, "reported": size.reported}
    return {"graph": size.name, **sizes, "contenders": results}


def show(result: dict[str, Any]) -> None:
    rows = []
    for c in result["contenders"]:
        rate = c["steps_a_second"]
        quartiles = f"{rate['low']:.4g}..{rate['high']:.4g}"
        ratios = (f"{c[f'ratio_to_{to}']['median']:.1f}" for to in ("peer", "reported"))
        rows.append([c["name"], f"{rate['median']:.4g}", quartiles, *ratios])
    print(
        f"{result['graph']}, {result['weights']} weights and {result['biases']} biases; "
        f"the original reaches {result['reported']:.4g} steps a second"
    )
    print_table(["evaluator", "steps a second", "quartiles", "x peer", "x original"], rows)


def run(rounds: int) -> None:
    """Measure both graphs, print a table of each, and write `results/evaluation.json`."""
    described = machine()
    results = []
    for size in SIZES:
        results.append(compare(size, rounds))
        show(results[-1])
    counts = {"candidates": CANDIDATES, "sequences": SEQUENCES, "length": LENGTH}
    save("evaluation", described, {"rounds": rounds, **counts, "results": results})


def main() -> None:
    parser = argparse.ArgumentParser(description="Steps a second of candidates on sequences")
    parser.add_argument("--rounds", type=int, default=11)
    run(parser.parse_args().rounds)


if __name__ == "__main__":
    main()
