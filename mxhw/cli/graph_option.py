"""The option `--graph FILE` of commands that write the page of a graph."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from mxhw.errors import InputError

__all__ = ["GraphOption"]


def _writable(file: Path | None) -> Path | None:
    """Refuse a place where no file can be written when the option is read: before the work, not after it."""
    if file is None:
        return None
    if file.is_dir():
        raise InputError(
            f"--graph {str(file)!r} is a folder; name a file in it, for instance {str(file / 'graph.html')!r}"
        )
    if not file.parent.is_dir() or not os.access(file.parent, os.W_OK):
        raise InputError(
            f"--graph {str(file)!r} cannot be written: {str(file.parent)!r} is no folder that you may write"
        )
    return file


GraphOption = Annotated[
    Path | None,
    typer.Option(
        "--graph",
        metavar="FILE",
        callback=_writable,
        help="Write the graph as one HTML page: every node with its shapes, work, formats and errors.",
    ),
]
