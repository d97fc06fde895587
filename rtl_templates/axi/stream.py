"""AXI4-Stream ports of a design (AMBA 4 AXI4-Stream, IHI 0051A): a bus on one side, a valid/ready stream on the other.

A beat of our stream takes ``ceil(width / bus)`` transfers, its lowest bits first; a narrower one has transfers of its
own, padded at the top with zeros. There is no tkeep, which by the standard means that every byte is data. All outputs
to the bus are registers or come from registers alone.

A flush forgets what is under way and yet breaks no rule of the bus: an input takes and drops what it is offered, and an
output keeps the transfer that it already offers until that is taken.
"""

from typing import Any

from amaranth.hdl import Module, ResetInserter, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.stream.skid import SkidBuffer
from mxhw.rtl_templates.stream.width import Narrow, Widen

__all__ = ["EVENTS", "AxiStreamIn", "AxiStreamOut", "axi_stream_signature", "bus_width", "transfers"]

# What a port tells the counters, each for one cycle: a token has passed; valid waits for ready; tlast came inside a
# token. And as levels: a token has passed in part; a transfer is offered to the bus.
EVENTS = data.StructLayout({"token": 1, "stalled": 1, "misframed": 1, "part": 1, "offered": 1})


def bus_width(width: int, largest: int) -> int:
    """Return the bits of tdata for beats of ``width`` bits: the next power of two from 8 on, but at most ``largest``.

    Raises
    ------
    InputError
        Unless ``largest`` is such a power.
    """
    require_natural("width", width)
    require_natural("bus", largest, 8)
    require(largest & (largest - 1) == 0, "bus", "a power of two", largest)
    return min(largest, max(8, 1 << (width - 1).bit_length()))


