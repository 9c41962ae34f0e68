"""Local search over the numbers of a proven graph, with the prover as judge.

A round makes many variants of the graph at once, each with one to three of its numbers changed:
set to zero, rounded, moved by a step of some grid, negated, or exchanged for another. Those that
are larger are left out, the others have to get sequences right on the device, and the best that
the prover then proves takes the graph's place. What comes to the same size may take it as well,
so that the search drifts; the best graph met on the way is the result.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bonsai.certificate import Certificate
from bonsai.graph import Graph
from bonsai.machine import Machine
from bonsai.prune import eliminate_dead_code
from kernels.evaluate import VariantEvaluator

STEPS = 2.0 ** -np.arange(0, 7)  # of the grids that numbers are moved and rounded on
FINEST = 12  # a number that is no multiple of 2^-12 counts as rough as one that is
PROOFS = 4  # variants a round that are given to the prover, at most

Prove = Callable[[Graph, Machine], Any]


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
    patience: rounds without a better graph, after which it ends
    """
    rng = np.random.default_rng(seed)
    nodes = len(graph.nodes)
    best, since = (graph, certificate), 0
    numbers = Numbers(graph)
    evaluator = VariantEvaluator(graph, variants, nodes, inputs, targets)
    for _ in range(rounds):
        since += 1
        if since > patience:
            break
        current = numbers.vector()
        changed = np.array([_varied(current, numbers.sizes, rng) for _ in range(variants)])
        right = evaluator.right(*np.split(changed, np.cumsum(numbers.sizes)[:2], axis=1))
        e, b, _ = numbers.sizes
        size = np.count_nonzero(changed[:, : e + b], axis=1)
        fits = (right == len(inputs)) & (size <= np.count_nonzero(current[: e + b]))
        fits &= (changed != current).any(axis=1)
        rough = roughness(changed)
        order = np.lexsort((rng.random(variants), rough * rng.choice([0, 1]), size))
        for row in [int(i) for i in order if fits[i]][:PROOFS]:
            candidate = numbers.with_vector(changed[row])
            if candidate.size > numbers.graph.size:  # folding made biases of constants
                continue
            verdict = prove(candidate, machine)
            if isinstance(verdict, Certificate):
                if rank(candidate, verdict) < rank(*best):
                    best, since = (candidate, verdict), 0
                if not evaluator.fits(candidate):
                    evaluator = VariantEvaluator(candidate, variants, nodes, inputs, targets)
                numbers = Numbers(candidate)
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


def _varied(vector: np.ndarray, sizes: tuple[int, int, int], rng: np.random.Generator):
    """One to three numbers changed; those that are zero are only ever exchanged for others."""
    varied = vector.copy()
    counted = sizes[0] + sizes[1]
    for _ in range(rng.integers(1, 4)):
        i = int(rng.choice(np.flatnonzero(varied))) if varied.any() else 0
        step = np.float32(rng.choice(STEPS))
        match rng.integers(0, 6):
            case 0:
                varied[i] = 0
            case 1:
                varied[i] = np.rint(varied[i] / step) * step
            case 2 | 3:
                varied[i] += rng.choice([-1, 1]) * step
            case 4:
                varied[i] = -varied[i]
            case 5:  # another takes its place
                other = int(rng.integers(0, len(varied)))
                if other < counted and i < counted:
                    varied[i] = 0
                varied[other] = rng.choice([-1, 1]) * step
    return varied
