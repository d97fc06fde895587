"""Formal proof of an element's rounding against thresholds that one can read."""

from fractions import Fraction

import pytest

from mxhw.arithmetic.online_scaled import element_format, float_steps
from mxhw.rtl_templates.encoder import FloatElement

# E2M1 magnitudes; a tie goes to the even code.
LEVELS = [Fraction(level) for level in ("0", "0.5", "1", "1.5", "2", "3", "4", "6")]
# The leading one of the largest magnitude is worth 2**emax = 4, at the highest of 16 bits.
ONE = 1 << 13


def gold(bump=0):
    """FP4 as the number of midpoints passed; ``bump`` moves the last one."""
    terms = []
    for code in range(1, 8):
        middle = (LEVELS[code - 1] + LEVELS[code]) / 2 * ONE + bump * (code == 7)
        assert middle.denominator == 1
        terms.append(f"(normal {'>=' if code % 2 == 0 else '>'} {int(middle)})")
    return (
        "module gold(input [15:0] normal, input sign, output [3:0] code);\n"
        f"  wire [2:0] magnitude = {' + '.join(terms)};\n  assign code = {{sign, magnitude}};\nendmodule\n"
    )


def test_fp4_is_the_number_of_midpoints_passed():
    pytest.importorskip("pyosys")
    from mxhw.synthesis.equivalence import prove_equal

    fmt = element_format("mxfp4")
    element = FloatElement(bits=fmt.type.bits, steps=float_steps(fmt))
    assert prove_equal(element, gold()).proved
    assert not prove_equal(FloatElement(bits=fmt.type.bits, steps=float_steps(fmt)), gold(bump=1)).proved
