"""What the BitMoD paper's cost model leaves out, in the order in which :mod:`.bitmod_stricter` puts it right."""

from dataclasses import dataclass

__all__ = ["ALL_CORRECTIONS", "CORRECTIONS", "Correction", "Corrections", "applied_up_to"]


@dataclass(frozen=True, kw_only=True)
class Corrections:
    """Which corrections are applied; see :data:`CORRECTIONS`."""

    heads: bool = False
    cache: bool = False
    growing: bool = False
    bits: bool = False
    apart: bool = False
    waits: bool = False
    array: bool = False
    edges: bool = False
    ports: bool = False


@dataclass(frozen=True)
class Correction:
    """One rule that is changed: the field of :class:`Corrections`, its title, and what changes and why."""

    field: str
    title: str
    why: str


CORRECTIONS = (
    Correction(
        "heads",
        "attention by head",
        "each head's queries meet its own keys and values, those of a group together; keys and values are read once",
    ),
    Correction(
        "cache",
        "keys and values in INT8",
        "as the paper says of BitMoD: half the traffic, but a step takes 4 cycles, as 8 bits do, not the weights'",
    ),
    Correction("growing", "the cache grows", "the n-th token after the prompt meets 256 + n keys, not 256"),
    Correction(
        "bits",
        "all bits of a format",
        "selectors of special values, 8-bit scales of groups, a scale a row; in the cache a scale a token and head",
    ),
    Correction(
        "apart", "heads are apart in the buffers", "a head's keys and queries fit; only what does not is read again"
    ),
    Correction(
        "waits",
        "a full buffer cannot take its next part",
        "where neither operand fits, a part of one fills its buffer: work waits while the next part takes its place",
    ),
    Correction(
        "array",
        "the array fills and drains",
        "tokens are buffered first, scales multiplied bit by bit, results leave row by row; traffic hides most of it",
    ),
    Correction(
        "edges",
        "the first and the last tile are not hidden",
        "work begins when a product's first tile has come; the last one's work and results come after all traffic",
    ),
    Correction(
        "ports",
        "a step reads all of its bits",
        "energy only: ports of a serial array are half a step wide, but are charged once a step",
    ),
)
ALL_CORRECTIONS = Corrections(**{each.field: True for each in CORRECTIONS})


def applied_up_to(count: int) -> Corrections:
    """Return the first ``count`` of the corrections."""
    return Corrections(**{each.field: index < count for index, each in enumerate(CORRECTIONS)})
