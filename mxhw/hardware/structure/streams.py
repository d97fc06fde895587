"""What connects units, and what controls a folded design."""

from dataclasses import dataclass
from typing import Literal

from mxhw.hardware.structure.unit import MemoryShape, Unit, queue

__all__ = ["Control", "Converter", "Fifo", "Fork", "Loader"]


@dataclass(frozen=True, kw_only=True)
class Fifo(Unit):
    """A queue of ``depth`` beats of ``bits``: registers, or a memory."""

    depth: int
    bits: int

    def memories(self) -> tuple[MemoryShape, ...]:
        return queue("queue", self.depth, self.bits)


@dataclass(frozen=True, kw_only=True)
class Fork(Unit):
    """A stream for ``readers`` readers; a register a reader."""

    readers: int
    bits: int


@dataclass(frozen=True, kw_only=True)
class Converter(Unit):
    """Beats of ``given`` lanes to beats of ``lanes``, of elements of ``element_bits``.

    ``beside_bits``: what a beat has beside its elements (the scale of codes), which travels with every group of them.
    """

    given: int
    lanes: int
    element_bits: int
    beside_bits: int = 0


@dataclass(frozen=True, kw_only=True)
class Loader(Unit):
    """Brings the words of a memory port into the memories of a product: ``port`` bits a cycle into ``width``."""

    port: int
    width: int


@dataclass(frozen=True, kw_only=True)
class Control(Unit):
    """A unit of a folded language model's control.

    Attributes
    ----------
    kind : which one.
    lanes, bits : elements of a beat, bits of an element (0 where there are none).
    words : of the memory that it has, of ``word_bits``.
    """

    kind: Literal["pass_order", "field", "token_select", "enter", "keep", "arg_max", "take_share"]
    lanes: int = 1
    bits: int = 0
    words: int = 0
    word_bits: int = 0

    def memories(self) -> tuple[MemoryShape, ...]:
        return (MemoryShape("requests", self.words, self.word_bits),) if self.words else ()
