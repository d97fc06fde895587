"""RMSNorm and LayerNorm, those of equal layers with one shift."""

from torch import Tensor, fx, ops

from mxhw.arithmetic.dataflow import LayerNorm, RMSNorm
from mxhw.arithmetic.functions.layer_norm import LayerNormSpec
from mxhw.arithmetic.functions.rms_norm import RMSNormSpec
from mxhw.errors import InputError
from mxhw.passes.transform.lower.functions import Norm, rms_norm_of
from mxhw.passes.transform.lower.lowering import Lowering
from mxhw.passes.transform.lower.registry import register_lowering

__all__ = ["lower_layer_norm", "lower_rms_norm"]


@register_lowering("rms_norm")
def lower_rms_norm(lowering: Lowering, node: fx.Node) -> None:
    """Lower an RMSNorm over whole vectors."""
    position = next(i for i, each in enumerate(node.args) if isinstance(each, fx.Node) and each.op != "get_attr")
    stream = lowering.operand(node, position)
    x, y = stream.integers, lowering.output(node)
    norm = rms_norm_of(node, x.length)
    if norm is None:
        raise InputError("not x / rms(x) times w or 1 + w")
    spec = RMSNormSpec.of(
        norm.gains,
        norm.epsilon,
        x.exponent,
        y.exponent,
        input_bits=x.bits,
        output_bits=y.bits,
        largest_gain=lowering.peers.largest(node, lambda peer: _largest_gain(rms_norm_of(peer, x.length))),
    )
    lowering.add(node, RMSNorm(x=x, y=y, spec=spec), stream)


@register_lowering("layer_norm")
def lower_layer_norm(lowering: Lowering, node: fx.Node) -> None:
    """Lower a LayerNorm over whole vectors."""
    stream = lowering.operand(node, 0)
    x, y = stream.integers, lowering.output(node)
    weight, bias = lowering.parameter(node, 2), lowering.parameter(node, 3)
    if node.target is not ops.aten.layer_norm.default or weight is None or list(node.args[1]) != [x.length]:  # type: ignore[arg-type]
        raise InputError("not a LayerNorm over whole vectors with gains")
    epsilon = float(node.args[4]) if len(node.args) > 4 else 1e-5  # type: ignore[arg-type]
    spec = LayerNormSpec.of(
        weight,
        bias,
        epsilon,
        x.exponent,
        y.exponent,
        input_bits=x.bits,
        output_bits=y.bits,
        largest_gain=lowering.peers.largest(node, lambda peer: _largest(lowering.parameter(peer, 2))),
    )
    lowering.add(node, LayerNorm(x=x, y=y, spec=spec), stream)


def _largest_gain(norm: Norm | None) -> float:
    return _largest(None if norm is None else norm.gains)


def _largest(gains: Tensor | None) -> float:
    """Return the largest magnitude; 0 of a norm that cannot be lowered."""
    return 0.0 if gains is None else float(gains.detach().abs().max())
