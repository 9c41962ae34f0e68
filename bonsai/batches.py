"""Restarts trained in batches: each by itself, to the same bytes wherever that is and whenever.

A batch ends by its own stopping criterion (`bonsai.train`). What it starts from is drawn from the
plant's seed and the batch's own number, so that a plant that is given more restarts begins with
the batches that it had. `merged` makes one of them all. What is finished is kept in a file named
by all that it depends on, until the stage has saved its artifacts.
"""

import gc
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bonsai.artifact import replaced
from bonsai.counter import counter
from bonsai.dataset import Sequences, load_dataset
from bonsai.hints import Codes, codes, counted
from bonsai.machine import Machine
from bonsai.network import Architecture, Network
from bonsai.recipe import UNIT, Recipe, Regularizer, schedule
from bonsai.sizing import Attempt
from bonsai.train import Checkpoint, Progress, Trained, train
from kernels.device import open_device
from kernels.evaluate import Evaluator
from kernels.training import KERNELS

FILES = ("machine.parquet", "dataset.parquet")  # of a plant, that its training depends on
MORE, LESS = 4, 0.1  # times the restarts, and the regulariser's l1, where a counter is taught
ELSEWHERE = ("restarts", "together", "attempts", "enough", "cells", "stacked", "hinted")
RESULT = (
    "factor",
    "parameters",
    "restart",
    "history",
    "checks",
    "accuracy",
    "live",
    "dropped",
    "table",
    "code",
    "slope",
)


@dataclass(frozen=True, eq=False)
class Problem:
    """What networks are trained for: the machine, and sequences to train and to validate with."""

    machine: Machine
    data: Sequences
    check: Sequences

    @classmethod
    def load(cls, folder: Path) -> "Problem":
        """Of the plant in this folder. Raises ArtifactError."""
        machine, dataset = (folder / name for name in FILES)
        data, check = (load_dataset(dataset, split) for split in ("train", "validation"))
        return cls(Machine.load(machine), data, check)

    def architecture(self, attempt: Attempt) -> Architecture:
        inputs, outputs = self.data.inputs.shape[2], self.data.targets.shape[2]
        return Architecture(inputs, attempt.cells, outputs, attempt.stacked)


@dataclass(frozen=True)
class Batch:
    """Restarts that are trained together; plain values, from which all else is drawn.

    settings: of the plant's section `train`
    attempt, tried: the sizes, and the number of the attempt
    number: of the batch in its attempt
    first, restarts: the number of its first restart, and how many there are
    """

    settings: dict[str, Any]
    attempt: Attempt
    tried: int
    number: int
    first: int
    restarts: int

    @cached_property
    def text(self) -> str:
        """As JSON: what is sent to a worker, and a part of what the result is named by."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def parse(cls, text: str) -> "Batch":
        found = json.loads(text)
        attempt = found.pop("attempt")
        cells = tuple((int(o), int(s)) for o, s in attempt.pop("cells"))
        return cls(attempt=Attempt(cells, **attempt), **found)


def split(settings: dict[str, Any], attempt: Attempt, tried: int) -> list[Batch]:
    """The batches of an attempt: `settings["together"]` restarts each, the last one the rest."""
    every = settings["restarts"] * (MORE if attempt.counter else 1)
    size = min(settings["together"] or every, every)
    own = {name: value for name, value in settings.items() if name not in ELSEWHERE}
    if attempt.counter:
        own |= _for_counting(attempt, own)
    return [
        Batch(own, attempt, tried, number, first, min(size, every - first))
        for number, first in enumerate(range(0, every, size))
    ]


def _for_counting(attempt: Attempt, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings under which a counter becomes precise.

    Straight lines throughout, and level ones beyond 3, where outputs end that have to be the same
    number each time; noise that is no more than half a step; and a rate and a regulariser that
    fall to zero in the end, twice as late.
    """
    regularizer = settings["regularizer"]
    strength = regularizer["strength"][0][1]
    return {
        "steps": 2 * settings["steps"],
        "patience": 2 * settings["steps"],
        "factor": [[0.0, 1.0], [1.0, 1.0]],
        "leak": 0.0,
        "rate": [[0.0, settings["rate"][0][1]], [1.0, 0.0]],
        "hinted_noise": [[0.0, attempt.counter / 2], [1.0, 0.0]],
        "regularizer": regularizer
        | {
            "strength": [[0.0, strength], [0.8, strength], [1.0, 0.0]],
            "l1": LESS * regularizer["l1"],
        },
    }


