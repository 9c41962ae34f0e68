"""The OpenCL device: found, opened and described once a process.

PyOpenCL's wheel brings a loader and (on Linux x86-64) the CPU driver PoCL. Importing it sets PoCL
up, which must happen before tinygrad opens OpenCL; tinygrad then uses that loader, unless the
system has one of its own.
"""

import ctypes.util
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kernels.pocl import cpu_level, name_cpu

REMEDY = (  # also of a kernel that cannot be built
    "install `pyopencl[pocl]` (Linux x86-64) or the OpenCL driver of your CPU or GPU, and see "
    "that ~/.cache, where PoCL and tinygrad keep compiled kernels, can be written and has space"
)


class DeviceError(RuntimeError):
    """No usable OpenCL device. The message says what was looked for and the remedy."""


@dataclass(frozen=True)
class Device:
    """lanes: floats a work-item handles at once, a vector on CPUs and 1 on GPUs

    target: what kernels are compiled for, so that caches tell it apart
    group: work-items a work-group; units: compute units (CPU cores)
    """

    name: str
    target: str
    is_cpu: bool
    lanes: int
    group: int
    units: int


@cache
def open_device() -> Device:
    """Open tinygrad's device "CL" and say what it is. Raises DeviceError."""
    try:
        import pyopencl
    except ImportError as e:
        raise DeviceError(f"OpenCL: pyopencl cannot be imported ({e}); {REMEDY}") from e
    if "OPENCL_PATH" not in os.environ and ctypes.util.find_library("OpenCL") is None:
        bundled = sorted((Path(pyopencl.__file__).parent / ".libs").glob("libOpenCL*"))
        if bundled:
            os.environ["OPENCL_PATH"] = str(bundled[0])
    try:
        from tinygrad import Device as Tinygrad
        from tinygrad.runtime.ops_cl import CLDevice

        opened = Tinygrad["CL"]
        assert isinstance(opened, CLDevice)
        found = pyopencl.Device.from_int_ptr(ctypes.cast(opened.cl_dev, ctypes.c_void_p).value)
    except (RuntimeError, OSError, AttributeError, IndexError, pyopencl.Error) as e:
        raise DeviceError(f"OpenCL: no device can be opened ({e}); {REMEDY}") from e
    is_cpu = bool(found.type & pyopencl.device_type.CPU)
    level = cpu_level() if is_cpu else ""
    # What PoCL is built for is the end of its version; no name of a CPU has "generic" in it.
    if found.version.endswith("-generic") and not name_cpu(found.int_ptr, level):
        raise DeviceError(
            f"OpenCL: {found.name.strip()} has a CPU that its compiler does not know; {REMEDY}"
        )
    return Device(
        name=found.name.strip(),
        target=f"{found.version} {level}".strip(),
        is_cpu=is_cpu,
        lanes=(16 if level == "x86-64-v4" else 8) if is_cpu else 1,
        group=1 if is_cpu else 64,
        units=found.max_compute_units,
    )
