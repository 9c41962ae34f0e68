"""Weights snapped to numbers of few bits, with fine-tuning in between.

A counter (`bonsai.counter`) is right for ever only if its sums are exact: the least error adds up.
Rounding a trained network to a grid does not make it so: what counts is the product of two
weights, and any two numbers have it. So a few weights at a time are set to numbers of one, two or
more significant bits and stay there, while the others learn to make up for it; and some that are
set are let go again. An outcome is kept where every validation sequence is right and where the
network takes no more bits to write down, each free weight counting as many. A weight of zero takes
none, so that this is also how it becomes small.

Sources: Zhou et al., "Incremental Network Quantization", 2017; Rissanen, "Modeling by shortest
data description", 1978.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from bonsai.batches import Problem
from bonsai.dataset import draw
from bonsai.hints import Codes
from bonsai.network import Network
from bonsai.recipe import UNIT, Recipe, Regularizer
from bonsai.sizing import Attempt
from bonsai.train import Checkpoint, Trained
from bonsai.wiring import Wiring
from kernels.evaluate import Evaluator
from kernels.training import KERNELS

GRID = 2.0**-6  # of all numbers
MOST_BITS, FREE = 6, 8  # of a number that a weight is set to, and what a free one counts as
TINY = GRID / 8  # below which a trained weight is taken to be zero
NEAR = GRID / 64  # a number of few bits, at which a weight that was trained is set as well
AGAIN = 0.3  # how often a weight that is set already is set to fewer bits
LET_GO = 0.3  # how often weights that are set are let go
TOGETHER = 0.5  # how often all weights that a neuron reads, or that read it, are set at once
NEURONS, ZERO = 0.1, 0.05  # how often a neuron is taken away, and a weight
LONGER = 0.5  # how often an outcome may take more bits, one on average
REPLACE = 50  # rounds after which copies of the shortest quarter replace the longest
TRIALS = 4  # at most, until one finds anything
SLOTS, ROUNDS, STEPS = 32, 300, 300  # networks, rounds, and steps of fine-tuning in each
PATIENCE = 150  # rounds in which the shortest becomes no shorter, after which it ends
RATES, FALL = (0.003, 0.01, 0.03), 1 / 1000  # Adam's of rounds in turn, and what is left of it
SEQUENCES, TILTED = 2048, 0.3  # that an outcome has to get right
LONG = 60  # their steps for one without a free weight


@dataclass(eq=False)
class Slots:
    """R networks, and all that were set completely.

    trial: () its number; rounds: () done in it; waiting: () since the shortest became shorter
    parameters: (R, P) float32; fixed: (R, P) bool, what is set
    restart: (R,) int32, rows of what was trained
    kept: (C, P) float32 and lineage: (C,) int32, outcomes without a free weight, and their rows
    """

    trial: np.ndarray
    rounds: np.ndarray
    waiting: np.ndarray
    parameters: np.ndarray
    fixed: np.ndarray
    restart: np.ndarray
    kept: np.ndarray
    lineage: np.ndarray


def snap(
    problem: Problem,
    trained: Trained,
    attempt: Attempt,
    settings: Mapping[str, Any],
    checkpoint: Checkpoint | None = None,
    report: Callable[[int, int], None] = lambda rounds, found: None,
) -> tuple[Network, Codes] | None:
    """Of restarts the smallest network found all of whose weights and biases are set, and their
    codes, the smallest first; None if there are none.

    trained: of the attempt, which is to teach a counter
    settings: of the plant's section `train`
    checkpoint: where the state is kept while it runs; the end is the same with interruptions
    report: is given the number of rounds done, and of networks found
    """
    rows = np.flatnonzero(trained.exact)
    if not rows.size:
        return None
    run = _Run(problem, trained, np.resize(rows, SLOTS), attempt, settings)
    names = [f.name for f in fields(Slots)]
    if checkpoint is not None and (found := checkpoint.load(names)):
        run.slots = Slots(**found)
    while not run.over():
        run.round()
        report(int(run.slots.trial) * ROUNDS + int(run.slots.rounds), len(run.slots.kept))
        if checkpoint is not None:
            checkpoint.save(lambda: {name: getattr(run.slots, name) for name in names})
    kept, lineage = run.slots.kept, run.slots.lineage
    if not len(kept):
        return None
    size = run.wiring.size(kept != 0)
    order = np.argsort(size, kind="stable")
    best = order[np.sort(np.unique(lineage[order], return_index=True)[1])]
    numbers = trained.network.restart
    network = Network(
        trained.network.architecture,
        trained.network.factor,
        trained.network.leak,
        kept[best],
        numbers[lineage[best]],
        np.arange(len(best), dtype=np.int32),
    )
    return network, trained.codes.rows(lineage[best])


class _Run:
    """What `snap` was given, and its slots."""

    def __init__(
        self,
        problem: Problem,
        trained: Trained,
        rows: np.ndarray,
        attempt: Attempt,
        settings: Mapping[str, Any],
    ) -> None:
        network, data, machine = trained.network.rows(rows), problem.data, problem.machine
        a, codes = network.architecture, trained.codes.rows(rows)
        self.factor, self.seed = network.factor, settings["seed"]
        self.wiring = Wiring(a)
        parameters = np.where(np.abs(network.parameters) < TINY, np.float32(0), network.parameters)
        initial = a.mask("initial")
        parameters[:, initial] = np.where(
            codes.code >= 0, codes.first(machine), parameters[:, initial]
        )
        self.start, self.rows = parameters, rows.astype(np.int32)
        self.slots = self._begin(0)
        rng = np.random.default_rng([self.seed, 5])
        nothing = np.zeros(ROUNDS * STEPS)
        rate = np.outer(np.resize(RATES, ROUNDS), np.geomspace(1, FALL, STEPS)).reshape(-1)
        recipe = Recipe(
            architecture=a,
            restarts=SLOTS,
            batch=max(UNIT, int(attempt.batch * settings["batch"]) // UNIT * UNIT),
            length=data.length,
            seed=int(rng.integers(1 << 32)),
            rate=rate,
            strength=nothing,
            factor=np.full(len(nothing), network.factor),
            noise=nothing,
            hinted_noise=nothing,
            binarize=nothing,
            leak=network.leak,
            regularizer=Regularizer(0.0, 1.0, 0.0, False),
        )
        kernel = KERNELS[settings["kernel"]]
        self.training = kernel(recipe, data.inputs, data.targets, parameters, codes.hints(data))
        short = min(data.length, attempt.checked or data.length)
        self.short, self.long = (
            Evaluator(a, network.leak, drawn.inputs, drawn.targets, early=True)
            for length in (short, LONG)
            for drawn in [draw(machine, rng, SEQUENCES, length, TILTED)]
        )

    def _begin(self, trial: int) -> Slots:
        return Slots(
            trial=np.array(trial),
            rounds=np.array(0),
            waiting=np.array(0),
            parameters=self.start.copy(),
            fixed=(self.start == 0) | ~self.wiring.counted,
            restart=self.rows.copy(),
            kept=self.start[:0],
            lineage=self.rows[:0],
        )

    def over(self) -> bool:
        """Whether a trial found anything, or it was the last; if not, another one begins."""
        slots = self.slots
        if slots.rounds < ROUNDS and slots.waiting < PATIENCE:
            return False
        if len(slots.kept) or slots.trial == TRIALS - 1:
            return True
        self.slots = self._begin(int(slots.trial) + 1)
        return False

    def round(self) -> None:
        slots, wiring, n = self.slots, self.wiring, int(self.slots.rounds)
        rng = np.random.default_rng([self.seed, int(slots.trial), n])
        values, fixed = _tried(slots, wiring, rng)
        self.training.restrict(~fixed)
        self.training.resume(
            {"parameters": values, "step": np.full(len(values), n * STEPS, np.int32)}
            | {name: np.zeros_like(values) for name in ("mean", "square")}
        )
        self.training.advance(STEPS)
        values = self.training.state("parameters")["parameters"]
        values = np.where(np.isfinite(values), values, np.float32(0))  # which is not right
        near = rounded(values, MOST_BITS)
        found = wiring.counted & (np.abs(values - near) < NEAR)
        values, fixed = np.where(found, near, values), fixed | found
        before = bits(slots.parameters, slots.fixed, wiring)
        longer = rng.exponential(size=len(values)) * (rng.random(len(values)) < LONGER)
        kept = self._right(self.short, values)
        kept &= bits(values, fixed, wiring) <= before + longer
        whole = kept & fixed.all(axis=1)
        whole[whole] = self._right(self.long, values[whole])
        kept &= whole | ~fixed.all(axis=1)
        slots.parameters[kept], slots.fixed[kept] = values[kept], fixed[kept]
        slots.kept = np.concatenate([slots.kept, values[whole]])
        slots.lineage = np.concatenate([slots.lineage, slots.restart[whole]])
        after = bits(slots.parameters, slots.fixed, wiring)
        slots.waiting = np.array(0 if after.min() < before.min() else slots.waiting + 1)
        slots.rounds = np.array(n + 1)
        if (n + 1) % REPLACE == 0:
            order = np.argsort(after, kind="stable")
            quarter = len(order) // 4
            for each in (slots.restart, slots.parameters, slots.fixed):
                each[order[len(order) - quarter :]] = each[order[:quarter]]

    def _right(self, evaluator: Evaluator, values: np.ndarray) -> np.ndarray:
        """(R,) bool: which of these (R, P) are right for all sequences."""
        if not len(values):
            return np.zeros(0, bool)
        return np.asarray(evaluator.right(values, self.factor) == evaluator.sequences)


def _tried(
    slots: Slots, wiring: Wiring, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Parameters (R, P) and which of them are set: what each slot tries to do with."""
    values, fixed = slots.parameters.copy(), slots.fixed.copy()
    for own, still in zip(values, fixed, strict=True):
        neurons = [g for g in wiring.neurons if own[g].any()]
        if rng.random() < NEURONS and neurons:
            total = [np.abs(own[g]).sum() * np.exp(rng.standard_normal()) for g in neurons]
            chosen = neurons[int(np.argmin(total))]
            own[chosen], still[chosen] = 0, True
            continue
        free = np.flatnonzero(~still)
        long = np.flatnonzero(still & wiring.counted & (significant(own) > 1))
        if rng.random() < AGAIN or not len(free):
            free = long
        if not len(free):
            continue
        first = rng.choice(free)
        near = [g for g in wiring.sides if first in g]
        side = near[int(rng.integers(len(near)))]
        chosen = np.intersect1d(free, side) if rng.random() < TOGETHER else np.array([first])
        count = min(int(rng.geometric(0.4)), MOST_BITS)
        if still[first]:
            count = min(count, int(significant(own[first : first + 1])[0]) - 1)
        if rng.random() < LET_GO and len(long):
            still[rng.choice(long, min(len(long), int(rng.integers(1, 4))), replace=False)] = False
        own[chosen] = 0 if rng.random() < ZERO else rounded(own[chosen], count)
        still[chosen] = True
    left = wiring.live(values != 0)
    gone = wiring.counted & ~left
    return np.where(gone, np.float32(0), values), fixed | gone


def rounded(values: np.ndarray, count: int) -> np.ndarray:
    """float32 of so many significant bits, multiples of GRID.

    >>> rounded(np.array([0.3, -5.0, 0.001]), 2)
    array([ 0.25, -4.  ,  0.  ], dtype=float32)
    """
    _, exponent = np.frexp(values)
    grid = np.maximum(np.ldexp(1.0, exponent - count), GRID)
    return (np.round(values / grid) * grid).astype(np.float32)


def significant(values: np.ndarray) -> np.ndarray:
    """The bits from the first to the last one of multiples of GRID; 0 for zero.

    >>> significant(np.array([0.0, 4.0, -0.75, 0.234375]))
    array([0, 1, 2, 4])
    """
    number = np.abs(np.round(values / GRID)).astype(np.int64)
    odd = number // np.maximum(number & -number, 1)
    return np.frexp(odd)[1].astype(np.int64)


def bits(parameters: np.ndarray, fixed: np.ndarray, wiring: Wiring) -> np.ndarray:
    """(R,) that it takes to write down the weights and biases of networks (R, P)."""
    each = np.where(fixed, significant(parameters), FREE)
    return np.asarray((each * wiring.counted).sum(axis=1))
