"""The stages of the pipeline; each is run as `python -m stages.NAME PLANT` by `dvc repro`.

A stage reads `params.yaml`, loads artifacts, calls the library and saves. It holds no algorithm.
"""

import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bonsai.artifact import ArtifactError, save_json
from bonsai.machine import MachineError
from kernels.device import DeviceError

CONF = Path("conf")
PARAMS = Path("params.yaml")
PLANTS = Path("data/plants")
MAX_BYTES, MAX_DEPTH = 1 << 22, 20  # of params.yaml
CHECKPOINTS = Path("data/checkpoints")  # of stages still running; no artifacts


class ParameterError(ValueError):
    """A parameter is missing or makes no sense. The message names its key and the remedy."""


def schema() -> Any:
    """The module `conf/hydra_plugins/schema.py`, under the name by which Hydra loads it."""
    if str(CONF.absolute()) not in sys.path:
        sys.path.append(str(CONF.absolute()))
    return importlib.import_module("hydra_plugins.schema")


def parameters() -> Any:
    """All of `params.yaml`.

    Raises ParameterError if it is missing, or if it was edited by hand into something that Hydra
    would have refused.
    """
    try:
        _check_plain(PARAMS)
        found = OmegaConf.load(PARAMS)
        schema().check(OmegaConf.merge(OmegaConf.structured(schema().Config), found))
    except FileNotFoundError:
        raise ParameterError(
            f"{PARAMS}: no such file; `python -m stages.configure` writes it"
        ) from None
    except (OmegaConfBaseException, yaml.YAMLError, ValueError) as e:
        raise ParameterError(
            f"{PARAMS}: {' '.join(str(e).split())}; `python -m stages.configure` writes it anew"
        ) from e
    return found


def _check_plain(path: Path) -> None:
    """Raise ValueError if the file is nested deeply, or refers to other places in it or elsewhere.

    No composition does, and a few lines of aliases can stand for more than memory holds.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES or b"${" in content:
        raise ValueError(f"it is longer than {MAX_BYTES} bytes, or holds an interpolation")
    depth = 0
    for event in yaml.parse(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > MAX_DEPTH:
            raise ValueError(f"it holds an alias, or is nested more than {MAX_DEPTH} deep")


def plant_parameters(plant: str) -> Any:
    """The plant's own part of `params.yaml`."""
    plants = parameters().plants
    if plant not in plants:
        raise ParameterError(
            f"{PARAMS}: no plant '{plant}', it has {', '.join(plants)}; "
            "`python -m stages.configure garden=NAME` switches gardens"
        )
    return plants[plant]


def run_stage(stage: Callable[[Any, Path], None]) -> None:
    """Run `stage(parameters, folder)` for the plant named on the command line, and time it.

    What it took is kept in `seconds/STAGE.json` in the plant's folder. An expected error ends in
    one line on stderr and exit status 1.
    """
    name = Path(sys.argv[0]).stem
    if len(sys.argv) != 2:
        sys.exit(f"usage: python -m stages.{name} PLANT")
    plant = sys.argv[1]
    folder = PLANTS / plant
    started = time.perf_counter()
    try:
        stage(plant_parameters(plant), folder)
        seconds = time.perf_counter() - started
        save_json(folder / "seconds" / f"{name}.json", {"seconds": round(seconds, 3)})
    except (ArtifactError, DeviceError, MachineError, ParameterError, OSError) as e:
        sys.exit(f"stage {name} of plant {plant}: {e}")
