"""Export of a model without weights whose layers are the same: a few are traced, and the last of them is repeated.

Tracing takes some milliseconds an operator, copying a node some microseconds. What comes out is the graph that
tracing every layer gives, node for node and name for name; a model, or a trace, that does not prove that its layers are
the same is traced whole.

    layers 0, 1, 2, 3  →  layers 0, 1, 2, 3, and 3 again as 4, 5, ..., each reading the one before it
"""

import re
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import fx, nn

from mxhw.ir.alike import Stack, repeated_layers
from mxhw.ir.describe import argument_nodes
from mxhw.ir.export import export_model
from mxhw.ir.weightless import assign_tensor

__all__ = ["TRACED", "export_weightless"]

# Products of symbolic sizes are nodes in the first two layers only, torch knows them by then: names skip what was
# dropped. So the third and the fourth tell how names go on.
TRACED = 4
_NUMBERED = re.compile(r"(.+)_(\d+)")
_Nodes = dict[fx.Node, fx.Node]


def export_weightless(model: nn.Module, inputs: dict[str, Any], shapes: Any) -> fx.GraphModule:
    """Return what :func:`mxhw.ir.export.export_model` does, having traced as few layers as will do."""
    stack = repeated_layers(model)
    if stack is not None:
        with stack.shortened(TRACED):
            exported = export_model(model, inputs, shapes)
        if _repeat(exported, stack):
            return exported
    return export_model(model, inputs, shapes)


@dataclass(frozen=True)
class _Layer:
    """The nodes of a traced layer: what it reads, and what it computes; each of both stand together in the graph."""

    path: str
    parameters: list[fx.Node]
    nodes: list[fx.Node]

    def renamed(self, path: str, to: str) -> str:
        """Return the path of a part of this layer as that of another one's; other paths stay."""
        return to + path[len(self.path) :] if f"{path}.".startswith(f"{self.path}.") else path


def _repeat(module: fx.GraphModule, stack: Stack) -> bool:
    """Repeat the last layer in the graph of `module`; False, and nothing is changed, if the layers are not the same."""
    nodes = list(module.graph.nodes)
    layers = _traced_layers(nodes, stack.path)
    if layers is None:
        return False
    images: list[_Nodes] = []
    carried: _Nodes = {}
    for first, second in pairwise(layers):
        image = dict(zip(first.parameters + first.nodes, second.parameters + second.nodes, strict=False))
        found = _carried(first, second, image)
        if found is None:
            return False
        carried = found
        images.append(image)
    image, before = images[-1], images[-2]
    if any(before.get(old) is not new for old, new in carried.items()):
        return False
    read = {node for layer in layers[:-1] for node in (*layer.parameters, *layer.nodes)}
    rest = nodes[nodes.index(layers[-1].nodes[-1]) + 1 :]
    if any(source in read for node in rest for source in node.all_input_nodes):
        return False
    steps = _steps(layers[-2], layers[-1])
    if steps is None:
        return False
    graph = _repeated(nodes, layers[-1], {new: image[new] for new in carried.values()}, steps, stack)
    graph.set_codegen(module.graph._codegen)
    _add_tensors(module, stack)
    module.graph = graph
    return True


def _traced_layers(nodes: list[fx.Node], path: str) -> list[_Layer] | None:
    """Return the traced layers; None if the nodes of one do not stand together, or not right after the one before."""
    parts: dict[str, list[int | None]] = {"get_attr": [], "call_function": []}
    kinds: dict[str, list[fx.Node]] = {"get_attr": [], "call_function": []}
    for node in nodes:
        kind = "get_attr" if node.op == "get_attr" else "call_function"
        parts[kind].append(_layer_of(node, path))
        kinds[kind].append(node)
    found: list[tuple[list[fx.Node], ...]] = []
    for kind, members in kinds.items():
        numbers = parts[kind]
        own = [number for number in numbers if number is not None]
        start = next((place for place, number in enumerate(numbers) if number is not None), 0)
        if sorted(set(own)) != list(range(TRACED)) or own != sorted(own) or numbers[start : start + len(own)] != own:
            return None
        found.append(tuple([n for n, at in zip(members, numbers, strict=True) if at == i] for i in range(TRACED)))
    attributes, calls = found
    return [_Layer(f"{path}.{i}", attributes[i], calls[i]) for i in range(TRACED)]


def _layer_of(node: fx.Node, path: str) -> int | None:
    stack = node.meta.get("nn_module_stack") or {}
    places = [str(node.target)] if node.op == "get_attr" else [place for place, _ in stack.values()]
    for place in places:
        if place.startswith(f"{path}.") and (number := place[len(path) + 1 :].partition(".")[0]).isdecimal():
            return int(number)
    return None


