"""Group scales of bit-serial arrays: when the PEs take them, and the shift registers that serve them bit by bit.

Source: BitMoD (arXiv 2411.11745): one scale bit a cycle, the most significant first, beside the next group's steps.
"""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value

from mxhw.arithmetic import SCALE_BITS
from mxhw.rtl_templates.mac.bit_serial import ScaleControl

__all__ = ["SCALE_LATENCY", "TileEnd", "scale_bit", "scale_control"]

# Cycles from a complete group sum to the capture of what its scaled sum completes, beyond those without scales.
SCALE_LATENCY = SCALE_BITS + 1


class TileEnd:
    """Registers behind the PEs: ``done`` marks the cycle in which group sums are complete.

    Beside it ``tile_first`` and ``tile_last`` say whether they are a tile's first and last ones.
    """

    def __init__(self, m: Module, advance: Signal, compute: Any) -> None:
        self.done = Signal(name="done")
        self.tile_first = Signal(name="tile_first")
        self.tile_last = Signal(name="tile_last")
        with m.If(advance):
            m.d.sync += [
                self.done.eq(compute.valid & compute.last),
                self.tile_first.eq(compute.tile_first),
                self.tile_last.eq(compute.valid & compute.tile_last),
            ]


def scale_control(m: Module, advance: Signal, end: TileEnd) -> tuple[Signal, Signal]:
    """Add what steers the serial scales; return the control of all PEs, and when results are to be captured."""
    control = Signal(ScaleControl)
    left = Signal(range(SCALE_BITS + 1))
    is_first, is_last, scale_ends, capture = Signal(), Signal(), Signal(), Signal()
    m.d.comb += [
        control.load.eq(end.done),
        control.active.eq(left != 0),
        control.first.eq(left == SCALE_BITS),
        control.fold.eq(scale_ends),
    ]
    with m.If(advance):
        m.d.sync += [
            left.eq(Mux(end.done, SCALE_BITS, Mux(control.active, left - 1, 0))),
            scale_ends.eq(left == 1),
            capture.eq((left == 1) & is_last),
            control.start.eq(is_first),
        ]
        with m.If(end.done):
            m.d.sync += [is_first.eq(end.tile_first), is_last.eq(end.tile_last)]
    return control, capture


def scale_bit(m: Module, index: int, advance: Value, take: Value, done: Value, multiplier: Value) -> Value:
    """Add the shift register of one scale; return this cycle's bit.

    The multiplier is taken over in the first step of its group and waits in ``pending`` until the group is ``done``,
    for the source moves on to the next group before the scale is used.
    """
    pending = Signal(SCALE_BITS, name=f"pending_{index}", reset_less=True)
    scale = Signal(SCALE_BITS, name=f"scale_{index}", reset_less=True)
    with m.If(advance):
        with m.If(take):
            m.d.sync += pending.eq(multiplier)
        m.d.sync += scale.eq(Mux(done, pending, scale << 1))
    return scale[-1]
