"""What a design takes of its platform: estimates of steps and FIFOs from synthesised units.

How a figure comes about:

- Products are costed as GEMM units (:func:`mxhw.hardware.gemm_costs`): processing elements, decoders, drain, control
  and memories, each synthesised and counted; one that layers share has the memories of all, or of two where weights
  come through a port. On FPGAs they use no DSP block. The shift by a token's scale is not counted, nor are flip-flops.
- Everything else is a unit of the table at its measured parameters, times its lanes, times the ratio of the width that
  its size goes with (bits of an operand; the product of both operands' bits for a multiplier). What lanes share (a
  norm's root, a quantizer's control) is counted once a lane, so that wide units are overestimated. On FPGAs the
  measurement with DSP blocks counts.
- Attention is ``lanes`` INT8 multipliers with accumulators, and the softmax weighing without its memories in place of
  control and shifts; its division is a requantizer a lane.
- Memories are counted by depth and width (:mod:`mxhw.hardware.memories`); a unit that layers share has the constants
  of all.

Converters, forks, and the pointers of FIFOs are not counted. `bench/resources.py` compares estimates with synthesis.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mxhw.arithmetic.dataflow import (
    Activation,
    Add,
    AttentionScores,
    AttentionValues,
    AttentionWeights,
    Bias,
    Embedding,
    Folded,
    IntegerGraph,
    LayerNorm,
    Linear,
    Multiply,
    Operation,
    Quantize,
    ReLU,
    Requantize,
    RMSNorm,
    Rope,
)
from mxhw.hardware import GemmBatch, GemmUnit, GemmWork, Platform
from mxhw.hardware.components import Component, measured_units
from mxhw.hardware.cost import gemm_costs
from mxhw.hardware.memories import Memory, asic_area, fpga_blocks
from mxhw.passes.analysis.units import gemm_unit
from mxhw.passes.emit.dataflow.place import Placed
from mxhw.passes.emit.dataflow.registry import OperationTable, members_of
from mxhw.passes.emit.dataflow.top import DEFAULT_FIFO, Depths
from mxhw.rtl_templates.function.channels import channel_memory

__all__ = ["Resources", "fifo_resources", "linear_layers", "register_resources", "step_resources"]


@dataclass(frozen=True)
class Resources:
    """Amounts of a platform's resources, "area" or "lut", "dsp" and "bram", and "ff"; missing ones are 0."""

    amounts: Mapping[str, float]

    def __add__(self, other: "Resources") -> "Resources":
        names = {**self.amounts, **other.amounts}
        return Resources({name: self[name] + other[name] for name in names})

    def __getitem__(self, name: str) -> float:
        return self.amounts.get(name, 0.0)


@dataclass(frozen=True)
class Part:
    """A unit of the table so many times, and memories of (words, bits a word)."""

    unit: str
    times: float
    memories: tuple[tuple[int, int], ...] = ()
    keeps_tables: bool = True


Estimate = Callable[[Any, Placed], list[Part]]
_ESTIMATES: OperationTable[Estimate] = OperationTable()


def register_resources(*kinds: type[Operation], folded: bool = False) -> Callable[[Estimate], Estimate]:
    """Return a decorator that makes a function the estimate of classes of operations (and of their subclasses)."""
    return _ESTIMATES.adder(*kinds, folded=folded)


def step_resources(
    operation: Operation, placed: Placed, platform: Platform, *, weights_inside: bool = True
) -> Resources:
    """Return what a step's component takes; an operation without an estimate takes nothing.

    ``weights_inside``: the weights of products lie in memories of the design.
    """
    if layers := linear_layers(operation):
        return _product(layers, placed, platform, weights_inside)
    estimate = _ESTIMATES.find(operation)
    parts = [] if estimate is None else estimate(operation, placed)
    return sum((_part(part, platform) for part in parts), Resources({}))


def fifo_resources(graph: IntegerGraph, placed: Mapping[str, Placed], depths: Depths, platform: Platform) -> Resources:
    """Return what all FIFOs take: registers up to two beats, above it memories."""
    total = Resources({})
    for step in graph.steps.values():
        for source, port in zip(step.inputs, placed[step.name].inputs, strict=True):
            bits = placed[source].output.bits if source in placed else port.bits
            depth = depths.get((source, step.name), DEFAULT_FIFO)
            if depth <= DEFAULT_FIFO:
                total += _part(Part("skid_buffer", bits / 16), platform)
            else:
                total += _memory(depth - 1, bits, platform) + _part(Part("skid_buffer", bits / 32), platform)
    return total


