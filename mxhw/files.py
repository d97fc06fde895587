"""Writing files whole or not at all: beside their place first, then renamed into it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["cache_folder", "new_folder", "write_text"]


def cache_folder(name: str) -> Path:
    """Return the folder of what can be computed again: in $MXHW_CACHE, else $XDG_CACHE_HOME/mxhw or ~/.cache/mxhw."""
    base = os.environ.get("MXHW_CACHE")
    if base:
        return Path(base) / name
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mxhw" / name


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` (UTF-8) in one step; whoever reads sees the old file or the new one, never a part."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; when the block ends well it takes the place of `path` and all in there.

    If the block raises, `path` stays as it was, and nothing is left beside it.
    """
    path = path.resolve()
    beside, old = (path.with_name(f".{path.name}.{os.getpid()}.{kind}") for kind in ("new", "old"))
    beside.mkdir(parents=True)
    try:
        yield beside
        if path.exists():
            path.rename(old)
        try:
            beside.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
