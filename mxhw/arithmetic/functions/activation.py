"""SiLU, GELU and their gated forms: ``x * s(x)`` with a sigmoid-shaped s for which ``s(-x) = 1 - s(x)``.

Source: arithmetic.md, section 7 (SiLU, table SIG); GELU in the same way with a table of the normal distribution's
function (Gaussian error linear units, arXiv 1606.08415) or of its tanh approximation. The gated forms are SwiGLU and
GeGLU (arXiv 2002.05202). ReLU needs no table and stands with the elementwise units.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from mxhw.arithmetic.functions.checks import check_integer
from mxhw.arithmetic.functions.signed import check_signed
from mxhw.arithmetic.rounding import round_shift
from mxhw.arithmetic.tables import Table
from mxhw.arithmetic.widths import signed_bits
from mxhw.errors import InputError

__all__ = ["ActivationFunction", "ActivationSpec", "activation", "gated_activation"]

ActivationFunction = Literal["silu", "gelu", "gelu_tanh"]

FACTOR_BITS = 16
"""Bits of s, unsigned; 1.0 is ``2**16``, the largest is one unit below."""


def _normal(x: Tensor) -> Tensor:
    return (1 + torch.erf(x / math.sqrt(2))) / 2


def _normal_tanh(x: Tensor) -> Tensor:
    return (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


@dataclass(frozen=True)
class _Shape:
    """A factor s.

    Attributes
    ----------
    table : name of its table.
    factor : s in float64.
    range_log2 : beyond ``2**range_log2`` s is 1 to 16 bits.
    error : stated worst error of ``x * s(x)`` within that range, of the default table.
    """

    table: str
    factor: Callable[[Tensor], Tensor]
    range_log2: int
    error: float


_SHAPES: dict[ActivationFunction, _Shape] = {
    "silu": _Shape("sig", torch.sigmoid, 4, 3.8e-4),
    "gelu": _Shape("gelu", _normal, 3, 1.8e-4),
    "gelu_tanh": _Shape("gelu_tanh", _normal_tanh, 3, 1.8e-4),
}


@dataclass(frozen=True, kw_only=True)
class ActivationSpec:
    """One activation at one static exponent, to the bit.

    Input: signed ``input_bits``, exponent ``exponent``. Output: signed ``output_bits`` (18 for int16), exponent
    ``exponent - extra_bits``. Gated: times a second input of any exponent, exact, ``gated_bits`` (33).

    Worst error over all inputs against the float function of the same integers, default table: :attr:`worst_error`. It
    is 3.8e-4 (SiLU, at 2.06) or 1.8e-4 (both GELU, at 1.4) while inputs stay below 16, and ``2**-16`` of the largest
    input beyond (9.8e-4 at 64), plus half a unit of the output: far from 0, s is one unit below 1. The two GELU differ
    by up to 4.7e-4, so the tanh one has a table of its own (the erf table would be off by 5.7e-4) in the same circuit.

    Attributes
    ----------
    function : "silu", "gelu" (erf) or "gelu_tanh".
    exponent : the input's value is the integer times ``2**exponent``.
    input_bits, gate_bits : of the input and of the second factor of the gated form.
    entries_log2 : the table has ``2**entries_log2`` entries and is interpolated.
    range_log2 : the table covers ``[0, 2**range_log2)``; None for 4 (SiLU) or 3 (GELU).
    argument_fraction : bits below the point of the table's argument.
    extra_bits : bits of the output below the input's lowest.
    """

    function: ActivationFunction
    exponent: int
    input_bits: int = 16
    gate_bits: int = 16
    entries_log2: int = 7
    range_log2: int | None = None
    argument_fraction: int = 12
    extra_bits: int = 2

    def __post_init__(self) -> None:
        if self.function not in _SHAPES:
            raise InputError(
                f"function must be one of {', '.join(get_args(ActivationFunction))}, not {self.function!r}"
            )
        check_integer("exponent", self.exponent, -32, 8)
        check_integer("input_bits", self.input_bits, 2, 24)
        check_integer("gate_bits", self.gate_bits, 2, 24)
        check_integer("argument_fraction", self.argument_fraction, 1, 16)
        check_integer("range_log2", self.range, 0, 6)
        check_integer("entries_log2", self.entries_log2, 1, self.argument_fraction + self.range - 1)
        check_integer("extra_bits", self.extra_bits, 0, 8)

    @property
    def range(self) -> int:
        """``range_log2``, or its default."""
        return _SHAPES[self.function].range_log2 if self.range_log2 is None else self.range_log2

    @property
    def argument_shift(self) -> int:
        """Right shift (left if negative) from the input's magnitude to the table's argument."""
        return -self.exponent - self.argument_fraction

    @property
    def output_exponent(self) -> int:
        """Exponent of the output."""
        return self.exponent - self.extra_bits

    @property
    def largest(self) -> int:
        """Largest magnitude of an output: the largest input times the largest factor, rounded."""
        exact = ((1 << self.input_bits - 1) - 1) * ((1 << FACTOR_BITS) - 1)
        below = FACTOR_BITS - self.extra_bits
        return (exact + (1 << below - 1)) >> below

    @property
    def output_bits(self) -> int:
        """Bits of the signed output, which nothing saturates."""
        return signed_bits(self.largest)

    @property
    def gated_bits(self) -> int:
        """Bits of the signed product with the second input."""
        return signed_bits(self.largest << self.gate_bits - 1)

    @cached_property
    def table(self) -> Table:
        """The factor at ``2**entries_log2`` points of its range, u16."""
        shape = _SHAPES[self.function]
        return Table.of(
            shape.table,
            shape.factor,
            0,
            2.0**self.range,
            address_bits=self.entries_log2,
            fraction_bits=self.argument_fraction + self.range - self.entries_log2,
            output_bits=FACTOR_BITS,
            scale=float(1 << FACTOR_BITS),
        )

    @property
    def worst_error(self) -> float:
        """Stated worst error, in real units; a bound for every exponent, tight from ``2**-14`` on for int16.

        Raises
        ------
        InputError
            If the table is not the default one.
        """
        default = 7, _SHAPES[self.function].range_log2, 12
        if (self.entries_log2, self.range, self.argument_fraction) != default:
            raise InputError("worst_error is stated for the default table only")
        farthest = 2.0 ** (self.exponent + self.input_bits - 1 - FACTOR_BITS)
        return max(_SHAPES[self.function].error, farthest) + 2.0 ** (self.output_exponent - 1)

    def reference(self, x: Tensor) -> Tensor:
        """Return the float64 function of float64 values: what the integers approximate."""
        return x * _SHAPES[self.function].factor(x)


def activation(x: Tensor, spec: ActivationSpec) -> Tensor:
    """Return the activation of int64 mantissas of any shape, ``spec.output_bits`` wide.

    Raises
    ------
    InputError
        If one does not fit ``spec.input_bits``.
    """
    check_signed("x", x, spec.input_bits)
    argument = round_shift(x.abs(), spec.argument_shift).clamp(max=(1 << spec.table.input_bits) - 1)
    factor = spec.table.lookup(argument)
    factor = torch.where(x < 0, (1 << FACTOR_BITS) - factor, factor)
    return round_shift(x * factor, FACTOR_BITS - spec.extra_bits)


def gated_activation(gate: Tensor, x: Tensor, spec: ActivationSpec) -> Tensor:
    """Return ``activation(gate) * x``, exact, ``spec.gated_bits`` wide; its exponent is the sum of both.

    Raises
    ------
    InputError
        If an integer does not fit its bits.
    """
    check_signed("x", x, spec.gate_bits)
    return activation(gate, spec) * x
