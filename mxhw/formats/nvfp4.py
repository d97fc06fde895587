"""NVFP4: blocks of 16 FP4 (E2M1) with an FP8 (E4M3) scale per block and a float32 scale g per tensor.

Source: NVIDIA's format as torchao 0.18 computes it (prototype/mx_formats/nvfp4_tensor.py), whose order of float32
operations is the definition here:

1. g = amax / (6 * 448) over the whole tensor, at least 2^-118, so that no reciprocal below overflows;
2. block scale s = E4M3 of (block's amax / 6) / g, clamped to [2^-9, 448], nearest even; 0 for a block of zeros (torchao
   clamps to [2^-6, 448], zeros included: scales of 2^-6 and more are equal);
3. quotient q = x * ((1 / g) / s), two roundings in the reciprocal and one in the product; element = E2M1 of q, nearest
   even, saturating, the sign of zero kept;
4. value = element * (s * g), the product of the scales rounded first.

``nvfp4-46`` is Four Over Six (arXiv 2512.02010, as its reference code has it): g = amax / (6 * 256), and every block is
also tried with its maximum at 4 instead of 6, which is a scale 1.5 times larger: E4M3 of ((amax / 6) / g) * 1.5. The
scale of less squared error is stored, that of 6 where both are equal; nothing else is stored.

Errors are sums of squares in float64 in index order of float32 values less x. A float32 estimate decides where it is
certain.
"""

import ctypes
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite, nan

import torch
from torch import Tensor

from mxhw.formats import kernels
from mxhw.formats.base import Encoded, Field, Format, IntegerForm, Parts
from mxhw.formats.elements import ELEMENT_TYPES, ElementType
from mxhw.formats.layout import BlockLayout, over_block
from mxhw.formats.powers import exponent_of, power_of_two
from mxhw.formats.registry import register_format
from mxhw.formats.scales import FLOAT_SCALES, scaled
from mxhw.formats.selection import first_minimum

__all__ = ["E2M1", "NVFP4Format", "TensorScaledFP4"]

E2M1 = ELEMENT_TYPES["mxfp4"]

_BLOCK = 16
_E4M3 = ELEMENT_TYPES["mxfp8-e4m3"]
# Exponent of float32's largest power of two: the limit of (1 / g) / s.
_LARGEST_RECIPROCAL = 127
# A squared error of 16 terms is good to 18 roundings of float32 (1.1e-6 of itself), plus what underflows once errors
# are taken relative to the block's maximum: 16 * 2^-149.
_RELATIVE_MARGIN = 1.0 + 4e-6
_ABSOLUTE_MARGIN = 2.0**-120


class _KernelParams(ctypes.Structure):
    """`fp4_params` of kernels/fp4.c."""

    _fields_ = (
        *((name, ctypes.c_float) for name in ("tensor_scale", "least", "most")),
        *((name, ctypes.c_int32) for name in ("mantissa", "smallest", "element_mantissa", "element_smallest")),
        ("largest", ctypes.c_float),
        *((name, ctypes.c_int32) for name in ("candidates", "has_special")),
        *((name, ctypes.c_float * 4) for name in ("divisor", "factor", "special")),
    )


