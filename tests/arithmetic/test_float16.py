"""Half-precision MAC: one rounding of the exact sum, against rational arithmetic; how far the cheap one may be off."""

import random
from bisect import bisect_right
from fractions import Fraction

import pytest
import torch

from mxhw.arithmetic.float16 import FLOAT16_LARGEST, float16_mac
from mxhw.errors import InputError

CORNERS = (0, 1, 0x3FF, 0x400, 0x401, 0x3BFF, 0x3C00, 0x3C01, 0x7800, FLOAT16_LARGEST)


def value(code: int) -> Fraction:
    magnitude = Fraction((code & 0x3FF) | 0x400, 1 << 25) * 2 ** (code >> 10 & 31)
    magnitude = magnitude if code >> 10 & 31 else Fraction(code & 0x3FF, 1 << 24)
    return -magnitude if code >> 15 else magnitude


VALUES = [value(code) for code in range(FLOAT16_LARGEST + 1)]


def nearest(exact: Fraction) -> int:
    """The code of the magnitude nearest to ``exact``; of two the even one; the largest beyond the range."""
    below = bisect_right(VALUES, abs(exact)) - 1
    if below == FLOAT16_LARGEST:
        return below
    low, high = abs(exact) - VALUES[below], VALUES[below + 1] - abs(exact)
    return below + int(low > high or (low == high and below & 1))


def drawn(count: int, seed: int) -> tuple[list[int], list[int], list[int]]:
    """Accumulators, x and w: every exponent alike, corners, and accumulators that nearly cancel the product."""
    rng = random.Random(seed)

    def code() -> int:
        if rng.random() < 0.2:
            return rng.choice(CORNERS) | rng.getrandbits(1) << 15
        return rng.randrange(FLOAT16_LARGEST + 1) | rng.getrandbits(1) << 15

    c, x, w = ([code() for _ in range(count)] for _ in range(3))
    for i in range(0, count, 3):
        product = value(x[i]) * value(w[i])
        near = nearest(product) + rng.choice((-2, -1, 0, 0, 1))
        c[i] = min(max(near, 0), FLOAT16_LARGEST) | (product > 0) << 15
    return c, x, w


def test_the_next_accumulator_is_the_exact_sum_rounded_once():
    c, x, w = drawn(15_000, 1)
    c += [a | s << 15 for a in CORNERS for s in (0, 1) for _ in CORNERS for _ in CORNERS]
    x += [b for _ in CORNERS for _ in (0, 1) for b in CORNERS for _ in CORNERS]
    w += [b for _ in CORNERS for _ in (0, 1) for _ in CORNERS for b in CORNERS]
    found = float16_mac(*map(torch.tensor, (c, x, w))).tolist()
    for a, b, d, code in zip(c, x, w, found, strict=True):
        product = value(b) * value(d)
        sign = a >> 15 if abs(value(a)) > abs(product) else (b ^ d) >> 15
        assert code == nearest(value(a) + product) | sign << 15, (hex(a), hex(b), hex(d), hex(code))


def test_the_oracle_rounds_ties_to_even_and_saturates():
    half = Fraction(1, 1 << 25)
    assert [nearest(k * half) for k in (1, 3, 5)] == [0, 2, 2]
    assert nearest(Fraction(65520)) == nearest(Fraction(10**6)) == FLOAT16_LARGEST


def test_the_cheap_version_is_never_beyond_the_exact_sum_by_more_than_its_lost_bits():
    c, x, w = (torch.tensor(codes) for codes in drawn(30_000, 2))
    flushed = [torch.where((codes & 0x7C00) == 0, 0, codes) for codes in (c, x, w)]
    found = float16_mac(c, x, w, "truncate").tolist()
    for a, b, d, code in zip(*(codes.tolist() for codes in flushed), found, strict=True):
        exact = value(a) + value(b) * value(d)
        # Each operand loses less than one guard bit, the result less than its last bit; small results vanish.
        largest = max(abs(value(a)), abs(value(b) * value(d)))
        allowed = max(largest, abs(exact)) / 512 + abs(exact) / 1024 + Fraction(1, 1 << 13)
        assert abs(value(code) - exact) <= allowed or abs(exact) > VALUES[-1], (hex(a), hex(b), hex(d), hex(code))
        assert abs(value(code)) <= VALUES[-1] and (code & 0x7C00 or code == 0)


def test_an_unknown_rounding_is_refused():
    zero = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(InputError, match="rounding must be nearest or truncate, not 'up'"):
        float16_mac(zero, zero, zero, "up")
