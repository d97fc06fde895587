"""Linear layers: quantizer, exact product, requantizer, bias.

A linear layer needs the formats of its weight and of its input; there is no integer product without them. One that is
read in parts becomes one product per part. Layers that can share an array have sums of one type and one shift.
"""

from dataclasses import replace

import torch
from torch import Tensor, fx

from mxhw.arithmetic.dataflow import Bias, Requantize
from mxhw.arithmetic.functions.requantize import RequantizeSpec
from mxhw.arithmetic.rounding import saturate
from mxhw.errors import InputError
from mxhw.passes.transform.lower.lowering import Lowering, Stream
from mxhw.passes.transform.lower.products import Shared
from mxhw.passes.transform.lower.registry import register_lowering
from mxhw.passes.transform.lower.views import Source, info_of

__all__ = ["lower_linear"]


@register_lowering("linear")
def lower_linear(lowering: Lowering, node: fx.Node) -> None:
    """Lower ``x @ weight.T + bias``; queries take ``log2(e)`` and the scale of attention into their multipliers."""
    input_format, _ = lowering.products.formats(node)
    bias, parts = lowering.parameter(node, 2), lowering.views.parts.get(node)
    codes = lowering.quantized(lowering.operand(node, 0), input_format)
    for index, shared in enumerate(lowering.products.of(node, codes.codes)):
        part = bias if bias is None or parts is None else bias[list(parts[index])]
        _lower_product(lowering, Source(node, index), shared, part, codes)


def _lower_product(lowering: Lowering, source: Source, shared: Shared, bias: Tensor | None, codes: Stream) -> None:
    """Add the steps of one product of a linear layer: all of it, or a part."""
    node, name, product = info_of(source.node).name, lowering.views.key(source), shared.product
    sums = lowering.step(name, node, product, codes)
    factor, output = lowering.plan.factors.get(source, 1.0), lowering.plan.stream(source)
    # One bit more in front of a bias: what saturates there would saturate with its bias, too.
    before = output if bias is None else replace(output, bits=output.bits + 1)
    spec = RequantizeSpec.of(
        product.scales * factor,
        largest=product.largest,
        input_exponent=product.output.exponent,
        output_exponent=output.exponent,
        output_bits=before.bits,
        largest_scale=shared.largest_scale * factor,
    )
    requantize = Requantize(x=product.output, y=before, spec=spec)
    stream = lowering.step(f"{name}.requantize", node, requantize, sums)
    if bias is not None:
        values = _on_grid(bias.double() * factor, output.exponent, output.bits)
        stream = lowering.step(f"{name}.bias", node, Bias(x=before, y=output, values=values), stream)
    lowering.give(source.node, stream, source.index, name)


def _on_grid(values: Tensor, exponent: int, bits: int) -> tuple[int, ...]:
    """Return real values as integers of a stream; InputError if one does not fit."""
    integers = torch.round(values * 2.0**-exponent).long()
    if not torch.equal(saturate(integers, bits), integers):
        raise InputError(f"a bias of {float(values.abs().max()):g} does not fit its stream; calibrate with more text")
    return tuple(integers.tolist())
