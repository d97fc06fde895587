"""From placed components to the cost model's records: a function a class of operations.

What a record says of a unit (widths, words of memories, latency of tables) is read from the component and from its
operation, which define it. An operation of a user's own gets a record in the same way:

    @register_record(Tanh)
    def tanh(operation: Tanh, placed: Placed) -> Unit:
        return Activation(function="silu", length=operation.x.length, lanes=placed.output.lanes, ...)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mxhw.arithmetic import dataflow as ops
from mxhw.errors import InputError
from mxhw.hardware.structure import (
    Activation,
    Add,
    Bias,
    Control,
    Design,
    Embedding,
    Encoder,
    Multiply,
    Norm,
    Product,
    ReLU,
    Requantize,
    Rope,
    Scores,
    SoftmaxWeights,
    Step,
    Unit,
    Values,
    WeightStorage,
)
from mxhw.passes.emit.dataflow.beats import payload_bits
from mxhw.passes.emit.dataflow.place import Placed, input_lanes
from mxhw.passes.emit.dataflow.registry import OperationTable, members_of
from mxhw.passes.emit.dataflow.top import Depths, Top
from mxhw.rtl_templates.dataflow.payloads import SCALE_BITS
from mxhw.rtl_templates.function.channels import channel_memory
from mxhw.rtl_templates.gemm import DialectGemm

__all__ = ["Record", "design_of", "emitted_design", "has_record", "record_of", "register_record"]

Record = Callable[[Any, Placed], Unit]
_RECORDS: OperationTable[Record] = OperationTable()


def register_record(*kinds: type[ops.Operation], folded: bool = False) -> Callable[[Record], Record]:
    """Return a decorator that makes a function the record of classes of operations (and of their subclasses)."""
    return _RECORDS.adder(*kinds, folded=folded)


def has_record(operation: ops.Operation) -> bool:
    """Return whether the cost of an operation's component is known."""
    return _RECORDS.find(operation) is not None


def record_of(operation: ops.Operation, placed: Placed) -> Unit:
    """Return the record of a step's component; InputError for an operation without one."""
    make = _RECORDS.find(operation)
    if make is None:
        raise InputError(
            f"the cost of operation {operation.kind!r} is not known; a record for it is registered with "
            "mxhw.passes.emit.dataflow.register_record"
        )
    return make(operation, placed)


def design_of(graph: ops.IntegerGraph, placed: Mapping[str, Placed], depths: Depths | None = None) -> Design:
    """Return a design of components, connected as its graph says; one without a record is left out."""
    steps = {
        step.name: Step(
            name=step.name,
            node=step.node,
            unit=record_of(step.operation, placed[step.name]),
            inputs=tuple(step.inputs),
            lanes_in=tuple(port.lanes for port in placed[step.name].inputs),
            lanes_out=placed[step.name].output.lanes,
        )
        for step in graph.steps.values()
        if has_record(step.operation)
    }
    return Design(input_lanes(graph, placed), steps, tuple(graph.outputs), dict(depths or {}))


def emitted_design(top: Top) -> Design:
    """Return the record of a design as it is emitted: by names of streams, feedback closed."""
    design, names, feedback = design_of(top.graph, top.placed), top.names, top.feedback

    def stream(source: str) -> str:
        return names[feedback.get(source, source)]

    steps = {
        names[name]: replace(step, name=names[name], inputs=tuple(map(stream, step.inputs)))
        for name, step in design.steps.items()
    }
    inputs = {names[name]: lanes for name, lanes in top.lanes.items() if name not in feedback}
    fifos = {
        (stream(source), names[step]): depth for (source, step), depth in top.depths.items() if step in design.steps
    }
    return Design(inputs, steps, tuple(map(stream, top.graph.outputs)), fifos)


def _constants(values: Sequence[Sequence[Any]], placed: Placed, bits: int) -> dict[str, int]:
    """Return the memory for constants [layers][channels]."""
    words, together = channel_memory(values, placed.output.lanes)
    return {"constant_words": words, "constant_bits": together * bits}


