"""Formats by output channel: runs of a weight's channels, each in a format of its own, "bitmod4*64+bitmod3*64".

The first 64 output channels are in bitmod4, the next 64 in bitmod3. Mixing by output channel follows MixLLM (Zheng et
al., arXiv 2412.14590, section 3), which keeps the channels that matter most at 8 bits and others at 4; which channels
get what is not decided here.

Every run is encoded as the part of the tensor that it is, by itself: scales that a format shares in a row, and those of
a "-tensor" format, are the run's own. Channels are the rows of a matrix whose blocks run along the columns:

- of the last two dimensions the one that blocks do not run along: dimension 0 of [outputs, inputs] along axis -1,
  dimension 1 of its transpose along axis 0, dimension 1 of experts [E, outputs, inputs], the same runs in each;
- dimension 0 where blocks run along none of the last two: a convolution's [outputs, inputs, height, width].

Stored bits are those of the runs, and of the table that says which channels are in which format (`selection_bits`): for
every run but the last the channel that it ends before, ceil(log2 channels) bits, and for every run the number of its
format among the different ones, ceil(log2 formats) bits. One run needs no table. An array whose decoders read one
weight type needs none either: its memory holds the codes of all runs in that type (:mod:`mxhw.arithmetic.recoding`).

Not here: runs along inputs, channels in an order of their own, formats of activations by channel.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from math import prod

import torch
from torch import Tensor

from mxhw.errors import InputError
from mxhw.formats.base import Encoded, Field, Format, IntegerForm, Parts
from mxhw.formats.registry import parse_format, register_format

__all__ = ["ChannelEncoded", "ChannelGroups", "channel_dimension", "channel_groups", "formats_in", "runs_of"]

_RUN = re.compile(r"([^*+]+)\*([1-9]\d{0,8})")
_GRAMMAR = "FORMAT*CHANNELS+FORMAT*CHANNELS, for instance bitmod4*64+bitmod3*64"


@dataclass(frozen=True)
class ChannelEncoded(Encoded):
    """A tensor whose runs of channels are encoded one by one.

    ``codes``, ``scales`` and ``metadata`` are those of the runs, one after the other along the channels, as
    :class:`Encoded` has them; metadata that a run's format does not have are zero there. Where the blocks of two runs
    differ in size there are no such tensors: they are empty.

    Attributes
    ----------
    parts : tuple of Encoded, one a run
    """

    parts: tuple[Encoded, ...] = ()


@dataclass(frozen=True)
class ChannelGroups(Format):
    """Runs of output channels; neighbours differ (see :func:`channel_groups`, which joins equal ones).

    Attributes
    ----------
    runs : tuple of (Format, int)
        The format of each run, and how many channels it has.
    """

    runs: tuple[tuple[Format, int], ...]

    def __post_init__(self) -> None:
        if not self.runs:
            raise InputError(f"formats by channel need at least one run: {_GRAMMAR}")
        for fmt, count in self.runs:
            if isinstance(fmt, ChannelGroups):
                raise InputError(f"a run of channels has one format, not {fmt}; name its runs one after the other")
            if type(count) is not int or count < 1:
                raise InputError(f"a run of channels in {fmt} must have at least 1 channel, not {count!r}")
        for (fmt, _), (after, _) in zip(self.runs, self.runs[1:], strict=False):
            if fmt == after:
                raise InputError(f"neighbouring runs of channels are both in {fmt}; make them one with channel_groups")

    @property
    def name(self) -> str:
        return "+".join(f"{fmt.name}*{count}" for fmt, count in self.runs)

    @property
    def channels(self) -> int:
        """Channels of all runs."""
        return sum(count for _, count in self.runs)

    @property
    def formats(self) -> tuple[Format, ...]:
        """The different formats, each once, in the order of their first runs."""
        return tuple(dict.fromkeys(fmt for fmt, _ in self.runs))

    @property
    def table(self) -> tuple[tuple[str, int, tuple[int, ...]], ...]:
        """What is stored beside the runs: name, bits of an entry, entries; nothing of a single run."""
        if len(self.runs) == 1:
            return ()
        ends = tuple(accumulate(count for _, count in self.runs))[:-1]
        numbers = {fmt: number for number, fmt in enumerate(self.formats)}
        return (
            ("end", (self.channels - 1).bit_length(), ends),
            ("format", (len(numbers) - 1).bit_length(), tuple(numbers[fmt] for fmt, _ in self.runs)),
        )

    @property
    def selection_bits(self) -> int:
        """Bits of the table that says which channels are in which format."""
        return sum(bits * len(entries) for _, bits, entries in self.table)

    @property
    def block(self) -> int | None:
        """Elements of a block if those of all runs have as many; else None."""
        sizes = {fmt.block for fmt in self.formats}
        return sizes.pop() if len(sizes) == 1 else None

    @property
    def has_one_layout(self) -> bool:
        """Whether the blocks of all runs have one size, and one row, so that their codes can make one tensor."""
        return len({fmt.block for fmt in self.formats}) == 1 and all(fmt.tile_rows == 1 for fmt in self.formats)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Every field of a run's format, as wide as the widest run needs it: what a memory of equal words holds.

        The ledger (:meth:`bits`) counts every run in its own width.
        """
        widest: dict[tuple[str, str], Field] = {}
        for field in (field for fmt in self.formats for field in fmt.fields):
            known = widest.setdefault((field.name, field.per), field)
            if field.bits > known.bits:
                widest[field.name, field.per] = field
        return tuple(widest.values())

    @property
    def has_kernel(self) -> bool:
        return all(fmt.has_kernel for fmt in self.formats)

    @property
    def has_integer_form(self) -> bool:  # type: ignore[override]
        return self.has_one_layout and all(fmt.has_integer_form for fmt in self.formats)

    def pieces(self, shape: Sequence[int], axis: int) -> tuple[tuple[Format, slice], ...]:
        """Return the format and the channels of every run of a tensor of ``shape`` in blocks along ``axis``.

        Raises
        ------
        InputError
            If the tensor has no channels, or not as many as the runs.
        """
        dimension = channel_dimension(len(shape), axis)
        if dimension is None:
            raise InputError(f"{self.name}: a tensor of shape {tuple(shape)} has no output channels; use one format")
        if shape[dimension] != self.channels:
            raise InputError(
                f"{self.name}: the runs have {self.channels} channels, and dimension {dimension} of shape "
                f"{tuple(shape)} has {shape[dimension]}; the lengths of the runs must add up to it"
            )
        ends = accumulate(count for _, count in self.runs)
        return tuple((fmt, slice(end - count, end)) for (fmt, count), end in zip(self.runs, ends, strict=True))

    def _parts_of(self, x: Tensor, axis: int) -> Iterator[tuple[Format, Tensor]]:
        """Views of the runs of ``x``."""
        dimension = channel_dimension(x.dim(), axis) or 0
        for fmt, channels in self.pieces(x.shape, axis):
            yield fmt, x.narrow(dimension, channels.start, channels.stop - channels.start)

    def part_shapes(self, shape: Sequence[int], axis: int) -> tuple[tuple[Format, torch.Size], ...]:
        """Return the format and shape of every run of a tensor of ``shape``; InputError as for :meth:`pieces`."""
        dimension, found = channel_dimension(len(shape), axis), []
        for fmt, channels in self.pieces(shape, axis):
            sizes = list(shape)
            sizes[dimension or 0] = channels.stop - channels.start
            found.append((fmt, torch.Size(sizes)))
        return tuple(found)

    def _fake_quantize(self, x: Tensor, axis: int, out: Tensor | None) -> Tensor:
        parts = list(self._parts_of(x, axis))
        if out is None:
            out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        for (fmt, part), (_, target) in zip(parts, self._parts_of(out, axis), strict=True):
            fmt._fake_quantize(part, axis, target)
        return out

    @torch.no_grad()
    def encode(self, x: Tensor, axis: int = -1) -> ChannelEncoded:
        axis = self._checked_axis(x, axis)
        if x.numel() == 0:
            raise InputError(f"{self.name}: cannot encode an empty tensor of shape {tuple(x.shape)}")
        parts = list(self._parts_of(x, axis))
        if not bool(torch.isfinite(x).all()):
            raise InputError(self._describe_non_finite(x))
        return self.joined([fmt.encode(part, axis) for fmt, part in parts], x.shape, axis, x.dtype)

    def joined(
        self, parts: Sequence[Encoded], shape: Sequence[int], axis: int, dtype: torch.dtype = torch.float32
    ) -> ChannelEncoded:
        """Return the encoded tensor of ``shape`` whose runs are ``parts``."""
        axis %= len(shape)
        codes, scales, metadata = torch.empty(0, dtype=torch.int32), torch.empty(0), {}
        if self.has_one_layout:
            along = _joined_dimension(len(shape), axis)
            codes, scales = (torch.cat([getattr(part, key) for part in parts], along) for key in ("codes", "scales"))
            every = {key: value for part in parts for key, value in part.metadata.items()}
            for key, like in every.items():
                metadata[key] = torch.cat([part.metadata.get(key, _zeros(part, like)) for part in parts], along)
        return ChannelEncoded(codes, scales, metadata, torch.Size(shape), dtype, axis, self.name, parts=tuple(parts))

    @torch.no_grad()
    def decode(self, encoded: Encoded) -> Tensor:
        parts = runs_of(self, encoded)
        along = channel_dimension(len(encoded.shape), encoded.axis) or 0
        return torch.cat([fmt.decode(part) for fmt, part in parts], along)

    def check(self, encoded: Encoded) -> None:
        super().check(encoded)
        if not isinstance(encoded, ChannelEncoded) or len(encoded.parts) != len(self.runs):
            raise InputError(f"{self.name}: the codes are not those of {len(self.runs)} runs of channels")

    def bits(self, shape: tuple[int, ...] | torch.Size, axis: int = -1) -> int:
        """Every bit that a tensor of ``shape`` stores: those of its runs, and the table of the runs."""
        if not shape or not -len(shape) <= axis < len(shape):
            raise InputError(f"{self.name}: axis {axis} does not exist in shape {tuple(shape)}")
        if prod(shape) == 0:
            return 0
        parts = self.part_shapes(shape, axis % len(shape))
        return self.selection_bits + sum(fmt.bits(part, axis) for fmt, part in parts)

    def integers(self, encoded: Encoded) -> IntegerForm:
        parts = runs_of(self, encoded)
        if not self.has_integer_form:
            free = [str(fmt) for fmt in self.formats if not fmt.has_integer_form]
            if free:
                raise InputError(f"{self.name} has no exact integer form, because {free[0]} has none")
            raise InputError(f"{self.name} has no exact integer form of one shape: its runs have blocks of other sizes")
        along = _joined_dimension(len(encoded.shape), encoded.axis)
        forms = [fmt.integers(part) for fmt, part in parts]
        names = ("values", "multiplier", "exponent", "row_scale")
        return IntegerForm(*(torch.cat([getattr(form, name) for form in forms], along) for name in names))

    def stored(self, encoded: Encoded) -> dict[str, Tensor]:
        """The bit patterns of every field as :meth:`Format.stored` has them; zero where a run has no such field.

        Raises
        ------
        InputError
            If the blocks of the runs differ in size, or a run stores something once a tensor.
        """
        along = self._stored_dimension(encoded.shape, encoded.axis)
        parts = [fmt.stored(part) for fmt, part in runs_of(self, encoded)]
        shapes = [_shapes(part) for _, part in runs_of(self, encoded)]
        found = {}
        for field in self.fields:
            none = (torch.zeros(shape[field.per], dtype=torch.int64) for shape in shapes)
            own = [part.get(field.name, zero) for part, zero in zip(parts, none, strict=True)]
            found[field.name] = torch.cat(own, along)
        return found

    def from_stored(
        self, stored: Mapping[str, Tensor], shape: torch.Size, axis: int = -1, dtype: torch.dtype = torch.float32
    ) -> ChannelEncoded:
        axis %= len(shape)
        along, parts = self._stored_dimension(shape, axis), []
        for (fmt, channels), (_, size) in zip(self.pieces(shape, axis), self.part_shapes(shape, axis), strict=True):
            own = {
                field.name: stored[field.name].narrow(along, channels.start, channels.stop - channels.start)
                for field in fmt.fields
            }
            parts.append(fmt.from_stored(own, size, axis, dtype))
        return self.joined(parts, shape, axis, dtype)

    def _stored_dimension(self, shape: Sequence[int], axis: int) -> int:
        if not self.has_one_layout or self._is_per("tensor"):
            raise InputError(f"{self.name}: the fields of its runs have no one shape; pack() stores run by run")
        return _joined_dimension(len(shape), axis % len(shape))

    def _encode_blocks(self, blocks: Tensor, peak: Tensor) -> Parts:
        raise AssertionError(f"{self.name}: its runs encode their blocks")

    def _decode_blocks(self, parts: Parts) -> Tensor:
        raise AssertionError(f"{self.name}: its runs decode their blocks")

    def _patterns(self, encoded: Encoded) -> dict[str, Tensor]:
        raise AssertionError(f"{self.name}: its runs have the patterns")

    def _from_patterns(self, stored: dict[str, Tensor]) -> Parts:
        raise AssertionError(f"{self.name}: its runs have the patterns")


