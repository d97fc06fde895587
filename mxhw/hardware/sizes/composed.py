"""Units without RTL, put together from measured ones."""

from collections.abc import Mapping
from dataclasses import replace

from mxhw.hardware.sizes.fitted import register_composition
from mxhw.hardware.structure import Add, Control, Fifo, Hadamard, Permute, Scores, Unit, Values

__all__: list[str] = []

_DIALECT_OPERAND = 5  # bits of a decoded element of DialectFP4: sign and magnitude


@register_composition(Hadamard)
def _hadamard(unit: Hadamard) -> Mapping[Unit, float]:
    """Return log2(order) stages of a registered sum a lane, each a bit wider, and the addresses of a double buffer."""
    stages = (unit.order - 1).bit_length()
    parts: dict[Unit, float] = {_addresses(unit.order // unit.lanes, unit.lanes * unit.bits): 1}
    for stage in range(stages):
        bits = unit.bits + stage
        total = Add(length=unit.length, lanes=unit.lanes, left_bits=bits, right_bits=bits, output_bits=bits + 1)
        parts[total] = parts.get(total, 0) + 1
    return parts


@register_composition(Permute)
def _permute(unit: Permute) -> Mapping[Unit, float]:
    """Return the addresses of a double buffer, and where a beat has several lanes, a multiplexer from each to each."""
    parts: dict[Unit, float] = {_addresses(unit.beats, unit.lanes * unit.bits): 1}
    if unit.lanes > 1:
        parts[Control(kind="enter", lanes=unit.lanes, bits=unit.bits)] = unit.lanes - 1
    return parts


def _addresses(beats: int, bits: int) -> Unit:
    """Return a queue in memory: counters of what is written and read, and of what is there."""
    return Fifo(depth=max(64, 2 * beats), bits=bits)


@register_composition(Scores)
@register_composition(Values)
def _attention(unit: Scores | Values) -> Mapping[Unit, float]:
    """Return integers as wide as decoded elements for DialectFP4; its decoders, a few gates a lane, are not counted.

    A cache outside has the same logic: what addresses it inside addresses two tokens and the port.
    """
    if not unit.dialect:
        return {unit: 1}
    if isinstance(unit, Scores):
        wide: Unit = replace(unit, dialect=False, code_bits=_DIALECT_OPERAND, query_bits=_DIALECT_OPERAND)
    else:
        wide = replace(unit, dialect=False, code_bits=_DIALECT_OPERAND)
    return {wide: 1}
