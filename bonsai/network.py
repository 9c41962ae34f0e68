"""`Network`: cells and a linear head, as one flat parameter vector a restart.

For cell k with input x (width n) and state s (width S), and output width O:

    o  = A([x, s] Wo + bo)         Wo: (n+S, O)
    s' = A([x, s] Wr + br)         Wr: (n+S, S)     s at time 0 is trainable
    the next cell's x is o;  the head is linear: y = o Wd + bd

Unlike Elman's cell, the output handed on and the new state are separate, each with its own bias.
Wo and Wr are kept side by side as one matrix W = [Wo | Wr] of (n+S, O+S), and bo, br likewise.

In a *stacked* cell the recurrent neurons read the cell's outputs, of the same step, in place of x:

    s' = A([o, s] Wr + br)         Wr: (O+S, S)

so that an update may be a function of two layers, as that of a register with two operands is.
Wo and Wr are then two matrices, one after the other. A cell without states is the same either way.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from bonsai.artifact import ArtifactError, load_arrays, save_arrays


@dataclass(frozen=True)
class Block:
    """One tensor in the flat vector: `parameters[..., offset : offset + size].reshape(shape)`."""

    kind: str  # weight | bias | initial
    cell: int  # -1 for the head
    offset: int
    shape: tuple[int, ...]  # of a weight (sources, neurons)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def slice(self) -> slice:
        return slice(self.offset, self.offset + self.size)


@dataclass(frozen=True)
class Layer:
    """Neurons of a cell that read the same: A([x, s] W + b), s being the states of their cell.

    reads: the cell whose outputs are x, -1 for the network's inputs
    neurons: which columns of the cell's [o | s'] they are
    weight: W (width of x + S, neurons)
    bias: b in the flat vector
    """

    cell: int
    reads: int
    neurons: slice
    weight: Block
    bias: slice


@dataclass(frozen=True)
class Architecture:
    """Sizes of a network: input bits, (outputs O, states S) of each cell, output bits.

    stacked: whether recurrent neurons read the outputs of their cell in place of its inputs

    >>> Architecture(1, ((4, 2),), 1).size
    31
    >>> Architecture(1, ((4, 2),), 1, stacked=True).size
    37
    """

    inputs: int
    cells: tuple[tuple[int, int], ...]
    outputs: int
    stacked: bool = False

    def __post_init__(self) -> None:
        if not self.cells or any(o < 1 or s < 0 for o, s in self.cells):
            raise ValueError(f"cells {self.cells}: each needs at least 1 output and 0 states")
        if self.inputs == 0 and self.cells[0][1] == 0:
            raise ValueError(f"cells {self.cells}: without inputs the first cell needs a state")

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Every tensor in order: W (stacked: Wo, Wr), b, s0 of each cell, the head's W and b."""
        found: list[Block] = []

        def add(kind: str, cell: int, *shape: int) -> None:
            offset = found[-1].offset + found[-1].size if found else 0
            found.append(Block(kind, cell, offset, shape))

        width = self.inputs
        for k, (o, s) in enumerate(self.cells):
            if self.stacked and s:
                add("weight", k, width + s, o)
                add("weight", k, o + s, s)
            else:
                add("weight", k, width + s, o + s)
            add("bias", k, o + s)
            add("initial", k, s)
            width = o
        add("weight", -1, width, self.outputs)
        add("bias", -1, self.outputs)
        return tuple(found)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """What is computed in a step up to the head, in order: one or (stacked) two a cell."""
        found = []
        for k in range(len(self.cells)):
            bias = self.block("bias", k).slice
            weights = [b for b in self.blocks if (b.kind, b.cell) == ("weight", k)]
            first = 0
            for reads, weight in zip((k - 1, k), weights, strict=False):
                end = first + weight.shape[1]
                span = slice(bias.start + first, bias.start + end)
                found.append(Layer(k, reads, slice(first, end), weight, span))
                first = end
        return tuple(found)

    def block(self, kind: str, cell: int) -> Block:
        """The one of this kind in this cell; a stacked cell has two weights, see `layers`."""
        found = [b for b in self.blocks if b.kind == kind and b.cell == cell]
        if len(found) != 1:
            raise ValueError(f"cell {cell} has {len(found)} blocks of kind {kind}, not one")
        return found[0]

    @cached_property
    def size(self) -> int:
        """P, the number of parameters of one restart."""
        return self.blocks[-1].offset + self.blocks[-1].size

    def mask(self, kind: str) -> np.ndarray:
        """(P,) bool: which parameters are of this kind."""
        where = np.zeros(self.size, bool)
        for b in self.blocks:
            if b.kind == kind:
                where[b.slice] = True
        return where

    def tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        """Kind and flat indices of each tensor of the cell's formula (Wo and Wr apart)."""
        for b in self.blocks:
            index = np.arange(b.offset, b.offset + b.size).reshape(b.shape)
            o, s = self.cells[b.cell]
            if b.cell >= 0 and b.kind != "initial" and b.shape[-1] == o + s:
                yield b.kind, index[..., :o]
                yield b.kind, index[..., o:]
            else:
                yield b.kind, index

    def initialize(self, rng: np.random.Generator, restarts: int) -> np.ndarray:
        """(R, P) float32: Glorot normal weights, zero biases, initial states of -1/2 or +1/2.

        Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward
        neural networks", 2010.
        """
        parameters = np.zeros((restarts, self.size), np.float32)
        for kind, index in self.tensors():
            if kind == "weight" and index.size:
                deviation = np.sqrt(2 / sum(index.shape))
                parameters[:, index] = rng.normal(0, deviation, (restarts, *index.shape))
            elif kind == "initial":
                parameters[:, index] = rng.choice([-0.5, 0.5], (restarts, *index.shape))
        return parameters


