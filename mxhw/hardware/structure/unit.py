"""What every unit of a design tells the cost model of itself: plain sizes, and its memories.

A unit is one component of `rtl_templates` at its parameters. Records hold integers only, so that one is made alike from
an emitted component and from nothing but a model's configuration. How long a unit takes stands in
:mod:`mxhw.hardware.cycles`, what it takes of a platform in :mod:`mxhw.hardware.sizes`, and what it spends in
:mod:`mxhw.hardware.energy`: one function a class of records each, so that a kind of one's own is a record and three
functions.
"""

from dataclasses import dataclass

__all__ = ["QUEUE_WORDS", "MemoryShape", "Unit", "queue", "two_halves"]

QUEUE_WORDS = 32  # a queue of fewer words is made of registers, or of the LUTs around it, and counts as logic


@dataclass(frozen=True)
class MemoryShape:
    """A memory of a unit.

    Attributes
    ----------
    name : of what it holds: "weights", "metadata", "constants", "keys" and so on.
    words, bits : how many words, and bits of a word.
    reads, writes : words read and written for each token that passes the unit; those of a KV cache that grow with the
        token's position are counted by :mod:`mxhw.hardware.energy`.
    constant : what it holds is known beforehand (a ROM, or a memory with initial values).
    """

    name: str
    words: int
    bits: int
    reads: float = 0.0
    writes: float = 0.0
    constant: bool = False

    @property
    def capacity(self) -> int:
        """Bits that it holds."""
        return self.words * self.bits


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Base of all records.

    ``has_rtl`` is False for what is charged though mxhw has no component for it: reports name such units.
    """

    @property
    def has_rtl(self) -> bool:
        """Whether `rtl_templates` has a component for it."""
        return True

    def memories(self) -> tuple[MemoryShape, ...]:
        """Return the memories that hold more than a register or two."""
        return ()


def queue(name: str, depth: int, bits: int, *, passes: float = 0.0) -> tuple[MemoryShape, ...]:
    """Return the memory of a queue of ``depth`` beats, the last of which stands in a register; none if it is short.

    ``passes``: beats that pass it for each token.
    """
    words = depth - 1
    return (MemoryShape(name, words, bits, reads=passes, writes=passes),) if words >= QUEUE_WORDS else ()


def two_halves(beats: int) -> int:
    """Return the words of a memory of two halves of a power of two, each for so many beats."""
    return 2 << max(0, beats - 1).bit_length()
