"""How a format stores the scale of a block: as float16, bfloat16 or float32, clamped to the positive finite range.

Powers of two (E8M0) are in :mod:`mxhw.formats.powers`, unsigned integers against a scale per row below.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["FLOAT_SCALES", "FloatScale", "scaled", "second_level"]

_MULTIPLIER_MAX = 255
_FLOAT_MAX = torch.finfo(torch.float32).max


@dataclass(frozen=True)
class FloatScale:
    """A floating-point type that scales are stored in; ``smallest`` is its smallest positive value."""

    dtype: torch.dtype
    pattern_dtype: torch.dtype
    bits: int
    smallest: float
    suffix: str
    kernel_type: int
    """The same type in kernels/kernels.h, enum float_type."""

    @property
    def largest(self) -> float:
        """Largest finite value."""
        return torch.finfo(self.dtype).max

    def round(self, scale: Tensor) -> Tensor:
        """The stored value, as float32, of float32 scales: clamped to the positive finite range, nearest even."""
        return scale.clamp(self.smallest, self.largest).to(self.dtype).float()

    def pattern(self, scale: Tensor) -> Tensor:
        """Bit patterns (signed integers of the same width) of stored scales."""
        return scale.to(self.dtype).view(self.pattern_dtype)

    def value(self, pattern: Tensor) -> Tensor:
        """Float32 scales of bit patterns."""
        return pattern.to(self.pattern_dtype).view(self.dtype).float()


FLOAT_SCALES = {
    "float16": FloatScale(torch.float16, torch.int16, 16, 2.0**-24, "sf16", 1),
    "bfloat16": FloatScale(torch.bfloat16, torch.int16, 16, 2.0**-133, "sbf16", 2),
    "float32": FloatScale(torch.float32, torch.int32, 32, 2.0**-149, "sf32", 0),
}


def second_level(scales: Tensor, smallest: int) -> tuple[Tensor, Tensor]:
    """Quantize the block scales of each row to unsigned 8 bit against one float32 scale per row (VS-Quant).

    Parameters
    ----------
    scales : Tensor
        Float32 [..., blocks], not negative.
    smallest : int
        The smallest multiplier to use: 0, or 1 where elements are divided by the result.

    Returns
    -------
    multiplier, row_scale : Tensor
        Int32 [..., blocks] from ``smallest`` to 255, nearest with ties to even, and float32 [...], the largest / 255.
    """
    row = scales.amax(-1) / _MULTIPLIER_MAX
    ratio = scales / row.unsqueeze(-1).clamp(min=2.0**-149)
    return ratio.round().clamp(smallest, _MULTIPLIER_MAX).to(torch.int32), row


def scaled(levels: Tensor, scale: Tensor) -> Tensor:
    """``levels * scale`` in float32, in place of ``levels``, saturating: a rounded scale may put a product past the
    largest float32."""
    values = levels.mul_(scale)
    if bool(scale.amax() > _FLOAT_MAX / 256):
        values.clamp_(-_FLOAT_MAX, _FLOAT_MAX)
    return values
