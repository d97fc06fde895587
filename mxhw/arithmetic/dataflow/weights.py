"""Weights that come through a port of the design: every unit takes its share of the words of each layer."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mxhw.arithmetic.dataflow.operation import Operation
from mxhw.arithmetic.dataflow.streams import Words
from mxhw.arithmetic.functions.checks import check_integer
from mxhw.errors import InputError

__all__ = ["TakeShare"]


@dataclass(frozen=True, eq=False, kw_only=True)
class TakeShare(Operation):
    """One share of the words of each layer; the others are dropped.

    Attributes
    ----------
    share : its number in ``x.shares``.
    cycles : in which the unit behind takes the share, at least one a beat; None: as many. For predictions only.
    """

    kind: ClassVar[str] = "take_share"
    x: Words
    share: int
    cycles: int | None = None

    def __post_init__(self) -> None:
        check_integer("share", self.share, 0)
        if self.share >= len(self.x.shares):
            raise InputError(f"share must be below the {len(self.x.shares)} shares of the words, not {self.share!r}")

    @property
    def start(self) -> int:
        """Beats of a layer before the share."""
        return sum(self.x.shares[: self.share])

    @property
    def count(self) -> int:
        """Beats of the share."""
        return self.x.shares[self.share]

    @property
    def inputs(self) -> tuple[Words]:
        return (self.x,)

    @property
    def output(self) -> Words:
        return Words(bits=self.x.bits, shares=(self.count,))

    def run(self, words: Tensor) -> Tensor:
        return words[:, :, self.start : self.start + self.count]
