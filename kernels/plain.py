"""The same training as `kernels/fused.py` in plain tinygrad operations and its autograd.

Slow (unrolled over time, many small kernels), but it runs on every tinygrad device and shares
nothing with the hand-written kernels: `train.kernel=reference`. It runs on the device that the
environment variable DEV names, or else on OpenCL.
"""

import os
from dataclasses import replace

import numpy as np
from tinygrad import Context, Tensor, TinyJit
from tinygrad.helpers import DEV
from tinygrad.nn.optim import Adam

from bonsai.hints import Hints
from bonsai.network import Block, Layer
from bonsai.recipe import BETA1, BETA2, EPSILON, UNIT, Recipe
from kernels.device import open_device


def ameo(x: Tensor, factor: Tensor, leak: float) -> Tensor:
    """The activation of `bonsai.activation`, from its formula as published."""
    u = x / 2 - 0.5
    linear = (x <= -1).where(x + 2, (x <= 1).where(-x, x - 2))
    r = (u <= -1.5).where(
        8 * (u + 2) ** 4,
        (u <= -0.5).where(1 - 8 * (u + 1) ** 4, (u <= 0.5).where(8 * u**4, 1 - 8 * (u - 1) ** 4)),
    )
    inside = factor * linear + (1 - factor) * (2 * r - 1)
    return (x <= -3).where(-1 + leak * (x + 3), (x > 3).where(1 + leak * (x - 3), inside))


