"""OCP microscaling: blocks with one power-of-two scale (E8M0), elements FP4, FP6, FP8 or INT.

Source: OCP Microscaling Formats v1.0: blocks of 32, scale 2^(floor(log2 amax) - emax), elements rounded to nearest even
with gradual underflow, saturating at the largest finite value; no element is ever Inf or NaN. ``mxintB`` has elements
k * 2^-(B-2) with k in +-(2^(B-1) - 1): the most negative two's-complement code stays unused.

Beyond the standard are other rules for the exponent of the scale, here E = floor(log2 amax) - emax. All are clamped to
-127..127, and all but the last are exact: E + 1 where the significand of amax is above a bound, else E.

- floor (no suffix): E.
- ``-rceil``: ceil(log2(amax / largest element)), the smallest scale at which nothing saturates.
- ``-ceil``: ceil(log2 amax) - emax.
- ``-even``: floor(log2 of amax rounded to the element's mantissa width, nearest even) - emax.
- ``-mse``: of E - 1, E, E + 1 in this order, each clamped, the first of least squared error; errors are sums in
  float64, in index order, of the squared differences of the float32 values. A float32 estimate decides where it is
  certain.

With the rules that round up, the largest float32 values would leave the range of float32: they saturate in it.

Other blocks: ``-bN`` has N elements along the axis, ``-bRxN`` tiles of R neighbouring vectors by N, as in MASE.
"""

import ctypes
import re
from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from mxhw.errors import InputError
from mxhw.formats.base import Encoded, Field, Format, IntegerForm, Parts
from mxhw.formats.elements import ELEMENT_TYPES, ElementType, IntegerElement
from mxhw.formats.kernels import Kernel
from mxhw.formats.layout import BlockLayout, TileLayout
from mxhw.formats.powers import E8M0_BIAS, e8m0_bytes, power_of_two
from mxhw.formats.registry import register_format
from mxhw.formats.selection import first_minimum

__all__ = ["ELEMENT_TYPES", "MX_MSE_OFFSETS", "MX_RULES", "ElementType", "MXFloatFormat", "MXIntFormat"]

MX_RULES = ("floor", "rceil", "ceil", "even", "mse")
# What the rule "mse" adds to the exponent of the rule "floor", in the order in which equal errors are decided.
MX_MSE_OFFSETS = (-1, 0, 1)

_BLOCK = 32
_LARGEST_BLOCK = 1 << 16
# Parts of a float32.
_MANTISSA = 23
_BIAS = 127
_HIDDEN_ONE = 1 << _MANTISSA
_MAGNITUDE = 0x7FFFFFFF
_FLOAT_MAX = torch.finfo(torch.float32).max
# Squares of differences in units of the scale: below this they approach the subnormals.
_SMALLEST_ERROR = 1e-30


