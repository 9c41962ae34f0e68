"""The program and the signals that extract found (`logic.json`), as the pages show them."""

from pathlib import Path
from typing import Any

import pygments
from markupsafe import Markup
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from bonsai.artifact import ArtifactError, load_json

SIGNAL = ("node", "kind", "signal", "levels", "values", "function", "line")


def load_logic(path: Path) -> dict[str, Any]:
    """The fields of `logic.json`: program, reason, signals, states and by_hand.

    Raises ArtifactError naming the field that is missing.
    """
    found = load_json(path)
    for name in ("program", "reason", "signals", "states", "by_hand"):
        if not isinstance(found, dict) or name not in found:
            raise ArtifactError(f"{path}: has no field '{name}'; rerun the stage extract")
    if not isinstance(found["signals"], list) or not isinstance(found["program"], dict | None):
        raise ArtifactError(f"{path}: is not of the form it should be; rerun the stage extract")
    for signal in found["signals"]:
        for name in SIGNAL:
            if not isinstance(signal, dict) or name not in signal:
                raise ArtifactError(
                    f"{path}: a signal has no field '{name}'; rerun the stage extract"
                )
    return found


def highlighted(program: str) -> list[Markup]:
    """Python, line by line, with the classes of Pygments."""
    formatter = HtmlFormatter(nowrap=True)
    html = pygments.highlight(program, PythonLexer(stripnl=False), formatter)
    return [Markup(line) for line in html.rstrip("\n").split("\n")]
