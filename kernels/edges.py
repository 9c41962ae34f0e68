"""Lists of the edges that pruned networks have left, as `sparse.cl` reads them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bonsai.network import Architecture
from bonsai.wiring import Wiring
from kernels.layout import record

HEAD, NODE = 17, 9  # numbers of a list before its nodes, and of a node
CONSTANTS = {"HEAD": HEAD, "NODE": NODE}  # of kernels with `sparse.cl`


@dataclass(frozen=True, eq=False)
class Pairs:
    """All edges of an architecture in some order, in groups.

    slot: (E,) of a record; weight: (E,) in the parameters; starts: (groups + 1,)
    """

    slot: np.ndarray
    weight: np.ndarray
    starts: np.ndarray

    @classmethod
    def grouped(
        cls, group: np.ndarray, groups: int, slot: np.ndarray, weight: np.ndarray
    ) -> "Pairs":
        """Of edges in the order of their groups."""
        return cls(slot, weight, np.searchsorted(group, np.arange(groups + 1)))

    def put(self, lists: np.ndarray, at: int, mask: np.ndarray) -> np.ndarray:
        """Write the edges of `mask` (R, P) into lists (R, size), from `at` on.

        Returns (R, groups + 1) where among a network's edges its groups begin.
        """
        left = mask[:, self.weight]
        before = np.zeros((len(left), len(self.weight) + 1), np.int32)
        np.cumsum(left, axis=1, out=before[:, 1:])
        rows, edges = np.nonzero(left)
        places = at + 2 * before[rows, edges]
        lists[rows, places] = self.slot[edges]
        lists[rows, places + 1] = self.weight[edges]
        return before[:, self.starts]


class EdgeLists:
    """The neurons and edges of networks of one architecture, for kernels that skip the others.

    training: what `sparse.cl` has to know of a training, from STEPS on

    A network's list is a row of `size` int32: what is the same for all; how many neurons it has
    left; NODE numbers for each of them, and then for each head, in the order in which they are
    computed; pairs for the edges, by the node that they lead to; and pairs for them by the neuron
    that they come from. A node's numbers are its slot in a record; its bias; where its edges
    begin, those of its second kind, and where they end; which state it is, or -1; where the edges
    from it begin and end; and its initial state. Edges of the second kind come from the record
    before, or to a head from every second neuron, for sums are added in the order of `dense.cl`. A
    pair is a slot, and where in the parameters the weight is.
    """

    def __init__(self, architecture: Architecture, training: Sequence[int] = ()) -> None:
        a = architecture
        self._wiring = Wiring(a)
        first = a.inputs + np.cumsum([0, *(o + s for o, s in a.cells)])  # slots of each cell
        states = np.cumsum([0, *(s for _, s in a.cells)])
        nodes: list[tuple[int, int, int, int]] = []  # slot, bias, state, initial
        edges: list[tuple[int, int, int, int]] = []  # layer, target and kind, source, weight
        for n, layer in enumerate(a.layers):
            o, s = a.cells[layer.cell]
            x = first[layer.reads] if layer.reads >= 0 else 0
            sources = [(0, x + i) for i in range(layer.weight.shape[0] - s)]
            sources += [(1, first[layer.cell] + o + i) for i in range(s)]
            weights = np.arange(a.size)[layer.weight.slice].reshape(layer.weight.shape)
            bias, initial = layer.bias.start, a.block("initial", layer.cell).offset
            for j, i in enumerate(range(layer.neurons.start, layer.neurons.stop)):
                for (kind, slot), weight in zip(sources, weights[:, j], strict=True):
                    edges.append((n, 2 * len(nodes) + kind, slot, weight))
                state = (states[layer.cell] + i - o, initial + i - o) if i >= o else (-1, 0)
                nodes.append((first[layer.cell] + i, bias + j, *state))
        self._neurons = len(nodes)
        head, bias = a.block("weight", -1), a.block("bias", -1).offset
        for o in range(a.outputs):
            for i in range(head.shape[0]):
                weight = head.offset + i * a.outputs + o
                source = first[len(a.cells) - 1] + i
                edges.append((len(a.layers), 2 * len(nodes) + i % 2, source, weight))
            nodes.append((record(a) + o, bias + o, -1, 0))
        self._nodes = np.array(nodes)
        layer, into, source, weight = np.array(edges).T
        order = np.argsort(into, kind="stable")
        self._into = Pairs.grouped(into[order], 2 * len(nodes), source[order], weight[order])
        # By the neurons that they come from, in the order in which gradients are added: those to
        # heads, to the last layer, to the layer before.
        slots = self._nodes[: self._neurons, 0]
        number = np.full(record(a), -1)
        number[slots] = np.arange(self._neurons)
        neuron, target = number[source], self._nodes[into // 2, 0]
        order = np.lexsort((into, -layer, neuron))
        order = order[neuron[order] >= 0]  # no input
        self._from = Pairs.grouped(neuron[order], self._neurons, target[order], weight[order])
        self._edges_at = HEAD + NODE * len(nodes)
        self._readers_at = self._edges_at + 2 * len(edges)
        self.size = self._readers_at + 2 * len(order)
        self._head = [self.size, record(a), a.inputs, a.outputs, a.size, max(states[-1], 1)]
        self._head += [self._edges_at, self._readers_at, *training]

    def left(self, parameters: np.ndarray) -> np.ndarray:
        """(R, P) bool: the weights and biases that are not 0 and that a head depends on, and all
        initial states.
        """
        return self._wiring.live((parameters != 0) | ~self._wiring.counted)

    def share(self, mask: np.ndarray) -> float:
        """How many of all weights networks have of which `mask` (R, P) has those left."""
        return float(mask[:, self._into.weight].mean()) if len(mask) else 0.0

    def of(self, mask: np.ndarray) -> np.ndarray:
        """(R, size) int32: the lists of networks that have the weights of `mask` (R, P) alone, on
        each of which a head depends.
        """
        lists = np.zeros((len(mask), self.size), np.int32)
        lists[:, : len(self._head)] = self._head
        begin = self._into.put(lists, self._edges_at, mask)
        read = self._from.put(lists, self._readers_at, mask)
        read = np.pad(read, ((0, 0), (0, len(self._nodes) - self._neurons)), mode="edge")
        nodes = np.empty((len(mask), len(self._nodes), NODE), np.int32)
        nodes[..., [0, 1, 5, 8]] = self._nodes
        nodes[..., 2], nodes[..., 3] = begin[:, :-1:2], begin[:, 1::2]
        nodes[..., 4], nodes[..., 6], nodes[..., 7] = begin[:, 2::2], read[:, :-1], read[:, 1:]
        left = read[:, 1:] > read[:, :-1]
        lists[:, HEAD - 1] = left.sum(axis=1)
        left[:, self._neurons :] = True  # the heads
        rows, which = np.nonzero(left)
        at = HEAD + NODE * (np.cumsum(left, axis=1)[rows, which] - 1)
        lists[rows[:, None], at[:, None] + np.arange(NODE)] = nodes[rows, which]
        return lists
