"""This machine's limit for inline multiply-adds in OpenCL: `python -m benchmarks.limit`.

Independent `a*b+c` on vectors in registers, on all cores: nothing is loaded or stored, so that no
kernel written in the same language can do more of them in a second.
"""

import time

import numpy as np
import pyopencl as cl

from kernels.device import open_device
from kernels.program import WIDE, WIDE_END

WIDTHS = (8, 10, 12, 14, 20, 26)  # independent sums; the best counts: too few wait, too many spill
ROUNDS = 2_000_000  # of one multiply-add a sum


class Limit:
    """The kernels, compiled once, so that the limit can be measured between other things."""

    def __init__(self) -> None:
        device = open_device()
        self._vector = f"float{device.lanes}" if device.is_cpu else "float"
        self._lanes = device.lanes
        self._items = device.units if device.is_cpu else device.units * 2048
        self._group = device.group
        self._rounds = ROUNDS if device.is_cpu else ROUNDS // 200
        found = [d for p in cl.get_platforms() for d in p.get_devices()]
        self._device = next(d for d in found if d.name.strip() == device.name)
        self._context = cl.Context([self._device])
        self._queue = cl.CommandQueue(self._context)
        self._out = cl.Buffer(self._context, cl.mem_flags.WRITE_ONLY, 4 * self._items)
        self._kernels = [self._kernel(width) for width in WIDTHS]
        self.measure()

    def measure(self) -> float:
        """Floating-point operations a second, a multiply-add counting as two."""
        best = 0.0
        for width, kernel in zip(WIDTHS, self._kernels, strict=True):
            self._queue.finish()
            start = time.perf_counter()
            kernel(
                self._queue,
                (self._items,),
                (self._group,),
                self._out,
                np.float32(0.999),
                np.float32(0.001),
                np.int32(self._rounds),
            )
            self._queue.finish()
            done = 2 * width * self._lanes * self._rounds * self._items
            best = max(best, done / (time.perf_counter() - start))
        return best

    def _kernel(self, width: int) -> cl.Kernel:
        v = self._vector
        names = [f"s{i}" for i in range(width)]
        if self._lanes == 1:
            zero, folded = "(float)get_global_id(0)", "total"
        else:
            zero = f"({v})({', '.join(map(str, range(self._lanes)))})"
            folded = " + ".join(f"total.s{lane:x}" for lane in range(self._lanes))
        total = " + ".join(names)
        text = f"""
        #define LANES {self._lanes}
        {WIDE}
        __kernel void limit(__global float *out, float factor, float term, int rounds) {{
            const {v} a = ({v})factor, b = ({v})term;
            {v} {", ".join(f"{name} = {zero} + {i}.0f" for i, name in enumerate(names))};
            for (int i = 0; i < rounds; i++) {{
                {" ".join(f"{name} = {name} * a + b;" for name in names)}
            }}
            const {v} total = {total};
            out[get_global_id(0)] = {folded};
        }}
        {WIDE_END}"""
        return cl.Program(self._context, text).build().limit


if __name__ == "__main__":
    limit = Limit()
    print(f"{max(limit.measure() for _ in range(5)) / 1e9:.0f} GFLOP/s")
