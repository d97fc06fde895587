"""The registers behind the AXI-Lite port of a design: the one table from which hardware and documentation are made.

Offsets are in bytes, registers are 32 bits wide. What is not in the table answers SLVERR, as do writes to read-only
registers; bytes whose write strobe is low keep their value.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mxhw.errors import InputError
from mxhw.rtl_templates.checks import require, require_natural

__all__ = ["ADDRESS_BITS", "MAP_VERSION", "AxiStream", "Field", "Register", "describe_registers", "register_map"]

MAP_VERSION = 1
ADDRESS_BITS = 12  # 4 KiB, the smallest page that AXI interconnects map
STREAM_BASE, STREAM_STEP = 0x100, 0x20
MOST_STREAMS = ((1 << ADDRESS_BITS) - STREAM_BASE) // STREAM_STEP
HASH_WORDS = 8  # of a SHA-256
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LARGEST_WIDTH = (1 << 24) - 1  # what the register SHAPE can say


@dataclass(frozen=True)
class AxiStream:
    """A stream of a design: its Verilog name, its direction, the bits of a beat.

    ``beats`` is how many make a token; None where their number is no constant: then every beat counts as one.
    """

    name: str
    is_input: bool
    width: int
    beats: int | None = None

    def __post_init__(self) -> None:
        require(bool(_NAME.fullmatch(self.name)), "name of a stream", "a Verilog identifier", self.name)
        require_natural(f"width of stream {self.name}", self.width)
        require(self.width <= _LARGEST_WIDTH, f"width of stream {self.name}", f"below {1 << 24}", self.width)
        if self.beats is not None:
            require_natural(f"beats of stream {self.name}", self.beats)


@dataclass(frozen=True)
class Field:
    """Some bits of a register.

    Attributes
    ----------
    name, low, width : where it lies.
    kind : "value": software reads what hardware says; "storage": software writes and reads it; "command": writing 1
        does something, and it reads as what hardware says.
    text : what it means.
    """

    name: str
    low: int
    width: int
    kind: Literal["value", "storage", "command"]
    text: str

    @property
    def bits(self) -> str:
        """For instance "31:16"."""
        return f"{self.low + self.width - 1}:{self.low}" if self.width > 1 else str(self.low)


@dataclass(frozen=True)
class Register:
    """Thirty-two bits at an offset."""

    name: str
    offset: int
    fields: tuple[Field, ...]

    @property
    def named_fields(self) -> tuple[tuple[str, Field], ...]:
        """The fields with their full names, for instance CONTROL.RUN; an only field has the register's name."""
        if len(self.fields) == 1:
            return ((self.name, self.fields[0]),)
        return tuple((f"{self.name}.{field.name}", field) for field in self.fields)

    @property
    def writable(self) -> bool:
        """Whether a write is answered OKAY."""
        return any(field.kind != "value" for field in self.fields)


def _word(name: str, offset: int, text: str, kind: Literal["value", "storage"] = "value") -> Register:
    return Register(name, offset, (Field(name, 0, 32, kind, text),))


_DESIGN = (
    _word("ID", 0x00, "0x6D786877, the letters mxhw"),
    _word("VERSION", 0x04, f"of this table: {MAP_VERSION}"),
    Register(
        "STREAMS",
        0x08,
        (Field("INPUTS", 0, 16, "value", "input streams"), Field("OUTPUTS", 16, 16, "value", "output streams")),
    ),
    Register(
        "CONTROL",
        0x0C,
        (
            Field("RUN", 0, 1, "storage", "input streams are accepted while it is 1"),
            Field(
                "RESET",
                1,
                1,
                "command",
                "write 1: forget everything in the design, drop what the inputs offer, set the counters to 0; "
                "1 while that lasts: 16 cycles, and until each output's transfer that was offered before is taken",
            ),
        ),
    ),
    Register(
        "STATUS",
        0x10,
        (
            Field("BUSY", 0, 1, "value", "some stream has passed more tokens than another, or a part of one"),
            Field("MISFRAMED", 1, 1, "value", "tlast came inside a token since the last reset"),
        ),
    ),
    _word("SCRATCH", 0x14, "keeps what is written, for tests of the bus", "storage"),
    _word("CYCLES_LOW", 0x18, "clock cycles with BUSY since the last reset; reading it keeps CYCLES_HIGH"),
    _word("CYCLES_HIGH", 0x1C, "the upper half, as it was when CYCLES_LOW was read"),
)
_STREAM = (
    (
        "SHAPE",
        (Field("WIDTH", 0, 24, "value", "bits of a beat"), Field("OUTPUT", 31, 1, "value", "1 for an output")),
    ),
    ("BEATS", "beats of a token; 0: not a constant"),
    ("TOKENS", "tokens that have passed since the last reset"),
    ("STALLS", "cycles in which tvalid waited for tready"),
    ("MISFRAMED", "transfers with tlast inside a token; the data is taken all the same"),
)


def register_map(streams: Sequence[AxiStream]) -> tuple[Register, ...]:
    """Return the registers of a design with these streams, by offset; those of stream i are called ``{name}.TOKENS``.

    Raises
    ------
    InputError
        If two streams have one name, or there are too many.
    """
    names = [stream.name for stream in streams]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"two streams are called {min(twice)!r}")
    require(len(streams) <= MOST_STREAMS, "streams", f"at most {MOST_STREAMS}", len(streams))
    words = [_word(f"HASH_{i}", 0x20 + 4 * i, "of the design: SHA-256, first bytes first") for i in range(HASH_WORDS)]
    registers = [*_DESIGN, *words]
    for index, stream in enumerate(streams):
        for place, (name, content) in enumerate(_STREAM):
            offset, full = STREAM_BASE + STREAM_STEP * index + 4 * place, f"{stream.name}.{name}"
            if isinstance(content, str):
                registers.append(_word(full, offset, content))
            else:
                registers.append(Register(full, offset, content))
    return tuple(registers)


def describe_registers(streams: Sequence[AxiStream]) -> str:
    """Return the table as text for people: offset, bits, access, name, meaning."""
    access = {"value": "ro", "storage": "rw", "command": "w1"}
    rows = [("offset", "bits", "access", "name", "meaning")]
    for register in register_map(streams):
        for index, (name, field) in enumerate(register.named_fields):
            offset = f"0x{register.offset:03X}" if index == 0 else ""
            rows.append((offset, field.bits, access[field.kind], name, field.text))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join([*map(str.ljust, row[:4], widths), row[4]]) for row in rows]
    lines += [
        "",
        "Registers are 32 bits wide; ro: read only, rw: kept, w1: writing 1 is a command. Other offsets, and writes to",
        "read-only registers, answer SLVERR and change nothing. Write strobes are honoured by byte; the two lowest",
        "bits of an address and the protection bits are ignored. One read and one write are under way at a time.",
    ]
    return "\n".join([*lines, ""])
