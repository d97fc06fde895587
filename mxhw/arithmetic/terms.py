"""Bit-serial terms: how the BitMoD unit spells a weight as a short sum of signed powers of two.

    weight = sum over steps of (-1)^sign * mantissa * 2^exponent * 2^significance[step]

Integers use radix-4 Booth digits; FP4 and FP3 with special values use the leading one and then the leading one of what
remains. Source: BitMoD (arXiv 2411.11745), section on bit-serial terms. FP4 counts in half units, FP3 in units. An
absent term is all zero.

Beyond the paper: ``fp3-oneterm`` (special values +-8 and +-1/2, in half units) has one term, because all its values are
powers of two; a group holds the special value 16 or 1, never both, so that its selector also fixes the significance.
:data:`RUNTIME_TYPES` numbers the types that a run-time decoder chooses among. Which steps a chunk of several weights
needs if idle ones are skipped: `mxhw.arithmetic.term_steps`.
"""

from dataclasses import dataclass, replace
from functools import cache
from itertools import product

from mxhw.errors import InputError, nearest
from mxhw.formats.bitmod_codebooks import BITMOD_CODEBOOKS

__all__ = [
    "ACTIVATION_LARGEST",
    "EXPONENT_LARGEST",
    "RUNTIME_TYPES",
    "SpecialEntry",
    "Term",
    "WeightType",
    "serial_term",
    "terms",
    "type_number",
    "weight_type_named",
    "weight_types",
]

ACTIVATION_LARGEST = 127
# A term's exponent has two bits.
EXPONENT_LARGEST = 3
# Types of the run-time decoder, in the order of their numbers.
RUNTIME_TYPES = ("int8", "int6", "int5", "int4", "fp4", "fp3", "fp3-oneterm")
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
class SpecialEntry:
    """A special value as the register file of the run-time decoder holds it: its terms, in the order of the steps.

    ``significance`` is that of the group if the type has one term; 0 otherwise. Terms instead of the value let a
    signed sum be a special value, such as 7 = 8 - 1 in FP4, which two leading ones cannot spell.
    """

    terms: tuple[Term, ...]
    significance: int = 0


