"""Memories that are loaded by layer: a stream fills one half of them while the other one is read.

Words lie in beats at whole places, so that no barrel shifter is needed: a word that is wider than a beat takes several,
its lowest bits first; of narrower ones as many as fit stand in a beat, the first one lowest. Every memory's words begin
with a beat of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.memory.rom import Ram
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "LayerLoader", "LayerWords"]


@dataclass(frozen=True)
class LayerWords:
    """The words of a layer in one memory, and how they come.

    Attributes
    ----------
    width, depth : bits of a word, words of a layer.
    bits : of a beat.
    """

    width: int
    depth: int
    bits: int

    def __post_init__(self) -> None:
        for name in ("width", "depth", "bits"):
            require_natural(name, getattr(self, name))

    @property
    def word_beats(self) -> int:
        """Beats of a word; 1 for a narrow one."""
        return -(-self.width // self.bits)

    @property
    def beat_words(self) -> int:
        """Words of a beat; 1 for a wide one."""
        return max(1, self.bits // self.width)

    @property
    def beats(self) -> int:
        """Beats of a layer."""
        return -(-self.depth // self.beat_words) * self.word_beats

    @property
    def cycles(self) -> int:
        """Cycles in which the beats are taken: one a beat, and one a word."""
        return self.depth * self.word_beats

    def pack(self, bits: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """Return words as beats [beats, ceil(bits / 32)]; ``bits``: 0 and 1, [depth, width], lowest first."""
        require(bits.shape == (self.depth, self.width), "words", f"{self.depth} of {self.width} bits", bits.shape)
        if self.word_beats > 1:
            spread = np.pad(bits, [(0, 0), (0, self.word_beats * self.bits - self.width)])
            rows = spread.reshape(self.beats, self.bits)
        else:
            whole = np.pad(bits, [(0, self.beats * self.beat_words - self.depth), (0, 0)])
            rows = whole.reshape(self.beats, self.beat_words * self.width)
        rows = np.pad(rows, [(0, 0), (0, -(-self.bits // 32) * 32 - rows.shape[1])])
        return np.packbits(rows, axis=1, bitorder="little").view("<u4").astype(np.uint32, copy=False)


class LayerLoader(wiring.Component):
    """Memories of two halves; layers fill the halves in turn, half 0 first.

    Parameters
    ----------
    memories : sequence of LayerWords
        What a layer has in each memory, in the order in which it comes; beats of one width.

    Members
    -------
    words : In(stream.Signature(bits))
        Beats of layers, one layer after the other; a beat a cycle, or a word. Ready depends on registers only.
    loaded : Out(2)
        Which halves hold a layer.
    release : In(2)
        Halves that are not read again from this clock edge on.
    address0, address1, … : In
        Word to read, of each memory: ``half * depth + word``.
    enable0, enable1, … : In(1)
        Read at this clock edge; ``data`` holds its value otherwise.
    data0, data1, … : Out(width)
        The word, in the cycle after its address.

    Raises
    ------
    InputError
        If there is no memory, or their beats differ in width.
    """

    def __init__(self, *, memories: Sequence[LayerWords]) -> None:
        require(len(memories) > 0, "memories", "at least one", len(memories))
        (first, *others) = memories
        for other in others:
            require(other.bits == first.bits, "bits", f"those of the first memory, {first.bits}", other.bits)
        self._memories = tuple(memories)
        members: dict[str, Any] = {
            "words": In(stream.Signature(first.bits)),
            "loaded": Out(2),
            "release": In(2),
        }
        for i, memory in enumerate(memories):
            members |= {
                f"address{i}": In(range(2 * memory.depth)),
                f"enable{i}": In(1),
                f"data{i}": Out(memory.width),
            }
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        half, moves, layer_ends = Signal(), Signal(), Signal()
        here = Signal(range(max(2, len(self._memories))))
        last = len(self._memories) - 1
        m.d.comb += moves.eq(self.words.valid & ~self.loaded.bit_select(half, 1))
        for i, memory in enumerate(self._memories):
            beat_ends, memory_ends = self._memory(m, i, memory, moves & (here == i))
            with m.If(here == i):
                m.d.comb += self.words.ready.eq(~self.loaded.bit_select(half, 1) & beat_ends)
                with m.If(moves & memory_ends):
                    m.d.sync += here.eq(0 if i == last else i + 1)
                    m.d.comb += layer_ends.eq(i == last)
        m.d.sync += self.loaded.eq((self.loaded & ~self.release) | Mux(layer_ends, 1 << half, 0))
        with m.If(layer_ends):
            m.d.sync += half.eq(~half)
        return m

    def _memory(self, m: Module, index: int, memory: LayerWords, moves: Value) -> tuple[Signal, Signal]:
        """Add a memory; return whether a move is the last one of a beat, and of the layer in this memory."""
        m.submodules[f"memory{index}"] = cells = Ram(width=memory.width, depth=2 * memory.depth)
        word, address = Signal(range(max(2, memory.depth))), Signal(range(2 * memory.depth))
        part = Signal(range(max(2, memory.word_beats, memory.beat_words)))
        word_ends, beat_ends, memory_ends = (
            Signal(name=f"{name}{index}") for name in ("word_ends", "beat_ends", "memory_ends")
        )
        last_word, payload = word == memory.depth - 1, self.words.payload
        data: Value = payload[: memory.beat_words * memory.width].word_select(part, memory.width)
        if memory.word_beats == 1:
            m.d.comb += [word_ends.eq(1), beat_ends.eq(last_word | (part == memory.beat_words - 1))]
        else:
            m.d.comb += [word_ends.eq(part == memory.word_beats - 1), beat_ends.eq(1)]
            before = [Signal(memory.bits, name=f"part{index}_{i}") for i in range(memory.word_beats - 1)]
            data = Cat(*before, payload)[: memory.width]
            for i, kept in enumerate(before):
                with m.If(moves & (part == i)):
                    m.d.sync += kept.eq(payload)
        m.d.comb += [
            memory_ends.eq(last_word & word_ends),
            cells.write.eq(moves & word_ends),
            cells.write_address.eq(address),
            cells.write_data.eq(data),
            cells.address.eq(getattr(self, f"address{index}")),
            cells.enable.eq(getattr(self, f"enable{index}")),
            getattr(self, f"data{index}").eq(cells.data),
        ]
        with m.If(moves):
            m.d.sync += part.eq(Mux(beat_ends if memory.word_beats == 1 else word_ends, 0, part + 1))
            with m.If(word_ends):
                m.d.sync += [
                    word.eq(Mux(last_word, 0, word + 1)),
                    address.eq(Mux(address == 2 * memory.depth - 1, 0, address + 1)),
                ]
        return beat_ends, memory_ends


def _build(
    bits: int = 64, width: int = 128, depth: int = 64, metadata: int = 40, metadata_depth: int = 8
) -> LayerLoader:
    return LayerLoader(memories=(LayerWords(width, depth, bits), LayerWords(metadata, metadata_depth, bits)))


TEMPLATE = UnitTemplate(
    name="layer_loader",
    kind="memory",
    description="memories of two halves: one is filled from a stream, layer by layer, while the other one is read",
    build=_build,
)
