"""How networks and sequences are laid out for the kernels."""

from collections.abc import Sequence

import numpy as np

from bonsai.network import Architecture


def cell_constants(architecture: Architecture) -> dict[str, object]:
    """Sizes and offsets of a network, as constants of `step.cl` and `evaluate.cl`."""
    a = architecture
    outputs, states = (np.array(sizes) for sizes in zip(*a.cells, strict=True))
    h = a.inputs + np.cumsum(outputs + states) - (outputs + states)  # of [o | s'] in the record
    c = np.cumsum(states) - states
    cells = [(s, a.block("initial", k).offset, h[k] + o, c[k]) for k, (o, s) in enumerate(a.cells)]
    layers, read = [], set[int]()
    for layer in a.layers:
        k = layer.cell
        o, s = a.cells[k]
        width = layer.weight.shape[0] - s
        x = h[layer.reads] if layer.reads >= 0 else 0
        first, end = layer.neurons.start, layer.neurons.stop
        made = max(0, min(end, o) - first)
        offsets = (layer.weight.offset, layer.bias.start, x, h[k] + o, h[k] + first, c[k])
        flags = layer.reads < 0, layer.reads not in read
        layers.append((width, s, made, end - first - made, *offsets, *map(int, flags)))
        read.add(layer.reads)
    return {
        "INPUTS": a.inputs,
        "OUTPUTS": a.outputs,
        "PARAMETERS": a.size,
        "RECORD": record(a),
        "HEAD_COMPLETE": int(len(a.cells) - 1 not in read),
        "HEAD_N": outputs[-1],
        "HEAD_H": h[-1],
        "HEAD_W": a.block("weight", -1).offset,
        "HEAD_B": a.block("bias", -1).offset,
        "CARRY": max(states.sum(), 1),
        "BACK": max(outputs),
        "CELLS(F)": " ".join(map(_call, cells)),
        "LAYERS(F)": " ".join(map(_call, layers)),
        "LAYERS_REVERSED(F)": " ".join(map(_call, reversed(layers))),
    }


def _call(arguments: tuple) -> str:
    return f"F({', '.join(map(str, arguments))})"


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


class ShapeError(ValueError):
    """Arrays that do not fit each other, which a kernel would read beyond the end of."""


def expect_fit(inputs: Sequence[int], targets: Sequence[int], of: tuple[int, int]) -> None:
    """Raise ShapeError unless shapes of inputs (N, T, I) and targets (N, T, O) fit (I, O)."""
    if (inputs[2], targets[2]) != of or inputs[:2] != targets[:2]:
        raise ShapeError(
            f"sequences {inputs} with targets {targets} for a network of {of[0]} inputs and "
            f"{of[1]} outputs: they are of different tasks; run `dvc repro` again"
        )


def as_float(value: float) -> str:
    """A float32 as an OpenCL literal with all its bits."""
    return f"{np.float32(value)!r}f".replace("np.float32(", "").replace(")", "")
