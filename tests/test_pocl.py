"""The CPU's name, for a PoCL that takes it for another."""

import ctypes
import mmap

import pytest

from kernels.pocl import LEVELS, WORDS, cpu_level, misnamed, name_cpu

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


@pytest.mark.parametrize(
    ("name", "level", "wrong"),
    [
        ("generic", "x86-64-v3", True),
        ("generic", "x86-64-v4", True),
        ("znver3", "x86-64-v3", False),
        ("znver3", "x86-64-v4", True),  # a fourth Zen, of the same family
        ("skylake-avx512", "x86-64-v4", False),
        ("skylake-avx512", "x86-64-v3", True),  # hidden by a virtual machine
        ("haswell", "x86-64-v3", False),
        ("x86-64-v4", "x86-64-v4", False),
    ],
)
def test_a_name_is_wrong_if_it_says_another_thing_of_avx512(name, level, wrong):
    version = f"OpenCL 3.0 PoCL HSTR: pthread-x86_64-unknown-linux-gnu-{name}"
    assert misnamed(version, level) == (name if wrong else "")


@pytest.mark.parametrize("name", ["generic", "znver3"])
def test_the_level_is_put_where_the_device_has_the_name(name):
    wrong, other = ctypes.create_string_buffer(name.encode()), ctypes.create_string_buffer(b"x")
    words = (ctypes.c_uint64 * WORDS)(1, ctypes.addressof(other), 80, ctypes.addressof(wrong))
    assert name_cpu(ctypes.addressof(words), name, "x86-64-v3")
    assert ctypes.string_at(words[3]) == b"x86-64-v3"
    assert list(words[:3]) == [1, ctypes.addressof(other), 80]
    before = list(words)
    assert name_cpu(ctypes.addressof(words), name, "x86-64-v3")  # it is there
    assert list(words) == before


def test_a_device_of_another_name_is_left_alone():
    other = ctypes.create_string_buffer(b"haswell")
    words = (ctypes.c_uint64 * WORDS)(1, ctypes.addressof(other))
    assert not name_cpu(ctypes.addressof(words), "znver3", "x86-64-v4")
    assert list(words[:3]) == [1, ctypes.addressof(other), 0]


@pytest.mark.parametrize("beyond", [mmap.PROT_READ, 0], ids=["a seam", "the end"])
def test_a_device_may_lie_across_a_seam_or_at_the_end_of_memory(beyond):
    page, protect = mmap.PAGESIZE, ctypes.CDLL(None, use_errno=True).mprotect
    memory = mmap.mmap(-1, 2 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert protect(ctypes.c_void_p(start + page), ctypes.c_size_t(page), beyond) == 0
    device = start + page - 64
    name = ctypes.create_string_buffer(b"generic")
    words = (ctypes.c_uint64 * 8).from_address(device)
    words[5] = ctypes.addressof(name)
    assert name_cpu(device, "generic", "x86-64-v3")
    assert ctypes.string_at(words[5]) == b"x86-64-v3"


def test_memory_that_is_not_there_is_not_read():
    assert not name_cpu(8, "generic", "x86-64-v3")
