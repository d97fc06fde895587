"""The builders of mxhw's own functions: norms, activations, sums, look-up; see :mod:`.place`. They have one lane where
nothing else is asked for.
"""

from collections.abc import Sequence
from typing import Any

from amaranth.lib.wiring import Component

from mxhw.arithmetic.dataflow import (
    Activation,
    Add,
    AttentionWeights,
    Bias,
    Embedding,
    Folded,
    Indices,
    LayerNorm,
    Multiply,
    Operation,
    ReLU,
    Requantize,
    RMSNorm,
    Rope,
)
from mxhw.arithmetic.functions.rms_norm import RMSNormSpec
from mxhw.passes.emit.dataflow.place import Placed, Port, Request, module_name, register_component
from mxhw.passes.emit.dataflow.registry import members_of
from mxhw.rtl_templates.dataflow.bias import BiasUnit
from mxhw.rtl_templates.dataflow.lanes import Lanes
from mxhw.rtl_templates.function import elementwise, embedding, layer_norm, requantize, rms_norm, rope
from mxhw.rtl_templates.function.channels import channel_memory
from mxhw.rtl_templates.function.self_gated import SelfGated
from mxhw.rtl_templates.function.softmax_weights import SoftmaxWeighing

__all__: list[str] = []


def _lane_unit(operation: Operation, module: str, component: Component, lanes: int, *inputs: str) -> Placed:
    """Return the component of an operation whose vectors all come in as many lanes; its inputs' names, if not "x"."""
    names = inputs or (("x", "layer") if isinstance(operation, Folded) else ("x",))
    return Placed(
        module=module,
        component=component,
        inputs=tuple(
            Port(name, kind, 1 if isinstance(kind, Indices) else lanes)
            for name, kind in zip(names, operation.inputs, strict=True)
        ),
        output=Port("y", operation.output, lanes),
        parallelism={"lanes": lanes},
    )


def _constants(operation: Operation, lanes: int, **values: Sequence[Sequence[int]]) -> dict[str, int | bool]:
    """Return what a module's name says of constants, each [layers][channels].

    Of a layer alone: nothing, or the one that all are, which takes no memory. Of layers that share the unit also how
    many they are, and whether a layer has one constant only.
    """
    channels = [list(zip(*layer, strict=True)) for layer in zip(*values.values(), strict=True)]
    memory = channel_memory(channels, lanes)
    found: dict[str, int | bool] = {letter: given[0][0] for letter, given in values.items() if memory == (0, 0)}
    if isinstance(operation, Folded):
        found["l"] = len(channels)
        found |= {"u": True} if memory == (len(channels), 1) else {}
    return found


def _given(operation: Operation, layers: Sequence[Any]) -> Any:
    """Return what a unit is given: what its only layer has, or a sequence of what all have."""
    return layers if isinstance(operation, Folded) else layers[0]


@register_component(RMSNorm)
@register_component(RMSNorm, folded=True)
@register_component(LayerNorm)
@register_component(LayerNorm, folded=True)
def _norm(operation: RMSNorm | LayerNorm | Folded, request: Request) -> Placed:
    specs = [member.spec for member in members_of(operation)]
    spec, lanes, given = specs[0], request.get("lanes", 1), _given(operation, specs)
    values = {"c": [each.gains for each in specs]}
    unit: Component
    if isinstance(spec, RMSNormSpec):
        kind, unit = "rms_norm", rms_norm.RMSNorm(spec=given, lanes=lanes)
    else:
        kind, unit = "layer_norm", layer_norm.LayerNorm(spec=given, lanes=lanes)
        values["b"] = [each.biases for each in specs]
    module = module_name(
        kind,
        f"{spec.length}x{lanes}",
        i=spec.input_bits,
        o=spec.output_bits,
        g=spec.gain_bits,
        w=unit.widths.gained,
        s=spec.shift,
        e=spec.epsilon,
        **_constants(operation, lanes, **values),
    )
    return _lane_unit(operation, module, unit, lanes)


