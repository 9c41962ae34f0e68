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
) -> tuple[float, np.ndarray]:
    """Mean squared hinge over (N, T, O), and its gradient (P,); target 0 is a don't-care.

    noise: (N, T, S), added to the states of all cells after each time
    binarize: times the mean of (1 - s^2)^2 over these states, in the gradient alone
    """
    p = parameters.astype(np.float64)
    a = architecture
    y, after, kept = _run(a, p, x, factor, leak, noise)
    pull = 4 * binarize / max(1, after.size) * after * (after**2 - 1)
    hinge = np.where(target != 0, np.maximum(1 - y * target, 0), 0)
    dy = -2 * hinge * target / target.size
    gradient = np.zeros_like(p)

    def view(kind: str, cell: int) -> tuple[np.ndarray, np.ndarray]:
        block = a.block(kind, cell)
        return p[block.slice].reshape(block.shape), gradient[block.slice].reshape(block.shape)

    n, length = x.shape[:2]
    carry = [np.zeros((n, s)) for _, s in a.cells]
    ends = np.cumsum([s for _, s in a.cells])[:-1]
    for t in reversed(range(length)):
        carry = [c + d for c, d in zip(carry, np.split(pull[:, t], ends, axis=1), strict=True)]
        z_head, _ = kept[t][-1]
        w, dw = view("weight", -1)
        dw += z_head.T @ dy[:, t]
        view("bias", -1)[1][:] += dy[:, t].sum(axis=0)
        back = dy[:, t] @ w.T
        for k in reversed(range(len(a.cells))):
            z, pre = kept[t][k]
            delta = np.concatenate([back, carry[k]], axis=1) * ameo_derivative(pre, factor, leak)
            w, dw = view("weight", k)
            dw += z.T @ delta
            view("bias", k)[1][:] += delta.sum(axis=0)
            dz = delta @ w.T
            width = z.shape[1] - a.cells[k][1]
            back, carry[k] = dz[:, :width], dz[:, width:]
    for k, ds in enumerate(carry):
        view("initial", k)[1][:] += ds.sum(axis=0)
    return float((hinge**2).sum() / target.size), gradient


def _run(
    a: Architecture,
    p: np.ndarray,
    x: np.ndarray,
    factor: float,
    leak: float,
    noise: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, list[list[tuple[np.ndarray, np.ndarray]]]]:
    """Outputs, states after each step, and for each step each layer's input and pre-activation."""

    def tensor(kind: str, cell: int) -> np.ndarray:
        block = a.block(kind, cell)
        return p[block.slice].reshape(block.shape)

    n, length = x.shape[:2]
    states = [np.tile(tensor("initial", k), (n, 1)) for k in range(len(a.cells))]
    outputs, after, kept = [], [], []
    for t in range(length):
        h = x[:, t].astype(np.float64)
        layers = []
        first = 0
        for k, (o, s) in enumerate(a.cells):
            z = np.concatenate([h, states[k]], axis=1)
            pre = z @ tensor("weight", k) + tensor("bias", k)
            value = ameo(pre, factor, leak)
            h, states[k] = value[:, :o], value[:, o:]
            if noise is not None:
                states[k] = states[k] + noise[:, t, first : first + s]
            first += s
            layers.append((z, pre))
        y = h @ tensor("weight", -1) + tensor("bias", -1)
        layers.append((h, y))
        outputs.append(y)
        after.append(np.concatenate(states, axis=1))
        kept.append(layers)
    return np.stack(outputs, axis=1), np.stack(after, axis=1), kept
