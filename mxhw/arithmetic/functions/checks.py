"""Checks that the specifications of function units share; an int64 tensor must be able to hold every intermediate."""

from collections.abc import Sequence

from torch import Tensor

from mxhw.errors import InputError

__all__ = ["check_bits", "check_fits_int64", "check_integer", "check_integers", "check_operand"]


def check_integer(name: str, value: object, smallest: int | None = None, largest: int | None = None) -> None:
    """Raise InputError unless ``value`` is an int in ``smallest..largest``."""
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or (smallest is not None and value < smallest)
        or (largest is not None and value > largest)
    ):
        bounds = [f"at least {smallest}"] * (smallest is not None) + [f"at most {largest}"] * (largest is not None)
        raise InputError(f"{name} must be an integer{' of ' if bounds else ''}{' and '.join(bounds)}, not {value!r}")


def check_bits(**widths: object) -> None:
    """Raise InputError unless every width is one of a signed register: 2 to 62 bits."""
    for name, width in widths.items():
        check_integer(name, width, 2, 62)


def check_integers(name: str, values: Sequence[int], smallest: int, largest: int) -> None:
    """Raise InputError unless ``values`` are some ints in ``smallest..largest``."""
    if not values:
        raise InputError(f"{name} must be at least one integer, not none")
    wrong = [value for value in values if not isinstance(value, int) or not smallest <= value <= largest]
    if wrong:
        raise InputError(f"{name} must be integers in {smallest}..{largest}, not {wrong[0]!r}")


def check_fits_int64(name: str, largest: int) -> None:
    """Raise InputError if the magnitude of an intermediate can reach ``2**62``."""
    if largest >= 1 << 62:
        raise InputError(f"{name} must stay below 2^62, not reach 2^{largest.bit_length() - 1}")


def check_operand(name: str, x: Tensor, bits: int, length: int | None = None) -> None:
    """Raise InputError unless ``x`` [..., length] fits signed ``bits`` with a symmetric range."""
    if length is not None and (x.ndim == 0 or x.shape[-1] != length):
        raise InputError(f"{name} must be vectors of {length} elements, not of shape {tuple(x.shape)!r}")
    largest = (1 << bits - 1) - 1
    if x.numel() and (int(x.min()) < -largest or int(x.max()) > largest):
        raise InputError(f"{name} must be in ±{largest} ({bits} bits), not {int(x.min())}..{int(x.max())}")