def channel_groups(parts: Iterable[tuple[Format | str, int]]) -> ChannelGroups:
    """Return the format of runs, each a format and its number of channels; equal neighbours are joined.

    Raises
    ------
    InputError
        If there is no run, a format is not known, or a run has no channel.
    """
    found = [(parse_format(fmt), count) for fmt, count in parts]
    joined = [(fmt, [count for _, count in same]) for fmt, same in groupby(found, key=lambda run: run[0])]
    for fmt, counts in joined:
        for count in counts:
            if type(count) is not int or count < 1:
                raise InputError(f"a run of channels in {fmt} must have at least 1 channel, not {count!r}")
    return ChannelGroups(tuple((fmt, sum(counts)) for fmt, counts in joined))


def channel_dimension(dimensions: int, axis: int) -> int | None:
    """Return the dimension of output channels of a weight in blocks along ``axis``; None if it has none."""
    axis %= max(1, dimensions)
    if dimensions < 2:
        return None
    if axis < dimensions - 2:
        return None if axis == 0 else 0
    return 2 * dimensions - 3 - axis


def formats_in(fmt: Format) -> tuple[Format, ...]:
    """Return the different formats that parts of a tensor in ``fmt`` have: of a format for all of it, that one."""
    return fmt.formats if isinstance(fmt, ChannelGroups) else (fmt,)


