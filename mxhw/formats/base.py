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
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mxhw.errors import InputError
from mxhw.formats import kernels
from mxhw.formats.kernels import Kernel
from mxhw.formats.layout import BlockLayout, over_block

__all__ = ["ENCODING_VERSION", "Encoded", "Field", "Format", "IntegerForm", "Parts"]

# Counts up whenever the meaning of the codes or metadata of any format changes.
ENCODING_VERSION = 1

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

    In two-dimensional blocks of R vectors by N, codes are [..., row_blocks, blocks, R * N], vector after vector within
    a block, and fields per block are [..., row_blocks, blocks]: of the last two dimensions of the tensor, ``axis`` is
    the one in blocks of N, the other one is in blocks of R.

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
    format : str
        The name of the format that the codes are of.
    version : int
        ``ENCODING_VERSION`` of the mxhw that made it: what codes and metadata mean may change with it.
    """

    codes: Tensor
    scales: Tensor
    metadata: dict[str, Tensor]
    shape: torch.Size
    dtype: torch.dtype
    axis: int
    format: str
    version: int = ENCODING_VERSION


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
    def tile_rows(self) -> int:
        """Vectors per block; above 1, blocks are two-dimensional and lie in the last two dimensions."""
        return 1

    @property
    @abstractmethod
    def fields(self) -> tuple[Field, ...]:
        """Every stored field: the ledger and the packed layout follow from it."""

    def __str__(self) -> str:
        return self.name

    def fake_quantize(self, x: Tensor, axis: int = -1, out: Tensor | None = None) -> Tensor:
        """Round ``x`` to the values of this format: ``decode(encode(x))`` bit for bit, of the shape and dtype of ``x``.

        A block with a non-finite value becomes NaN. ``out`` may be ``x`` itself. Gradients pass straight through: that
        of ``x`` is that of the result (Bengio et al., arXiv 1308.3432). In a traced or compiled graph this is one node,
        ``mxhw::fake_quantize``.

        Raises
        ------
        InputError
            If ``x`` is not float32, bfloat16 or float16, ``axis`` or ``out`` do not fit it, or ``out`` would lose a
            gradient.
        """
        axis = self._checked_axis(x, axis)
        if out is not None and (out.shape != x.shape or out.dtype != x.dtype):
            raise InputError(
                f"{self.name}: out must be {x.dtype} {tuple(x.shape)} like x, not {out.dtype} {tuple(out.shape)}"
            )
        if torch.compiler.is_compiling():
            rounded: Tensor = torch.ops.mxhw.fake_quantize(x, self.name, axis)
            return rounded if out is None else out.copy_(rounded)
        if not (torch.is_grad_enabled() and x.requires_grad):
            return self._fake_quantize(x, axis, out)
        if out is not None:
            raise InputError(f"{self.name}: out records no gradient, and x wants one; leave out away or use no_grad")
        straight_through: Tensor = _StraightThrough.apply(x, self, axis)  # type: ignore[no-untyped-call]
        return straight_through

    def _fake_quantize(self, x: Tensor, axis: int, out: Tensor | None) -> Tensor:
        """:meth:`fake_quantize` of checked arguments, without gradients, on the kernel of this format or on torch."""
        if out is None:
            out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        if x.numel() == 0 or x.is_meta:
            return out
        layout = self.layout(x.shape, axis)
        if self.has_kernel and kernels.serves(x):
            return self._fake_quantize_by_kernel(x, layout, out)
        with torch.no_grad():
            return self._fake_quantize_on_torch(x, layout, out)

    def _fake_quantize_by_kernel(self, x: Tensor, layout: BlockLayout, out: Tensor) -> Tensor:
        source, target = x.contiguous(), _own_memory(out, x)
        kernels.run(self._kernel(source), source, target, layout.for_kernel)
        return out if target is out else out.copy_(target)

    def _fake_quantize_on_torch(self, x: Tensor, layout: BlockLayout, out: Tensor) -> Tensor:
        source = layout.split(x)
        direct = layout.is_exact and out.is_contiguous()
        target = layout.split(out) if direct else torch.empty_like(source)
        for index in self._chunks(layout):
            target[index].copy_(_narrowed(self._quantize_chunk(source[index].float()), x.dtype))
        if not direct:
            out.copy_(layout.join(target))
        return out

    @property
    def has_kernel(self) -> bool:
        """Whether a C kernel rounds as this format does, bit for bit; otherwise :meth:`fake_quantize` runs on torch."""
        return type(self)._kernel is not Format._kernel

    def _kernel(self, x: Tensor) -> Kernel:
        """The C kernel for contiguous ``x``, asked for only if :attr:`has_kernel`."""
        raise AssertionError(f"{self.name} has no kernel")

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
        layout = self.layout(x.shape, axis)
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
        return Encoded(codes, scales, metadata, x.shape, x.dtype, axis, self.name)

    @torch.no_grad()
    def decode(self, encoded: Encoded) -> Tensor:
        """The values of ``encoded``, of its original shape and dtype.

        Raises
        ------
        InputError
            If ``encoded`` is of another format or was made by another version.
        """
        self.check(encoded)
        values = self._decode_blocks(Parts(encoded.codes, encoded.scales, encoded.metadata))
        return _narrowed(self.layout(encoded.shape, encoded.axis).restore(values), encoded.dtype)

    def bits(self, shape: tuple[int, ...] | torch.Size, axis: int = -1) -> int:
        """Every bit that a tensor of ``shape`` stores in this format, padding of a last short block included."""
        if not shape or not -len(shape) <= axis < len(shape):
            raise InputError(f"{self.name}: axis {axis} does not exist in shape {tuple(shape)}")
        if prod(shape) == 0:
            return 0
        layout = self.layout(torch.Size(shape), axis % len(shape))
        return sum(field.bits * layout.count(field.per) for field in self.fields)

    def check(self, encoded: Encoded) -> None:
        """Raise an :class:`InputError` unless ``encoded`` holds codes of this format in its present meaning."""
        if encoded.format != self.name:
            raise InputError(
                f"{self.name}: cannot read codes of {encoded.format}; use parse_format({encoded.format!r})"
            )
        if encoded.version != ENCODING_VERSION:
            raise InputError(
                f"{self.name}: the codes are of version {encoded.version}, not {ENCODING_VERSION}; "
                "encode the tensor again"
            )

    def layout(self, shape: torch.Size, axis: int) -> BlockLayout:
        """How a tensor of ``shape`` falls into blocks along the non-negative ``axis``."""
        return BlockLayout.of(shape, axis, self.block)

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
        self.check(encoded)
        patterns = self._patterns(encoded)
        return {field.name: patterns[field.name].long() & ((1 << field.bits) - 1) for field in self.fields}

    def from_stored(
        self, stored: Mapping[str, Tensor], shape: torch.Size, axis: int = -1, dtype: torch.dtype = torch.float32
    ) -> Encoded:
        """Invert :meth:`stored`, for a tensor of ``shape`` that was encoded along ``axis``."""
        parts = self._from_patterns(dict(stored))
        return Encoded(
            parts.codes, parts.scales, parts.metadata, torch.Size(shape), dtype, axis % len(shape), self.name
        )

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
        if not isinstance(x, Tensor):
            raise InputError(f"{self.name}: x must be a tensor, not {type(x).__name__}; use torch.as_tensor")
        if x.dtype not in _DTYPES:
            raise InputError(f"{self.name}: x must be float32, bfloat16 or float16, not {x.dtype}")
        if x.dim() == 0 or not -x.dim() <= axis < x.dim():
            raise InputError(f"{self.name}: axis {axis} does not exist in shape {tuple(x.shape)}")
        return axis % x.dim()

    def _describe_non_finite(self, x: Tensor) -> str:
        first = tuple(int(i) for i in torch.nonzero(~torch.isfinite(x))[0])
        return f"{self.name}: cannot encode {float(x[first])} at index {first}; all values must be finite"


class _StraightThrough(torch.autograd.Function):
    """Rounding whose gradient is that of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, fmt: Format, axis: int) -> Tensor:
        return fmt._fake_quantize(x, axis, None)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return gradient, None, None


def _own_memory(out: Tensor, x: Tensor) -> Tensor:
    """``out`` if a kernel may write to it while it reads ``x``, else a tensor like it."""
    shares = out.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    same = out.data_ptr() == x.data_ptr() and x.is_contiguous()
    if out.is_contiguous() and (same or not shares):
        return out
    return torch.empty(out.shape, dtype=out.dtype)


def _peak(blocks: Tensor) -> Tensor:
    """Largest magnitude of each block, kept as a last dimension of one; NaN and Inf show in it, and zero is +0."""
    return torch.maximum(over_block(torch.amax, blocks), -over_block(torch.amin, blocks)).add_(0.0)


def _narrowed(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Float32 values in ``dtype``, limited to what it holds, so that none becomes infinite; NaN has one bit pattern."""
    if dtype == torch.float32:
        return values
    limit = torch.finfo(dtype).max
    narrow = values.clamp(-limit, limit).to(dtype)
    # Torch converts NaN to one pattern in vectors and to another in what is left of them.
    return narrow.masked_fill_(values.isnan(), torch.nan)
