"""Small integer graphs, made by hand: what emission is tried on without a model."""

import torch

from mxhw.arithmetic.dataflow import (
    Activation,
    IntegerGraph,
    Integers,
    Linear,
    Multiply,
    Quantize,
    Requantize,
    RMSNorm,
    Step,
    code_stream,
)
from mxhw.arithmetic.functions.activation import ActivationSpec
from mxhw.arithmetic.functions.elementwise import MultiplySpec
from mxhw.arithmetic.functions.requantize import RequantizeSpec
from mxhw.arithmetic.functions.rms_norm import RMSNormSpec
from mxhw.formats import parse_format


def product(name: str, x: Integers, n: int, formats: tuple[str, str], seed: int, source: str) -> list[Step]:
    """Quantizer, product and requantizer of a linear layer with a drawn weight, to an int16 stream of 2**-12."""
    x_format, w_format = map(parse_format, formats)
    codes = code_stream(x_format, x)
    weight = torch.randn(n, x.length, generator=torch.Generator().manual_seed(seed)) / x.length**0.5
    linear = Linear.of(weight, codes, x_format, w_format)
    sums, y = linear.output, Integers(length=n, bits=16, exponent=-12)
    spec = RequantizeSpec.of(
        linear.scales, largest=(1 << sums.bits - 1) - 1, input_exponent=sums.exponent, output_exponent=y.exponent
    )
    return [
        Step(f"{name}.quantize", name, Quantize(x=x, y=codes), (source,)),
        Step(name, name, linear, (f"{name}.quantize",)),
        Step(f"{name}.requantize", name, Requantize(x=sums, y=y, spec=spec), (name,)),
    ]


def mlp(formats: tuple[str, str] = ("int8-e8m0", "int8"), length: int = 16, hidden: int = 24) -> IntegerGraph:
    """Norm, gate and up products, SiLU, product of both, down product: an MLP of a Llama."""
    x = Integers(length=length, bits=24, exponent=-16)
    y = Integers(length=length, bits=16, exponent=-12)
    gains = torch.linspace(0.5, 1.5, length)
    norm = RMSNorm(x=x, y=y, spec=RMSNormSpec.of(gains, 1e-5, x.exponent, y.exponent))
    steps = [Step("norm", "norm", norm, ("x",))]
    steps += product("mlp.gate_proj", y, hidden, formats, 1, "norm")
    steps += product("mlp.up_proj", y, hidden, formats, 2, "norm")
    wide = Integers(length=hidden, bits=16, exponent=-12)
    silu = ActivationSpec(function="silu", exponent=wide.exponent)
    activated = Integers(length=hidden, bits=silu.output_bits, exponent=silu.output_exponent)
    steps.append(Step("mlp.act", "mlp.act", Activation(x=wide, y=activated, spec=silu), ("mlp.gate_proj.requantize",)))
    times = MultiplySpec(left_bits=activated.bits, right_bits=16, shift=activated.exponent * -1, output_bits=16)
    gated = Multiply(x=activated, right=wide, y=wide, spec=times)
    steps.append(Step("mlp.mul", "mlp.mul", gated, ("mlp.act", "mlp.up_proj.requantize")))
    steps += product("mlp.down_proj", wide, length, formats, 3, "mlp.mul")
    return IntegerGraph({"x": x}, steps, ["mlp.down_proj.requantize"])


def drawn(graph: IntegerGraph, tokens: int, batch: int = 1, seed: int = 0) -> dict[str, torch.Tensor]:
    """Values of the inputs: spread over their range where they are integers."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, kind in graph.inputs.items():
        if isinstance(kind, Integers):
            scale = 2.0 ** (kind.bits - 4)
            values = torch.randn(batch, tokens, kind.length, generator=generator) * scale
            limit = (1 << kind.bits - 1) - 1
            found[name] = values.round().long().clamp(-limit, limit)
        else:
            found[name] = torch.arange(tokens).expand(batch, tokens)
    return found
