"""Evaluation of many candidate networks on many sequences, `kernels/evaluate.cl`."""

import numpy as np
from tinygrad import Tensor

from bonsai.network import Architecture
from kernels.device import open_device
from kernels.fused import as_float, cell_constants, interleaved
from kernels.program import launch, source

BATCH = 1024  # candidates a launch


class Evaluator:
    """Holds sequences on the device and counts how many of them candidates get right.

    inputs: (N, T, I) of -1/+1; targets: (N, T, O) of -1/+1, 0 where not checked; N a multiple of 8
    early: stop a candidate at its first wrong sequence, and count those before it
    """

    def __init__(
        self,
        architecture: Architecture,
        leak: float,
        inputs: np.ndarray,
        targets: np.ndarray,
        early: bool,
    ) -> None:
        device = open_device()
        self.architecture = architecture
        self.sequences = len(inputs)
        constants = cell_constants(architecture) | {
            "LANES": device.lanes,
            "ITEMS": BATCH,
            "STEPS": inputs.shape[1],
            "EARLY": int(early),
            "LEAK": as_float(leak),
        }
        self._lanes = device.lanes
        self._work = (-(-BATCH // device.group), device.group)
        self._text = source(constants, "ameo.cl", "cell.cl", "evaluate.cl")
        record = sum(o + s for o, s in architecture.cells)
        self._scratch = Tensor.zeros(BATCH * 2 * record * device.lanes).contiguous().realize()
        self._inputs = Tensor(interleaved(inputs, device.lanes)).realize()
        self._targets = Tensor(interleaved(targets, device.lanes)).realize()

    def right(
        self, parameters: np.ndarray, factor: float, sequences: int | None = None
    ) -> np.ndarray:
        """(C, P) to (C,) int32: sequences right, out of the first `sequences` (all by default).

        factor: of the activation
        """
        groups = (sequences or self.sequences) // self._lanes
        counts = []
        for first in range(0, len(parameters), BATCH):
            some = parameters[first : first + BATCH]
            padded = np.zeros((BATCH, self.architecture.size), np.float32)
            padded[: len(some)] = some
            right, *_ = launch(
                self._text,
                "evaluate",
                2,
                *self._work,
                Tensor(np.zeros(BATCH, np.int32)).realize(),
                self._scratch,
                Tensor(padded).realize(),
                self._inputs,
                self._targets,
                Tensor(np.array([len(some), groups], np.int32)).realize(),
                Tensor(np.array([factor], np.float32)).realize(),
            )
            counts.append(right.numpy()[: len(some)])
        return np.concatenate(counts) if counts else np.zeros(0, np.int32)
