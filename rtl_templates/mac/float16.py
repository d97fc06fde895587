"""A half-precision multiply-accumulate in one cycle: the baseline that the area of block formats is compared with.

Two versions, both as small as we could make them: "nearest" is fused, with one correct rounding and subnormals;
"truncate" rounds nowhere and flushes subnormals. Definition, saturation and signs of zero:
:mod:`mxhw.arithmetic.float16`. Not here: Inf, NaN, flags, pipelining.
"""

from typing import Any, NamedTuple

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.float16 import ABOVE, BELOW, FLOAT16_LARGEST, FRAME, GUARD
from mxhw.rtl_templates.checks import require
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "Float16Mac"]

_MANTISSA, _EXPONENT = 10, 5
_SIGNIFICAND = _MANTISSA + 1
_BIAS = 15
_ROUNDINGS = ("nearest", "truncate")


class _Number(NamedTuple):
    """A code taken apart; a subnormal has exponent 1 and no leading one."""

    sign: Value
    significand: Value
    exponent: Value


class Float16Mac(wiring.Component):
    """``result = round16(result + x * w)`` each cycle.

    Parameters
    ----------
    rounding : str
        "nearest" or "truncate".

    Members
    -------
    x, w : In(16)
        IEEE 754 binary16 patterns; those with exponent 31 do not occur.
    enable : In(1)
        Accumulate at this clock edge.
    first : In(1)
        With ``enable``: the product starts a new sum, from +0.
    result : Out(16)
        The sum, in the cycle after its last product.
    """

    x: In(16)
    w: In(16)
    enable: In(1)
    first: In(1)
    result: Out(16)

    def __init__(self, *, rounding: str = "nearest") -> None:
        require(rounding in _ROUNDINGS, "rounding", f"one of {', '.join(_ROUNDINGS)}", rounding)
        self._rounding = rounding
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        total = Signal(16, reset_less=True)
        start = Mux(self.first, 0, total)
        flush = self._rounding == "truncate"
        c, x, w = (_number(m, name, code, flush) for name, code in (("c", start), ("x", self.x), ("w", self.w)))
        step = _truncate if flush else _nearest
        with m.If(self.enable):
            m.d.sync += total.eq(step(m, c, x, w))
        m.d.comb += self.result.eq(total)
        return m


def _number(m: Module, name: str, value: Value, flush: bool) -> _Number:
    code = _named(m, f"{name}_code", value)
    mantissa, exponent = code[:_MANTISSA], code[_MANTISSA:-1]
    normal = exponent.any()
    if flush:
        mantissa = mantissa & normal.replicate(_MANTISSA)
    return _Number(code[-1], Cat(mantissa, normal), Cat(exponent[0] | ~normal, exponent[1:]))


def _nearest(m: Module, c: _Number, x: _Number, w: _Number) -> Value:
    negative = _named(m, "negative", x.sign ^ w.sign)
    product = _named(m, "product", x.significand * w.significand)
    # Without bias, the product's exponent less the accumulator's; where negative, the accumulator stays on top.
    distance = Signal(range(-31, 62))
    above = Signal()
    shift = Signal(range(62))
    m.d.comb += [
        distance.eq(x.exponent + w.exponent - 1 - c.exponent),
        above.eq(distance < 0),
        shift.eq(Mux(above, 0, distance)),
    ]
    furthest = 59
    room = max(0, furthest - ABOVE)
    shifted = _named(m, "shifted", Cat(Const(0, ABOVE + room), c.significand) >> shift)
    aligned = _named(m, "aligned", Cat(shifted[: room + 1].any(), shifted[room + 1 : room + ABOVE + _SIGNIFICAND]))
    magnitude, larger = _add(m, Cat(Const(0, BELOW), product), aligned, negative ^ c.sign, FRAME)
    top = _named(m, "top", Mux(above, c.exponent, x.exponent + w.exponent - 1) + 1)
    normalized, exponent = _normalize(m, magnitude, top)
    kept, half = normalized[FRAME - _SIGNIFICAND :], normalized[FRAME - _SIGNIFICAND - 1]
    up = half & (kept[0] | normalized[: FRAME - _SIGNIFICAND - 1].any())
    # A leading one makes exponent and mantissa carry into each other; a subnormal has exponent 1 and none.
    code = _named(m, "code", Cat(kept[:-1], exponent - 1 + kept[-1]) + up)
    return Cat(_saturated(code), negative ^ larger)


