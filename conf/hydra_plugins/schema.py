"""The typed schema of every parameter; Hydra loads it before it composes `conf/`.

The dataclasses refuse a wrong type or name, and `check` a value that makes no sense. A resolver
in `conf/config.yaml` runs it, so `dvc exp run` and `python -m stages.configure` both refuse before
any stage runs. What each field means is said in `conf/config.yaml`, where its default stands.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import ConfigKeyError

PARAMS = Path(__file__).parents[2] / "params.yaml"


class Kernel(Enum):
    fused = "fused"
    reference = "reference"


class Place(Enum):
    local = "local"
    dask = "dask"


class Direction(Enum):
    LR = "LR"
    TB = "TB"


@dataclass
class Device:
    kernel: Kernel = MISSING


@dataclass
class Compute:
    kind: Place = MISSING
    address: str | None = MISSING
    workers: int = MISSING


@dataclass
class Task:
    source: str = MISSING


@dataclass
class Dataset:
    seed: int = MISSING
    train: int = MISSING
    validation: int = MISSING
    test: int = MISSING
    length: int | None = MISSING
    test_length: int = MISSING
    tilted: float = MISSING


@dataclass
class Regularizer:
    strength: list[list[float]] = MISSING
    threshold: float = MISSING
    steepness: float = MISSING
    l1: float = MISSING
    biases: bool = MISSING


@dataclass
class Train:
    seed: int = MISSING
    cells: list[list[int]] | None = MISSING
    attempts: int = MISSING
    enough: int = MISSING
    stacked: bool = MISSING
    restarts: int = MISSING
    together: int | None = MISSING
    batch: int = MISSING
    steps: int = MISSING
    rate: list[list[float]] = MISSING
    factor: list[list[float]] = MISSING
    noise: list[list[float]] = MISSING
    binarize: list[list[float]] = MISSING
    hinted: float = MISSING
    hinted_noise: list[list[float]] = MISSING
    leak: float = MISSING
    regularizer: Regularizer = field(default_factory=Regularizer)
    check_every: int = MISSING
    patience: int = MISSING
    live: float = MISSING
    kernel: Kernel = MISSING


@dataclass
class Sparsify:
    seed: int = MISSING
    slots: int = MISSING
    rounds: int = MISSING
    steps: int = MISSING
    rate: list[list[float]] = MISSING
    strength: float = MISSING
    noise: list[list[float]] = MISSING
    hinted: float = MISSING
    hinted_noise: list[list[float]] = MISSING
    binarize: float = MISSING
    validation_noise: list[list[float]] = MISSING
    share: float = MISSING
    neurons: float = MISSING
    exchange: float = MISSING
    replace: int = MISSING
    patience: int = MISSING
    sequences: int = MISSING
    length: int = MISSING
    tilted: float = MISSING
    counterexamples: float = MISSING
    keep: int = MISSING


@dataclass
class Clip:
    seed: int = MISSING
    sequences: int = MISSING
    length: int = MISSING
    tilted: float = MISSING


@dataclass
class Quantize:
    seed: int = MISSING
    sequences: int = MISSING
    length: int = MISSING
    tilted: float = MISSING
    steps: list[float] = MISSING
    keep: int = MISSING


@dataclass
class Dce:
    fold: bool = MISSING


@dataclass
class Prove:
    pairs: int = MISSING
    cells: int = MISSING
    rounds: int = MISSING
    enough: int = MISSING
    most: int = MISSING


@dataclass
class Polish:
    seed: int = MISSING
    starts: int = MISSING
    rounds: int = MISSING
    walkers: int = MISSING
    variants: int = MISSING
    patience: int = MISSING
    sequences: int = MISSING
    length: int = MISSING
    tilted: float = MISSING


@dataclass
class Published:
    weights: int | None = None
    biases: int | None = None
    states: int | None = None
    holds: str | None = None
    lines: int | None = None
    literals: int | None = None


@dataclass
class Render:
    direction: Direction = MISSING
    letters: str = MISSING


@dataclass
class Plant:
    name: str = MISSING
    task: Task = field(default_factory=Task)
    dataset: Dataset = field(default_factory=Dataset)
    train: Train = field(default_factory=Train)
    sparsify: Sparsify = field(default_factory=Sparsify)
    clip: Clip = field(default_factory=Clip)
    quantize: Quantize = field(default_factory=Quantize)
    dce: Dce = field(default_factory=Dce)
    prove: Prove = field(default_factory=Prove)
    polish: Polish = field(default_factory=Polish)
    render: Render = field(default_factory=Render)
    published: Published = field(default_factory=Published)


@dataclass
class Config:
    version: int = MISSING
    seed: int = MISSING
    garden: list[str] = MISSING
    device: Device = field(default_factory=Device)
    compute: Compute = field(default_factory=Compute)
    dataset: Dataset = field(default_factory=Dataset)
    train: Train = field(default_factory=Train)
    sparsify: Sparsify = field(default_factory=Sparsify)
    clip: Clip = field(default_factory=Clip)
    quantize: Quantize = field(default_factory=Quantize)
    dce: Dce = field(default_factory=Dce)
    prove: Prove = field(default_factory=Prove)
    polish: Polish = field(default_factory=Polish)
    render: Render = field(default_factory=Render)
    plants: dict[str, Plant] = field(default_factory=dict)


def check(config: Any) -> None:
    """Refuse parameters that are missing or make no sense, in the defaults and in every plant.

    Raises ValueError with one line that names the key, its value and what it may be.
    """
    for key in sorted(OmegaConf.missing_keys(config)):
        raise ValueError(f"{key} is not set; give it a value in conf/")
    garden, plants = list(config.garden), config.plants
    if not garden or len(set(garden)) < len(garden):
        raise ValueError(f"garden={garden} must list one plant or more, each once")
    for plant in garden:
        if plant not in plants:
            raise ValueError(f"garden lists '{plant}', but plants has {', '.join(plants)} only")
    for problem in (*_misplaced(config.compute), *_problems("", config)):
        raise ValueError(problem)
    for plant, own in plants.items():
        if not re.fullmatch("[a-z0-9_]+", plant):
            raise ValueError(f"plants.{plant}: a plant's name may hold a-z, 0-9 and _ only")
        if own.name != plant:
            raise ValueError(f"plants.{plant}.name={own.name} must be '{plant}', the plant's key")
        # A file in tasks/, which the stage machine depends on, so that a change reruns the plant.
        if not re.fullmatch(r"\w+|tasks/(?!.*\.\.)[\w./-]+\.(kiss2|pla|py)", own.task.source):
            raise ValueError(
                f"plants.{plant}.task.source={own.task.source} must be a task in bonsai/tasks.py, "
                "or a file tasks/NAME.kiss2, .pla or .py; `python -m bonsai grow` puts one there"
            )
        for problem in _problems(f"plants.{plant}.", own):
            raise ValueError(problem)


def _misplaced(compute: Any) -> Iterator[str]:
    """What is wrong with the section `compute`."""
    kind = Place(compute.kind) if isinstance(compute.kind, str) else compute.kind
    if compute.workers < 1:
        yield f"compute.workers={compute.workers} must be 1 or more"
    if compute.address is None:
        return
    if kind is Place.local:
        yield (
            f"compute.address={compute.address} must be null where compute.kind is local; "
            "compute=dask trains on a cluster"
        )
    if not re.fullmatch(r"(tcp|tls)://[^\s/]+:\d+", compute.address):
        yield (
            f"compute.address={compute.address} must be null, or that of a Dask scheduler, "
            "tcp://HOST:PORT or tls://HOST:PORT"
        )


def _problems(prefix: str, own: Any) -> Iterator[str]:
    """What is wrong with the sections of a plant, or with those of the defaults."""

    def section(name: str, **rules: tuple[str, Any]) -> Iterator[str]:
        for key, (rule, holds) in rules.items():
            value = OmegaConf.select(own[name], key.replace("__", "."))
            plain = OmegaConf.to_object(value) if OmegaConf.is_list(value) else value
            if not holds(plain):
                yield f"{prefix}{name}.{key.replace('__', '.')}={plain} must be {rule}"

    positive = ("1 or more", lambda v: v >= 1)
    natural = ("0 or more", lambda v: v >= 0)
    seed = ("from 0 to 2**32 - 1", lambda v: 0 <= v < 2**32)
    cells = (
        "null, or a list of [outputs, states], one output or more in each cell, no state below 0",
        lambda v: v is None or (v and all(len(c) == 2 and c[0] >= 1 and c[1] >= 0 for c in v)),
    )
    sixteens = ("a multiple of 16", lambda v: v >= 16 and v % 16 == 0)
    batch = (
        f"a multiple of 16, and at most {prefix}dataset.train={own.dataset.train}",
        lambda v: v >= 16 and v % 16 == 0 and v <= own.dataset.train,
    )
    knots = (
        "a list of [share of steps, value], shares rising from 0 to 1, no value below 0",
        lambda v: (
            len(v) >= 2
            and all(len(k) == 2 and k[1] >= 0 for k in v)
            and (v[0][0], v[-1][0]) == (0, 1)
            and all(a[0] < b[0] for a, b in pairwise(v))
        ),
    )
    shares = (f"{knots[0]} and none above 1", lambda v: knots[1](v) and all(k[1] <= 1 for k in v))
    share = ("from 0 to 1", lambda v: 0 <= v <= 1)
    grid = (
        "a list of steps above 0, the coarsest first",
        lambda v: v and v[-1] > 0 and all(a > b for a, b in pairwise(v)),
    )
    yield from section(
        "dataset",
        seed=seed,
        train=sixteens,
        validation=sixteens,
        test=sixteens,
        length=("null, or 1 or more", lambda v: v is None or v >= 1),
        test_length=positive,
        tilted=share,
    )
    yield from section(
        "train",
        seed=seed,
        cells=cells,
        attempts=positive,
        enough=positive,
        restarts=positive,
        together=("null, or 1 or more", lambda v: v is None or v >= 1),
        batch=batch,
        steps=positive,
        rate=knots,
        factor=shares,
        noise=knots,
        binarize=knots,
        hinted=share,
        hinted_noise=knots,
        leak=natural,
        regularizer__strength=knots,
        regularizer__threshold=natural,
        regularizer__steepness=("above 0", lambda v: v > 0),
        regularizer__l1=natural,
        check_every=positive,
        patience=positive,
        live=natural,
    )
    drawn = {"seed": seed, "sequences": sixteens, "length": positive, "tilted": share}
    yield from section(
        "sparsify",
        **drawn,
        slots=positive,
        rounds=positive,
        steps=positive,
        rate=knots,
        strength=natural,
        noise=knots,
        hinted=share,
        hinted_noise=knots,
        binarize=natural,
        counterexamples=share,
        validation_noise=knots,
        share=share,
        neurons=share,
        exchange=share,
        replace=positive,
        patience=positive,
        keep=positive,
    )
    yield from section("clip", **drawn)
    yield from section("quantize", **drawn, steps=grid, keep=positive)
    yield from section(
        "prove", pairs=positive, cells=positive, rounds=positive, enough=positive, most=positive
    )
    yield from section(
        "polish",
        **drawn,
        starts=positive,
        rounds=natural,
        walkers=positive,
        variants=positive,
        patience=positive,
    )
    yield from section(
        "render",
        letters=(
            "two characters, not the same, and none of space * + = , ;",
            lambda v: (
                len(v) == 2 and v.isprintable() and v[0] != v[1] and not set(v) & set(" *+=,;")
            ),
        ),
    )


def _checked(version: int, *, _root_: Any) -> int:
    sections: Any = OmegaConf.to_container(_root_)
    copy = OmegaConf.create({**sections, "version": version})  # does not come back here
    OmegaConf.resolve(copy)
    try:
        OmegaConf.merge(OmegaConf.structured(Config), copy)  # `+` gets past the types
    except ConfigKeyError as e:
        raise ValueError(f"{e.full_key} is no parameter; conf/config.yaml has them all") from None
    check(copy)
    _notice(list(copy.garden))
    return version


def _notice(garden: list[str]) -> None:
    """Say so if `dvc exp run`, which starts from conf/ and not from params.yaml, drops plants."""
    if "dvc" not in sys.modules or not PARAMS.exists():
        return
    before = OmegaConf.select(OmegaConf.load(PARAMS), "garden", default=[])
    if set(before) != set(garden):
        print(
            f"The garden is now {', '.join(garden)}; it was {', '.join(before)}. What -S does "
            "not give is as conf/ says; -S garden=NAME chooses a garden.",
            file=sys.stderr,
        )


OmegaConf.register_new_resolver("checked", _checked, replace=True)
ConfigStore.instance().store(name="schema", node=Config)
