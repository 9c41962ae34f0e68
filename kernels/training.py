"""The kernels that a plant can be trained with, by the names that `train.kernel` knows them by."""

from collections.abc import Callable

from bonsai.train import Training
from kernels.fused import FusedTraining
from kernels.plain import PlainTraining

KERNELS: dict[str, Callable[..., Training]] = {
    "fused": FusedTraining,
    "reference": PlainTraining,
}
