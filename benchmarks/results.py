"""What is kept of a run: figures with the machine that they were measured on."""

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from bonsai.artifact import save_json

FOLDER = Path(__file__).parent / "results"
PACKAGES = (
    "numpy",
    "tinygrad",
    "pyopencl",
    "pocl-binary-distribution",
    "jax",
    "jaxlib",
    "optax",
    "torch",
)


def machine() -> dict[str, Any]:
    """Processor, cores, OpenCL device, versions (null: not installed), date, and other load."""
    from kernels.device import open_device

    device = open_device()
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}",
        "opencl": device.name,
        "lanes": device.lanes,
        "versions": {"python": platform.python_version()} | {p: _version(p) for p in PACKAGES},
        "node": _node(),
        "date": time.strftime("%Y-%m-%d"),
        "load_before": round(os.getloadavg()[0], 2),
    }


def save(name: str, described: dict[str, Any], figures: dict[str, Any]) -> Path:
    path = FOLDER / f"{name}.json"
    save_json(path, {"machine": described, **figures})
    return path


def spread(values: np.ndarray) -> dict[str, float]:
    """Median and the two quartiles."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": float(median), "low": float(low), "high": float(high)}


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The first column to the left, figures to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        first, *rest = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in rest)]
        print("  ".join(cells).rstrip())
    print(flush=True)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        if lines:
            return lines[0].split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _node() -> str | None:
    try:
        found = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
