"""Charts of training and of what pruning leaves, as SVG with the same bytes on every run.

A thin line is a restart; the strong one is the restart whose graph became the plant's result.
Importing matplotlib takes half a second, so that only the stages that draw import this module.
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib.style
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from bonsai.activation import ameo, ameo_derivative
from bonsai.draw import INK, NEGATIVE, POSITIVE, fraction, number, printable, themed
from bonsai.graph import NEURONS, Graph

SHOWN = "#1b9e8a"  # the restart that became the result
POINTS = 100  # of a restart's line; a longer history is thinned out to every n-th row
DECADES = 5  # of a log scale, down from the largest value; what is less lies on its floor
LOOK = {
    "svg.hashsalt": "bonsai",
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same widths everywhere
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


def training_chart(history: pa.Table, shown: int) -> str:
    """Loss, penalty, accuracy and live weights over the steps, a line a restart.

    history: columns restart, step, loss, penalty, accuracy, live (the last two null between
    validations); shown: the number of the restart to stress
    """
    columns = {name: _floats(history, name) for name in ("loss", "penalty", "accuracy", "live")}
    restart, step = (history[name].to_numpy() for name in ("restart", "step"))

    def draw(axes: np.ndarray) -> None:
        titles = {
            "loss": "Loss",
            "penalty": "Sparsity penalty",
            "accuracy": "Validation sequences right at every step",
            "live": "Weights left above the clip level",
        }
        for ax, (name, values) in zip(axes.flat, columns.items(), strict=True):
            ax.set_title(titles[name])
            known = np.isfinite(values)
            for r in [*np.unique(restart[restart != shown]), shown]:
                rows = np.flatnonzero((restart == r) & known)
                rows = rows[:: -(-len(rows) // POINTS) or 1]
                strong = {"color": SHOWN, "lw": 1.8} if r == shown else {"color": INK, "lw": 0.5}
                alpha = 1.0 if r == shown else 0.28
                ax.plot(step[rows], values[rows], alpha=alpha, **strong)
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            ax.set_xlim(0, max(step.max(initial=0), 1))
            if name in ("loss", "penalty"):
                _log_scale(ax, values[known])
        columns_on = axes.flat
        columns_on[2].set_ylim(-0.03, 1.03)
        columns_on[2].yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0%}"))
        columns_on[3].set_ylim(bottom=0)
        columns_on[3].yaxis.set_major_locator(MaxNLocator(5, integer=True))
        for ax in axes[1]:
            ax.set_xlabel("step")
        axes[0, 0].plot([], [], color=SHOWN, lw=1.8, label=f"restart {shown}, the result")
        if (restart != shown).any():
            axes[0, 0].plot([], [], color=INK, lw=0.7, alpha=0.5, label="the other restarts")
        axes[0, 0].figure.legend(loc="outside upper left", ncols=2)

    return _svg(draw, 2, 2, (7.0, 4.6), "Training: loss, penalty, accuracy and live weights")


def milestones(history: pa.Table, shown: int) -> tuple[int | None, list[tuple[int, int, int]]]:
    """When the restart was first exact in validation, and the falls of its live weights after it.

    history: as for `training_chart`
    Returns the step (None if it never was), and (step, live weights before, after) of each fall.
    """
    rows = history.filter(
        pc.and_(pc.equal(history["restart"], shown), pc.is_valid(history["live"]))
    )
    steps, accuracy, live = (rows[name].to_pylist() for name in ("step", "accuracy", "live"))
    exact = next((i for i, a in enumerate(accuracy) if a == 1), None)
    if exact is None:
        return None, []
    later = range(exact + 1, len(steps))
    return steps[exact], [(steps[i], live[i - 1], live[i]) for i in later if live[i] < live[i - 1]]


def loss_chart(history: pa.Table, shown: int) -> str:
    """The shown restart's base loss and regularisation loss, and how its weights fall away late.

    history: as for `training_chart`. Vertical lines mark the steps of `milestones`.
    """
    rows = history.filter(pc.equal(history["restart"], shown))
    step = rows["step"].to_numpy()
    loss, penalty, live = (_floats(rows, name) for name in ("loss", "penalty", "live"))
    exact, falls = milestones(history, shown)

    def draw(axes: np.ndarray) -> None:
        losses, weights = axes.flat
        losses.set_title(f"Loss of restart {shown}")
        losses.plot(step, loss, color=INK, lw=0.9, label="base loss (task)")
        losses.plot(step, penalty, color=POSITIVE, lw=1.4, label="regularisation loss")
        _log_scale(losses, np.concatenate([loss, penalty]))
        losses.legend(loc="upper right", ncols=2, bbox_to_anchor=(1, 1.22))
        known = np.isfinite(live)
        weights.set_title("Weights and biases left above the clip level")
        weights.step(step[known], live[known], where="post", color=SHOWN, lw=1.8)
        weights.set_ylim(0, 1.15 * max(live[known].max(initial=0), 1))
        weights.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        weights.set_xlabel("step")
        for ax in axes.flat:
            ax.set_xlim(0, max(step.max(initial=0), 1))
            ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
            if exact is not None:
                ax.axvline(exact, color=NEGATIVE, lw=1.1, ls="--")
            for at, _, _ in falls:
                ax.axvline(at, color=SHOWN, lw=0.8, alpha=0.35)
        if exact is not None:
            weights.annotate(
                f" first exact, step {exact}", (exact, 1), color=NEGATIVE, fontsize=7.5
            )
        for at, before, after in _apart(falls, 0.16 * step.max(initial=1))[:3]:
            weights.annotate(
                f"{before} → {after}\nstep {at}", (at, before), fontsize=7, ha="left", va="bottom"
            )

    return _svg(draw, 2, 1, (7.0, 4.2), f"Training of restart {shown}: losses and weights left")


def _apart(falls: list[tuple[int, int, int]], steps: float) -> list[tuple[int, int, int]]:
    """The deepest falls that are so many steps apart, so that they can be written beside."""
    kept: list[tuple[int, int, int]] = []
    for fall in sorted(falls, key=lambda fall: fall[2] - fall[1]):
        if all(abs(fall[0] - other[0]) >= steps for other in kept):
            kept.append(fall)
    return kept


def weights_chart(dense: Graph, graph: Graph) -> str:
    """Heat maps of every weight and bias before pruning and after: blue negative, red positive.

    dense: the trained network; graph: what was left of it. Rows are sources, the last the bias;
    columns are neurons, or outputs. The strongest colour is the largest magnitude of both.
    """
    blocks = sorted({n.cell for n in dense.nodes if n.kind in NEURONS})
    targets = [
        *([i for i in dense.where(*NEURONS) if dense.nodes[i].cell == k] for k in blocks),
        dense.where("head"),
    ]
    titles = [*("cell" if len(blocks) == 1 else f"cell {k}" for k in blocks), "head"]
    largest = max(
        (abs(v) for g in (dense, graph) for v in [*(e.weight for e in g.edges), *_biases(g)]),
        default=1.0,
    )

    def draw(axes: np.ndarray) -> None:
        for row, (said, g) in enumerate((("before", dense), ("after", graph))):
            key = [(n.kind, n.cell, n.index) for n in g.nodes]
            weight = {(key[e.source], key[e.target]): e.weight for e in g.edges}
            bias = {k: n.bias for k, n in zip(key, g.nodes, strict=True)}
            for ax, columns, title in zip(axes[row], targets, titles, strict=True):
                names = [dense.nodes[i] for i in columns]
                fed = {e.source for e in dense.edges if e.target in set(columns)}
                rows = [dense.nodes[i] for i in sorted(fed)]
                tiles, shades = [], []
                for x, to in enumerate(names):
                    end = (to.kind, to.cell, to.index)
                    found = [weight.get(((r.kind, r.cell, r.index), end), 0.0) for r in rows]
                    for y, value in enumerate([*found, bias.get(end, 0.0)]):
                        if value != 0:
                            tiles.append(Rectangle((x, y), 1, 1))
                            share = 0.12 + 0.88 * abs(value) / (largest or 1.0)
                            shades.append((POSITIVE if value > 0 else NEGATIVE, share))
                ax.add_collection(PatchCollection(tiles, facecolors=shades, edgecolors="none"))
                ax.set_title(f"{title}, {said}")
                ax.set_xlim(0, len(names))
                ax.set_ylim(len(rows) + 1, 0)
                ax.set_aspect("equal")
                labels = [*(r.name for r in rows), "bias"]
                ax.set_yticks(np.arange(len(labels)) + 0.5, _plain(labels), fontsize=6)
                heads = _plain([n.name for n in names])
                ax.set_xticks(np.arange(len(names)) + 0.5, heads, fontsize=6, rotation=90)
                ax.tick_params(length=0)
                ax.grid(visible=False)
                for side in ("top", "right"):
                    ax.spines[side].set_visible(True)

    widest = max(len(columns) for columns in targets)
    inches = (min(9.0, 2.0 + 0.22 * (widest + 4) * len(targets)), 4.8)
    return _svg(draw, 2, len(targets), inches, "Every weight before pruning and after")


def activation_chart(settings: Mapping[str, tuple[float, float]]) -> str:
    """The activation A and its derivative for each setting: (factor, leak) by what it is of."""

    def draw(axes: np.ndarray) -> None:
        x = np.linspace(-4.5, 4.5, 721)
        for ax, function, title in zip(
            axes.flat,
            (ameo, ameo_derivative),
            ("Activation A(x)", "Its derivative A'(x)"),
            strict=True,
        ):
            ax.set_title(title)
            for (name, (factor, leak)), style in zip(settings.items(), _styles(), strict=False):
                label = f"f = {number(factor)}, leak {fraction(leak)}: {name}"
                ax.plot(x, function(x, factor, leak), label=_plain([label])[0], **style)
            ax.set_xlabel("x, the weighted sum")
            ax.set_xlim(-4.5, 4.5)
        axes.flat[0].figure.legend(
            *axes.flat[0].get_legend_handles_labels(), loc="outside lower left"
        )

    return _svg(draw, 1, 2, (7.0, 3.2), "The activation and its derivative")


def penalty_chart(settings: Mapping[str, tuple[float, float, float, float]]) -> str:
    """What the regulariser adds for one weight, against the weight.

    settings: (i_T, t, s, i_L1) of R(w) = i_T (tanh((|w| - t) s) - tanh(-t s)) + i_L1 |w|, by what
    it is of
    """

    def draw(axes: np.ndarray) -> None:
        w = np.linspace(-0.5, 0.5, 801)
        ax = axes.flat[0]
        ax.set_title("Penalty of a weight")
        for (name, (strength, t, s, l1)), style in zip(settings.items(), _styles(), strict=False):
            size = np.abs(w)
            y = strength * (np.tanh((size - t) * s) - np.tanh(-t * s)) + l1 * size
            label = (
                f"i_T {number(strength)}, t {number(t)}, s {number(s)}, i_L1 {number(l1)}: {name}"
            )
            ax.plot(w, y, label=_plain([label])[0], **style)
        ax.set_xlabel("weight")
        ax.set_xlim(-0.5, 0.5)
        ax.set_ylim(bottom=0)
        ax.figure.legend(loc="outside lower left")

    return _svg(draw, 1, 1, (7.0, 3.0), "The sparsity penalty of one weight")


def _biases(graph: Graph) -> list[float]:
    return [n.bias for n in graph.nodes]


def _plain(labels: Sequence[str]) -> list[str]:
    """Labels that stand for themselves: no mathematics, and nothing that no font has."""
    return [printable(label).replace("$", r"\$") for label in labels]


def _styles() -> Iterator[dict[str, Any]]:
    """Lines that differ in colour, then in dashes."""
    for dashes in ("-", "--", ":", "-."):
        for color in (SHOWN, POSITIVE, NEGATIVE, INK):
            yield {"color": color, "ls": dashes, "lw": 1.6}


def clip_chart(clip: pa.Table, shown: int) -> str:
    """How many candidates stay exact as the threshold rises, and what it leaves of the shown one.

    clip: columns candidate, kind (weight | bias), threshold, exact; the thresholds of a candidate
    are the magnitudes that occur in it, and between two of them it behaves as at the lower one
    """
    candidate, kind, threshold, exact = (
        clip[name].to_numpy(zero_copy_only=False)
        for name in ("candidate", "kind", "threshold", "exact")
    )

    def draw(axes: np.ndarray) -> None:
        counts, left = axes.flat
        counts.set_title("Candidates still exact")
        left.set_title(f"Magnitudes above it, candidate {shown}")
        for name, color in (("weight", POSITIVE), ("bias", NEGATIVE)):
            levels = np.unique(threshold[kind == name])
            if not levels.size:
                continue
            total = np.zeros(len(levels), int)
            for r in np.unique(candidate):
                own = np.flatnonzero((kind == name) & (candidate == r))
                if not own.size:
                    continue
                own = own[np.argsort(threshold[own], kind="stable")]
                below = np.searchsorted(threshold[own], levels, side="right") - 1
                total += np.where(below >= 0, exact[own][below], False)
                if r == shown:
                    above = np.arange(len(own))[::-1]
                    left.plot(threshold[own], above, color=color, lw=0.9, alpha=0.6)
                    for right, fill in ((True, color), (False, "none")):
                        at = exact[own] == right
                        dots = {"ms": 3, "mec": color, "mew": 0.7, "mfc": fill}
                        left.plot(threshold[own][at], above[at], "o", **dots)
            plural = {"weight": "weights", "bias": "biases"}[name]
            counts.step(levels, total, where="post", color=color, lw=1.6, label=plural)
        counts.legend(loc="upper right")
        left.plot([], [], "o", ms=3.5, mfc=INK, mec=INK, label="exact")
        left.plot([], [], "o", ms=3.5, mfc="none", mec=INK, mew=0.7, label="wrong")
        left.legend(loc="upper right")
        for ax in axes.flat:
            ax.set_xlabel("clip threshold")
            ax.set_xscale("symlog", linthresh=0.01)  # weights spread over decades, and reach 0
            ax.set_xlim(-0.001, max(1.2 * threshold.max(initial=0), 1))
            ax.set_ylim(0, 1.3 * max(ax.dataLim.y1, 1))  # room for the legend
            ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: number(v)))
            ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))

    return _svg(draw, 1, 2, (5.6, 2.6), "Clipping: exact candidates by threshold")


def quantize_chart(quantize: pa.Table, shown: int, grid: dict[str, float]) -> str:
    """How many candidates have an exact setting on each grid, and the settings of the shown one.

    quantize: columns candidate, weight_step, bias_step, initial_step, exact; rows of which `exact`
    is null were not tried, and are left out
    grid: the steps of the result: weight, bias, initial; 0 is not rounded
    """
    quantize = quantize.filter(pc.is_valid(quantize["exact"]))
    candidate, exact = (
        quantize[name].to_numpy(zero_copy_only=False) for name in ("candidate", "exact")
    )
    steps = {
        name: quantize[f"{name}_step"].to_numpy().astype(float)
        for name in ("weight", "bias", "initial")
    }
    chosen = np.array([grid[name] for name in steps], np.float32)  # as in the table
    levels = np.unique(np.concatenate([*steps.values(), chosen]))[::-1]
    labels = ["none" if level == 0 else fraction(level) for level in levels]

    def draw(axes: np.ndarray) -> None:
        counts, settings = axes.flat
        counts.set_title("Candidates exact by grid step")
        colors = {"weight": POSITIVE, "bias": NEGATIVE, "initial": INK}
        plurals = {"weight": "weights", "bias": "biases", "initial": "initials"}
        for offset, (name, color) in zip((-0.26, 0, 0.26), colors.items(), strict=True):
            heights = [
                len(np.unique(candidate[exact & (steps[name] == level)])) for level in levels
            ]
            at = np.arange(len(levels)) + offset
            alpha = 0.55 if name == "initial" else 0.9
            counts.bar(at, heights, 0.24, color=color, alpha=alpha, label=plurals[name], lw=0)
        counts.legend(
            loc="upper left", ncols=3, columnspacing=0.8, handlelength=0.8, handletextpad=0.4
        )
        counts.set_ylim(0, max(counts.dataLim.y1, 1) * 1.28)  # room for the legend
        counts.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        counts.set_xlabel("grid step")

        settings.set_title(f"Settings of candidate {shown}")
        mine = candidate == shown
        for i, w in enumerate(levels):
            for j, b in enumerate(levels):
                here = mine & (steps["weight"] == w) & (steps["bias"] == b)
                if here.any():
                    fill = SHOWN if exact[here].any() else "none"
                    edge = SHOWN if exact[here].any() else INK
                    settings.plot(i, j, "o", ms=5, mfc=fill, mec=edge, mew=0.7)
        where = [int(np.flatnonzero(levels == step)[0]) for step in chosen[:2]]
        settings.plot(*where, "s", ms=10, mfc="none", mec=POSITIVE, mew=1.5, label="result")
        settings.plot([], [], "o", ms=5, mfc=SHOWN, mec=SHOWN, label="exact")
        settings.plot([], [], "o", ms=5, mfc="none", mec=INK, mew=0.7, label="wrong")
        settings.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        settings.set_xlabel("grid step of weights")
        settings.set_ylabel("of biases")
        settings.set_ylim(-0.6, len(levels) - 0.4)
        settings.set_yticks(range(len(levels)), labels, fontsize=7.5)
        for ax in axes.flat:
            ax.set_xlim(-0.6, len(levels) - 0.4)
            ax.set_xticks(range(len(levels)), labels, fontsize=7.5)

    return _svg(draw, 1, 2, (5.6, 2.6), "Quantisation: exact candidates by grid step")


def _svg(
    draw: Callable[[np.ndarray], None],
    rows: int,
    columns: int,
    inches: tuple[float, float],
    label: str,
) -> str:
    """Run `draw` on an array of axes (rows, columns), and return the figure as a themed SVG."""
    text = io.StringIO()
    with matplotlib.style.context(["default", LOOK]):
        layout = ConstrainedLayoutEngine(hspace=0.08, wspace=0.06)
        figure = Figure(figsize=inches, layout=layout)
        draw(figure.subplots(rows, columns, squeeze=False))
        layout.execute(figure)  # once; `savefig` would draw all of it twice to do so twice
        figure.set_layout_engine("none")
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = themed(text.getvalue(), label).replace("'DejaVu Sans'", "'DejaVu Sans',sans-serif")
    # A hundredth of a point is enough, and halves the file.
    return re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), svg)


def _floats(table: pa.Table, name: str) -> np.ndarray:
    """A column as float64, nulls as NaN."""
    return table[name].cast(pa.float64()).to_numpy()


def _log_scale(ax: Axes, values: np.ndarray) -> None:
    """A log scale, for values that may be 0. If all of them are, it stays linear."""
    positive = values[values > 0]
    if positive.size:
        narrow = positive.max() < 100 * positive.min()
        ax.set_yscale("log", nonpositive="clip")
        ax.set_ylim(bottom=max(values.min() / 1.2, positive.max() / 10**DECADES))
        ax.yaxis.set_major_locator(LogLocator(10, (1, 2, 5) if narrow else (1,), numticks=6))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: _power(v)))
        ax.yaxis.set_minor_formatter(NullFormatter())


def _power(value: float) -> str:
    """0.01 as it is, but 10⁻⁵ for 0.00001."""
    exponent = round(float(np.log10(value)))
    if exponent >= -3:
        return number(value)
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
