"""ASIC cell libraries: liberty files (.lib, .lib.gz) or a folder of them, checked before anything is mapped to them."""

import gzip
import re
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mxhw.errors import InputError
from mxhw.synthesis.yosys import YosysError, run_yosys

__all__ = ["Library", "open_library"]

_FLIP_FLOP = re.compile(rb"^\s*ff\s*\(", re.MULTILINE)


@dataclass(frozen=True)
class Library:
    """An ASIC cell library.

    Attributes
    ----------
    name : of the file or folder, without suffixes.
    files : plain liberty files, absolute paths.
    """

    name: str
    files: tuple[Path, ...]

    @cached_property
    def sequential(self) -> tuple[bool, ...]:
        """Whether each of the files has flip-flops."""
        return tuple(bool(_FLIP_FLOP.search(file.read_bytes())) for file in self.files)

    def place(self, folder: Path) -> list[str]:
        """Link the files into ``folder``, where yosys runs; return their names there (yosys allows no spaces)."""
        names = [f"cells{index}.lib" for index in range(len(self.files))]
        for name, file in zip(names, self.files, strict=True):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(file)
        return names


def open_library(source: Path, folder: Path) -> Library:
    """Return the library at ``source``, its compressed files unpacked into ``folder``.

    Raises
    ------
    InputError
        If there is no liberty file, or one cannot be unpacked or parsed; the message names it.
    """
    files = sorted(source.glob("*.lib")) + sorted(source.glob("*.lib.gz")) if source.is_dir() else [source]
    if not files or not all(file.is_file() for file in files):
        raise InputError(f"no liberty file at {source}; give a .lib or .lib.gz file, or a folder of them")
    folder.mkdir(parents=True, exist_ok=True)
    library = Library(_stem(source), tuple(_plain(file, folder / f"{_stem(file)}.lib") for file in files))
    for name, file in zip(library.place(folder), files, strict=True):
        try:
            run_yosys([f"read_liberty -lib -ignore_miss_func {name}"], folder)
        except YosysError as error:
            raise InputError(f"cannot read the liberty file {file}: {error.complaint}") from None
        if not re.search(rb"^\s*cell\s*\(", (folder / name).read_bytes(), re.MULTILINE):
            raise InputError(f"cannot read the liberty file {file}: there is no cell in it")
    return library


def _stem(source: Path) -> str:
    return re.sub(r"(\.lib)?(\.gz)?$", "", source.resolve().name)


def _plain(file: Path, unpacked: Path) -> Path:
    """Return a liberty file as plain text."""
    if file.suffix != ".gz":
        return file.resolve()
    try:
        unpacked.write_bytes(gzip.decompress(file.read_bytes()))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot unpack the liberty file {file}: {error}") from None
    return unpacked.resolve()