class PlainTraining:
    """As `kernels.fused.FusedTraining`: the same arguments, methods and state."""

    def __init__(
        self,
        recipe: Recipe,
        inputs: np.ndarray,
        targets: np.ndarray,
        parameters: np.ndarray,
        hints: Hints | None = None,
    ) -> None:
        if "DEV" not in os.environ:
            open_device()
            DEV.value = "CL"
        self.recipe = recipe
        self._units = len(inputs) // UNIT
        self._inputs, self._targets = inputs.astype(np.float32), targets.astype(np.float32)
        self._share = Tensor(recipe.regularizer.share(recipe.architecture))
        self._mask = Tensor(np.ones(parameters.shape, bool)).realize()
        r = recipe.restarts
        self._hints = hints
        self._begin(
            {
                "step": np.zeros(r, np.int32),
                "parameters": parameters.astype(np.float32),
                "mean": np.zeros_like(parameters, np.float32),
                "square": np.zeros_like(parameters, np.float32),
                "history": np.zeros((recipe.steps, r, 2), np.float32),
            }
        )

    def resume(self, state: dict[str, np.ndarray]) -> None:
        self._begin(self.state() | state)

    def _begin(self, state: dict[str, np.ndarray]) -> None:
        self._step = int(state["step"][0])
        self._history = state["history"].copy()
        self._parameters = Tensor(state["parameters"]).realize()
        self._adam = Adam([self._parameters], lr=0.0, b1=BETA1, b2=BETA2, eps=EPSILON)
        self._adam.m[0].assign(Tensor(state["mean"])).realize()
        self._adam.v[0].assign(Tensor(state["square"])).realize()
        self._adam.b1_t.assign(Tensor([BETA1**self._step])).realize()
        self._adam.b2_t.assign(Tensor([BETA2**self._step])).realize()
        self._jitted = TinyJit(self._advance)

    def restrict(self, mask: np.ndarray) -> None:
        self._mask.assign(Tensor(mask)).realize()

    def prune(self, mask: np.ndarray) -> None:
        self.restrict(mask)

    def retell(self, code: np.ndarray) -> None:
        assert self._hints is not None, "it was made without hints"
        self._hints = replace(self._hints, code=code)

    def replace(
        self, inputs: np.ndarray, targets: np.ndarray, features: np.ndarray | None
    ) -> None:
        self._inputs, self._targets = inputs.astype(np.float32), targets.astype(np.float32)
        if features is not None and self._hints is not None:
            self._hints = replace(self._hints, features=features)

    def state(self, *names: str) -> dict[str, np.ndarray]:
        every = {
            "step": np.full(self.recipe.restarts, self._step, np.int32),
            "parameters": self._parameters.numpy(),
            "mean": self._adam.m[0].numpy(),
            "square": self._adam.v[0].numpy(),
            "history": self._history.copy(),
        }
        return {name: value for name, value in every.items() if name in (names or every)}

    def advance(self, steps: int) -> None:
        for _ in range(steps):
            rows = self.recipe.minibatch(self._step, self._units)
            rate, strength = (float(v) for v in self.recipe.table[self._step, :2])
            self._adam.lr.assign(Tensor([rate])).realize()
            with Context(TRAINING=1):
                loss, penalty = self._jitted(
                    Tensor(self._inputs[rows]).realize(),
                    Tensor(self._targets[rows]).realize(),
                    Tensor([strength]).realize(),
                    *self._scheduled(rows),
                )
            self._history[self._step, :, 0] = loss.numpy()
            self._history[self._step, :, 1] = penalty.numpy()
            self._step += 1

    def gradient(self) -> tuple[np.ndarray, np.ndarray]:
        rows = self.recipe.minibatch(self._step, self._units)
        x, target = Tensor(self._inputs[rows]), Tensor(self._targets[rows])
        loss, pull = self._loss(x, target, *self._scheduled(rows))
        gradient = (loss.sum() + pull.sum()).gradient(self._parameters)[0]
        return loss.numpy(), gradient.numpy()

    def _scheduled(self, rows: np.ndarray) -> tuple[Tensor, ...]:
        """Of this step: the factor (1,), the noise (R, B, T, S), the pull's strength (1,), and the
        hints (R, B, T, S)."""
        factor, _, binarize = (float(v) for v in self.recipe.table[self._step, 4:7])
        noise = self.recipe.noise_at(self._step)[None]
        told = np.zeros((1, 1, *noise.shape[2:]))
        if self._hints is not None:
            told = self._hints.told(rows)
            hinted = np.asarray((self._hints.code >= 0).any(axis=1)).reshape(-1, 1, 1, 1)
            noise = np.where(hinted, self.recipe.noise_at(self._step, hinted=True), noise)
        values = [factor], noise, [binarize], told
        return tuple(Tensor(np.asarray(v, np.float32)).realize() for v in values)

    def _advance(
        self,
        x: Tensor,
        target: Tensor,
        strength: Tensor,
        factor: Tensor,
        *pulls: Tensor,
    ) -> tuple[Tensor, Tensor]:
        self._adam.zero_grad()
        loss, pull = self._loss(x, target, factor, *pulls)
        penalty = self._penalty(strength)
        (loss.sum() + pull.sum() + penalty.sum()).backward()
        before = self._parameters.clone().realize()
        Tensor.realize(loss, penalty, *self._adam.schedule_step())
        self._parameters.assign(self._mask.where(self._parameters, before)).realize()
        return loss, penalty

    def _tensor(self, block: Block) -> Tensor:
        """(R, 1, *shape) or, for a matrix, (R, *shape)."""
        shape = block.shape if block.kind == "weight" else (1, *block.shape)
        return self._parameters[:, block.slice].reshape(-1, *shape)

    def _neurons(
        self, layer: Layer, x: Tensor | None, state: Tensor | None, factor: Tensor
    ) -> Tensor:
        """(R, B, neurons) of x (R, B, n) and s (R, B, S); None where there are none."""
        parts = [part for part in (x, state) if part is not None]
        z = parts[0].cat(*parts[1:], dim=2)  # (R, B, n+S)
        bias = self._parameters[:, layer.bias].unsqueeze(1)
        return ameo(z @ self._tensor(layer.weight) + bias, factor, self.recipe.leak)

    def _loss(
        self,
        x: Tensor,
        target: Tensor,
        factor: Tensor,
        noise: Tensor,
        binarize: Tensor,
        told: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """x: (B, T, I), target: (B, T, O); the mean squared hinge (R,), and the pull (R,)."""
        a, r, batch = self.recipe.architecture, self.recipe.restarts, len(target)
        states = [
            self._tensor(a.block("initial", k)).expand(r, batch, s) if s else None
            for k, (_, s) in enumerate(a.cells)
        ]
        total, pull, missed = Tensor.zeros(r), Tensor.zeros(r), Tensor.zeros(r)
        for t in range(self.recipe.length):
            h = x[:, t].unsqueeze(0).expand(r, batch, a.inputs) if a.inputs else None
            first = 0
            for k, (o, s) in enumerate(a.cells):
                layer, *above = (found for found in a.layers if found.cell == k)
                value = self._neurons(layer, h, states[k], factor)
                h = value[:, :, :o]
                if s:
                    made = (
                        self._neurons(above[0], h, states[k], factor) if above else value[:, :, o:]
                    )
                    h_t = told[:, :, t, first : first + s]
                    hinted = h_t != 0
                    state = hinted.where(h_t, made) + noise[:, :, t, first : first + s]
                    pull = pull + hinted.where(0, (1 - state * state) ** 2).sum(axis=(1, 2))
                    missed = missed + hinted.where((made - h_t) ** 2, 0).sum(axis=(1, 2))
                    states[k] = state
                first += s
            assert h is not None
            y = h @ self._tensor(a.block("weight", -1)) + self._tensor(a.block("bias", -1))
            hinge = (target[:, t] * target[:, t] - y * target[:, t]).relu()
            total = total + (hinge * hinge).sum(axis=(1, 2))
        pull = (binarize * pull + missed) / max(1, noise[0].numel())
        return total / target.numel(), pull

    def _penalty(self, strength: Tensor) -> Tensor:
        """(R,)"""
        g = self.recipe.regularizer
        size = self._parameters.abs()
        bent = ((size - g.threshold) * g.steepness).tanh() - g.floor
        return ((strength * bent + g.l1 * size) * self._share).sum(axis=1)