def _truncate(m: Module, c: _Number, x: _Number, w: _Number) -> Value:
    negative = _named(m, "negative", x.sign ^ w.sign)
    product = _named(m, "product", (x.significand * w.significand)[_MANTISSA - GUARD :])
    width = _SIGNIFICAND + GUARD + 2
    distance = Signal(range(-45, 46))
    above = Signal()
    shift = Signal(range(46))
    m.d.comb += [
        distance.eq(x.exponent + w.exponent - _BIAS - c.exponent),
        above.eq((distance < 0) | ~x.significand[-1] | ~w.significand[-1]),
        shift.eq(Mux(above, -distance, distance)),
    ]
    addend = Cat(Const(0, GUARD), c.significand)
    # One shifter: the number of the smaller exponent goes down, the other stays.
    moving = _named(m, "moving", Mux(above, product, addend) >> shift)
    staying = _named(m, "staying", Mux(above, addend, product))
    magnitude, staying_smaller = _add(m, staying, moving, negative ^ c.sign, width)
    top = _named(m, "top", Mux(above, c.exponent, x.exponent + w.exponent - _BIAS) + 2)
    left, exponent = _left_aligned(m, magnitude), Signal(range(-16, 64))
    m.d.comb += exponent.eq(top.as_signed() - left[1])
    kept = left[0][width - _SIGNIFICAND :]
    vanishes = ~kept[-1] | (exponent < 1)
    sign = negative ^ staying_smaller ^ (above & (negative ^ c.sign))
    return Mux(vanishes, 0, Cat(_saturated(Cat(kept[:-1], exponent[:6])), sign))


def _add(m: Module, a: Value, b: Value, subtract: Value, width: int) -> tuple[Value, Value]:
    """Return ``|a ± b|`` and whether a subtrahend ``b`` was the larger."""
    larger = _named(m, "larger", subtract & (a < b))
    # a - b = a + ~b + 1, and b - a = ~(a + ~b): the carry in depends on which it is.
    operand = Cat(b, Const(0, width - len(b))) ^ subtract.replicate(width)
    carry = subtract & ~larger
    total = _named(m, "total", (Cat(carry, a) + Cat(carry, operand))[1 : width + 1])
    return _named(m, "magnitude", total ^ larger.replicate(width)), larger


def _normalize(m: Module, value: Value, top: Value) -> tuple[Value, Value]:
    """Shift left until the topmost bit is set or the exponent, from ``top`` down, is 1; return both."""
    rest = _named(m, "rest", top - 1)[: len(top)]
    free: Value = Const(0, 1)
    moved: list[Value] = []
    for stage in reversed(range((len(value) - 1).bit_length())):
        allowed = free | rest[stage:].any() if stage == (len(value) - 1).bit_length() - 1 else free | rest[stage]
        move = _named(m, f"move_{stage}", ~value[-(1 << stage) :].any() & allowed)
        # Once a step that was allowed is not taken, fewer steps are left than allowed.
        free = _named(m, f"free_{stage}", free | (allowed & ~move))
        value = _named(m, f"stage_{stage}", Mux(move, (value << (1 << stage))[: len(value)], value))
        moved.insert(0, move)
    return value, _named(m, "exponent", top - Cat(*moved))[: len(top)]


def _left_aligned(m: Module, value: Value) -> tuple[Value, Value]:
    """Shift left until the topmost bit is set; return the result and the distance."""
    moved: list[Value] = []
    for stage in reversed(range((len(value) - 1).bit_length())):
        move = _named(m, f"move_{stage}", ~value[-(1 << stage) :].any())
        value = _named(m, f"stage_{stage}", Mux(move, (value << (1 << stage))[: len(value)], value))
        moved.insert(0, move)
    return value, Cat(*moved)


def _saturated(code: Value) -> Value:
    """Return 15 bits of a longer code, the largest finite one where it is beyond."""
    beyond = code[_MANTISSA : _MANTISSA + _EXPONENT].all() | code[_MANTISSA + _EXPONENT :].any()
    return Mux(beyond, FLOAT16_LARGEST, code[: _MANTISSA + _EXPONENT])


def _named(m: Module, name: str, value: Value) -> Signal:
    signal = Signal(Value.cast(value).shape(), name=name)
    m.d.comb += signal.eq(value)
    return signal


def _build(rounding: str = "nearest") -> Float16Mac:
    return Float16Mac(rounding=rounding)


TEMPLATE = UnitTemplate(
    name="fp16_mac",
    kind="mac",
    description="half-precision MAC in half precision, fused or truncating: the baseline of area ratios",
    build=_build,
    choices={"rounding": _ROUNDINGS},
    macs_per_cycle=lambda **_: 1.0,
    variants=({"rounding": "truncate"},),
)
