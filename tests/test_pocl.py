"""The CPU's name, for a PoCL that does not know it."""

import ctypes

import pytest

from kernels.pocl import LEVELS, WORDS, cpu_level, name_cpu

V2 = "lm " + " ".join(sorted(LEVELS["x86-64-v2"]))
V3 = V2 + " " + " ".join(sorted(LEVELS["x86-64-v3"]))
V4 = V3 + " " + " ".join(sorted(LEVELS["x86-64-v4"]))


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        (V4, "x86-64-v4"),
        (V4.replace("avx512vl", ""), "x86-64-v3"),
        (V4.replace("fma", ""), "x86-64-v2"),
        ("lm", "x86-64"),
        ("fp asimd", ""),
    ],
)
def test_the_level_includes_all_below_it(tmp_path, flags, level):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n\nflags : lm\n")
    assert cpu_level(tmp_path / "cpuinfo") == level


def test_no_cpuinfo_is_no_level(tmp_path):
    assert cpu_level(tmp_path / "cpuinfo") == ""


def test_the_name_is_put_where_the_device_has_none():
    unknown, other = ctypes.create_string_buffer(b"generic"), ctypes.create_string_buffer(b"x")
    words = (ctypes.c_uint64 * WORDS)(1, ctypes.addressof(other), 80, ctypes.addressof(unknown))
    assert name_cpu(ctypes.addressof(words), "x86-64-v3")
    assert ctypes.string_at(words[3]) == b"x86-64-v3"
    assert list(words[:3]) == [1, ctypes.addressof(other), 80]
    assert not name_cpu(ctypes.addressof(words), "x86-64-v3")  # it has one now


def test_memory_that_is_not_there_is_not_read():
    assert not name_cpu(8, "x86-64-v3")
