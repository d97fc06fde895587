"""From an exponent that is known at run time to a static one: shift in either direction, round once, saturate.

In two steps, so that a register fits between them; the definition of both together is
``saturate(round_shift(value, shift - up), bits)`` of `mxhw.arithmetic.rounding`.
"""

from amaranth.hdl import Const, Mux, Value

from mxhw.rtl_templates.integer import saturate

__all__ = ["aligned_halves", "rounded_halves"]


def aligned_halves(value: Value, up: Value, *, shift: int, largest_up: int, bits: int) -> Value:
    """Return ``floor(2 * value / 2**(shift - up))``, or a number that saturates to the same ``bits``.

    ``value`` is signed, ``up`` is unsigned and at most ``largest_up``; ``shift`` may be negative.
    """
    # To the left, bits - 1 places are enough: every number but 0 saturates from there on.
    left = min(max(0, largest_up - shift), bits - 1)
    most = shift + left
    if most <= 0:
        right: Value = Const(0, 1)
    elif most >= largest_up:
        right = (most - up)[: most.bit_length()]
    else:
        right = Mux(up > most, 0, most - up)[: most.bit_length()]
    return (value << left + 1) >> right


def rounded_halves(halves: Value, bits: int) -> Value:
    """Return ``halves / 2`` rounded half up and saturated to ``bits``."""
    return saturate((halves + 1) >> 1, bits)
