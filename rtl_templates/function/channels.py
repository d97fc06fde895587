"""Constants per channel: a ROM that is walked through once a vector, in step with a pipeline."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value

from mxhw.rtl_templates.checks import require_lanes
from mxhw.rtl_templates.memory import Rom

__all__ = ["beats_of", "channel_word"]


def beats_of(length: int, lanes: int) -> int:
    """Return the beats of a vector; InputError unless the lanes divide it."""
    require_lanes(lanes, length, "length")
    return length // lanes


def channel_word(
    m: Module, name: str, values: Sequence[int], *, bits: int, lanes: int, advance: Value, step: Value
) -> list[Value]:
    """Return the constants of the lanes of the beat that ``step`` moved on at the last edge with ``advance``.

    ``values`` are those of a whole vector, unsigned or two's complement in ``bits``; the result is their bits. Values
    that are all equal take no memory.
    """
    mask = (1 << bits) - 1
    if len(set(values)) == 1:
        return [Const(values[0] & mask, bits)] * lanes
    beats = beats_of(len(values), lanes)
    words = [sum((values[beat * lanes + lane] & mask) << lane * bits for lane in range(lanes)) for beat in range(beats)]
    rom = Rom(width=lanes * bits, depth=beats, file=f"{name}.hex", init=words)
    m.submodules[name] = rom
    beat = Signal(range(max(2, beats)), name=f"{name}_beat")
    m.d.comb += [rom.address.eq(beat), rom.enable.eq(advance)]
    with m.If(step):
        m.d.sync += beat.eq(Mux(beat == beats - 1, 0, beat + 1))
    word: Any = rom.data
    return [word[lane * bits : (lane + 1) * bits] for lane in range(lanes)]
