"""The network, its loss and its gradient in NumPy, float64: what kernels are tested against."""

import numpy as np

from bonsai.activation import ameo, ameo_derivative
from bonsai.network import Architecture


def forward(
    architecture: Architecture, parameters: np.ndarray, x: np.ndarray, factor: float, leak: float
) -> np.ndarray:
    """Outputs (N, T, O) of one network, parameters (P,), on inputs (N, T, I)."""
    return _run(architecture, parameters.astype(np.float64), x, factor, leak)[0]


def states(
    architecture: Architecture,
    parameters: np.ndarray,
    x: np.ndarray,
    factor: float,
    leak: float,
    noise: np.ndarray | None = None,
) -> np.ndarray:
    """States (N, T, S) of all cells after each time, with their noise; arguments as below."""
    return _run(architecture, parameters.astype(np.float64), x, factor, leak, noise)[1]


def loss_and_gradient(
    architecture: Architecture,
    parameters: np.ndarray,
    x: np.ndarray,
    target: np.ndarray,
    factor: float,
    leak: float,
    noise: np.ndarray | None = None,
    binarize: float = 0.0,
    told: np.ndarray | None = None,
) -> tuple[float, np.ndarray]:
    """Mean squared hinge over (N, T, O), and its gradient (P,); target 0 is a don't-care.

    noise: (N, T, S), added to the states of all cells after each time
    binarize: times the mean of (1 - s^2)^2 over these states, in the gradient alone
    told: (N, T, S), -1 or +1, or 0 for no hint; see `bonsai.hints`
    """
    p = parameters.astype(np.float64)
    a = architecture
    y, after, kept = _run(a, p, x, factor, leak, noise, told)
    pull = 4 * binarize / max(1, after.size) * after * (after**2 - 1)
    stop = np.zeros(after.shape, bool)
    if told is not None:
        stop = told != 0
        made = [np.concatenate([ameo(z, factor, leak) for _, (_, z) in s[:-1]], 1) for s in kept]
        missed = 2 / max(1, after.size) * (np.stack(made, axis=1) - told)
        pull = np.where(stop, missed, pull)
    hinge = np.where(target != 0, np.maximum(1 - y * target, 0), 0)
    dy = -2 * hinge * target / target.size
    gradient = np.zeros_like(p)

    n, length = x.shape[:2]
    carry = [np.zeros((n, s)) for _, s in a.cells]
    ends = np.cumsum([s for _, s in a.cells])[:-1]
    for t in reversed(range(length)):
        through = np.where(stop[:, t], 0, np.concatenate(carry, axis=1))
        carry = np.split(through + pull[:, t], ends, axis=1)
        z = kept[t][-1][0][0]
        _tensor(a, gradient, "weight", -1)[:] += z.T @ dy[:, t]
        _tensor(a, gradient, "bias", -1)[:] += dy[:, t].sum(axis=0)
        back = dy[:, t] @ _tensor(a, p, "weight", -1).T
        for k in reversed(range(len(a.cells))):
            (z, pre), (zr, pre_r) = kept[t][k]
            o, s = a.cells[k]
            (w, _), (wr, _) = _neurons(a, p, k)
            (dw, db), (dwr, dbr) = _neurons(a, gradient, k)
            delta_r = carry[k] * ameo_derivative(pre_r, factor, leak)
            dwr += zr.T @ delta_r
            dbr += delta_r.sum(axis=0)
            dz, dzr = np.zeros_like(z), delta_r @ wr.T
            if a.stacked and s:
                back, dz[:, z.shape[1] - s :] = back + dzr[:, :o], dzr[:, o:]
            else:
                dz += dzr
            delta = back * ameo_derivative(pre, factor, leak)
            dw += z.T @ delta
            db += delta.sum(axis=0)
            dz += delta @ w.T
            back, carry[k] = np.split(dz, [z.shape[1] - s], axis=1)
    for k, ds in enumerate(carry):
        _tensor(a, gradient, "initial", k)[:] += ds.sum(axis=0)
    return float((hinge**2).sum() / target.size), gradient


def _tensor(a: Architecture, p: np.ndarray, kind: str, cell: int) -> np.ndarray:
    block = a.block(kind, cell)
    return p[block.slice].reshape(block.shape)


def _neurons(a: Architecture, p: np.ndarray, cell: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Views (Wo, bo) and (Wr, br)."""
    o, s = a.cells[cell]
    weights = [
        p[b.slice].reshape(b.shape) for b in a.blocks if (b.kind, b.cell) == ("weight", cell)
    ]
    bias = _tensor(a, p, "bias", cell)
    return [(weights[0][:, :o], bias[:o]), (weights[-1][:, weights[-1].shape[1] - s :], bias[o:])]


def _run(
    a: Architecture,
    p: np.ndarray,
    x: np.ndarray,
    factor: float,
    leak: float,
    noise: np.ndarray | None = None,
    forced: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, list[list[list[tuple[np.ndarray, np.ndarray]]]]]:
    """Outputs, states after each step, and for each step, cell and [o, s'] their input and
    pre-activation; those of the head last."""
    n, length = x.shape[:2]
    states = [np.tile(_tensor(a, p, "initial", k), (n, 1)) for k in range(len(a.cells))]
    outputs, after, kept = [], [], []
    for t in range(length):
        h = x[:, t].astype(np.float64)
        layers = []
        first = 0
        for k, (_, s) in enumerate(a.cells):
            (w, b), (wr, br) = _neurons(a, p, k)
            z = np.concatenate([h, states[k]], axis=1)
            pre = z @ w + b
            h = ameo(pre, factor, leak)
            zr = np.concatenate([h, states[k]], axis=1) if a.stacked and s else z
            pre_r = zr @ wr + br
            states[k] = ameo(pre_r, factor, leak)
            if forced is not None:
                told = forced[:, t, first : first + s]
                states[k] = np.where(told != 0, told, states[k])
            if noise is not None:
                states[k] = states[k] + noise[:, t, first : first + s]
            first += s
            layers.append([(z, pre), (zr, pre_r)])
        y = h @ _tensor(a, p, "weight", -1) + _tensor(a, p, "bias", -1)
        outputs.append(y)
        after.append(np.concatenate(states, axis=1))
        kept.append([*layers, [(h, y)]])
    return np.stack(outputs, axis=1), np.stack(after, axis=1), kept
