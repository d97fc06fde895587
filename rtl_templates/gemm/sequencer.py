"""The loop nest of a GEMM unit as counters: which step of which chunk of which tile enters the pipeline."""

from typing import Any

from amaranth.hdl import Array, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.gemm.counter import wrapping_counter
from mxhw.rtl_templates.gemm.shape import Tiling
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "Sequencer", "slot_layout"]


def slot_layout(tiling: Tiling) -> data.StructLayout:
    """Return the layout of what travels down the pipeline with a step.

    Fields
    ------
    valid : a step is there; a bubble otherwise.
    step : which of the chunk's steps.
    half, chunk : where the activation buffer holds the chunk.
    first : first step of a group.
    last : last step of a group.
    tile_first : a step of the first group of a column tile.
    tile_last : last step of a column tile.
    release : last step of a row tile: its half of the buffer is not read again.
    """
    bit, step, chunk = 1, range(max(2, tiling.steps)), range(max(2, tiling.chunks))
    return data.StructLayout(
        {
            "valid": bit,
            "step": step,
            "half": bit,
            "chunk": chunk,
            "first": bit,
            "last": bit,
            "tile_first": bit,
            "tile_last": bit,
            "release": bit,
        }
    )


class Sequencer(wiring.Component):
    """Counts steps, chunks, groups and column tiles; forever, one row tile after the other.

    Parameters
    ----------
    tiling : Tiling
        The loop nest.
    layers : int
        Layers whose words the memories hold, one layer after the other.
    halves : bool
        The memories hold two layers, which are loaded in the order in which row tiles use them: each in one half.

    Members
    -------
    advance : In(1)
        The pipeline takes this cycle's step (or bubble).
    full : In(2)
        Which halves of the activation buffer hold a row tile; without one, bubbles enter.
    slot : Out(slot_layout(tiling))
        This cycle's step.
    weight_address : Out
        Word of the weight memory: (layer * column tiles + column tile) * chunks + chunk; with ``halves``, of the half.
    metadata_address : Out
        Word of the metadata memory: (layer * column tiles + column tile) * groups + group, or of the half.
    layer : In(stream.Signature(range(layers)))
        Present above one layer: that of each row tile, which starts when it has been taken. It is taken as soon as the
        row tile before has ended, so that one that is there early costs no cycle. Ready depends on registers only.
    loaded : In(2)
        Present with ``halves``: which of them hold a layer. A row tile of another layer than the one before switches
        to the other half (the first one of all to half 0), and waits there until that is loaded.
    release : Out(2)
        Present with ``halves``: which half is not read again from this clock edge on.

    Raises
    ------
    InputError
        If there are halves for a single layer.
    """

    def __init__(self, *, tiling: Tiling, layers: int = 1, halves: bool = False) -> None:
        require_natural("layers", layers)
        require(not halves or layers > 1, "layers", "2 or more where memories are loaded by layer", layers)
        self._tiling, self._layers, self._halves = tiling, layers, halves
        kept = 2 if halves else layers
        members: dict[str, Any] = {
            "advance": In(1),
            "full": In(2),
            "slot": Out(slot_layout(tiling)),
            "weight_address": Out(range(max(2, kept * tiling.column_tiles * tiling.chunks))),
            "metadata_address": Out(range(max(2, kept * tiling.column_tiles * tiling.groups))),
        }
        if layers > 1:
            members["layer"] = In(stream.Signature(range(layers)))
        if halves:
            members |= {"loaded": In(2), "release": Out(2)}
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        slot, tiling = self.slot, self._tiling
        step_ends = wrapping_counter(m, "step", tiling.steps - 1, self.advance & slot.valid, slot.step)
        group_chunk = Signal(range(max(2, tiling.group_chunks)))
        group = Signal(range(max(2, tiling.groups)))
        column_tile = Signal(range(max(2, tiling.column_tiles)))
        chunk = Signal.like(slot.chunk)
        half = Signal()
        has_layer, has_words = Signal(), Signal()
        group_ends = wrapping_counter(m, "group_chunk", tiling.group_chunks - 1, step_ends, group_chunk)
        tile_ends = wrapping_counter(m, "group", tiling.groups - 1, group_ends, group)
        row_ends = wrapping_counter(m, "column_tile", tiling.column_tiles - 1, tile_ends, column_tile)
        row_tile = self.full.bit_select(half, 1)
        m.d.comb += [
            slot.valid.eq(row_tile & has_words),
            slot.half.eq(half),
            slot.chunk.eq(chunk),
            slot.first.eq((slot.step == 0) & (group_chunk == 0)),
            slot.last.eq(group_ends),
            slot.tile_first.eq(group == 0),
            slot.tile_last.eq(tile_ends),
            slot.release.eq(row_ends),
        ]
        with m.If(step_ends):
            m.d.sync += [chunk.eq(chunk + 1), self.weight_address.eq(self.weight_address + 1)]
        with m.If(group_ends):
            m.d.sync += self.metadata_address.eq(self.metadata_address + 1)
        with m.If(tile_ends):
            m.d.sync += chunk.eq(0)
        with m.If(row_ends):
            m.d.sync += [half.eq(~half), self.weight_address.eq(0), self.metadata_address.eq(0)]
        if self._halves:
            half = self._take_half(m, has_layer, row_ends)
            m.d.comb += has_words.eq(has_layer & self.loaded.bit_select(half, 1))
        elif self._layers > 1:
            self._take_layer(m, has_layer, row_ends, self.layer.payload)
            m.d.comb += has_words.eq(has_layer)
        else:
            m.d.comb += has_words.eq(1)
        return m

    def _take_half(self, m: Module, has_layer: Signal, row_ends: Signal) -> Signal:
        """Go to the other half for another layer than the one before; return the half."""
        half, next_half, begun = Signal(init=1), Signal(), Signal()
        newest = Signal.like(self.layer.payload)
        is_other = ~begun | (self.layer.payload != newest)
        m.d.comb += next_half.eq(half ^ is_other)
        with m.If(self.layer.valid & self.layer.ready):
            # What was loaded before the first row tile stays.
            m.d.comb += self.release.eq(Mux(is_other & begun, 1 << half, 0))
            m.d.sync += [begun.eq(1), newest.eq(self.layer.payload), half.eq(next_half)]
        self._take_layer(m, has_layer, row_ends, next_half)
        return half

    def _take_layer(self, m: Module, has_layer: Signal, row_ends: Signal, place: Value) -> None:
        """Let addresses count from the layer's first words on: neither an adder nor a multiplier stands behind them."""
        m.d.comb += self.layer.ready.eq(~has_layer | row_ends)
        with m.If(row_ends):
            m.d.sync += has_layer.eq(0)
        with m.If(self.layer.valid & self.layer.ready):
            m.d.sync += [
                has_layer.eq(1),
                self.weight_address.eq(self._first_words(self._tiling.chunks)[place]),
                self.metadata_address.eq(self._first_words(self._tiling.groups)[place]),
            ]

    def _first_words(self, column_tile: int) -> Array:
        """Return the address of the first word of each layer that is kept; ``column_tile``: words of a column tile."""
        kept = 2 if self._halves else self._layers
        return Array(layer * self._tiling.column_tiles * column_tile for layer in range(kept))


def _build(column_tiles: int = 8, groups: int = 2, group_chunks: int = 32, steps: int = 2) -> Sequencer:
    counts = {"column_tiles": column_tiles, "groups": groups, "group_chunks": group_chunks, "steps": steps}
    for name, count in counts.items():
        require_natural(name, count)
    return Sequencer(tiling=Tiling(**counts))


TEMPLATE = UnitTemplate(
    name="sequencer",
    kind="gemm",
    description="loop nest of a GEMM unit as counters: steps, chunks, groups, column tiles",
    build=_build,
)
