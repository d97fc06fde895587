"""Hugging Face mixtures of experts as the dialect's operators, through transformers' `ExpertsInterface`.

A model whose experts implementation is "mxhw" computes what its eager experts compute, bit for bit: the two products of
every expert are `expert_linear` over all experts at once, and the outputs of a token's experts are added by
`expert_sum` in ascending order of the experts, as the eager loop adds them. Activations stand in between as they are,
over all rows at once; that differs from the loop in the last bit where an activation reads rows without gaps whose
width leaves a remainder of torch's vector length (gpt-oss with a width that is no multiple of 32).

Experts that run outside of the interface are refused: which of them are active could not be seen.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

import mxhw.ir.operators  # noqa: F401  (registers torch.ops.mxhw)
from mxhw.errors import InputError

__all__ = ["IMPLEMENTATION", "dialect_experts", "use_dialect_experts"]

IMPLEMENTATION = "mxhw"
_EXPERTS_CLASS = re.compile(r"(?<!Shared)Experts$")  # shared experts are a plain MLP that every token passes


def dialect_experts(module: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
    """Experts in the signature that `ExpertsInterface` asks for.

    Parameters
    ----------
    module : nn.Module
        With the attributes that transformers' `use_experts_implementation` gives: has_gate, has_bias, is_transposed,
        has_post_expert_norm; and the parameters gate_up_proj (or up_proj) and down_proj.
    hidden_states : [tokens, hidden]
    top_k_index : int64 [tokens, active]
    top_k_weights : [tokens, active]

    Returns
    -------
    Tensor [tokens, hidden]
    """
    ids = top_k_index.t()
    y = _project(module, "gate_up_proj" if module.has_gate else "up_proj", hidden_states, ids)
    y = module._apply_gate(y) if module.has_gate else module.act_fn(y)
    y = _project(module, "down_proj", y, ids)
    if module.has_post_expert_norm:
        y = module.post_expert_norm(y)
    weighted = (y * top_k_weights.t()[..., None]).to(hidden_states.dtype)
    total: Tensor = torch.ops.mxhw.expert_sum(weighted, ids)
    return total


def _project(module: Any, name: str, x: Tensor, ids: Tensor) -> Tensor:
    weight = getattr(module, name)
    if module.is_transposed:
        weight = weight.transpose(1, 2)
    bias = getattr(module, f"{name}_bias") if module.has_bias else None
    y: Tensor = torch.ops.mxhw.expert_linear(x, weight, ids, bias)
    return y


@contextmanager
def use_dialect_experts(model: Any) -> Iterator[None]:
    """Give a Hugging Face `model` the dialect's experts inside the context, and its own ones back after it.

    Raises
    ------
    InputError
        If the model has experts that do not go through transformers' interface; the message names them.
    """
    experts = {path: module for path, module in model.named_modules() if _EXPERTS_CLASS.search(type(module).__name__)}
    for path, module in experts.items():
        _check_interface(path, module, hasattr(model, "set_experts_implementation"))
    if not experts:
        yield
        return
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    ALL_EXPERTS_FUNCTIONS.register(IMPLEMENTATION, dialect_experts)
    before = model.get_experts_implementation()
    model.set_experts_implementation(IMPLEMENTATION)
    try:
        for path, module in experts.items():
            _check_interface(path, module, module.config._experts_implementation == IMPLEMENTATION)
        yield
    finally:
        model.set_experts_implementation(before)


def _check_interface(path: str, module: nn.Module, switched: bool) -> None:
    """Raise if a module has not what `use_experts_implementation` gives, or its model cannot be switched."""
    if not switched or not hasattr(module, "config") or not hasattr(module, "has_gate"):
        raise InputError(
            f"experts {path!r} ({type(module).__name__}) do not go through transformers' experts interface, so that "
            "the active ones cannot be seen; choose a model whose experts do (Mixtral, Qwen, DeepSeek, gpt-oss, ...)"
        )
