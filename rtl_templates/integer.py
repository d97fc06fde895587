"""Rounding, saturation and leading ones as combinational logic; their definition is `mxhw.arithmetic.rounding`."""

from amaranth.hdl import Cat, Const, Mux, Value

__all__ = ["leading_one", "only_leading_one", "round_shift", "round_shift_by", "saturate"]


def round_shift(value: Value, shift: int) -> Value:
    """Return ``floor(value / 2**shift + 1/2)`` for a constant shift; a negative one shifts to the left."""
    if shift <= 0:
        return value << -shift
    return ((value >> shift - 1) + 1) >> 1


def round_shift_by(value: Value, shift: Value) -> Value:
    """Return ``floor(value / 2**shift + 1/2)`` for an unsigned shift that is computed."""
    return (((value << 1) >> shift) + 1) >> 1


def saturate(value: Value, bits: int) -> Value:
    """Return a signed ``value`` clamped to ``±(2**(bits - 1) - 1)``, as wide as ``bits``."""
    if len(value) < bits:
        return value
    largest = (1 << bits - 1) - 1
    kept = value[: bits - 1]
    sign = value[-1]
    above = value[bits - 1 : -1]
    high = ~sign & above.any() if len(above) else Const(0, 1)
    # Below -largest: some bit above is clear, or all are set and the kept ones are zero (-2**(bits - 1)).
    low = sign & (~above.all() | ~kept.any()) if len(above) else sign & ~kept.any()
    clamped = Mux(high, largest, Mux(low, (1 << bits) - largest, Cat(kept, sign)))
    return clamped[:bits].as_signed()


def leading_one(value: Value) -> Value:
    """Return ``floor(log2(value))`` of an unsigned value, 0 for 0: a tree of halves."""
    width = len(value)
    if width <= 1:
        return Const(0, 1)
    half = 1 << (width - 1).bit_length() - 1
    low, high = value[:half], value[half:]
    found = high.any()
    below, above = leading_one(low), leading_one(high)
    bits = half.bit_length() - 1
    if bits == 0:
        return found
    return Cat(Mux(found, above, below)[:bits], found)


def only_leading_one(value: Value) -> Value:
    """Return ``value`` with all but its highest one cleared."""
    return Cat(value[i] & ~value[i + 1 :].any() if i + 1 < len(value) else value[i] for i in range(len(value)))
