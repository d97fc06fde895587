"""The dialect: which kinds of node there are, and how torch operators and module classes are recognized as them.

Two kinds of rule: a torch operator is a kind by itself (`aten.linear`), or everything that a module of a known class
computed is one node of that kind (an RMSNorm is eight torch operators). Patterns of class names cover whole families
of Hugging Face models; a new family needs a line here at most. What no rule knows is "other": it runs, and it is
reported.
"""

import re

import torch

import mxhw.ir.operators  # noqa: F401  (registers torch.ops.mxhw)

__all__ = [
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
    "class_op",
]

_aten = torch.ops.aten
_mxhw = torch.ops.mxhw

OPERANDS = ("weight", "input", "lhs", "rhs", "cache")
OPERAND_POSITION = {"input": 0, "weight": 1, "lhs": 0, "rhs": 1}  # argument of the operator
GEMM_OPS = frozenset({"linear", "attn_qk", "attn_pv"})

# op -> (operand, reduction axis); the values of attention are reduced along the sequence
QUANTIZABLE: dict[str, tuple[tuple[str, int], ...]] = {
    "linear": (("weight", -1), ("input", -1)),
    "attn_qk": (("lhs", -1), ("rhs", -1)),
    "attn_pv": (("lhs", -1), ("rhs", -2)),
}

TARGET_OPS = {
    _aten.linear.default: "linear",
    _aten.conv1d.default: "conv",
    _aten.conv2d.default: "conv",
    _aten.matmul.default: "matmul",
    _aten.bmm.default: "matmul",
    _aten.mm.default: "matmul",
    _aten.addmm.default: "matmul",
    _aten.baddbmm.default: "matmul",
    _aten.scaled_dot_product_attention.default: "attention",  # of models that do not use AttentionInterface
    _aten.embedding.default: "embedding",
    _aten.layer_norm.default: "layer_norm",
    _aten.softmax.int: "softmax",
    _aten.add.Tensor: "add",
    _aten.add_.Tensor: "add",
    _aten.mul.Tensor: "mul",
    _aten.silu.default: "act",
    _aten.gelu.default: "act",
    _aten.relu.default: "act",
    _aten.tanh.default: "act",
    _aten.sigmoid.default: "act",
    _mxhw.attn_qk.default: "attn_qk",
    _mxhw.attn_softmax.default: "softmax",
    _mxhw.attn_pv.default: "attn_pv",
}

# Operators that multiply-accumulate: never hidden inside a folded node, except a linear layer written as `addmm`.
PRODUCTS = frozenset(target for target, op in TARGET_OPS.items() if op in GEMM_OPS | {"matmul", "conv", "attention"})

CLASS_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), op)
    for pattern, op in (
        (r"RMSNorm$", "rms_norm"),
        (r"LayerNorm$", "layer_norm"),
        (r"RotaryEmbedding$", "rope_table"),
        (r"(Activation|GELU\w*|ReLU\w*|SiLU|Sigmoid|Tanh)$", "act"),
        (r"^Conv1D$", "linear"),
        (r"^(NonDynamicallyQuantizable)?Linear$", "linear"),
        (r"^Conv\dd$", "conv"),
        (r"(PositionalEmbedding|Embedding|^(Bert|ViT)Embeddings)$", "embedding"),
    )
)

# Plain functions of Hugging Face modelling files that become one node each.
MARKED_FUNCTIONS = {"apply_rotary_pos_emb": "rope"}

OPS = frozenset({*TARGET_OPS.values(), *(op for _, op in CLASS_RULES), *MARKED_FUNCTIONS.values(), "other"})

# Operators that move or rename values and compute nothing; by the name of the packet, whatever the overload.
VIEWS = frozenset(
    {
        "cat",
        "chunk",
        "clone",
        "contiguous",
        "expand",
        "flatten",
        "getitem",
        "permute",
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
        "unflatten",
        "unsqueeze",
        "view",
    }
)


def class_op(name: str) -> str | None:
    """Return the kind of node that a module of the class called `name` becomes, or None."""
    return next((op for pattern, op in CLASS_RULES if pattern.search(name)), None)
