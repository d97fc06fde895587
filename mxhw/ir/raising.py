"""Products with a parameter, however a model writes them, become `linear` with the weight as [out, in].

    y = addmm(b, x.view(...), w).view(...)   →  y = linear(x, wᵀ, b)               GPT-2's `Conv1D`, weight [in, out]
    y = matmul(x, w.T)                       →  y = linear(x, w)                   Falcon
    y = matmul(x, w)                         →  y = linear(x, wᵀ)                  weight [in, out]
    y = matmul(w, x)                         →  y = linear(x.mT, w).mT             Mamba's step sizes
    y = expert_linear(x, w.mT, ids)          →  y = expert_linear(x, wᵀ, ids)      gpt-oss, weights [experts, in, out]

`linear` calls the same kernel on the same memory in the same order, so the values stay the same. A transposed weight
is a view of the stored one.
"""

import torch
from torch import Tensor, fx

from mxhw.errors import InputError
from mxhw.ir.dialect import PRODUCTS
from mxhw.ir.provenance import Provenance

__all__ = ["TRANSPOSED", "raise_module", "raise_products"]

TRANSPOSED = "mxhw_transposed"  # meta key of a raised node: the name of its weight, which is stored as [..., in, out]

_aten = torch.ops.aten
_TURNS = frozenset({_aten.numpy_T.default, _aten.t.default, _aten.mT.default})


def raise_products(graph: fx.Graph) -> None:
    """Rewrite every product of an activation and a parameter; needs `meta["val"]` on every node."""
    for node in graph.find_nodes(op="call_function", target=_aten.matmul.default):
        lhs, rhs = node.args
        weight, turned = _parameter(rhs)
        if weight is not None and _dimensions(lhs) >= 2:
            _linear(graph, node, lhs, weight, transposed=not turned)
            continue
        weight, turned = _parameter(lhs)
        if weight is not None and _dimensions(rhs) >= 3:
            with graph.inserting_before(node):
                x = graph.call_function(_aten.transpose.int, (rhs, -2, -1))
            x.meta = {"val": rhs.meta["val"].mT}
            linear = _linear(graph, node, x, weight, transposed=turned)
            with graph.inserting_after(linear):
                back = graph.call_function(_aten.transpose.int, (linear, -2, -1))
            back.meta = {"val": linear.meta["val"].mT}
            linear.replace_all_uses_with(back)
            back.update_arg(0, linear)
    for node in graph.find_nodes(op="call_function", target=torch.ops.mxhw.expert_linear.default):
        view = node.args[1]
        if view.target is _aten.transpose.int and view.args[1:] == (1, 2) and view.args[0].op == "get_attr":
            node.update_arg(1, view.args[0])
            node.meta[TRANSPOSED] = view.args[0].target
    graph.eliminate_dead_code()


def raise_module(graph: fx.Graph, source: Provenance, nodes: list[fx.Node]) -> None:
    """Rewrite the nodes of one module of a linear class, unless :func:`raise_products` did.

    Raises
    ------
    InputError
        If they are no `addmm` of one input, one weight and at most one bias.
    """
    if any(node.target is _aten.linear.default for node in nodes):
        return
    inside = set(nodes)
    outside = list(dict.fromkeys(a for node in nodes for a in node.all_input_nodes if a not in inside))
    parameters = {len(a.meta["val"].shape): a for a in outside if a.op == "get_attr"}
    inputs = [a for a in outside if a.op != "get_attr" and isinstance(a.meta["val"], Tensor)]
    results = [node for node in nodes if any(user not in inside for user in node.users)]
    products = [node for node in nodes if node.target in PRODUCTS]
    if len(inputs) != 1 or 2 not in parameters or len(results) != 1 or len(products) != 1:
        raise InputError(f"module {source.fqn!r} of class {source.module_class} is not a linear layer that mxhw knows")
    _linear(graph, results[0], inputs[0], parameters[2], parameters.get(1), transposed=True)
    for node in reversed(nodes):
        if node is not results[0]:
            graph.erase_node(node)


def _linear(
    graph: fx.Graph, node: fx.Node, x: fx.Node, weight: fx.Node, bias: fx.Node | None = None, *, transposed: bool
) -> fx.Node:
    """Put `linear` in the place of `node`, which is erased."""
    with graph.inserting_before(node):
        linear = graph.call_function(_aten.linear.default, (x, weight, *([] if bias is None else [bias])))
    linear.meta = dict(node.meta)
    size = weight.meta["val"].shape[1 if transposed else 0]
    linear.meta["val"] = node.meta["val"].new_empty(*x.meta["val"].shape[:-1], size)
    if transposed:
        linear.meta[TRANSPOSED] = weight.target
    node.replace_all_uses_with(linear)
    graph.erase_node(node)
    return linear


def _parameter(node: fx.Node) -> tuple[fx.Node | None, bool]:
    """Return the two-dimensional parameter that `node` is or turns, and whether it turns it."""
    turned = node.op == "call_function" and node.target in _TURNS
    source = node.args[0] if turned else node
    if isinstance(source, fx.Node) and source.op == "get_attr" and _dimensions(source) == 2:
        return source, turned
    return None, False


def _dimensions(node: fx.Node) -> int:
    return len(node.meta["val"].shape)
