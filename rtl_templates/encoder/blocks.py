"""What the encoders share: reductions over the lanes of a beat and over the beats of a block."""

from collections.abc import Callable, Sequence

from amaranth.hdl import Module, Mux, Shape, Signal, Value

from mxhw.rtl_templates.stream import BlockBuffer

__all__ = ["largest", "magnitude", "over_block", "tree"]

Combine = Callable[[Value, Value], Value]


def tree(values: Sequence[Value], combine: Combine) -> Value:
    """Return all of ``values`` combined in a balanced tree."""
    if len(values) == 1:
        return values[0]
    half = len(values) // 2
    return combine(tree(values[:half], combine), tree(values[half:], combine))


def largest(a: Value, b: Value) -> Value:
    """Return the larger of two values."""
    return Mux(a > b, a, b)


def magnitude(value: Value) -> Value:
    """Return ``|value|`` of a signed value, unsigned and as wide, so that the most negative value has one too."""
    return Mux(value[-1], -value, value)[: len(value)]


def over_block(m: Module, buffer: BlockBuffer, value: Value, combine: Combine, shape: Shape) -> Signal:
    """Return ``combine`` over the beats of a block at ``buffer.x`` so far, its ``value`` now included.

    ``combine`` must take 0 as a neutral element. The result is whole while the buffer's ``last`` is high.
    """
    so_far, now = Signal(shape), Signal(shape)
    m.d.comb += now.eq(combine(value, Mux(buffer.first, 0, so_far)))
    with m.If(buffer.x.valid & buffer.x.ready):
        m.d.sync += so_far.eq(now)
    return now
