"""What the streamed GEMM units share: commands and operands in, pipeline control, drain, stream out.

Pipeline, every stage gated by one ``advance``:

    0  the loop nest names a step; codes at the heads of the operand FIFOs are decoded
    1  PEs multiply and accumulate
    2… the unit's own: scale or shift, then capture into the drain buffer

A missing operand is a bubble, and results on their way still leave; ``advance`` drops only while results are to be
captured and the drain buffer still holds rows of the tile before.

Both operands are streams, so these units also compute the products of attention, q · kᵀ and p · v, whose operands are
both made at run time: k, or v transposed, takes the place of the weights, in codes of at most 8 bits. A tile is
computed from operands that are streamed for it alone: what replays a row tile of x for every column tile stands in
front of the unit.

Codes and block metadata are streams of their own. One scale serves a whole group: inside the beats of codes it would be
repeated, or its place left empty, in all chunks but one; apart, both lie in memory as formats pack them, and the stream
of scales may come from a narrow memory.
"""

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.gemm.command import Command, CommandLimits
from mxhw.rtl_templates.gemm.drain import Drain
from mxhw.rtl_templates.gemm.edge import Edge
from mxhw.rtl_templates.gemm.pe_row import PeRow
from mxhw.rtl_templates.gemm.stream_control import StreamControl, slot_layout
from mxhw.rtl_templates.place import place
from mxhw.rtl_templates.stream.fifo import Fifo

__all__ = ["BeatBits", "Side", "StreamedFront", "StreamedGemm"]

Side = Literal["x", "w"]
EdgeT = TypeVar("EdgeT", bound=Edge)
# Two entries keep one chunk a cycle flowing although ready comes from a register.
_FIFO_DEPTH = 2
# Cycles before the first step: the command is checked, then loaded; operands pass their FIFO meanwhile.
_LEAD = 2


@dataclass(frozen=True)
class BeatBits:
    """Bits of a code, and of the metadata of a row's or column's group; 0 where there is none."""

    x: int
    w: int
    x_scale: int
    w_scale: int


@dataclass(frozen=True)
class StreamedFront:
    """What a unit's array gets from the shared front.

    Attributes
    ----------
    advance : clock enable of the pipeline.
    decode : slot of stage 0, whose operands are ``x``, ``w``, ``x_scale`` and ``w_scale``.
    compute : slot of stage 1.
    platform : what elaboration got.
    """

    advance: Signal
    decode: Any
    compute: Any
    x: Value
    w: Value
    x_scale: Value
    w_scale: Value
    platform: Any


