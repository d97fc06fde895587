"""A counter modulo a number of ticks: the loops of the sequencers are chains of them."""

from typing import Any

from amaranth.hdl import Module, Signal

__all__ = ["wrapping_counter"]


def wrapping_counter(m: Module, name: str, last: Any, tick: Any, value: Any) -> Signal:
    """Count ``tick`` in ``value`` from 0 to ``last`` and again from 0; return a signal that is high when it wraps.

    ``value`` is a Signal, or a field that follows a register of its own; ``last`` is a constant or a Value.
    """
    wraps = Signal(name=f"{name}_wraps")
    if isinstance(value, Signal):
        register, drive = value, []
    else:
        register = Signal.like(value, name=name)
        drive = [value.eq(register)]
    m.d.comb += [wraps.eq(tick & (register == last)), *drive]
    with m.If(tick):
        m.d.sync += register.eq(register + 1)
    with m.If(wraps):
        m.d.sync += register.eq(0)
    return wraps