class _KernelParams(ctypes.Structure):
    """`mx_params` of kernels/mx.c."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("emax", "bump_above", "offsets")),
        ("offset", ctypes.c_int32 * 3),
        *((name, ctypes.c_int32) for name in ("mantissa", "smallest")),
        *((name, ctypes.c_float) for name in ("largest", "relative_margin", "absolute_margin")),
    )


@dataclass(frozen=True, kw_only=True)
class _MXFormat(Format):
    """What float and integer elements share: blocks of ``tile_rows`` vectors by ``size``, the ``rule`` of the scale.

    Metadata "exponent" is the E8M0 byte, int32 [..., blocks].
    """

    rule: str = "floor"
    size: int = _BLOCK
    tile_rows: int = 1

    def __post_init__(self) -> None:
        if self.rule not in MX_RULES:
            raise InputError(f"{self.name}: rule must be one of {', '.join(MX_RULES)}, not {self.rule!r}")
        if self.size < 1 or self.tile_rows < 1 or self.size * self.tile_rows > _LARGEST_BLOCK:
            raise InputError(
                f"{self.name}: a block has 1 to {_LARGEST_BLOCK} elements, not {self.tile_rows}x{self.size}"
            )

    @property
    def name(self) -> str:
        tile = f"{self.tile_rows}x" * (self.tile_rows > 1)
        block = f"-b{tile}{self.size}" * (self.size != _BLOCK or self.tile_rows > 1)
        return f"{self._element_name}{block}{f'-{self.rule}' * (self.rule != 'floor')}"

    @property
    def block(self) -> int:
        return self.size

    @property
    def fields(self) -> tuple[Field, ...]:
        return Field("code", self.type.bits, "element"), Field("exponent", 8, "block")

    def layout(self, shape: torch.Size, axis: int) -> BlockLayout:
        if self.tile_rows == 1:
            return super().layout(shape, axis)
        return TileLayout.over(shape, axis, self.tile_rows, self.size)

    @property
    @abstractmethod
    def type(self) -> ElementType | IntegerElement:
        """The element type."""

    @property
    @abstractmethod
    def _element_name(self) -> str:
        """The name of the format with the block and rule of the standard."""

    @property
    def _bump_above(self) -> int:
        """The exponent is E + 1 where the 23 bits of amax below its leading one are above this number, else E."""
        one = 1 << _MANTISSA
        if self.rule == "ceil":
            return 0
        if self.rule == "rceil":
            return int((self.type.largest * 2.0**-self.type.emax - 1) * one)
        if self.rule == "even":
            return one - (one >> (self.type.mantissa_bits + 1)) - 1
        return one - 1

    def _exponent(self, blocks: Tensor, peak: Tensor) -> Tensor:
        """Unbiased exponent of the shared scale, int32 [..., blocks, 1]."""
        bits = peak.view(torch.int32) & _MAGNITUDE
        # Where the leading one is not hidden it is shifted out, from 2^-127 on; below, no rule reaches past -127.
        bits = torch.where(bits < _HIDDEN_ONE, (2 * bits - _HIDDEN_ONE).clamp_(min=0), bits)
        exponent = ((bits + (_HIDDEN_ONE - 1 - self._bump_above)) >> _MANTISSA) - (_BIAS + self.type.emax)
        if self.rule == "mse":
            return self._least_error(blocks, exponent)
        return exponent.clamp_(-E8M0_BIAS, E8M0_BIAS)

    def _least_error(self, blocks: Tensor, exponent: Tensor) -> Tensor:
        """The first of E - 1, E, E + 1 with the least squared error."""
        candidates = torch.cat([exponent + offset for offset in MX_MSE_OFFSETS], -1).clamp_(-E8M0_BIAS, E8M0_BIAS)
        choices, flat = candidates.reshape(-1, len(MX_MSE_OFFSETS)), blocks.reshape(-1, blocks.shape[-1])
        unit = power_of_two(-choices[:, 1:2])
        estimates = []
        for choice in torch.split(choices, 1, -1):
            error = self._round(flat, choice).sub_(flat).mul_(unit)
            estimates.append(error.square_().sum(-1))
        estimate = torch.stack(estimates, -1)
        in_doubt = estimate.le_(estimate.amin(-1, keepdim=True) * self._relative_margin + _SMALLEST_ERROR)

        def errors(block: Tensor, candidate: Tensor) -> Tensor:
            x, choice = flat[block], choices[block, candidate].unsqueeze(-1)
            return self._round(x, choice).double().sub_(x.double()).square_()

        best = first_minimum(in_doubt, errors).view(exponent.shape)
        return candidates.gather(-1, best)

    @property
    def _relative_margin(self) -> float:
        """Differences are exact; squares and their sum lose at most 2^-24 of the sum per addition, on either side."""
        return 1.0 + 2.0**-22 * (self.size * self.tile_rows + 4)

    def _round(self, blocks: Tensor, exponent: Tensor) -> Tensor:
        """The values of ``blocks`` at a scale of 2^exponent."""
        return self._scaled(self.type.round(blocks * power_of_two(-exponent)), exponent)

    def _scaled(self, elements: Tensor, exponent: Tensor) -> Tensor:
        """``elements`` times 2^exponent, in place; where a rule rounded up that may be beyond float32."""
        values = elements.mul_(power_of_two(exponent))
        if bool(exponent.amax() > E8M0_BIAS - self.type.emax):
            values.clamp_(-_FLOAT_MAX, _FLOAT_MAX)
        return values

    def _encode_blocks(self, blocks: Tensor, peak: Tensor) -> Parts:
        exponent = self._exponent(blocks, peak)
        elements = self.type.round(blocks * power_of_two(-exponent))
        return self._parts(self.type.codes(elements), exponent.squeeze(-1))

    def _quantize_blocks(self, blocks: Tensor, peak: Tensor) -> Tensor:
        return self._round(blocks, self._exponent(blocks, peak))

    def _decode_blocks(self, parts: Parts) -> Tensor:
        return self._scaled(self.type.values(parts.codes), parts.metadata["exponent"].unsqueeze(-1) - E8M0_BIAS)

    def _kernel(self, x: Tensor) -> Kernel:
        return _kernel(self)

    @staticmethod
    def _parts(codes: Tensor, exponent: Tensor) -> Parts:
        return Parts(codes, power_of_two(exponent), {"exponent": exponent + E8M0_BIAS})

    def _patterns(self, encoded: Encoded) -> dict[str, Tensor]:
        return {"code": encoded.codes, "exponent": encoded.metadata["exponent"]}

    @property
    def has_integer_form(self) -> bool:  # type: ignore[override]
        return self.tile_rows == 1 and self._fits_int32

    @property
    def _fits_int32(self) -> bool:
        return self.type.largest / 2.0**self.type.step_exponent < 2**31

    def integers(self, encoded: Encoded) -> IntegerForm:
        if not self._fits_int32:
            raise InputError(f"{self.name}: its elements span more than 32 bits as integers; use mxfp8-e4m3")
        if self.tile_rows > 1:
            flat = replace(self, tile_rows=1)
            raise InputError(f"{self.name} has no integer form: hardware multiplies blocks of one vector; use {flat}")
        values = self.type.values(encoded.codes) * 2.0**-self.type.step_exponent
        exponent = encoded.metadata["exponent"] - E8M0_BIAS + self.type.step_exponent
        row = torch.ones(encoded.scales.shape[:-1], device=values.device)
        return IntegerForm(values.to(torch.int32), torch.ones_like(exponent), exponent, row)


@dataclass(frozen=True)
class MXFloatFormat(_MXFormat):
    """MXFP4, MXFP6 and MXFP8; codes are uint8: sign, exponent, mantissa."""

    element: str

    def __post_init__(self) -> None:
        if self.element not in ELEMENT_TYPES:
            raise InputError(f"element must be one of {', '.join(ELEMENT_TYPES)}, not {self.element!r}")
        super().__post_init__()

    @property
    def type(self) -> ElementType:
        """The element type."""
        return ELEMENT_TYPES[self.element]

    @property
    def _element_name(self) -> str:
        return self.element

    def _from_patterns(self, stored: dict[str, Tensor]) -> Parts:
        return self._parts(stored["code"].to(torch.uint8), e8m0_bytes(stored["exponent"]) - E8M0_BIAS)


@dataclass(frozen=True)
class MXIntFormat(_MXFormat):
    """MXINT of 2 to 8 bits; codes are int8 k, value k * 2^-(width-2) * scale."""

    width: int

    def __post_init__(self) -> None:
        if not 2 <= self.width <= 8:
            raise InputError(f"{self.name}: MXINT has 2 to 8 bits, not {self.width}")
        super().__post_init__()

    @property
    def type(self) -> IntegerElement:
        """The element type."""
        return IntegerElement(self.width)

    @property
    def _element_name(self) -> str:
        return f"mxint{self.width}"

    def _from_patterns(self, stored: dict[str, Tensor]) -> Parts:
        sign = 1 << (self.width - 1)
        exponent = e8m0_bytes(stored["exponent"]) - E8M0_BIAS
        return self._parts(((stored["code"] ^ sign) - sign).to(torch.int8), exponent)


@cache
def _kernel(fmt: _MXFormat) -> Kernel:
    offsets = MX_MSE_OFFSETS if fmt.rule == "mse" else ()
    params = _KernelParams(fmt.type.emax, fmt._bump_above, len(offsets), (ctypes.c_int32 * 3)(*offsets))
    if isinstance(fmt.type, ElementType):
        params.mantissa, params.smallest, params.largest = fmt.type.mantissa_bits, 1 - fmt.type.bias, fmt.type.largest
    else:
        params.mantissa, params.smallest, params.largest = -1, fmt.type.step_exponent, fmt.type.largest_level
    params.relative_margin, params.absolute_margin = fmt._relative_margin, _SMALLEST_ERROR
    return Kernel("mxhw_mx", params)


_NAME = re.compile(rf"(?:mxint(\d+)|({'|'.join(ELEMENT_TYPES)}))(?:-b(?:(\d+)x)?(\d+))?(?:-(rceil|ceil|even|mse))?")


def _parse(name: str) -> Format | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    width, element, rows, size, rule = match.groups()
    rows, size, rule = int(rows or 1), int(size or _BLOCK), rule or "floor"
    if element:
        return MXFloatFormat(element, rule=rule, size=size, tile_rows=rows)
    return MXIntFormat(int(width), rule=rule, size=size, tile_rows=rows)


register_format(
    "mxfp4 | mxfp6-e2m3 | mxfp6-e3m2 | mxfp8-e4m3 | mxfp8-e5m2 | mxint2..8 [-bN|-bRxN][-rceil|-ceil|-even|-mse]",
    "OCP microscaling: blocks of 32 with a power-of-two scale of 8 bits (rule: floor); -b: blocks of N elements, or of "
    "R vectors by N; -rceil, -ceil, -even, -mse: other rules of the scale",
    _parse,
    [
        *(f"{element}{rule}" for element in ELEMENT_TYPES for rule in ("", "-b16", "-rceil", "-mse")),
        *(f"mxint{b}{size}" for b in range(2, 9) for size in ("", "-b16", "-b4x8")),
    ],
)
