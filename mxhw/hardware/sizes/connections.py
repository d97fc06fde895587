"""What stands between the steps of a design: forks, queues and converters, as records.

A stream that several steps read has a fork; each reader has a queue of beats of the stream, and behind it, where it
takes another number of elements a beat, a converter. The bits of a beat follow from the record of who gives it, or for
inputs of the design, of who takes it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mxhw.errors import InputError
from mxhw.hardware.sizes.features import address
from mxhw.hardware.sizes.fitted import unit_sizes
from mxhw.hardware.sizes.resources import NOTHING, Resources
from mxhw.hardware.structure import (
    Control,
    Converter,
    Design,
    Encoder,
    Fifo,
    Fork,
    Scores,
    SoftmaxWeights,
    Step,
    Unit,
    Values,
)

if TYPE_CHECKING:  # platforms have resources, too
    from mxhw.hardware.platform import Platform

__all__ = ["Beat", "Connection", "connections", "design_logic", "output_beat", "placed_connections"]

_INDEX_BITS = 16  # of an index of which a record of control says nothing


@dataclass(frozen=True)
class Beat:
    """Payload of a stream: ``lanes`` elements of ``bits``, and ``beside`` bits that belong to all of them."""

    lanes: int
    bits: int
    beside: int = 0

    @property
    def payload(self) -> int:
        """Bits of a beat."""
        return self.lanes * self.bits + self.beside


def design_logic(design: Design, platform: "Platform") -> Resources:
    """Return the logic of a whole design: its units and what stands between them, without memories."""
    units = (step.unit for step in design.steps.values())
    return sum((unit_sizes(unit, platform) for unit in (*units, *connections(design))), NOTHING)


def connections(design: Design) -> Iterator[Unit]:
    """Yield a design's forks, queues and converters."""
    for each in placed_connections(design):
        yield each.unit


@dataclass(frozen=True)
class Connection:
    """What stands in a stream, and whose it is.

    Attributes
    ----------
    source : of the stream.
    owner : the source of a fork, the reader of a queue or a converter.
    """

    unit: Unit
    source: str
    owner: str


def placed_connections(design: Design) -> Iterator[Connection]:
    """Yield a design's forks, queues and converters with their places."""
    for name in (*design.inputs, *design.steps):
        readers = [
            (step, place)
            for step in design.steps.values()
            for place, source in enumerate(step.inputs)
            if source == name
        ]
        leaves = design.outputs.count(name)
        if not readers:
            continue
        beat = (
            output_beat(design.steps[name]) if name in design.steps else _input_beat(*readers[0], design.inputs[name])
        )
        if len(readers) + leaves > 1:
            yield Connection(Fork(readers=len(readers) + leaves, bits=beat.payload), name, name)
        for step, place in readers:
            depth = design.depth(name, step.name)
            if depth:
                yield Connection(Fifo(depth=depth, bits=beat.payload), name, step.name)
            if step.lanes_in[place] != beat.lanes:
                converter = Converter(
                    given=beat.lanes, lanes=step.lanes_in[place], element_bits=beat.bits, beside_bits=beat.beside
                )
                yield Connection(converter, name, step.name)


def output_beat(step: Step) -> Beat:
    """Return the beat that a step gives."""
    unit, lanes = step.unit, step.lanes_out
    match unit:
        case Encoder():
            return Beat(lanes, unit.code_bits, unit.metadata_bits)
        case Scores():
            return Beat(1, unit.score_bits, 1)
        case SoftmaxWeights():
            total = ((1 << unit.weight_bits - 1) * unit.most).bit_length()
            return Beat(1, 2 * unit.weight_bits + (unit.weight_bits + 1).bit_length() + total, 1)
        case Control():
            if unit.kind in ("pass_order", "token_select", "take_share"):
                return Beat(1, unit.bits)
            return Beat(lanes, unit.bits) if unit.kind in ("enter", "keep") else Beat(1, _INDEX_BITS)
    bits = getattr(unit, "output_bits", None) or getattr(unit, "bits", None)
    if bits is None:
        raise InputError(f"step {step.name}: the beats of {type(unit).__name__} are not known: it has no output_bits")
    return Beat(lanes, bits)


def _input_beat(step: Step, place: int, lanes: int) -> Beat:
    """Return the beat of an input of a design, from a step that reads it at this place."""
    unit = step.unit
    if isinstance(unit, Scores | Values) and place > 1:  # behind queries and keys, weights and values
        return Beat(1, max(1, address(unit.keys if place == 2 else unit.banks)))
    names = ("left_bits", "right_bits") if place == 0 else ("right_bits",)
    if place == 0:
        names = ("input_bits", "bits", *names)
    elif hasattr(unit, "positions"):
        return Beat(1, max(1, address(unit.positions)))
    bits = next((getattr(unit, name) for name in names if hasattr(unit, name)), _INDEX_BITS)
    return Beat(lanes, bits)
