"""Whole graphs as integers: the streams, the operations on them, and the graph that runs them."""

from mxhw.arithmetic.dataflow.attention import AttentionScores, AttentionValues, AttentionWeights
from mxhw.arithmetic.dataflow.elementwise import (
    Activation,
    Add,
    Bias,
    Embedding,
    LayerNorm,
    Multiply,
    ReLU,
    Requantize,
    RMSNorm,
    Rope,
)
from mxhw.arithmetic.dataflow.folded import Folded
from mxhw.arithmetic.dataflow.graph import IntegerGraph, Step
from mxhw.arithmetic.dataflow.operation import Operation
from mxhw.arithmetic.dataflow.products import Linear, Quantize, code_stream
from mxhw.arithmetic.dataflow.streams import (
    BlockCodes,
    BlockValues,
    Indices,
    Integers,
    KeyWeights,
    Scores,
    StreamType,
    StreamValue,
)

__all__ = [
    "Activation",
    "Add",
    "AttentionScores",
    "AttentionValues",
    "AttentionWeights",
    "Bias",
    "BlockCodes",
    "BlockValues",
    "Embedding",
    "Folded",
    "Indices",
    "IntegerGraph",
    "Integers",
    "KeyWeights",
    "LayerNorm",
    "Linear",
    "Multiply",
    "Operation",
    "Quantize",
    "RMSNorm",
    "ReLU",
    "Requantize",
    "Rope",
    "Scores",
    "Step",
    "StreamType",
    "StreamValue",
    "code_stream",
]
