"""Requests become passes; the definition is :meth:`mxhw.arithmetic.dataflow.PassOrder.run`.

A memory keeps the requests of one chunk and gives them once a layer. The first layer reads behind the arrivals; the
requests of the next chunk come in when the last pass has been read. One chunk is enough: a pass takes as long as a
token in the block, so that the few cycles between chunks are hidden by the FIFOs behind.
"""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.dataflow import Passes, Requests
from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.control.payloads import pass_layout, request_layout
from mxhw.rtl_templates.memory import Ram
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "PassOrderUnit"]

_KEPT = "position", "sequence", "logits"


class PassOrderUnit(wiring.Component):
    """A pass a cycle; a request's first pass two cycles after it, with a single layer one.

    Parameters
    ----------
    kind : Requests
        What comes in.
    layers : int
        Passes of each request. With 1 there is no memory, and chunks have no meaning.
    chunk : int
        Requests that the memory holds: a chunk ends with its ``last`` request, or when so many are in. Its further
        layers wait for that end.

    Members
    -------
    requests : In(stream.Signature(request_layout(kind)))
        Ready depends on registers only; with a single layer on y's ready, too.
    y : Out(stream.Signature(pass_layout(…)))
        Chunk after chunk, layer after layer, request after request. From registers and the memory's output latch.

    Raises
    ------
    InputError
        If ``layers`` or ``chunk`` is below 1.
    """

    def __init__(self, *, kind: Requests, layers: int, chunk: int) -> None:
        require_natural("layers", layers)
        require_natural("chunk", chunk)
        self._layers, self._chunk = layers, chunk
        passes = pass_layout(Passes(layers=layers, sequences=kind.sequences, keys=kind.keys))
        super().__init__({"requests": In(stream.Signature(request_layout(kind))), "y": Out(stream.Signature(passes))})

    @property
    def memory(self) -> tuple[int, int]:
        """Words of the memory, and bits of a word; no words without one."""
        return self._chunk if self._layers > 1 else 0, sum(len(self.y.payload[name]) for name in _KEPT)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        advance = Signal()
        m.d.comb += advance.eq(self.y.ready | ~self.y.valid)
        if self._layers == 1:
            m.d.comb += self.requests.ready.eq(advance)
            with m.If(advance):
                m.d.sync += self.y.valid.eq(self.requests.valid)
                m.d.sync += [self.y.payload[name].eq(self.requests.payload[name]) for name in _KEPT]
            return m
        m.submodules.memory = ram = Ram(width=self.memory[1], depth=self._chunk)
        written, complete = Signal(range(self._chunk + 1)), Signal()
        is_done = self._read(m, ram, advance, written, complete)
        m.d.comb += [
            self.requests.ready.eq(~complete),
            ram.write.eq(self.requests.valid & self.requests.ready),
            ram.write_address.eq(written),
            ram.write_data.eq(Cat(self.requests.payload[name] for name in _KEPT)),
        ]
        with m.If(ram.write):
            is_last = self.requests.payload.last | (written == self._chunk - 1)
            m.d.sync += [written.eq(written + 1), complete.eq(is_last)]
        with m.If(is_done):
            m.d.sync += [written.eq(0), complete.eq(0)]
        return m

    def _read(self, m: Module, ram: Ram, advance: Value, written: Value, complete: Value) -> Value:
        """Read what is written, once a layer; return whether the chunk's last word is read at this clock edge."""
        layer, index = Signal(range(self._layers)), Signal(range(max(2, self._chunk)))
        ends, is_last = Signal(), layer == self._layers - 1
        kept = Cat(self.y.payload[name] for name in _KEPT)
        m.d.comb += [
            ram.enable.eq(advance & (index < written)),
            ram.address.eq(index),
            # A chunk that is complete has been so since before its last request is read: it came earlier.
            ends.eq(ram.enable & complete & (index + 1 == written)),
            kept.eq(ram.data),
        ]
        with m.If(advance):
            m.d.sync += self.y.valid.eq(ram.enable)
        with m.If(ram.enable):
            m.d.sync += [self.y.payload.layer.eq(layer), index.eq(Mux(ends, 0, index + 1))]
        with m.If(ends):
            m.d.sync += layer.eq(Mux(is_last, 0, layer + 1))
        return ends & is_last


def _build(
    layers: int = 5, chunk: int = 32, vocabulary: int = 512, sequences: int = 2, keys: int = 128
) -> PassOrderUnit:
    kind = Requests(vocabulary=vocabulary, sequences=sequences, keys=keys)
    return PassOrderUnit(kind=kind, layers=layers, chunk=chunk)


TEMPLATE = UnitTemplate(
    name="pass_order",
    kind="control",
    description="requests in chunks become passes, layer after layer",
    build=_build,
)
