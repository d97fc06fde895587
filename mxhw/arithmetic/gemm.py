"""The integer reference of the GEMM units, every bit defined.

    y[..., m, n] = sum over k of x[..., m, k] * w[..., n, k]

:func:`gemm_accumulators` returns the integers that the hardware's accumulators hold; :func:`gemm` converts them once to
float32. Sums are exact, so tiling and parallelism cannot change a bit. Not here: bias, and how heads share operands.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mxhw.arithmetic.exact import Limbs, Operand, multiply, operand, power_of_two
from mxhw.arithmetic.terms import ACTIVATION_LARGEST
from mxhw.arithmetic.units import Unit, unit_for
from mxhw.errors import InputError
from mxhw.formats import DIALECT_EXPONENT_BIAS, Format, IntegerForm, parse_format

__all__ = [
    "Accumulators",
    "DynamicHardwareGemm",
    "HardwareGemm",
    "gemm",
    "gemm_accumulators",
    "weight_exponents",
]

# Stored exponent 0 of a DialectFP4 block means 2**-16 per half unit.
_DIALECT_BIAS = DIALECT_EXPONENT_BIAS + 1


@dataclass(frozen=True)
class Accumulators(Limbs):
    """What a unit's accumulators hold: ``high * 2**32 + low``, [..., M, N].

    Attributes
    ----------
    exponent : the unit of an accumulator is 2**exponent (dialect); 0 for bitmod, whose rows keep their own scales.
    """

    exponent: int = 0


def weight_exponents(w: IntegerForm) -> tuple[int, int]:
    """Return the smallest and largest stored exponent (0..31) of a DialectFP4 operand, which size its accumulator."""
    return int(w.exponent.min()) + _DIALECT_BIAS, int(w.exponent.max()) + _DIALECT_BIAS


def gemm_accumulators(x: IntegerForm, w: IntegerForm, unit: Unit) -> Accumulators:
    """Return the exact accumulators of ``unit`` for x [..., M, blocks, block] and w [..., N, blocks, block].

    bitmod: sum over groups of multiplier * group sum. The scales of rows (activation exponents and float scales) stay
    outside, as in the hardware. dialect: sum over blocks of block sum << (ea + ew - ew_min) with stored exponents ea
    and ew and the operand's smallest ew; the unit of the result is 2**(ew_min - 32).

    Raises InputError if the exponents of a row differ where the unit applies none inside a row.
    """
    a, b = operand(x), operand(w)
    product = multiply(a, b)
    limbs = product if isinstance(product, Limbs) else Limbs.of(product.to(torch.int64))
    if unit == "bitmod":
        for name, form in (("x", x), ("w", w)):
            if form.exponent.numel() and bool((form.exponent != form.exponent[..., :1]).any()):
                raise InputError(
                    f"the bitmod unit takes one exponent per row; the exponents of {name} differ inside a row"
                )
        return Accumulators(limbs.high, limbs.low)
    floor = weight_exponents(w)[0] - _DIALECT_BIAS
    shift = (a.exponent + _DIALECT_BIAS)[..., :, None] + (b.exponent - floor)[..., None, :]
    limbs = limbs.shift(shift)
    return Accumulators(limbs.high, limbs.low, floor - _DIALECT_BIAS)


def gemm(
    x: Tensor, w: Tensor, x_format: Format | str, w_format: Format | str, *, x_axis: int = -1, w_axis: int = -1
) -> Tensor:
    """Return x · wᵀ as the hardware computes it: encode both, multiply exactly, convert once. float32, [..., M, N].

    ``x_axis`` and ``w_axis`` name the reduction axis of each operand (-1, or -2 where it comes first). Leading
    dimensions broadcast as in ``torch.matmul``. The conversion is acc * row_scale_x * row_scale_w * 2**exponent in
    float64, in this order, then float32. Raises InputError if no unit computes this pair of formats.
    """
    unit_for(x_format, w_format)
    return _product(_encode(x, x_format, x_axis), _encode(w, w_format, w_axis))


class HardwareGemm(nn.Module):
    """``y = x · wᵀ`` in hardware arithmetic with a fixed weight [N, K], encoded once."""

    matrix: Tensor
    exponent: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor, x_format: Format | str, w_format: Format | str) -> None:
        super().__init__()
        unit = unit_for(x_format, w_format)
        self.x_format, self.w_format = _format(x_format), _format(w_format)
        encoded = _encode(weight.detach(), self.w_format, -1)
        exact32 = unit == "bitmod" and ACTIVATION_LARGEST * encoded.largest * encoded.matrix.shape[-1] < 1 << 24
        self._largest = encoded.largest
        self.register_buffer("matrix", encoded.matrix.to(torch.float32 if exact32 else torch.float64), persistent=False)
        self.register_buffer("exponent", encoded.exponent, persistent=False)
        self.register_buffer("scale", encoded.scale, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [..., M, N] for x [..., M, K]; equal to :func:`gemm` bit for bit."""
        weight = Operand(self.matrix, self._largest, self.exponent, self.scale)
        if x.shape[-1] > weight.matrix.shape[-1]:
            raise InputError(f"x must have at most {weight.matrix.shape[-1]} channels, not {x.shape[-1]}")
        return _product(_encode(x, self.x_format, -1), weight)


class DynamicHardwareGemm(nn.Module):
    """``y = x · wᵀ`` in hardware arithmetic where both operands are computed, as in attention; see :func:`gemm`."""

    def __init__(self, x_format: Format | str, w_format: Format | str, *, x_axis: int = -1, w_axis: int = -1) -> None:
        super().__init__()
        unit_for(x_format, w_format)
        self.x_format, self.w_format = _format(x_format), _format(w_format)
        self.x_axis, self.w_axis = x_axis, w_axis

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Return float32 [..., M, N]."""
        return _product(_encode(x, self.x_format, self.x_axis), _encode(w, self.w_format, self.w_axis))


def _product(x: Operand, w: Operand) -> Tensor:
    exact = multiply(x, w)
    values = exact.float64() if isinstance(exact, Limbs) else exact.double()
    # Powers of two are exact in any order, so each row's goes with its scale: two passes over [M, N] instead of four.
    values *= (x.scale * power_of_two(x.exponent))[..., :, None]
    values *= (w.scale * power_of_two(w.exponent))[..., None, :]
    return values.float()


def _encode(x: Tensor, fmt: Format | str, axis: int) -> Operand:
    fmt = _format(fmt)
    return operand(fmt.integers(fmt.encode(x, axis=axis)))


def _format(fmt: Format | str) -> Format:
    return parse_format(fmt) if isinstance(fmt, str) else fmt
