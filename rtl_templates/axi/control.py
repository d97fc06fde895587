"""The AXI4-Lite port of a design (AMBA AXI, IHI 0022H part B): identity, run and reset, counters.

What is where is said by :mod:`mxhw.rtl_templates.axi.registers`; this component is made from that table.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.axi.registers import ADDRESS_BITS, HASH_WORDS, MAP_VERSION, AxiStream, Register, register_map
from mxhw.rtl_templates.axi.stream import EVENTS
from mxhw.rtl_templates.checks import require

__all__ = ["ID", "AxiLiteControl", "axi_lite_signature"]

ID = int.from_bytes(b"mxhw")
OKAY, SLVERR = 0b00, 0b10
FLUSH_CYCLES = 16  # more than any register of a port or a sequencer needs to see a reset


def axi_lite_signature() -> wiring.Signature:
    """Return the five channels as the manager sees them, called as Vivado expects."""
    return wiring.Signature(
        {
            "awaddr": Out(ADDRESS_BITS),
            "awprot": Out(3),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(32),
            "wstrb": Out(4),
            "wvalid": Out(1),
            "wready": In(1),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
            "araddr": Out(ADDRESS_BITS),
            "arprot": Out(3),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata": In(32),
            "rresp": In(2),
            "rvalid": In(1),
            "rready": Out(1),
        }
    )


class AxiLiteControl(wiring.Component):
    """Registers of a design behind AXI4-Lite.

    Address and data of a write may come in any order. A write is answered, and a read, two cycles after it is whole;
    the next is accepted when the answer is taken. All outputs are registers or come from registers alone.

    Parameters
    ----------
    streams : sequence of AxiStream
        Of the design, inputs and outputs.
    digest : bytes
        SHA-256 of the design.
    runs_at_reset : bool
        Reset value of CONTROL.RUN.

    Members
    -------
    s_axi : In(axi_lite_signature())
        The bus.
    events : In(data.ArrayLayout(EVENTS, len(streams)))
        Of the ports, in the order of ``streams``.
    run : Out(1)
        Inputs may accept transfers.
    flush : Out(1)
        Soft reset of core and ports.

    Raises
    ------
    InputError
        For streams that have no room in the table, or a digest of another length.
    """

    def __init__(self, *, streams: Sequence[AxiStream], digest: bytes, runs_at_reset: bool = True) -> None:
        require(len(digest) == 4 * HASH_WORDS, "digest", f"{4 * HASH_WORDS} bytes", f"{len(digest)} bytes")
        require(len(streams) > 0, "streams", "at least one stream", streams)
        self._streams, self._map = tuple(streams), register_map(streams)
        self._digest, self._runs_at_reset = digest, runs_at_reset
        super().__init__(
            {
                "s_axi": In(axi_lite_signature()),
                "events": In(data.ArrayLayout(EVENTS, len(streams))),
                "run": Out(1, init=runs_at_reset),
                "flush": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._awake = Signal()  # low in the cycle after a reset, in which nothing must be accepted
        m.d.sync += self._awake.eq(1)
        values = self._design_values(m)
        for index, stream in enumerate(self._streams):
            values |= self._stream_values(m, self.events[index], stream)
        tokens = [values[f"{stream.name}.TOKENS"] for stream in self._streams if stream.beats is not None]
        parts = [self.events[index].part for index in range(len(self._streams))]
        m.d.sync += values["STATUS.BUSY"].eq(_any([*(tokens[0] != other for other in tokens[1:]), *parts]))
        misframed = [values[f"{stream.name}.MISFRAMED"].any() for stream in self._streams]
        m.d.comb += values["STATUS.MISFRAMED"].eq(_any(misframed))
        commands = self._writes(m, values)
        self._soft_reset(m, commands["CONTROL.RESET"])
        self._reads(m, values)
        return m

    def _design_values(self, m: Module) -> dict[str, Value]:
        """Return what the fields read as that do not belong to a stream; the caller drives those of STATUS."""
        inputs = sum(stream.is_input for stream in self._streams)
        busy, misframed, scratch, cycles = Signal(), Signal(), Signal(32), Signal(64)
        with m.If(busy):
            m.d.sync += cycles.eq(cycles + 1)
        with m.If(self.flush):
            m.d.sync += cycles.eq(0)
        self._cycles, kept = cycles, Signal(32)
        words = [int.from_bytes(self._digest[4 * i : 4 * i + 4]) for i in range(HASH_WORDS)]
        return {
            "ID": Const(ID, 32),
            "VERSION": Const(MAP_VERSION, 32),
            "STREAMS.INPUTS": Const(inputs, 16),
            "STREAMS.OUTPUTS": Const(len(self._streams) - inputs, 16),
            "CONTROL.RUN": self.run,
            "CONTROL.RESET": self.flush,
            "STATUS.BUSY": busy,
            "STATUS.MISFRAMED": misframed,
            "SCRATCH": scratch,
            "CYCLES_LOW": cycles[:32],
            "CYCLES_HIGH": kept,
            **{f"HASH_{i}": Const(word, 32) for i, word in enumerate(words)},
        }

    def _stream_values(self, m: Module, event: Any, stream: AxiStream) -> dict[str, Value]:
        """Return what the registers of a stream read as, its counters among them."""
        counters = {}
        for name, counted in (("TOKENS", event.token), ("STALLS", event.stalled), ("MISFRAMED", event.misframed)):
            counters[f"{stream.name}.{name}"] = counter = Signal(32, name=f"{stream.name}_{name.lower()}")
            with m.If(counted):
                m.d.sync += counter.eq(counter + 1)
            with m.If(self.flush):
                m.d.sync += counter.eq(0)
        return {
            f"{stream.name}.SHAPE.WIDTH": Const(stream.width, 24),
            f"{stream.name}.SHAPE.OUTPUT": Const(not stream.is_input, 1),
            f"{stream.name}.BEATS": Const(stream.beats or 0, 32),
            **counters,
        }

    def _soft_reset(self, m: Module, command: Value) -> None:
        """Flush for some cycles, and until no output offers a transfer from before."""
        age = Signal(range(FLUSH_CYCLES))
        offered = _any(self.events[index].offered for index in range(len(self._streams)))
        with m.If(command):
            m.d.sync += [self.flush.eq(1), age.eq(0)]
        with m.Elif(age != FLUSH_CYCLES - 1):
            m.d.sync += age.eq(age + 1)
        with m.Elif(~offered):
            m.d.sync += self.flush.eq(0)

    def _writes(self, m: Module, values: dict[str, Value]) -> dict[str, Value]:
        """Take writes into the stored fields; return what says, for a cycle, that a command was written."""
        axi = self.s_axi
        address, word, strobes = Signal(ADDRESS_BITS), Signal(32), Signal(4)
        has_address, has_word = Signal(), Signal()
        acts = has_address & has_word & ~axi.bvalid
        m.d.comb += [axi.awready.eq(self._awake & ~has_address), axi.wready.eq(self._awake & ~has_word)]
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [address.eq(axi.awaddr), has_address.eq(1)]
        with m.If(axi.wvalid & axi.wready):
            m.d.sync += [word.eq(axi.wdata), strobes.eq(axi.wstrb), has_word.eq(1)]
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        commands: dict[str, Value] = {}
        with m.If(acts):
            m.d.sync += [has_address.eq(0), has_word.eq(0), axi.bvalid.eq(1), axi.bresp.eq(SLVERR)]
            with m.Switch(address[2:]):
                for register in self._map:
                    if not register.writable:
                        continue
                    with m.Case(register.offset >> 2):
                        m.d.sync += axi.bresp.eq(OKAY)
                        for name, field in register.named_fields:
                            bits = range(field.low, field.low + field.width)
                            if field.kind == "storage":
                                m.d.sync += [
                                    values[name][i].eq(Mux(strobes[bit // 8], word[bit], values[name][i]))
                                    for i, bit in enumerate(bits)
                                ]
                            elif field.kind == "command":
                                commands[name] = written = Signal(name=name.lower().replace(".", "_"))
                                m.d.comb += written.eq(word[field.low] & strobes[field.low // 8])
        return commands

    def _reads(self, m: Module, values: dict[str, Value]) -> None:
        axi, address, has_address = self.s_axi, Signal(ADDRESS_BITS), Signal()
        m.d.comb += axi.arready.eq(self._awake & ~has_address)
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [address.eq(axi.araddr), has_address.eq(1)]
        with m.If(axi.rready):
            m.d.sync += axi.rvalid.eq(0)
        with m.If(has_address & ~axi.rvalid):
            m.d.sync += [has_address.eq(0), axi.rvalid.eq(1), axi.rresp.eq(SLVERR), axi.rdata.eq(0)]
            with m.Switch(address[2:]):
                for register in self._map:
                    with m.Case(register.offset >> 2):
                        m.d.sync += [axi.rresp.eq(OKAY), axi.rdata.eq(_word(register, values))]
                        if register.name == "CYCLES_LOW":
                            m.d.sync += values["CYCLES_HIGH"].eq(self._cycles[32:])


def _any(terms: Iterable[Value]) -> Value:
    return Cat(*terms).any()


def _word(register: Register, values: dict[str, Value]) -> Value:
    """Return the thirty-two bits of a register."""
    word, parts = 0, []
    for name, field in register.named_fields:
        parts += [Const(0, field.low - word), values[name]]
        word = field.low + field.width
    return Cat(*parts)
