"""The check of function units whose hardware takes every two's-complement input, the most negative one included."""

from torch import Tensor

from mxhw.errors import InputError

__all__ = ["check_signed"]


def check_signed(name: str, x: Tensor, bits: int) -> None:
    """Raise InputError unless every element of ``x`` fits signed ``bits``."""
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    if x.numel() and (int(x.min()) < low or int(x.max()) > high):
        raise InputError(f"{name} must be integers in {low}..{high}, not {int(x.min())}..{int(x.max())}")
