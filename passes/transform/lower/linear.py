"""Linear layers: quantizer, exact product, requantizer, bias.

A linear layer needs the formats of its weight and of its input; there is no integer product without them.
"""

import torch
from torch import Tensor, fx

from mxhw.arithmetic.dataflow import Bias, Linear, Requantize
from mxhw.arithmetic.functions.requantize import RequantizeSpec
from mxhw.arithmetic.rounding import saturate
from mxhw.errors import InputError
from mxhw.passes.transform.lower.lowering import Lowering
from mxhw.passes.transform.lower.registry import register_lowering
from mxhw.passes.transform.lower.views import Source, info_of

__all__ = ["lower_linear"]


@register_lowering("linear")
def lower_linear(lowering: Lowering, node: fx.Node) -> None:
    """Lower ``x @ weight.T + bias``; queries take ``log2(e)`` and the scale of attention into their multipliers."""
    name = info_of(node).name
    formats = {operand: lowering.format(node, operand) for operand in ("weight", "input")}
    input_format, weight_format = formats["input"], formats["weight"]
    if input_format is None or weight_format is None:
        raise InputError(f"no format of its {' and '.join(key for key, value in formats.items() if value is None)}")
    weight, bias = lowering.parameter(node, 1), lowering.parameter(node, 2)
    if weight is None:
        raise InputError("no weight")
    codes = lowering.quantized(lowering.operand(node, 0), input_format)
    product = Linear.of(weight, codes.codes, input_format, weight_format)
    sums = lowering.step(name, name, product, codes)

    source = Source(node)
    factor, output = lowering.plan.factors.get(source, 1.0), lowering.plan.stream(source)
    spec = RequantizeSpec.of(
        product.scales * factor,
        largest=product.largest,
        input_exponent=product.output.exponent,
        output_exponent=output.exponent,
        output_bits=output.bits,
    )
    requantize = Requantize(x=product.output, y=output, spec=spec)
    stream = lowering.step(f"{name}.requantize", name, requantize, sums)
    if bias is not None:
        values = _on_grid(bias.double() * factor, output.exponent, output.bits)
        stream = lowering.step(f"{name}.bias", name, Bias(x=output, y=output, values=values), stream)
    lowering.give(node, stream)


def _on_grid(values: Tensor, exponent: int, bits: int) -> tuple[int, ...]:
    """Return real values as integers of a stream; InputError if one does not fit."""
    integers = torch.round(values * 2.0**-exponent).long()
    if not torch.equal(saturate(integers, bits), integers):
        raise InputError(f"a bias of {float(values.abs().max()):g} does not fit its stream; calibrate with more text")
    return tuple(integers.tolist())
