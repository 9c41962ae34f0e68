"""The tables of `benchmarks.machines`, in Markdown, from its rows."""

from collections.abc import Iterator, Sequence
from statistics import median

from benchmarks.growth import Row
from benchmarks.published import GPT4


def shares(rows: Sequence[Row]) -> str:
    """A line for each number of states, of the machines that could be read."""
    header = ["states", "machines", "proven", "share", "weights + biases", "seconds", "longest"]
    lines = []
    grown = [row for row in rows if row["states"] is not None]
    for states in sorted({row["states"] for row in grown}):
        own = [row for row in grown if row["states"] == states]
        lines.append([str(states), *_summary(own)])
    return table(header, [*lines, ["all", *_summary(grown)]] if grown else [])


def summary(rows: Sequence[Row], states: int = 6) -> str:
    """One sentence on the machines of up to so many states, within their limits of time."""
    own = [row for row in rows if row["states"] is not None and row["states"] <= states]
    proven = sum(row["proven"] for row in own)
    limits = sorted({row["limit"] for row in own})
    said = ", ".join(f"{limit:g}" for limit in limits) or "no"
    share = f" ({proven / len(own):.0%})" if own else ""
    return f"{proven} of {len(own)} of up to {states} states proven{share}, within {said} s each"


def tasks(rows: Sequence[Row]) -> str:
    """A line a task, the smallest machines first."""
    header = ["task", "states", "bits in, out", "proven", "neurons", "weights + biases"]
    header += ["exact restarts", "attempt", "seconds", "program lines"]
    return table(
        header,
        [
            [
                f"`{row['name']}`",
                _or(row["states"]),
                _or(
                    row["inputs"]
                    if row["states"] is None
                    else f"{row['inputs']}, {row['outputs']}"
                ),
                _proven(row),
                *_sizes(row),
                _or(
                    row["exact"]
                    if row["exact"] is None
                    else f"{row['exact']} of {row['restarts']}"
                ),
                _or(row["attempt"]),
                f"{row['total']:.0f}",
                _or(row["lines"]),
            ]
            for row in sorted(rows, key=_order)
        ],
    )


def garden(rows: Sequence[Row]) -> str:
    """A line a task of a garden, beside what others report; in the garden's own order."""
    header = ["task", "minimal states", "GPT-4", "proven", "neurons"]
    header += ["weights + biases", "seconds", "program lines"]
    lines = [
        [
            f"`{row['name']}`",
            _or(row["states"]),
            _mark(row["name"] in GPT4) if row["kind"] == "mips" else "",
            _proven(row),
            *_sizes(row),
            f"{row['total']:.0f}",
            _or(row["lines"]),
        ]
        for row in rows
    ]
    return table(header, lines)


def unproven(rows: Sequence[Row]) -> Iterator[str]:
    """A line for each task that is not proven, with the reason."""
    for row in sorted(rows, key=_order):
        if not row["proven"]:
            yield f"- `{row['name']}`: {row['reason']}"


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _summary(rows: Sequence[Row]) -> list[str]:
    proven = [row for row in rows if row["proven"]]
    sizes = [row["weights"] + row["biases"] for row in proven]
    times = [row["total"] for row in rows]
    return [
        str(len(rows)),
        str(len(proven)),
        f"{len(proven) / len(rows):.0%}",
        f"{median(sizes):g}" if sizes else "",
        f"{median(times):.0f}",
        f"{max(times):.0f}",
    ]


def _order(row: Row) -> tuple[int, int, int, str]:
    if row["states"] is None:
        return 1 << 30, 0, 0, row["name"]
    return row["states"], row["inputs"], row["outputs"], row["name"]


def _sizes(row: Row) -> list[str]:
    if row["weights"] is None:
        return ["", ""]
    return [str(row["neurons"]), f"{row['weights']} + {row['biases']}"]


def _proven(row: Row) -> str:
    return "refused" if row["states"] is None else _mark(row["proven"])


def _mark(holds: bool) -> str:
    return "yes" if holds else "no"


def _or(value: object) -> str:
    return "" if value is None else str(value)