class TensorScaledFP4(Format):
    """What NVFP4 and RaZeR share: E2M1 elements, a small-float scale per block of 16, a float32 scale per tensor.

    Codes are uint8: sign, exponent, mantissa of E2M1. Metadata "scale" is the small float's bits, int32 [..., blocks];
    "tensor_scale" is float32 [...], the same everywhere. A family names the type of its block scales and the scales
    that a block may have; where these are several, the first of least error is chosen.
    """

    has_integer_form = True

    @property
    def block(self) -> int:
        return _BLOCK

    @property
    @abstractmethod
    def scale_type(self) -> ElementType:
        """The type of block scales, whose sign bit is not stored or always 0."""

    @property
    @abstractmethod
    def reach(self) -> float:
        """What the tensor's largest magnitude is in units of g."""

    @property
    @abstractmethod
    def candidates(self) -> tuple[tuple[float, float], ...]:
        """(d, f) of every scale that a block may have, in the order of preference: ((amax / d) / g) * f, rounded."""

    @property
    def specials(self) -> tuple[float, ...] | None:
        """What the code "-0" means for each of :attr:`candidates`; None: it is -0."""
        return None

    def _stored_scale(self, scale: Tensor, peak: Tensor) -> Tensor:
        """The nearest stored scale; 0 only for a block of zeros."""
        smallest = 2.0**self.scale_type.step_exponent
        rounded = self.scale_type.round(scale.clamp(smallest, self.scale_type.largest))
        return rounded.where(peak > 0, 0.0)

    def _encode_blocks(self, blocks: Tensor, peak: Tensor) -> Parts:
        g = self._tensor_scale(peak)
        codes = torch.empty_like(blocks, dtype=torch.uint8)
        scale, selector = torch.empty_like(peak), torch.empty_like(peak, dtype=torch.int32)
        for index in _chunks(blocks):
            scale[index], selector[index] = self._choose(blocks[index], peak[index], g)
            special = self._special(selector[index])
            levels = self._levels(blocks[index], scale[index], g, special)
            codes[index] = E2M1.codes(levels) if special is None else E2M1.codes(levels).where(levels != special, 8)
        rows = g.reshape(1, 1).expand(blocks.shape[:2])
        metadata = {"scale": self.scale_type.codes(scale).squeeze(-1).to(torch.int32), "tensor_scale": rows}
        if self.specials is not None:
            metadata["selector"] = selector.squeeze(-1)
        return Parts(codes, (scale * g).squeeze(-1), metadata)

    def _quantize_blocks(self, blocks: Tensor, peak: Tensor) -> Tensor:
        g = self._tensor_scale(peak)
        values = torch.empty_like(blocks)
        for index in _chunks(blocks):
            scale, selector = self._choose(blocks[index], peak[index], g)
            levels = self._levels(blocks[index], scale, g, self._special(selector))
            values[index] = scaled(levels, scale * g)
        return values

    def _kernel(self, x: Tensor) -> kernels.Kernel:
        low, high = kernels.extremes(x)
        scale, floats = self.scale_type, ctypes.c_float * 4
        params = _KernelParams(
            float(self._tensor_scale(torch.tensor(max(-low, high)))) if isfinite(low) and isfinite(high) else nan,
            2.0**scale.step_exponent,
            scale.largest,
            scale.mantissa_bits,
            1 - scale.bias,
            E2M1.mantissa_bits,
            1 - E2M1.bias,
            E2M1.largest,
            len(self.candidates),
            self.specials is not None,
            floats(*(divisor for divisor, _ in self.candidates)),
            floats(*(factor for _, factor in self.candidates)),
            floats(*(self.specials or ())),
        )
        return kernels.Kernel("mxhw_fp4", params)

    def _decode_blocks(self, parts: Parts) -> Tensor:
        return scaled(self._elements(parts.codes, parts.metadata), parts.scales.unsqueeze(-1))

    def integers(self, encoded: Encoded) -> IntegerForm:
        """Values in units of 1/2; multiplier and exponent are significand and exponent of the block scale."""
        values = (2 * self._elements(encoded.codes, encoded.metadata)).to(torch.int32)
        scale, mantissa_bits = encoded.metadata["scale"], self.scale_type.mantissa_bits
        field = scale >> mantissa_bits
        hidden = (field > 0).to(torch.int32) << mantissa_bits
        multiplier = (scale & ((1 << mantissa_bits) - 1)) | hidden
        exponent = field.clamp(min=1) + (self.scale_type.step_exponent - 2)
        return IntegerForm(values, multiplier, exponent, encoded.metadata["tensor_scale"])

    def _patterns(self, encoded: Encoded) -> dict[str, Tensor]:
        g = encoded.metadata["tensor_scale"].flatten()[0]
        return {"code": encoded.codes, **encoded.metadata, "tensor_scale": FLOAT_SCALES["float32"].pattern(g)}

    def _from_patterns(self, stored: dict[str, Tensor]) -> Parts:
        codes, g = stored["code"].to(torch.uint8), FLOAT_SCALES["float32"].value(stored["tensor_scale"])
        metadata = {"scale": stored["scale"].to(torch.int32), "tensor_scale": g.expand(codes.shape[:-2])}
        if "selector" in stored:
            metadata["selector"] = stored["selector"].to(torch.int32)
        return Parts(codes, self.scale_type.values(metadata["scale"]) * g, metadata)

    def _tensor_scale(self, peak: Tensor) -> Tensor:
        """g as a tensor without dimensions."""
        return (peak.amax() / self.reach).clamp(min=2.0 ** (-_LARGEST_RECIPROCAL - self.scale_type.step_exponent))

    def _special(self, selector: Tensor) -> Tensor | None:
        if self.specials is None:
            return None
        return torch.tensor(self.specials, device=selector.device)[selector.long()]

    def _elements(self, codes: Tensor, metadata: dict[str, Tensor]) -> Tensor:
        values = E2M1.values(codes)
        special = self._special(metadata["selector"].unsqueeze(-1)) if "selector" in metadata else None
        return values if special is None else torch.where(codes == 8, special, values)

    def _levels(self, blocks: Tensor, scale: Tensor, g: Tensor, special: Tensor | float | None) -> Tensor:
        """Elements of ``blocks`` under a block scale: E2M1, or the special value where that is nearer."""
        reciprocal = (1.0 / g) / scale.clamp(min=2.0**self.scale_type.step_exponent)
        quotient = blocks * reciprocal
        levels = E2M1.round(quotient)
        if special is None:
            return levels
        # Where this could be close, the differences are exact: a float less one within a factor of two of it.
        nearer = (quotient - special).abs_() < (quotient - levels).abs_()
        return torch.where(nearer, special, levels.add_(0.0))

    def _choose(self, blocks: Tensor, peak: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Stored scale (float32) and number (int32) of the candidate of least error, both [..., blocks, 1]."""
        stored = {(d, f): self._stored_scale(((peak / d) / g) * f, peak) for d, f in set(self.candidates)}
        scales = [stored[candidate] for candidate in self.candidates]
        if len(scales) == 1:
            return scales[0], torch.zeros_like(peak, dtype=torch.int32)
        in_doubt, table = self._in_doubt(blocks, peak, scales, g), torch.cat(scales, -1)
        flat, scale_of = blocks.reshape(-1, _BLOCK), table.reshape(-1, len(scales))

        def errors(block: Tensor, candidate: Tensor) -> Tensor:
            x, scale = flat[block], scale_of[block, candidate].unsqueeze(-1)
            values = scaled(self._levels(x, scale, g, self._special(candidate.unsqueeze(-1))), scale * g)
            return (values.double() - x.double()).square_()

        chosen = first_minimum(in_doubt, errors).view(peak.shape)
        return table.gather(-1, chosen), chosen.to(torch.int32)

    def _in_doubt(self, blocks: Tensor, peak: Tensor, scales: list[Tensor], g: Tensor) -> Tensor:
        """1 for the candidates [blocks, candidates] that a float32 estimate leaves possible, else 0."""
        to_unit = power_of_two(-exponent_of(peak))
        estimates = []
        for scale, special in zip(scales, self.specials or [None] * len(scales), strict=True):
            levels = self._levels(blocks, scale, g, special)
            error = scaled(levels, scale * g).sub_(blocks).mul_(to_unit)
            estimates.append(over_block(torch.sum, error.square_()))
        estimate = torch.cat(estimates, -1).reshape(-1, len(scales))
        return estimate.le_(estimate.amin(-1, keepdim=True) * _RELATIVE_MARGIN + _ABSOLUTE_MARGIN)


def _chunks(blocks: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Indices of [outer, inner, blocks, block] piece by piece: only the tensor's maximum needs the whole."""
    outer, inner, count, size = blocks.shape
    return BlockLayout.of(torch.Size((outer, count * size, inner)), 1, size).chunks(whole_rows=False)


@dataclass(frozen=True)
class NVFP4Format(TensorScaledFP4):
    """NVFP4; with ``four_over_six`` the maximum of a block is scaled to 4 where that errs less."""

    four_over_six: bool = False

    @property
    def name(self) -> str:
        return f"nvfp4{'-46' * self.four_over_six}"

    @property
    def fields(self) -> tuple[Field, ...]:
        return Field("code", 4, "element"), Field("scale", 8, "block"), Field("tensor_scale", 32, "tensor")

    @property
    def scale_type(self) -> ElementType:
        return _E4M3

    @property
    def reach(self) -> float:
        # 256 leaves room for a scale 1.5 times as large.
        return E2M1.largest * (256.0 if self.four_over_six else _E4M3.largest)

    @property
    def candidates(self) -> tuple[tuple[float, float], ...]:
        six, four = (E2M1.largest, 1.0), (E2M1.largest, 1.5)
        return (six, four) if self.four_over_six else (six,)


_NAMES = {"nvfp4": False, "nvfp4-46": True}

register_format(
    "nvfp4[-46]",
    "NVFP4: blocks of 16 FP4 with an FP8 (E4M3) scale and a float32 scale per tensor; -46: Four Over Six",
    lambda name: NVFP4Format(_NAMES[name]) if name in _NAMES else None,
    list(_NAMES),
)
