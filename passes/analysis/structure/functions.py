"""Steps of everything between products: norms, activations, sums, products of streams, the look-up of tokens."""

from mxhw.arithmetic.functions.activation import ActivationSpec
from mxhw.hardware.structure import Activation, Add, Embedding, Multiply, Norm, ReLU, Unit
from mxhw.passes.analysis.structure.steps import (
    POSITIONS,
    RESIDUAL_BITS,
    STREAM_BITS,
    Group,
    Steps,
    channel_constants,
    elements,
    rule_for,
)

__all__: list[str] = []

_FUNCTIONS = {"aten.silu.default": "silu", "aten.gelu.default": "gelu"}
_RELU = "aten.relu.default"
_EXPONENT = -12  # of a stream that goes into an activation; it changes no size


@rule_for("rms_norm", "layer_norm")
def _norm(steps: Steps, group: Group) -> None:
    info, name, source = group.first, group.name, steps.stream(group.first.inputs[0])
    length = elements(info.output_shape)
    gain_bits, layer_norm = STREAM_BITS, info.op == "layer_norm"
    unit = Norm(
        kind="layer_norm" if layer_norm else "rms_norm",
        length=length,
        lanes=1,
        input_bits=steps.bits[source],
        gain_bits=gain_bits,
        output_bits=STREAM_BITS,
        **channel_constants(len(group.members), length, gain_bits + (STREAM_BITS + _BIAS_FRACTION) * layer_norm),
    )
    steps.streams[info.name] = steps.add(name, info.name, unit, (source,), lanes_in=(1,), lanes=1, bits=STREAM_BITS)


_BIAS_FRACTION = 2  # bits of a norm's bias below a unit of its output


@rule_for("act")
def _activation(steps: Steps, group: Group) -> None:
    info, name, source = group.first, group.name, steps.stream(group.first.inputs[0])
    length = elements(info.output_shape)
    if info.target == _RELU:
        unit: Unit = ReLU(length=length, lanes=1, bits=STREAM_BITS)
        bits = STREAM_BITS
    else:
        function = _FUNCTIONS.get(info.target, "gelu")
        spec = ActivationSpec(function="silu" if function == "silu" else "gelu", exponent=_EXPONENT)
        bits = spec.output_bits
        unit = Activation(
            function="silu" if function == "silu" else "gelu",
            length=length,
            lanes=1,
            input_bits=STREAM_BITS,
            output_bits=bits,
            table_words=spec.table.entries,
            table_bits=spec.table.word_bits,
        )
    steps.streams[info.name] = steps.add(name, info.name, unit, (source,), lanes_in=(1,), lanes=1, bits=bits)


@rule_for("add", "mul")
def _pairwise(steps: Steps, group: Group) -> None:
    info, name = group.first, group.name
    sources = [steps.stream(each) for each in info.inputs]
    sources = (sources * 2)[:2]  # of a fused projection both halves come from one node
    length = elements(info.output_shape)
    left, right = (steps.bits[each] for each in sources)
    if info.op == "add":
        bits = max(left, right)
        unit: Unit = Add(length=length, lanes=1, left_bits=left, right_bits=right, output_bits=bits)
    else:
        bits = STREAM_BITS
        unit = Multiply(length=length, lanes=1, left_bits=left, right_bits=right, output_bits=bits)
    steps.streams[info.name] = steps.add(name, info.name, unit, sources, lanes_in=(1, 1), lanes=1, bits=bits)


@rule_for("embedding")
def _embedding(steps: Steps, group: Group) -> None:
    info, name = group.first, group.name
    rows, length = (int(size) for size in info.input_shapes[0])  # type: ignore[arg-type]
    unit = Embedding(
        length=length,
        lanes=1,
        rows=rows,
        code_bits=_EMBEDDING_BITS,
        multiplier_bits=STREAM_BITS,
        output_bits=RESIDUAL_BITS,
    )
    source = steps.stream(info.inputs[0]) if info.inputs else POSITIONS
    steps.streams[info.name] = steps.add(name, info.name, unit, (source,), lanes_in=(1,), lanes=1, bits=RESIDUAL_BITS)


_EMBEDDING_BITS = 8
