"""What an emitted GEMM unit is: the record `design.json` beside its Verilog, which the bench and the comparison read.

Tile order of the streams: row tiles outermost; within one, x brings the chunks of K, and y brings, per column tile, one
beat per row with the accumulators of the tile's columns, the first column in the lowest bits.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from mxhw.errors import InputError

__all__ = [
    "DESIGN_FILE",
    "X_BEATS_FILE",
    "Y_BEATS_FILE",
    "GemmDesign",
    "check_identifier",
    "check_image",
    "image_header",
]

DESIGN_FILE = "design.json"
X_BEATS_FILE = "x_beats.hex"
Y_BEATS_FILE = "y_beats.hex"
_SCHEMA = 1
_IDENTIFIER = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,99}")
_IMAGE_HEADER = re.compile(rb"// mxhw image of ([0-9a-f]{8,128})\b[^\n]*\n")
_HASH_DIGITS = 16  # of a hash in a message
_PLAIN_FILE = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,119}")

UnitName = Literal["bitmod", "dialect"]


def check_identifier(name: str, what: str) -> str:
    """Return `name` if it is a plain Verilog identifier, else raise InputError."""
    if not _IDENTIFIER.fullmatch(name):
        raise InputError(f"{what} must be letters, digits and underscores (at most 100, no digit first), not {name!r}")
    return name


def check_image(path: Path, words: int, assignment_hash: str | None = None) -> None:
    """Raise InputError unless a memory image is there with all its words: simulators only warn.

    Lines that begin with `//` are no words. With `assignment_hash` the first line must be such a comment,
    `// mxhw image of HASH …`, and of that assignment.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the memory image {path}: {error.strerror}; emit the design again") from error
    if assignment_hash is not None:
        _check_header(path, text, assignment_hash)
    found = text.count(b"\n") - text.startswith(b"//") - text.count(b"\n//")
    if found != words:
        raise InputError(f"{path} has {found} words, but {DESIGN_FILE} says {words}; emit the design again")


def image_header(assignment_hash: str) -> str:
    """Return the line that a memory image of an assignment begins with; `$readmemh` skips it."""
    return f"// mxhw image of {assignment_hash}\n"


def _check_header(path: Path, text: bytes, assignment_hash: str) -> None:
    header = _IMAGE_HEADER.match(text)
    if header is None:
        raise InputError(f"{path} does not say which assignment it is an image of; emit the design again")
    if (of := header[1].decode()) != assignment_hash:
        both = f"of assignment {of[:_HASH_DIGITS]}, but {DESIGN_FILE} is of {assignment_hash[:_HASH_DIGITS]}"
        raise InputError(f"{path} is an image {both}; emit the design again")


@dataclass(frozen=True, kw_only=True)
class GemmDesign:
    """One GEMM node as a unit: y[m, n] = x[m, k] · w[n, k]^T on an array of `rows` × `columns` with `lanes` per PE.

    Attributes
    ----------
    node : str
        The graph node that it computes.
    top, verilog
        Top module, and the file names to compile.
    images : mapping of str to int
        Memory images that the simulation reads from its working directory, and the words that each must have.
    x_width, y_width : int
        Payload bits; an x beat is one chunk of k of a row tile, a y beat one row of a tile.
    accumulator_width : int
        Bits of one signed output; `exponent` is the power of two that one of its units stands for, before the
        scales of rows and tokens.
    cycles_stall_free : int
        Predicted cycles from the first accepted x beat to the last transferred y beat, both counted.
    idle_limit : int
        Cycles without a transfer after which the bench calls it a deadlock.
    """

    node: str
    unit: UnitName
    top: str
    verilog: tuple[str, ...]
    images: Mapping[str, int]
    weight_format: str
    input_format: str
    m: int
    n: int
    k: int
    rows: int
    columns: int
    lanes: int
    x_width: int
    x_beats: int
    y_width: int
    y_beats: int
    accumulator_width: int
    exponent: int
    cycles_stall_free: int
    idle_limit: int

    def __post_init__(self) -> None:
        check_identifier(self.top, "top")
        if self.unit not in get_args(UnitName):
            raise InputError(f"unit must be one of {', '.join(get_args(UnitName))}, not {self.unit!r}")
        for name in (*self.verilog, *self.images):
            if not _PLAIN_FILE.fullmatch(name):
                raise InputError(f"verilog and images must have plain file names, not {name!r}")
        for name in (
            "m",
            "n",
            "k",
            "rows",
            "columns",
            "lanes",
            "x_width",
            "x_beats",
            "idle_limit",
            "cycles_stall_free",
        ):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        expected = self.row_tiles * self.column_tiles * self.rows
        if self.y_beats != expected:
            raise InputError(f"y_beats must be {expected} (row tiles × column tiles × rows), not {self.y_beats}")
        if self.y_width != self.columns * self.accumulator_width:
            raise InputError(
                f"y_width must be {self.columns} columns × {self.accumulator_width} bits, not {self.y_width}"
            )

    @property
    def row_tiles(self) -> int:
        """Tiles of `rows` tokens."""
        return -(-self.m // self.rows)

    @property
    def column_tiles(self) -> int:
        """Tiles of `columns` output channels."""
        return -(-self.n // self.columns)

    def place(self, beat: int) -> tuple[int, int]:
        """Return the row, and the column of the lowest accumulator, of a y beat; either may lie in the padding."""
        tile, row = divmod(beat, self.rows)
        row_tile, column_tile = divmod(tile, self.column_tiles)
        return row_tile * self.rows + row, column_tile * self.columns

    def accumulators(self, word: int) -> list[int]:
        """Return the signed accumulators of a y beat, first column first."""
        bits, half = self.accumulator_width, 1 << (self.accumulator_width - 1)
        parts = ((word >> (column * bits)) & ((1 << bits) - 1) for column in range(self.columns))
        return [part - 2 * half if part >= half else part for part in parts]

    def to_json(self) -> str:
        """Return the text of design.json."""
        return json.dumps({"schema": _SCHEMA, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def load(cls, folder: Path) -> "GemmDesign":
        """Read `folder`/design.json; raise InputError if it is absent, not JSON, incomplete or contradicts itself."""
        path = folder / DESIGN_FILE
        try:
            record = json.loads(path.read_text())
        except OSError as error:
            raise InputError(
                f"cannot read {path}: {error.strerror}; is {folder} a folder that `mxhw emit` made?"
            ) from error
        except ValueError as error:
            raise InputError(f"{path} is not JSON ({error}); emit the design again") from error
        if not isinstance(record, dict) or record.pop("schema", None) != _SCHEMA:
            raise InputError(f"{path} is not a design of schema {_SCHEMA}; emit the design again")
        try:
            return cls(**_checked(record))
        except InputError as error:
            raise InputError(f"{path}: {error}; emit the design again") from error


def _checked(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record with exactly the fields of a design, each of its type."""
    known = {field.name: field.type for field in fields(GemmDesign)}
    if missing := known.keys() - record.keys():
        raise InputError(f"{min(missing)} is missing")
    if unknown := record.keys() - known.keys():
        raise InputError(f"unknown field {min(unknown)!r}")
    for name, kind in known.items():
        value = record[name]
        if name == "verilog":
            good = isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)
            record[name] = tuple(value) if good else value
        elif name == "images":
            good = isinstance(value, dict) and all(type(words) is int for words in value.values())
        elif kind is int:
            good = type(value) is int
        else:
            good = isinstance(value, str)
        if not good:
            raise InputError(f"{name} has the wrong type: {value!r}")
    return record
