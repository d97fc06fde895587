"""From a torch module to a :class:`Graph`: export, clean, fold, describe.

`torch.export` in its non-strict mode runs the model's own forward once on tensors without data; Hugging Face's public
plug points make attention and RoPE arrive whole (capture.md has the measurements behind these choices). The captured
graph shares the parameters of the model and computes exactly what it computes with eager attention.
"""

import inspect
import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from mxhw.errors import InputError
from mxhw.ir.attention import use_dialect_attention
from mxhw.ir.clean import clean
from mxhw.ir.describe import describe
from mxhw.ir.experts import use_dialect_experts
from mxhw.ir.export import LONGEST, export_model
from mxhw.ir.fold import fold
from mxhw.ir.graph import Graph
from mxhw.ir.provenance import provenance
from mxhw.ir.raising import TRANSPOSED
from mxhw.ir.repeated import export_weightless
from mxhw.ir.signature import Signature, check_sizes, language_signature
from mxhw.ir.weightless import is_weightless, restore_buffers, tracing_device

__all__ = ["capture_features", "capture_language_model", "dialect_module"]


def capture_language_model(
    model: nn.Module, *, batch: int = 1, sequence: int = 128, dynamic: bool = True, name: str | None = None
) -> Graph:
    """Capture a Hugging Face model that takes token ids [batch, sequence] and gives logits.

    Raises
    ------
    InputError
        If the model takes something else, the sizes are not positive or the sequence is longer than the model's
        context, or the model cannot be exported.
    """
    _check_takes_tokens(model)
    signature = language_signature(model, batch=batch, sequence=sequence, dynamic=dynamic, name=name)
    # torch.export treats sizes 0 and 1 as constants, so a symbolic batch of one is traced with two. Models that slice a
    # table of all positions would make the largest length a case of its own; what is traced below it holds for it too.
    longest = max(2, (signature.context or LONGEST) - 1)
    size = (max(batch, 2), min(max(sequence, 4), longest)) if dynamic else (batch, sequence)
    dims = {0: torch.export.Dim("b", max=LONGEST), 1: torch.export.Dim("s", max=longest)}
    inputs: dict[str, Any] = {"input_ids": torch.zeros(size, dtype=torch.long, device=tracing_device(model))}
    shapes: dict[str, Any] = {"input_ids": dims}
    if "use_cache" in inspect.signature(model.forward).parameters:
        inputs["use_cache"], shapes["use_cache"] = False, None
    with use_dialect_attention(model), use_dialect_experts(model):
        export = export_weightless if is_weightless(model) else export_model
        exported = export(model, inputs, shapes if dynamic else None)
    graph = _graph(exported, "input_ids", signature)
    restore_buffers(graph.module, model)
    return graph


def capture_features(
    module: nn.Module, example: Tensor | None = None, *, batch: int = 1, dynamic: bool = True, name: str | None = None
) -> Graph:
    """Capture a module, for instance an MLP, a CNN or a vision transformer, that takes one floating-point tensor.

    `example` gives the input's shape; without one it is [batch, features of the first `Linear`]. The first dimension
    is symbolic, and for three dimensions the second one too (tokens).

    Raises
    ------
    InputError
        If neither an example nor a first `Linear` tells the input's shape, or the module cannot be exported.
    """
    if example is None:
        check_sizes(batch, 1, None)
        first = next((m for m in module.modules() if isinstance(m, nn.Linear)), None)
        if first is None:
            raise InputError(f"{type(module).__name__} has no Linear that tells its input's shape; give example=tensor")
        example = torch.zeros(batch, first.in_features, dtype=first.weight.dtype)
    if not isinstance(example, Tensor) or example.dim() < 1 or not example.is_floating_point():
        raise InputError(f"example must be a floating-point tensor with a batch dimension, not {example!r:.60}")
    sizes = list(example.shape)
    symbolic = {0: "b", 1: "s"} if len(sizes) == 3 else {0: "b"}
    signature = Signature(
        model=name or type(module).__name__,
        kind="features",
        batch=sizes[0],
        sequence=sizes[1] if len(sizes) == 3 else 1,
        dynamic=dynamic,
        features=tuple(None if i in symbolic else size for i, size in enumerate(sizes)),
        dtype=str(example.dtype).removeprefix("torch."),
    )
    traced, shapes = example, None
    if dynamic:
        traced = example.new_zeros([max(size, 2) if i in symbolic else size for i, size in enumerate(sizes)])
        shapes = ({i: torch.export.Dim(dim, max=LONGEST) for i, dim in symbolic.items()},)
    with use_dialect_attention(module), use_dialect_experts(module):
        exported = export_model(module, (traced,), shapes)
    return _graph(exported, None, signature)


