"""The loop nest of a streamed GEMM unit: commands become steps as soon as the operands of a chunk are there.

Loops, outermost first: tiles, groups, chunks, steps. Commands are checked before they are taken, so that no register
of the unit can overflow; the next one waits ready, so that jobs follow each other without a bubble.
"""

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.gemm.command import CommandLimits
from mxhw.rtl_templates.gemm.counter import wrapping_counter

__all__ = ["StreamControl", "slot_layout"]


def slot_layout(limits: CommandLimits) -> data.StructLayout:
    """Return the layout of what travels down the pipeline with a step.

    Fields
    ------
    valid : a step is there; a bubble otherwise.
    step : which of the chunk's steps.
    weight_type, mapping : of the command; see :class:`CommandLimits`.
    first, last : first and last step of a group.
    tile_first : a step of the first group of a tile.
    tile_last : last step of a tile.
    """
    return data.StructLayout(
        {
            "valid": 1,
            "step": range(max(2, *limits.steps)),
            "weight_type": range(max(2, len(limits.steps))),
            "mapping": 1,
            "first": 1,
            "last": 1,
            "tile_first": 1,
            "tile_last": 1,
        }
    )


class StreamControl(wiring.Component):
    """Counts steps, chunks, groups and tiles of one command after the other.

    Parameters
    ----------
    limits : CommandLimits
        What commands may ask for.

    Members
    -------
    command : In(stream.Signature(limits.layout))
        Ready depends on registers only.
    advance : In(1)
        The pipeline takes this cycle's step (or bubble).
    available : In(1)
        The operands of the present chunk are there.
    slot : Out(slot_layout(limits))
        This cycle's step; a bubble while there is no command or an operand is missing.
    chunk_ends, group_ends : Out(1)
        The last step of a chunk, of a group, is taken at this clock edge: its operands may go.
    refused : Out(1)
        A command was beyond the limits. Neither it nor any after it runs; those before it finish. Until reset.
    """

    def __init__(self, *, limits: CommandLimits) -> None:
        self.limits = limits
        super().__init__(
            {
                "command": In(stream.Signature(limits.layout)),
                "advance": In(1),
                "available": In(1),
                "slot": Out(slot_layout(limits)),
                "chunk_ends": Out(1),
                "group_ends": Out(1),
                "refused": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        slot, limits = self.slot, self.limits
        current, take = self._commands(m)
        weight_type = current.weight_type if len(limits.steps) > 1 else Const(0, 1)
        chunk, group, tile = (Signal.like(current[name]) for name in ("chunks", "groups", "tiles"))
        tick = self.advance & slot.valid
        step_ends = wrapping_counter(m, "step", self._last_step(weight_type), tick, slot.step)
        group_ends = wrapping_counter(m, "chunk", current.chunks - 1, step_ends, chunk)
        tile_ends = wrapping_counter(m, "group", current.groups - 1, group_ends, group)
        ends = wrapping_counter(m, "tile", current.tiles - 1, tile_ends, tile)
        m.d.comb += [
            take.eq(ends),
            slot.weight_type.eq(weight_type),
            slot.mapping.eq(current.mapping if limits.gemv else 0),
            slot.first.eq((slot.step == 0) & (chunk == 0)),
            slot.last.eq(group_ends),
            slot.tile_first.eq(group == 0),
            slot.tile_last.eq(tile_ends),
            self.chunk_ends.eq(step_ends),
            self.group_ends.eq(group_ends),
        ]
        return m

    def _last_step(self, weight_type: Value) -> Value:
        last: Value = Const(self.limits.steps[0] - 1)
        for number, steps in enumerate(self.limits.steps):
            last = Mux(weight_type == number, steps - 1, last) if number else last
        return last

    def _commands(self, m: Module) -> tuple[data.View, Signal]:
        """Keep the present command and the next one; ``take`` says that the present one ends."""
        layout = self.limits.layout
        current, following = (Signal(layout, name=name, reset_less=True) for name in ("current", "following"))
        running, waiting, take, load = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            load.eq(waiting & (take | ~running)),
            self.command.ready.eq(~waiting & ~self.refused),
            self.slot.valid.eq(running & self.available),
        ]
        with m.If(load):
            m.d.sync += [current.eq(following), running.eq(1), waiting.eq(0)]
        with m.Elif(take):
            m.d.sync += running.eq(0)
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += following.eq(self.command.payload)
            with m.If(self.limits.is_legal(self.command.payload)):
                m.d.sync += waiting.eq(1)
            with m.Else():
                m.d.sync += self.refused.eq(1)
        return current, take
