"""`Recipe`: everything that one training step depends on, apart from the data."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bonsai.network import Architecture

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam, Kingma and Ba 2015
UNIT = 16  # sequences that a minibatch draws together: the most that a work-item handles at once


@dataclass(frozen=True)
class Regularizer:
    """The sparse regulariser of a tensor of n elements, with strength i_T given step by step:

    R(w) = 1/n sum( i_T (tanh((|w|-t) s) - tanh(-t s)) + i_L1 |w| )

    threshold: t; steepness: s; l1: i_L1; biases: whether biases have it too (weights always do)

    Source: Casey Primozic, "Growing Bonsai Networks with RNNs", 2023.
    """

    threshold: float
    steepness: float
    l1: float
    biases: bool

    @property
    def floor(self) -> float:
        return float(np.tanh(-self.threshold * self.steepness))

    def share(self, architecture: Architecture) -> np.ndarray:
        """(P,) float32: 1/n of the tensor that a parameter is in, 0 where not regularised."""
        share = np.zeros(architecture.size, np.float32)
        for kind, index in architecture.tensors():
            if index.size and (kind == "weight" or (kind == "bias" and self.biases)):
                share[index] = 1 / index.size
        return share

    def penalty(self, parameters: np.ndarray, share: np.ndarray, strength: float) -> np.ndarray:
        """R summed over all tensors: (R, P) and (P,) to (R,)."""
        size = np.abs(parameters)
        bent = np.tanh((size - self.threshold) * self.steepness) - self.floor
        return ((strength * bent + self.l1 * size) * share).sum(axis=1)


@dataclass(frozen=True, eq=False)
class Recipe:
    """restarts: R; batch: sequences a step, a multiple of 16; length: T; seed: below 2**32

    rate, strength: (steps,) float64, Adam's rate and the regulariser's i_T at each step
    factor: (steps,) float64, of the activation at each step; leak: of the activation
    noise: (steps,) float64, each state gets a uniform random number up to this added after a step
    hinted_noise: (steps,) float64, the same for restarts that have hints
    binarize: (steps,) float64, times the mean of (1 - s^2)^2 over sequences, steps and states s
    with their noise: a pull to -1 and +1 that joins the gradient, but not the loss reported
    """

    architecture: Architecture
    restarts: int
    batch: int
    length: int
    seed: int
    rate: np.ndarray
    strength: np.ndarray
    factor: np.ndarray
    noise: np.ndarray
    hinted_noise: np.ndarray
    binarize: np.ndarray
    leak: float
    regularizer: Regularizer

    @property
    def steps(self) -> int:
        return len(self.rate)

    @property
    def noise_seed(self) -> int:
        return int(hashed(np.array([self.seed]))[0])

    @cached_property
    def table(self) -> np.ndarray:
        """(steps, 8) float32: rate, strength, Adam's two corrections, factor, noise, binarize,
        noise with hints."""
        n = np.arange(1, self.steps + 1)
        corrections = [1 / (1 - BETA1**n), 1 / (1 - BETA2**n)]
        columns = [self.rate, self.strength, *corrections, self.factor, self.noise]
        columns += [self.binarize, self.hinted_noise]
        return np.stack(columns, axis=1).astype(np.float32)

    @property
    def settled_from(self) -> int:
        """The first step from which on the factor stays what it is at the end."""
        moving = np.flatnonzero(self.factor != self.factor[-1])
        return int(moving[-1]) + 1 if moving.size else 0

    def minibatch(self, step: int, units: int) -> np.ndarray:
        """(batch,) int64: rows of the minibatch of this step, out of `units` times 16 rows.

        Units of 16 rows are drawn by an integer hash, so that a kernel draws the same ones.
        """
        count = self.batch // UNIT
        drawn = hashed(self.seed + step * count + np.arange(count)) % np.uint32(units)
        return (drawn.astype(np.int64)[:, None] * UNIT + np.arange(UNIT)).reshape(-1)

    def noise_at(self, step: int, hinted: bool = False) -> np.ndarray:
        """(batch, T, S) float32: what is added to all S states of all cells after each time."""
        states = sum(s for _, s in self.architecture.cells)
        shape = (self.batch, self.length, states)
        first = step * self.batch * self.length * states
        h = hashed(self.noise_seed + first + np.arange(np.prod(shape))).reshape(shape)
        uniform = ((h >> np.uint32(9)) | np.uint32(0x3F800000)).view(np.float32) * 2 - 3
        return np.float32((self.hinted_noise if hinted else self.noise)[step]) * uniform


def hashed(numbers: np.ndarray) -> np.ndarray:
    """uint32 of the same shape: a well-mixed permutation of the numbers modulo 2**32.

    Source: Chris Wellons, "Prospecting for hash functions", 2018.
    """
    h = (numbers.astype(np.int64) & 0xFFFFFFFF).astype(np.uint32)
    h ^= h >> 16
    h *= np.uint32(0x7FEB352D)
    h ^= h >> 15
    h *= np.uint32(0x846CA68B)
    h ^= h >> 16
    return h


def schedule(knots: Sequence[Sequence[float]], steps: int) -> np.ndarray:
    """(steps,) values, linear between knots (share of all steps from 0 to 1, value).

    >>> schedule([[0, 1.0], [0.5, 1.0], [1, 0.0]], 5).tolist()
    [1.0, 1.0, 1.0, 0.5, 0.0]
    """
    shares, values = zip(*knots, strict=True)
    return np.interp(np.linspace(0, 1, steps), shares, values)
