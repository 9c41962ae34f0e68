"""How the cost of a training step grows: `python -m benchmarks.scaling --help`.

Cost a restart from R = 8 to 256, cost a unit of T and of B, memory by formula and as measured, one
core against two, and networks of which a part of the weights is left. The base is the shape that
grows `gates`; every series takes turns.
"""

import argparse
import os
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.problem import POOL, SHAPES, Shape, problem
from benchmarks.results import machine, print_table, save, spread
from benchmarks.rounds import Contender, Turn, take_turns
from bonsai.wiring import Wiring

BASE = SHAPES[6]
SERIES = {
    "restarts": (8, 16, 32, 64, 128, 256),
    "length": (12, 24, 48, 96),
    "batch": (64, 128, 256, 512, 1024),
}
CORES = (SHAPES[4], SHAPES[5], BASE)
LEFT = (0.8, 0.5, 0.35, 0.25, 0.15)  # of the weights, before those go that no head depends on
TURN = 0.25  # seconds of a turn, about
PATIENCE = 60  # seconds to build a contender
STEPS = 20_000  # of the schedules: more than a contender takes


def build(shape: Shape, cores: int | None, left: float | None = None) -> tuple[Turn, str]:
    """Training on this many cores (all by default); the note is the bytes on the device.

    left: how much of the weights is, at random, if the networks are pruned
    """
    if cores is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
        os.environ["POCL_MAX_PTHREAD_COUNT"] = str(cores)
    given = problem(shape, STEPS)
    from tinygrad import Device
    from tinygrad.helpers import GlobalCounters

    from kernels.fused import FusedTraining

    training = FusedTraining(given.recipe, given.inputs, given.targets, given.parameters)

    if left is not None:
        mask = pruned(shape, left)
        training.prune(mask)
        training.resume({"parameters": np.where(mask, given.parameters, np.float32(0))})

    def turn(times: int) -> None:
        training.advance(times)
        Device["CL"].synchronize()

    turn(25)
    turn(50)
    return turn, str(GlobalCounters.mem_used)


def pruned(shape: Shape, left: float) -> np.ndarray:
    """(R, P) bool: what is left, all of which a head depends on."""
    wiring = Wiring(shape.architecture)
    kept = np.random.default_rng(0).random((shape.restarts, shape.architecture.size)) < left
    return wiring.live(kept | ~wiring.counted)


def formula(shape: Shape) -> int:
    """Bytes that training holds on the device: data, schedules and history, parameters with Adam's
    means, and the scratch and partial sums of each work-item (kernels/fused.py)."""
    a, t = shape.architecture, shape.length
    record = a.inputs + sum(o + s for o, s in a.cells)
    lanes, items, together = _layout(shape)
    slots = together * ((t + 1) * record + t * (record + a.outputs)) + a.size
    data = POOL * t * (a.inputs + a.outputs)
    schedules = STEPS * (7 + 2 * shape.restarts)
    parameters = a.size * (3 * shape.restarts + 1) + shape.restarts
    scratch = items * (lanes * slots + a.size + 1)
    return 4 * (data + schedules + parameters + scratch)


