"""A decoder block as an integer graph, made by hand, at any size: what timing, FIFOs and parallelism are tried on."""

from dataclasses import dataclass

import torch

from mxhw.arithmetic.dataflow import (
    Activation,
    Add,
    AttentionScores,
    AttentionValues,
    AttentionWeights,
    Indices,
    IntegerGraph,
    Integers,
    KeyWeights,
    Multiply,
    Quantize,
    Requantize,
    RMSNorm,
    Rope,
    Scores,
    Step,
    code_stream,
)
from mxhw.arithmetic.functions.activation import ActivationSpec
from mxhw.arithmetic.functions.elementwise import AddSpec, MultiplySpec
from mxhw.arithmetic.functions.requantize import RequantizeSpec
from mxhw.arithmetic.functions.rms_norm import RMSNormSpec
from mxhw.arithmetic.functions.rope import RopeSpec
from mxhw.arithmetic.functions.softmax import SoftmaxSpec
from mxhw.formats import parse_format
from tests.passes.emit.dataflow.graphs import product

ATTENTION_FORMAT = parse_format("int8-e8m0")


@dataclass(frozen=True, kw_only=True)
class BlockShape:
    """Sizes of a decoder block, and its formats of inputs and weights."""

    hidden: int = 32
    heads: int = 4
    kv_heads: int = 2
    ffn: int = 48
    keys: int = 16
    formats: tuple[str, str] = ("int8-e8m0", "int8")

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads


DEMO = BlockShape(hidden=256, heads=8, kv_heads=8, ffn=384, keys=32)


def decoder_block(shape: BlockShape) -> IntegerGraph:
    """Norm, attention with rotary positions, residual; norm, gated MLP, residual."""
    x = Integers(length=shape.hidden, bits=24, exponent=-16)
    positions = Indices(count=shape.keys)
    steps = [_norm("input_layernorm", x, "x")]
    steps += _attention(shape)
    steps.append(_add("residual_1", x, "x", "o_proj.requantize"))
    steps.append(_norm("post_layernorm", x, "residual_1"))
    steps += _mlp(shape)
    steps.append(_add("residual_2", x, "residual_1", "down_proj.requantize"))
    return IntegerGraph({"x": x, "positions": positions}, steps, ["residual_2"])


def _norm(name: str, x: Integers, source: str) -> Step:
    y = Integers(length=x.length, bits=16, exponent=-12)
    spec = RMSNormSpec.of(torch.linspace(0.5, 1.5, x.length), 1e-5, x.exponent, y.exponent)
    return Step(name, name, RMSNorm(x=x, y=y, spec=spec), (source,))


def _add(name: str, x: Integers, left: str, right: str) -> Step:
    other = Integers(length=x.length, bits=16, exponent=-12)
    spec = AddSpec.of(x.exponent, other.exponent)
    return Step(name, name, Add(x=x, right=other, y=x, spec=spec), (left, right))


def _attention(shape: BlockShape) -> list[Step]:
    normed = Integers(length=shape.hidden, bits=16, exponent=-12)
    dim, codes, steps = shape.head_dim, {}, []
    for seed, (name, heads) in enumerate((("q", shape.heads), ("k", shape.kv_heads), ("v", shape.kv_heads))):
        steps += product(f"{name}_proj", normed, heads * dim, shape.formats, seed, "input_layernorm")
        stream, source = Integers(length=heads * dim, bits=16, exponent=-12), f"{name}_proj.requantize"
        if name != "v":
            spec = RopeSpec(head_dim=dim, positions=shape.keys)
            turned = Integers(length=heads * dim, bits=spec.output_bits, exponent=stream.exponent - spec.fraction_bits)
            steps.append(Step(f"{name}_rope", "rope", Rope(x=stream, y=turned, spec=spec), (source, "positions")))
            rounding = RequantizeSpec.of(
                torch.ones(1),
                largest=(1 << turned.bits - 1) - 1,
                input_exponent=turned.exponent,
                output_exponent=stream.exponent,
            )
            rounded = Requantize(x=turned, y=stream, spec=rounding)
            steps.append(Step(f"{name}_rope.requantize", "rope", rounded, (f"{name}_rope",)))
            source = f"{name}_rope.requantize"
        codes[name] = code_stream(ATTENTION_FORMAT, stream, dim)
        steps.append(Step(f"{name}.quantize", name, Quantize(x=stream, y=codes[name]), (source,)))
    softmax = SoftmaxSpec()
    scores = Scores(heads=shape.heads, keys=shape.keys, spec=softmax)
    operation = AttentionScores(query=codes["q"], key=codes["k"], y=scores)
    steps.append(Step("scores", "attention", operation, ("q.quantize", "k.quantize", "positions")))
    steps.append(Step("weights", "attention", AttentionWeights(x=scores), ("scores",)))
    weights = KeyWeights(heads=shape.heads, keys=shape.keys, spec=softmax)
    values = AttentionValues(weights=weights, value=codes["v"], y=normed)
    steps.append(Step("values", "attention", values, ("weights", "v.quantize", "positions")))
    return steps + product("o_proj", normed, shape.hidden, shape.formats, 3, "values")


def _mlp(shape: BlockShape) -> list[Step]:
    normed = Integers(length=shape.hidden, bits=16, exponent=-12)
    wide = Integers(length=shape.ffn, bits=16, exponent=-12)
    steps = product("gate_proj", normed, shape.ffn, shape.formats, 4, "post_layernorm")
    steps += product("up_proj", normed, shape.ffn, shape.formats, 5, "post_layernorm")
    silu = ActivationSpec(function="silu", exponent=wide.exponent)
    activated = Integers(length=shape.ffn, bits=silu.output_bits, exponent=silu.output_exponent)
    steps.append(Step("act", "act", Activation(x=wide, y=activated, spec=silu), ("gate_proj.requantize",)))
    times = MultiplySpec(left_bits=activated.bits, right_bits=16, shift=-activated.exponent, output_bits=16)
    gated = Multiply(x=activated, right=wide, y=wide, spec=times)
    steps.append(Step("mul", "mul", gated, ("act", "up_proj.requantize")))
    return steps + product("down_proj", wide, shape.hidden, shape.formats, 6, "mul")
