"""The formats once more, one element at a time in exact arithmetic: slow, plain, and written from the papers' rules.

Nothing of mxhw is used, tables included. Every function takes a list of Python floats (one block, or one row of blocks)
and returns the values that a format must give. ``fault`` plants the mistake that a negative control has to catch.
"""

from fractions import Fraction
from itertools import pairwise
from math import copysign, inf

import numpy as np

FLT_MAX = float(np.finfo(np.float32).max)

ELEMENTS = {  # exponent of the largest value, mantissa bits, exponent of the smallest normal, largest value
    "mxfp4": (2, 1, 0, 6.0),
    "mxfp6-e2m3": (2, 3, 0, 7.5),
    "mxfp6-e3m2": (4, 2, -2, 28.0),
    "mxfp8-e4m3": (8, 3, -6, 448.0),
    "mxfp8-e5m2": (15, 2, -14, 57344.0),
}

DIALECTS = [
    (0, 1, 2, 3, 4, 6, *top)
    for top in [(11, 15), (9, 15), (11, 14), (9, 14), (10, 13), (8, 13), (10, 12), (8, 12), (9, 11), (7, 11), (9, 10)]
] + [(0, 1, 2, 3, 4, 6, *top) for top in [(7, 10), (8, 9), (7, 9), (7, 8)]]
DIALECTS.append((0, 1, 2, 3, 4, 5, 6, 8))

BITMOD = {
    3: [(-4, -2, -1, 0, 1, 2, 4, sv) for sv in (3, -3, 6, -6)],
    4: [(-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12, sv) for sv in (10, -10, 16, -16)],
}


def floor_log2(x: float) -> int:
    """floor(log2 |x|) of a non-zero float, exactly."""
    fraction = abs(Fraction(x))
    exponent = fraction.numerator.bit_length() - fraction.denominator.bit_length()
    return exponent if Fraction(2) ** exponent <= fraction else exponent - 1


def nearest(x: Fraction, fault: str = "") -> int:
    """The nearest integer, ties to even (fault "ties": away from zero)."""
    if fault == "ties" and x.denominator == 2:
        return int(x + Fraction(1, 2)) if x > 0 else int(x - Fraction(1, 2))
    return round(x)


def float32(x: Fraction) -> float:
    """Round a rational to float32, nearest even, saturating."""
    if x == 0:
        return 0.0
    unit = Fraction(2) ** (max(floor_log2_fraction(x), -126) - 23)
    return max(-FLT_MAX, min(FLT_MAX, float(round(x / unit) * unit)))


def floor_log2_fraction(x: Fraction) -> int:
    exponent = abs(x).numerator.bit_length() - x.denominator.bit_length()
    return exponent if Fraction(2) ** exponent <= abs(x) else exponent - 1


def signed(value: float, like: float) -> float:
    """The value with the sign of its input where it is zero."""
    return copysign(value, like) if value == 0 else value


def mx_exponent(block: list[float], emax: int) -> int:
    peak = max(abs(x) for x in block)
    return -127 if peak == 0 else max(-127, min(127, floor_log2(peak) - emax))


def mx_float(block: list[float], name: str, fault: str = "") -> list[float]:
    emax, mantissa, emin, largest = ELEMENTS[name]
    scale = Fraction(2) ** mx_exponent(block, emax)
    values = []
    for x in block:
        element = Fraction(x) / scale
        exponent = emin if element == 0 else max(emin, floor_log2_fraction(element))
        unit = Fraction(2) ** (exponent - mantissa)
        rounded = max(-Fraction(largest), min(Fraction(largest), nearest(element / unit, fault) * unit))
        values.append(signed(float(rounded * scale), x))
    return values


def mx_int(block: list[float], width: int, fault: str = "") -> list[float]:
    unit = Fraction(2) ** (mx_exponent(block, 0) - (width - 2))
    largest = 2 ** (width - 1) - 1
    return [float(max(-largest, min(largest, nearest(Fraction(x) / unit, fault))) * unit) for x in block]


