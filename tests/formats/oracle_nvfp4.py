"""NVFP4, Four Over Six, RaZeR and NF4 once more, one element at a time in exact arithmetic; as tests/formats/oracle.py.

Every rounding that the definitions name is one call of ``float32`` or ``small_float`` on a rational.
"""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import copysign, inf

import numpy as np

from tests.formats.oracle import float32, floor_log2_fraction, nearest

GRID = (0, 0.5, 1, 1.5, 2, 3, 4, 6)

NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
    *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)


@dataclass(frozen=True)
class Rule:
    """``scales``: exponent of the smallest normal scale, of its step, and the largest; ``candidates``: what the block's
    maximum is divided by, a factor behind the division by g, and the special value."""

    reach: float
    scales: tuple[int, int, float]
    candidates: tuple[tuple[float, float, float | None], ...]


E4M3, E3M3 = (-6, -9, 448.0), (-2, -5, 28.0)
RULES = {
    "nvfp4": Rule(2688, E4M3, ((6, 1, None),)),
    "nvfp4-46": Rule(1536, E4M3, ((6, 1, None), (6, 1.5, None))),
    "razer": Rule(168, E3M3, ((6, 1, 5.0), (6, 1, -5.0), (8, 1, 8.0), (8, 1, -8.0))),
    "razer-online": Rule(2688, E4M3, ((6, 1, 5.0), (6, 1, -5.0))),
}


def quotient(x: float, y: float) -> float:
    return float32(Fraction(x) / Fraction(y))


def product(x: float, y: float) -> float:
    return float32(Fraction(x) * Fraction(y))


def small_float(x: float, normal: int, step: int, largest: float, fault: str = "") -> float:
    """The nearest value of a small float, ties to even, saturating; its smallest normal is 2^normal."""
    exponent = normal if x == 0 else max(normal, floor_log2_fraction(Fraction(x)))
    unit = Fraction(2) ** (exponent - normal + step)
    return float(max(-Fraction(largest), min(Fraction(largest), nearest(Fraction(x) / unit, fault) * unit)))


def scale_of(peak: float, g: float, rule: Rule, divisor: float, factor: float, fault: str) -> float:
    normal, step, largest = rule.scales
    if peak == 0:
        return 0.0
    scale = product(quotient(quotient(peak, divisor), g), factor)
    smallest = 2.0 ** (normal if fault == "smallest" else step)
    return small_float(min(largest, max(smallest, scale)), normal, step, largest, "ties" if fault == "scale" else "")


def element(x: float, s: float, g: float, rule: Rule, special: float | None, fault: str) -> float:
    least = 2.0 ** rule.scales[1]
    q = product(x, quotient(quotient(1.0, g), max(s, least)))
    if fault == "order":
        q = quotient(x, product(max(s, least), g))
    value = small_float(q, 0, -1, 6.0, "ties" if fault == "ties" else "")
    if special is None:
        return copysign(value, x) if value == 0 else value
    closer = abs(Fraction(q) - Fraction(special)) < abs(Fraction(q) - Fraction(value))
    equal = abs(Fraction(q) - Fraction(special)) == abs(Fraction(q) - Fraction(value))
    return special if closer or (fault == "special" and equal) else value + 0.0


def tensor_scaled(
    name: str, rows: list[list[float]], fault: str = ""
) -> tuple[list[list[float]], list[list[float]], list[list[int]]]:
    """Values of a tensor, and of each block the scale and the number of the candidate."""
    rule = RULES[name]
    amax = max(abs(x) for row in rows for x in row)
    g = max(quotient(amax, rule.reach), 2.0 ** (-127 - rule.scales[1]))
    values, scales, numbers = [], [], []
    for row in rows:
        blocks = [block_of(rule, row[at : at + 16], g, fault) for at in range(0, len(row), 16)]
        values.append([value for block, _, _ in blocks for value in block])
        scales.append([scale for _, scale, _ in blocks])
        numbers.append([number for _, _, number in blocks])
    return values, scales, numbers


def block_of(rule: Rule, block: list[float], g: float, fault: str) -> tuple[list[float], float, int]:
    peak = max(abs(x) for x in block)
    best, least = ([0.0], 0.0, 0), inf
    for number, (divisor, factor, special) in enumerate(rule.candidates):
        s = scale_of(peak, g, rule, divisor, factor, fault)
        elements = [element(x, s, g, rule, special, fault) for x in block]
        values = [copysign(product(abs(e), product(s, g)), e) for e in elements]
        total = 0.0
        for x, value, e in zip(block, values, elements, strict=True):
            error = (e - x) if fault == "unscaled" else (value - x)
            total += error * error
        if total < least or (fault == "last" and total == least):
            best, least = (values, s, number), total
    return best


def nf4(row: list[float], group: int, kind: str = "", fault: str = "") -> list[float]:
    """Values of a row; ``kind`` "", "sf16", "s8": how the scales of its groups are stored."""
    groups = [row[at : at + group] for at in range(0, len(row), group)]
    peaks = [max(abs(x) for x in values) for values in groups]
    if kind == "sf16":
        scales = [float(np.float16(min(65504.0, max(2.0**-24, peak)))) for peak in peaks]
    elif kind == "s8":
        unit = float32(Fraction(max(peaks)) / 255)
        ratios = [quotient(peak, max(unit, 2.0**-149)) for peak in peaks]
        unit = max(unit, 2.0**-149)
        scales = [product(max(1, min(255, nearest(Fraction(ratio)))), unit) for ratio in ratios]
    else:
        scales = [max(peak, 2.0**-149) for peak in peaks]
    chosen_with = peaks if fault == "unquantized" else scales
    values = []
    for xs, scale, divisor in zip(groups, scales, chosen_with, strict=True):
        for x in xs:
            t = Fraction(quotient(x, max(divisor, 2.0**-149)))
            code = 0
            for upper, (low, high) in enumerate(pairwise(NF4), start=1):
                middle = (Fraction(low) + Fraction(high)) / 2
                if t > middle or (fault == "float32" and t >= Fraction(float32(middle))):
                    code = upper
            values.append(product(NF4[code], scale) if x or NF4[code] else 0.0)
    return values
