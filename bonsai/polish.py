"""Local search over the numbers of a proven graph, with the prover as judge.

Walkers start from the graph and walk apart. A round makes some variants of where each of them is
(`kernels/vary.cl`), with one to three numbers changed: set to zero, rounded, moved by a step of
some grid, negated, or exchanged for another. Edges that a small graph does not have are numbers
too, which are zero, so that others may take their place. A walker goes to one of its variants that
get all sequences right on the device and are not too large: as large as the best graph for one
walker, larger by one to three for others, which so come around what the first is caught in. What
is right and better than the best graph is given to the prover, and if proven takes its place.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bonsai.certificate import Certificate, Undecided
from bonsai.graph import Edge, Graph
from bonsai.machine import Machine
from bonsai.prune import eliminate_dead_code
from kernels.evaluate import Sequences, filled
from kernels.variants import Variants

FINEST = 12  # a number that is no multiple of 2^-12 counts as rough as one that is
PROOFS = 4  # variants a round that are given to the prover, at most
SLACK = 4  # walkers in turn are allowed graphs larger than the best by 0 to one less than this
LOST = 40  # rounds without a variant that it may go to, after which a walker is back at the best
SIMPLE, QUICK = 8, 12  # weights and biases between which all patience is taken
PATIENT = 30  # rounds of patience that are taken at least
UNDECIDED = 5  # rounds that a graph counts as which the prover cannot decide: it takes as long
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

    @cached_property
    def _wired(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The edges' targets (E,), their sources (E, nodes), and which neurons feed states (nodes,
        nodes), the last two of 0 and 1.
        """
        nodes, edges = len(self.graph.nodes), self.graph.edges
        reads = np.zeros((len(edges), nodes), np.float32)
        fed = np.zeros((nodes, nodes), np.float32)
        for i, edge in enumerate(edges):
            reads[i, edge.source] = 1
        for neuron, state in self.graph.feedback:
            fed[state, neuron] = 1
        return np.array([e.target for e in edges], int), reads, fed

    @cached_property
    def biased(self) -> list[int]:
        return self.graph.where("output", "recurrent", "head")

    @cached_property
    def states(self) -> list[int]:
        return self.graph.where("state")

    @cached_property
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

    def without_dead(self, vectors: np.ndarray) -> np.ndarray:
        """The numbers (N, V) with 0 for those of nodes that no head depends on."""
        edges, biased, _ = self.sizes
        target, reads, fed = self._wired
        there = vectors[:, :edges] != 0
        alive = np.zeros((len(vectors), len(self.graph.nodes)), bool)
        alive[:, self.graph.where("head")] = True
        before = 0
        while (count := int(np.count_nonzero(alive))) != before:
            before = count
            alive |= (there & alive[:, target]).astype(np.float32) @ reads > 0
            alive |= alive.astype(np.float32) @ fed > 0
        kept = np.ones(vectors.shape, bool)
        kept[:, :edges] = alive[:, target]
        kept[:, edges : edges + biased] = alive[:, self.biased]
        return np.where(kept, vectors, np.float32(0))

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
    walkers: int,
    variants: int,
    patience: int,
    seed: int,
) -> tuple[Graph, Certificate]:
    """The best graph found, and its certificate; no larger than `graph`.

    inputs: (N, T, I) of -1/+1, N a multiple of 16; targets: (N, T, O), 0 where not checked
    rounds: of the search, at most; variants: that each walker makes in one
    patience: rounds without a smaller graph, after which it ends; in proportion fewer for a graph
    of less than 8 weights and biases, or of more than 12
    """
    patience = patient(graph, patience)
    rng = np.random.default_rng(seed)
    numbers = Numbers(connected(graph))
    counted = sum(numbers.sizes[:2])
    inputs, targets = distinct(inputs, targets)
    around = Variants(numbers.graph, walkers, variants, Sequences(inputs, targets), seed)
    best, home, since = (graph, certificate), numbers.vector(), 0
    least = rank(*best)
    here, lost = np.tile(home, (walkers, 1)), np.zeros(walkers, int)
    refused: set[bytes] = set()
    for n in range(rounds):
        since += 1
        if since > patience:
            break
        right, drawn = around.tried(here, n)
        exact = np.flatnonzero(right == len(inputs))
        walker = exact // variants  # whose variant each one that is exact is
        changed = numbers.without_dead(drawn[exact])
        size, rough = np.count_nonzero(changed[:, :counted], axis=1), roughness(changed)
        fits = (changed != here[walker]).any(axis=1)
        smallest, _, roundest, _ = least
        better = np.flatnonzero(
            fits & ((size < smallest) | ((size == smallest) & (rough < roundest)))
        )
        for row in better[np.lexsort((rough[better], size[better]))][:PROOFS].tolist():
            if changed[row].tobytes() in refused:
                fits[row] = False
                continue
            candidate = numbers.with_vector(changed[row])
            verdict = prove(candidate, machine)
            if isinstance(verdict, Certificate):
                ours = rank(candidate, verdict)
                if ours < least:  # folding may have made biases
                    best, home = (candidate, verdict), changed[row].copy()
                    since = since if ours[:2] == least[:2] else 0
                    least = ours
                break
            refused.add(changed[row].tobytes())
            fits[row] = False
            since += UNDECIDED * isinstance(verdict, Undecided)
        above = np.where(fits, size - best[0].size, -1)
        moving, to = moves(walker, above, rough, walkers, rng)
        here[moving] = changed[to]
        lost += 1
        lost[moving] = 0
        here[lost > LOST], lost[lost > LOST] = home, 0
    return best


