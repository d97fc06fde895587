"""Integer formats: ``intB`` with one scale per vector, ``-gN`` per group of N, ``-tensor`` per tensor; ``-asym``.

The scale is stored (float16 unless the name ends in ``-sbf16``, ``-sf32``, ``-e8m0`` or ``-s8``) and elements are
rounded, ties to even, against the stored scale.

- symmetric: scale = amax / qmax, codes +-qmax, qmax = 2^(B-1) - 1;
- ``-asym``: scale = (max - min) / (2^B - 1) over a range that includes zero, zero point of B bits;
- ``-e8m0``: scale = 2^(floor(log2 amax) - (B-2)), the rule of an integer quantizer that only shifts;
- ``-s8``: the scale of a group is an unsigned 8-bit multiplier (1 to 255) of one float32 scale per row (VS-Quant).
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from mxhw.errors import InputError
from mxhw.formats import kernels
from mxhw.formats.base import Encoded, Field, Format, IntegerForm, Parts
from mxhw.formats.powers import E8M0_BIAS, e8m0_bytes, exponent_of, power_of_two, round_half_even
from mxhw.formats.registry import register_format
from mxhw.formats.scaled_kernel import ScaledKernelParams
from mxhw.formats.scales import FLOAT_SCALES, scaled, second_level

__all__ = ["IntegerFormat"]


_KERNEL_SCALES = {"e8m0": kernels.POWER_SCALE, "s8": kernels.MULTIPLIER_SCALE}
_FLOAT_MAX = torch.finfo(torch.float32).max
_SUFFIXES = {scale.suffix: name for name, scale in FLOAT_SCALES.items()} | {"e8m0": "e8m0", "s8": "s8"}


@dataclass(frozen=True)
class IntegerFormat(Format):
    """Integers of ``width`` bits (2 to 8) in groups of ``group`` (None: the whole vector).

    Codes are int8 (symmetric) or uint8 (asymmetric). Metadata: "exponent" (biased by 127) with ``e8m0``; "multiplier"
    and "row_scale" with ``s8``; "zero_point" if asymmetric.
    """

    width: int
    group: int | None = None
    asymmetric: bool = False
    per_tensor: bool = False
    scale_dtype: str = "float16"

    def __post_init__(self) -> None:
        if not 2 <= self.width <= 8:
            raise InputError(f"{self.name}: an integer format has 2 to 8 bits, not {self.width}")
        if self.group is not None and self.group < 1:
            raise InputError(f"{self.name}: a group has at least 1 element, not {self.group}")
        if self.scale_dtype not in (*FLOAT_SCALES, "e8m0", "s8"):
            raise InputError(f"scale_dtype must be float16, bfloat16, float32, e8m0 or s8, not {self.scale_dtype!r}")
        if self.per_tensor and (self.group is not None or self.scale_dtype == "s8"):
            raise InputError(f"{self.name}: one scale per tensor leaves nothing for a group or a scale per row")
        if self.asymmetric and self.scale_dtype == "e8m0":
            raise InputError(f"{self.name}: the power-of-two rule is symmetric; drop -asym or -e8m0")

    @property
    def name(self) -> str:
        group = f"-g{self.group}" if self.group is not None else ""
        scale = FLOAT_SCALES[self.scale_dtype].suffix if self.scale_dtype in FLOAT_SCALES else self.scale_dtype
        suffix = "" if self.scale_dtype == "float16" else f"-{scale}"
        return f"int{self.width}{group}{'-asym' * self.asymmetric}{'-tensor' * self.per_tensor}{suffix}"

    @property
    def block(self) -> int | None:
        return self.group

    @property
    def fields(self) -> tuple[Field, ...]:
        per: Literal["tensor", "block"] = "tensor" if self.per_tensor else "block"
        fields = [Field("code", self.width, "element")]
        if self.scale_dtype == "s8":
            fields += [Field("multiplier", 8, "block"), Field("row_scale", 32, "row")]
        elif self.scale_dtype == "e8m0":
            fields.append(Field("exponent", 8, per))
        else:
            fields.append(Field("scale", FLOAT_SCALES[self.scale_dtype].bits, per))
        if self.asymmetric:
            fields.append(Field("zero_point", self.width, per))
        return tuple(fields)

    @property
    def has_integer_form(self) -> bool:  # type: ignore[override]
        return self.group is None or self.scale_dtype in ("e8m0", "s8")

    @property
    def largest(self) -> int:
        """The largest code."""
        return (1 << self.width) - 1 if self.asymmetric else (1 << (self.width - 1)) - 1

    def _range(self, blocks: Tensor, peak: Tensor) -> tuple[Tensor | None, Tensor]:
        """The lowest value (None if symmetric; at most 0) and what the codes span, per block [..., blocks, 1]."""
        if not self.asymmetric:
            return None, peak.amax().expand_as(peak) if self.per_tensor else peak
        low, high = blocks.amin(-1, keepdim=True), blocks.amax(-1, keepdim=True)
        if self.per_tensor:
            low, high = low.amin().expand_as(low), high.amax().expand_as(high)
        low = low.clamp(max=0.0)
        return low, (high.clamp(min=0.0) - low).clamp(max=_FLOAT_MAX)

    def _scale(self, span: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The stored scale [..., blocks, 1] and the metadata that makes it."""
        if self.scale_dtype == "e8m0":
            exponent = (exponent_of(span) - (self.width - 2)).clamp(min=-E8M0_BIAS)
            return power_of_two(exponent), {"exponent": (exponent + E8M0_BIAS).squeeze(-1)}
        scale = span / self.largest
        if self.scale_dtype == "s8":
            multiplier, row = second_level(scale.squeeze(-1), smallest=1)
            row = row.clamp(min=2.0**-149)
            return (multiplier * row.unsqueeze(-1)).unsqueeze(-1), {"multiplier": multiplier, "row_scale": row}
        return FLOAT_SCALES[self.scale_dtype].round(scale), {}

    def _levels(self, blocks: Tensor, scale: Tensor, low: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Codes less zero point, as float32 integers, and the zero point [..., blocks, 1]."""
        is_power = self.scale_dtype == "e8m0"
        quotient = blocks * power_of_two(-exponent_of(scale)) if is_power else blocks / scale
        if low is None:
            return round_half_even(quotient.clamp_(-self.largest, self.largest)), None
        zero_point = (-low / scale).round_().clamp_(0, self.largest)
        return torch.clamp(quotient.round_(), -zero_point, self.largest - zero_point).add_(0.0), zero_point

    def _encode_blocks(self, blocks: Tensor, peak: Tensor) -> Parts:
        low, span = self._range(blocks, peak)
        scale, metadata = self._scale(span)
        levels, zero_point = self._levels(blocks, scale, low)
        if zero_point is None:
            return Parts(levels.to(torch.int8), scale.squeeze(-1), metadata)
        metadata["zero_point"] = zero_point.squeeze(-1).to(torch.int32)
        return Parts((levels + zero_point).to(torch.uint8), scale.squeeze(-1), metadata)

    def _quantize_blocks(self, blocks: Tensor, peak: Tensor) -> Tensor:
        low, span = self._range(blocks, peak)
        scale, _ = self._scale(span)
        levels, _ = self._levels(blocks, scale, low)
        return scaled(levels, scale)

    def _kernel(self, x: Tensor) -> kernels.Kernel:
        params = _kernel_params(self)
        return params.for_tensor(x) if self.per_tensor else params.for_blocks(self.group)

    def _decode_blocks(self, parts: Parts) -> Tensor:
        levels = parts.codes.float()
        if self.asymmetric:
            levels -= parts.metadata["zero_point"].unsqueeze(-1)
        return scaled(levels, parts.scales.unsqueeze(-1))

    def integers(self, encoded: Encoded) -> IntegerForm:
        if not self.has_integer_form:
            return super().integers(encoded)
        values, metadata = encoded.codes.to(torch.int32), encoded.metadata
        if self.asymmetric:
            values = values - metadata["zero_point"].unsqueeze(-1)
        one = torch.ones(encoded.scales.shape, dtype=torch.int32, device=values.device)
        unit = torch.ones(encoded.scales.shape[:-1], device=values.device)
        if self.scale_dtype == "e8m0":
            return IntegerForm(values, one, metadata["exponent"] - E8M0_BIAS, unit)
        if self.scale_dtype == "s8":
            return IntegerForm(values, metadata["multiplier"], one - 1, metadata["row_scale"])
        return IntegerForm(values, one, one - 1, encoded.scales.squeeze(-1))

    def _patterns(self, encoded: Encoded) -> dict[str, Tensor]:
        patterns = {"code": encoded.codes}
        if self.scale_dtype == "s8":
            row_scale = FLOAT_SCALES["float32"].pattern(encoded.metadata["row_scale"])
            patterns |= {"multiplier": encoded.metadata["multiplier"], "row_scale": row_scale}
        elif self.scale_dtype == "e8m0":
            patterns["exponent"] = encoded.metadata["exponent"]
        else:
            patterns["scale"] = FLOAT_SCALES[self.scale_dtype].pattern(encoded.scales)
        if self.asymmetric:
            patterns["zero_point"] = encoded.metadata["zero_point"]
        if self.per_tensor:
            patterns |= {key: value.flatten()[0] for key, value in patterns.items() if key != "code"}
        return patterns

    def _from_patterns(self, stored: dict[str, Tensor]) -> Parts:
        codes = stored["code"]
        blocks = codes.shape[:-1]
        if self.asymmetric:
            metadata = {"zero_point": stored["zero_point"].to(torch.int32).expand(blocks)}
            codes = codes.to(torch.uint8)
        else:
            sign = 1 << (self.width - 1)
            metadata, codes = {}, ((codes ^ sign) - sign).to(torch.int8)
        if self.scale_dtype == "s8":
            row = FLOAT_SCALES["float32"].value(stored["row_scale"])
            metadata |= {"multiplier": stored["multiplier"].to(torch.int32), "row_scale": row}
            scales = metadata["multiplier"] * row.unsqueeze(-1)
        elif self.scale_dtype == "e8m0":
            metadata["exponent"] = e8m0_bytes(stored["exponent"]).expand(blocks)
            scales = power_of_two(metadata["exponent"] - E8M0_BIAS)
        else:
            scales = FLOAT_SCALES[self.scale_dtype].value(stored["scale"]).expand(blocks)
        return Parts(codes, scales, metadata)


@cache
def _kernel_params(fmt: IntegerFormat) -> ScaledKernelParams:
    params = ScaledKernelParams(shift=fmt.width - 2, asymmetric=fmt.asymmetric, mantissa=-1, largest=fmt.largest)
    if fmt.scale_dtype in FLOAT_SCALES:
        stored = FLOAT_SCALES[fmt.scale_dtype]
        params.scale, params.least, params.most = stored.kernel_type, stored.smallest, stored.largest
    else:
        params.scale = _KERNEL_SCALES[fmt.scale_dtype]
    return params


_NAME = re.compile(r"int(\d+)((?:-(?:g\d+|asym|tensor|e8m0|s8|sf16|sbf16|sf32))*)")


def _parse(name: str) -> IntegerFormat | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    suffixes = match[2].split("-")[1:]
    groups = [int(s[1:]) for s in suffixes if re.fullmatch(r"g\d+", s)]
    scales = [_SUFFIXES[s] for s in suffixes if s in _SUFFIXES]
    if len(set(suffixes)) < len(suffixes) or len(groups) > 1 or len(scales) > 1:
        raise InputError(f"format {name!r} says one thing twice; give one group and one kind of scale at most")
    return IntegerFormat(
        width=int(match[1]),
        group=groups[0] if groups else None,
        asymmetric="asym" in suffixes,
        per_tensor="tensor" in suffixes,
        scale_dtype=scales[0] if scales else "float16",
    )


register_format(
    "int2..8[-gN][-asym][-tensor][-sbf16|-sf32|-e8m0|-s8]",
    "integers with one scale per vector, group of N or tensor, stored as float16 or as the ending says",
    _parse,
    [f"int{b}{s}" for b in range(2, 9) for s in ("", "-e8m0", "-g128", "-g128-asym", "-g128-s8", "-tensor")],
)
