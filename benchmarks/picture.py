"""`docs/bench.svg` from `results/training.json`: `python -m benchmarks.picture`.

The same figures give the same bytes.
"""

import io
import re
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.results import FOLDER
from benchmarks.training import OURS, PEERS
from bonsai.artifact import load_json, save_text
from bonsai.chart import LOOK, SHOWN
from bonsai.draw import INK, NEGATIVE, POSITIVE, number, themed

PICTURE = Path(__file__).parent.parent / "docs" / "bench.svg"
COLORS = dict(zip((OURS, *PEERS), (SHOWN, NEGATIVE, POSITIVE, "#b08a3e", INK), strict=True))
LABELS = {OURS: "Bonsai", "jax": "JAX", "torch eager": "PyTorch eager", "tinygrad": "tinygrad"}
WIDTH = 0.17  # of a bar; 1 is from shape to shape


def picture(training: dict) -> str:
    """Milliseconds a step on a log scale, a group of bars a shape, whiskers at the quartiles."""
    results = training["results"]
    text = io.StringIO()
    with matplotlib.style.context(["default", LOOK]):
        figure = Figure(figsize=(7.2, 0.8 * len(results) + 1.1), layout="constrained")
        ax = figure.subplots()
        for i, (name, color) in enumerate(COLORS.items()):
            own = [(row, _times(result, name)) for row, result in enumerate(results)]
            own = [(row, times) for row, times in own if times is not None]
            if not own:
                continue
            at = np.array([row for row, _ in own]) + (i - 2) * WIDTH
            low, median, high = np.array([times for _, times in own]).T
            alpha = 1.0 if name == OURS else 0.75
            label = LABELS.get(name, name)
            ax.barh(at, median, WIDTH * 0.9, color=color, alpha=alpha, label=label, lw=0)
            error: dict[str, Any] = {"ecolor": INK, "elinewidth": 0.8, "fmt": "none"}
            ax.errorbar(median, at, xerr=[median - low, high - median], **error)
            for y, value, end in zip(at, median, high, strict=True):
                shown = f"{value:.2f}" if value < 1 else f"{value:.3g}"
                ax.annotate(
                    shown,
                    (end, y),
                    xytext=(3, 0),
                    textcoords="offset points",
                    va="center_baseline",
                    fontsize=6.5,
                )
        ax.set_xscale("log")
        ax.set_xlim(right=ax.get_xlim()[1] * 1.3)  # room for the figures
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: number(v)))
        ax.set_yticks(range(len(results)), [_label(r["shape"]) for r in results])
        ax.grid(visible=False, axis="y")
        ax.invert_yaxis()
        cpu = training["machine"]
        ax.set_xlabel(f"milliseconds a training step, {cpu['cores']} cores of {cpu['cpu']}")
        figure.legend(loc="outside upper left", ncols=len(COLORS))
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = themed(text.getvalue(), "Milliseconds a training step, beside the peers")
    svg = svg.replace("'DejaVu Sans'", "'DejaVu Sans',sans-serif")
    return re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), svg)


def _times(result: dict, name: str) -> tuple[float, float, float] | None:
    """Lower quartile, median and upper quartile; None where the contender was left out."""
    for contender in result["contenders"]:
        if contender["name"] == name and "milliseconds" in contender:
            ms = contender["milliseconds"]
            return ms["low"], ms["median"], ms["high"]
    return None


def _label(shape: str) -> str:
    cells, _, rest = shape.partition(" ")
    return f"{cells}\n{rest}"


def main() -> None:
    save_text(PICTURE, picture(load_json(FOLDER / "training.json")))
    print(PICTURE)


if __name__ == "__main__":
    main()