def _part(part: Part, platform: Platform) -> Resources:
    measured = _measured(part.unit, platform)
    total = Resources({})
    for words, bits in part.memories:
        total += _memory(words, bits, platform)
    if part.keeps_tables and not part.memories and measured.memory_bits:
        total += _memory(max(1, measured.memory_bits // 18), 18, platform)
    if platform.kind == "asic":
        return total + Resources({"area": measured.size * part.times, "ff": measured.flip_flops * part.times})
    best = measured.with_dsp or measured
    found = {"lut": best.size * part.times, "ff": best.flip_flops * part.times, "dsp": (best.dsp or 0) * part.times}
    return total + Resources(found)


def _measured(name: str, platform: Platform) -> Component:
    return measured_units(platform.library)[name]


def _memory(words: int, bits: int, platform: Platform) -> Resources:
    none = np.zeros((1, 1), dtype=np.int64)
    memory = Memory(depth=none + words, width=none + bits, reads=none, writes=none)
    if platform.kind == "asic":
        return Resources({"area": float(asic_area(memory, platform).sum())})
    blocks, luts = fpga_blocks(memory, platform)
    return Resources({"bram": float(blocks.sum()), "lut": float(luts.sum())})


def linear_layers(operation: Operation) -> tuple[Linear, ...]:
    """Return the products that a product's unit serves, one a layer; nothing for other operations."""
    members = operation.members if isinstance(operation, Folded) else (operation,)
    return tuple(member for member in members if isinstance(member, Linear))


def _product(layers: tuple[Linear, ...], placed: Placed, platform: Platform, weights_inside: bool) -> Resources:
    sizes, first = placed.parallelism, layers[0]
    rows, columns = sizes["rows"], sizes["columns"]
    work = GemmWork(m=rows, n=first.channels, k=first.x.length)
    unit = _gemm_unit(first, placed)
    costs = gemm_costs(GemmBatch([unit], [work]), rows, np.array([[columns]]), platform)
    amounts = {name: float(costs.resource(name)[0, 0]) for name in platform.budget}
    if weights_inside and len(layers) == 1:
        return Resources(amounts)
    # The costs have the memories of one layer.
    counted = gemm_memory(placed, platform, layers=1)
    without = Resources({name: max(0.0, amount - counted[name]) for name, amount in amounts.items()})
    kept = placed.component.gemm.kept_layers  # type: ignore[attr-defined]
    return without + gemm_memory(placed, platform, layers=kept) if weights_inside else without


def _gemm_unit(operation: Linear, placed: Placed) -> GemmUnit:
    """Return what a product's array is costed as; one that formats share has the type that has all their values."""
    gemm: Any = placed.component.gemm  # type: ignore[attr-defined]
    x_format, w_format, lanes = operation.input_format, operation.weight_format, placed.parallelism["lanes"]
    if operation.unit == "dialect":
        unit = gemm_unit(x_format, w_format, operation.x.length, exponents=gemm.weight_exponents, lanes=lanes)
    else:
        unit = gemm_unit(x_format, w_format, operation.x.length, lanes=lanes)
    assert unit is not None, "the operation was made for a pair of formats that has a unit"
    if operation.unit == "dialect" or gemm.weight_type.name == unit.weight_type:
        return unit
    return replace(
        unit,
        weight_type=gemm.weight_type.name,
        terms=gemm.terms,
        code_bits=gemm.code_bits,
        metadata_bits=gemm.metadata_width // gemm.shape.columns,
        accumulator_bits=gemm.accumulator_width,
    )


def gemm_memory(placed: Placed, platform: Platform, *, layers: int) -> Resources:
    """Return what the memories of a product's weights take for so many of the layers that it serves."""
    gemm: Any = placed.component.gemm  # type: ignore[attr-defined]
    depths = (depth // gemm.kept_layers * layers for depth in (gemm.weights_depth, gemm.metadata_depth))
    memories = zip(depths, (gemm.weights_width, gemm.metadata_width), strict=True)
    return sum((_memory(depth, width, platform) for depth, width in memories if depth), Resources({}))


def _lanes(placed: Placed) -> int:
    return placed.output.lanes


def _constants(values: Sequence[Sequence[Any]], placed: Placed, bits: int) -> tuple[tuple[int, int], ...]:
    """Return the memory for constants [layers][channels], if one is needed."""
    words, together = channel_memory(values, _lanes(placed))
    return ((words, together * bits),) if words else ()


@register_resources(Requantize)
@register_resources(Requantize, folded=True)
def _requantize(operation: Operation, placed: Placed) -> list[Part]:
    layers = members_of(operation)
    spec, length = layers[0].spec, layers[0].x.length
    multipliers = [each.spec.multipliers * (length // each.spec.length) for each in layers]
    memories = _constants(multipliers, placed, spec.multiplier_bits)
    return [Part("requantize", _lanes(placed) * spec.widths.reduced / 32, memories, keeps_tables=False)]


@register_resources(Bias)
@register_resources(Bias, folded=True)
def _bias(operation: Operation, placed: Placed) -> list[Part]:
    layers = members_of(operation)
    bits = layers[0].x.bits
    memories = _constants([each.values for each in layers], placed, bits)
    return [Part("add", _lanes(placed) * bits / 24, memories)]


@register_resources(Add)
def _add(operation: Add, placed: Placed) -> list[Part]:
    return [Part("add", _lanes(placed) * operation.spec.left_bits / 24)]


@register_resources(Multiply)
def _multiply(operation: Multiply, placed: Placed) -> list[Part]:
    return [Part("multiply", _lanes(placed) * operation.spec.left_bits * operation.spec.right_bits / (18 * 16))]


@register_resources(ReLU)
def _relu(operation: ReLU, placed: Placed) -> list[Part]:
    return [Part("relu", _lanes(placed) * operation.x.bits / 16)]


@register_resources(Activation)
def _activation(operation: Activation, placed: Placed) -> list[Part]:
    table = operation.spec.table
    unit = "silu" if operation.spec.function == "silu" else "gelu"
    tables = ((table.entries, table.word_bits),) * _lanes(placed)
    return [Part(unit, _lanes(placed) * operation.spec.input_bits / 16, tables)]


@register_resources(RMSNorm, LayerNorm)
@register_resources(RMSNorm, LayerNorm, folded=True)
def _norm(operation: Operation, placed: Placed) -> list[Part]:
    layers = members_of(operation)
    spec, lanes = layers[0].spec, _lanes(placed)
    # Two stores of a vector and a result's delay, and the gains.
    stores = ((spec.length // lanes + 16, lanes * spec.input_bits),) * 2
    gains = _constants([each.spec.gains for each in layers], placed, spec.gain_bits)
    return [Part(operation.kind, lanes * spec.input_bits / 24, stores + gains)]


@register_resources(Rope)
def _rope(operation: Rope, placed: Placed) -> list[Part]:
    spec = operation.spec
    memories = ((spec.positions * spec.pairs, 2 * spec.table_bits), (2 * spec.span, spec.input_bits))
    return [Part("rope", spec.input_bits / 16, (*memories, memories[1]))]


@register_resources(Quantize)
def _quantize(operation: Quantize, placed: Placed) -> list[Part]:
    codes, lanes = operation.y, _lanes(placed)
    words = 2 * codes.block // lanes
    if codes.kind == "dialect":
        return [Part("dialect_encoder", lanes, ((words, 16 * lanes), (words, 6 * lanes)))]
    return [Part("integer_encoder", lanes, ((words, 16 * lanes),))]


@register_resources(Embedding)
def _embedding(operation: Embedding, placed: Placed) -> list[Part]:
    spec, lanes = operation.spec, _lanes(placed)
    codes = (spec.rows * spec.length // lanes, lanes * spec.code_bits)
    return [Part("embedding", lanes, (codes, (spec.rows, spec.multiplier_bits)))]


@register_resources(AttentionWeights)
def _attention_weights(operation: AttentionWeights, placed: Placed) -> list[Part]:
    spec, keys = operation.x.spec, operation.x.most
    table = (spec.exp2.entries, spec.exp2.word_bits)
    return [Part("softmax_weights", spec.score_bits / 24, ((keys + 1, spec.score_bits), table))]


@register_resources(AttentionScores)
def _attention_scores(operation: AttentionScores, placed: Placed) -> list[Part]:
    query, key, lanes = operation.query, operation.key, placed.inputs[0].lanes
    memories = (
        (operation.banks * operation.y.keys * key.length // lanes, lanes * key.bits),
        (2 * query.length // lanes, lanes * query.bits),
    )
    return [Part("int_mac", lanes, memories), Part("softmax_weights", 1, keeps_tables=False)]


@register_resources(AttentionValues)
def _attention_values(operation: AttentionValues, placed: Placed) -> list[Part]:
    value, lanes = operation.value, placed.inputs[1].lanes
    keys, banks = operation.weights.keys, operation.banks
    sums = lanes * operation.weights.spec.value_sum_bits(operation.weights.most, value.bits)
    memories = [(banks * keys * value.length // lanes, lanes * value.bits), (value.block // lanes, sums)]
    unit: Any = placed.component
    if unit.scales is not None:
        memories.append((banks * value.blocks, unit.scales.row_bits))
    # A weight has twice the bits of a code; each output lane divides like a requantizer, with the softmax's table.
    return [
        Part("int_mac", 2 * lanes, tuple(memories)),
        Part("requantize", _lanes(placed), keeps_tables=False),
        Part("softmax_weights", 1, keeps_tables=False),
    ]
