"""Inputs that reach every corner of a format: drawn values, ties of the element grids, float32's limits, zeros."""

import torch
from torch import Tensor


def hard_rows(columns: int, seed: int = 0, repeats: int = 3) -> Tensor:
    """Float32 [rows, columns], finite; every class of input occurs ``repeats`` times."""
    generator = torch.Generator().manual_seed(seed)

    def normal() -> Tensor:
        return torch.randn(columns, generator=generator)

    def power(low: int, high: int, size: int = columns) -> Tensor:
        return torch.exp2(torch.randint(low, high, (size,), generator=generator).float())

    def grid(step: float) -> Tensor:
        span = int(8 / step)
        values = torch.randint(-span + 1, span, (columns,), generator=generator) * step
        return values * power(-6, 6, 1)

    def sparse(values: Tensor) -> Tensor:
        return values * (torch.rand(columns, generator=generator) < 0.2)

    rows = []
    for _ in range(repeats):
        rows += [normal(), normal() * 0.02, normal() / normal().abs().sqrt(), normal().bfloat16().float()]
        rows += [grid(0.5), grid(0.25), grid(0.125), grid(1 / 16), grid(1.0), sparse(grid(0.25)), -sparse(grid(0.5))]
        rows += [normal() * power(-20, 20), normal() * power(-120, 120), normal() * 2.0**-130, normal() * 2.0**-147]
        below = torch.nextafter(power(-8, 8), torch.zeros(columns))
        rows += [below, torch.nextafter(power(-140, -130), torch.zeros(columns)), power(-9, 9)]
        rows += [
            normal().sign() * torch.finfo(torch.float32).max,
            normal() * 3e37,
            sparse(normal() * 30) + normal() / 50,
        ]
        rows += [normal() * 2.0**-14, normal() * 2.0**15, torch.zeros(columns), -torch.zeros(columns), sparse(normal())]
    return torch.stack(rows)


def near_ties(columns: int, largest: float, seed: int = 0) -> Tensor:
    """Float32 [64, columns]: multiples of 1/4 up to ``largest`` times a scale per row that is no power of two, moved by
    up to three units in the last place. Every 16th value is ``largest`` times the scale."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.rand(64, 1, generator=generator) * 10.0 ** torch.randint(-6, 7, (64, 1), generator=generator)
    quarters = torch.randint(int(-4 * largest), int(4 * largest) + 1, (64, columns), generator=generator)
    x = quarters / 4 * scale
    for _ in range(3):
        towards = torch.randint(-1, 2, x.shape, generator=generator)
        x = torch.where(towards == 0, x, torch.nextafter(x, towards * torch.tensor(torch.inf)))
    x[:, ::16] = largest * scale
    return x


def coarse(columns: int, seed: int = 0) -> Tensor:
    """Float32 [128, columns] for which sums of squared errors of candidates are equal or differ in their last bits.

    Rows of few values, as they are and with one in 16 moved by its last bit; rows with as much above as below zero.
    """
    generator = torch.Generator().manual_seed(seed)
    top, steps = [(96, 8), (64, 4), (28, 2), (112, 16)][seed % 4]
    x = torch.randint(-top, top + 1, (128, columns), generator=generator) / steps
    x[:, ::128] = top / steps
    moved = torch.rand(32, columns, generator=generator) < 1 / 16
    x[32:64] = torch.where(moved, torch.nextafter(x[32:64], torch.tensor(20.0)), x[32:64])
    x[64:96] *= torch.rand(32, columns, generator=generator) < 0.1
    half = torch.randn(32, columns // 16, 8, generator=generator)
    x[96:] = torch.cat([half, -half[..., torch.randperm(8, generator=generator)]], -1).flatten(1)
    return x


def bits(x: Tensor) -> Tensor:
    """The bit patterns of a float tensor: equality that tells -0 from 0."""
    return x.contiguous().view({4: torch.int32, 2: torch.int16}[x.element_size()])


def differences(x: Tensor, y: Tensor) -> int:
    """In how many elements two float tensors differ in any bit."""
    assert x.shape == y.shape
    assert x.dtype == y.dtype
    return int((bits(x) != bits(y)).sum())
