"""The builders of mxhw's own functions: norms, activations, sums, look-up; see :mod:`.place`. They have one lane where
nothing else is asked for.
"""

from mxhw.arithmetic.dataflow import (
    Activation,
    Add,
    AttentionWeights,
    Bias,
    Embedding,
    LayerNorm,
    Multiply,
    ReLU,
    Requantize,
    RMSNorm,
    Rope,
)
from mxhw.passes.emit.dataflow.place import Placed, Port, Request, module_name, register_component
from mxhw.rtl_templates.dataflow.bias import BiasUnit
from mxhw.rtl_templates.dataflow.lanes import Lanes
from mxhw.rtl_templates.function import elementwise, embedding, layer_norm, requantize, rms_norm, rope
from mxhw.rtl_templates.function.self_gated import SelfGated
from mxhw.rtl_templates.function.softmax_weights import SoftmaxWeighing

__all__: list[str] = []


def _constant(values: tuple[int, ...]) -> dict[str, int]:
    """Return what a module's name says of constants: nothing, or the one that all are, which takes no memory."""
    return {"c": values[0]} if len(set(values)) == 1 else {}


@register_component(RMSNorm)
def _rms_norm(operation: RMSNorm, request: Request) -> Placed:
    spec, lanes = operation.spec, request.get("lanes", 1)
    constant = _constant(spec.gains)
    return Placed(
        module=module_name(
            "rms_norm",
            f"{spec.length}x{lanes}",
            i=spec.input_bits,
            o=spec.output_bits,
            g=spec.gain_bits,
            w=spec.widths.gained,
            s=spec.shift,
            e=spec.epsilon,
            **constant,
        ),
        component=rms_norm.RMSNorm(spec=spec, lanes=lanes),
        inputs=(Port("x", operation.x, lanes),),
        output=Port("y", operation.y, lanes),
        parallelism={"lanes": lanes},
    )


@register_component(LayerNorm)
def _layer_norm(operation: LayerNorm, request: Request) -> Placed:
    spec, lanes = operation.spec, request.get("lanes", 1)
    pairs = set(zip(spec.gains, spec.biases, strict=True))
    constant = {"c": spec.gains[0], "b": spec.biases[0]} if len(pairs) == 1 else {}
    return Placed(
        module=module_name(
            "layer_norm",
            f"{spec.length}x{lanes}",
            i=spec.input_bits,
            o=spec.output_bits,
            g=spec.gain_bits,
            w=spec.widths.gained,
            s=spec.shift,
            e=spec.epsilon,
            **constant,
        ),
        component=layer_norm.LayerNorm(spec=spec, lanes=lanes),
        inputs=(Port("x", operation.x, lanes),),
        output=Port("y", operation.y, lanes),
        parallelism={"lanes": lanes},
    )


@register_component(Requantize)
def _requantize(operation: Requantize, request: Request) -> Placed:
    spec, lanes = operation.spec, request.get("lanes", 1)
    # A single multiplier is for channels of any number, so that their number decides nothing.
    constant = _constant(spec.multipliers)
    size = str(lanes) if constant else f"{spec.length}x{lanes}"
    return Placed(
        module=module_name(
            "requantize",
            size,
            i=spec.input_bits,
            o=spec.output_bits,
            m=spec.multiplier_bits,
            r=spec.widths.reduced,
            p=spec.widths.product,
            a=spec.pre_shift,
            s=spec.shift,
            **constant,
        ),
        component=requantize.Requantize(spec=spec, lanes=lanes),
        inputs=(Port("x", operation.x, lanes),),
        output=Port("y", operation.y, lanes),
        parallelism={"lanes": lanes},
    )


@register_component(Activation)
def _activation(operation: Activation, request: Request) -> Placed:
    spec, lanes = operation.spec, request.get("lanes", 1)

    def unit() -> SelfGated:
        return SelfGated(spec=spec)

    return Placed(
        module=module_name(
            spec.function,
            f"x{lanes}",
            i=spec.input_bits,
            o=spec.output_bits,
            x=spec.exponent,
            t=spec.entries_log2,
            r=spec.range,
            f=spec.argument_fraction,
        ),
        component=unit() if lanes == 1 else Lanes(unit=unit, lanes=lanes),
        inputs=(Port("x", operation.x, lanes),),
        output=Port("y", operation.y, lanes),
        parallelism={"lanes": lanes},
    )


