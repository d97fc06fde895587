"""Whole graphs as integers: the streams, the operations on them, and the graph that runs them."""

from mxhw.arithmetic.dataflow.attention import AttentionScores, AttentionValues, AttentionWeights
from mxhw.arithmetic.dataflow.control import ArgMax, Enter, Field, Keep, PassOrder, TokenSelect
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
    BankedScores,
    BlockCodes,
    BlockValues,
    Indices,
    Integers,
    KeyWeights,
    Passes,
    PassValues,
    Requests,
    RequestValues,
    Scores,
    StreamType,
    StreamValue,
    Words,
)
from mxhw.arithmetic.dataflow.weights import TakeShare

__all__ = [
    "Activation",
    "Add",
    "ArgMax",
    "AttentionScores",
    "AttentionValues",
    "AttentionWeights",
    "BankedScores",
    "Bias",
    "BlockCodes",
    "BlockValues",
    "Embedding",
    "Enter",
    "Field",
    "Folded",
    "Indices",
    "IntegerGraph",
    "Integers",
    "Keep",
    "KeyWeights",
    "LayerNorm",
    "Linear",
    "Multiply",
    "Operation",
    "PassOrder",
    "PassValues",
    "Passes",
    "Quantize",
    "RMSNorm",
    "ReLU",
    "Requantize",
    "RequestValues",
    "Requests",
    "Rope",
    "Scores",
    "Step",
    "StreamType",
    "StreamValue",
    "TakeShare",
    "TokenSelect",
    "Words",
    "code_stream",
]
