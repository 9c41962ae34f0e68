"""Compose `conf/` into `params.yaml`, the bytes that `dvc exp run -S KEY=VALUE ...` would write.

    python -m stages.configure plants.delay2.clip.sequences=1000 && dvc repro
    python -m stages.configure garden=tiny train.steps=500
    python -m stages.configure            # back to what conf/ says
    python -m stages.configure --check    # how params.yaml differs from what conf/ says

`--check` leaves its answer for `make repro`, which shows it each time. A key or a value that the
schema refuses leaves `params.yaml` as it was.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from bonsai.artifact import save_text
from stages import CONF, PARAMS, ParameterError, parameters, schema

ANSWER = Path("data/overrides.txt")  # of `--check`; empty if there is no difference
RAISED = "ValueError raised while resolving interpolation: "  # before what `check` said


def composed(overrides: Sequence[str] = ()) -> str:
    """The text of `params.yaml` for these Hydra overrides.

    Raises ParameterError with one line naming the key that is misspelt, of the wrong type, or
    senseless, or the garden that there is none of.
    """
    schema()  # Hydra finds it in the config store, as it does under DVC
    try:
        with initialize_config_dir(str(CONF.absolute()), version_base=None):
            config = compose("config", overrides=list(overrides))
        OmegaConf.resolve(config)
    except MemoryError:
        raise
    except Exception as e:  # Hydra's parser also raises what is no HydraException
        raise ParameterError(_one_line(e)) from e
    return OmegaConf.to_yaml(config)


def differences() -> list[str]:
    """How `params.yaml` differs from the composition of `conf/` alone, as overrides that say so.

    Raises ParameterError if it has a key or a value that no composition could have.
    """
    own = dict(_leaves("", OmegaConf.to_container(parameters())))
    ours = dict(_leaves("", OmegaConf.to_container(OmegaConf.create(composed()))))
    shared = [key for key in own if key in ours or key == "garden"]
    return [f"{key}={_plain(own[key])}" for key in shared if own[key] != ours[key]]


def main(arguments: Sequence[str]) -> None:
    if list(arguments) != ["--check"]:
        return save_text(PARAMS, composed(arguments))
    found, said = differences(), ""
    if found:
        rest = f" and {len(found) - 5} more" if len(found) > 5 else ""
        said = (
            f"{PARAMS} is not what conf/ composes, but with {' '.join(found[:5])}{rest}; "
            "`python -m stages.configure` goes back to conf/\n"
        )
    sys.stderr.write(said)
    return save_text(ANSWER, said)


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield prefix, value
        return
    for key, inner in value.items():
        yield from _leaves(f"{prefix}.{key}" if prefix else str(key), inner)


def _plain(value: Any) -> str:
    return str(value).replace(" ", "").replace("'", "")


def _one_line(error: BaseException) -> str:
    """What Hydra and OmegaConf say over several lines and causes, in one line."""
    parts: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        text = re.split(r"\n\s*(?:full_key|Config search path|See https):?", str(cause))[0]
        text = " ".join(text.removeprefix(RAISED).split())
        if not any(text in part for part in parts):
            parts.append(text)
        cause = cause.__cause__
    return ": ".join(parts)


if __name__ == "__main__":
    main(sys.argv[1:])
