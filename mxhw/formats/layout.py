"""How a tensor falls into blocks along an axis: split with zero padding, walk in chunks that stay in cache, join."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor

__all__ = ["CHUNK_ELEMENTS", "BlockLayout", "look_up", "over_block"]

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
        """Whether no padding is needed."""
        return self.blocks * self.block == self.length

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
