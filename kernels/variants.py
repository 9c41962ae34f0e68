"""Variants of a graph, made (`vary.cl`) and tried (`graph.cl`) on the device."""

import numpy as np

from bonsai.graph import Graph
from kernels.device import open_device
from kernels.evaluate import GraphEvaluator, Sequences
from kernels.program import Replay, contents, launch, on_device, overwrite, source

VARIED = ("edge_at", "source", "bias", "weight", "initial")  # of a graph, as `vary.cl` has them


class Variants:
    """What lies around walkers, each of which has numbers of its own for one graph.

    They are its weights in the order of its edges, the biases of its neurons and heads, and the
    initial states of its states, both in the order of its nodes: V numbers in all.

    walkers, each: how many there are, and variants of each of them in a round
    """

    def __init__(self, graph: Graph, walkers: int, each: int, held: Sequences, seed: int) -> None:
        column = {(e.source, e.target): i for i, e in enumerate(graph.edges)}
        biased = graph.where("output", "recurrent", "head")
        computed = [*graph.where("output", "recurrent"), *graph.where("head")]
        edges, states, count = len(graph.edges), len(graph.initial), walkers * each
        counted = edges + len(biased)
        numbers = counted + states
        shape = [count, each, numbers, counted, len(computed), states, edges, seed]
        self._graphs = GraphEvaluator([graph] * count, held, early=True, hasty=True)
        whole = GraphEvaluator([graph], held, early=True).on
        weight_of = [column[s, node] for node in computed for s, _ in graph.incoming[node]]
        bias_of = [edges + biased.index(node) for node in computed]
        self._vectors = on_device(np.zeros((count, numbers), np.float32))
        self._walkers = on_device(np.zeros((walkers, numbers), np.float32))
        self._round = on_device(np.zeros(1, np.int32))
        self._about = [
            on_device(np.array(shape).astype(np.int32)),
            whole["edge_at"],
            whole["source"],
            *(on_device(np.array(places or [0], np.int32)) for places in (weight_of, bias_of)),
        ]
        group = open_device().group
        self._work = -(-count // group), group
        self._text = source({}, "vary.cl")
        self._replay = Replay(self._launch)

    def tried(self, walkers: np.ndarray, round: int) -> tuple[np.ndarray, np.ndarray]:
        """How many sequences variants of these (W, V) get right, and the variants, (C, V) float32.

        (C,) int32: N for what is right, less for what is not and for what came out unchanged. The
        variants of a walker follow one another. A round of the same number makes the same ones.
        """
        overwrite(self._walkers, walkers)
        overwrite(self._round, np.array([round], np.int32))
        self._replay()
        return self._graphs.counted(), contents(self._vectors)

    def _launch(self) -> None:
        on = self._graphs.on
        written = [self._vectors, *(on[name] for name in VARIED)]
        given = [*written, self._walkers, self._round, *self._about]
        self._vectors, *varied = launch(self._text, "vary", len(written), *self._work, *given)[
            : len(written)
        ]
        on |= zip(VARIED, varied, strict=True)
        self._graphs.launch(self._vectors, *varied)