def distinct(inputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each of the sequences once, but for some of the first, so that their number is a multiple of
    16. Without inputs all are the same.
    """
    whole = np.concatenate([inputs, targets], axis=2)
    _, first = np.unique(whole.reshape(len(whole), -1), axis=0, return_index=True)
    rows = filled(np.sort(first))
    return inputs[rows], targets[rows]


def patient(graph: Graph, patience: int) -> int:
    """Rounds without a smaller graph after which a search from this one ends."""
    share = min(1, graph.size / SIMPLE, QUICK / max(1, graph.size))
    return max(PATIENT, int(patience * share))


def moves(
    walker: np.ndarray,
    above: np.ndarray,
    rough: np.ndarray,
    walkers: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Which walkers go, and to which variant each of them.

    walker: (N,) whose variant each one is
    above: by how much it is larger than the best graph; negative if nobody may go to it
    Walker w may go to what is larger by w modulo SLACK at most. Without that freedom it takes the
    smallest; half of all, at random, take the roundest of what is left, and the others any.
    """
    slack = walker % SLACK
    allowed = np.flatnonzero((above >= 0) & (above <= slack))
    rounder = rng.integers(0, 2, walkers)[walker]
    keys = rng.random(len(walker)), rough * rounder, above * (slack == 0)
    order = allowed[np.lexsort([key[allowed] for key in keys])]
    moving, first = np.unique(walker[order], return_index=True)
    return moving, order[first]


def rank(graph: Graph, certificate: Certificate) -> tuple[float, ...]:
    """Of two proven graphs the lesser is better: smaller, rounder, and surer."""
    rough = float(roughness(Numbers(graph).vector()[None])[0])
    return graph.size, graph.neurons, rough, -certificate.margin


def shape(graph: Graph) -> tuple:
    """What two graphs have in common that differ in their numbers alone."""
    edges = sorted((e.source, e.target) for e in graph.edges)
    return tuple(n.kind for n in graph.nodes), tuple(graph.feedback), tuple(edges)


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
    scaled = np.abs(vectors) * np.float32(2.0**FINEST)
    whole = np.minimum(scaled, 2.0**62).astype(np.int64)
    after_point = FINEST - np.log2(np.maximum(whole & -whole, 1))  # of a whole multiple of 2^-12
    bits = np.where(whole == scaled, np.maximum(after_point, 0), FINEST)
    return np.where(vectors == 0, 0, bits).sum(axis=1)
