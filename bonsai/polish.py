"""Local search over the numbers of a proven graph, with the prover as judge.

A round makes many variants of the graph at once, each with one to three of its numbers changed:
set to zero, rounded, moved by a step of some grid, negated, or exchanged for another. Edges that
a small graph does not have are numbers too, which are zero, so that others may take their place.
Those that are larger are left out, the others have to get sequences right on the device, and the
best that the prover then proves takes the graph's place. What comes to the same size may take it
as well, so that the search drifts, and where it is stuck, in half of the rounds what is larger by
one or two; the best graph met on the way is the result.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bonsai.certificate import Certificate
from bonsai.graph import Edge, Graph
from bonsai.machine import Machine
from bonsai.prune import eliminate_dead_code
from kernels.evaluate import VariantEvaluator

STEPS = 2.0 ** -np.arange(0, 7)  # of the grids that numbers are moved and rounded on
FINEST = 12  # a number that is no multiple of 2^-12 counts as rough as one that is
PROOFS = 4  # variants a round that are given to the prover, at most
STUCK, DETOUR = 8, 2  # rounds without a better graph, after which larger ones are taken as well
QUICK, PATIENT = 12, 30  # size up to which all patience is taken, and what is taken at least
SMALL = 120  # edges that a graph with all that it could have has, at most

Prove = Callable[[Graph, Machine], Any]


def connected(graph: Graph) -> Graph:
    """The graph with all edges that it could have, those that it has not of weight 0; a graph that
    would have too many is as it was.
    """
    targets = graph.where("output", "recurrent", "head")
    sources = graph.where("input", "state", "output", "recurrent")
    missing = {(i, j) for j in targets for i in sources if i < j}
    missing -= {(e.source, e.target) for e in graph.edges}
    edges = [*graph.edges, *(Edge(i, j, 0.0) for i, j in missing)]
    if len(edges) > SMALL:
        return graph
    return replace(graph, edges=tuple(sorted(edges, key=lambda e: (e.target, e.source))))


@dataclass(frozen=True, eq=False)
class Numbers:
    """All numbers of a graph in one vector: weights of its edges, biases, and initial states.

    biased: nodes that may have a bias; states: the state nodes
    """

    graph: Graph

    @property
    def biased(self) -> list[int]:
        return self.graph.where("output", "recurrent", "head")

    @property
    def states(self) -> list[int]:
        return self.graph.where("state")

    @property
    def sizes(self) -> tuple[int, int, int]:
        return len(self.graph.edges), len(self.biased), len(self.states)

    def vector(self) -> np.ndarray:
        """(V,) float32"""
        nodes = self.graph.nodes
        return np.array(
            [e.weight for e in self.graph.edges]
            + [nodes[i].bias for i in self.biased]
            + [nodes[i].initial for i in self.states],
            np.float32,
        )

    def with_vector(self, vector: np.ndarray) -> Graph:
        """The graph with these numbers (V,), without edges of weight 0 and dead code."""
        weights, biases, initial = np.split(vector.tolist(), np.cumsum(self.sizes)[:2])
        nodes = list(self.graph.nodes)
        for i, bias in zip(self.biased, biases, strict=True):
            nodes[i] = replace(nodes[i], bias=float(bias))
        for i, value in zip(self.states, initial, strict=True):
            nodes[i] = replace(nodes[i], initial=float(value))
        edges = tuple(
            replace(e, weight=float(w))
            for e, w in zip(self.graph.edges, weights, strict=True)
            if w != 0
        )
        return eliminate_dead_code(replace(self.graph, nodes=tuple(nodes), edges=edges))


def polish(
    graph: Graph,
    certificate: Certificate,
    machine: Machine,
    prove: Prove,
    inputs: np.ndarray,
    targets: np.ndarray,
    rounds: int,
    variants: int,
    patience: int,
    seed: int,
) -> tuple[Graph, Certificate]:
    """The best graph found, and its certificate; no larger than `graph`.

    inputs: (N, T, I) of -1/+1, N a multiple of 16; targets: (N, T, O), 0 where not checked
    rounds: of the search, at most; variants: made in each
    patience: rounds without a smaller graph, after which it ends; fewer for a graph of more than
    twelve weights and biases, the variants of which take longer to prove
    """
    patience = max(PATIENT, min(patience, patience * QUICK // max(1, graph.size)))
    rng = np.random.default_rng(seed)
    nodes = len(graph.nodes)
    best, since = (graph, certificate), 0
    numbers = Numbers(connected(graph))
    evaluator = VariantEvaluator(numbers.graph, variants, nodes, inputs, targets)
    for _ in range(rounds):
        since += 1
        if since > patience:
            break
        current = numbers.vector()
        changed = _varied(current, variants, numbers.sizes, rng)
        right = evaluator.right(*np.split(changed, np.cumsum(numbers.sizes)[:2], axis=1))
        e, b, _ = numbers.sizes
        size = np.count_nonzero(changed[:, : e + b], axis=1)
        detour = int(rng.integers(1, DETOUR + 1)) if since > STUCK and rng.random() < 0.5 else 0
        most = best[0].size + detour
        fits = (right == len(inputs)) & (size <= most) & (changed != current).any(axis=1)
        rough = roughness(changed)
        by_size = size * (detour == 0)
        order = np.lexsort((rng.random(variants), rough * rng.choice([0, 1]), by_size))
        for row in [int(i) for i in order if fits[i]][:PROOFS]:
            candidate = numbers.with_vector(changed[row])
            if candidate.size > most:  # folding made biases
                continue
            verdict = prove(candidate, machine)
            if isinstance(verdict, Certificate):
                ours, theirs = rank(candidate, verdict), rank(*best)
                if ours < theirs:
                    best, since = (candidate, verdict), since if ours[:2] == theirs[:2] else 0
                numbers = Numbers(connected(candidate))
                if not evaluator.fits(numbers.graph):
                    evaluator = VariantEvaluator(numbers.graph, variants, nodes, inputs, targets)
                break
    return best


def rank(graph: Graph, certificate: Certificate) -> tuple[float, ...]:
    """Of two proven graphs the lesser is better: smaller, rounder, and surer."""
    rough = float(roughness(Numbers(graph).vector()[None])[0])
    return graph.size, graph.neurons, rough, -certificate.margin


def grid(graph: Graph) -> dict[str, float]:
    """The coarsest power of two that all weights are multiples of, and likewise biases and initial
    states; 0 where there is none above 2^-24.
    """
    parts = np.split(Numbers(graph).vector(), np.cumsum(Numbers(graph).sizes)[:2])
    found = {}
    for kind, values in zip(("weight", "bias", "initial"), parts, strict=True):
        steps = 2.0 ** np.arange(3, -25, -1)
        fits = [s for s in steps if (np.rint(values / s) * s == values).all()]
        found[kind] = float(fits[0]) if values.any() and fits else (0.0 if values.any() else 8.0)
    return found


def roughness(vectors: np.ndarray) -> np.ndarray:
    """(N,) for (N, V): the sum over all numbers of how many bits they have after the point."""
    scaled = np.abs(vectors)[:, :, None] * 2.0 ** np.arange(FINEST + 1)
    whole = scaled == np.rint(scaled)
    whole[:, :, -1] = True
    return whole.argmax(axis=2).sum(axis=1)


def _varied(
    vector: np.ndarray, count: int, sizes: tuple[int, int, int], rng: np.random.Generator
) -> np.ndarray:
    """(count, V): one to three numbers changed; zeros only ever take the place of others."""
    varied, every = np.tile(vector, (count, 1)), np.arange(count)
    counted = sizes[0] + sizes[1]
    changes = rng.integers(1, 4, count)
    for n in range(3):
        i = (rng.random(varied.shape, np.float32) * (varied != 0)).argmax(axis=1)
        step = rng.choice(STEPS, count).astype(np.float32)
        sign = rng.choice(np.array([-1, 1], np.float32), count)
        kind = rng.integers(0, 6, count)
        value = varied[every, i]
        moved = np.select(
            [kind == 0, kind == 1, kind <= 3, kind == 4],
            [np.zeros_like(value), np.rint(value / step) * step, value + sign * step, -value],
            value,
        )
        other = rng.integers(0, varied.shape[1], count)  # takes its place, in kind 5
        exchanged = kind == 5
        gone = exchanged & (other < counted) & (i < counted)
        on = changes > n
        varied[every[on], i[on]] = np.where(gone, np.float32(0), moved)[on]
        put = on & exchanged
        varied[every[put], other[put]] = (sign * step)[put]
    return varied
