"""Puts OpenCL source into tinygrad's graph, where it is scheduled, jitted and cached like its own.

tinygrad marks `custom_kernel` as alpha; this is the only file that knows how it works.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tinygrad import Tensor
from tinygrad.device import Device
from tinygrad.uop.ops import KernelInfo, Ops, ProgramInfo, UOp

SOURCES = Path(__file__).parent


def source(constants: Mapping[str, object], *files: str) -> str:
    """The text of these files of `kernels/`, with compile-time constants defined before it."""
    defines = "".join(f"#define {name} {value}\n" for name, value in constants.items())
    return defines + "".join((SOURCES / file).read_text(encoding="utf-8") for file in files)


def on_device(values: np.ndarray) -> Tensor:
    """The values in the OpenCL device's memory."""
    return Tensor(values, device="CL").realize()


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


def _parameter(placeholder: UOp) -> UOp:
    while placeholder.op is not Ops.PARAM:
        placeholder = placeholder.src[0]
    return placeholder
