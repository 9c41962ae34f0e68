"""The OpenCL device: found, opened and described once a process.

PyOpenCL's wheel brings a loader and (on Linux x86-64) the CPU driver PoCL. Importing it sets PoCL
up, which must happen before tinygrad opens OpenCL; tinygrad then uses that loader, which knows the
system's drivers as well. A GPU comes before a CPU, unless BONSAI_DEVICE names another.
"""

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kernels.pocl import V4, cpu_level, misnamed, name_cpu

REMEDY = (  # also of a kernel that cannot be built
    "install `pyopencl[pocl]` (Linux x86-64) or the OpenCL driver of your CPU or GPU, and see "
    "that ~/.cache, where PoCL and tinygrad keep compiled kernels, can be written and has space"
)
CHOICE = "BONSAI_DEVICE"  # of the environment: part of a device's name, or of its platform's


class DeviceError(RuntimeError):
    """No usable OpenCL device. The message says what was looked for and the remedy."""


@dataclass(frozen=True)
class Device:
    """lanes: floats a work-item handles at once, a vector on CPUs and 1 on GPUs

    target: what kernels are compiled for, so that caches tell it apart
    group: work-items a work-group; units: compute units (CPU cores)
    rows: most work-items that update the parameters of a restart together
    items: work-items that keep it busy, where the work can be split into as many
    """

    name: str
    target: str
    is_cpu: bool
    lanes: int
    group: int
    units: int
    rows: int
    items: int


@cache
def open_device() -> Device:
    """Open tinygrad's device "CL" and say what it is. Raises DeviceError."""
    try:
        import pyopencl
    except ImportError as e:
        raise DeviceError(f"OpenCL: pyopencl cannot be imported ({e}); {REMEDY}") from e
    bundled = sorted((Path(pyopencl.__file__).parent / ".libs").glob("libOpenCL*"))
    if bundled:
        os.environ.setdefault("OPENCL_PATH", str(bundled[0]))
    try:
        from tinygrad import Device as Tinygrad
        from tinygrad.runtime import ops_cl

        devices = [d for platform in pyopencl.get_platforms() for d in platform.get_devices()]
        devices.sort(key=lambda d: d.type & pyopencl.device_type.CPU)
        found = _chosen(devices, os.environ.get(CHOICE, ""))
        # By itself tinygrad takes the first device of the first platform.
        handle = ops_cl.cl.cl_device_id
        ops_cl.CLDevice.device_ids = (handle * 1)(ctypes.cast(found.int_ptr, handle))
        Tinygrad["CL"]
    except DeviceError:
        raise
    except (RuntimeError, OSError, AttributeError, ValueError, pyopencl.Error) as e:
        raise DeviceError(f"OpenCL: no device can be opened ({e}); {REMEDY}") from e
    is_cpu = bool(found.type & pyopencl.device_type.CPU)
    level = cpu_level() if is_cpu else ""
    target = f"{found.version} {level if is_cpu else found.name}".strip()
    if is_cpu and (wrong := misnamed(found.version, level)):
        if not name_cpu(found.int_ptr, wrong, level):
            raise DeviceError(
                f'OpenCL: {found.name.strip()} has a CPU that its compiler takes for "{wrong}", '
                f"which it is not; {REMEDY}"
            )
        target = f"{found.version.removesuffix(wrong)}{level}"
    return Device(
        name=found.name.strip(),
        target=target,
        is_cpu=is_cpu,
        lanes=(16 if level == V4 else 8) if is_cpu else 1,
        group=1 if is_cpu else _width(found),
        units=found.max_compute_units,
        rows=1 if is_cpu else min(256, found.max_work_group_size),
        items=found.max_compute_units * (1 if is_cpu else 512),
    )


def _chosen(devices: Sequence[Any], choice: str) -> Any:
    """The first of PyOpenCL's devices with these letters in its name, or its platform's."""
    if not devices:
        raise DeviceError(f"OpenCL: no device can be opened (there is none); {REMEDY}")
    names = [f"{d.name.strip()} on {d.platform.name.strip()}" for d in devices]
    for device, name in zip(devices, names, strict=True):
        if choice.lower() in name.lower():
            return device
    raise DeviceError(f"{CHOICE}={choice}: no such OpenCL device; there are: {'; '.join(names)}")


def _width(device: Any) -> int:
    """Work-items that a GPU runs in step: as few in a group leave none of its units idle."""
    extensions = device.extensions.split()
    if "cl_nv_device_attribute_query" in extensions:
        return device.warp_size_nv
    return device.wavefront_width_amd if "cl_amd_device_attribute_query" in extensions else 32
