"""What the GEMM units share: stream in, memories, pipeline control, drain, stream out.

Pipeline, every stage gated by one ``advance``:

    0  sequencer; weight and metadata memories are read
    1  codes are decoded; the activation buffer is read
    2  PEs multiply and accumulate
    3… the unit's own: scale or shift, then capture into the drain buffer

Without a row tile, bubbles enter and results on their way still leave; ``advance`` drops only while results are to be
captured and the drain buffer still holds rows of the tile before.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require, require_lanes, require_natural
from mxhw.rtl_templates.gemm.drain import Drain
from mxhw.rtl_templates.gemm.layout import Array, output_matrix, pad, tile_rows, tile_weights, word_ints
from mxhw.rtl_templates.gemm.sequencer import Sequencer, slot_layout
from mxhw.rtl_templates.gemm.shape import GemmShape, Tiling
from mxhw.rtl_templates.memory import ActivationBuffer, LayerLoader, LayerWords, Rom, check_words

__all__ = ["Front", "GemmUnit", "whole_groups"]


@dataclass(frozen=True)
class Front:
    """What a unit's array gets from the shared front.

    Attributes
    ----------
    advance : clock enable of the pipeline.
    decode : slot of stage 1, whose weight word is ``weights`` and metadata word ``metadata``.
    compute : slot of stage 2, whose activation beat is ``x``.
    """

    advance: Signal
    decode: Any
    compute: Any
    weights: Value
    metadata: Value | None
    x: Value


class GemmUnit(wiring.Component):
    """Base of the GEMM units.

    Members
    -------
    x : In(stream.Signature(x_width))
        One beat is a chunk of ``lanes`` values of each row of a row tile; ``chunks`` beats a tile. Ready depends on
        registers only.
    y : Out(stream.Signature(y_width))
        One beat is a row of a column tile: ``columns`` signed accumulators. For each row tile, for each column tile,
        for each row. The payload is stable while valid and not ready; valid never waits for ready.
    layer : In(stream.Signature(range(layers)))
        Present above one layer: whose weights each row tile meets; see :class:`Sequencer`. The memories hold the words
        of all layers, one layer after the other.
    words : In(stream.Signature(port))
        Present with a port: the words of layers in the order in which row tiles use them, those of a layer once for all
        row tiles that follow each other in it. Of each layer the weights, then the metadata, as
        :class:`.memory.LayerLoader` takes them. The memories hold two layers: one that is used, and the next one.
    """

    # A unit is also asked for its layout and cycles only: Amaranth need not warn that it was never elaborated.
    _MustUse__silence = True

    def __init__(
        self,
        shape: GemmShape,
        tiling: Tiling,
        *,
        code_bits: int,
        x_bits: int,
        x_row_bits: int,
        field_bits: int,
        accumulator_width: int,
        latency: int,
        weights: Sequence[int] | None,
        metadata: Sequence[int] | None,
        layers: int = 1,
        port: int | None = None,
    ) -> None:
        require_natural("layers", layers)
        if port is not None:
            require_natural("port", port)
        require(port is None or layers > 1, "layers", "2 or more where their words come through a port", layers)
        require(
            port is None or (weights is metadata is None), "weights", "None where they come through a port", weights
        )
        self.port, self.kept_layers = port, layers if port is None else 2
        self.shape, self.tiling, self.code_bits, self.latency = shape, tiling, code_bits, latency
        self.accumulator_width, self.layers = accumulator_width, layers
        self.weights_file, self.metadata_file = "weights.hex", "metadata.hex"
        self.x_width = shape.rows * (shape.lanes * x_bits + x_row_bits)
        self.y_width = shape.columns * accumulator_width
        self.weights_depth = self.kept_layers * tiling.column_tiles * tiling.chunks
        self.weights_width = shape.columns * shape.lanes * code_bits
        self.metadata_depth = self.kept_layers * tiling.column_tiles * tiling.groups if field_bits else 0
        self.metadata_width = shape.columns * field_bits
        check_words("weights", weights or (), self.weights_width, self.weights_depth)
        check_words("metadata", metadata or (), self.metadata_width, self.metadata_depth)
        self._x_bits, self._weights, self._metadata = x_bits, weights, metadata
        members = {"x": In(stream.Signature(self.x_width)), "y": Out(stream.Signature(self.y_width))}
        if layers > 1:
            members["layer"] = In(stream.Signature(range(layers)))
        if port is not None:
            members["words"] = In(stream.Signature(port))
        super().__init__(members)

    @property
    def loads(self) -> tuple[LayerWords, ...]:
        """What comes through the port for each layer: the words of each memory."""
        require(self.port is not None, "port", "a number of bits", None)
        assert self.port is not None
        sizes = ((self.weights_width, self.weights_depth), (self.metadata_width, self.metadata_depth))
        return tuple(LayerWords(width, depth // self.kept_layers, self.port) for width, depth in sizes if depth)

    @property
    def chunks(self) -> int:
        """Beats of a row tile."""
        return self.tiling.chunks

    @property
    def column_tiles(self) -> int:
        """Column tiles per row tile."""
        return self.tiling.column_tiles

    @property
    def groups(self) -> int:
        """Groups (or blocks) along K: metadata words per column tile."""
        return self.tiling.groups

    @property
    def terms(self) -> int:
        """Cycles per chunk."""
        return self.tiling.steps

    def cycles(self, tokens: int) -> int:
        """Return the cycles of ``tokens`` rows without stalls: first x beat accepted to last y beat, both counted."""
        require_natural("tokens", tokens, 0)
        return self.tiling.cycles(self.shape.row_tiles(tokens), self.shape.rows, self.latency)

    def weight_fields(self, codes: Any) -> Array:
        """Return a layer's codes [N, K], unsigned patterns, as [words, columns * lanes] fields of memory words.

        The words are ``weights_depth / layers``.
        """
        return tile_weights(self._padded(codes, "codes"), self.shape.columns, self.shape.lanes)

    def output_beats(self, accumulators: Any) -> list[int]:
        """Return the y payloads that carry ``accumulators`` [M, N]; padded rows and columns are 0."""
        rows, columns = self.shape.rows, self.shape.columns
        tiles = self.shape.row_tiles(len(accumulators))
        whole = pad(accumulators, (tiles * rows, self.column_tiles * columns), "accumulators").astype(object)
        mask = (1 << self.accumulator_width) - 1
        words = whole.reshape(tiles, rows, self.column_tiles, columns).transpose(0, 2, 1, 3).reshape(-1, columns)
        return [sum((int(v) & mask) << c * self.accumulator_width for c, v in enumerate(word)) for word in words]

    def output_accumulators(self, beats: list[int], tokens: int) -> Array:
        """Return the accumulators [tokens, N], Python ints, that y payloads carry."""
        whole = output_matrix(beats, self.shape.rows, self.shape.columns, self.column_tiles, self.accumulator_width)
        return whole[:tokens, : self.shape.n]

    def drawn_words(self) -> tuple[list[int], list[int]]:
        """Return words for the weight and the metadata memory that follow no pattern; the same in every call."""
        random = Random(0)
        weights = [random.getrandbits(self.weights_width) for _ in range(self.weights_depth)]
        return weights, [random.getrandbits(self.metadata_width) for _ in range(self.metadata_depth)]

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        advance, capture = Signal(), Signal()
        front = self._front(m, advance)
        results, captured = self._array(m, front, platform)
        m.submodules.drain = drain = Drain(
            rows=self.shape.rows, columns=self.shape.columns, width=self.accumulator_width
        )
        drain.connect(m, results, captured, capture, advance)
        wiring.connect(m, drain.y, wiring.flipped(self.y))
        return m

    @abstractmethod
    def _array(self, m: Module, front: Front, platform: Any) -> tuple[list[Value], Value]:
        """Add decoders and PEs; return the results, row-major, and when they are to be captured."""

    def _front(self, m: Module, advance: Signal) -> Front:
        """Add sequencer, memories and the slot registers of stages 1 and 2."""
        m.submodules.sequencer = sequencer = Sequencer(
            tiling=self.tiling, layers=self.layers, halves=self.port is not None
        )
        m.submodules.buffer = buffer = ActivationBuffer(width=self.x_width, chunks=self.chunks)
        decode = Signal(slot_layout(self.tiling))
        compute = Signal(slot_layout(self.tiling))
        slot = sequencer.slot
        wiring.connect(m, wiring.flipped(self.x), buffer.x)
        if self.layers > 1:
            wiring.connect(m, wiring.flipped(self.layer), sequencer.layer)
        m.d.comb += [
            sequencer.advance.eq(advance),
            sequencer.full.eq(buffer.full),
            buffer.half.eq(decode.half),
            buffer.chunk.eq(decode.chunk),
            buffer.enable.eq(advance & decode.valid & (decode.step == 0)),
            buffer.release.eq(advance & decode.valid & decode.release),
        ]
        with m.If(advance):
            m.d.sync += [decode.eq(slot), compute.eq(decode)]
        read_weights, read_metadata = advance & slot.valid & (slot.step == 0), advance & slot.valid & slot.first
        memories = self._roms(m) if self.port is None else self._loaded(m, sequencer)
        words = []
        for (address, enable, data), at, reads in zip(
            memories,
            (sequencer.weight_address, sequencer.metadata_address),
            (read_weights, read_metadata),
            strict=False,
        ):
            m.d.comb += [address.eq(at), enable.eq(reads)]
            words.append(data)
        return Front(advance, decode, compute, words[0], words[1] if self.metadata_depth else None, buffer.data)

    def _roms(self, m: Module) -> list[tuple[Value, Value, Value]]:
        """Add memories of all layers; return address, enable and data of each."""
        m.submodules.weights = weights = Rom(
            width=self.weights_width, depth=self.weights_depth, file=self.weights_file, init=self._weights
        )
        if not self.metadata_depth:
            return [(weights.address, weights.enable, weights.data)]
        m.submodules.metadata = metadata = Rom(
            width=self.metadata_width, depth=self.metadata_depth, file=self.metadata_file, init=self._metadata
        )
        return [(each.address, each.enable, each.data) for each in (weights, metadata)]

    def _loaded(self, m: Module, sequencer: Sequencer) -> list[tuple[Value, Value, Value]]:
        """Add memories of two layers; return the same."""
        m.submodules.loader = loader = LayerLoader(memories=self.loads)
        wiring.connect(m, wiring.flipped(self.words), loader.words)
        m.d.comb += [sequencer.loaded.eq(loader.loaded), loader.release.eq(sequencer.release)]
        ports = ("address", "enable", "data")
        found = []
        for index in range(len(self.loads)):
            address, enable, data = (getattr(loader, f"{name}{index}") for name in ports)
            found.append((address, enable, data))
        return found

    def _padded(self, codes: Any, what: str) -> Array:
        size = self.column_tiles * self.shape.columns, self.chunks * self.shape.lanes
        return pad(codes, size, what)

    def _row_tiles(self, codes: Any) -> Array:
        """Return codes [M, K] as [row tiles * chunks, rows * lanes] fields of beats."""
        codes = pad(codes, (self._padded_rows(codes), self.chunks * self.shape.lanes), "codes")
        return tile_rows(codes, self.shape.rows, self.shape.lanes)

    def _padded_rows(self, values: Any) -> int:
        return self.shape.row_tiles(len(values)) * self.shape.rows

    def _code_words(self, codes: Any) -> list[int]:
        return word_ints(self._row_tiles(codes), self._x_bits)


def whole_groups(k: int, group: int, lanes: int) -> tuple[int, int]:
    """Return the groups that cover K and the chunks of each; InputError unless lanes divide the group."""
    require_lanes(lanes, group, "group")
    return -(-k // group), group // lanes
