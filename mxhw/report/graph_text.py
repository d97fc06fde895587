"""How sizes, names and errors of nodes are written on the graph's page."""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING

from mxhw.ir import Shape, Size

if TYPE_CHECKING:
    from mxhw.passes.analysis import Deviation, NodeError

__all__ = ["count", "error_text", "error_words", "heat", "shape_text", "short_name", "size_text"]

_POWERS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_UNITS = ((10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))
CLEAN_DB = 8 * 6.02  # an error as small as eight good bits leave has no tint; a bit is worth 6.02 dB


def count(number: int, thing: str) -> str:
    """Return "1 node" or "2 nodes"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def size_text(size: Size) -> str:
    """Return an integer with three digits and a prefix (1.68 M), or an expression as it is printed (64·b·s²)."""
    if isinstance(size, int):
        unit, prefix = next(((u, p) for u, p in _UNITS if size >= u), (1, ""))
        return f"{size / unit:.3g} {prefix}" if prefix else str(size)
    powers = re.sub(r"\*\*(\d+)", lambda match: match[1].translate(_POWERS), str(size))
    return powers.replace("*", "·")


def shape_text(shape: Shape) -> str:
    """Return "[b, s, 64]", in one piece that is not broken over lines."""
    sizes = (str(size) if isinstance(size, int) else size_text(size) for size in shape)
    return "[" + ",\u00a0".join(sizes) + "]"


def short_name(name: str, layer: str | None) -> str:
    """Return a node's name within its layer; the whole of it for a node of elsewhere."""
    return name.removeprefix(f"{layer}.") if layer is not None else name


def heat(error: Deviation) -> str:
    """Return the style that tints by an error: from nothing at :data:`CLEAN_DB` to full at 0 dB and below."""
    return f"--heat:{min(1.0, max(0.0, 1 - error.sqnr / CLEAN_DB)):.2f}"


def error_words(error: Deviation) -> str:
    """Return "19.4 dB 0.54" as HTML: the ratio, and the largest difference in small print; or "exact"."""
    if error.exact:
        return "exact"
    ratio = f"{error.sqnr:.1f}" if isfinite(error.sqnr) else "∞" if error.sqnr > 0 else "−∞"
    return f"{ratio} dB <small>{error.largest:.2g}</small>"


def error_text(errors: NodeError) -> str:
    """Return the two errors of a node as HTML, the own one tinted."""
    own, accumulated = errors.local, errors.accumulated
    if own.exact and accumulated.exact:
        return "exact"
    return (
        f"<div><small>own</small> <span class='hot' style='{heat(own)}'>{error_words(own)}</span></div>"
        f"<div><small>acc.</small> {error_words(accumulated)}</div>"
    )
