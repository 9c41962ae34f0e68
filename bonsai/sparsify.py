"""Greedy elimination: fewer and fewer weights and biases, with fine-tuning in between.

All restarts shrink at once, each in a slot of its own. A round takes some of the smallest weights and
biases away from every slot, trains what is left for a few steps, and keeps the outcome where every
validation sequence is still right; otherwise the slot goes back, and takes away fewer next time.
Every outcome that is kept is a candidate for the proof, because the very smallest are often right for
long but not for ever. From time to time the smallest slots replace the largest.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from bonsai.network import Architecture, Network
from bonsai.train import Training
from kernels.evaluate import Evaluator

JITTER = 0.5  # of the logarithm of the sizes by which parameters are chosen


@dataclass(frozen=True)
class Pace:
    """rounds: at most; steps: of fine-tuning a round

    share: of a slot's parameters that its first round takes away
    slower: by which the share is multiplied after a failure; never less than one parameter is taken
    replace: every so many rounds, a quarter of the slots become copies of the smallest
    patience: rounds in which no slot is kept, after which it ends
    """

    rounds: int
    steps: int
    share: float = 0.15
    slower: float = 0.6
    replace: int = 10
    patience: int = 30
    noise: float = 0.0


@dataclass(eq=False)
class Slots:
    """R networks that shrink. All arrays have R rows; candidates are those that were kept so far."""

    restart: np.ndarray  # (R,) int32
    parameters: np.ndarray  # (R, P) float32, as they were last kept
    mean: np.ndarray  # (R, P), of Adam
    square: np.ndarray
    mask: np.ndarray  # (R, P) bool: what is left
    share: np.ndarray  # (R,) float64
    round: int = 0
    waiting: int = 0
    candidates: list[np.ndarray] = field(default_factory=list)
    lineage: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Round:
    """What a round came to: sizes after it, slots kept, candidates so far."""

    round: int
    smallest: int
    median: int
    kept: int
    candidates: int


def sparsify(
    network: Network,
    training: Training,
    evaluator: Evaluator,
    pace: Pace,
    seed: int,
) -> Iterator[tuple[Slots, Round]]:
    """Shrink a network of R exact rows; yields after every round.

    training: of R restarts; its parameters are overwritten
    evaluator: of the validation sequences
    """
    a, r = network.architecture, len(network)
    removable = a.mask("weight") | a.mask("bias")
    mask = live(a, np.ones((r, a.size), bool))
    state = training.state()
    slots = Slots(
        restart=network.restart.copy(),
        parameters=network.parameters.copy(),
        mean=np.zeros_like(state["mean"]),
        square=np.zeros_like(state["square"]),
        mask=mask,
        share=np.full(r, pace.share),
    )
    while slots.round < pace.rounds and slots.waiting < pace.patience:
        rng = np.random.default_rng([seed, slots.round])
        tried = live(a, _chosen(a, slots, removable, rng))
        training.restrict(tried)
        state = training.state()
        training.resume(
            state
            | {
                "parameters": np.where(tried, slots.parameters, np.float32(0)),
                "mean": np.where(tried, slots.mean, np.float32(0)),
                "square": np.where(tried, slots.square, np.float32(0)),
            }
        )
        training.advance(pace.steps)
        state = training.state()
        right = evaluator.right(state["parameters"], network.factor, noise=pace.noise)
        was = (slots.mask & removable).sum(axis=1)
        kept = (right == evaluator.sequences) & ((tried & removable).sum(axis=1) <= was)
        less = kept & ((tried & removable).sum(axis=1) < was)
        for name in ("parameters", "mean", "square"):
            getattr(slots, name)[kept] = state[name][kept]
        slots.mask[kept] = tried[kept]
        slots.share[~kept] *= pace.slower
        slots.candidates += list(state["parameters"][kept])
        slots.lineage += slots.restart[kept].tolist()
        size = (slots.mask & removable).sum(axis=1)
        slots.waiting = 0 if less.any() else slots.waiting + 1
        slots.round += 1
        if slots.round % pace.replace == 0:
            _replace(slots, size, r // 4)
        yield slots, Round(slots.round, int(size.min()), int(np.median(size)), int(kept.sum()), len(slots.candidates))


def _chosen(
    a: Architecture, slots: Slots, removable: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(R, P) bool: the mask that is tried next."""
    rows = len(slots.mask)
    left = slots.mask & removable
    size = left.sum(axis=1)
    count = np.maximum(1, slots.share * size).astype(int)
    jitter = np.exp(JITTER * rng.standard_normal(left.shape))
    tried = slots.mask.copy()
    kind = rng.random(rows)
    groups = _groups(a)
    for r in range(rows):
        if kind[r] < STRUCT:
            weight = np.array([np.abs(slots.parameters[r][g & left[r]]).sum() for g in groups])
            there = np.array([(g & left[r]).any() for g in groups])
            score = np.where(there, weight * np.exp(JITTER * rng.standard_normal(len(groups))), np.inf)
            tried[r] &= ~(groups[int(np.argmin(score))] & removable)
            continue
        if slots.share[r] * size[r] < 1 and kind[r] > 1 - DRIFT:
            alive = _alive(a, slots.mask[r], groups)
            free = np.flatnonzero(alive & removable & ~slots.mask[r])
            grown = rng.choice(free, min(len(free), int(rng.integers(1, 3))), replace=False)
            tried[r][grown] = True
            count[r] = len(grown) + int(rng.integers(0, 2))
        order = np.argsort(np.where(left[r], np.abs(slots.parameters[r]) * jitter[r], np.inf), kind="stable")
        tried[r][order[: count[r]]] = False
    return tried


