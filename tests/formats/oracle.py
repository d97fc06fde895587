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
BITMOD_EIGHT = {
    3: BITMOD[3] + [(-4, -2, -1, 0, 1, 2, 4, sv) for sv in (5, -5, 8, -8)],
    4: BITMOD[4] + [(-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12, sv) for sv in (20, -20, 24, -24)],
}
BITMOD_ONE_TERM = [(-8, -4, -2, 0, 2, 4, 8, sv) for sv in (16, -16, 1, -1)]


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


def power(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


def mx_candidates(block: list[float], emax: int, mantissa: int, largest: Fraction, rule: str) -> list[int]:
    """Exponents of the scale in the order of preference: one, except for the rule "mse"."""
    peak = max(abs(Fraction(x)) for x in block)
    if peak == 0:
        return [-127]
    floor = floor_log2_fraction(peak)
    if rule == "mse":
        found = [floor - emax - 1, floor - emax, floor - emax + 1]
    elif rule == "rceil":
        found = [next(e for e in range(floor - emax - 2, 200) if peak <= power(e) * largest)]
    elif rule == "ceil":
        found = [next(e for e in range(floor, 200) if peak <= power(e)) - emax]
    elif rule == "even":
        found = [floor_log2_fraction(round(peak / power(floor - mantissa)) * power(floor - mantissa)) - emax]
    else:
        found = [floor - emax]
    return [max(-127, min(127, exponent)) for exponent in found]


def mx_float_at(block: list[float], exponent: int, name: str, fault: str = "") -> list[float]:
    _, mantissa, emin, largest = ELEMENTS[name]
    values = []
    for x in block:
        element = Fraction(x) / power(exponent)
        lowest = emin if element == 0 else max(emin, floor_log2_fraction(element))
        unit = power(lowest - mantissa)
        rounded = max(-Fraction(largest), min(Fraction(largest), nearest(element / unit, fault) * unit))
        values.append(signed(float32(rounded * power(exponent)), x))
    return values


def fp8(row: list[float], element: str, scale_bits: int = 32, fault: str = "") -> list[float]:
    """fp8-e4m3, fp8-e5m2: scale amax / largest stored in 32 or 16 bits, quotient in float32; 0 bits: no scale."""
    largest = ELEMENTS[f"mxfp8-{element}"][3]
    scale = 1.0
    if scale_bits:
        scale = max(2.0**-149, float32(Fraction(max(abs(x) for x in row)) / Fraction(largest)))
    if scale_bits == 16:
        scale = float(np.float16(min(65504.0, max(2.0**-24, scale))))
    quotients = [signed(float32(Fraction(x) / Fraction(scale)), x) for x in row]
    values = mx_float_at(quotients, 0, f"mxfp8-{element}", fault)
    return [signed(float32(Fraction(v) * Fraction(scale)), x) for v, x in zip(values, row, strict=True)]


def mx_int_at(block: list[float], exponent: int, width: int, fault: str = "") -> list[float]:
    unit = power(exponent - (width - 2))
    largest = 2 ** (width - 1) - 1
    return [float(max(-largest, min(largest, nearest(Fraction(x) / unit, fault))) * unit) for x in block]


def mx(block: list[float], name: str, rule: str = "floor", fault: str = "") -> tuple[list[float], int]:
    """Values of one block and the exponent of its scale (fault "last": the last of equal errors)."""
    width = int(name[5:]) if name.startswith("mxint") else 0
    emax, mantissa, _, largest = ELEMENTS.get(name, (0, width - 2, 0, 0.0))
    top = Fraction(2 ** (width - 1) - 1) / 2 ** (width - 2) if width else Fraction(largest)
    best, least = None, inf
    for exponent in mx_candidates(block, emax, mantissa, top, rule):
        values = mx_int_at(block, exponent, width, fault) if width else mx_float_at(block, exponent, name, fault)
        total = 0.0
        for x, value in zip(block, values, strict=True):
            total += (value - x) ** 2
        if best is None or total < least or (fault == "last" and total == least):
            best, least = (values, exponent), total
    assert best is not None
    return best


def int_shift(row: list[float], width: int, fault: str = "") -> list[float]:
    """intB-e8m0."""
    unit = power(mx_candidates(row, width - 2, 0, Fraction(1), "floor")[0])
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


def dialect(block: list[float], rule: str, fault: str = "") -> tuple[list[float], int, int]:
    """Values, dialect and stored exponent by the rule "weights", "search" or "online"."""
    peak = max(abs(x) for x in block)
    found = []
    for offset in (0, -1, 1) if rule == "search" else (0,):
        stored = 0 if peak == 0 else max(0, min(31, floor_log2(peak) - 2 + 15 + offset))
        scale = 2.0 ** (stored - 15)
        for d, row in enumerate(DIALECTS):
            values = [copysign(row[dialect_index(abs(x) / scale, row, fault)] / 2 * scale, x) for x in block]
            found.append((values, d, stored))
    if rule == "online":
        return found[online_dialect([abs(x) / scale for x in block], fault)]
    best, least = found[0], inf
    for candidate in found:
        total = 0.0
        for x, value in zip(block, candidate[0], strict=True):
            total += (x - value) ** 2
        if total < least or (fault == "last" and total == least):
            best, least = candidate, total
    return best


def online_dialect(scaled: list[float], fault: str) -> int:
    """The two-stage rule, by its meaning: the maximum rounded to half units, then who is nearer more often."""
    maximum = min(15, max(8, int(2 * max(scaled) + 0.5)))
    even, odd = 2 * (15 - maximum), 2 * (15 - maximum) + 1

    def distance(y: float, d: int) -> float:
        q = min(31, int(4 * y)) / 4 + 0.125
        return abs(q - DIALECTS[d][dialect_index(q, DIALECTS[d])] / 2)

    balance = sum((distance(y, even) < distance(y, odd)) - (distance(y, odd) < distance(y, even)) for y in scaled)
    return odd if balance < 0 or (fault == "last" and balance == 0) else even


def bitmod(
    group: list[float], grids: list[tuple[int, ...]], clip: bool = False, fault: str = ""
) -> tuple[list[int], int, float]:
    """Grid values, selector and unquantized scale of one group."""
    peak = Fraction(max(abs(x) for x in group))
    best, least = None, inf
    for percent in range(1000, 575, -25) if clip else [1000]:
        factor = float(np.float32(percent / 1000))
        for selector, grid in enumerate(grids):
            unclipped = float32(peak / max(abs(g) for g in grid))
            scale = float32(Fraction(unclipped) * Fraction(factor))
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
