"""First step after export: take away what computes nothing: assertions, casts to the same type, dropout."""

import torch
from torch import fx

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
        _aten.lift_fresh_copy.default,
    }
)


def clean(module: fx.GraphModule) -> None:
    """Remove assertions and identities from `module`'s graph, in place; needs `meta["val"]` on every node."""
    for node in list(module.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target is _aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)
        elif node.target in _IDENTITIES or (node.target in _CASTS and _keeps_type(node)):
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()


def _keeps_type(node: fx.Node) -> bool:
    source, value = node.args[0], node.meta["val"]
    if not isinstance(source, fx.Node):
        return False
    before = source.meta["val"]
    return bool(before.dtype == value.dtype and before.device == value.device)
