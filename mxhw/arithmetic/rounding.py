"""The rounding, saturation and leading-one rules of every integer unit; their hardware is `rtl_templates.integer`.

Source: arithmetic.md, section 1. All functions take and return int64 tensors and are exact as long as no intermediate
leaves int64; callers derive widths so that none does.
"""

import torch
from torch import Tensor

__all__ = ["leading_one", "round_shift", "saturate"]


def round_shift(x: Tensor, shift: Tensor | int) -> Tensor:
    """Return ``floor(x / 2**shift + 1/2)``: round half up; a negative ``shift`` is an exact shift to the left.

    A shift of 63 or more would leave int64 on the way: it is taken as 62, which gives the same for ``|x| < 2**61``.
    With a tensor of shifts ``x`` is doubled, so that it has to stay below ``2**62``.
    """
    # floor((floor(y) + 1) / 2) = floor((y + 1) / 2), so the half is added after all but one of the shifts.
    if isinstance(shift, int):
        return ((x >> min(shift, 62) - 1) + 1) >> 1 if shift > 0 else x << -shift
    amount = torch.as_tensor(shift, dtype=torch.int64, device=x.device)
    low, high = (int(bound) for bound in amount.aminmax()) if amount.numel() else (0, 0)
    right = amount if low >= 0 and high <= 62 else amount.clamp(0, 62)
    rounded = ((x << 1) >> right).add_(1).bitwise_right_shift_(1)
    return rounded if low >= 0 else rounded << (-amount).clamp_(min=0)


def saturate(x: Tensor, bits: int) -> Tensor:
    """Return ``x`` clamped to ``±(2**(bits - 1) - 1)``: symmetric, so that a magnitude fits ``bits - 1`` bits."""
    largest = (1 << bits - 1) - 1
    return x.clamp(-largest, largest)


def leading_one(x: Tensor) -> Tensor:
    """Return ``floor(log2(x))`` of non-negative integers, 0 for 0."""
    position = torch.zeros_like(x)
    for step in (32, 16, 8, 4, 2, 1):
        large = (x >> step) > 0
        position = torch.where(large, position + step, position)
        x = torch.where(large, x >> step, x)
    return position
