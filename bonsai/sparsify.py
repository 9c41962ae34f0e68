"""Greedy elimination: fewer and fewer weights and biases, with fine-tuning in between.

Many networks shrink at once, each in a slot of its own. A round takes some of the smallest weights
and biases away from every slot, or a whole neuron, trains what is left for a few steps, and keeps
the outcome where every validation sequence is right, with noise on the states; otherwise the slot
goes back, and takes away less next time. A slot at its end also exchanges weights for others that
it had lost. From time to time the smallest slots replace the largest. Every outcome that is kept
is a candidate for the proof, because the smallest are often right for long but not for ever.

Where training had hints (`bonsai.hints`), half of the slots keep theirs, and learn each step by
itself; the others are free to use their states otherwise. From time to time the smallest networks
are searched for counterexamples, which from then on are practised (`bonsai.counterexamples`).
Candidates that get them wrong are dropped; slots that do are mended, or start again from the
smallest candidate that does not.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import zip_longest

import numpy as np

from bonsai.counterexamples import Practice
from bonsai.network import Network
from bonsai.train import Checkpoint, Training
from bonsai.wiring import Wiring
from kernels.evaluate import Evaluator

JITTER = 0.5  # standard deviation of the logarithm of the factors that sizes are drawn with
SLOWER, FASTER = 0.6, 1.5  # by which the share taken away is multiplied after failure and success
MOMENTS = ("parameters", "mean", "square")
EXAMINED = 16  # networks that are searched for counterexamples at a time, the smallest
MENDING = 5  # rounds in which a slot that fails at counterexamples has to learn them
LONGEST = 512  # symbols of a counterexample
BORNE = (0.3, 0.2, 0.1)  # noise on the states that some candidates that go on have to bear
AT_ONCE = 64  # candidates that are asked whether they do
# Weights and biases of a network that `bonsai.polish` can search all around. Not imported from
# there: then sparsify would run again whenever polish changes.
TINY = 8
LARGER = 1.1  # than the one before, a candidate of the same restart that goes on


@dataclass(frozen=True, eq=False)
class Pace:
    """noise: (rounds,) on the states while a round's outcome is validated

    steps: of fine-tuning a round
    share: of a slot's parameters that its first round takes away
    neurons: how often a whole neuron is taken instead
    exchange: how often a slot that takes single parameters also gets one or two others back
    replace: every so many rounds, copies of the smallest quarter replace the largest quarter, and
    the smallest are searched for counterexamples
    patience: rounds after which it ends if no slot shrinks, or if half of them have the smallest
    size, of at most TINY, and none gets below it
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
    code: (R, S) int32, the features that state neurons are taught, -1 for none
    mask: (R, P) bool, what is left; share: (R,) float64, taken away next
    mending: (R,) int32, rounds left to learn counterexamples in, 0 where none is got wrong
    waiting: () rounds since a slot shrank; log: (rounds so far, 5), see `Sparsified.log`
    kept: (C, P) float32, lineage: (C,) int32 and taught: (C, S) int32, every outcome that was
    kept, its restart and its code
    words: (M, LONGEST) int32, counterexamples, filled up with -1
    """

    restart: np.ndarray
    parameters: np.ndarray
    mean: np.ndarray
    square: np.ndarray
    code: np.ndarray
    mask: np.ndarray
    share: np.ndarray
    mending: np.ndarray
    waiting: np.ndarray
    log: np.ndarray
    kept: np.ndarray
    lineage: np.ndarray
    taught: np.ndarray
    words: np.ndarray


@dataclass(frozen=True, eq=False)
class Sparsified:
    """network: the candidates, smallest first; size: (C,) int32, weights and biases that are left

    log: (rounds, 5) int32, after each round: the smallest size, the median, how many slots were
    kept, how many candidates there are, and how many counterexamples
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
    code: np.ndarray | None = None,
    practice: Practice | None = None,
    checkpoint: Checkpoint | None = None,
    report: Callable[[np.ndarray], None] = lambda row: None,
) -> Sparsified:
    """Shrink networks (R rows, all exact) and return `most` that are different, half of them the
    smallest, and half the smallest of every restart.

    training: of R restarts, for `pace.rounds * pace.steps` steps; its parameters are overwritten
    evaluator: of the validation sequences, stopping early
    code: (R, S) int32 of the hints that `training` has, if it has any
    practice: of the same training and evaluator; without it no counterexamples are looked for
    checkpoint: where the state is kept while it runs; the end is the same with interruptions
    report: is given a row of the log after each round
    """
    return _Run(network, training, evaluator, pace, seed, code, practice).run(
        most, checkpoint, report
    )


