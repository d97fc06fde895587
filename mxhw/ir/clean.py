"""First step after export: take away what computes nothing, and what hides the values that a node reads.

Assertions, casts to the same type and dropout go; views that give a parameter its own shape back go; an operator that
writes into a value that nothing else reads becomes the one that returns a new value, so that every value of the graph
is what its node returned.
"""

import torch
from torch import Tensor, fx

from mxhw.ir.joining import join_slices

__all__ = ["clean"]

_aten = torch.ops.aten
_CASTS = frozenset({_aten.to.dtype, _aten.to.dtype_layout, _aten.to.device, _aten.type_as.default})
_IDENTITIES = frozenset(
    {
        _aten.alias.default,
        _aten.detach.default,
        _aten.detach_.default,
        _aten.dropout.default,
        _aten.dropout_.default,
        _aten.feature_dropout.default,
        _aten.lift_fresh_copy.default,
    }
)
_VIEWS = frozenset(
    {
        _aten.mT.default,
        _aten.numpy_T.default,
        _aten.permute.default,
        _aten.squeeze.dim,
        _aten.t.default,
        _aten.transpose.int,
        _aten.unsqueeze.default,
        _aten.view.default,
    }
)
_OUT_OF_PLACE = {
    _aten.add_.Tensor: _aten.add.Tensor,
    _aten.div_.Tensor: _aten.div.Tensor,
    _aten.mul_.Tensor: _aten.mul.Tensor,
    _aten.relu_.default: _aten.relu.default,
    _aten.silu_.default: _aten.silu.default,
    _aten.sub_.Tensor: _aten.sub.Tensor,
}


def clean(module: fx.GraphModule) -> None:
    """Remove assertions, identities and hidden writes from `module`'s graph, in place; needs `meta["val"]`."""
    join_slices(module.graph)
    for node in list(module.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target is _aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)
        elif node.target in _IDENTITIES or (node.target in _CASTS and _keeps_type(node)):
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
        elif node.target in _OUT_OF_PLACE and _writes_unseen(node):
            node.target = _OUT_OF_PLACE[node.target]
        elif (parameter := _viewed_parameter(node)) is not None:
            node.replace_all_uses_with(parameter)
    module.graph.eliminate_dead_code()


def _keeps_type(node: fx.Node) -> bool:
    source, value = node.args[0], node.meta["val"]
    if not isinstance(source, fx.Node):
        return False
    before = source.meta["val"]
    return bool(before.dtype == value.dtype and before.device == value.device)


def _writes_unseen(node: fx.Node) -> bool:
    """Whether only `node` reads what it writes into, and the operator would return the same type."""
    written = node.args[0]
    if not isinstance(written, fx.Node) or written.op != "call_function" or len(written.users) > 1:
        return False
    returns = written.target._schema.returns if isinstance(written.target, torch._ops.OpOverload) else ()
    fresh = len(returns) == 1 and returns[0].alias_info is None
    return fresh and all(source.meta["val"].dtype == node.meta["val"].dtype for source in _tensors(node))


def _viewed_parameter(node: fx.Node) -> fx.Node | None:
    """Return the parameter that `node` is a view of, if the views took turns and left it as it is."""
    source, views = node, 0
    while source.target in _VIEWS and isinstance(source.args[0], fx.Node):
        source, views = source.args[0], views + 1
    if not views or source.op != "get_attr":
        return None
    value, parameter = node.meta["val"], source.meta["val"]
    same = value.shape == parameter.shape and value.stride() == parameter.stride()
    return source if same else None


def _tensors(node: fx.Node) -> list[fx.Node]:
    return [source for source in node.all_input_nodes if isinstance(source.meta["val"], Tensor)]