@dataclass(frozen=True, eq=False)
class Network:
    """R trained, pruned or quantised networks of one architecture.

    factor, leak: of the activation (see `bonsai.activation`)
    parameters: (R, P) float32, laid out as `architecture.blocks`
    restart: (R,) int32, the number of the restart that each row comes from
    candidate: (R,) int32, the number of the candidate of the stage sparsify that each row comes
    from; before that stage, that of the restart
    """

    architecture: Architecture
    factor: float
    leak: float
    parameters: np.ndarray
    restart: np.ndarray
    candidate: np.ndarray

    def __len__(self) -> int:
        return len(self.parameters)

    def rows(self, index: np.ndarray) -> "Network":
        """The networks at these row numbers (or under this mask)."""
        return self.with_parameters(self.parameters[index], index)

    def with_parameters(self, parameters: np.ndarray, index: np.ndarray) -> "Network":
        """Other parameters (N, P) for the networks at these row numbers (or under this mask)."""
        return replace(
            self,
            parameters=np.asarray(parameters, np.float32),
            restart=self.restart[index],
            candidate=self.candidate[index],
        )

    def tensor(self, kind: str, cell: int) -> np.ndarray:
        """(R, *shape) view of one block; cell -1 is the head."""
        return self.values(self.architecture.block(kind, cell))

    def values(self, block: Block) -> np.ndarray:
        """(R, *shape) view of one block."""
        return self.parameters[:, block.slice].reshape(len(self), *block.shape)

    def save(self, path: str | Path) -> None:
        a = self.architecture
        save_arrays(
            path,
            "network",
            {
                "sizes": np.array([a.inputs, a.outputs], np.int32),
                "cells": np.array(a.cells, np.int32),
                "stacked": np.array(a.stacked),
                "activation": np.array([self.factor, self.leak], np.float64),
                "parameters": self.parameters,
                "restart": self.restart,
                "candidate": self.candidate,
            },
        )

    @classmethod
    def load(cls, path: str | Path) -> "Network":
        names = ["sizes", "cells", "stacked", "activation", "parameters", "restart", "candidate"]
        found = load_arrays(path, "network", names)
        try:
            inputs, outputs = (int(n) for n in found["sizes"])
            cells = tuple((int(o), int(s)) for o, s in found["cells"])
            stacked = found["stacked"]
            if stacked.shape != () or stacked.dtype != np.bool_:
                raise ValueError("stacked is not a single truth value")
            architecture = Architecture(inputs, cells, outputs, bool(stacked))
            factor, leak = (float(v) for v in found["activation"])
            labels = found["restart"], found["candidate"]
            network = cls(architecture, factor, leak, found["parameters"], *labels)
            expected = (len(network.restart), architecture.size)
            if network.parameters.shape != expected or network.parameters.dtype != np.float32:
                raise ValueError(f"parameters are {network.parameters.shape}, not {expected}")
            if network.candidate.shape != network.restart.shape:
                raise ValueError(f"{len(network.candidate)} candidates, not {len(network)}")
        except (TypeError, ValueError) as e:
            raise ArtifactError(f"{path}: not a valid network: {e}") from e
        return network
