"""The stages of the pipeline; each is run as `python -m stages.NAME PLANT` by `dvc repro`.

A stage reads `params.yaml`, loads artifacts, calls the library and saves. It holds no algorithm.
"""

from stages import faults  # first, for a Ctrl-C may come while the others load

# isort: split
import fcntl
import gc
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm

from bonsai.artifact import ArtifactError, save_json
from bonsai.prove import FitError

CONF = Path("conf")
PARAMS = Path("params.yaml")
PLANTS = Path("data/plants")
MAX_BYTES, MAX_DEPTH = 1 << 22, 20  # of params.yaml
CHECKPOINTS = Path("data/checkpoints")  # of stages still running; no artifacts

_held: set[int] = set()  # files of locks

tqdm.monitor_interval = 0  # no thread, with which a process may not fork (bonsai/processes.py)


class ParameterError(ValueError):
    """A parameter is missing or makes no sense. The message names its key and the remedy."""


def schema() -> Any:
    """The module `conf/hydra_plugins/schema.py`, under the name by which Hydra loads it."""
    if str(CONF.absolute()) not in sys.path:
        sys.path.append(str(CONF.absolute()))
    return importlib.import_module("hydra_plugins.schema")


def parameters(plant: str | None = None) -> Any:
    """All of `params.yaml`, or all but the other plants, which takes a fifth of the time.

    Raises ParameterError if it is missing, or if what is read of it was edited by hand into
    something that Hydra would have refused.
    """
    try:
        with PARAMS.open("rb") as file:
            return _checked(file.read(MAX_BYTES + 1), plant)
    except FileNotFoundError:
        raise ParameterError(
            f"{PARAMS}: no such file; `python -m stages.configure` writes it"
        ) from None
    except (OmegaConfBaseException, ValueError) as e:
        raise ParameterError(
            f"{PARAMS}: {' '.join(str(e).split())}; `python -m stages.configure` writes it anew"
        ) from e


@lru_cache(maxsize=64)  # plants, of which `stages/forkserver.py` asks for one after the other
def _checked(content: bytes, plant: str | None) -> DictConfig:
    found = _read(content, plant)
    schema().check(OmegaConf.merge(OmegaConf.structured(schema().Config), found))
    OmegaConf.set_readonly(found, True)
    return found


def _read(content: bytes, plant: str | None) -> DictConfig:
    """A plain mapping; of its plants this one alone, if it is there.

    Raises ValueError if it is no mapping.
    """
    try:
        found = yaml.load(_plain(content), _loader())
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}, not a mapping")
        plants = found.get("plants")
        if isinstance(plants, dict) and plant in plants:
            found |= {"garden": [plant], "plants": {plant: plants[plant]}}
        return OmegaConf.create(found)
    except MemoryError:
        raise
    except Exception as e:  # what YAML and OmegaConf make of broken files has no common class
        raise ValueError(str(e)) from e


def _loader() -> Any:
    """What reads YAML as OmegaConf does; its parser is in C if PyYAML has that."""
    own: Any = get_yaml_loader()
    if not yaml.__with_libyaml__:
        return own

    class Loader(yaml.cyaml.CParser, own):
        def __init__(self, content: bytes) -> None:
            super().__init__(content)
            yaml.constructor.SafeConstructor.__init__(self)
            yaml.resolver.Resolver.__init__(self)

    return Loader


def _plain(content: bytes) -> bytes:
    """The content. Raises ValueError if it is nested deeply, or refers to other places in it or
    elsewhere: no composition does, and a few aliases can stand for more than memory holds.
    """
    if len(content) > MAX_BYTES or b"${" in content:
        raise ValueError(f"it is longer than {MAX_BYTES} bytes, or holds an interpolation")
    depth = 0
    for event in yaml.parse(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > MAX_DEPTH:
            raise ValueError(f"it holds an alias, or is nested more than {MAX_DEPTH} deep")
    return content


def plant_parameters(plant: str) -> Any:
    """The plant's own part of `params.yaml`."""
    plants = parameters(plant).plants
    if plant not in plants:
        raise ParameterError(
            f"{PARAMS}: no plant '{plant}', it has {', '.join(plants)}; "
            "`python -m stages.configure garden=NAME` switches gardens"
        )
    return plants[plant]


def compute(plant: str) -> Any:
    """The section `compute` of `params.yaml`: where to compute, which changes no result.

    It is no part of a plant, so that DVC runs nothing again because of it.
    """
    return parameters(plant).compute


class BusyError(RuntimeError):
    """Another process is at work on the plant."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder, which ends with the process at the latest, however that ends.

    Raises BusyError if another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BusyError(
            f"{folder}: another stage is at work there; wait until it ends, or stop it"
        ) from None
    _held.add(opened)
    try:
        yield
    finally:
        _held.remove(opened)
        os.close(opened)


def _let_go() -> None:
    """Runs in a fork, with which a lock would not end."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


def run_stage(stage: Callable[[Any, Path], str | None]) -> None:
    """Run `stage(parameters, folder)` for the plant named on the command line, and time it.

    What it took is kept in `seconds/STAGE.json` in the plant's folder. What a long stage returns
    is its result in a few words, for the log. `stages/faults.py` says how it ends otherwise.
    """
    name = Path(sys.argv[0]).stem
    if len(sys.argv) != 2:
        sys.exit(f"usage: python -m stages.{name} PLANT")
    plant = sys.argv[1]
    faults.doing = f"stage {name} of plant {plant}"
    own, folder = plant_parameters(plant), PLANTS / plant
    started = time.perf_counter()
    with alone(folder):
        try:
            result = stage(own, folder)
        except FitError as e:
            raise ArtifactError(f"{folder}: {e}; run `dvc repro` again") from e
        seconds = time.perf_counter() - started
        save_json(folder / "seconds" / f"{name}.json", {"seconds": round(seconds, 3)})
    if result is not None:
        print(f"{name} {plant}: {result}, in {seconds:.0f} s")
    gc.freeze()  # else Python looks through all objects once more as it ends, for 0.2 s
