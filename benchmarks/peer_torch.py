"""The same training in PyTorch, eager or compiled: batched products over restarts."""

# mypy: disable-error-code="import-not-found"

import os

import numpy as np
import torch
from torch import Tensor

from benchmarks.problem import FACTOR, LEAK, Problem
from bonsai.recipe import BETA1, BETA2, EPSILON, UNIT

MINIBATCHES = 1024  # drawn once; then the same again


def ameo(x: Tensor) -> Tensor:
    t = x.abs()
    u = 0.5 * t - 0.5
    far = t > 2
    v = torch.where(far, u - 1, u)
    w = v * v
    power = 16 * (w * w) - 1
    inside = FACTOR * ((t - 1).abs() - 1) + (1 - FACTOR) * torch.where(far, -power, power)
    y = torch.where(t > 3, 1 + LEAK * (t - 3), inside)
    return torch.where(x < 0, -y, y)


class TorchTraining:
    """given: the problem; compiled: through `torch.compile`, which unrolls the steps of time"""

    def __init__(self, given: Problem, compiled: bool) -> None:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        recipe = given.recipe
        self._recipe = recipe
        self._step = 0
        self._strength = float(recipe.table[0, 1])  # the same at every step
        self._p = torch.tensor(given.parameters, requires_grad=True)
        self._share = torch.from_numpy(recipe.regularizer.share(recipe.architecture))
        n, t, _ = given.inputs.shape
        self._inputs, self._targets = (
            torch.from_numpy(v.reshape(n // UNIT, UNIT * t, -1))
            for v in (given.inputs, given.targets)
        )
        self._drawn = torch.from_numpy(given.units(MINIBATCHES))
        self._adam = torch.optim.Adam(
            [self._p],
            lr=float(recipe.table[0, 0]),
            betas=(BETA1, BETA2),
            eps=EPSILON,
            fused=True,
        )
        self._total = torch.compile(self._both, dynamic=False) if compiled else self._both

    def gradient(self) -> np.ndarray:
        loss = self._loss(self._p, *self._minibatch())
        return torch.autograd.grad(loss, self._p)[0].numpy()

    def advance(self, steps: int) -> None:
        for _ in range(steps):
            self._adam.zero_grad()
            self._total(self._p, *self._minibatch()).backward()
            self._adam.step()
            self._step += 1

    def parameters(self) -> np.ndarray:
        return self._p.detach().numpy().copy()

    def _minibatch(self) -> tuple[Tensor, Tensor]:
        """(T, B, I) and (T, B, 1)"""
        rows = self._drawn[self._step % MINIBATCHES]
        t = self._recipe.length
        return tuple(
            v.index_select(0, rows).view(self._recipe.batch, t, -1).transpose(0, 1)
            for v in (self._inputs, self._targets)
        )

    def _loss(self, p: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Summed over restarts: each has parameters of its own."""
        a, r, batch = self._recipe.architecture, self._recipe.restarts, self._recipe.batch
        w = {
            (b.kind, b.cell): p[:, b.slice].view(
                r, *(b.shape if b.kind == "weight" else (1, b.size))
            )
            for b in a.blocks
        }
        states = [w["initial", k].expand(r, batch, s) for k, (_, s) in enumerate(a.cells)]
        total = torch.zeros(())
        for t in range(self._recipe.length):
            h = x[t].expand(r, batch, a.inputs)
            for k, (o, s) in enumerate(a.cells):
                z = torch.cat([h, states[k]], 2)
                value = ameo(torch.baddbmm(w["bias", k], z, w["weight", k]))
                h, states[k] = value.split([o, s], 2)
            output = torch.baddbmm(w["bias", -1], h, w["weight", -1])
            hinge = torch.relu(1 - output * y[t])
            total = total + (hinge * hinge).sum()
        return total / (batch * self._recipe.length)

    def _both(self, p: Tensor, x: Tensor, y: Tensor) -> Tensor:
        g = self._recipe.regularizer
        size = p.abs()
        bent = torch.tanh((size - g.threshold) * g.steepness) - g.floor
        penalty = ((self._strength * bent + g.l1 * size) * self._share).sum()
        return self._loss(p, x, y) + penalty