def measure(variants: dict[str, tuple], rounds: int) -> dict[str, Any]:
    """For each variant the seconds of a step in every round, and its bytes."""
    contenders = []
    try:
        for name, arguments in variants.items():
            found = Contender(name, build, arguments, PATIENCE)
            contenders.append(found)
            if found.built is None:
                raise RuntimeError(f"{name}: {found.left_out}")
            found.size(TURN, STEPS // (rounds + 6))
        taken = take_turns(contenders, rounds)
        held = {c.name: int(c.built.note) for c in contenders if c.built is not None}
    finally:
        for contender in contenders:
            contender.stop()
    return {name: (np.array(taken[name]), held[name]) for name in variants}


def series(what: str, rounds: int) -> dict[str, Any]:
    """Cost of one restart, time step or sequence, and against the median of its series."""
    values = SERIES[what]
    shapes = {str(v): _with(what, v) for v in values}
    found = measure({name: (shape, None) for name, shape in shapes.items()}, rounds)
    costs = {name: found[name][0] / int(name) for name in shapes}
    middle = np.median(np.stack(list(costs.values())), axis=0)
    return {
        "of": what,
        "points": [
            {
                "value": int(name),
                "milliseconds": spread(found[name][0] * 1e3),
                "microseconds_each": spread(costs[name] * 1e6),
                "against_middle": spread(costs[name] / middle),
                "bytes": found[name][1],
                "bytes_by_formula": formula(shape),
            }
            for name, shape in shapes.items()
        ],
    }


def cores(rounds: int) -> list[dict[str, Any]]:
    """Throughput of all cores against one."""
    every = len(os.sched_getaffinity(0))
    rows = []
    for shape in CORES:
        found = measure({"one": (shape, 1), "all": (shape, None)}, rounds)
        one, all_of_them = found["one"][0], found["all"][0]
        rows.append(
            {
                "shape": shape.name,
                "cores": every,
                "one_milliseconds": spread(one * 1e3),
                "all_milliseconds": spread(all_of_them * 1e3),
                "times": spread(one / all_of_them),
            }
        )
    return rows


def sizes(rounds: int) -> list[dict[str, Any]]:
    """Whole networks against those of which a part is left."""
    variants = {"whole": (BASE, None)} | {str(left): (BASE, None, left) for left in LEFT}
    found = measure(variants, rounds)
    whole, counted = found["whole"][0], Wiring(BASE.architecture).counted
    return [
        {
            "weights": int(counted.sum()),
            "left": round(float(pruned(BASE, left)[:, counted].sum(axis=1).mean()), 1),
            "milliseconds": spread(found[str(left)][0] * 1e3),
            "times": spread(whole / found[str(left)][0]),
        }
        for left in LEFT
    ]


def run(rounds: int) -> None:
    """Measure, print tables, and write `results/scaling.json`."""
    described = machine()
    found = []
    for what in SERIES:
        found.append(series(what, rounds))
        show_series(found[-1])
    throughput = cores(rounds)
    print_table(
        ["shape", "cores", "one core ms", "all ms", "times"],
        [
            [
                row["shape"],
                str(row["cores"]),
                f"{row['one_milliseconds']['median']:.3f}",
                f"{row['all_milliseconds']['median']:.3f}",
                f"{row['times']['median']:.2f}",
            ]
            for row in throughput
        ],
    )
    shrunk = sizes(rounds)
    print(f"{BASE.name}, pruned")
    print_table(
        ["weights and biases", "left", "ms a step", "times"],
        [
            [
                str(row["weights"]),
                f"{row['left']:.0f}",
                f"{row['milliseconds']['median']:.3f}",
                f"{row['times']['median']:.2f}",
            ]
            for row in shrunk
        ],
    )
    figures = {
        "base": BASE.name,
        "rounds": rounds,
        "series": found,
        "cores": throughput,
        "pruned": shrunk,
    }
    save("scaling", described, figures)


def show_series(found: dict[str, Any]) -> None:
    rows = []
    for point in found["points"]:
        each, held = point["microseconds_each"], point["bytes"] / 1e6
        rows.append(
            [
                str(point["value"]),
                f"{point['milliseconds']['median']:.3f}",
                f"{each['median']:.2f}",
                f"{each['low']:.2f}..{each['high']:.2f}",
                f"{point['against_middle']['median']:.2f}",
                f"{held:.2f}",
                f"{point['bytes_by_formula'] / 1e6:.2f}",
            ]
        )
    print(f"{BASE.name}, with other {found['of']}")
    header = [found["of"], "ms a step", "us each", "quartiles", "x middle", "MB", "by formula"]
    print_table(header, rows)


def _with(what: str, value: int) -> Shape:
    changed: dict[str, Any] = {what: value}
    return replace(BASE, **changed)


def _layout(shape: Shape) -> tuple[int, int, int]:
    """Lanes, work-items, and groups of lanes handled together: as `kernels.fused` has them."""
    from kernels.device import open_device

    device = open_device()
    groups = shape.batch // device.lanes
    chunks = min(max(1, 8 // shape.restarts), groups) if device.is_cpu else groups
    together = 2 if groups % 2 == 0 and device.is_cpu else 1
    return device.lanes, shape.restarts * chunks, together


def main() -> None:
    parser = argparse.ArgumentParser(description="How the cost of a training step grows")
    parser.add_argument("--rounds", type=int, default=11)
    run(parser.parse_args().rounds)


if __name__ == "__main__":
    main()
