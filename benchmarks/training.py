"""Milliseconds a training step, beside the peers: `python -m benchmarks.training --help`.

A step is forward and backward through time, regulariser and Adam, for all restarts, on a minibatch
drawn by index from data on the device. Every contender's gradient, and its parameters after three
steps, are first compared with the oracle's. Each shape's contenders take turns, and the machine's
limit is measured in every round with them.
"""

import argparse
from typing import Any

import numpy as np

from benchmarks.limit import Limit
from benchmarks.problem import SHAPES, Problem, Shape, check, problem
from benchmarks.results import machine, print_table, save, spread
from benchmarks.rounds import Contender, Turn, take_turns

OURS, LIMIT = "bonsai", "limit"
PEERS = ("jax", "torch.compile", "torch eager", "tinygrad")
CHECKED_STEPS = 3
TURN = 0.25  # seconds of a turn, about
UNITS = {OURS: 25, "jax": 25}  # steps that they take in a call
FASTEST = 1e-5, 2e11  # seconds a step, and operations a second, that nobody reaches


def build(name: str, shape: Shape, steps: int) -> tuple[Turn, str]:
    """The training of one contender, for this many steps at most, compared with the oracle."""
    given = problem(shape, steps)
    note = ""
    training: Any
    if name == "jax":
        from benchmarks.peer_jax import JaxTraining

        training = JaxTraining(given)
    elif name in ("torch eager", "torch.compile"):
        from benchmarks.peer_torch import TorchTraining

        training = TorchTraining(given, compiled=name == "torch.compile")
    else:
        training = OpenCLTraining(given, fused=name == OURS)
    gradient = training.gradient()
    training.advance(CHECKED_STEPS)
    check(given, name, gradient, training.parameters(), CHECKED_STEPS)
    if name == "jax":
        note = training.settle()
    elif name not in ("torch eager", "torch.compile"):
        training.advance(25)
        training.advance(50)  # tinygrad compiles on the second call
    return training.advance, note


class OpenCLTraining:
    """Our kernels, or the same in tinygrad's own operations, as a contender."""

    def __init__(self, given: Problem, fused: bool) -> None:
        from kernels.fused import FusedTraining
        from kernels.plain import PlainTraining

        kind = FusedTraining if fused else PlainTraining
        self._training = kind(given.recipe, given.inputs, given.targets, given.parameters)

    def gradient(self) -> np.ndarray:
        return self._training.gradient()[1]

    def advance(self, steps: int) -> None:
        from tinygrad import Device

        self._training.advance(steps)
        Device["CL"].synchronize()

    def parameters(self) -> np.ndarray:
        return self._training.state()["parameters"]


def build_limit() -> tuple[Turn, str]:
    """The multiply-adds of `benchmarks.limit` as a contender: a time is one operation's."""
    limit = Limit()

    def turn(times: int) -> float:
        return 1 / max(limit.measure() for _ in range(times))

    return turn, ""


def compare(shape: Shape, peers: list[str], rounds: int, patience: float) -> dict[str, Any]:
    """Times of all contenders on one shape. peers: those that can be imported"""
    operations = 2 * shape.multiply_adds
    most = max(25, int(TURN / max(FASTEST[0], operations / FASTEST[1])) // 25 * 25)
    steps = 1000 + (rounds + 6) * most
    contenders = [Contender(LIMIT, build_limit, (), patience)]
    try:
        for name in [OURS, *peers]:
            found = Contender(name, build, (name, shape, steps), patience)
            contenders.append(found)
            if found.built is not None:
                found.size(TURN, most, UNITS.get(name, 1))
        taken = take_turns([c for c in contenders if c.built is not None], rounds)
    finally:
        for contender in contenders:
            contender.stop()
    if contenders[1].left_out:
        raise RuntimeError(f"{shape.name}: {OURS}: {contenders[1].left_out}")
    limit = 1 / np.array(taken.pop(LIMIT))
    ours = np.array(taken[OURS])
    results: list[dict[str, Any]] = []
    for contender in contenders[1:]:
        if contender.built is None:
            results.append({"name": contender.name, "left_out": contender.left_out})
            continue
        seconds = np.array(taken[contender.name])
        results.append(
            {
                "name": contender.name,
                "milliseconds": spread(seconds * 1e3),
                "ratio": spread(seconds / ours),  # round by round: load moves both
                "share": spread(operations / (seconds * limit))
                | {"best": float(operations / (seconds.min() * np.median(limit)))},
                "note": contender.built.note,
                "build_seconds": round(contender.built.seconds, 1),
            }
        )
    return {
        "shape": shape.name,
        "operations": operations,
        "limit": spread(limit),
        "contenders": results,
    }


def show(result: dict[str, Any]) -> None:
    rows = []
    for c in result["contenders"]:
        if "left_out" in c:
            rows.append([c["name"], "-", c["left_out"], "", "", "", ""])
            continue
        ms = c["milliseconds"]
        rows.append(
            [
                c["name"],
                f"{ms['median']:.3f}",
                f"{ms['low']:.3f}..{ms['high']:.3f}",
                f"{c['ratio']['median']:.1f}",
                f"{c['share']['median']:.1%}",
                f"{c['share']['best']:.1%}",
                f"{c['build_seconds']:.0f}",
            ]
        )
    gigaflops = result["limit"]["median"] / 1e9
    print(
        f"{result['shape']}: {result['operations'] / 1e6:.1f} MFLOP, limit {gigaflops:.0f} GFLOP/s"
    )
    header = ["contender", "ms a step", "quartiles", "x ours", "of limit", "at best", "build s"]
    print_table(header, rows)


def run(
    shapes: list[int], peers: list[str], rounds: int, patience: float, name: str = "training"
) -> None:
    """Measure these shapes, and print a table of each; all of them: `results/NAME.json`."""
    described = machine()
    results = []
    for index in shapes:
        results.append(compare(SHAPES[index], peers, rounds, patience))
        show(results[-1])
    if len(results) == len(SHAPES):
        save(name, described, {"rounds": rounds, "results": results})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    numbers = ", ".join(f"{i}: {s.name}" for i, s in enumerate(SHAPES))
    parser.add_argument(
        "--shapes", type=int, nargs="+", default=[*range(len(SHAPES))], help=numbers
    )
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=[*PEERS])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--patience", type=float, default=120, help="seconds to build a contender")
    parser.add_argument("--name", default="training", help="of the file in benchmarks/results")
    given = parser.parse_args()
    run(given.shapes, given.peers, given.rounds, given.patience, given.name)


if __name__ == "__main__":
    main()