@register_record(ops.Linear)
@register_record(ops.Linear, folded=True)
def _product(operation: ops.Operation, placed: Placed) -> Unit:
    layers = members_of(operation)
    first, sizes = layers[0], placed.parallelism
    gemm: Any = placed.component.gemm  # type: ignore[attr-defined]
    dialect = isinstance(gemm, DialectGemm)
    storage: WeightStorage = "inside" if gemm.port is None else "layers"
    tiling = gemm.tiling
    return Product(
        family="dialect" if dialect else "bitmod",
        weight_type="dialect4" if dialect else gemm.weight_type.name,
        terms=1 if dialect else gemm.terms,
        lanes=sizes["lanes"],
        rows=sizes["rows"],
        columns=sizes["columns"],
        n=first.channels,
        k=first.x.length,
        block=tiling.chunks * sizes["lanes"] // tiling.groups if gemm.metadata_depth else sizes["lanes"],
        code_bits=gemm.code_bits,
        input_bits=first.x.bits,
        metadata_bits=gemm.metadata_width // sizes["columns"] if gemm.metadata_depth else 0,
        input_metadata_bits=gemm.x_width // sizes["rows"] - sizes["lanes"] * first.x.bits,
        accumulator_bits=gemm.accumulator_width,
        output_bits=first.output.bits,
        layers=gemm.layers,
        storage=storage,
    )


