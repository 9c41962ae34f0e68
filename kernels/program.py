"""Puts OpenCL source into tinygrad's graph, where it is scheduled, jitted and cached like its own.

tinygrad marks `custom_kernel` as alpha; this is the only file that knows how it works inside.
"""

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from tinygrad import Tensor, TinyJit, dtypes
from tinygrad.device import Device
from tinygrad.engine.realize import get_call_arg_uops, get_runtime
from tinygrad.uop.ops import KernelInfo, Ops, ProgramInfo, UOp

from kernels.device import open_device

SOURCES = Path(__file__).parent

# LLVM splits vectors of 512 bits in two for most CPUs that have them, unless a function asks.
WIDE = """#if defined(__clang__) && LANES == 16
#pragma clang attribute push(__attribute__((min_vector_width(512))), apply_to = function)
#endif
"""
WIDE_END = """#if defined(__clang__) && LANES == 16
#pragma clang attribute pop
#endif
"""


def source(constants: Mapping[str, object], *files: str) -> str:
    """The text of these files of `kernels/`, with compile-time constants defined before it.

    It names what it is compiled for: tinygrad's cache of binaries goes by the text and the name of
    the device, which machines with different CPUs may share.
    """
    head = f"// for {open_device().target}\n"
    defines = "".join(f"#define {name} {value}\n" for name, value in constants.items())
    texts = [(SOURCES / file).read_text(encoding="utf-8") for file in files]
    return head + defines + WIDE + "".join(texts) + WIDE_END


def on_device(values: np.ndarray) -> Tensor:
    """The values in the OpenCL device's memory, without a graph to copy them."""
    dtype = getattr(dtypes, values.dtype.name)
    tensor = Tensor.empty(*values.shape, dtype=dtype, device="CL").realize()
    tensor.uop.base.buffer.ensure_allocated()
    overwrite(tensor, values)
    return tensor


def overwrite(tensor: Tensor, values: np.ndarray) -> None:
    """Put values of the same shape and type where the tensor has its own on the device.

    Fewer rows take the place of the first.
    """
    fits = tensor.shape[1:] == values.shape[1:] and len(values) <= tensor.shape[0]
    assert fits, f"{tensor.shape}, not {values.shape}"
    buffer = tensor.uop.base.buffer
    each = buffer.nbytes // buffer.size
    assert each == values.itemsize, f"{tensor.dtype}, not {values.dtype}"
    buffer.allocator._copyin(buffer.get_buf("CL"), memoryview(bytearray(values.tobytes())))


def contents(tensor: Tensor) -> np.ndarray:
    """What a tensor that is realised has on the device, without a graph to copy it."""
    buffer = tensor.uop.base.buffer
    data = memoryview(bytearray(buffer.nbytes))
    buffer.allocator._copyout(data, buffer.get_buf("CL"))
    return np.frombuffer(data, tensor.dtype.fmt).reshape(tensor.shape)


def launch(
    text: str, kernel: str, written: int, groups: int, group: int, *tensors: Tensor
) -> list[Tensor]:
    """Run `kernel` of an OpenCL source on whole tensors, in the order of its arguments.

    written: how many of the tensors, the first ones, it writes (it may read them as well)
    groups, group: number of work-groups, and work-items in each
    Returns all tensors as they are after the kernel.
    """

    def program(*placeholders: UOp) -> UOp:
        parameters = [_parameter(p) for p in placeholders]
        sink = UOp.sink(*parameters, arg=KernelInfo(name=kernel))
        lines = UOp(Ops.LINEAR, src=(*parameters, sink))
        every = tuple(range(len(parameters)))
        target = Device[str(tensors[0].device)].renderer.target
        info = ProgramInfo(
            name=kernel,
            global_size=(groups, 1, 1),
            local_size=(group, 1, 1),
            globals=every,
            outs=every[:written],
            ins=every[written:],
            target=target,
        )
        return UOp(Ops.PROGRAM, src=(sink, lines, UOp(Ops.SOURCE, arg=text)), arg=info)

    return Tensor.custom_kernel(*tensors, fxn=program)


class Replay:
    """Calls `function`, which must launch the same kernels on the same tensors every time.

    The first call runs it, the second records it with `TinyJit`, and all others repeat the
    recorded launches on OpenCL itself: 2 us each on a CPU, where the jit would take 50.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        # Importing it loads the OpenCL library, whose place `open_device` has to tell before.
        from tinygrad.runtime import ops_cl

        self._opencl = ops_cl
        self._jit = TinyJit(function)
        self._launches: list[tuple] = []

    def __call__(self) -> None:
        cl = self._opencl
        for launch in self._launches:
            cl.check(cl.cl.clEnqueueNDRangeKernel(*launch))
        if not self._launches:
            self._jit()
            if self._jit.captured is not None:
                self._launches = [self._bound(call) for call in self._jit.captured.linear.src]

    def _bound(self, call: UOp) -> tuple:
        """What `clEnqueueNDRangeKernel` takes, for a kernel of its own that has its arguments."""
        opencl, program, device = self._opencl, call.src[0], Device["CL"]
        assert isinstance(device, opencl.CLDevice)
        tensors = [u.buffer.get_buf("CL") for u in get_call_arg_uops(call)]
        loaded = get_runtime("CL", program)
        kernel = opencl.checked(
            opencl.cl.clCreateKernel(
                loaded.program, program.arg.function_name.encode(), status := ctypes.c_int32()
            ),
            status,
        )
        for i, at in enumerate(program.arg.globals):
            memory = tensors[at]
            opencl.check(
                opencl.cl.clSetKernelArg(kernel, i, ctypes.sizeof(memory), ctypes.byref(memory))
            )
        groups, group = program.arg.launch_dims({})
        size = (ctypes.c_size_t * 3)(*(g * n for g, n in zip(groups, group, strict=True)))
        return device.queue, kernel, 3, None, size, (ctypes.c_size_t * 3)(*group), 0, None, None


def _parameter(placeholder: UOp) -> UOp:
    while placeholder.op is not Ops.PARAM:
        placeholder = placeholder.src[0]
    return placeholder
