"""Bit-serial terms: how the BitMoD unit spells a weight as a short sum of signed powers of two.

    weight = sum over steps of (-1)^sign * mantissa * 2^exponent * 2^significance[step]

Integers use radix-4 Booth digits; FP4 and FP3 with special values use the leading one and then the leading one of what
remains. Source: BitMoD (arXiv 2411.11745), section on bit-serial terms; bitmod.md section 2. FP4 counts in half units,
FP3 in units. Term skipping is deliberately not done: an absent term is an idle cycle with mantissa 0.
"""

from dataclasses import dataclass
from functools import cache

from mxhw.errors import InputError, nearest
from mxhw.formats import BITMOD_GRIDS, BITMOD_SPECIAL_VALUES

__all__ = ["ACTIVATION_LARGEST", "Term", "WeightType", "serial_term", "terms", "weight_type_named", "weight_types"]

ACTIVATION_LARGEST = 127
_BOOTH = {0: 0, 1: 1, 2: 1, 3: 2, 4: -2, 5: -1, 6: -1, 7: 0}


@dataclass(frozen=True)
class Term:
    """One step's share of a weight: ``(-1)**sign * mantissa * 2**exponent``, before the step's significance."""

    sign: int
    exponent: int
    mantissa: int

    @property
    def value(self) -> int:
        """The term as an integer."""
        magnitude = self.mantissa << self.exponent
        return -magnitude if self.sign else magnitude


@dataclass(frozen=True)
class WeightType:
    """A weight type of the bit-serial unit.

    Attributes
    ----------
    name : "int2" .. "int8", "fp3", "fp4".
    code_bits : stored bits of a code: two's complement, or a sign above an index into ``magnitudes``.
    significances : log2 of the weight of each step; their number is the cycles per chunk of lanes.
    magnitudes : ascending magnitudes of a floating-point type; empty for integers.
    special_values : values that the code "-0" can mean, one of which a group's selector picks; empty for integers.
    """

    name: str
    code_bits: int
    significances: tuple[int, ...]
    magnitudes: tuple[int, ...] = ()
    special_values: tuple[int, ...] = ()

    @property
    def largest(self) -> int:
        """Largest magnitude that a code of the symmetric format means."""
        if self.magnitudes:
            return max(*self.magnitudes, *(abs(value) for value in self.special_values))
        return (1 << (self.code_bits - 1)) - 1

    @property
    def largest_exponent(self) -> int:
        """Largest exponent of a term: 1 for Booth digits, else the leading one's position in its window."""
        return 3 if self.magnitudes and self.significances[0] else 2 if self.magnitudes else 1

    @property
    def special_code(self) -> int | None:
        """The code that means a special value: minus zero; None for integers."""
        return 1 << (self.code_bits - 1) if self.magnitudes else None

    def value(self, code: int, selector: int = 0) -> int:
        """Return the integer that ``code`` means, in grid units; ``selector`` picks the special value."""
        half = 1 << (self.code_bits - 1)
        if not self.magnitudes:
            return code - 2 * half if code >= half else code
        if code == half:
            return self.special_values[selector]
        return -self.magnitudes[code - half] if code >= half else self.magnitudes[code]

    def term(self, code: int, step: int, selector: int = 0) -> Term:
        """Return the term of ``code`` in ``step``."""
        value = self.value(code, selector)
        return self._leading_one(value, step) if self.magnitudes else self._booth(value, step)

    def _booth(self, value: int, step: int) -> Term:
        digit = _BOOTH[(value << 1 >> 2 * step) & 7]
        return Term(int(digit < 0), int(abs(digit) == 2), int(digit != 0))

    def _leading_one(self, value: int, step: int) -> Term:
        """Step 0 finds the leading one above the fraction bit, step 1 the leading one of what remains."""
        window = abs(value) >> self.significances[0]
        first = 1 << window.bit_length() - 1 if window else 0
        if step:
            window = abs(value) - (first << self.significances[0])
        sign = int(value < 0)
        return Term(sign, window.bit_length() - 1, 1) if window else Term(sign, 0, 0)


@cache
def weight_types() -> dict[str, WeightType]:
    """Return every weight type of the bit-serial unit by name."""
    integers = [WeightType(f"int{b}", b, tuple(range(0, b, 2))) for b in range(2, 9)]
    floats = [WeightType(f"fp{b}", b, (b - 3, 0), BITMOD_GRIDS[b], BITMOD_SPECIAL_VALUES[b]) for b in (3, 4)]
    return {kind.name: kind for kind in (*integers, *floats)}


def weight_type_named(name: str) -> WeightType:
    """Return the weight type called ``name``; InputError with the nearest known name otherwise."""
    known = weight_types()
    if name not in known:
        raise InputError(f"weight type must be one of {', '.join(known)}, not {name!r}{nearest(name, known)}")
    return known[name]


def terms(weight_type: str) -> int:
    """Return the cycles that one chunk of weights takes: the number of terms."""
    return len(weight_type_named(weight_type).significances)


def serial_term(weight_type: str, code: int, step: int, selector: int = 0) -> Term:
    """Return the term of a stored code in a step; see :meth:`WeightType.term`."""
    return weight_type_named(weight_type).term(code, step, selector)
