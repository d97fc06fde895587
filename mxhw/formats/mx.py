"""OCP microscaling: blocks of 32 with one power-of-two scale (E8M0), elements FP4, FP6, FP8 or INT.

Source: OCP Microscaling Formats v1.0. Scale = 2^(floor(log2 amax) - emax), clamped to [2^-127, 2^127] (the rule
"floor"; other rules are other formats and are not here); elements are rounded to nearest even with gradual underflow
and saturate at the largest finite value; no element is ever Inf or NaN. ``mxintB`` has elements k * 2^-(B-2) with
k in +-(2^(B-1) - 1): the most negative two's-complement code stays unused.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mxhw.errors import InputError
from mxhw.formats.base import Encoded, Field, Format, IntegerForm, Parts
from mxhw.formats.powers import E8M0_BIAS, exponent_of, power_of_two, round_half_even, round_to_float
from mxhw.formats.registry import register_format

__all__ = ["ELEMENT_TYPES", "ElementType", "MXFloatFormat", "MXIntFormat"]

_BLOCK = 32
_MANTISSA = 23


@dataclass(frozen=True)
class ElementType:
    """A small float: ``exponent_bits`` and ``mantissa_bits`` below a sign; ``largest`` is its largest finite value."""

    exponent_bits: int
    mantissa_bits: int
    largest: float

    @property
    def bits(self) -> int:
        """Width of a code."""
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def bias(self) -> int:
        """Exponent bias: 2^(exponent_bits - 1) - 1."""
        return (1 << (self.exponent_bits - 1)) - 1

    @property
    def emax(self) -> int:
        """Exponent of the largest value."""
        return int(self.largest).bit_length() - 1

    @property
    def step_exponent(self) -> int:
        """Exponent of the smallest subnormal, of which every value is a multiple."""
        return 1 - self.bias - self.mantissa_bits

    def round(self, x: Tensor) -> Tensor:
        """Round float32 to the values of this type: nearest even, saturating, the sign of zero kept."""
        rounded = round_to_float(x, self.mantissa_bits, 1 - self.bias)
        return rounded.clamp_(-self.largest, self.largest).copysign_(x)

    def codes(self, values: Tensor) -> Tensor:
        """Codes (sign, exponent, mantissa; uint8) of float32 that are values of this type."""
        # Scaled by 2^(bias-127), a value's float32 exponent field is its small one, and subnormals stay subnormal.
        small = (values * 2.0 ** (self.bias - 127)).view(torch.int32)
        magnitude = (small & 0x7FFFFFFF) >> (_MANTISSA - self.mantissa_bits)
        return (magnitude | ((small < 0).int() << (self.bits - 1))).to(torch.uint8)

    def values(self, codes: Tensor) -> Tensor:
        """Float32 values of codes."""
        codes = codes.to(torch.int32)
        sign = 1 << (self.bits - 1)
        magnitude = ((codes & (sign - 1)) << (_MANTISSA - self.mantissa_bits)).view(torch.float32)
        magnitude = magnitude * 2.0 ** (127 - self.bias)
        return torch.where((codes & sign) != 0, -magnitude, magnitude)


ELEMENT_TYPES = {
    "mxfp4": ElementType(2, 1, 6.0),
    "mxfp6-e2m3": ElementType(2, 3, 7.5),
    "mxfp6-e3m2": ElementType(3, 2, 28.0),
    "mxfp8-e4m3": ElementType(4, 3, 448.0),
    "mxfp8-e5m2": ElementType(5, 2, 57344.0),
}


@dataclass(frozen=True)
class _MXFormat(Format):
    """What float and integer elements share. Metadata "exponent" is the E8M0 byte, int32 [..., blocks]."""

    @property
    def block(self) -> int:
        return _BLOCK

    def _scale(self, peak: Tensor, emax: int) -> Tensor:
        """Unbiased exponent of the shared scale [..., blocks, 1]."""
        return (exponent_of(peak) - emax).clamp(min=-E8M0_BIAS)

    @staticmethod
    def _parts(codes: Tensor, exponent: Tensor) -> Parts:
        exponent = exponent.squeeze(-1)
        return Parts(codes, power_of_two(exponent), {"exponent": exponent + E8M0_BIAS})

    def _patterns(self, encoded: Encoded) -> dict[str, Tensor]:
        return {"code": encoded.codes, "exponent": encoded.metadata["exponent"]}

    @staticmethod
    def _integer_form(values: Tensor, encoded: Encoded, step_exponent: int) -> IntegerForm:
        exponent = encoded.metadata["exponent"] - E8M0_BIAS + step_exponent
        row = torch.ones(encoded.scales.shape[:-1], device=values.device)
        return IntegerForm(values.to(torch.int32), torch.ones_like(exponent), exponent, row)


@dataclass(frozen=True)
class MXFloatFormat(_MXFormat):
    """MXFP4, MXFP6 and MXFP8; codes are uint8: sign, exponent, mantissa."""

    element: str

    def __post_init__(self) -> None:
        if self.element not in ELEMENT_TYPES:
            raise InputError(f"element must be one of {', '.join(ELEMENT_TYPES)}, not {self.element!r}")

    @property
    def name(self) -> str:
        return self.element

    @property
    def type(self) -> ElementType:
        """The element type."""
        return ELEMENT_TYPES[self.element]

    @property
    def fields(self) -> tuple[Field, ...]:
        return Field("code", self.type.bits, "element"), Field("exponent", 8, "block")

    @property
    def has_integer_form(self) -> bool:  # type: ignore[override]
        return self.type.largest / 2.0**self.type.step_exponent < 2**31

    def _encode_blocks(self, blocks: Tensor, peak: Tensor) -> Parts:
        exponent = self._scale(peak, self.type.emax)
        return self._parts(self.type.codes(self.type.round(blocks * power_of_two(-exponent))), exponent)

    def _quantize_blocks(self, blocks: Tensor, peak: Tensor) -> Tensor:
        exponent = self._scale(peak, self.type.emax)
        return self.type.round(blocks * power_of_two(-exponent)).mul_(power_of_two(exponent))

    def _decode_blocks(self, parts: Parts) -> Tensor:
        return self.type.values(parts.codes) * parts.scales.unsqueeze(-1)

    def integers(self, encoded: Encoded) -> IntegerForm:
        if not self.has_integer_form:
            raise InputError(f"{self.name}: its elements span more than 32 bits as integers; use mxfp8-e4m3")
        values = self.type.values(encoded.codes) * 2.0**-self.type.step_exponent
        return self._integer_form(values, encoded, self.type.step_exponent)

    def _from_patterns(self, stored: dict[str, Tensor]) -> Parts:
        exponent = stored["exponent"].to(torch.int32) - E8M0_BIAS
        return self._parts(stored["code"].to(torch.uint8), exponent.unsqueeze(-1))


@dataclass(frozen=True)
class MXIntFormat(_MXFormat):
    """MXINT of 2 to 8 bits; codes are int8 k, value k * 2^-(width-2) * scale."""

    width: int

    has_integer_form = True

    def __post_init__(self) -> None:
        if not 2 <= self.width <= 8:
            raise InputError(f"{self.name}: MXINT has 2 to 8 bits, not {self.width}")

    @property
    def name(self) -> str:
        return f"mxint{self.width}"

    @property
    def fields(self) -> tuple[Field, ...]:
        return Field("code", self.width, "element"), Field("exponent", 8, "block")

    def _levels(self, blocks: Tensor, exponent: Tensor) -> Tensor:
        largest = (1 << (self.width - 1)) - 1
        # Two factors: their product is beyond float32 for the smallest scales.
        quotient = (blocks * power_of_two(-exponent)).mul_(2.0 ** (self.width - 2))
        return round_half_even(quotient.clamp_(-largest, largest))

    def _encode_blocks(self, blocks: Tensor, peak: Tensor) -> Parts:
        exponent = self._scale(peak, 0)
        return self._parts(self._levels(blocks, exponent).to(torch.int8), exponent)

    def _quantize_blocks(self, blocks: Tensor, peak: Tensor) -> Tensor:
        exponent = self._scale(peak, 0)
        return self._levels(blocks, exponent).mul_(2.0 ** -(self.width - 2)).mul_(power_of_two(exponent))

    def _decode_blocks(self, parts: Parts) -> Tensor:
        return (parts.codes.float() * 2.0 ** -(self.width - 2)).mul_(parts.scales.unsqueeze(-1))

    def integers(self, encoded: Encoded) -> IntegerForm:
        return self._integer_form(encoded.codes, encoded, -(self.width - 2))

    def _from_patterns(self, stored: dict[str, Tensor]) -> Parts:
        sign = 1 << (self.width - 1)
        exponent = stored["exponent"].to(torch.int32) - E8M0_BIAS
        return self._parts(((stored["code"] ^ sign) - sign).to(torch.int8), exponent.unsqueeze(-1))


def _parse(name: str) -> Format | None:
    if name in ELEMENT_TYPES:
        return MXFloatFormat(name)
    if name.startswith("mxint") and name[5:].isdecimal():
        return MXIntFormat(int(name[5:]))
    return None


register_format(
    "mxfp4 | mxfp6-e2m3 | mxfp6-e3m2 | mxfp8-e4m3 | mxfp8-e5m2 | mxint2..8",
    "OCP microscaling: blocks of 32 with a power-of-two scale of 8 bits (rule: floor)",
    _parse,
    [*ELEMENT_TYPES, *(f"mxint{b}" for b in range(2, 9))],
)
