"""1 / sqrt(n) of an integer: a table over the mantissa and the parity of the exponent, linearly interpolated.

Source: arithmetic.md, section 3 (RSQRT). The table's two halves, for even and odd exponents, meet at 2**-0.5, so that
they are one table over [1, 4).
"""

import torch
from torch import Tensor

from mxhw.arithmetic.rounding import leading_one
from mxhw.arithmetic.tables import Table

__all__ = ["FRACTION_BITS", "RSQRT", "WORST_RELATIVE_ERROR", "inverse_root"]

FRACTION_BITS = 16
# Over all n of 2^17 and more, where the mantissa is truncated; measured over both ends of all 2^17 cells.
WORST_RELATIVE_ERROR = 3.7e-4


def _inverse_root_of_position(t: Tensor) -> Tensor:
    """1 / sqrt of 1 + t on [0, 1) and of 2t = 2 (1 + (t - 1)) on [1, 2]."""
    return torch.where(t < 1, 1 + t, 2 * t).rsqrt()


RSQRT = Table.of(
    "rsqrt",
    _inverse_root_of_position,
    0.0,
    2.0,
    address_bits=5,
    fraction_bits=FRACTION_BITS + 1 - 5,
    output_bits=16,
    scale=2.0**16,
)


def inverse_root(n: Tensor) -> tuple[Tensor, Tensor]:
    """Return (r, k) with ``1 / sqrt(n) ≈ r * 2**(-16 - k)`` for int64 n > 0; r in 2**15..2**16 - 1, k at most 31."""
    top = leading_one(n)
    mantissa = (n << (FRACTION_BITS - top).clamp(min=0)) >> (top - FRACTION_BITS).clamp(min=0)
    fraction = mantissa & (1 << FRACTION_BITS) - 1
    return RSQRT.lookup((top & 1) << FRACTION_BITS | fraction), top >> 1
