"""Units and decoder blocks, drawn: sizes that meet every part of a closed form."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
import torch

from mxhw.arithmetic.dataflow import (
    Activation,
    Add,
    AttentionScores,
    AttentionValues,
    AttentionWeights,
    Bias,
    BlockCodes,
    Embedding,
    IntegerGraph,
    Integers,
    KeyWeights,
    LayerNorm,
    Linear,
    Multiply,
    Operation,
    Quantize,
    ReLU,
    RMSNorm,
    Rope,
    Scores,
    Step,
    code_stream,
)
from mxhw.arithmetic.functions.activation import ActivationSpec
from mxhw.arithmetic.functions.elementwise import AddSpec, MultiplySpec
from mxhw.arithmetic.functions.embedding import EmbeddingSpec
from mxhw.arithmetic.functions.layer_norm import LayerNormSpec
from mxhw.arithmetic.functions.rms_norm import RMSNormSpec
from mxhw.arithmetic.functions.rope import RopeSpec
from mxhw.arithmetic.functions.softmax import SoftmaxSpec
from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.hardware.structure import Unit
from mxhw.passes.emit.dataflow.costed import record_of
from mxhw.passes.emit.dataflow.place import Placed, place_graph
from tests.passes.emit.dataflow.blocks import BlockShape, decoder_block

FORMATS = (
    ("int8-e8m0", "int8"),
    ("int8-e8m0", "bitmod4"),
    ("int8-e8m0", "bitmod3"),
    ("dialect4-online", "dialect4"),
)
LONGEST = 9  # positions of drawn rotations and look-ups
_SOFTMAX = SoftmaxSpec()


@dataclass(frozen=True, eq=False)
class DrawnUnit:
    """A component, and what it does in a run.

    Attributes
    ----------
    positions : of the tokens [tokens].
    """

    kind: str
    operation: Operation
    placed: Placed
    unit: Unit
    positions: Any

    @property
    def tokens(self) -> int:
        return len(self.positions)


def divisors(number: int, most: int = 1 << 30) -> list[int]:
    return [d for d in range(1, min(number, most) + 1) if number % d == 0]


def draw_unit(rng: random.Random, kind: str, largest: int = 1 << 20) -> DrawnUnit:
    """Return a unit of a kind of :data:`KINDS` and a run of it; sizes that no component has are drawn again.

    ``largest``: that many multipliers, or lanes, at most.
    """
    while True:
        operation, sizes, longest = KINDS[kind](rng)
        if sizes.get("rows", 1) * sizes.get("columns", 1) * sizes.get("lanes", 1) > largest:
            continue
        try:
            placed = placed_alone(operation, sizes)
        except InputError:
            continue
        tokens = min(rng.choice((1, 2, 3, 5, 8)) * sizes.get("rows", 1), longest)
        start = rng.randint(0, longest - tokens) if longest < _ENDLESS else 0
        return DrawnUnit(kind, operation, placed, record_of(operation, placed), np.arange(start, start + tokens))


def placed_alone(operation: Operation, sizes: Mapping[str, int]) -> Placed:
    names = [f"input {i}" for i in range(len(operation.inputs))]
    inputs = dict(zip(names, operation.inputs, strict=True))
    graph = IntegerGraph(inputs, [Step("s", "s", operation, tuple(names))], ["s"])
    return place_graph(graph, {"s": sizes})["s"]


_ENDLESS = 1 << 20


def _integers(length: int, bits: int = 16) -> Integers:
    return Integers(length=length, bits=bits, exponent=-10)


def _heads(count: int, dim: int) -> BlockCodes:
    return BlockCodes(kind="integer", length=count * dim, block=dim, bits=8, exponent=-10)


def _linear(rng: random.Random) -> tuple[Operation, dict[str, int], int]:
    x_format, w_format = rng.choice(FORMATS)
    k, n = rng.choice((8, 16, 24, 32, 40, 48, 64, 96, 128, 160, 256)), rng.choice((1, 2, 3, 4, 6, 8, 12, 16, 24))
    x = code_stream(parse_format(x_format), _integers(k))
    weight = torch.randn(n, k, generator=torch.Generator().manual_seed(rng.randint(0, 99)))
    lanes = rng.choice(divisors(gcd(x.length, x.block), 32))
    sizes = {"rows": rng.choice((1, 1, 2, 3, 4, 5)), "columns": rng.choice(divisors(n)), "lanes": lanes}
    return Linear.of(weight, x, parse_format(x_format), parse_format(w_format)), sizes, _ENDLESS


def _attention(rng: random.Random) -> tuple[int, int, int, dict[str, Any], int]:
    dim, kv_heads = rng.choice((2, 4, 8, 16)), rng.choice((1, 2))
    keys = rng.choice((1, 2, 3, 5, 8, 17, 30))
    kept = {"keys": keys, "spec": _SOFTMAX, "window": rng.choice((None, None, max(1, keys // 2)))}
    return dim, kv_heads * rng.choice((1, 2, 4)), kv_heads, kept, keys


def _scores(rng: random.Random) -> tuple[Operation, dict[str, int], int]:
    dim, heads, kv_heads, kept, keys = _attention(rng)
    operation = AttentionScores(query=_heads(heads, dim), key=_heads(kv_heads, dim), y=Scores(heads=heads, **kept))
    return operation, {"lanes": rng.choice(divisors(dim))}, keys


def _weights(rng: random.Random) -> tuple[Operation, dict[str, int], int]:
    _, heads, _, kept, keys = _attention(rng)
    return AttentionWeights(x=Scores(heads=heads, **kept)), {}, keys


def _values(rng: random.Random) -> tuple[Operation, dict[str, int], int]:
    dim, heads, kv_heads, kept, keys = _attention(rng)
    weights, lanes = KeyWeights(heads=heads, **kept), rng.choice(divisors(dim))
    operation = AttentionValues(weights=weights, value=_heads(kv_heads, dim), y=_integers(heads * dim))
    return operation, {"lanes": lanes, "output_lanes": rng.choice(divisors(lanes))}, keys


def _rope(rng: random.Random) -> tuple[Operation, dict[str, int], int]:
    dim = rng.choice((2, 4, 8, 16))
    spec, length = RopeSpec(head_dim=dim, positions=LONGEST), dim * rng.choice((1, 2, 4))
    return Rope(x=_integers(length), y=_integers(length, spec.output_bits), spec=spec), {}, LONGEST


def _embedding(rng: random.Random) -> tuple[Operation, dict[str, int], int]:
    length = rng.choice((1, 2, 4, 8, 12))
    codes = torch.ones(LONGEST, length, dtype=torch.int64)
    spec = EmbeddingSpec(codes=codes, multipliers=(1 << 15,) * LONGEST, shift=4)
    return Embedding(y=_integers(length, spec.output_bits), spec=spec), _lanes(rng, length), LONGEST


def _rms_norm(rng: random.Random) -> tuple[Operation, dict[str, int], int]:
    length = rng.choice((2, 4, 8, 16, 64))
    spec = RMSNormSpec.of(torch.linspace(0.5, 1.5, length), 1e-5, -19, -12, input_bits=24, output_bits=16)
    return RMSNorm(x=_integers(length, 24), y=_integers(length), spec=spec), _lanes(rng, length), _ENDLESS


def _layer_norm(rng: random.Random) -> tuple[Operation, dict[str, int], int]:
    length = rng.choice((2, 4, 8, 16, 64))
    gains, biases = torch.linspace(0.5, 1.5, length), torch.linspace(-0.5, 0.5, length)
    spec = LayerNormSpec.of(gains, biases, 1e-5, -19, -12, input_bits=24, output_bits=16)
    return LayerNorm(x=_integers(length, 24), y=_integers(length), spec=spec), _lanes(rng, length), _ENDLESS


def _quantize(rng: random.Random) -> tuple[Operation, dict[str, int], int]:
    length, name = rng.choice((8, 16, 24, 40, 48, 64, 96)), rng.choice(("int8-e8m0", "dialect4-online"))
    head = rng.choice((None, 8)) if name == "int8-e8m0" else None
    codes = code_stream(parse_format(name), _integers(length), head)
    return Quantize(x=_integers(length), y=codes), _lanes(rng, gcd(length, codes.block)), _ENDLESS


def _pipeline(rng: random.Random) -> tuple[Operation, dict[str, int], int]:
    length = rng.choice((1, 4, 8, 24))
    x, kind = _integers(length), rng.choice(("add", "multiply", "relu", "silu", "gelu", "bias"))
    operation: Operation
    if kind == "add":
        wide, other = Integers(length=length, bits=24, exponent=-16), Integers(length=length, bits=16, exponent=-12)
        operation = Add(x=wide, right=other, y=wide, spec=AddSpec.of(wide.exponent, other.exponent))
    elif kind == "multiply":
        operation = Multiply(
            x=x, right=x, y=x, spec=MultiplySpec(left_bits=16, right_bits=16, shift=10, output_bits=16)
        )
    elif kind == "relu":
        operation = ReLU(x=x, y=x)
    elif kind == "bias":
        operation = Bias(x=x, y=x, values=tuple(range(length)))
    else:
        spec = ActivationSpec(function=kind, exponent=x.exponent)  # type: ignore[arg-type]
        y = Integers(length=length, bits=spec.output_bits, exponent=spec.output_exponent)
        operation = Activation(x=x, y=y, spec=spec)
    return operation, _lanes(rng, length), _ENDLESS


def _lanes(rng: random.Random, length: int) -> dict[str, int]:
    return {"lanes": rng.choice(divisors(length))}


KINDS = {
    "product": _linear,
    "scores": _scores,
    "softmax": _weights,
    "values": _values,
    "rope": _rope,
    "embedding": _embedding,
    "rms_norm": _rms_norm,
    "layer_norm": _layer_norm,
    "encoder": _quantize,
    "pipeline": _pipeline,
}


@dataclass(frozen=True, eq=False)
class DrawnBlock:
    """A decoder block and its parallelism."""

    shape: BlockShape
    graph: IntegerGraph
    placed: Mapping[str, Placed]
    parallelism: Mapping[str, Mapping[str, int]]
    rows: int

    @property
    def tokens(self) -> int:
        """Tokens of a run: up to twelve, whole row tiles."""
        return max(min(self.shape.keys, 12) // self.rows, 1) * self.rows


def draw_block(rng: random.Random, largest: int = 128) -> DrawnBlock:
    """Return a block of up to ``largest`` hidden elements: a third with the components' own parallelism."""
    while True:
        dim, kv_heads = rng.choice((4, 8, 16)), rng.choice((1, 2))
        heads = kv_heads * rng.choice((1, 2, 4))
        if dim * heads > largest:
            continue
        shape = BlockShape(
            hidden=dim * heads,
            heads=heads,
            kv_heads=kv_heads,
            ffn=rng.choice((16, 24, 32, 48, 64, 96)),
            keys=rng.choice((4, 8, 16, 24)),
            formats=rng.choice(FORMATS),
        )
        graph, rows, given = decoder_block(shape), rng.choice((1, 1, 1, 2)), {}
        if rng.random() < 2 / 3:
            given = drawn_sizes(rng, graph, rows)
        elif rows > 1:
            products = [step.name for step in graph.steps.values() if isinstance(step.operation, Linear)]
            given = {name: {"rows": rows} for name in products}
        return DrawnBlock(shape, graph, place_graph(graph, given), given, rows)


