"""Operations on streams of integers: norms, activations, sums, products, requantization, look-up."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mxhw.arithmetic.dataflow.operation import Operation
from mxhw.arithmetic.dataflow.streams import Indices, Integers
from mxhw.arithmetic.functions.activation import ActivationSpec, activation
from mxhw.arithmetic.functions.elementwise import AddSpec, MultiplySpec, add, multiply, relu
from mxhw.arithmetic.functions.embedding import EmbeddingSpec, embedding
from mxhw.arithmetic.functions.layer_norm import LayerNormSpec, layer_norm
from mxhw.arithmetic.functions.requantize import RequantizeSpec, requantize
from mxhw.arithmetic.functions.rms_norm import RMSNormSpec, rms_norm
from mxhw.arithmetic.functions.rope import RopeSpec, rope
from mxhw.arithmetic.rounding import saturate

__all__ = [
    "Activation",
    "Add",
    "Bias",
    "Embedding",
    "LayerNorm",
    "Multiply",
    "RMSNorm",
    "ReLU",
    "Requantize",
    "Rope",
]


class _Plain(Operation):
    """Operations whose streams are fields."""

    x: Integers
    y: Integers

    @property
    def inputs(self) -> tuple[Integers, ...]:
        return (self.x,)

    @property
    def output(self) -> Integers:
        return self.y


class _Pairwise(_Plain):
    right: Integers

    @property
    def inputs(self) -> tuple[Integers, ...]:
        return self.x, self.right


@dataclass(frozen=True, eq=False, kw_only=True)
class Requantize(_Plain):
    """Sums times one multiplier a channel, rounded to another exponent and width."""

    kind: ClassVar[str] = "requantize"
    x: Integers
    y: Integers
    spec: RequantizeSpec

    def run(self, x: Tensor) -> Tensor:
        return requantize(x, self.spec)


@dataclass(frozen=True, eq=False, kw_only=True)
class Bias(_Plain):
    """A constant a channel on the grid of the stream, added with saturation."""

    kind: ClassVar[str] = "bias"
    x: Integers
    y: Integers
    values: tuple[int, ...]

    def run(self, x: Tensor) -> Tensor:
        return saturate(x + torch.tensor(self.values, dtype=torch.int64), self.y.bits)


@dataclass(frozen=True, eq=False, kw_only=True)
class RMSNorm(_Plain):
    kind: ClassVar[str] = "rms_norm"
    x: Integers
    y: Integers
    spec: RMSNormSpec

    def run(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.spec)


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerNorm(_Plain):
    kind: ClassVar[str] = "layer_norm"
    x: Integers
    y: Integers
    spec: LayerNormSpec

    def run(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.spec)


@dataclass(frozen=True, eq=False, kw_only=True)
class Activation(_Plain):
    """SiLU or GELU; the output is ``spec.output_bits`` wide."""

    kind: ClassVar[str] = "activation"
    x: Integers
    y: Integers
    spec: ActivationSpec

    def run(self, x: Tensor) -> Tensor:
        return activation(x, self.spec)


@dataclass(frozen=True, eq=False, kw_only=True)
class ReLU(_Plain):
    kind: ClassVar[str] = "relu"
    x: Integers
    y: Integers

    def run(self, x: Tensor) -> Tensor:
        return relu(x)


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(_Pairwise):
    """A saturating sum on the grid of ``x``."""

    kind: ClassVar[str] = "add"
    x: Integers
    right: Integers
    y: Integers
    spec: AddSpec

    def run(self, x: Tensor, right: Tensor) -> Tensor:
        return add(x, right, self.spec)


@dataclass(frozen=True, eq=False, kw_only=True)
class Multiply(_Pairwise):
    """A product that is requantized."""

    kind: ClassVar[str] = "multiply"
    x: Integers
    right: Integers
    y: Integers
    spec: MultiplySpec

    def run(self, x: Tensor, right: Tensor) -> Tensor:
        return multiply(x, right, self.spec)


@dataclass(frozen=True, eq=False, kw_only=True)
class Rope(Operation):
    """Head vectors turned by their token's position; exact, ``spec.output_bits`` wide."""

    kind: ClassVar[str] = "rope"
    x: Integers
    y: Integers
    spec: RopeSpec

    @property
    def inputs(self) -> tuple[Integers, Indices]:
        return self.x, Indices(count=self.spec.positions)

    @property
    def output(self) -> Integers:
        return self.y

    def run(self, x: Tensor, positions: Tensor) -> Tensor:
        heads = x.reshape(*x.shape[:-1], -1, self.spec.head_dim)
        return rope(heads, positions.unsqueeze(-1), self.spec).flatten(-2)


@dataclass(frozen=True, eq=False, kw_only=True)
class Embedding(Operation):
    kind: ClassVar[str] = "embedding"
    y: Integers
    spec: EmbeddingSpec

    @property
    def inputs(self) -> tuple[Indices]:
        return (Indices(count=self.spec.rows),)

    @property
    def output(self) -> Integers:
        return self.y

    def run(self, indices: Tensor) -> Tensor:
        return embedding(indices, self.spec)