class _Run:
    """What `sparsify` was given, and its slots."""

    def __init__(
        self,
        network: Network,
        training: Training,
        evaluator: Evaluator,
        pace: Pace,
        seed: int,
        code: np.ndarray | None,
        practice: Practice | None,
    ) -> None:
        self.network, self.training, self.evaluator = network, training, evaluator
        self.pace, self.seed, self.practice = pace, seed, practice
        self.wiring = Wiring(network.architecture)
        self.hinted = code is not None
        states = sum(s for _, s in network.architecture.cells)
        own = np.full((len(network), states), -1, np.int32) if code is None else code
        p = network.parameters
        self.slots = Slots(
            restart=network.restart.copy(),
            parameters=p.copy(),
            mean=np.zeros_like(p),
            square=np.zeros_like(p),
            code=own.copy(),
            mask=self.wiring.live(np.ones(p.shape, bool)),
            share=np.full(len(p), pace.share),
            mending=np.zeros(len(p), np.int32),
            waiting=np.array(0),
            log=np.zeros((0, 5), np.int32),
            kept=p.copy(),
            lineage=network.restart.copy(),
            taught=own.copy(),
            words=np.zeros((0, LONGEST), np.int32),
        )

    def run(
        self,
        most: int,
        checkpoint: Checkpoint | None,
        report: Callable[[np.ndarray], None],
    ) -> Sparsified:
        found = checkpoint and checkpoint.load([f.name for f in fields(Slots)])
        if found:
            self.slots = Slots(**found)
            self._practise()
        while not self._ended():
            self._round()
            report(self.slots.log[-1])
            if checkpoint is not None:
                checkpoint.save(self._state)
        slots = self.slots
        order = self._smallest(slots.kept)
        size = self.wiring.size(slots.kept[order] != 0)
        few = max(1, most // 4 // len(BORNE))
        bears = [self._first_bearing(slots.kept[order], noise, few) for noise in BORNE]
        rows = order[_chosen(size, slots.lineage[order], bears, most)]
        return Sparsified(
            Network(
                self.network.architecture,
                self.network.factor,
                self.network.leak,
                slots.kept[rows],
                slots.lineage[rows],
                np.arange(len(rows), dtype=np.int32),
            ),
            self.wiring.size(slots.kept[rows] != 0),
            slots.log,
        )

    def _state(self) -> dict[str, np.ndarray]:
        return {f.name: getattr(self.slots, f.name) for f in fields(Slots)}

    def _ended(self) -> bool:
        """Whether all rounds are done, or there is no more to gain and the smallest bear
        examination.
        """
        slots, pace = self.slots, self.pace
        if len(slots.log) == pace.rounds:
            return True
        over = slots.waiting >= pace.patience or _settled(slots.log, pace.patience)
        return bool(over) and not self._examine(slots.kept)

    def _round(self) -> None:
        slots, pace, wiring = self.slots, self.pace, self.wiring
        n = len(slots.log)
        tried = _tried(slots, wiring, pace, np.random.default_rng([self.seed, n]))
        tried[slots.mending > 0] = slots.mask[slots.mending > 0]
        tried = wiring.live(tried)
        self.training.prune(tried)
        code = wiring.taught(slots.code, tried)
        if self.hinted:
            self.training.retell(code)
        self.training.resume(
            {name: np.where(tried, getattr(slots, name), np.float32(0)) for name in MOMENTS}
            | {"step": np.full(len(tried), n * pace.steps, np.int32)}
        )
        self.training.advance(pace.steps)
        state = {
            name: np.where(tried, values, np.float32(0))
            for name, values in self.training.state(*MOMENTS).items()
        }
        before, after = wiring.size(slots.mask), wiring.size(tried)
        right = self._right(state["parameters"], float(pace.noise[n]))
        kept = (right == self.evaluator.sequences) & (after <= before)
        for name in MOMENTS:
            getattr(slots, name)[kept] = state[name][kept]
        slots.mask[kept], slots.code[kept] = tried[kept], code[kept]
        slots.share[~kept & (slots.mending == 0)] *= SLOWER
        slots.share[kept] = np.minimum(slots.share[kept] * FASTER, pace.share)
        slots.kept = np.concatenate([slots.kept, state["parameters"][kept]])
        slots.lineage = np.concatenate([slots.lineage, slots.restart[kept]])
        slots.taught = np.concatenate([slots.taught, slots.code[kept]])
        mended, late = kept & (slots.mending > 0), ~kept & (slots.mending == 1)
        slots.mending = np.where(kept, 0, np.maximum(slots.mending - 1, 0)).astype(np.int32)
        self._restart(np.flatnonzero(late))
        shrunk = (kept & (after < before)) | mended
        slots.waiting = np.array(0 if shrunk.any() else slots.waiting + 1)
        size = wiring.size(slots.mask)
        if (n + 1) % pace.replace == 0 and not self._examine(slots.parameters):
            order = np.argsort(size, kind="stable")
            quarter = len(order) // 4
            best, worst = order[:quarter], order[len(order) - quarter :]
            for name in ("restart", *MOMENTS, "code", "mask", "share", "mending"):
                getattr(slots, name)[worst] = getattr(slots, name)[best]
        row = [size.min(), np.median(size), kept.sum(), len(slots.kept), len(slots.words)]
        slots.log = np.concatenate([slots.log, np.array([row], np.int32)])

    def _examine(self, parameters: np.ndarray) -> bool:
        """Search the smallest of these (N, P) for counterexamples; whether there are new ones."""
        slots, practice = self.slots, self.practice
        if practice is None:
            return False
        rows = self._smallest(parameters)[:EXAMINED]
        words = practice.examine(self.network.with_parameters(parameters[rows], rows * 0))
        known = {word[word >= 0].tobytes() for word in slots.words}
        words = [w for w in words if w.tobytes() not in known and len(w) <= LONGEST]
        if not words:
            return False
        padded = [np.pad(w, (0, LONGEST - len(w)), constant_values=-1) for w in words]
        slots.words = np.concatenate([slots.words, np.array(padded, np.int32)])
        slots.waiting = np.array(0)
        self._practise()
        right = ~self._fails(slots.kept)
        if right.any():
            for name in ("kept", "lineage", "taught"):
                setattr(slots, name, getattr(slots, name)[right])
        slots.mending[self._fails(slots.parameters)] = MENDING
        return True

    def _practise(self) -> None:
        if self.practice is not None and len(self.slots.words):
            self.practice.teach([word[word >= 0] for word in self.slots.words])

    def _restart(self, rows: np.ndarray) -> None:
        """Slots that did not learn the counterexamples take over the smallest candidates that did,
        of their own restart if there is one.
        """
        slots = self.slots
        order = self._smallest(slots.kept) if len(rows) else rows
        for row in rows:
            own = order[slots.lineage[order] == slots.restart[row]]
            (at, *_) = own if len(own) else order
            slots.restart[row], slots.parameters[row] = slots.lineage[at], slots.kept[at]
            slots.mean[row] = slots.square[row] = 0
            slots.code[row], slots.share[row] = slots.taught[at], self.pace.share
            slots.mask[row] = self.wiring.live(
                (slots.kept[at : at + 1] != 0) | ~self.wiring.counted
            )[0]
        slots.mending[rows[self._fails(slots.parameters[rows])]] = MENDING

    def _fails(self, parameters: np.ndarray) -> np.ndarray:
        """(N,) bool: which of these (N, P) get counterexamples wrong."""
        tested = self.practice.tested if self.practice is not None else 0
        return self._right(parameters, tested=tested) < tested

    def _right(
        self, parameters: np.ndarray, noise: float = 0.0, tested: int | None = None
    ) -> np.ndarray:
        return self.evaluator.right(parameters, self.network.factor, tested, noise)

    def _first_bearing(self, parameters: np.ndarray, noise: float, count: int) -> list[int]:
        """Positions of the first so many of these (N, P) that are right with that noise."""
        found: list[int] = []
        for start in range(0, len(parameters), AT_ONCE):
            right = self._right(parameters[start : start + AT_ONCE], noise)
            found += (start + np.flatnonzero(right == self.evaluator.sequences)).tolist()
            if len(found) >= count:
                break
        return found[:count]

    def _smallest(self, parameters: np.ndarray) -> np.ndarray:
        """Positions of these (N, P) without doubles, the smallest first."""
        size = self.wiring.size(parameters != 0)
        _, first = np.unique(parameters, axis=0, return_index=True)
        return np.array(sorted(first, key=lambda i: (size[i], i)), int)


def _settled(log: np.ndarray, patience: int) -> bool:
    """Whether half of the slots have the smallest size, a tiny one that for so many rounds has not
    changed, and there were no new counterexamples.
    """
    smallest, median, words = log[-patience - 1 :, [0, 1, 4]].T
    same = (smallest == smallest[-1:]).all() and (words == words[-1:]).all()
    return bool(len(smallest) > patience and same and median[-1] <= smallest[-1] <= TINY)


def _tried(slots: Slots, wiring: Wiring, pace: Pace, rng: np.random.Generator) -> np.ndarray:
    """(R, P) bool: what each slot tries to do with."""
    tried = slots.mask.copy()
    for mask, parameters, share in zip(tried, slots.parameters, slots.share, strict=True):
        sizes = np.abs(parameters)
        left = np.flatnonzero(mask & wiring.counted)
        there = [g for g in wiring.neurons if mask[g].any()]
        if rng.random() < pace.neurons and there:
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


def _chosen(size: np.ndarray, lineage: np.ndarray, bears: list[list[int]], most: int) -> list[int]:
    """Candidates that go on, at most so many, of those that are given, the smallest first.

    size, lineage: (N,) of each, and the restart that it comes from
    bears: for each of BORNE the first few that are right with that noise on the states

    Half are the smallest of all, often of one restart, and alike. A quarter are the smallest that
    bear noise, for these are easier to prove. The rest is of every restart in turn the smallest,
    and then each time one larger by a tenth.
    """
    chosen = set(range(min(len(size), most - most // 2)))
    for few in bears:
        chosen |= {*few[: most - len(chosen)]}
    ladders = [_ladder(np.flatnonzero(lineage == r), size) for r in np.unique(lineage)]
    for step in zip_longest(*ladders):
        chosen |= {*[n for n in step if n is not None][: most - len(chosen)]}
    return sorted(chosen)


def _ladder(rows: np.ndarray, size: np.ndarray) -> list[int]:
    """Of these rows, by size, the first, and each time the next that is larger by a tenth."""
    ladder: list[int] = []
    for n in rows.tolist():
        if not ladder or size[n] >= LARGER * size[ladder[-1]]:
            ladder.append(n)
    return ladder
