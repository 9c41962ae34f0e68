"""Hand-written OpenCL for training and evaluation, and how it gets into tinygrad's graph."""
