"""How networks and sequences are laid out for the kernels."""

import numpy as np

from bonsai.network import Architecture


def cell_constants(architecture: Architecture) -> dict[str, object]:
    """Sizes and offsets of a network, as constants of `step.cl` and `evaluate.cl`."""
    a = architecture
    x = c = 0
    h = width = a.inputs
    cells = []
    for k, (o, s) in enumerate(a.cells):
        offsets = (a.block(kind, k).offset for kind in ("weight", "bias", "initial"))
        cells.append((width, o, s, *offsets, x, h, c, int(k == 0)))
        x, h, c, width = h, h + o + s, c + s, o
    calls = [f"F({', '.join(map(str, cell))})" for cell in cells]
    return {
        "INPUTS": a.inputs,
        "OUTPUTS": a.outputs,
        "PARAMETERS": a.size,
        "RECORD": record(a),
        "HEAD_N": width,
        "HEAD_H": x,
        "HEAD_W": a.block("weight", -1).offset,
        "HEAD_B": a.block("bias", -1).offset,
        "CARRY": max(c, 1),
        "BACK": max(o for o, _ in a.cells),
        "CELLS(F)": " ".join(calls),
        "CELLS_REVERSED(F)": " ".join(reversed(calls)),
    }


def record(architecture: Architecture) -> int:
    """Slots of a record: the inputs and the values of all neurons at one time."""
    return architecture.inputs + sum(o + s for o, s in architecture.cells)


def interleaved(values: np.ndarray, lanes: int) -> np.ndarray:
    """(N, T, C) to (N / lanes, T, C, lanes) float32, flat, and never empty."""
    n, t, c = values.shape
    if values.size == 0:
        return np.zeros(lanes, np.float32)
    grouped = values.reshape(n // lanes, lanes, t, c).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(grouped, np.float32).reshape(-1)


def as_float(value: float) -> str:
    """A float32 as an OpenCL literal with all its bits."""
    return f"{np.float32(value)!r}f".replace("np.float32(", "").replace(")", "")
