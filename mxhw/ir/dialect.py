"""The dialect: which kinds of node there are, and how torch operators and module classes are recognized as them.

Two kinds of rule: a torch operator is a kind by itself (`aten.linear`), or everything that a module of a known class
computed is one node of that kind (an RMSNorm is eight torch operators). Patterns of class names cover whole families
of Hugging Face models; a new family needs a line here at most, and a kind of one's own is registered
(:mod:`mxhw.ir.kinds`). What no rule knows is "other": it runs, and it is reported.
"""

import re
from collections.abc import Sequence
from typing import Any

import torch

import mxhw.ir.operators
import mxhw.ir.scan  # noqa: F401  (registers another of them)

__all__ = [
    "ADDS_FIRST",
    "CLASS_RULES",
    "GEMM_OPS",
    "MARKED_FUNCTIONS",
    "OPERANDS",
    "OPERAND_POSITION",
    "OPS",
    "PRODUCTS",
    "QUANTIZABLE",
    "TARGET_OPS",
    "VIEWS",
    "operand_position",
    "quantizable",
]

_aten = torch.ops.aten
_mxhw = torch.ops.mxhw

OPERANDS = ("weight", "input", "lhs", "rhs", "cache")
OPERAND_POSITION = {
    "input": 0,
    "weight": 1,
    "lhs": 0,
    "rhs": 1,
    "cache": 1,
}  # argument of the operator; see operand_position
ADDS_FIRST = frozenset({_aten.addmm.default, _aten.baddbmm.default})  # their factors follow a summand
GEMM_OPS = frozenset({"linear", "attn_qk", "attn_pv"})

# op -> (operand, reduction axis); the values of attention are reduced along the sequence. See :func:`quantizable`.
QUANTIZABLE: dict[str, tuple[tuple[str, int], ...]] = {
    "linear": (("weight", -1), ("input", -1)),
    "conv": (("weight", 1), ("input", 1)),
    "matmul": (("lhs", -1), ("rhs", -2)),
    "attn_qk": (("lhs", -1), ("rhs", -1), ("cache", -1)),  # cache: the keys as stored, token by token
    "attn_pv": (("lhs", -1), ("rhs", -2), ("cache", -1)),  # the values as stored; see :mod:`mxhw.ir.cache`
    "expert_linear": (("weight", -1), ("input", -1)),
}

TARGET_OPS = {
    _aten.linear.default: "linear",
    _aten.conv1d.default: "conv",
    _aten.conv1d.padding: "conv",
    _aten.conv2d.default: "conv",
    _aten.conv2d.padding: "conv",
    _aten.conv3d.default: "conv",
    _aten.conv3d.padding: "conv",
    _aten.matmul.default: "matmul",
    _aten.bmm.default: "matmul",
    _aten.mm.default: "matmul",
    _aten.addmm.default: "matmul",
    _aten.baddbmm.default: "matmul",
    _aten.scaled_dot_product_attention.default: "attention",  # of models that do not use AttentionInterface
    _aten.embedding.default: "embedding",
    _aten.layer_norm.default: "layer_norm",
    _aten.batch_norm.default: "batch_norm",
    _aten.max_pool1d.default: "pool",
    _aten.max_pool2d.default: "pool",
    _aten.avg_pool2d.default: "pool",
    _aten.adaptive_avg_pool2d.default: "pool",
    _aten.softmax.int: "softmax",
    _aten.add.Tensor: "add",
    _aten.add_.Tensor: "add",
    _aten.mul.Tensor: "mul",
    _aten.mul_.Tensor: "mul",
    _aten.div.Tensor: "div",
    _aten.div_.Tensor: "div",
    _aten.exp.default: "exp",
    _aten.silu.default: "act",
    _aten.gelu.default: "act",
    _aten.relu.default: "act",
    _aten.relu_.default: "act",
    _aten.softplus.default: "act",
    _aten.tanh.default: "act",
    _aten.sigmoid.default: "act",
    _mxhw.attn_qk.default: "attn_qk",
    _mxhw.attn_softmax.default: "softmax",
    _mxhw.attn_pv.default: "attn_pv",
    _mxhw.scan.default: "scan",
    _mxhw.expert_linear.default: "expert_linear",
    _mxhw.expert_sum.default: "expert_sum",
}