@register_component(Bias)
def _bias(operation: Bias, request: Request) -> Placed:
    lanes, values = request.get("lanes", 1), operation.values
    unit = BiasUnit(values=values, bits=operation.x.bits, output_bits=operation.y.bits, lanes=lanes)
    return Placed(
        module=module_name(
            "bias",
            f"{len(values)}x{lanes}",
            i=operation.x.bits,
            o=operation.y.bits,
            b=unit.value_bits,
            **_constant(values),
        ),
        component=unit,
        inputs=(Port("x", operation.x, lanes),),
        output=Port("y", operation.y, lanes),
        parallelism={"lanes": lanes},
    )


@register_component(ReLU)
def _relu(operation: ReLU, request: Request) -> Placed:
    lanes = request.get("lanes", 1)
    return Placed(
        module=module_name("relu", f"{operation.x.bits}x{lanes}"),
        component=elementwise.ReLU(bits=operation.x.bits, lanes=lanes),
        inputs=(Port("x", operation.x, lanes),),
        output=Port("y", operation.y, lanes),
        parallelism={"lanes": lanes},
    )


@register_component(Add)
def _add(operation: Add, request: Request) -> Placed:
    spec, lanes = operation.spec, request.get("lanes", 1)
    return Placed(
        module=module_name("add", f"x{lanes}", l=spec.left_bits, r=spec.right_bits, o=spec.output_bits, s=spec.shift),
        component=elementwise.Add(spec=spec, lanes=lanes),
        inputs=(Port("left", operation.x, lanes), Port("right", operation.right, lanes)),
        output=Port("y", operation.y, lanes),
        parallelism={"lanes": lanes},
    )


@register_component(Multiply)
def _multiply(operation: Multiply, request: Request) -> Placed:
    spec, lanes = operation.spec, request.get("lanes", 1)
    return Placed(
        module=module_name(
            "multiply", f"x{lanes}", l=spec.left_bits, r=spec.right_bits, o=spec.output_bits, s=spec.shift
        ),
        component=elementwise.Multiply(spec=spec, lanes=lanes),
        inputs=(Port("left", operation.x, lanes), Port("right", operation.right, lanes)),
        output=Port("y", operation.y, lanes),
        parallelism={"lanes": lanes},
    )


@register_component(Rope, parallelism=())
def _rope(operation: Rope, request: Request) -> Placed:
    spec = operation.spec
    heads = operation.x.length // spec.head_dim
    x, position = operation.inputs
    return Placed(
        module=module_name(
            "rope",
            f"{heads}x{spec.head_dim}",
            spec.pairing,
            n=spec.positions,
            i=spec.input_bits,
            o=spec.output_bits,
            f=spec.fraction_bits,
        ),
        component=rope.Rope(spec=spec, heads=heads),
        inputs=(Port("x", x), Port("position", position)),
        output=Port("y", operation.y),
        parallelism={"lanes": 1},
    )


@register_component(Embedding)
def _embedding(operation: Embedding, request: Request) -> Placed:
    spec, lanes = operation.spec, request.get("lanes", 1)
    return Placed(
        module=module_name(
            "embedding",
            f"{spec.rows}x{spec.length}x{lanes}",
            c=spec.code_bits,
            m=spec.multiplier_bits,
            o=spec.output_bits,
            s=spec.shift,
        ),
        component=embedding.Embedding(spec=spec, lanes=lanes),
        inputs=(Port("x", operation.inputs[0]),),
        output=Port("y", operation.y, lanes),
        parallelism={"lanes": lanes},
    )


@register_component(AttentionWeights, parallelism=())
def _attention_weights(operation: AttentionWeights, request: Request) -> Placed:
    spec, keys = operation.x.spec, operation.x.keys
    return Placed(
        module=module_name("softmax_weights", k=keys, s=spec.score_bits, f=spec.score_fraction, w=spec.weight_bits),
        component=SoftmaxWeighing(spec=spec, keys=keys),
        inputs=(Port("x", operation.x),),
        output=Port("y", operation.output),
        parallelism={"lanes": 1},
    )
