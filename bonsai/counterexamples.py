"""Counterexamples as training data: words that a network got wrong, and what lies near them.

Random words miss what is rare. While networks shrink, the smallest are searched for words that
they get wrong, as the prover does. A word found joins the training data and the validation
sequences with its neighbourhood: it goes on with its last symbols held, repeated, or at random, or
with one symbol changed on the way. A word that is longer than the sequences is cut at its front:
another, shortest way leads to the machine's state from which its rest follows.

Source: counterexample-guided inductive synthesis, Solar-Lezama, "Program Synthesis by Sketching",
2008.
"""

from collections.abc import Sequence

import numpy as np

from bonsai.dataset import Sequences
from bonsai.graph import Graph
from bonsai.hints import Codes
from bonsai.machine import Machine
from bonsai.network import Network
from bonsai.prove import SHORT, refute, words
from bonsai.train import Training
from kernels.evaluate import Evaluator, filled

REMEMBERED = 64  # words, the newest
PERIOD = 3  # symbols that are repeated, at most


class Practice:
    """Training data and validation sequences, the first of which are near counterexamples.

    training, evaluator: they hold `data` and `check` and are given others
    codes: of the hints that `training` has, if any
    taught, tested: how many sequences of `data` and `check` counterexamples replace
    seed: of the choice of neighbours
    """

    def __init__(
        self,
        machine: Machine,
        training: Training,
        data: Sequences,
        codes: Codes,
        evaluator: Evaluator,
        check: Sequences,
        taught: int,
        tested: int,
        seed: int,
    ) -> None:
        self._machine, self._training, self._evaluator = machine, training, evaluator
        self._data, self._check, self._codes = data, check, codes
        self._taught, self.tested, self._seed = taught, tested, seed
        tried = words(machine, *SHORT)
        rows = filled(np.arange(tried.symbols.shape[1]))
        symbols, before = tried.symbols.T[rows], tried.machine_state[:-1].T[rows]
        x, y = machine.symbols[symbols], machine.output[before, symbols]
        self._words = Evaluator(evaluator.architecture, evaluator.leak, x, y, early=True)

    def examine(self, network: Network) -> list[np.ndarray]:
        """Words (symbols) that some of these networks get wrong, no two alike."""
        found: dict[bytes, np.ndarray] = {}
        right = self._words.right(network.parameters, network.factor) == self._words.sequences
        for row in range(len(network)):
            graph = Graph.from_network(network, row, self._machine.inputs, self._machine.outputs)
            wrong = refute(graph, self._machine, words_right=bool(right[row]))
            if wrong is not None:
                word = np.array(wrong.word, np.int32)
                found.setdefault(word.tobytes(), word)
        return list(found.values())

    def teach(self, words: Sequence[np.ndarray]) -> None:
        """Practise these words from now on. The same words make the same sequences."""
        rng = np.random.default_rng([self._seed, len(words)])
        words = words[-REMEMBERED:]
        data, check = self._data, self._check
        data = _replaced(data, near(self._machine, words, rng, self._taught, data.length))
        check = _replaced(check, near(self._machine, words, rng, self.tested, check.length))
        features = self._codes.features(data)
        self._training.replace(data.inputs, data.targets, features)
        self._evaluator.held.replace(check.inputs, check.targets)


def near(
    machine: Machine,
    words: Sequence[np.ndarray],
    rng: np.random.Generator,
    count: int,
    length: int,
) -> Sequences:
    """`count` legal words of `length` symbols near the given ones, as many near each.

    words: of symbols, legal from the machine's initial state, and not empty
    """
    towards = machine.towards()
    wanted = np.full((count, length), -1, np.int64)  # symbols where they are legal; -1: any
    shortened = [_fitted(machine, towards, word, length) for word in words]
    for row in range(count):
        word = shortened[row % len(words)].copy()
        kind = row // len(words) % 4
        if kind == 3:
            word[rng.integers(0, len(word))] = rng.integers(0, len(machine.symbols))
        wanted[row, : len(word)] = word
        period = (1, int(rng.integers(1, PERIOD + 1)))[kind == 1]
        if kind < 2:
            rest = word[-period:]
            wanted[row, len(word) :] = np.resize(rest, length - len(word))
    return _followed(machine, wanted, rng)


def _fitted(machine: Machine, towards: np.ndarray, word: np.ndarray, length: int) -> np.ndarray:
    """The word, or as much of its end as fits behind a shortest way to where that begins."""
    if len(word) <= length:
        return word
    states = machine.run(word.tolist())[0]
    for start in range(len(word) - length, len(word)):
        way: list[int] = []
        state = 0
        while state != states[start] and len(way) < length:
            way.append(int(towards[state, states[start]]))
            state = int(machine.next[state, way[-1]])
        if len(way) + len(word) - start <= length:
            return np.concatenate([np.array(way, np.int32), word[start:]])
    return word[-length:]


def _followed(machine: Machine, wanted: np.ndarray, rng: np.random.Generator) -> Sequences:
    """Sequences of the symbols wanted (N, T) where they are legal, and any that are elsewhere."""
    count, length = wanted.shape
    symbols = np.zeros((count, length), np.int32)
    states = np.zeros((count, length + 1), np.int32)
    every = np.arange(count)
    for t in range(length):
        legal = machine.legal[states[:, t]]
        drawn = (rng.random(legal.shape) * legal).argmax(axis=1)
        asked = wanted[:, t]
        fits = (asked >= 0) & legal[every, asked]
        symbols[:, t] = np.where(fits, asked, drawn)
        states[:, t + 1] = machine.next[states[:, t], symbols[:, t]]
    y = machine.output[states[:, :-1], symbols]
    return Sequences(machine.symbols[symbols], y, states[:, 1:])


def _replaced(data: Sequences, first: Sequences) -> Sequences:
    """The data with its first sequences replaced."""
    n = len(first)
    return Sequences(
        np.concatenate([first.inputs, data.inputs[n:]]),
        np.concatenate([first.targets, data.targets[n:]]),
        np.concatenate([first.states, data.states[n:]]),
    )
