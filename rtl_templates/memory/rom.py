"""Synchronous memories: behavioural in simulation, instances of the hand-written Verilog when emitted.

In Verilog a Rom reads its words from a hex file ($readmemh), so that one text serves every set of weights.
"""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import ClockSignal, Instance, Module, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.place import CollectsMemoryFiles, ReadsMemoryFiles

__all__ = ["Ram", "Rom", "check_words"]


def _address_bits(depth: int) -> int:
    return max(1, (depth - 1).bit_length())


def check_words(name: str, words: Sequence[int], width: int, depth: int) -> None:
    """Raise InputError unless ``words`` fit a memory of this size."""
    require(len(words) <= depth, name, f"at most {depth} words", f"{len(words)} words")
    wrong = next((word for word in words if not 0 <= word < 1 << width), 0)
    require(not wrong, name, f"words of {width} bits", hex(wrong))


class Rom(wiring.Component):
    """A read-only memory with one cycle of latency.

    Parameters
    ----------
    width, depth : int
        Bits of a word, number of words.
    file : str
        Hex file that the emitted Verilog reads, one word a line.
    init : sequence of int, or None
        The words, for simulation inside Amaranth; missing words are 0.

    Members
    -------
    address : In
        Word to read; sampled while ``enable`` is high.
    enable : In(1)
        Read at this clock edge; ``data`` holds its value otherwise.
    data : Out(width)
        The word, in the cycle after its address.
    """

    def __init__(self, *, width: int, depth: int, file: str, init: Sequence[int] | None = None) -> None:
        require_natural("width", width)
        require_natural("depth", depth)
        words = [] if init is None else list(init)
        check_words("init", words, width, depth)
        self._width, self._depth, self._file, self._init = width, depth, file, words
        super().__init__({"address": In(_address_bits(depth)), "enable": In(1), "data": Out(width)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        if isinstance(platform, CollectsMemoryFiles):
            platform.memory_file(self._file, self._width, self._depth, self._init)
        if isinstance(platform, ReadsMemoryFiles):
            m.submodules.rom = Instance(
                "mxhw_rom",
                p_WIDTH=self._width,
                p_DEPTH=self._depth,
                p_ADDRESS=_address_bits(self._depth),
                p_FILE=self._file,
                i_clk=ClockSignal(),
                i_enable=self.enable,
                i_address=self.address,
                o_data=self.data,
            )
            return m
        m.submodules.cells = words = memory.Memory(
            shape=unsigned(self._width), depth=1 << _address_bits(self._depth), init=self._init
        )
        port = words.read_port()
        m.d.comb += [port.addr.eq(self.address), port.en.eq(self.enable), self.data.eq(port.data)]
        return m


class Ram(wiring.Component):
    """A memory with one write port and one read port of one cycle of latency.

    Parameters
    ----------
    width, depth : int
        Bits of a word, number of words.

    Members
    -------
    write, write_address, write_data : In
        The word is stored at this clock edge while ``write`` is high.
    address, enable : In
        As in :class:`Rom`.
    data : Out(width)
        As in :class:`Rom`; a word that is written at the same edge is read as it was before.
    """

    def __init__(self, *, width: int, depth: int) -> None:
        require_natural("width", width)
        require_natural("depth", depth)
        self._width, self._depth = width, depth
        address = In(_address_bits(depth))
        super().__init__(
            {
                "write": In(1),
                "write_address": address,
                "write_data": In(width),
                "address": address,
                "enable": In(1),
                "data": Out(width),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        if isinstance(platform, ReadsMemoryFiles):
            m.submodules.ram = Instance(
                "mxhw_ram",
                p_WIDTH=self._width,
                p_DEPTH=self._depth,
                p_ADDRESS=_address_bits(self._depth),
                i_clk=ClockSignal(),
                i_write=self.write,
                i_write_address=self.write_address,
                i_write_data=self.write_data,
                i_enable=self.enable,
                i_address=self.address,
                o_data=self.data,
            )
            return m
        m.submodules.cells = words = memory.Memory(
            shape=unsigned(self._width), depth=1 << _address_bits(self._depth), init=[]
        )
        writer, reader = words.write_port(), words.read_port()
        m.d.comb += [
            writer.en.eq(self.write),
            writer.addr.eq(self.write_address),
            writer.data.eq(self.write_data),
            reader.en.eq(self.enable),
            reader.addr.eq(self.address),
            self.data.eq(reader.data),
        ]
        return m
