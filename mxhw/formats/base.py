"""The contract of a number format: quantize, encode, decode, count bits, and the layout that all of it shares.

A format is one immutable object that alone defines the value set, block shape, scale rule, rounding, codes and stored
bits. Emulation, packing, memory images, RTL tables and the cost model read that object; nothing else holds a second
table. This module fixes what all formats have in common: blocks along an axis, zero padding of a last short block,
blocks with non-finite values, the ledger. The families are in the modules beside it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mxhw.errors import InputError
from mxhw.formats.layout import BlockLayout, over_block

__all__ = ["Encoded", "Field", "Format", "IntegerForm", "Parts"]

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Field:
    """One stored field of a format: ``bits`` bits per element, block, row (vector along the axis) or tensor."""

    name: str
    bits: int
    per: Literal["element", "block", "row", "tensor"]


@dataclass(frozen=True)
class Encoded:
    """A tensor in the codes of a format, its axis moved last, zero-padded to whole blocks and split.

    Attributes
    ----------
    codes : Tensor, integers [..., blocks, block]
        What the integers mean is documented per format.
    scales : Tensor, float32 [..., blocks]
        The scale that each block is decoded with.
    metadata : dict of Tensor
        The other fields, [..., blocks] ("exponent", "multiplier", "selector", "dialect", "zero_point") or [...]
        ("row_scale"), as documented per format.
    shape, dtype, axis
        Those of the tensor that was encoded; ``axis`` is non-negative.
    """

    codes: Tensor
    scales: Tensor
    metadata: dict[str, Tensor]
    shape: torch.Size
    dtype: torch.dtype
    axis: int


@dataclass(frozen=True)
class IntegerForm:
    """Exact integers: value = values * multiplier * 2^exponent * row_scale.

    ``values`` is int32 [..., blocks, block], ``multiplier`` and ``exponent`` int32 [..., blocks], ``row_scale`` float32
    [...]. Arithmetic and RTL compute with these; the float values of ``decode`` are these, rounded to float32.
    """

    values: Tensor
    multiplier: Tensor
    exponent: Tensor
    row_scale: Tensor


class Parts(NamedTuple):
    """What the block kernels of a family pass around: the tensors of :class:`Encoded` without its description."""

    codes: Tensor
    scales: Tensor
    metadata: dict[str, Tensor]


class Format(ABC):
    """A number format. Subclasses are frozen dataclasses: hashable, equal by value, one per family.

    A family implements :meth:`_encode_blocks`, :meth:`_decode_blocks`, :meth:`_patterns`, :meth:`_from_patterns`, and
    where it can be faster than their composition :meth:`_quantize_blocks`, equal to it bit for bit. Kernels see float32
    blocks ``[..., blocks, block]``, finite, with the largest magnitude of each block beside them ``[..., blocks, 1]``,
    in any memory order, and must not write to them.
    """

    has_integer_form: bool = False

    @property
    @abstractmethod
    def name(self) -> str:
        """The canonical name, which :func:`mxhw.formats.parse_format` accepts."""

    @property
    @abstractmethod
    def block(self) -> int | None:
        """Elements per block along the axis; None: the whole vector is one block."""

    @property
    @abstractmethod
    def fields(self) -> tuple[Field, ...]:
        """Every stored field: the ledger and the packed layout follow from it."""

    def __str__(self) -> str:
        return self.name

    @torch.no_grad()
    def fake_quantize(self, x: Tensor, axis: int = -1, out: Tensor | None = None) -> Tensor:
        """Round ``x`` to the values of this format: ``decode(encode(x))`` bit for bit, of the shape and dtype of ``x``.

        A block with a non-finite value becomes NaN. ``out`` may be ``x`` itself.

        Raises
        ------
        InputError
            If ``x`` is not float32, bfloat16 or float16, or ``axis`` or ``out`` do not fit it.
        """
        axis = self._checked_axis(x, axis)
        if out is None:
            out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        elif out.shape != x.shape or out.dtype != x.dtype:
            raise InputError(
                f"{self.name}: out must be {x.dtype} {tuple(x.shape)} like x, not {out.dtype} {tuple(out.shape)}"
            )
        if x.numel() == 0:
            return out
        layout = BlockLayout.of(x.shape, axis, self.block)
        source = layout.split(x)
        direct = layout.is_exact and out.is_contiguous()
        target = layout.split(out) if direct else torch.empty_like(source)
        for index in self._chunks(layout):
            target[index].copy_(_saturated(self._quantize_chunk(source[index].float()), x.dtype))
        if not direct:
            out.copy_(layout.join(target))
        return out

    @torch.no_grad()
    def encode(self, x: Tensor, axis: int = -1) -> Encoded:
        """Encode ``x``.

        Raises
        ------
        InputError
            If a value is not finite (the message names the first index), or as for :meth:`fake_quantize`.
        """
        axis = self._checked_axis(x, axis)
        if x.numel() == 0:
            raise InputError(f"{self.name}: cannot encode an empty tensor of shape {tuple(x.shape)}")
        layout = BlockLayout.of(x.shape, axis, self.block)
        source = layout.split(x)
        parts = []
        for index in [slice(None)] if self._is_per("tensor") else layout.chunks_along_outer():
            blocks = source[index].float()
            peak = _peak(blocks)
            if not bool(peak.amax() < torch.inf):
                raise InputError(self._describe_non_finite(x))
            parts.append(self._encode_blocks(blocks, peak))

        def gather(tensors: list[Tensor]) -> Tensor:
            whole = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
            return whole.reshape(layout.lead + whole.shape[2:]).contiguous()

        metadata = {key: gather([part.metadata[key] for part in parts]) for key in parts[0].metadata}
        codes, scales = gather([part.codes for part in parts]), gather([part.scales for part in parts])
        return Encoded(codes, scales, metadata, x.shape, x.dtype, axis)

    @torch.no_grad()
    def decode(self, encoded: Encoded) -> Tensor:
        """The values of ``encoded``, of its original shape and dtype."""
        values = self._decode_blocks(Parts(encoded.codes, encoded.scales, encoded.metadata))
        values = BlockLayout.of(encoded.shape, encoded.axis, self.block).restore(values)
        return _saturated(values, encoded.dtype).to(encoded.dtype)

    def bits(self, shape: tuple[int, ...] | torch.Size, axis: int = -1) -> int:
        """Every bit that a tensor of ``shape`` stores in this format, padding of a last short block included."""
        if not shape or not -len(shape) <= axis < len(shape):
            raise InputError(f"{self.name}: axis {axis} does not exist in shape {tuple(shape)}")
        if prod(shape) == 0:
            return 0
        layout = BlockLayout.of(torch.Size(shape), axis % len(shape), self.block)
        return sum(field.bits * layout.count(field.per) for field in self.fields)

    def integers(self, encoded: Encoded) -> IntegerForm:
        """The exact integer form of ``encoded``.

        Raises
        ------
        InputError
            If this format has none, because its block scales are free floats.
        """
        raise InputError(
            f"{self.name} has no exact integer form; hardware needs block scales that are powers of two or small "
            f"integers, as in int8-e8m0, int4-g128-s8, bitmod4, dialect4 or mxfp4"
        )

    def stored(self, encoded: Encoded) -> dict[str, Tensor]:
        """The unsigned bit pattern of every field as int64, shaped ``[..., blocks, block]`` per element,
        ``[..., blocks]`` per block, ``[...]`` per row, ``[]`` per tensor."""
        patterns = self._patterns(encoded)
        return {field.name: patterns[field.name].long() & ((1 << field.bits) - 1) for field in self.fields}

    def from_stored(
        self, stored: Mapping[str, Tensor], shape: torch.Size, axis: int = -1, dtype: torch.dtype = torch.float32
    ) -> Encoded:
        """Invert :meth:`stored`, for a tensor of ``shape`` that was encoded along ``axis``."""
        parts = self._from_patterns(dict(stored))
        return Encoded(parts.codes, parts.scales, parts.metadata, torch.Size(shape), dtype, axis % len(shape))

    @abstractmethod
    def _encode_blocks(self, blocks: Tensor, peak: Tensor) -> Parts:
        """Codes ``[..., blocks, block]``, scales ``[..., blocks]`` and metadata of finite float32 blocks."""

    @abstractmethod
    def _decode_blocks(self, parts: Parts) -> Tensor:
        """The float32 values ``[..., blocks, block]`` of codes."""

    @abstractmethod
    def _patterns(self, encoded: Encoded) -> dict[str, Tensor]:
        """Per field an integer tensor whose lowest bits are the stored pattern (higher bits are ignored)."""

    @abstractmethod
    def _from_patterns(self, stored: dict[str, Tensor]) -> Parts:
        """Invert :meth:`_patterns` on masked int64 patterns."""

    def _quantize_blocks(self, blocks: Tensor, peak: Tensor) -> Tensor:
        """The float32 values that ``blocks`` round to; a family overrides it where a direct path is quicker."""
        return self._decode_blocks(self._encode_blocks(blocks, peak))

    def _quantize_chunk(self, blocks: Tensor) -> Tensor:
        peak = _peak(blocks)
        if bool(peak.amax() < torch.inf):
            return self._quantize_blocks(blocks, peak)
        finite = torch.isfinite(peak)
        if self._is_per("tensor"):
            return torch.full_like(blocks, torch.nan)
        values = self._quantize_blocks(blocks.where(finite, 0.0), peak.where(finite, 0.0))
        return values.where(finite, torch.nan)

    def _is_per(self, per: str) -> bool:
        return any(field.per == per for field in self.fields)

    def _chunks(self, layout: BlockLayout) -> Iterator[tuple[slice, ...]]:
        if self._is_per("tensor"):
            return iter([(slice(None),)])
        return layout.chunks(whole_rows=self._is_per("row"))

    def _checked_axis(self, x: Tensor, axis: int) -> int:
        if x.dtype not in _DTYPES:
            raise InputError(f"{self.name}: x must be float32, bfloat16 or float16, not {x.dtype}")
        if x.dim() == 0 or not -x.dim() <= axis < x.dim():
            raise InputError(f"{self.name}: axis {axis} does not exist in shape {tuple(x.shape)}")
        return axis % x.dim()

    def _describe_non_finite(self, x: Tensor) -> str:
        first = tuple(int(i) for i in torch.nonzero(~torch.isfinite(x))[0])
        return f"{self.name}: cannot encode {float(x[first])} at index {first}; all values must be finite"


def _peak(blocks: Tensor) -> Tensor:
    """Largest magnitude of each block, kept as a last dimension of one; NaN and Inf show in it."""
    return torch.maximum(over_block(torch.amax, blocks), -over_block(torch.amin, blocks))


def _saturated(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Float32 values limited to what ``dtype`` holds, so that none becomes infinite; NaN stays."""
    limit = torch.finfo(dtype).max
    return values if dtype == torch.float32 else values.clamp(-limit, limit)