def drawn_sizes(rng: random.Random, graph: IntegerGraph, rows: int = 1) -> dict[str, dict[str, int]]:
    """Return a parallelism of all steps that components have."""
    given = {name: _sizes(rng, step.operation, rows) for name, step in graph.steps.items()}
    for name, step in graph.steps.items():
        try:
            placed_alone(step.operation, given[name])
        except InputError:
            given[name] = {"rows": rows} if isinstance(step.operation, Linear) else {}
    return {name: sizes for name, sizes in given.items() if sizes}


def _sizes(rng: random.Random, operation: Any, rows: int) -> dict[str, int]:
    """Return the parallelism of a step."""
    if isinstance(operation, Linear):
        x, group = operation.x, 8 if "bitmod" in operation.weight_format.name else 1
        lanes = [d for d in divisors(gcd(x.length, x.block), 8) if d <= group or group == 1]
        columns = divisors(operation.output.length, 16)
        return {"rows": rows, "lanes": rng.choice(lanes), "columns": rng.choice(columns)}
    if isinstance(operation, AttentionScores | AttentionValues):
        return {"lanes": rng.choice(divisors(operation.inputs[1].block))}
    if isinstance(operation, Quantize):
        return {"lanes": rng.choice(divisors(gcd(operation.y.length, operation.y.block), 8))}
    if isinstance(operation, Rope | AttentionWeights):
        return {}
    return {"lanes": rng.choice(divisors(operation.output.length, 8))}
