"""Greedy elimination: fewer and fewer weights and biases, with fine-tuning in between.

Many networks shrink at once, each in a slot of its own. A round takes some of the smallest weights
and biases away from every slot, or a whole neuron, trains what is left for a few steps, and keeps
the outcome where every validation sequence is right, with noise on the states; otherwise the slot
goes back, and takes away less next time. A slot at its end also exchanges weights for others that
it had lost. From time to time the smallest slots replace the largest. Every outcome that is kept
is a candidate for the proof, because the smallest are often right for long but not for ever.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from bonsai.network import Architecture, Network
from bonsai.train import Checkpoint, Training
from kernels.evaluate import Evaluator

JITTER = 0.5  # standard deviation of the logarithm of the factors that sizes are drawn with
SLOWER = 0.6  # by which the share taken away is multiplied after a failure
MOMENTS = ("parameters", "mean", "square")


@dataclass(frozen=True, eq=False)
class Pace:
    """noise: (rounds,) on the states while a round's outcome is validated

    steps: of fine-tuning a round
    share: of a slot's parameters that its first round takes away
    neurons: how often a whole neuron is taken instead
    exchange: how often a slot that takes single parameters also gets one or two others back
    replace: every so many rounds, copies of the smallest quarter replace the largest quarter
    patience: rounds in which no slot shrinks, after which it ends
    """

    noise: np.ndarray
    steps: int
    share: float
    neurons: float
    exchange: float
    replace: int
    patience: int

    @property
    def rounds(self) -> int:
        return len(self.noise)


@dataclass(eq=False)
class Slots:
    """R networks that shrink, and all that was kept of them.

    restart: (R,) int32; parameters, mean, square: (R, P) float32, as they were last kept
    mask: (R, P) bool, what is left; share: (R,) float64, taken away next
    waiting: () rounds since a slot shrank; log: (rounds so far, 4) int32, see `Sparsified.log`
    kept: (C, P) float32 and lineage: (C,) int32, every outcome that was kept and its restart
    """

    restart: np.ndarray
    parameters: np.ndarray
    mean: np.ndarray
    square: np.ndarray
    mask: np.ndarray
    share: np.ndarray
    waiting: np.ndarray
    log: np.ndarray
    kept: np.ndarray
    lineage: np.ndarray


@dataclass(frozen=True, eq=False)
class Sparsified:
    """network: the candidates, smallest first; size: (C,) int32, weights and biases that are left

    log: (rounds, 4) int32, after each round: the smallest size, the median, how many slots were
    kept, and how many candidates there are
    """

    network: Network
    size: np.ndarray
    log: np.ndarray


def sparsify(
    network: Network,
    training: Training,
    evaluator: Evaluator,
    pace: Pace,
    seed: int,
    most: int,
    checkpoint: Checkpoint | None = None,
    report: Callable[[np.ndarray], None] = lambda row: None,
) -> Sparsified:
    """Shrink networks (R rows, all exact) and return the smallest `most` that are different.

    training: of R restarts, for `pace.rounds * pace.steps` steps; its parameters are overwritten
    evaluator: of the validation sequences, stopping early
    checkpoint: where the state is kept while it runs; the end is the same with interruptions
    report: is given a row of the log after each round
    """
    wiring = Wiring(network.architecture)
    slots = (checkpoint and _resumed(checkpoint)) or _started(network, wiring, pace)
    while len(slots.log) < pace.rounds and slots.waiting < pace.patience:
        _round(slots, network.factor, wiring, training, evaluator, pace, seed)
        report(slots.log[-1])
        if checkpoint is not None:
            checkpoint.save(lambda: {f.name: getattr(slots, f.name) for f in fields(Slots)})
    size = wiring.size(slots.kept != 0)
    _, first = np.unique(slots.kept, axis=0, return_index=True)
    order = np.array(sorted(first, key=lambda i: (size[i], i)), int)[:most]
    return Sparsified(
        Network(
            network.architecture,
            network.factor,
            network.leak,
            slots.kept[order],
            slots.lineage[order],
            np.arange(len(order), dtype=np.int32),
        ),
        size[order],
        slots.log,
    )


def _started(network: Network, wiring: "Wiring", pace: Pace) -> Slots:
    p = network.parameters
    return Slots(
        restart=network.restart.copy(),
        parameters=p.copy(),
        mean=np.zeros_like(p),
        square=np.zeros_like(p),
        mask=wiring.live(np.ones(p.shape, bool)),
        share=np.full(len(p), pace.share),
        waiting=np.array(0),
        log=np.zeros((0, 4), np.int32),
        kept=p.copy(),
        lineage=network.restart.copy(),
    )


def _resumed(checkpoint: Checkpoint) -> Slots | None:
    found = checkpoint.load([f.name for f in fields(Slots)])
    return Slots(**found) if found else None


def _round(
    slots: Slots,
    factor: float,
    wiring: "Wiring",
    training: Training,
    evaluator: Evaluator,
    pace: Pace,
    seed: int,
) -> None:
    n = len(slots.log)
    tried = wiring.live(_tried(slots, wiring, pace, np.random.default_rng([seed, n])))
    training.restrict(tried)
    training.resume(
        {name: np.where(tried, getattr(slots, name), np.float32(0)) for name in MOMENTS}
        | {"step": np.full(len(tried), n * pace.steps, np.int32)}
    )
    training.advance(pace.steps)
    state = training.state(*MOMENTS)
    before, after = wiring.size(slots.mask), wiring.size(tried)
    right = evaluator.right(state["parameters"], factor, noise=float(pace.noise[n]))
    kept = (right == evaluator.sequences) & (after <= before)
    for name in MOMENTS:
        getattr(slots, name)[kept] = state[name][kept]
    slots.mask[kept] = tried[kept]
    slots.share[~kept] *= SLOWER
    slots.kept = np.concatenate([slots.kept, state["parameters"][kept]])
    slots.lineage = np.concatenate([slots.lineage, slots.restart[kept]])
    slots.waiting = np.array(0 if (kept & (after < before)).any() else slots.waiting + 1)
    size = wiring.size(slots.mask)
    row = [size.min(), np.median(size), kept.sum(), len(slots.kept)]
    slots.log = np.concatenate([slots.log, np.array([row], np.int32)])
    if len(slots.log) % pace.replace == 0:
        order = np.argsort(size, kind="stable")
        quarter = len(order) // 4
        best, worst = order[:quarter], order[len(order) - quarter :]
        for name in ("restart", *MOMENTS, "mask", "share"):
            getattr(slots, name)[worst] = getattr(slots, name)[best]


def _tried(slots: Slots, wiring: "Wiring", pace: Pace, rng: np.random.Generator) -> np.ndarray:
    """(R, P) bool: what each slot tries to do with."""
    tried = slots.mask.copy()
    for mask, parameters, share in zip(tried, slots.parameters, slots.share, strict=True):
        sizes = np.abs(parameters)
        left = np.flatnonzero(mask & wiring.counted)
        if rng.random() < pace.neurons:
            there = [g for g in wiring.neurons if mask[g].any()]
            weight = np.array([sizes[g][mask[g]].sum() for g in there])
            mask[there[int(np.argmin(weight * _jitter(rng, len(there))))]] = False
            continue
        count = max(1, int(share * len(left)))
        gained = np.zeros(0, int)
        if count == 1 and rng.random() < pace.exchange:
            gone = [g for g in wiring.neurons if not mask[g].any()]
            free = wiring.counted & ~mask
            free[np.concatenate([np.zeros(0, int), *gone])] = False
            choice = np.flatnonzero(free)
            gained = rng.permutation(choice)[: rng.integers(1, 3)]
            count = len(gained) + int(rng.integers(0, 2))
        order = np.argsort(sizes[left] * _jitter(rng, len(left)), kind="stable")
        mask[left[order[:count]]] = False
        mask[gained] = True
    return tried


def _jitter(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.exp(JITTER * rng.standard_normal(count))


class Wiring:
    """Which neurons every parameter of an architecture joins.

    counted: (P,) bool, the weights and biases; neurons: for each the parameters (indices) of its
    sum and of all sums that read it or its state
    """

    def __init__(self, architecture: Architecture) -> None:
        a = architecture
        self.counted = a.mask("weight") | a.mask("bias")
        source, target = np.full(a.size, -1), np.full(a.size, -1)  # numbers of neurons; -1: none
        first = np.cumsum([0, *(o + s for o, s in a.cells)])  # neuron of each cell
        outputs = [first[k] + np.arange(o) for k, (o, _) in enumerate(a.cells)]
        for layer in a.layers:
            own = np.arange(first[layer.cell], first[layer.cell + 1])
            x = outputs[layer.reads] if layer.reads >= 0 else np.full(a.inputs, -1)
            read = np.concatenate([x, own[a.cells[layer.cell][0] :]])  # [x, s]
            source[layer.weight.slice] = np.repeat(read, layer.weight.shape[1])
            target[layer.weight.slice] = np.tile(own[layer.neurons], len(read))
            target[layer.bias] = own[layer.neurons]
        source[a.block("weight", -1).slice] = np.repeat(outputs[-1], a.outputs)
        count = int(first[-1])
        self._target = np.where(target < 0, count, target)  # the heads are one more, always used
        self._reads = (source[:, None] == np.arange(count)).astype(np.float32)  # (P, neurons)
        self.neurons = [
            np.flatnonzero(self.counted & ((source == i) | (target == i))) for i in range(count)
        ]

    def live(self, mask: np.ndarray) -> np.ndarray:
        """(R, P) bool: the part of `mask` that an output depends on."""
        used = np.zeros((len(mask), len(self.neurons) + 1), bool)
        used[:, -1] = True
        while True:
            read = (mask & self.counted & used[:, self._target]).astype(np.float32) @ self._reads
            grown = used.copy()
            grown[:, :-1] |= read > 0
            if (grown == used).all():
                return mask & (used[:, self._target] | ~self.counted)
            used = grown

    def size(self, mask: np.ndarray) -> np.ndarray:
        """(R,) int32: weights and biases in it that an output depends on."""
        return (self.live(mask) & self.counted).sum(axis=1).astype(np.int32)
