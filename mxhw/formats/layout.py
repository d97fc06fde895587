"""How a tensor falls into blocks along an axis: split with zero padding, walk in chunks that stay in cache, join.

A block is a run of one vector along the axis, or a tile of some neighbouring vectors.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor

from mxhw.errors import InputError
from mxhw.formats import kernels

__all__ = ["CHUNK_ELEMENTS", "BlockLayout", "TileLayout", "look_up", "over_block"]

# Elements handled at a time: few enough that temporaries stay in cache, enough that calls cost little beside them.
CHUNK_ELEMENTS = 1 << 18
# Where the axis is not the last, a chunk keeps at least this many neighbours of the last one: four cache lines.
_MIN_INNER = 64

# glibc returns memory of freed large temporaries to the system at once, and getting it back costs more than most
# steps on it, until it has seen a block as large as this freed. The pages are never touched.
torch.empty(6 << 20)


@dataclass(frozen=True)
class BlockLayout:
    """Blocks of ``block`` along ``axis``: the tensor seen as ``[outer, length, inner]``, ``length`` = the axis."""

    shape: torch.Size
    axis: int
    outer: int
    length: int
    inner: int
    block: int
    blocks: int

    @classmethod
    @lru_cache(maxsize=1024)
    def of(cls, shape: torch.Size, axis: int, block: int | None) -> "BlockLayout":
        """The layout of a tensor of ``shape`` (no empty dimension) in blocks along the non-negative ``axis``."""
        length = shape[axis]
        size = length if block is None else block
        return cls(shape, axis, prod(shape[:axis]), length, prod(shape[axis + 1 :]), size, -(-length // size))

    @property
    def lead(self) -> torch.Size:
        """The shape without the axis: one entry per row."""
        return self.shape[: self.axis] + self.shape[self.axis + 1 :]

    @property
    def is_exact(self) -> bool:
        """Whether no padding is needed, so that :meth:`split` can be a view."""
        return self.blocks * self.block == self.length

    @cached_property
    def for_kernel(self) -> kernels.Layout:
        """The same for a C kernel."""
        return kernels.Layout(self.outer, self.length, self.inner, self.block)

    def count(self, per: str) -> int:
        """How many elements (padding included), blocks, rows or tensors there are."""
        rows = self.outer * self.inner
        return {"element": rows * self.blocks * self.block, "block": rows * self.blocks, "row": rows, "tensor": 1}[per]

    def split(self, x: Tensor) -> Tensor:
        """``x`` as [outer, inner, blocks, block]; a view if ``x`` is contiguous and no padding is needed."""
        x = x.reshape(self.outer, self.length, self.inner)
        if not self.is_exact:
            x = F.pad(x, (0, 0, 0, self.blocks * self.block - self.length))
        return x.view(self.outer, self.blocks, self.block, self.inner).permute(0, 3, 1, 2)

    def join(self, blocks: Tensor) -> Tensor:
        """Invert :meth:`split`."""
        return blocks.permute(0, 2, 3, 1).flatten(1, 2)[:, : self.length].reshape(self.shape)

    def chunks_along_outer(self) -> Iterator[slice]:
        """Slices of the first dimension of :meth:`split`, about CHUNK_ELEMENTS each where rows are no longer."""
        step = max(1, CHUNK_ELEMENTS // (self.blocks * self.block * self.inner))
        return (slice(i, i + step) for i in range(0, self.outer, step))

    def restore(self, values: Tensor) -> Tensor:
        """Values ``[..., blocks, block]`` with the axis last, as in an encoded tensor, back in the original shape."""
        rows = values.reshape(*self.lead, self.blocks * self.block)[..., : self.length]
        return rows.movedim(-1, self.axis).contiguous()

    def chunks(self, whole_rows: bool) -> Iterator[tuple[slice, slice, slice]]:
        """Indices into the first three dimensions of :meth:`split`, about CHUNK_ELEMENTS each.

        ``whole_rows`` keeps all blocks of a row together, for formats whose blocks share something.
        """
        depth = self.blocks
        if not whole_rows:
            depth = min(depth, max(1, CHUNK_ELEMENTS // (self.block * self.inner)))
        inner = min(self.inner, max(_MIN_INNER, CHUNK_ELEMENTS // (self.block * depth)))
        outer = max(1, CHUNK_ELEMENTS // (self.block * depth * inner)) if depth == self.blocks else 1
        for i in range(0, self.outer, outer):
            for j in range(0, self.inner, inner):
                for k in range(0, self.blocks, depth):
                    yield slice(i, i + outer), slice(j, j + inner), slice(k, k + depth)


@dataclass(frozen=True)
class TileLayout(BlockLayout):
    """Tiles of ``rows`` neighbouring vectors by ``block // rows`` along ``axis``, one of the last two dimensions.

    The neighbours are those of the other one of the last two dimensions (a 1-D tensor is one vector). A tile is a block
    of rows * columns elements, vector after vector; ``outer`` counts rows of tiles, ``inner`` is 1.
    """

    rows: int

    @classmethod
    def over(cls, shape: torch.Size, axis: int, rows: int, columns: int) -> "TileLayout":
        """The layout of a tensor of ``shape`` (no empty dimension) in tiles of ``rows`` by ``columns``.

        Raises
        ------
        InputError
            If ``axis`` (non-negative) is not one of the last two dimensions.
        """
        if axis < len(shape) - 2:
            raise InputError(
                f"blocks of {rows}x{columns} lie in the last two dimensions: axis {axis} of {tuple(shape)} is none"
            )
        length = shape[axis]
        neighbours = _neighbours(shape, axis)
        outer = prod(shape[:-2]) * -(-neighbours // rows)
        return cls(shape, axis, outer, length, 1, rows * columns, -(-length // columns), rows)

    @cached_property
    def for_kernel(self) -> kernels.Layout:
        neighbours = _neighbours(self.shape, self.axis)
        inner = 1 if self.axis == len(self.shape) - 1 else neighbours
        return kernels.Layout(prod(self.shape[:-2]), self.length, inner, self.block, self.rows, neighbours)

    @property
    def columns(self) -> int:
        """Elements of a tile along the axis."""
        return self.block // self.rows

    @property
    def lead(self) -> torch.Size:
        """The shape without the last two dimensions, and the rows of tiles."""
        return torch.Size([*self.shape[:-2], self.outer // prod(self.shape[:-2])])

    @property
    def is_exact(self) -> bool:
        """False: the elements of a tile do not lie together, so that :meth:`split` is a copy."""
        return False

    def split(self, x: Tensor) -> Tensor:
        """``x`` as [outer, 1, blocks, block]."""
        vectors = self._axis_last(x).reshape(-1, _neighbours(self.shape, self.axis), self.length)
        high, wide = self.lead[-1] * self.rows, self.blocks * self.columns
        vectors = F.pad(vectors, (0, wide - self.length, 0, high - vectors.shape[1]))
        tiles = vectors.reshape(-1, self.rows, self.blocks, self.columns).transpose(1, 2)
        return tiles.reshape(self.outer, 1, self.blocks, self.block)

    def join(self, blocks: Tensor) -> Tensor:
        """Invert :meth:`split`."""
        return self.restore(blocks)

    def restore(self, values: Tensor) -> Tensor:
        """Values ``[..., row_blocks, blocks, block]``, as in an encoded tensor, back in the original shape."""
        tiles = values.reshape(-1, self.lead[-1], self.blocks, self.rows, self.columns).transpose(2, 3)
        vectors = tiles.flatten(3).flatten(1, 2)[:, : _neighbours(self.shape, self.axis), : self.length]
        return self._axis_last(vectors).reshape(self.shape).contiguous()

    def _axis_last(self, x: Tensor) -> Tensor:
        """The last two dimensions exchanged where the axis is not the last one; its own inverse."""
        return x if self.axis == len(self.shape) - 1 else x.transpose(-1, -2)


def _neighbours(shape: torch.Size, axis: int) -> int:
    return 1 if len(shape) == 1 else shape[2 * len(shape) - 3 - axis]


def over_block(reduce: Callable[..., Tensor], blocks: Tensor) -> Tensor:
    """``reduce(blocks, -1, keepdim=True)`` of [outer, inner, blocks, block], in the memory order of ``blocks``.

    Torch gives reductions the standard order, which would make every later step on permuted blocks a strided one.
    """
    return reduce(blocks.permute(0, 2, 3, 1), 2, keepdim=True).permute(0, 3, 1, 2)


def look_up(table: Tensor, row: Tensor, rows: int, column: Tensor) -> Tensor:
    """``table[row, column]`` of a flat table of ``rows`` rows, in the memory order of ``column``.

    ``column`` is int32 of any shape without gaps, ``row`` int32 and broadcasts to it.
    """
    index = row * (len(table) // rows) + column
    table = table.to(index.device)
    if index.is_contiguous():
        return table.index_select(0, index.view(-1)).view(index.shape)
    flat = index.as_strided((index.numel(),), (1,), index.storage_offset())
    return table.index_select(0, flat).as_strided(index.shape, index.stride())