def _check_takes_tokens(model: Any) -> None:
    """Refuse what needs another input than token ids, or more than that."""
    name = getattr(model, "main_input_name", "input_ids")
    if getattr(model.config, "is_encoder_decoder", False):
        raise InputError(
            f"{type(model).__name__} needs the decoder's token ids beside {name}; only models with one input can be "
            "captured: give its encoder or its decoder alone"
        )
    if name != "input_ids":
        raise InputError(f"{type(model).__name__} takes {name}, not token ids; give example=tensor of that shape")


def _graph(exported: fx.GraphModule, input_name: str | None, signature: Signature) -> Graph:
    _one_input_one_output(exported.graph, input_name)
    (source,) = exported.graph.find_nodes(op="placeholder")
    return Graph(dialect_module(exported, _symbols(source.meta["val"])), signature)


def dialect_module(exported: fx.GraphModule, symbols: Mapping[Any, str]) -> fx.GraphModule:
    """Return what `torch.export` gave as nodes of the dialect, described, each parameter under its own name.

    `symbols` maps the sympy symbols of the inputs' sizes to the names that :mod:`mxhw.ir.symbolic` knows.
    """
    graph = exported.graph
    for node in graph.nodes:
        if node.op == "get_attr":
            node.meta["val"] = operator.attrgetter(node.target)(exported)
    clean(exported)
    fold(exported)
    attributes = _own_parameters(exported)
    describe(graph, symbols)
    for node in graph.nodes:
        node.meta = {"mxhw": node.meta["mxhw"]} if "mxhw" in node.meta else {}
        if node.op == "call_module":
            attributes[node.target] = exported.get_submodule(node.target)
    return fx.GraphModule(attributes, graph, class_name="CapturedModel")


def _one_input_one_output(graph: fx.Graph, input_name: str | None) -> None:
    """Leave the input of that name (or the only one), and the first output tensor: a language model's logits."""
    output = graph.output_node()
    outputs: list[fx.Node] = []
    fx.map_arg(output.args, outputs.append)
    output.args = (outputs[0],)
    graph.set_codegen(fx.graph.CodeGen())
    graph.eliminate_dead_code()
    for node in graph.find_nodes(op="placeholder"):
        if input_name is not None and node.target != input_name:
            if node.users:
                raise InputError(f"model needs {node.target!r} beside {input_name!r}; only one input can be captured")
            graph.erase_node(node)


def _own_parameters(module: fx.GraphModule) -> dict[str, Any]:
    """Give every use of a parameter a node of its own right before it, and return the tensor of every name.

    A use inside a module that has a name for the tensor gets that name: with tied embeddings, `lm_head.weight` and
    `embed_tokens.weight` are then two attributes that share one tensor, and a pass may change either alone.
    """
    graph = module.graph
    known: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    known.update(module.named_buffers(remove_duplicate=False))
    attributes: dict[str, Any] = {}
    for shared in list(graph.find_nodes(op="get_attr")):
        tensor = shared.meta["val"]
        for user in list(shared.users):
            own = f"{provenance(user).fqn}.{str(shared.target).rpartition('.')[2]}"
            target = own if known.get(own) is tensor else shared.target
            transposed = user.meta.get(TRANSPOSED) == shared.target
            attributes[target] = _transposed(tensor) if transposed else tensor
            with graph.inserting_before(user):
                node = graph.create_node("get_attr", target)
            node.meta["val"] = attributes[target]
            user.replace_input_with(shared, node)
        graph.erase_node(shared)
    return attributes


def _transposed(weight: Tensor) -> Tensor:
    turned = weight.detach().mT
    return nn.Parameter(turned, requires_grad=weight.requires_grad) if isinstance(weight, nn.Parameter) else turned


def _symbols(value: Tensor) -> dict[Any, str]:
    """Return which sympy symbol of the input's shape is the batch "b" and which the sequence "s"."""
    symbols: dict[Any, str] = {}
    for size, name in zip(value.shape, ("b", "s"), strict=False):
        if isinstance(size, torch.SymInt):
            symbols[size.node.expr] = name
    return symbols