def train_batch(
    batch: Batch,
    problem: Problem,
    checkpoint: Checkpoint | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Trained:
    """Train the restarts of a batch to its end; they have their numbers in the attempt."""
    p, attempt, data = batch.settings, batch.attempt, problem.data
    architecture = problem.architecture(attempt)
    rng = np.random.default_rng([p["seed"], batch.tried])
    recipe = Recipe(
        architecture=architecture,
        restarts=batch.restarts,
        batch=max(UNIT, int(attempt.batch * p["batch"]) // UNIT * UNIT),
        length=data.inputs.shape[1],
        seed=int(rng.integers(1 << 32)),  # of all batches, which then share compiled kernels
        rate=attempt.rate * schedule(p["rate"], p["steps"]),
        strength=attempt.strength * schedule(p["regularizer"]["strength"], p["steps"]),
        factor=schedule(p["factor"], p["steps"]),
        noise=schedule(p["noise"], p["steps"]),
        hinted_noise=schedule(p["hinted_noise"], p["steps"]),
        binarize=schedule(p["binarize"], p["steps"]),
        leak=p["leak"],
        regularizer=Regularizer(
            p["regularizer"]["threshold"],
            p["regularizer"]["steepness"],
            p["regularizer"]["l1"],
            p["regularizer"]["biases"],
        ),
    )
    if batch.number:
        rng = np.random.default_rng([p["seed"], batch.tried, batch.number])
    start = architecture.initialize(rng, recipe.restarts)
    # The share of all restarts up to here: of batches of one, every other has hints, not none.
    before, after = (
        round(attempt.hinted * n) for n in (batch.first, batch.first + batch.restarts)
    )
    share = (after - before) / batch.restarts
    sizes = [s for _, s in architecture.cells]
    own = counter(problem.machine) if attempt.counter else None
    if own is not None:
        taught = counted(own, recipe.restarts)
    else:
        taught = codes(problem.machine, sizes, recipe.restarts, share, rng)
    initial, first = architecture.mask("initial"), taught.first(problem.machine)
    start[:, initial] = np.where(taught.code >= 0, first, start[:, initial])
    told = taught.hints(data)
    training = KERNELS[p["kernel"]](recipe, data.inputs, data.targets, start, told)
    inputs, targets = (
        a[:, : attempt.checked] for a in (problem.check.inputs, problem.check.targets)
    )
    evaluator = Evaluator(architecture, p["leak"], inputs, targets, early=False)
    trained = train(
        recipe,
        training,
        evaluator,
        check_every=p["check_every"],
        patience=p["patience"],
        live=p["live"],
        codes=taught,
        checkpoint=checkpoint,
        report=report,
    )
    del training  # it refers to itself, and holds its data on the device until that is noticed
    gc.collect()
    numbers = trained.network.restart + np.int32(batch.first)
    return replace(
        trained,
        network=replace(trained.network, restart=numbers, candidate=numbers),
        dropped=tuple(restart + batch.first for restart in trained.dropped),
    )


def keep(trained: Trained, file: Checkpoint) -> None:
    """Write what `Finished.load` reads."""
    network = trained.network
    values = {
        "factor": np.array(network.factor),
        "parameters": network.parameters,
        "restart": network.restart,
        "history": trained.history,
        "checks": trained.checks,
        "accuracy": trained.accuracy,
        "live": trained.live,
        "dropped": np.array(trained.dropped, np.int32),
        "table": trained.codes.table,
        "code": trained.codes.code,
        "slope": trained.codes.slope,
    }
    file.keep({name: values[name] for name in RESULT})


def merged(parts: Sequence[Trained]) -> Trained:
    """All batches of an attempt, in order, as one.

    What a batch that stopped before others had in the end, it has in all steps and checks to come.
    """
    longest = max(parts, key=lambda part: len(part.history))

    def side_by_side(name: str) -> np.ndarray:
        """(steps or checks, R, ...)"""
        length = len(getattr(longest, name))
        each = [getattr(part, name) for part in parts]
        rows = [np.minimum(np.arange(length), len(values) - 1) for values in each]
        return np.concatenate([v[r] for v, r in zip(each, rows, strict=True)], axis=1)

    networks = [part.network for part in parts]
    numbers = np.concatenate([network.restart for network in networks])
    return Trained(
        network=replace(
            longest.network,
            parameters=np.concatenate([network.parameters for network in networks]),
            restart=numbers,
            candidate=numbers,
        ),
        history=side_by_side("history"),
        checks=longest.checks,
        accuracy=side_by_side("accuracy"),
        live=side_by_side("live"),
        dropped=tuple(restart for part in parts for restart in part.dropped),
        codes=Codes.joined(part.codes for part in parts),
    )


def computed_by() -> dict[str, str]:
    """What the bytes of a result depend on, besides the batch and the problem, in this process.

    project: a digest of its code; numpy and tinygrad: versions; processor: what kernels are
    compiled for
    Raises DeviceError.
    """
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parent.parent
    for package in ("bonsai", "kernels"):
        for path in sorted((root / package).iterdir()):
            if path.suffix[1:] in ("py", "cl"):
                digest.update(f"{package}/{path.name}\n".encode() + path.read_bytes())
    return {
        "project": digest.hexdigest()[:12],
        "numpy": np.__version__,
        "tinygrad": version("tinygrad"),
        "processor": open_device().target,
    }


class Finished:
    """Batches that are finished, each in a file written whole, and named by what it depends on.

    folder: the files'; plant: where FILES are
    by: of `computed_by`, where the batches are trained
    """

    def __init__(self, folder: Path, plant: Path, by: dict[str, str]) -> None:
        self.folder = folder
        self._content = json.dumps(by, sort_keys=True).encode()
        self._content += b"".join((plant / name).read_bytes() for name in FILES)

    def key(self, batch: Batch) -> str:
        return hashlib.sha256(batch.text.encode() + self._content).hexdigest()

    def checkpoint(self, batch: Batch) -> Checkpoint:
        """Of a batch that is not finished."""
        return Checkpoint(self.folder / "train.npz", self.key(batch))

    def beside(self, name: str, trained: Trained) -> Checkpoint:
        """Of what is made of this in the stage; deleted with the others."""
        content = self._content + trained.network.parameters.tobytes() + name.encode()
        return Checkpoint(self.folder / f"train-{name}.npz", hashlib.sha256(content).hexdigest())

    def load(self, batch: Batch, problem: Problem) -> Trained | None:
        """None if the batch is not finished."""
        found = self._file(batch).load(list(RESULT))
        if found is None:
            return None
        restart = found["restart"]
        architecture, leak = problem.architecture(batch.attempt), batch.settings["leak"]
        parameters, factor = found["parameters"], float(found["factor"])
        return Trained(
            network=Network(architecture, factor, leak, parameters, restart, restart),
            history=found["history"],
            checks=found["checks"],
            accuracy=found["accuracy"],
            live=found["live"],
            dropped=tuple(int(n) for n in found["dropped"]),
            codes=Codes(found["table"], found["code"], found["slope"]),
        )

    def save(self, batch: Batch, trained: Trained) -> None:
        keep(trained, self._file(batch))

    def receive(self, batch: Batch, content: bytes) -> None:
        """Save what a worker made with `keep`."""
        with replaced(self._file(batch).path) as temporary:
            temporary.write_bytes(content)

    def delete(self) -> None:
        """All of them, those of other settings and those that were cut off too."""
        for path in (*self.folder.glob("train*.npz"), *self.folder.glob(".train*.part")):
            path.unlink(missing_ok=True)

    def _file(self, batch: Batch) -> Checkpoint:
        key = self.key(batch)
        return Checkpoint(self.folder / f"train-{batch.tried}-{batch.number}-{key}.npz", key)


def train_here(
    batches: Sequence[Batch],
    problem: Problem,
    finished: Finished,
    report: Callable[[Batch, Progress], None],
) -> list[Trained]:
    """Train batches that are not finished in this process, one after the other; all, in order.

    The one that is being trained has a checkpoint every ten seconds.
    """
    found = []
    for batch in batches:
        trained = finished.load(batch, problem)
        if trained is None:
            checkpoint = finished.checkpoint(batch)
            trained = train_batch(batch, problem, checkpoint, partial(report, batch))
            finished.save(batch, trained)
        found.append(trained)
    return found