def transfers(width: int, bus: int) -> int:
    """Return how many transfers a beat takes."""
    return -(-width // bus)


def axi_stream_signature(bus: int) -> wiring.Signature:
    """Return tdata, tvalid, tready, tlast as the sender sees them."""
    return wiring.Signature({"tdata": Out(bus), "tvalid": Out(1), "tready": In(1), "tlast": Out(1)})


class _Port(wiring.Component):
    def __init__(self, width: int, bus: int, beats: int | None, members: dict[str, Any]) -> None:
        require_natural("width", width)
        require_natural("bus", bus, 8)
        require(bus % 8 == 0, "bus", "a whole number of bytes", bus)
        if beats is not None:
            require_natural("beats", beats)
        self._width, self._bus, self._ratio = width, bus, transfers(width, bus)
        self._length = self._ratio * (beats or 1)
        super().__init__({**members, "flush": In(1), "events": Out(EVENTS)})

    def _count(self, m: Module, passes: Any) -> tuple[Signal, Any]:
        """Return the place of a transfer in its token, and whether that is the last one."""
        place = Signal(range(max(2, self._length)))
        ends = place == self._length - 1
        with m.If(passes):
            m.d.sync += place.eq(place + 1)
            with m.If(ends):
                m.d.sync += place.eq(0)
        with m.If(self.flush):
            m.d.sync += place.eq(0)
        return place, ends


class AxiStreamIn(_Port):
    """From the bus to a stream. A transfer a cycle; latency one cycle, one more where a beat takes several transfers.

    Parameters
    ----------
    width : int
        Bits of a beat.
    bus : int
        Bits of tdata, whole bytes.
    beats : int or None
        Of a token; None: every beat is one.

    Members
    -------
    s_axis : In(axi_stream_signature(bus))
        tlast is not needed: tokens are counted. Where it comes inside a token, ``events.misframed`` says so.
    y : Out(stream.Signature(unsigned(width)))
        Registers.
    run : In(1)
        Transfers are accepted.
    flush : In(1)
        Forget the rest; accept and drop whatever is offered, with or without ``run``.
    events : Out(EVENTS)
        ``offered`` is 0.

    Raises
    ------
    InputError
        For a bus that is no number of bytes, or sizes below 1.
    """

    def __init__(self, *, width: int, bus: int, beats: int | None = None) -> None:
        members = {
            "s_axis": In(axi_stream_signature(bus)),
            "y": Out(stream.Signature(unsigned(width))),
            "run": In(1),
        }
        super().__init__(width, bus, beats, members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        axis, events = self.s_axis, self.events
        skid, widen = SkidBuffer(shape=unsigned(self._bus)), Widen(shape=unsigned(self._bus), ratio=self._ratio)
        m.submodules.skid = ResetInserter(self.flush)(skid)
        m.submodules.widen = ResetInserter(self.flush)(widen)
        awake = Signal()  # low in the cycles after a reset in which this unit cannot take what the sender thinks taken
        m.d.sync += awake.eq(1)
        m.d.comb += [
            axis.tready.eq(awake & (self.flush | (self.run & skid.x.ready))),
            skid.x.valid.eq(awake & self.run & axis.tvalid),
            skid.x.payload.eq(axis.tdata),
            self.y.valid.eq(skid.y.valid),
            self.y.payload.eq(skid.y.payload),
            skid.y.ready.eq(self.y.ready),
        ]
        if self._ratio > 1:
            wiring.connect(m, skid.y, widen.x)
            m.d.comb += [
                self.y.valid.eq(widen.y.valid),
                self.y.payload.eq(widen.y.payload.as_value()),
                widen.y.ready.eq(self.y.ready),
            ]
        passes = axis.tvalid & axis.tready & ~self.flush
        place, ends = self._count(m, passes)
        m.d.comb += [
            events.token.eq(passes & ends),
            events.stalled.eq(axis.tvalid & ~axis.tready),
            events.misframed.eq(passes & axis.tlast & ~ends),
            events.part.eq(place.any()),
        ]
        return m


class AxiStreamOut(_Port):
    """From a stream to the bus. A transfer a cycle; latency two cycles, one more where a beat takes several transfers.

    Parameters
    ----------
    width, bus, beats
        As those of :class:`AxiStreamIn`.

    Members
    -------
    x : In(stream.Signature(unsigned(width)))
        Ready is a register, or depends on registers alone.
    m_axis : Out(axi_stream_signature(bus))
        Registers. tlast is 1 on the last transfer of a token.
    flush : In(1)
        Forget all but what is offered already.
    events : Out(EVENTS)
        ``misframed`` is 0.

    Raises
    ------
    InputError
        For a bus that is no number of bytes, or sizes below 1.
    """

    def __init__(self, *, width: int, bus: int, beats: int | None = None) -> None:
        members = {"x": In(stream.Signature(unsigned(width))), "m_axis": Out(axi_stream_signature(bus))}
        super().__init__(width, bus, beats, members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        axis, events = self.m_axis, self.events
        narrow = Narrow(shape=unsigned(self._bus), ratio=self._ratio)
        skid = SkidBuffer(shape=data.StructLayout({"data": self._bus, "last": 1}))
        m.submodules.narrow = ResetInserter(self.flush)(narrow)
        m.submodules.skid = ResetInserter(self.flush)(skid)
        m.d.comb += [
            skid.x.valid.eq(self.x.valid),
            skid.x.payload.data.eq(self.x.payload),
            self.x.ready.eq(skid.x.ready),
        ]
        if self._ratio > 1:
            m.d.comb += [
                narrow.x.valid.eq(self.x.valid),
                narrow.x.payload.as_value().eq(self.x.payload),
                self.x.ready.eq(narrow.x.ready),
                skid.x.valid.eq(narrow.y.valid),
                skid.x.payload.data.eq(narrow.y.payload.as_value()),
                narrow.y.ready.eq(skid.x.ready),
            ]
        _, ends = self._count(m, skid.x.valid & skid.x.ready)
        free = axis.tready | ~axis.tvalid
        m.d.comb += [skid.x.payload.last.eq(ends), skid.y.ready.eq(free)]
        with m.If(free):
            m.d.sync += [
                axis.tvalid.eq(skid.y.valid & ~self.flush),
                axis.tdata.eq(skid.y.payload.data),
                axis.tlast.eq(skid.y.payload.last),
            ]
        taken, part = axis.tvalid & axis.tready & ~self.flush, Signal()
        with m.If(taken):
            m.d.sync += part.eq(~axis.tlast)
        with m.If(self.flush):
            m.d.sync += part.eq(0)
        m.d.comb += [
            events.token.eq(taken & axis.tlast),
            events.stalled.eq(axis.tvalid & ~axis.tready),
            events.part.eq(part),
            events.offered.eq(axis.tvalid),
        ]
        return m
