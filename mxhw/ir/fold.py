"""Second step: runs of operators that one module (or marked function) computed become one node.

A contiguous run of a topological order is convex, so folding it can make no cycle. The folded node calls a submodule
whose graph is the run itself, operator for operator, and takes every parameter as an explicit argument, so that a
pass can still put something between a weight and its use. Multiplications of matrices are folded away by no rule of the
dialect; a class that was registered with the count of its multiply-accumulates may have them inside.
"""

import operator
from collections.abc import Iterable

import torch
from torch import fx

from mxhw.errors import InputError
from mxhw.ir.dialect import PRODUCTS
from mxhw.ir.kinds import own_operator
from mxhw.ir.provenance import Provenance, provenance
from mxhw.ir.raising import raise_module, raise_products

__all__ = ["BODIES", "FOLDED", "fold"]

BODIES = "_bodies"  # submodule that holds the graphs of folded nodes
FOLDED = "mxhw_folded"  # meta key of a folded node: its Provenance


def fold(module: fx.GraphModule) -> None:
    """Fold the runs of `module`'s graph, in place; needs `meta["val"]` on every node."""
    raise_products(module.graph)
    runs = _runs(module.graph.nodes)
    _check_own(runs)
    for number, (source, nodes) in enumerate(runs):
        if source.op == "linear":
            raise_module(module.graph, source, nodes)
        elif len(nodes) > 1 or source.own:
            _replace_by_body(module, f"{BODIES}.{source.op}_{number}", source, nodes)
    module.graph.lint()


def _runs(nodes: Iterable[fx.Node]) -> list[tuple[Provenance, list[fx.Node]]]:
    """Return the contiguous runs of nodes with the same known provenance; parameters in between do not interrupt."""
    runs: list[tuple[Provenance, list[fx.Node]]] = []
    current: Provenance | None = None
    for node in nodes:
        if node.op == "get_attr":
            continue
        source = provenance(node) if node.op == "call_function" else None
        if source is None or source.op is None or (_stays(node) and source.op != "linear" and source.own is None):
            current = None
        elif source == current:
            runs[-1][1].append(node)
        else:
            current = source
            runs.append((source, [node]))
    return runs


def _stays(node: fx.Node) -> bool:
    """Whether an operator is a node by itself wherever it is."""
    return node.target in PRODUCTS or own_operator(node.target) is not None


def _check_own(runs: list[tuple[Provenance, list[fx.Node]]]) -> None:
    """Raise InputError where a module of a registered class cannot become one node, or would hide products."""
    seen: set[Provenance] = set()
    for source, nodes in runs:
        if source.own is None:
            continue
        what = f"module {source.fqn!r} of class {source.module_class}"
        if source in seen:
            raise InputError(f"{what} is no node of kind {source.op!r}: other nodes compute between its own")
        seen.add(source)
        product = next((node for node in nodes if node.target in PRODUCTS), None)
        if product is not None and source.own.macs is None:
            raise InputError(
                f"{what} multiplies matrices ({product.target}): register the class with macs=, so that its work counts"
            )


def _replace_by_body(module: fx.GraphModule, name: str, source: Provenance, nodes: list[fx.Node]) -> None:
    graph, inside = module.graph, set(nodes)
    outputs = [node for node in nodes if any(user not in inside for user in node.users)]
    outputs.sort(key=_is_integer)  # stable; a folded node is described by its first output
    inputs = list(dict.fromkeys(a for node in nodes for a in node.all_input_nodes if a not in inside))
    body, copies = fx.Graph(), {}
    for node in inputs:
        copies[node] = body.placeholder(node.name)
    for node in nodes:
        copies[node] = body.node_copy(node, copies.__getitem__)
    results = tuple(copies[node] for node in outputs)
    body.output(results[0] if len(results) == 1 else results)
    module.add_submodule(name, fx.GraphModule({}, body))

    with graph.inserting_after(nodes[-1]):
        call = graph.call_module(name, tuple(inputs))
    values = tuple(node.meta["val"] for node in outputs)
    call.meta = {FOLDED: source, "val": values[0] if len(values) == 1 else values}
    replacements = [call]
    if len(outputs) > 1:
        replacements, last = [], call
        for index, value in enumerate(values):
            with graph.inserting_after(last):
                last = graph.call_function(operator.getitem, (call, index))
            last.meta = {"val": value}
            replacements.append(last)
    for old, new in zip(outputs, replacements, strict=True):
        old.replace_all_uses_with(new, delete_user_cb=lambda user: user not in inside)
    for node in reversed(nodes):
        graph.erase_node(node)


def _is_integer(node: fx.Node) -> bool:
    value = node.meta["val"]
    return not (isinstance(value, torch.Tensor) and value.is_floating_point())