class StreamedGemm(wiring.Component):
    """Base of the streamed GEMM units: an output-stationary array of rows x columns PEs.

    A command computes ``tiles`` tiles. A tile takes ``groups`` groups of ``chunks`` chunks, a chunk ``lanes`` products
    per PE. In mapping "gemm" a tile is ``rows`` rows of x times ``columns`` columns. In mapping "gemv", for a single
    row of x, row 0 of the x beat goes to all rows of PEs, and every one of them works on other columns: a tile is one
    row times ``rows * columns`` columns, and all PEs are busy. Its weights are used once, so the beats of ``w`` and
    ``w_scale`` are ``rows`` times as wide, and every row of PEs has decoders and scales of its own. Where memory is
    narrower, a converter of width in front of ``w`` trades cycles for wires without a change here: a bit-serial chunk
    of T cycles needs no more than a port of rows * columns * lanes / T codes.

    Members
    -------
    command : In(stream.Signature(limits.layout))
        See :class:`CommandLimits`.
    x : In(stream.Signature(rows * lanes * bits.x))
        Every chunk of a tile; code of (row, lane) at ``[(row*lanes + lane)*b +: b]``.
    w : In(stream.Signature(w_columns * lanes * bits.w))
        Every chunk of a tile; code of (column, lane) at ``[(column*lanes + lane)*b +: b]``. With ``gemv`` there are
        rows * columns columns, of which mapping "gemm" uses the first ``columns``; the others are ignored.
    x_scale : In(stream.Signature(rows * bits.x_scale))
        Present if the inputs have block metadata. One beat a group.
    w_scale : In(stream.Signature(w_columns * bits.w_scale))
        One beat a group.
    y : Out(stream.Signature(columns * accumulator_width))
        One beat is a row of PEs: ``columns`` signed accumulators. The payload is stable while valid and not ready;
        valid never waits for ready.
    refused : Out(1)
        A command was beyond the limits; see :class:`StreamControl`.
    """

    # A unit is also asked for its beats and cycles only: Amaranth need not warn that it was never elaborated.
    _MustUse__silence = True

    def __init__(
        self,
        *,
        rows: int,
        columns: int,
        lanes: int,
        limits: CommandLimits,
        bits: BeatBits,
        accumulator_width: int,
        latency: int,
        flags: Sequence[str] = (),
    ) -> None:
        for name, value in (("rows", rows), ("columns", columns), ("lanes", lanes)):
            require_natural(name, value)
        self.rows, self.columns, self.lanes, self.limits = rows, columns, lanes, limits
        self.bits, self.accumulator_width, self.latency = bits, accumulator_width, latency
        self.w_rows = rows if limits.gemv else 1
        sizes = {
            "x": rows * lanes * bits.x,
            "w": self.w_rows * columns * lanes * bits.w,
            "x_scale": rows * bits.x_scale,
            "w_scale": self.w_rows * columns * bits.w_scale,
        }
        self._operands = tuple(name for name, size in sizes.items() if size)
        members: dict[str, Any] = {"command": In(stream.Signature(limits.layout))}
        members |= {name: In(stream.Signature(sizes[name])) for name in self._operands}
        members |= {"y": Out(stream.Signature(columns * accumulator_width))}
        super().__init__(members | {flag: Out(1) for flag in ("refused", *flags)})

    def cycles(self, commands: Iterable[Command]) -> int:
        """Return the stall-free cycles of commands from the first beat in to the last beat out, both counted.

        All inputs are valid from the first cycle on. A tile leaves row after row while the next one is computed, and
        the next capture waits until it has left.
        """
        tiles = [(command.tiles, self.tile_cycles(command)) for command in commands]
        if not tiles:
            return 0
        drained = sum(count * max(cycles, self.rows + 1) for count, cycles in tiles)
        first = tiles[0][1]
        return _LEAD + first + drained - max(first, self.rows + 1) + self.latency + self.rows

    def tile_cycles(self, command: Command) -> int:
        """Return the cycles that a tile of a command occupies the array; InputError if the unit would refuse it."""
        self.limits.check(command)
        return command.groups * command.chunks * self.limits.steps[command.weight_type]

    def vectors(self, side: Side) -> int:
        """Return how many rows of x, or columns of w, a beat holds."""
        return self.rows if side == "x" else self.w_rows * self.columns

    def edges(self, side: Side, make: Callable[[int, bool], EdgeT], m: Module, front: StreamedFront) -> list[EdgeT]:
        """Add the edges of a side, made by ``make(vectors, shared)``, and connect what all edges have.

        x has one, whose rows take row 0 in mapping "gemv". w has one for all rows of PEs, or with ``gemv`` one for
        each, which takes what the first one decoded in mapping "gemm".
        """
        codes, scales = (front.x, front.x_scale) if side == "x" else (front.w, front.w_scale)
        mapping, gemv = front.decode.mapping, self.limits.gemv
        count = 1 if side == "x" else self.w_rows
        edges = [make(self.vectors(side) // count, gemv) for _ in range(count)]
        for index, edge in enumerate(edges):
            place(m, f"{side}_edge", str(index), edge, front.platform)
            m.d.comb += [
                edge.advance.eq(front.advance),
                edge.codes.eq(codes.word_select(index, len(edge.codes))),
            ]
            if len(scales):
                m.d.comb += edge.scales.eq(scales.word_select(index, len(edge.scales)))
            if gemv:
                alone = edge.decoded[: edge.decoded_bits].replicate(edge.vectors)
                first = edges[0].decoded if index else Const(0, 1)
                m.d.comb += [
                    edge.use_other.eq(mapping if side == "x" else ~mapping & (index > 0)),
                    edge.other.eq(alone if side == "x" else first),
                ]
        return edges

    def pe_rows(
        self, m: Module, front: StreamedFront, make: Callable[[], wiring.Component], own: Collection[str]
    ) -> list[Any]:
        """Add the rows of PEs; ``own`` names the ports that every PE has for itself."""
        rows = [PeRow(make, columns=self.columns, own={*own, "result"}) for _ in range(self.rows)]
        for index, row in enumerate(rows):
            place(m, "row", str(index), row, front.platform)
            m.d.comb += [
                row.advance.eq(front.advance),
                row.enable.eq(front.compute.valid),
                row.first.eq(front.compute.first),
            ]
        return rows

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        advance, capture = Signal(), Signal()
        front = self._front(m, advance, platform)
        rows, captured = self._array(m, front)
        m.submodules.drain = drain = Drain(rows=self.rows, columns=self.columns, width=self.accumulator_width)
        drain.connect(m, [row.result for row in rows], captured, capture, advance)
        wiring.connect(m, drain.y, wiring.flipped(self.y))
        return m

    @abstractmethod
    def _array(self, m: Module, front: StreamedFront) -> tuple[list[Any], Value]:
        """Add edges and rows of PEs; return the rows, and when their results are to be captured."""

    def _front(self, m: Module, advance: Signal, platform: Any) -> StreamedFront:
        """Add the loop nest, the operand FIFOs and the slot register of stage 1."""
        m.submodules.control = control = StreamControl(limits=self.limits)
        wiring.connect(m, wiring.flipped(self.command), control.command)
        heads = {name: self._head(m, name, control) for name in self._operands}
        compute = Signal(slot_layout(self.limits))
        m.d.comb += [
            control.advance.eq(advance),
            control.available.eq(Cat(head.valid for head in heads.values()).all()),
            self.refused.eq(control.refused),
        ]
        with m.If(advance):
            m.d.sync += compute.eq(control.slot)
        payloads = {name: head.payload for name, head in heads.items()}
        payloads.setdefault("x_scale", Const(0, 0))
        return StreamedFront(advance=advance, decode=control.slot, compute=compute, platform=platform, **payloads)

    def _head(self, m: Module, name: str, control: StreamControl) -> Any:
        """Add the FIFO of an operand, which keeps its head until the last step of its chunk or group."""
        port = getattr(self, name)
        m.submodules[f"{name}_fifo"] = fifo = Fifo(shape=len(port.payload), depth=_FIFO_DEPTH)
        wiring.connect(m, wiring.flipped(port), fifo.x)
        m.d.comb += fifo.y.ready.eq(control.chunk_ends if name in ("x", "w") else control.group_ends)
        return fifo.y
