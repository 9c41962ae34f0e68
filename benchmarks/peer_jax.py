"""The same training in JAX: `lax.scan` over time, `vmap` over restarts, optax, all under `jit`.

What is fastest differs from shape to shape, so that several forms are built and tried for a
moment: sequences in the columns or in the rows of a matrix, steps of time unrolled, steps of
training in a call. The fastest one is timed. All have the cell's two matrices side by side as one,
and the activation's derivative written out, which is faster than what JAX makes of its cases.
"""

# mypy: disable-error-code="import-not-found"

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from benchmarks.problem import FACTOR, LEAK, Problem
from bonsai.recipe import BETA1, BETA2, EPSILON, UNIT

jax.config.update("jax_default_matmul_precision", "highest")  # else TF32 on a GPU, 1e-3 off
MINIBATCHES = 1024  # drawn once; then the same again
FORMS = (  # sequences in the columns, steps of time unrolled, steps of training a call
    (True, 1, 25),
    (True, 1, 1),
    (True, 4, 25),
    (True, 4, 1),
    (True, 8, 25),
    (True, 8, 1),
    (False, 4, 25),
)
TRIED = 0.15  # seconds that each form is tried for, three times


@jax.custom_vjp
def ameo(x: Array) -> Array:
    t = jnp.abs(x)
    u = 0.5 * t - 0.5
    far = t > 2
    v = jnp.where(far, u - 1, u)
    w = v * v
    power = 16 * (w * w) - 1
    inside = FACTOR * (jnp.abs(t - 1) - 1) + (1 - FACTOR) * jnp.where(far, -power, power)
    y = jnp.where(t > 3, 1 + LEAK * (t - 3), inside)
    return jnp.where(x < 0, -y, y)


def _derivative(x: Array) -> Array:
    t = jnp.abs(x)
    u = 0.5 * t - 0.5
    far = t > 2
    v = jnp.where(far, u - 1, u)
    cubic = 32 * (v * v * v)
    linear = jnp.where(t < 1, -1.0, 1.0)
    inside = FACTOR * linear + (1 - FACTOR) * jnp.where(far, -cubic, cubic)
    return jnp.where(t > 3, LEAK, inside)


ameo.defvjp(lambda x: (ameo(x), x), lambda x, g: (g * _derivative(x),))


class JaxTraining:
    """given: the problem; `advance`, `parameters` and `gradient` are as a contender's."""

    def __init__(self, given: Problem) -> None:
        self._given = given
        self._forms = [_Form(given, *form) for form in FORMS]
        self._form = self._forms[0]

    def gradient(self) -> np.ndarray:
        return np.asarray(self._form.gradient())

    def advance(self, steps: int) -> None:
        self._form.advance(steps)

    def parameters(self) -> np.ndarray:
        return np.asarray(self._form.parameters)

    def settle(self) -> str:
        """Keep the form that is fastest here, and say which it is."""
        for form in self._forms:
            form.advance(25)  # compiles
        best = int(np.argmin(np.min([[f.seconds() for f in self._forms] for _ in range(3)], 0)))
        self._form = self._forms[best]
        self._forms = []
        columns, unroll, call = FORMS[best]
        layout = "columns" if columns else "rows"
        return f"sequences in {layout}, {unroll} steps of time unrolled, {call} steps a call"


