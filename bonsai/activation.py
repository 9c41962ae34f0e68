"""The activation "Ameo": piecewise, odd, and able to compute XOR in one neuron.

With u = x/2 - 1/2, factor f and leak l, A = f p + (1-f) q, where (tails excepted)

    p(x): x<=-3: -1+l(x+3) | x<=-1: x+2 | x<=1: -x | x<=3: x-2 | else 1+l(x-3)
    q(x) = 2r-1, r(u): u<=-2: l(u+2) | u<=-1.5: 8(u+2)^4 | u<=-.5: 1-8(u+1)^4
                     | u<=.5: 8u^4 | u<=1: 1-8(u-1)^4 | else 1+l(u-1)

A is odd, so both functions below work on t = |x|, where three cases are left; with e = t-1 up to
t = 2 and e = t-3 from there, q is e^4 - 1 and 1 - e^4. They use only IEEE additions,
multiplications and comparisons, in a fixed order and in the dtype of `x`, so that float32 gives
the same bits everywhere: the deployed network is this order.

Source: Casey Primozic, "Growing Bonsai Networks with RNNs", 2023.
"""

import numpy as np


def ameo(x: np.ndarray, factor: float, leak: float) -> np.ndarray:
    """A(x), elementwise, in the dtype of `x` (float32 or float64)."""
    f, leak = x.dtype.type(factor), x.dtype.type(leak)
    one, two, three = (x.dtype.type(c) for c in (1, 2, 3))
    t = np.abs(x)
    past = t - one
    e = np.where(t <= two, past, past - two)
    quartic = (e * e) * (e * e) - one
    smooth = np.where(t <= two, quartic, -quartic)
    linear = np.abs(past) - one
    inside = f * linear + (one - f) * smooth
    return np.copysign(one, x) * np.where(t <= three, inside, one + leak * (t - three))


def ameo_derivative(x: np.ndarray, factor: float, leak: float) -> np.ndarray:
    """A'(x), elementwise; at the kinks |x| = 1 and 3 the right and the left limit in |x|."""
    f, leak = x.dtype.type(factor), x.dtype.type(leak)
    one, two, three, four = (x.dtype.type(c) for c in (1, 2, 3, 4))
    t = np.abs(x)
    past = t - one
    e = np.where(t <= two, past, past - two)
    cubic = four * (e * e * e)
    smooth = np.where(t <= two, cubic, -cubic)
    linear = np.where(t < one, -one, one)
    inside = f * linear + (one - f) * smooth
    return np.where(t <= three, inside, leak)