@register_component(Requantize)
@register_component(Requantize, folded=True)
def _requantize(operation: Requantize | Folded, request: Request) -> Placed:
    specs = [member.spec for member in members_of(operation)]
    spec, channels, lanes = specs[0], members_of(operation)[0].x.length, request.get("lanes", 1)
    unit = requantize.Requantize(spec=_given(operation, specs), lanes=lanes, channels=channels)
    constants = _constants(operation, lanes, c=unit.multipliers)
    # A single multiplier is for channels of any number, so that their number decides nothing; but layers change there.
    size = str(lanes) if constants.keys() == {"c"} else f"{channels}x{lanes}"
    module = module_name(
        "requantize",
        size,
        i=spec.input_bits,
        o=spec.output_bits,
        m=spec.multiplier_bits,
        r=unit.widths.reduced,
        p=unit.widths.product,
        a=spec.pre_shift,
        s=spec.shift,
        **constants,
    )
    return _lane_unit(operation, module, unit, lanes)


@register_component(Activation)
def _activation(operation: Activation, request: Request) -> Placed:
    spec, lanes = operation.spec, request.get("lanes", 1)

    def unit() -> SelfGated:
        return SelfGated(spec=spec)

    module = module_name(
        spec.function,
        f"x{lanes}",
        i=spec.input_bits,
        o=spec.output_bits,
        x=spec.exponent,
        t=spec.entries_log2,
        r=spec.range,
        f=spec.argument_fraction,
    )
    return _lane_unit(operation, module, unit() if lanes == 1 else Lanes(unit=unit, lanes=lanes), lanes)


@register_component(Bias)
@register_component(Bias, folded=True)
def _bias(operation: Bias | Folded, request: Request) -> Placed:
    first, lanes = members_of(operation)[0], request.get("lanes", 1)
    values = [member.values for member in members_of(operation)]
    unit = BiasUnit(values=_given(operation, values), bits=first.x.bits, output_bits=first.y.bits, lanes=lanes)
    module = module_name(
        "bias",
        f"{first.x.length}x{lanes}",
        i=first.x.bits,
        o=first.y.bits,
        b=unit.value_bits,
        **_constants(operation, lanes, c=values),
    )
    return _lane_unit(operation, module, unit, lanes)


@register_component(ReLU)
def _relu(operation: ReLU, request: Request) -> Placed:
    lanes = request.get("lanes", 1)
    module = module_name("relu", f"{operation.x.bits}x{lanes}")
    return _lane_unit(operation, module, elementwise.ReLU(bits=operation.x.bits, lanes=lanes), lanes)


@register_component(Add)
def _add(operation: Add, request: Request) -> Placed:
    spec, lanes = operation.spec, request.get("lanes", 1)
    module = module_name("add", f"x{lanes}", l=spec.left_bits, r=spec.right_bits, o=spec.output_bits, s=spec.shift)
    return _lane_unit(operation, module, elementwise.Add(spec=spec, lanes=lanes), lanes, "left", "right")


@register_component(Multiply)
def _multiply(operation: Multiply, request: Request) -> Placed:
    spec, lanes = operation.spec, request.get("lanes", 1)
    module = module_name("multiply", f"x{lanes}", l=spec.left_bits, r=spec.right_bits, o=spec.output_bits, s=spec.shift)
    return _lane_unit(operation, module, elementwise.Multiply(spec=spec, lanes=lanes), lanes, "left", "right")


@register_component(Rope, parallelism=())
def _rope(operation: Rope, request: Request) -> Placed:
    spec = operation.spec
    heads = operation.x.length // spec.head_dim
    module = module_name(
        "rope",
        f"{heads}x{spec.head_dim}",
        spec.pairing,
        n=spec.positions,
        i=spec.input_bits,
        o=spec.output_bits,
        f=spec.fraction_bits,
    )
    return _lane_unit(operation, module, rope.Rope(spec=spec, heads=heads), 1, "x", "position")


@register_component(Embedding)
def _embedding(operation: Embedding, request: Request) -> Placed:
    spec, lanes = operation.spec, request.get("lanes", 1)
    module = module_name(
        "embedding",
        f"{spec.rows}x{spec.length}x{lanes}",
        c=spec.code_bits,
        m=spec.multiplier_bits,
        o=spec.output_bits,
        s=spec.shift,
    )
    return _lane_unit(operation, module, embedding.Embedding(spec=spec, lanes=lanes), lanes)


@register_component(AttentionWeights, parallelism=())
def _attention_weights(operation: AttentionWeights, request: Request) -> Placed:
    spec, keys = operation.x.spec, operation.x.most
    return Placed(
        module=module_name("softmax_weights", k=keys, s=spec.score_bits, f=spec.score_fraction, w=spec.weight_bits),
        component=SoftmaxWeighing(spec=spec, keys=keys),
        inputs=(Port("x", operation.x),),
        output=Port("y", operation.output),
        parallelism={"lanes": 1},
    )