class _Form:
    def __init__(self, given: Problem, columns: bool, unroll: int, call: int) -> None:
        recipe = given.recipe
        a, g = recipe.architecture, recipe.regularizer
        share = jnp.asarray(g.share(a))
        rate, strength = (float(v) for v in recipe.table[0, :2])  # the same at every step
        column = (lambda v: v[:, None]) if columns else (lambda v: v)
        axis = 0 if columns else 1

        def product(w: Array, z: Array) -> Array:
            return w.T @ z if columns else z @ w

        def loss(p: Array, x: Array, y: Array) -> Array:
            """p: (P,); x: (T, I, B) or (T, B, I); y alike"""
            w = {
                (b.kind, b.cell): p[b.offset : b.offset + b.size].reshape(b.shape)
                for b in a.blocks
            }

            def step(states: tuple[Array, ...], given: tuple[Array, Array]) -> tuple:
                h, target = given
                after = []
                for k, (o, _) in enumerate(a.cells):
                    z = jnp.concatenate([h, states[k]], axis)
                    value = ameo(product(w["weight", k], z) + column(w["bias", k]))
                    h, s = jnp.split(value, [o], axis)
                    after.append(s)
                output = product(w["weight", -1], h) + column(w["bias", -1])
                hinge = jnp.maximum(1 - output * target, 0)
                return tuple(after), (hinge * hinge).sum()

            batch = x.shape[2] if columns else x.shape[1]
            initial = tuple(
                jnp.broadcast_to(column(w["initial", k]), (s, batch) if columns else (batch, s))
                for k, (_, s) in enumerate(a.cells)
            )
            return lax.scan(step, initial, (x, y), unroll=unroll)[1].sum() / y.size

        def penalty(p: Array) -> Array:
            size = jnp.abs(p)
            bent = jnp.tanh((size - g.threshold) * g.steepness) - g.floor
            return ((strength * bent + g.l1 * size) * share).sum()

        def both(p: Array, x: Array, y: Array) -> tuple[Array, tuple[Array, Array]]:
            data, sparse = loss(p, x, y), penalty(p)
            return data + sparse, (data, sparse)

        def laid_out(values: np.ndarray) -> Array:
            """(N, T, C) to (T, C, N / 8, 8) or (T, N / 8, 8, C)."""
            n, t, c = values.shape
            order = (2, 3, 0, 1) if columns else (2, 0, 1, 3)
            return jnp.asarray(values.reshape(n // UNIT, UNIT, t, c).transpose(order))

        inputs, targets = laid_out(given.inputs), laid_out(given.targets)
        drawn = jnp.asarray(given.units(MINIBATCHES))

        def minibatch(values: Array, n: Array) -> Array:
            some = jnp.take(values, drawn[n % MINIBATCHES], 2 if columns else 1, mode="clip")
            flat = (*some.shape[:2], -1) if columns else (some.shape[0], -1, some.shape[3])
            return some.reshape(flat)

        adam = optax.adam(rate, BETA1, BETA2, EPSILON)
        slopes = jax.vmap(jax.grad(both, has_aux=True), (0, None, None))

        def train(state: tuple, _: None) -> tuple:
            n, p, means = state
            gradient, losses = slopes(p, minibatch(inputs, n), minibatch(targets, n))
            change, means = adam.update(gradient, means, p)
            return (n + 1, optax.apply_updates(p, change), means), losses

        self._call = call
        many = partial(lax.scan, train, xs=None, length=call)
        self._many = jax.jit(lambda state: many(state), donate_argnums=0)
        self._one = jax.jit(lambda state: train(state, None), donate_argnums=0)
        self._gradient = jax.jit(
            lambda p: jax.vmap(jax.grad(loss), (0, None, None))(
                p, minibatch(inputs, 0), minibatch(targets, 0)
            )
        )
        p = jnp.asarray(given.parameters)
        self._state = (jnp.int32(0), p, jax.jit(adam.init)(p))

    @property
    def parameters(self) -> Array:
        return self._state[1]

    def gradient(self) -> Array:
        return self._gradient(self.parameters)

    def seconds(self) -> float:
        """Of a step, tried for a moment."""
        taken, start = 0, time.perf_counter()
        while (passed := time.perf_counter() - start) < TRIED:
            self.advance(25)
            taken += 25
        return passed / taken

    def advance(self, steps: int) -> None:
        whole = steps // self._call if self._call > 1 else 0
        for _ in range(whole):
            self._state, _ = self._many(self._state)
        for _ in range(steps - whole * self._call):
            self._state, _ = self._one(self._state)
        jax.block_until_ready(self._state)
