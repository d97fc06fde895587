"""What the tests of the norms share: an oracle in Python integers, and vectors of every kind."""

from fractions import Fraction
from math import floor

import torch

from mxhw.arithmetic.functions.inverse_root import RSQRT

LARGEST = (1 << 23) - 1


def rounded(x, shift):
    return floor(Fraction(x) / Fraction(2) ** shift + Fraction(1, 2))


def clamped(x, bits):
    return max(1 - (1 << bits - 1), min((1 << bits - 1) - 1, x))


def quotients(vector, epsilon):
    """x / sqrt(sum(x * x) + epsilon) * 2^24 of one list of integers, as arithmetic.md, section 3, writes it."""
    s = max(0, max(abs(x) for x in vector).bit_length() - 1 - 14)
    reduced = [clamped(rounded(x, s), 16) for x in vector]
    ss = max(1, sum(x * x for x in reduced) + (epsilon >> 2 * s))
    top = ss.bit_length() - 1
    fraction = int(Fraction(ss - (1 << top), 1 << top) * (1 << 16))
    place, rest = divmod((top % 2 << 16) + fraction, 1 << 12)
    before, after = RSQRT.points[place], RSQRT.points[place + 1]
    root = before + rounded((after - before) * rest, 12)
    return [clamped(rounded(x * root, top // 2 + s - 8), 26) for x in vector]


def vectors(length, seed=0, count=60):
    """Drawn vectors of all sizes; zero, constant, largest, smallest ones; one outlier of 1000 times the others."""
    generator = torch.Generator().manual_seed(seed)
    sizes = 2.0 ** torch.randint(0, 23, (count, 1), generator=generator)
    x = torch.randn(count, length, generator=generator) * sizes
    x = x.long().clamp(-LARGEST, LARGEST)
    x[0], x[1], x[2], x[3], x[4] = 0, LARGEST, -LARGEST, 1, 12345
    x[5] = torch.where(torch.arange(length) % 2 == 0, LARGEST, -LARGEST)
    x[6] = 0
    x[6, -1] = -1
    x[7] = torch.randn(length, generator=generator) * 4000
    x[7, 0] = 4_000_000
    x[8] = 32767
    x[9] = LARGEST
    x[9, 0] = LARGEST - 1
    return x


def adversarial(length, count, seed=0):
    """Vectors whose elements the squarer all rounds down by almost half a unit, at the size where it hurts most.

    One element stands at 2^14 units of the squarer, all others at about 2^14 / sqrt(length).
    """
    generator = torch.Generator().manual_seed(seed)
    unit = 1 << 8
    leading = (1 << 14) + torch.randint(0, 1 << 12, (count, 1), generator=generator)
    worst = ((1 + length) ** 0.5 - 1) / max(1, length) * (1 << 14)
    other = (worst * (0.7 + 0.6 * torch.rand(count, 1, generator=generator))).long()
    x = (other * unit + unit // 2 - 1).repeat(1, length)
    x[:, :1] = leading * unit + unit // 2 - 1
    return x
