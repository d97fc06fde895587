"""Third step: write down for every node that computes what it is (:class:`mxhw.ir.metadata.NodeInfo`).

Views, constants and the integer bookkeeping of positions compute no value of the model and get no record.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from typing import Any, cast

import torch
from torch import fx
from torch._ops import OpOverload

from mxhw.errors import InputError
from mxhw.ir.dialect import ADDS_FIRST, GEMM_OPS, TARGET_OPS, VIEWS, operand_position, quantizable
from mxhw.ir.fold import FOLDED
from mxhw.ir.kinds import own_operator
from mxhw.ir.metadata import NodeInfo, Shape, Site
from mxhw.ir.provenance import Provenance, provenance
from mxhw.ir.symbolic import Size, size_from_torch

__all__ = ["INFO", "INPUT", "SOURCE", "argument_nodes", "describe"]

INFO = "mxhw"  # meta key of a node's NodeInfo
SOURCE = "mxhw_source"  # meta key of an input that is not the model's own: how `NodeInfo.inputs` names it
INPUT = "input"  # how `NodeInfo.inputs` names the model's input
_SUFFIX = {"attn_qk": "qk", "attn_pv": "pv"}
_LAYER = re.compile(r"(.+?\.\d+)\.")


def describe(graph: fx.Graph, symbols: Mapping[Any, str]) -> None:
    """Put a NodeInfo into `meta["mxhw"]` of every computing node; `symbols` maps sympy symbols to "b", "s" and "p"."""
    taken: set[str] = set()
    nodes: list[fx.Node] = []
    for node in graph.nodes:
        if node.op in ("call_function", "call_module") and not _is_bookkeeping(node):
            node.meta[INFO] = _info(node, symbols, taken)
            nodes.append(node)
    _number_blocks(nodes)


def _is_bookkeeping(node: fx.Node) -> bool:
    value = _first(node.meta["val"])
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return True
    if str(getattr(node.target, "__name__", node.target)).partition(".")[0] in VIEWS:
        return True
    return not any(isinstance(_first(a.meta["val"]), torch.Tensor) for a in argument_nodes(node))  # a constant


def _info(node: fx.Node, symbols: Mapping[Any, str], taken: set[str]) -> NodeInfo:
    source: Provenance = node.meta.get(FOLDED) or provenance(node)
    value = _first(node.meta["val"])
    tensors = [a for a in argument_nodes(node) if isinstance(_first(a.meta["val"]), torch.Tensor)]
    shapes = [tuple(_first(a.meta["val"]).shape) for a in tensors]

    def size(value: Any) -> Size:
        try:
            return size_from_torch(value, symbols)
        except InputError as error:
            raise InputError(
                f"sizes of {source.fqn!r} ({source.module_class}) cannot stay symbolic, capture with dynamic=False: "
                f"{error}"
            ) from None

    def shape(sizes: Any) -> Shape:
        return tuple(size(each) for each in sizes)

    op = _op(node, source, tensors)
    name = _unique(_base_name(op, node, source), taken)
    input_shapes = tuple(shape(sizes) for sizes in shapes)
    return NodeInfo(
        name=name,
        op=op,
        fqn=source.fqn,
        module_class=source.module_class,
        target="body" if node.op == "call_module" else str(node.target),
        input_shapes=input_shapes,
        output_shape=shape(value.shape),
        dtype=str(value.dtype).removeprefix("torch."),
        macs=size(_macs(op, node, source, shapes, value)),
        inputs=tuple(dict.fromkeys(producer for a in tensors for producer in _producers(a))),
        sites=tuple(
            Site(node=name, operand=operand, shape=input_shapes[operand_position(node.target, operand)], axis=axis)
            for operand, axis in quantizable(op, node.target, shapes)
        ),
        causal=op in ("attn_qk", "attn_pv") and _is_causal(node),
        experts=int(shapes[1][0]) if op == "expert_linear" else None,
        active_experts=int(shapes[2][0]) if op == "expert_linear" else None,
    )


def _op(node: fx.Node, source: Provenance, tensors: list[fx.Node]) -> str:
    if node.op == "call_module" and source.op:
        return source.op
    if own := own_operator(node.target):
        return own.op
    if isinstance(node.target, OpOverload) and node.target.namespace not in ("aten", "mxhw"):
        raise InputError(
            f"operator {node.target} of {source.fqn!r} ({source.module_class}) is not in the dialect; models whose "
            "layers call custom operators cannot be captured unless these are registered (mxhw.ir.register_operator)"
        )
    op = TARGET_OPS.get(node.target) or source.op or "other"  # type: ignore[call-overload]
    if op == "linear" and tensors[1].op != "get_attr":
        return "matmul"
    return op


def _base_name(op: str, node: fx.Node, source: Provenance) -> str:
    """Return the module's path where the node is all that the module does, else the path and the kind.

    A product with a parameter named as that of a linear layer is what gives the module its name (the router of
    experts, which does more), and each product of experts is named by its parameter.
    """
    if op in ("linear", "expert_linear") and isinstance(node.args[1], fx.Node):
        path = str(node.args[1].target)
        if path.startswith(f"{source.fqn}.") and node.args[1].op == "get_attr":
            return path.removesuffix(".weight")
    if source.op == op and op not in ("rope", "router"):
        return source.fqn
    return f"{source.fqn}.{_SUFFIX.get(op, op)}".removeprefix(".")


def _unique(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate


def _macs(op: str, node: fx.Node, source: Provenance, shapes: list[tuple[Any, ...]], value: torch.Tensor) -> Any:
    """Return the multiply-accumulates of a product or a registered kind, an int or a symbolic one; zero of others."""
    if own := own_operator(node.target) or source.own:
        return own.macs(shapes, tuple(value.shape)) if own.macs else 0
    outputs = prod(value.shape)
    if op in GEMM_OPS or op == "expert_linear":
        return outputs * shapes[0][-1]
    if op == "matmul":
        return outputs * shapes[node.target in ADDS_FIRST][-1]
    if op == "conv":
        return outputs * prod(shapes[1][1:])
    if op == "attention":
        return (prod(shapes[0]) + outputs) * shapes[1][-2]
    return 0


def _is_causal(node: fx.Node) -> bool:
    softmax = torch.ops.mxhw.attn_softmax.default
    if node.target is torch.ops.mxhw.attn_qk.default:
        found = next((user for user in node.users if user.target is softmax), None)
    else:
        found = node.args[0] if isinstance(node.args[0], fx.Node) and node.args[0].target is softmax else None
    return found is not None and bool(found.args[2])


def argument_nodes(node: fx.Node) -> list[fx.Node]:
    """Return the argument nodes in order, repeated ones kept."""
    found: list[fx.Node] = []
    fx.map_arg((node.args, node.kwargs), found.append)
    return found


def _producers(node: fx.Node) -> Iterator[str]:
    if INFO in node.meta:
        yield node.meta[INFO].name
    elif node.op == "placeholder":
        yield node.meta.get(SOURCE, INPUT)
    elif node.op == "call_function" and isinstance(_first(node.meta["val"]), torch.Tensor):
        for argument in argument_nodes(node):
            yield from _producers(argument)


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple | list) and value else value


def _number_blocks(nodes: list[fx.Node]) -> None:
    """Give structurally equal layers one block number: same kinds, relative paths, shapes, constants, wiring."""
    layers: dict[str, list[fx.Node]] = defaultdict(list)
    candidates = {match[1] for node in nodes if (match := _LAYER.match(node.meta[INFO].fqn))}
    for node in nodes:
        fqn = node.meta[INFO].fqn
        match = _LAYER.match(f"{fqn}.")
        if match and match[1] in candidates:
            layers[match[1]].append(node)
    numbers: dict[Any, int] = {}
    for layer, members in layers.items():
        number = numbers.setdefault(_signature(layer, members), len(numbers))
        for node in members:
            node.meta[INFO] = replace(node.meta[INFO], layer=layer, block=number)


def _signature(layer: str, nodes: list[fx.Node]) -> tuple[Any, ...]:
    inside = {node.meta[INFO].name for node in nodes}
    return tuple(
        (
            info.name.removeprefix(layer),
            info.op,
            info.target,
            info.module_class,
            info.input_shapes,
            info.output_shape,
            info.dtype,
            info.causal,
            tuple(name.removeprefix(layer) if name in inside else None for name in info.inputs),
            _constants(node),
        )
        for node in nodes
        for info in (node.meta[INFO],)
    )


def _constants(node: fx.Node) -> str:
    """Return the arguments that are no nodes (a window, an epsilon), those inside a folded node included."""
    if node.op == "call_module":
        body = cast(fx.GraphModule, cast(fx.GraphModule, node.graph.owning_module).get_submodule(str(node.target)))
        return " ".join(
            f"{inner.target}{_constants(inner)}" for inner in body.graph.nodes if inner.op == "call_function"
        )
    return str(fx.map_arg((node.args, node.kwargs), lambda _: None))
