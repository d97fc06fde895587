"""One unit for operations of several layers: an index stream says whose constants a token meets."""

from dataclasses import dataclass
from typing import Any

import torch

from mxhw.arithmetic.dataflow.operation import Operation
from mxhw.arithmetic.dataflow.streams import BlockValues, Indices, StreamType, Words
from mxhw.errors import InputError

__all__ = ["Folded"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Folded(Operation):
    """Operations of one class, one a layer, that differ in constants only.

    The last input is the number of the layer, one index a token: the token gets what that member computes. Behind it
    comes, where ``words`` is given, the stream that brings the constants of the layers in the order in which tokens use
    them: a layer's once for all tokens of it that follow each other. They are those of the members (how they are laid
    out is the unit's own affair), so that :meth:`run` does not look at them.

    Attributes
    ----------
    members : one a layer.
    words : constants that come through a port; None: they lie in memories of the unit.
    """

    members: tuple[Operation, ...]
    words: Words | None = None

    def __post_init__(self) -> None:
        if not self.members:
            raise InputError("a folded operation needs one member a layer")
        first = self.members[0]
        for index, member in enumerate(self.members):
            if type(member) is not type(first):
                raise InputError(f"layer {index} is a {member.kind}, layer 0 a {first.kind}; they cannot share a unit")
            if (member.inputs, member.output) != (first.inputs, first.output):
                raise InputError(f"the streams of layer {index} of a {first.kind} are not those of layer 0")

    @property
    def kind(self) -> str:  # type: ignore[override]
        """That of the members."""
        return self.members[0].kind

    @property
    def first(self) -> Operation:
        """The member of layer 0."""
        return self.members[0]

    @property
    def inputs(self) -> tuple[StreamType, ...]:
        layers = Indices(count=len(self.members))
        return (*self.first.inputs, layers) if self.words is None else (*self.first.inputs, layers, self.words)

    @property
    def output(self) -> StreamType:
        return self.first.output

    def run(self, *values: Any) -> Any:
        """Return what each token's own member gives; tokens of other layers are not computed twice but left out.

        Values are [1, tokens, ...].
        """
        *operands, layers = values if self.words is None else values[:-1]
        parts, places = [], []
        for index, member in enumerate(self.members):
            chosen = (layers[0] == index).nonzero().flatten()
            if len(chosen):
                parts.append(member.run(*(_tokens(operand, chosen) for operand in operands)))
                places.append(chosen)
        back = torch.argsort(torch.cat(places))
        if isinstance(parts[0], BlockValues):
            dialect = None if parts[0].dialect is None else torch.cat([part.dialect for part in parts], 1)[:, back]
            codes, scale = (
                torch.cat([getattr(part, name) for part in parts], 1)[:, back] for name in ("codes", "scale")
            )
            return BlockValues(codes, scale, dialect)
        return torch.cat(parts, 1)[:, back]


def _tokens(value: Any, chosen: torch.Tensor) -> Any:
    if isinstance(value, BlockValues):
        dialect = None if value.dialect is None else value.dialect[:, chosen]
        return BlockValues(value.codes[:, chosen], value.scale[:, chosen], dialect)
    return value[:, chosen]
