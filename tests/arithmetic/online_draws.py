"""Blocks that on-line quantizers must get right: drawn at every scale, and corners."""

import torch
from torch import Tensor


def mantissa_blocks(count: int, block: int, seed: int = 0) -> Tensor:
    """Int16 mantissas [count + corners, block], int64."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(-32768, 32768, (count, block), generator=generator)
    drawn >>= torch.randint(0, 16, (count, 1), generator=generator)
    # Half of the blocks get values of many sizes, as with outliers.
    drawn[::2] >>= torch.randint(0, 12, (len(drawn[::2]), block), generator=generator)
    place = torch.arange(block)
    alternating = torch.where(place % 2 == 0, 1, -1)
    corners = [
        torch.zeros(block),
        *(torch.full((block,), value) for value in (1, -1, 5, 32767, -32767, -32768)),
        *(torch.where(place == block // 2, peak, small) for peak in (1, -1, 30000, -32768) for small in (0, 1, -3)),
        *((1 << position) * alternating for position in range(15)),
        *(((1 << position + 1) - 1) * alternating for position in range(14)),
        *((place % 32 + 1) << shift for shift in range(0, 10, 3)),
        *(-((place % 32) << shift | 1) for shift in range(0, 10, 3)),
    ]
    return torch.cat([drawn, torch.stack([corner.long() for corner in corners])])


def fp16_blocks(count: int, block: int, seed: int = 0) -> Tensor:
    """FP16 patterns of finite values [count + corners, block], int64."""
    generator = torch.Generator().manual_seed(seed)

    def patterns(low: int, high: int) -> Tensor:
        magnitude = torch.randint(low, high, (count, block), generator=generator)
        return magnitude | torch.randint(0, 2, (count, block), generator=generator) << 15

    scale = 2.0 ** torch.randint(-24, 12, (count, 1), generator=generator).float()
    normal = torch.randn(count, block, generator=generator) * scale
    place = torch.arange(block)
    corners = [
        torch.zeros(block),
        torch.full((block,), 0x8000),
        torch.where(place % 2 == 0, 0x8000, 0),
        *(torch.full((block,), value) for value in (1, 0x8001, 0x3FF, 0x400, 0x7FF, 0x800, 0xFBFF, 0x7BFF)),
        *(torch.where(place == 3, 0x7BFF, value) for value in (0, 0x8000, 1, 0x400, 0x3C00)),
        *(torch.where(place == 3, 1 << 10 | 0x155, value) for value in (0, 1, 0x3FF)),
    ]
    return torch.cat(
        [
            patterns(0, 0x7C00),
            patterns(0, 0x400),
            patterns(0x300, 0xC00),
            normal.half().view(torch.int16).long() & 0xFFFF,
            torch.stack([corner.long() for corner in corners]),
        ]
    )


def fp16_values(patterns: Tensor) -> Tensor:
    """The values of FP16 patterns as float32."""
    return torch.where(patterns > 0x7FFF, patterns - 0x10000, patterns).to(torch.int16).view(torch.float16).float()


def every_mantissa_at_every_scale(block: int) -> Tensor:
    """Blocks whose first element is a peak 2**p (-2**15 for p = 15) and which hold all m with |m| < 2**(p+1)."""
    rows = []
    for position in range(16):
        limit = min(1 << position + 1, 1 << 15)
        values = torch.arange(-limit + (position == 14), limit)
        padded = torch.zeros(-(-len(values) // (block - 1)) * (block - 1), dtype=torch.int64)
        padded[: len(values)] = values
        peak = torch.full((len(padded) // (block - 1), 1), -(1 << 15) if position == 15 else 1 << position)
        rows.append(torch.cat([peak, padded.view(-1, block - 1)], 1))
    return torch.cat(rows)