def runs_of(fmt: Format, encoded: Encoded) -> tuple[tuple[Format, Encoded], ...]:
    """Return the formats and codes of the runs of channels of ``encoded``: of a format for all of it, that one run."""
    fmt.check(encoded)
    if isinstance(fmt, ChannelGroups) and isinstance(encoded, ChannelEncoded):
        return tuple((own, part) for (own, _), part in zip(fmt.runs, encoded.parts, strict=True))
    return ((fmt, encoded),)


def _joined_dimension(dimensions: int, axis: int) -> int:
    """The dimension of channels in an encoded tensor, whose axis has moved last."""
    dimension = channel_dimension(dimensions, axis) or 0
    return dimension - (dimension > axis)


def _shapes(encoded: Encoded) -> dict[str, torch.Size]:
    """The shapes of stored fields: per element, block and row."""
    return {"element": encoded.codes.shape, "block": encoded.scales.shape, "row": encoded.scales.shape[:-1]}


def _zeros(part: Encoded, like: Tensor) -> Tensor:
    """Zeros in the place of metadata that another run has, ``like`` these, per block or per row."""
    shape = part.scales.shape if like.dim() == part.scales.dim() else part.scales.shape[:-1]
    return torch.zeros(shape, dtype=like.dtype, device=like.device)


def _parse(name: str) -> ChannelGroups | None:
    if "*" not in name and "+" not in name:
        return None
    found: list[tuple[Format | str, int]] = []
    for run in name.split("+"):
        match = _RUN.fullmatch(run)
        if match is None:
            raise InputError(f"format {name!r}: the run {run!r} is not of the form {_GRAMMAR}")
        try:
            found.append((parse_format(match[1]), int(match[2])))
        except InputError as error:
            raise InputError(f"format {name!r}: {error}") from None
    return channel_groups(found)


register_format(
    "FORMAT*N+FORMAT*N...",
    "the first N output channels of a weight in one format, the next N in another, as often as wanted; the numbers add "
    "up to the channels",
    _parse,
    ["bitmod4*64+bitmod3*64"],
)
