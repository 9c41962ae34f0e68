"""Which parameters of a network join which neurons, and which of them an output depends on."""

import numpy as np

from bonsai.network import Architecture


class Wiring:
    """Which neurons every parameter of an architecture joins.

    counted: (P,) bool, the weights and biases; neurons: for each the parameters (indices) of its
    sum and of all sums that read it or its state
    sides: of weights and biases, those of one sum, and those that one value is multiplied with
    """

    def __init__(self, architecture: Architecture) -> None:
        a = architecture
        self.counted = a.mask("weight") | a.mask("bias")
        source, target = np.full(a.size, -1), np.full(a.size, -1)  # numbers of neurons; -1: none
        first = np.cumsum([0, *(o + s for o, s in a.cells)])  # neuron of each cell
        outputs = [first[k] + np.arange(o) for k, (o, _) in enumerate(a.cells)]
        for layer in a.layers:
            own = np.arange(first[layer.cell], first[layer.cell + 1])
            x = outputs[layer.reads] if layer.reads >= 0 else np.full(a.inputs, -1)
            read = np.concatenate([x, own[a.cells[layer.cell][0] :]])  # [x, s]
            source[layer.weight.slice] = np.repeat(read, layer.weight.shape[1])
            target[layer.weight.slice] = np.tile(own[layer.neurons], len(read))
            target[layer.bias] = own[layer.neurons]
        source[a.block("weight", -1).slice] = np.repeat(outputs[-1], a.outputs)
        count = int(first[-1])
        self._target = np.where(target < 0, count, target)  # the heads are one more, always used
        self._reads = (source[:, None] == np.arange(count)).astype(np.float32)  # (P, neurons)
        weights = [np.flatnonzero(a.mask("weight") & (target == i)) for i in range(count)]
        self._sums = [  # the weights that each state is the sum of
            weights[first[k] + o + i] for k, (o, s) in enumerate(a.cells) for i in range(s)
        ]
        matrices = [
            np.arange(a.size)[b.slice].reshape(b.shape) for b in a.blocks if b.kind == "weight"
        ]
        self.sides = [side for matrix in matrices for side in (*matrix, *matrix.T)]
        self.sides += [np.array([n]) for n in np.flatnonzero(a.mask("bias"))]
        self.neurons = [
            np.flatnonzero(self.counted & ((source == i) | (target == i))) for i in range(count)
        ]

    def live(self, mask: np.ndarray) -> np.ndarray:
        """(R, P) bool: the part of `mask` that an output depends on."""
        used = np.zeros((len(mask), len(self.neurons) + 1), bool)
        used[:, -1] = True
        while True:
            read = (mask & self.counted & used[:, self._target]).astype(np.float32) @ self._reads
            grown = used.copy()
            grown[:, :-1] |= read > 0
            if (grown == used).all():
                return mask & (used[:, self._target] | ~self.counted)
            used = grown

    def taught(self, code: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """(R, S) int32: the code without the states of which no weight is left."""
        left = [mask[:, own].any(axis=1) for own in self._sums]
        return np.where(np.column_stack(left), code, -1) if left else code

    def size(self, mask: np.ndarray) -> np.ndarray:
        """(R,) int32: weights and biases in it that an output depends on."""
        return (self.live(mask) & self.counted).sum(axis=1).astype(np.int32)
