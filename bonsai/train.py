"""Training of R restarts until the stopping criterion holds, with exact resumption.

Every `check_every` steps all restarts are validated. A restart is *exact* when every step of every
validation sequence is right; its *live* size is the number of weights and biases above `live`.
Training goes on after the task is solved, because sparsity comes late. It stops

- after `patience` checks in a row in which neither the number of exact restarts grew nor the
  smallest live size among them fell, once at least one restart is exact and the activation's
  factor has reached its final value, or
- at `steps`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from bonsai.artifact import ArtifactError, discard_parts, load_arrays, save_arrays
from bonsai.hints import Codes
from bonsai.network import Network
from bonsai.recipe import Recipe
from kernels.evaluate import Evaluator

CHECKPOINT_SECONDS = 10


class Training(Protocol):
    """Training in progress: `kernels.fused.FusedTraining` or `kernels.plain.PlainTraining`."""

    def advance(self, steps: int) -> None: ...
    def state(self, *names: str) -> dict[str, np.ndarray]: ...
    def resume(self, state: dict[str, np.ndarray]) -> None: ...
    def restrict(self, mask: np.ndarray) -> None: ...
    def prune(self, mask: np.ndarray) -> None: ...
    def retell(self, code: np.ndarray) -> None: ...
    def replace(
        self, inputs: np.ndarray, targets: np.ndarray, features: np.ndarray | None
    ) -> None: ...


class Checkpoint:
    """A file that keeps the state of a computation for a run after a kill; it is no artifact.

    key: of all that the computation depends on; a file with another key is not read
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        self._saved = time.monotonic()

    def save(self, state: Callable[[], dict[str, np.ndarray]]) -> None:
        """Write what `state` returns, at most every ten seconds."""
        if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
            self.keep(state())
            self._saved = time.monotonic()

    def keep(self, arrays: dict[str, np.ndarray]) -> None:
        """Write the arrays now."""
        save_arrays(self.path, "checkpoint", arrays | {"key": np.array(self.key)})

    def load(self, names: list[str]) -> dict[str, np.ndarray] | None:
        """What was saved last, or None."""
        try:
            found = load_arrays(self.path, "checkpoint", [*names, "key"])
        except ArtifactError:
            return None
        return {name: found[name] for name in names} if str(found["key"]) == self.key else None

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)
        discard_parts(self.path)


@dataclass(frozen=True)
class Progress:
    """What a check found: step, loss (of the best restart), exact and finite restarts, live."""

    step: int
    loss: float
    exact: int
    finite: int
    live: int | None


@dataclass(frozen=True, eq=False)
class Trained:
    """network: the restarts whose loss stayed finite

    history: (steps taken, R, 2) float32, loss and penalty
    checks: (C,) int32, steps at which was validated
    accuracy: (C, R) float32, share of validation sequences right at every step
    live: (C, R) int32
    dropped: numbers of the restarts that did not stay finite
    codes: of the hints of the other restarts
    """

    network: Network
    history: np.ndarray
    checks: np.ndarray
    accuracy: np.ndarray
    live: np.ndarray
    dropped: tuple[int, ...]
    codes: Codes

    @property
    def exact(self) -> np.ndarray:
        """(R,) bool, at the last check"""
        return self.accuracy[-1] == 1


def train(
    recipe: Recipe,
    training: Training,
    evaluator: Evaluator,
    check_every: int,
    patience: int,
    live: float,
    codes: Codes | None = None,
    checkpoint: Checkpoint | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Trained:
    """Run `training` to its end. `evaluator` holds the validation sequences, not stopping early.

    codes: of the hints that `training` has, if it has any
    checkpoint: where the state is kept while it runs; what is there already is resumed, and the
    end is the same bytes as without the interruption
    """
    counted = recipe.architecture.mask("weight") | recipe.architecture.mask("bias")
    log = _Log([], [], [])
    waiting = recipe.settled_from
    if checkpoint is not None:
        log = _resume(training, checkpoint)
    while log.step < recipe.steps and not log.settled(patience, waiting):
        steps = min(check_every, recipe.steps - log.step)
        training.advance(steps)
        state = training.state()
        parameters = state["parameters"]
        factor = float(recipe.table[log.step + steps - 1, 4])
        log.checks.append(log.step + steps)
        log.accuracy.append(
            (evaluator.right(parameters, factor) / evaluator.sequences).astype(np.float32)
        )
        log.live.append((np.abs(parameters[:, counted]) > live).sum(axis=1).astype(np.int32))
        report(log.progress(state))
        if checkpoint is not None:
            checkpoint.save(lambda: training.state() | log.arrays())
    state = training.state()
    factor = float(recipe.table[log.step - 1, 4])
    parameters, history = state["parameters"], state["history"][: log.step]
    finite = np.isfinite(parameters).all(axis=1) & np.isfinite(history).all(axis=(0, 2))
    restart = np.arange(recipe.restarts, dtype=np.int32)
    a = log.arrays()
    return Trained(
        network=Network(
            recipe.architecture,
            factor,
            recipe.leak,
            parameters[finite],
            restart[finite],
            restart[finite],
        ),
        history=history[:, finite],
        checks=a["checks"],
        accuracy=a["accuracy"][:, finite],
        live=a["live"][:, finite],
        dropped=tuple(int(r) for r in restart[~finite]),
        codes=(codes or Codes.none(recipe.architecture, recipe.restarts)).rows(finite),
    )


@dataclass
class _Log:
    """What the checks so far found."""

    checks: list[int]
    accuracy: list[np.ndarray]
    live: list[np.ndarray]

    @property
    def step(self) -> int:
        return self.checks[-1] if self.checks else 0

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "checks": np.array(self.checks, np.int32),
            "accuracy": np.array(self.accuracy, np.float32),
            "live": np.array(self.live, np.int32),
        }

    def settled(self, patience: int, waiting: int) -> bool:
        """The stopping criterion of this module; checks before step `waiting` do not count."""
        best_exact, best_live, since = 0, np.inf, 0
        for step, accuracy, live in zip(self.checks, self.accuracy, self.live, strict=True):
            if step < waiting:
                continue
            exact = accuracy == 1
            smallest = live[exact].min() if exact.any() else np.inf
            if exact.sum() > best_exact or smallest < best_live:
                best_exact = max(best_exact, int(exact.sum()))
                best_live, since = min(best_live, smallest), 0
            else:
                since += 1
        return best_exact > 0 and since >= patience

    def progress(self, state: dict[str, np.ndarray]) -> Progress:
        exact = self.accuracy[-1] == 1
        loss = state["history"][self.step - 1, :, 0]
        finite = np.isfinite(loss)
        return Progress(
            step=self.step,
            loss=float(loss[finite].min()) if finite.any() else float("nan"),
            exact=int(exact.sum()),
            finite=int(finite.sum()),
            live=int(self.live[-1][exact].min()) if exact.any() else None,
        )


def _resume(training: Training, checkpoint: Checkpoint) -> _Log:
    """Put `training` where the checkpoint left it; from the start if there is none."""
    logged = ["checks", "accuracy", "live"]
    found = checkpoint.load(["step", "parameters", "mean", "square", "history", *logged])
    if found is None:
        return _Log([], [], [])
    training.resume({name: value for name, value in found.items() if name not in logged})
    return _Log(
        [int(step) for step in found["checks"]], list(found["accuracy"]), list(found["live"])
    )
