"""PoCL on CPUs that are not what its LLVM takes them for.

PoCL asks the LLVM that it was built with for the CPU's name. PoCL 3.0, which PyOpenCL's wheel
brings, has LLVM 14. Of a CPU made since it answers "generic", which its own compiler then refuses
("unknown target CPU 'generic'"), so that no kernel can be built; or it goes by the family, and
takes AMD's fourth Zen for the third, which has no AVX-512, or does not see that a virtual machine
hides AVX-512. PoCL has no option for the name (its issue 1049); it is kept in the structure behind
`cl_device_id`, and there we put the x86-64 level that the CPU's features amount to.
"""

import ctypes
import os
import struct
from pathlib import Path

WORDS = 256  # of the device's structure that are looked through; PoCL 3.0 has the name in word 80
V4 = "x86-64-v4"
LEVELS = {  # levels of the x86-64 psABI that LLVM 14 knows, by features as Linux names them
    V4: {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86-64-v3": {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"},
    "x86-64-v2": {"sse4_1", "sse4_2", "ssse3", "popcnt", "cx16", "lahf_lm"},
}
WIDE = {  # LLVM's names of CPUs with AVX-512, in version 14 and, from "znver4" on, since
    *("skylake-avx512", "cascadelake", "cooperlake", "cannonlake", "icelake-client"),
    *("icelake-server", "rocketlake", "tigerlake", "sapphirerapids", "knl", "knm"),
    *("znver4", "znver5", "emeraldrapids", "graniterapids"),
}

_kept: dict[int, ctypes.Array] = {}  # names that devices point to, by address


def cpu_level(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The highest x86-64 level that the CPU has; "" where there is no such file or no x86-64.

    A level includes those below it.
    """
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    if "lm" not in flags:
        return ""
    level = "x86-64"
    for name, needed in reversed(LEVELS.items()):
        if not needed <= set(flags):
            break
        level = name
    return level


def misnamed(version: str, level: str) -> str:
    """The CPU's name, with which PoCL's version ends, if it has not the features of that one.

    level: of `cpu_level`. "" if the name is right, as far as AVX-512 goes.
    """
    wrong = {"generic"} | ({"znver3"} if level == V4 else WIDE)
    return next((name for name in wrong if version.endswith(f"-{name}")), "")


def name_cpu(device: int, name: str, level: str) -> bool:
    """Put the level where a PoCL device has its CPU's name, and say whether it is there now.

    device: the address that `cl_device_id` is; level: of `cpu_level`
    """
    if not level:
        return False
    wrong = name.encode() + b"\0"
    try:
        # Through the kernel, which tells what is not mapped where a look would end the process.
        memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        words = _read(memory, device, 8 * WORDS)
        for at, (word,) in enumerate(struct.iter_unpack("=Q", words[: len(words) // 8 * 8])):
            if word in _kept:
                return True
            if _read(memory, word, len(wrong)) == wrong:
                put = ctypes.create_string_buffer(level.encode())
                _kept[ctypes.addressof(put)] = put
                ctypes.c_uint64.from_address(device + 8 * at).value = ctypes.addressof(put)
                return True
    finally:
        os.close(memory)
    return False


def _read(memory: int, address: int, size: int) -> bytes:
    """So many bytes of this process at an address, or as many as there are."""
    try:
        return os.pread(memory, size, address)
    except (OSError, OverflowError):  # nothing there, or no address
        return b""