def int_shift(row: list[float], width: int, fault: str = "") -> list[float]:
    """intB-e8m0."""
    unit = Fraction(2) ** mx_exponent(row, width - 2)
    largest = 2 ** (width - 1) - 1
    return [float(max(-largest, min(largest, nearest(Fraction(x) / unit, fault))) * unit) for x in row]


def int_float16(row: list[float], width: int, fault: str = "") -> list[float]:
    """intB: scale amax / qmax stored as float16, quotient in float32."""
    largest = 2 ** (width - 1) - 1
    scale = float32(Fraction(max(abs(x) for x in row)) / largest)
    stored = float(np.float16(min(65504.0, max(2.0**-24, scale))))
    values = []
    for x in row:
        level = nearest(Fraction(float32(Fraction(x) / Fraction(stored))), fault)
        values.append(float32(max(-largest, min(largest, level)) * Fraction(stored)))
    return values


def dialect_index(y: float, row: tuple[int, ...], fault: str = "") -> int:
    """Index of the nearest magnitude of y >= 0 in half units, ties to the larger."""
    best = 0
    for i in range(1, 8):
        middle = (row[i - 1] + row[i]) / 2
        if 2 * y > middle or (2 * y == middle and fault != "ties"):
            best = i
    return best


def dialect(block: list[float], online: bool, fault: str = "") -> tuple[list[float], int, int]:
    """Values, dialect and stored exponent."""
    peak = max(abs(x) for x in block)
    stored = 0 if peak == 0 else max(0, min(31, floor_log2(peak) - 2 + 15))
    scale = 2.0 ** (stored - 15)
    candidates = []
    for d, row in enumerate(DIALECTS):
        values = [copysign(row[dialect_index(abs(x) / scale, row, fault)] / 2 * scale, x) for x in block]
        candidates.append((values, d, stored))
    if online:
        return candidates[online_dialect([abs(x) / scale for x in block], fault)]
    best, least = 0, inf
    for values, d, _ in candidates:
        total = 0.0
        for x, value in zip(block, values, strict=True):
            total += (x - value) ** 2
        if total < least or (fault == "last" and total == least):
            best, least = d, total
    return candidates[best]


def online_dialect(scaled: list[float], fault: str) -> int:
    """The two-stage rule, by its meaning: the maximum rounded to half units, then who is nearer more often."""
    maximum = min(15, max(8, int(2 * max(scaled) + 0.5)))
    even, odd = 2 * (15 - maximum), 2 * (15 - maximum) + 1

    def distance(y: float, d: int) -> float:
        q = min(31, int(4 * y)) / 4 + 0.125
        return abs(q - DIALECTS[d][dialect_index(q, DIALECTS[d])] / 2)

    balance = sum((distance(y, even) < distance(y, odd)) - (distance(y, odd) < distance(y, even)) for y in scaled)
    return odd if balance < 0 or (fault == "last" and balance == 0) else even


def bitmod(group: list[float], width: int, fault: str = "") -> tuple[list[int], int, float]:
    """Grid values, selector and unquantized scale of one group."""
    peak = Fraction(max(abs(x) for x in group))
    best, least = None, inf
    for selector, grid in enumerate(BITMOD[width]):
        scale = float32(peak / max(abs(g) for g in grid))
        ordered = sorted(grid)
        codes = []
        for x in group:
            quotient = float32(Fraction(x) / Fraction(scale)) if scale else x
            code = ordered[0]
            for low, high in pairwise(ordered):
                if 2 * quotient > low + high or (fault == "ties" and 2 * quotient == low + high):
                    code = high
            codes.append(code)
        total = 0.0
        for x, code in zip(group, codes, strict=True):
            total += (float32(code * Fraction(scale)) - x) ** 2
        if total < least or (fault == "last" and total == least):
            best, least = (codes, selector, scale), total
    assert best is not None
    return best