@dataclass(frozen=True)
class WeightType:
    """A weight type of the bit-serial unit.

    Attributes
    ----------
    name : "int2" .. "int8", "fp3", "fp4", "fp3-oneterm".
    code_bits : stored bits of a code: two's complement, or a sign above an index into ``magnitudes``.
    significances : log2 of the weight of each step; their number is the cycles per chunk of lanes.
    magnitudes : ascending magnitudes of a floating-point type; empty for integers.
    special_values : values that the code "-0" can mean, one of which a group's selector picks; empty for integers.
    selector_significances : what a group's selector adds to the significance, by selector; empty if nothing.
    """

    name: str
    code_bits: int
    significances: tuple[int, ...]
    magnitudes: tuple[int, ...] = ()
    special_values: tuple[int, ...] = ()
    selector_significances: tuple[int, ...] = ()

    @property
    def steps(self) -> int:
        """Steps, and thus cycles, of a chunk of weights."""
        return len(self.significances)

    def significance(self, step: int, selector: int = 0) -> int:
        """Return log2 of the weight of a step in a group with this selector."""
        return self.significances[step] + (self.selector_significances[selector] if self.selector_significances else 0)

    @property
    def largest_significance(self) -> int:
        """Largest significance of a step in any group."""
        return max(self.significances) + max(self.selector_significances, default=0)

    @property
    def largest(self) -> int:
        """Largest magnitude that a code of the symmetric format means."""
        if self.magnitudes:
            return max(*self.magnitudes, *(abs(value) for value in self.special_values))
        return (1 << (self.code_bits - 1)) - 1

    @property
    def largest_programmable(self) -> int:
        """Largest magnitude that a code can mean if special values are programmed: all terms at their largest."""
        if not self.magnitudes:
            return self.largest
        return sum(1 << EXPONENT_LARGEST + s for s in self.significances) << max(self.selector_significances, default=0)

    @property
    def largest_exponent(self) -> int:
        """Largest exponent of a term: 1 for Booth digits, else the leading one's position in its window."""
        windows = (
            max(self.magnitudes[-1], abs(value)) >> self.significance(0, selector)
            for selector, value in enumerate(self.special_values)
        )
        return max(windows).bit_length() - 1 if self.magnitudes else 1

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
        if self.magnitudes:
            return self._leading_one(value, step, self.significance(0, selector))
        return self._booth(value, step)

    def special_entry(self, value: int) -> SpecialEntry:
        """Return the terms that spell a special value of one's own; InputError if the steps cannot spell it.

        Leading ones where they do, as for the format's own special values; otherwise the first signed sum, the
        smallest exponents first. ``value`` is in grid units.
        """
        for lowest in sorted({self.significance(0, s) for s in range(len(self.special_values))}):
            plain = tuple(self._leading_one(value, step, lowest) for step in range(self.steps))
            for entry in (plain, *self._signed_sums()):
                shifts = (s - self.significances[0] + lowest for s in self.significances)
                spelled = sum(term.value << shift for term, shift in zip(entry, shifts, strict=True))
                if spelled == value and all(term.exponent <= EXPONENT_LARGEST for term in entry):
                    return SpecialEntry(entry, lowest if self.selector_significances else 0)
        raise InputError(f"{value} cannot be a special value of {self.name}: its {self.steps} terms cannot spell it")

    def _signed_sums(self) -> list[tuple[Term, ...]]:
        """Every combination of a present term for each step."""
        each = [Term(sign, exponent, 1) for exponent in range(EXPONENT_LARGEST + 1) for sign in (0, 1)]
        return list(product(each, repeat=self.steps))

    def _booth(self, value: int, step: int) -> Term:
        digit = _BOOTH[(value << 1 >> 2 * step) & 7]
        return Term(int(digit < 0), int(abs(digit) == 2), int(digit != 0))

    @staticmethod
    def _leading_one(value: int, step: int, significance: int) -> Term:
        """Step 0 finds the leading one at ``significance`` or above, step 1 the leading one of what remains."""
        window = abs(value) >> significance
        first = 1 << window.bit_length() - 1 if window else 0
        if step:
            window = abs(value) - (first << significance)
        return Term(int(value < 0), window.bit_length() - 1, 1) if window else Term(0, 0, 0)


@cache
def weight_types() -> dict[str, WeightType]:
    """Return every weight type of the bit-serial unit by name."""
    integers = [WeightType(f"int{b}", b, tuple(range(0, b, 2))) for b in range(2, 9)]
    floats = [_float_type(f"fp{b}", (b - 3, 0), b, "four") for b in (3, 4)]
    oneterm = _float_type("fp3-oneterm", (0,), 3, "oneterm")
    # The special value 16 leaves 2 as the smallest magnitude of its groups, the special value 1 does not.
    least = tuple(min(oneterm.magnitudes[1], abs(value)).bit_length() - 1 for value in oneterm.special_values)
    return {kind.name: kind for kind in (*integers, *floats, replace(oneterm, selector_significances=least))}


def _float_type(name: str, significances: tuple[int, ...], bits: int, special_values: str) -> WeightType:
    codebook = BITMOD_CODEBOOKS[bits, special_values]
    return WeightType(name, bits, significances, codebook.magnitudes, codebook.special_values)


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


def type_number(name: str) -> int:
    """Return the number by which a run-time decoder knows the type; InputError if it has none."""
    weight_type_named(name)
    if name not in RUNTIME_TYPES:
        raise InputError(f"run-time decoders know {', '.join(RUNTIME_TYPES)}, not {name!r}")
    return RUNTIME_TYPES.index(name)
