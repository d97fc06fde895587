"""Constants per channel: a ROM that is walked through once a vector, in step with a pipeline.

One unit may serve several layers: the ROM then holds the constants of all, and a stream says whose a vector meets.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar, cast

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In, Member

from mxhw.errors import InputError
from mxhw.rtl_templates.checks import require, require_lanes
from mxhw.rtl_templates.function.pipeline import Pipeline
from mxhw.rtl_templates.memory import Rom

__all__ = ["beats_of", "channel_memory", "channel_word", "layer_member", "layer_specs", "layer_stream"]

SpecT = TypeVar("SpecT")


def beats_of(length: int, lanes: int) -> int:
    """Return the beats of a vector; InputError unless the lanes divide it."""
    require_lanes(lanes, length, "length")
    return length // lanes


def layer_specs(given: SpecT | Sequence[SpecT], *differ: str) -> tuple[SpecT, ...]:
    """Return what a unit was given for each layer, of a single one if that is no sequence.

    Raises
    ------
    InputError
        If there is no layer, or layers differ in another field than those in ``differ``.
    """
    if not isinstance(given, Sequence):
        return (given,)
    specs = tuple(given)
    require(len(specs) > 0, "spec", "a specification, or one per layer", given)
    for layer, spec in enumerate(specs):
        for each in fields(cast(Any, spec)):
            own, first = getattr(spec, each.name), getattr(specs[0], each.name)
            if each.name not in differ and own != first:
                raise InputError(
                    f"layers that share a unit must be equal in {each.name}: it is {first!r} in layer 0, {own!r} in "
                    f"layer {layer}"
                )
    return specs


def layer_member(layers: int | None) -> dict[str, Member]:
    """Return the stream that a unit of several layers takes the number of the layer from, an index a vector.

    It is looked at while the vector's beats meet their constants, and taken with the last of them.
    """
    return {} if layers is None else {"layer": In(stream.Signature(range(max(2, layers))))}


def layer_stream(unit: Any) -> Any:
    """Return that stream of a unit; None if it serves a single layer."""
    return getattr(unit, "layer", None)


def channel_memory(values: Sequence[Sequence[Any]], lanes: int) -> tuple[int, int]:
    """Return the words of the memory for constants [layers][channels], and the constants of a word.

    None are needed if all are equal; where they are equal within each layer, one a layer.
    """
    if len({value for layer in values for value in layer}) == 1:
        return 0, 0
    if all(len(set(layer)) == 1 for layer in values):
        return len(values), 1
    return len(values) * beats_of(len(values[0]), lanes), lanes


def channel_word(
    m: Module,
    name: str,
    values: Sequence[Sequence[int]],
    *,
    bits: int,
    lanes: int,
    pipeline: Pipeline,
    stage: int = 0,
    layer: Any = None,
) -> list[Value]:
    """Return the constants of the lanes of the beat that left the registers of a stage at the last edge with `advance`.

    Parameters
    ----------
    values : [layers][channels], unsigned or two's complement in ``bits``; the result is their bits. A single layer may
        have one for channels of any number.
    stage : of the pipeline; 0: the beat that entered it.
    layer : stream of the layer's number, which nothing enters the pipeline without; its ready is driven here.
    """
    mask = (1 << bits) - 1
    depth, together = channel_memory(values, lanes)
    equal = [Const(values[0][0] & mask, bits)] * lanes
    if layer is None and not depth:
        return equal
    beats = beats_of(len(values[0]), lanes)
    beat = Signal(range(max(2, beats)), name=f"{name}_beat")
    address: Value = beat
    # A layer's number may be gone when its last beats read: what they read is known as they enter, and waits with them.
    step = pipeline.leaves(stage) if layer is None and stage else pipeline.take
    if layer is not None:
        m.d.comb += layer.ready.eq(pipeline.take & (beat == beats - 1))
        number = layer.payload if depth == len(values) else layer.payload * beats + beat
        address = pipeline.register(number, f"{name}_address", stage) if depth else number
    with m.If(step):
        m.d.sync += beat.eq(Mux(beat == beats - 1, 0, beat + 1))
    if not depth:
        return equal
    flat = [value & mask for each in values for value in each[: depth // len(values) * together]]
    words = [sum(flat[at + i] << i * bits for i in range(together)) for at in range(0, len(flat), together)]
    m.submodules[name] = rom = Rom(width=together * bits, depth=depth, file=f"{name}.hex", init=words)
    m.d.comb += [rom.address.eq(address), rom.enable.eq(pipeline.advance)]
    word: Any = rom.data
    return [word[i % together * bits :][:bits] for i in range(lanes)]
