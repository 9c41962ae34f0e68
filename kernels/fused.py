"""Training steps of R restarts at once as hand-written kernels, `kernels/step.cl`.

`gradient` is the whole pass forward and backward through time, `update` the regulariser and Adam.
Data, parameters and schedules stay on the device; a step is two launches that tinygrad's `TinyJit`
has recorded. On a CPU, where a launch takes as long as the update, `gradient_and_update` takes
several steps at once, and pruned networks follow lists of the edges that they have left, which
takes the time of these and gives the same bits.

Scratch memory is ITEMS (2 ((T+1) H + T (H+Y)) + P) vectors of 4 LANES bytes, with H = I + sum(O+S)
over the cells and ITEMS = restarts x chunks: 2.2 MB for 32 restarts of (12, 6), T = 24, on a CPU.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from tinygrad import Tensor

from bonsai.hints import Hints
from bonsai.network import Architecture
from bonsai.recipe import BETA1, BETA2, EPSILON, UNIT, Recipe
from kernels.device import open_device
from kernels.edges import CONSTANTS, EdgeLists
from kernels.layout import as_float, cell_constants, expect_fit, interleaved, record
from kernels.program import Replay, contents, launch, on_device, overwrite, source

STATE = ("parameters", "mean", "square", "step", "history")
WRITTEN = (*STATE, "partial", "scratch", "shared")  # by kernels, in the order of their arguments
SEQUENCES = ("inputs", "targets", "features", "code", "numbers", "lists")
SEVERAL = 25  # steps a launch, on a CPU
SHARED = 16  # words that the workers of a restart share, and all workers: a line of the cache
DENSE = ("ameo.cl", "cell.cl", "dense.cl", "dense_backward.cl", "step.cl")
SPARSE = ("ameo.cl", "cell.cl", "sparse.cl", "sparse_backward.cl", "step.cl")
PARTS = 16  # that minibatches of few restarts are cut into, as cores may be so many
CACHE = 12 << 10  # bytes of records and deltas whose gradients are summed while they are in it


class FusedTraining:
    """Training in progress. `state` and `resume` are exact: a resumed run ends in the same bytes.

    inputs: (N, T, I) of -1/+1, N a multiple of 16; targets: (N, T, O), 0 where not trained
    parameters: (R, P) to start from
    hints: of the same N sequences and R restarts
    """

    def __init__(
        self,
        recipe: Recipe,
        inputs: np.ndarray,
        targets: np.ndarray,
        parameters: np.ndarray,
        hints: Hints | None = None,
    ) -> None:
        a, r = recipe.architecture, recipe.restarts
        expect_fit(inputs.shape, targets.shape, (a.inputs, a.outputs))
        device = open_device()
        self.recipe = recipe
        self._lanes, self._told = device.lanes, hints is not None
        self._is_cpu = device.is_cpu
        groups = recipe.batch // device.lanes
        pair = 2 if groups % 2 == 0 and device.is_cpu else 1
        # By shape alone, not by the number of cores, so that every CPU sums in the same order. A
        # chunk costs as much as a few sequences to sum up its gradient.
        few = min(PARTS // r, max(2, groups // pair // 2), groups // pair)
        chunks = max(1, few) if device.is_cpu else groups
        told = np.zeros((0, recipe.length, 0)) if hints is None else hints.features
        code = np.full((r, 1), -1) if hints is None else hints.code
        rows = 1 if device.is_cpu else min(device.rows, a.size)
        steps = recipe.batch * recipe.length
        own: dict[str, int] = {  # in the order of `sparse.cl`
            "STEPS": recipe.length,
            "FEATURES": told.shape[2],
            "RESTARTS": r,
            "CHUNKS": chunks,
            "GROUPS": groups,
            "BLOCK": block(a, recipe.length, pair * device.lanes),
        }
        shares = {
            "SCALE": 1 / (steps * a.outputs),
            "PULL": 1 / (steps * max(1, sum(s for _, s in a.cells))),
        }
        general: dict[str, object] = {
            "PAIR": pair,
            "LANES": device.lanes,
            "UNIT": UNIT // device.lanes,
            "LEAK": as_float(recipe.leak),
            "THRESHOLD": as_float(recipe.regularizer.threshold),
            "STEEPNESS": as_float(recipe.regularizer.steepness),
            "FLOOR": as_float(recipe.regularizer.floor),
            "L1": as_float(recipe.regularizer.l1),
            "SCHEDULE": recipe.table.shape[1],
            "ROWS": rows,
            "SHARED": SHARED,
            "BETA1": as_float(BETA1),
            "BETA2": as_float(BETA2),
            "EPSILON": as_float(EPSILON),
        }
        self._general = general
        self._texts = texts(
            general
            | {"LIST": 0, "ITEMS": r * chunks}
            | cell_constants(a)
            | own
            | {name: as_float(value) for name, value in shares.items()},
            DENSE,
        )
        bits = np.array([*shares.values()], np.float32).view(np.int32)
        self._about = [*own.values(), *bits.tolist()]
        self._work = (-(-r * chunks // device.group), device.group)
        self._rows = (r, rows)

        times = (recipe.length + 1) * record(a) + recipe.length * (record(a) + a.outputs)
        slots = pair * times + a.size
        arrays = {
            "parameters": parameters.astype(np.float32),
            "mean": np.zeros((r, a.size), np.float32),
            "square": np.zeros((r, a.size), np.float32),
            "step": np.zeros(r, np.int32),
            "history": np.zeros((recipe.steps, r, 2), np.float32),
            "partial": np.zeros(r * chunks * (a.size + 1), np.float32),
            "scratch": np.zeros(r * chunks * slots * device.lanes, np.float32),
            "shared": np.zeros((r + 1) * SHARED, np.int32),
            "inputs": interleaved(inputs, device.lanes),
            "targets": interleaved(targets, device.lanes),
            "features": interleaved(told, device.lanes),
            "code": code.astype(np.int32).reshape(-1),
            "numbers": np.array([recipe.seed, recipe.noise_seed, len(inputs) // UNIT], np.uint32),
            "lists": np.zeros(1, np.int32),
            "share": recipe.regularizer.share(a),
            "mask": np.ones((r, a.size), np.float32),
            "table": recipe.table,
            "steps": np.ones(1, np.int32),
        }
        self._on = {name: on_device(values) for name, values in arrays.items()}
        self._taken = 1  # steps that a launch takes now
        self._ahead = recipe.steps  # that the recipe has still
        self._replay = Replay(self._launch)
        self._edges: EdgeLists | None = None

    def resume(self, state: dict[str, np.ndarray]) -> None:
        """Go on from what `state` returned; what is left out stays as it is."""
        for name in STATE:
            if name in state:
                overwrite(self._on[name], state[name])
        if "step" in state:
            self._ahead = self.recipe.steps - int(state["step"].max())

    def restrict(self, mask: np.ndarray) -> None:
        """From now on parameters (R, P) that `mask` has False for stay as they are."""
        overwrite(self._on["mask"], mask.astype(np.float32))

    def prune(self, mask: np.ndarray) -> None:
        """From now on weights and biases that `mask` (R, P) has False for are 0, and stay so.

        Heads have to depend on all that it has True for. On a CPU what it leaves out is not
        computed any more, and the rest comes out with the same bits.
        """
        self.restrict(mask)
        if not self._is_cpu:
            return
        if self._edges is None:
            self._edges = EdgeLists(self.recipe.architecture, self._about)
            self._texts = texts(self._general | CONSTANTS, SPARSE)
            lists = np.zeros((len(mask), self._edges.size), np.int32)
            self._on["lists"] = on_device(lists)
            self._replay = Replay(self._launch)
        overwrite(self._on["lists"], self._edges.of(mask))
        overwrite(self._on["partial"], np.zeros(self._on["partial"].shape, np.float32))

    def retell(self, code: np.ndarray) -> None:
        """From now on state neurons (R, S) are taught these features; -1 for none."""
        assert self._told, "it was made without hints"
        overwrite(self._on["code"], code.astype(np.int32).reshape(-1))

    def replace(
        self, inputs: np.ndarray, targets: np.ndarray, features: np.ndarray | None
    ) -> None:
        """From now on learn other sequences, as many and as long, with their hints' features."""
        overwrite(self._on["inputs"], interleaved(inputs, self._lanes))
        overwrite(self._on["targets"], interleaved(targets, self._lanes))
        if features is not None and self._told:
            overwrite(self._on["features"], interleaved(features, self._lanes))

    def state(self, *names: str) -> dict[str, np.ndarray]:
        """step (R,); parameters, mean, square (R, P); history (steps, R, 2): loss, penalty.

        names: those of them that are wanted; all if none is named
        """
        return {name: contents(self._on[name]) for name in STATE if name in (names or STATE)}

    def advance(self, steps: int) -> None:
        """Take this many training steps, with all restarts."""
        self._ahead -= steps
        assert self._ahead >= 0, f"{-self._ahead} steps more than the recipe has"
        most = SEVERAL if self._is_cpu else 1
        while steps:
            taken = min(steps, most)
            if taken != self._taken:
                overwrite(self._on["steps"], np.array([taken], np.int32))
                self._taken = taken
            self._replay()
            steps -= taken

    def gradient(self) -> tuple[np.ndarray, np.ndarray]:
        """Loss (R,) and its gradient (R, P), without the regulariser, on this step's minibatch."""
        a, r = self.recipe.architecture, self.recipe.restarts
        partial = self._gradient()["partial"].numpy()
        if self._lanes == 1:  # neighbouring work-items have neighbouring words
            partial = np.moveaxis(partial.reshape(a.size + 1, r, -1), 0, 2)
        sums = partial.reshape(r, -1, a.size + 1).sum(axis=1)
        return sums[:, -1], sums[:, :-1]

    def _gradient(self) -> dict[str, Tensor]:
        read = "parameters", *SEQUENCES, "step", "table"
        return self._after("gradient", self._work, ("partial", "scratch"), read)

    def _launch(self) -> None:
        rest = "share", "mask", "table"
        if self._is_cpu:
            read = (*SEQUENCES, *rest, "steps")
            self._on |= self._after("gradient_and_update", self._work, WRITTEN, read)
        else:
            self._on |= self._gradient()
            self._on |= self._after("update", self._rows, STATE, ("partial", "lists", *rest))
        # All of them: what is left lazy would run its kernels again in the next call.
        Tensor.realize(*(self._on[name] for name in WRITTEN))

    def _after(
        self, kernel: str, work: tuple[int, int], written: Sequence[str], read: Sequence[str]
    ) -> dict[str, Tensor]:
        """What a kernel writes, as it is after it; its arguments are `written`, then `read`."""
        given = [self._on[name] for name in (*written, *read)]
        after = launch(self._texts[kernel], kernel, len(written), *work, *given)
        return dict(zip(written, after[: len(written)], strict=True))


def texts(constants: Mapping[str, object], files: Sequence[str]) -> dict[str, str]:
    """The source of each kernel: apart, for none is compiled that is not launched."""
    return {
        kernel: source({**constants, "JOINED": joined}, *files)
        for kernel, joined in (("gradient", 0), ("update", 0), ("gradient_and_update", 1))
    }


def block(a: Architecture, length: int, lanes: int) -> int:
    """How many steps of time are summed at once: what the cache holds, 8 at least."""
    step = 4 * lanes * (2 * record(a) + a.outputs)
    return min(length, max(8, CACHE // step))