@register_record(ops.Requantize)
@register_record(ops.Requantize, folded=True)
def _requantize(operation: ops.Operation, placed: Placed) -> Unit:
    layers = members_of(operation)
    spec, length = layers[0].spec, layers[0].x.length
    multipliers = [each.spec.multipliers * (length // each.spec.length) for each in layers]
    constants = _constants(multipliers, placed, spec.multiplier_bits)
    return Requantize(
        length=length,
        lanes=placed.output.lanes,
        input_bits=spec.input_bits,
        reduced_bits=spec.widths.reduced,
        multiplier_bits=spec.multiplier_bits,
        output_bits=spec.output_bits,
        kept_bits=spec.widths.rounded,
        constant_terms=0 if constants["constant_words"] else int(spec.multipliers[0]).bit_count(),
        **constants,
    )


@register_record(ops.Bias)
@register_record(ops.Bias, folded=True)
def _bias(operation: ops.Operation, placed: Placed) -> Unit:
    layers = members_of(operation)
    bits = placed.component.value_bits  # type: ignore[attr-defined]
    return Bias(
        length=layers[0].x.length,
        lanes=placed.output.lanes,
        input_bits=layers[0].x.bits,
        value_bits=bits,
        output_bits=layers[0].y.bits,
        **_constants([each.values for each in layers], placed, bits),
    )


@register_record(ops.Add)
def _add(operation: ops.Add, placed: Placed) -> Unit:
    spec = operation.spec
    return Add(
        length=operation.y.length,
        lanes=placed.output.lanes,
        left_bits=spec.left_bits,
        right_bits=spec.right_bits,
        output_bits=spec.output_bits,
    )


@register_record(ops.Multiply)
def _multiply(operation: ops.Multiply, placed: Placed) -> Unit:
    spec = operation.spec
    return Multiply(
        length=operation.y.length,
        lanes=placed.output.lanes,
        left_bits=spec.left_bits,
        right_bits=spec.right_bits,
        output_bits=spec.output_bits,
    )


@register_record(ops.ReLU)
def _relu(operation: ops.ReLU, placed: Placed) -> Unit:
    return ReLU(length=operation.x.length, lanes=placed.output.lanes, bits=operation.x.bits)


@register_record(ops.Activation)
def _activation(operation: ops.Activation, placed: Placed) -> Unit:
    spec = operation.spec
    return Activation(
        function="silu" if spec.function == "silu" else "gelu",
        length=operation.x.length,
        lanes=placed.output.lanes,
        input_bits=spec.input_bits,
        output_bits=spec.output_bits,
        table_words=spec.table.entries,
        table_bits=spec.table.word_bits,
    )


@register_record(ops.RMSNorm, ops.LayerNorm)
@register_record(ops.RMSNorm, ops.LayerNorm, folded=True)
def _norm(operation: ops.Operation, placed: Placed) -> Unit:
    layers = members_of(operation)
    spec, layer_norm = layers[0].spec, isinstance(layers[0], ops.LayerNorm)
    gains = [each.spec.gains for each in layers]
    values: list[Sequence[Any]] = gains
    if layer_norm:
        values = [list(zip(each.spec.gains, each.spec.biases, strict=True)) for each in layers]
    return Norm(
        kind="layer_norm" if layer_norm else "rms_norm",
        length=spec.length,
        lanes=placed.output.lanes,
        input_bits=spec.input_bits,
        gain_bits=spec.gain_bits,
        output_bits=spec.output_bits,
        **_constants(values, placed, spec.gain_bits + (spec.bias_bits if layer_norm else 0)),
    )


@register_record(ops.Rope)
def _rope(operation: ops.Rope, placed: Placed) -> Unit:
    spec = operation.spec
    return Rope(
        length=operation.x.length,
        lanes=1,
        heads=operation.x.length // spec.head_dim,
        head_dim=spec.head_dim,
        positions=spec.positions,
        span=spec.span,
        input_bits=spec.input_bits,
        output_bits=spec.output_bits,
        table_bits=spec.table_bits,
    )


@register_record(ops.Quantize)
def _quantize(operation: ops.Quantize, placed: Placed) -> Unit:
    x, y = operation.x, operation.y
    return Encoder(
        kind=y.kind,
        length=y.length,
        lanes=placed.output.lanes,
        padded=y.padded,
        block=y.block,
        input_bits=x.bits,
        code_bits=y.bits,
        metadata_bits=payload_bits(y, 1) - y.bits,
    )


@register_record(ops.Embedding)
def _embedding(operation: ops.Embedding, placed: Placed) -> Unit:
    spec = operation.spec
    return Embedding(
        length=spec.length,
        lanes=placed.output.lanes,
        rows=spec.rows,
        code_bits=spec.code_bits,
        multiplier_bits=spec.multiplier_bits,
        output_bits=spec.output_bits,
    )


@register_record(ops.AttentionScores)
def _scores(operation: ops.AttentionScores, placed: Placed) -> Unit:
    query, key, y = operation.query, operation.key, operation.y
    return Scores(
        heads=query.blocks,
        kv_heads=key.blocks,
        head_dim=query.block,
        lanes=placed.parallelism["lanes"],
        keys=y.keys,
        most=y.most,
        code_bits=key.bits,
        scale_bits=SCALE_BITS,
        banks=operation.banks,
        query_bits=query.bits,
        score_bits=y.spec.score_bits,
    )


@register_record(ops.AttentionValues)
def _values(operation: ops.AttentionValues, placed: Placed) -> Unit:
    weights, value = operation.weights, operation.value
    return Values(
        heads=weights.heads,
        kv_heads=value.blocks,
        head_dim=value.block,
        lanes=placed.parallelism["lanes"],
        keys=weights.keys,
        most=weights.most,
        code_bits=value.bits,
        scale_bits=SCALE_BITS,
        banks=operation.banks,
        weight_bits=weights.spec.weight_bits,
        output_bits=operation.y.bits,
        output_lanes=placed.parallelism["output_lanes"],
    )


@register_record(ops.AttentionWeights)
def _softmax(operation: ops.AttentionWeights, placed: Placed) -> Unit:
    scores, spec = operation.x, operation.x.spec
    return SoftmaxWeights(
        heads=scores.heads,
        most=scores.most,
        score_bits=spec.score_bits,
        weight_bits=spec.weight_bits,
        table_words=spec.exp2.entries,
        table_bits=spec.exp2.word_bits,
    )


@register_record(ops.PassOrder)
def _pass_order(operation: ops.PassOrder, placed: Placed) -> Unit:
    words, bits = placed.component.memory  # type: ignore[attr-defined]
    return Control(kind="pass_order", bits=placed.output.bits, words=words, word_bits=bits)


@register_record(ops.TokenSelect)
def _token_select(operation: ops.TokenSelect, placed: Placed) -> Unit:
    sequences, capacity = operation.x.sequences, placed.component.capacity  # type: ignore[attr-defined]
    # A token and a count a sequence stand in registers; sequences wait in a queue, the last of them in a register.
    number = max(1, (sequences - 1).bit_length())
    return Control(kind="token_select", lanes=sequences, bits=placed.output.bits, words=capacity - 1, word_bits=number)


@register_record(ops.Field)
def _field(operation: ops.Field, placed: Placed) -> Unit:
    return Control(kind="field")


@register_record(ops.TakeShare)
def _take_share(operation: ops.TakeShare, placed: Placed) -> Unit:
    return Control(kind="take_share", bits=placed.output.bits)


@register_record(ops.Enter)
def _enter(operation: ops.Enter, placed: Placed) -> Unit:
    return Control(kind="enter", lanes=placed.output.lanes, bits=operation.x.bits)


@register_record(ops.Keep)
def _keep(operation: ops.Keep, placed: Placed) -> Unit:
    return Control(kind="keep", lanes=placed.output.lanes, bits=operation.x.bits)


@register_record(ops.ArgMax)
def _arg_max(operation: ops.ArgMax, placed: Placed) -> Unit:
    return Control(kind="arg_max", lanes=placed.inputs[0].lanes, bits=operation.x.bits)
