"""Hand-written OpenCL for training and evaluation, and how it gets into tinygrad's graph."""

import os

# tinygrad compiles in processes of their own otherwise. Ours are a few small kernels, done before
# such processes have started, and at a Ctrl-C each would show a traceback.
os.environ.setdefault("PARALLEL", "0")