STRUCT, DRIFT = 0.15, 0.5


def _groups(a: Architecture) -> list[np.ndarray]:
    """For each neuron the parameters that it needs and that need it, (P,) bool."""
    found = []
    for k, (o, s) in enumerate(a.cells):
        for j in range(o + s):
            m = np.zeros(a.size, bool)
            w = m[a.block("weight", k).slice].reshape(a.block("weight", k).shape)
            w[:, j] = True
            m[a.block("bias", k).slice][j] = True
            if j < o:
                nxt = a.block("weight", k + 1 if k + 1 < len(a.cells) else -1)
                m[nxt.slice].reshape(nxt.shape)[j] = True
            else:
                w[w.shape[0] - s + j - o] = True
            found.append(m)
    return found


def _alive(a: Architecture, mask: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """(P,) bool: parameters between neurons that are there."""
    gone = np.zeros(a.size, bool)
    for g in groups:
        if not (g & mask).any():
            gone |= g
    return ~gone


def _replace(slots: Slots, size: np.ndarray, count: int) -> None:
    """The smallest `count` slots replace the largest, and all begin with larger shares again."""
    order = np.argsort(size, kind="stable")
    if count and size[order[-1]] > size[order[0]]:
        best, worst = order[:count], order[-count:]
        for name in ("restart", "parameters", "mean", "square", "mask", "share"):
            getattr(slots, name)[worst] = getattr(slots, name)[best]


def live(architecture: Architecture, mask: np.ndarray) -> np.ndarray:
    """(R, P) bool: the part of `mask` that an output depends on."""
    a, rows = architecture, len(mask)
    mask = mask.copy()
    views = {
        (b.kind, b.cell): mask[:, b.slice].reshape(rows, *b.shape)
        for b in a.blocks
    }
    used = {k: np.zeros((rows, o + s), bool) for k, (o, s) in enumerate(a.cells)}
    last = len(a.cells) - 1
    used[last][:, : a.cells[last][0]] = views["weight", -1].any(axis=2)
    while True:
        before = sum(int(u.sum()) for u in used.values())
        for k in range(last, -1, -1):
            o, s = a.cells[k]
            needed = (views["weight", k] & used[k][:, None]).any(axis=2)  # (R, n + S)
            width = needed.shape[1] - s
            used[k][:, o:] |= needed[:, width:]
            if k:
                used[k - 1][:, : width] |= needed[:, :width]
        if sum(int(u.sum()) for u in used.values()) == before:
            break
    for k in used:
        for kind in ("weight", "bias"):
            block = a.block(kind, k)
            kept = views[kind, k] & (used[k][:, None] if kind == "weight" else used[k])
            mask[:, block.slice] = kept.reshape(rows, -1)
    return mask