# Operators that multiply-accumulate: never hidden inside a folded node, except a linear layer written as `addmm`.
PRODUCTS = frozenset(
    target for target, op in TARGET_OPS.items() if op in GEMM_OPS | {"matmul", "conv", "attention", "expert_linear"}
)

CLASS_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), op)
    for pattern, op in (
        (r"RMSNorm$", "rms_norm"),
        (r"LayerNorm$", "layer_norm"),
        (r"RotaryEmbedding$", "rope_table"),
        (r"(Activation|GELU\w*|ReLU\w*|SiLU|Sigmoid|Tanh)$", "act"),
        (r"Router$", "router"),
        (r"^Conv1D$", "linear"),
        (r"^(NonDynamicallyQuantizable|Falcon)?Linear$", "linear"),
        (r"^Conv\dd$", "conv"),
        (r"(PositionalEmbedding|Embedding|^(Bert|ViT)Embeddings)$", "embedding"),
    )
)

# Plain functions of Hugging Face modelling files that become one node each.
MARKED_FUNCTIONS = {"apply_rotary_pos_emb": "rope", "apply_rotary_pos_emb_interleave": "rope"}

OPS = frozenset({*TARGET_OPS.values(), *(op for _, op in CLASS_RULES), *MARKED_FUNCTIONS.values(), "other"})

# Operators that move or rename values and compute nothing; by the name of the packet, whatever the overload.
VIEWS = frozenset(
    {
        "broadcast_to",
        "cat",
        "chunk",
        "clone",
        "contiguous",
        "expand",
        "flatten",
        "gather",
        "getitem",
        "index",
        "numpy_T",
        "permute",
        "repeat",
        "repeat_interleave",
        "reshape",
        "select",
        "slice",
        "split",
        "split_with_sizes",
        "squeeze",
        "stack",
        "t",
        "transpose",
        "unbind",
        "unflatten",
        "unsqueeze",
        "view",
    }
)


def operand_position(target: object, operand: str) -> int:
    """Return which argument of a node's operator an operand is; `addmm` and `baddbmm` have a summand before it."""
    return OPERAND_POSITION[operand] + (target in ADDS_FIRST)


def quantizable(op: str, target: object, shapes: Sequence[Sequence[Any]]) -> tuple[tuple[str, int], ...]:
    """Return the operands of a node that can be quantized, each with its reduction axis, negative.

    One rule: blocks and scales run along the dimension that the multiplier sums over, so that a scale can leave the
    sum. A convolution sums over its input channels and over the taps of its kernel. Its blocks run along the channels
    of one tap and of one pixel: only then does a pixel have the same blocks in every window that it is part of, and is
    rounded once. In a depthwise convolution, with one input channel per output, the weight runs along its last tap
    dimension instead, where it has more than one element.

    Parameters
    ----------
    op : str
        Kind of node.
    target : operator
        What the node calls.
    shapes : shapes of its tensor operands
    """
    first = int(target in ADDS_FIRST)

    def axis_of(operand: str, axis: int) -> int:
        shape = shapes[OPERAND_POSITION[operand] + first]
        if op == "conv":
            kernel = shapes[OPERAND_POSITION["weight"]]
            return -1 if operand == "weight" and kernel[1] == 1 else axis - len(kernel)
        if op == "matmul" and (len(shape) == 1 or (operand == "rhs" and target is _aten.linear.default)):
            return -1
        return axis

    return tuple((operand, axis_of(operand, axis)) for operand, axis in QUANTIZABLE.get(op, ()))
