"""What a node of the float graph computes, found by running it: a rule recognizes its function, not its spelling."""

import operator
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, fx

from mxhw.ir import Graph

__all__ = ["attribute", "constants", "evaluate", "run_until"]


def attribute(node: fx.Node) -> Tensor:
    """Return the parameter or buffer that a get_attr node reads."""
    return cast(Tensor, operator.attrgetter(str(node.target))(node.graph.owning_module)).detach()


def evaluate(node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    """Return what ``node`` gives for values of its arguments; parameters are read."""

    def value(argument: fx.Node) -> Any:
        return values[argument] if argument in values else attribute(argument)

    args, kwargs = fx.map_arg(node.args, value), fx.map_arg(node.kwargs, value)
    with torch.no_grad():
        if node.op == "call_module":
            module = cast(fx.GraphModule, node.graph.owning_module)
            return module.get_submodule(str(node.target))(*args, **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]


def constants(node: fx.Node) -> Iterator[float]:
    """Yield the floating-point constants of a node, those inside a folded one included (an epsilon, a factor)."""
    if node.op == "call_module":
        module = cast(fx.GraphModule, node.graph.owning_module)
        body = cast(fx.GraphModule, module.get_submodule(str(node.target)))
        for inner in body.graph.nodes:
            yield from (each for each in inner.args if isinstance(each, float))
    else:
        yield from (each for each in (*node.args, *node.kwargs.values()) if isinstance(each, float))


def run_until(graph: Graph, node: fx.Node, x: Tensor) -> Any:
    """Return what ``node`` gives when the graph runs on ``x``; only what it depends on is run."""
    needed, open_nodes = {node}, [node]
    while open_nodes:
        fresh = set(open_nodes.pop().all_input_nodes) - needed
        needed |= fresh
        open_nodes += fresh
    interpreter = fx.Interpreter(graph.module)
    interpreter.args_iter = iter([x])
    with torch.no_grad():
        for each in graph.module.graph.nodes:
            if each in needed:
                interpreter.env[each] = interpreter.run_node(each)
    return interpreter.env[node]
