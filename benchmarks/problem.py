"""The training problems that are timed, and one step of each in NumPy, float64."""

from dataclasses import dataclass

import numpy as np

from bonsai.network import Architecture
from bonsai.recipe import BETA1, BETA2, EPSILON, UNIT, Recipe, Regularizer
from kernels.oracle import loss_and_gradient

POOL = 4096  # sequences of the dataset that minibatches are drawn from
FACTOR, LEAK = 0.5, 0.0625
GRADIENT, STEP = 1e-4, 0.01  # what `check` allows, relative to the largest entry and to the rate
CHECKED = (0, -1)  # restarts that `check` looks at


@dataclass(frozen=True)
class Shape:
    """cells: (outputs, states) of each; inputs: I; the output is one bit"""

    cells: tuple[tuple[int, int], ...]
    inputs: int
    length: int
    batch: int
    restarts: int

    @property
    def name(self) -> str:
        cells = "".join(f"({o},{s})" for o, s in self.cells)
        return f"{cells} T={self.length} B={self.batch} R={self.restarts}"

    @property
    def architecture(self) -> Architecture:
        return Architecture(self.inputs, self.cells, 1)

    @property
    def multiply_adds(self) -> int:
        """Of a training step: each entry of a weight matrix has one for each step of each sequence
        forward, one backward (none for the network's own inputs), and one for its gradient."""
        a = self.architecture
        entries = sum(b.size for b in a.blocks if b.kind == "weight")
        given = a.inputs * sum(a.cells[0])
        return (3 * entries - given) * self.length * self.batch * self.restarts


SHAPES = (
    Shape(((4, 2),), 1, 20, 1024, 1),
    Shape(((8, 8),), 1, 20, 1024, 1),
    Shape(((8, 8),), 1, 20, 1024, 8),
    Shape(((16, 10), (16, 10)), 3, 40, 512, 1),
    Shape(((16, 10), (16, 10)), 3, 40, 512, 4),
    Shape(((8, 8),), 1, 20, 128, 64),
    Shape(((12, 6),), 3, 24, 128, 32),
)


@dataclass(frozen=True, eq=False)
class Problem:
    """inputs: (N, T, I), targets: (N, T, 1), of -1/+1; parameters: (R, P) to start from"""

    recipe: Recipe
    inputs: np.ndarray
    targets: np.ndarray
    parameters: np.ndarray

    def units(self, steps: int) -> np.ndarray:
        """(steps, B / 16) int32: units of 16 rows that the first minibatches are made of."""
        pool = len(self.inputs) // UNIT
        rows = [self.recipe.minibatch(n, pool)[::UNIT] // UNIT for n in range(steps)]
        return np.array(rows, np.int32)


def problem(shape: Shape, steps: int) -> Problem:
    """Random data, and parameters at which the gradient does not explode in time."""
    rng = np.random.default_rng(0)
    a = shape.architecture
    recipe = Recipe(
        architecture=a,
        restarts=shape.restarts,
        batch=shape.batch,
        length=shape.length,
        seed=3,
        rate=np.full(steps, 1e-3),
        strength=np.full(steps, 0.05),
        factor=np.full(steps, FACTOR),
        noise=np.zeros(steps),
        hinted_noise=np.zeros(steps),
        binarize=np.zeros(steps),
        leak=LEAK,
        regularizer=Regularizer(0.025, 10.0, 0.001, biases=True),
    )
    x = rng.choice([-1, 1], (POOL, shape.length, shape.inputs)).astype(np.float32)
    y = rng.choice([-1, 1], (POOL, shape.length, 1)).astype(np.float32)
    p = 0.5 * a.initialize(rng, shape.restarts)
    p += rng.normal(0, 0.05, p.shape).astype(np.float32)
    return Problem(recipe, x, y, p)


def oracle(given: Problem, restart: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Gradient without regulariser at the start, and parameters after some steps: (P,) each."""
    recipe, pool = given.recipe, len(given.inputs) // UNIT
    a, g = recipe.architecture, recipe.regularizer
    share = g.share(a).astype(np.float64)
    p = given.parameters[restart].astype(np.float64)
    mean, square, first = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for n in range(steps):
        rows = recipe.minibatch(n, pool)
        x, y = given.inputs[rows], given.targets[rows]
        gradient = loss_and_gradient(a, p, x, y, FACTOR, LEAK)[1]
        first = gradient if n == 0 else first
        bent = np.tanh((np.abs(p) - g.threshold) * g.steepness)
        slope = recipe.strength[n] * g.steepness * (1 - bent**2) + g.l1
        gradient = gradient + share * np.sign(p) * slope
        mean = BETA1 * mean + (1 - BETA1) * gradient
        square = BETA2 * square + (1 - BETA2) * gradient**2
        corrected = mean / (1 - BETA1 ** (n + 1))
        p -= recipe.rate[n] * corrected / (np.sqrt(square / (1 - BETA2 ** (n + 1))) + EPSILON)
    return first, p


def check(given: Problem, name: str, gradient: np.ndarray, after: np.ndarray, steps: int) -> None:
    """Raise unless a contender's gradient (R, P) at the start, and its parameters (R, P) after
    some steps, are those of the oracle: only the same mathematics is compared."""
    for restart in CHECKED:
        first, p = oracle(given, restart, steps)
        error = np.abs(gradient[restart] - first).max() / np.abs(first).max()
        if not error <= GRADIENT:
            raise ValueError(f"{name}: the gradient is off by {error:.1e} of its largest entry")
        error = np.abs(after[restart] - p).max() / given.recipe.rate[:steps].sum()
        if not error <= STEP:
            raise ValueError(f"{name}: after {steps} steps parameters are {error:.1e} rates off")