def _carried(first: _Layer, second: _Layer, image: _Nodes) -> _Nodes | None:
    """Return what the second layer reads of the first in the place of what that reads; None if they differ."""
    if len(first.nodes) != len(second.nodes) or len(first.parameters) != len(second.parameters):
        return None
    carried: _Nodes = {}
    inside = set(first.nodes)
    for old, new in image.items():
        if _content(old, first, second.path) != _content(new, second, second.path):
            return None
        for a, b in zip(argument_nodes(old), argument_nodes(new), strict=True):
            if a in image:
                if image[a] is not b:
                    return None
            elif (a is not b and (b not in inside or carried.setdefault(a, b) is not b)) or (a is b and a in carried):
                return None
    return carried


def _content(node: fx.Node, layer: _Layer, path: str) -> tuple[Any, ...]:
    """Return all that later steps read of a node, as it would be in the layer of that path."""
    stack = (node.meta.get("nn_module_stack") or {}).values()
    return (
        node.op,
        layer.renamed(node.target, path) if node.op == "get_attr" else node.target,  # type: ignore[arg-type]
        str(fx.map_arg((node.args, node.kwargs), lambda _: None)),
        len(argument_nodes(node)),
        [(layer.renamed(place, path), str(kind)) for place, kind in stack],
        str(node.meta.get("custom")),
        _kind(node.meta.get("val")),
    )


def _kind(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_kind(each) for each in value]
    if isinstance(value, torch.Tensor):
        return str((value.shape, value.stride(), value.dtype, value.device))
    return str(value)


def _steps(first: _Layer, second: _Layer) -> dict[str, int] | None:
    """Return by how much the number in the names of a kind grows from layer to layer; None if names were skipped."""
    names = [(_split(a.name), _split(b.name)) for a, b in zip(first.nodes, second.nodes, strict=True)]
    counts: dict[str, int] = {}
    for (stem, _), _ in names:
        counts[stem] = counts.get(stem, 0) + 1
    regular = all(stem == other and to - at == counts[stem] for (stem, at), (other, to) in names)
    return counts if regular else None


def _split(name: str) -> tuple[str, int]:
    match = _NUMBERED.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, 0)


def _named(node: fx.Node, steps: dict[str, int], layers: int) -> str:
    """Return the name of a node that stands `layers` layers further back."""
    stem, number = _split(node.name)
    return f"{stem}_{number + layers * steps[stem]}" if layers and steps.get(stem) else node.name


def _repeated(nodes: list[fx.Node], layer: _Layer, carried: _Nodes, steps: dict[str, int], stack: Stack) -> fx.Graph:
    """Copy a graph, the last traced layer as often as it takes.

    `carried` gives, for what the layer reads of the one before it, the node of its own that the next layer reads.
    """
    graph, copies = fx.Graph(), _Nodes()
    more = len(stack.layers) - TRACED
    parameters: list[_Nodes] = [{} for _ in range(more)]

    def add(node: fx.Node, name: str, source: Mapping[fx.Node, fx.Node], path: str) -> fx.Node:
        args, kwargs = fx.map_arg((node.args, node.kwargs), source.__getitem__)
        target = layer.renamed(str(node.target), path) if node.op == "get_attr" else node.target
        copy = graph.create_node(node.op, target, args, kwargs, name, node.type)
        copy.meta = dict(node.meta)
        if path != layer.path and "nn_module_stack" in node.meta:
            modules = node.meta["nn_module_stack"].items()
            copy.meta["nn_module_stack"] = {k: (layer.renamed(place, path), kind) for k, (place, kind) in modules}
        return copy

    back = 0
    for node in nodes:
        copies[node] = add(node, _named(node, steps, back), copies, layer.path)
        if node is layer.parameters[-1]:
            for number, own in enumerate(parameters, 1):
                path = f"{stack.path}.{TRACED - 1 + number}"
                for each in layer.parameters:
                    name = _underscored(path) + each.name.removeprefix(_underscored(layer.path))
                    own[each] = add(each, name, copies, path)
        elif node is layer.nodes[-1]:
            latest = copies
            for number, own in enumerate(parameters, 1):
                path = f"{stack.path}.{TRACED - 1 + number}"
                current = own | {read: latest[mine] for read, mine in carried.items()}
                for each in layer.nodes:
                    current[each] = add(each, _named(each, steps, number), ChainMap(current, copies), path)
                latest = current
            copies.update({each: latest[each] for each in layer.nodes})
            back = more
    return graph


def _underscored(path: str) -> str:
    return path.replace(".", "_")


def _add_tensors(module: fx.GraphModule, stack: Stack) -> None:
    """Give `module` the parameters and buffers of the layers that were not traced."""
    for number in range(TRACED, len(stack.layers)):
        layer = stack.layers[number]
        for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):
            target = f"{stack.path}.{number}.{name}"
            owner: nn.Module = module
            for part in target.split(".")[:-1]:
                if part not in owner._modules:
                    owner.add_module(part, nn.Module())
                owner = owner.get_submodule(part)
            assign_tensor(module, target, tensor if isinstance(tensor, nn.Parameter) else tensor.to("meta"))
