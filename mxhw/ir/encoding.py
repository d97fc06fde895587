"""fx nodes as JSON and back: operators by name from a short list of namespaces, arguments as plain values.

What is read may come from anyone. torch.fx writes Python source from a graph and runs it, so every name is held to an
identifier, every attribute to a dotted path, and every operator must exist in `aten`, `mxhw` or the list of Python
operators below, or be registered by the user (:mod:`mxhw.ir.kinds`); operators that take file names are refused.
"""

import keyword
import math
import operator
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from mxhw.errors import InputError
from mxhw.ir.kinds import own_operator, own_operators

__all__ = ["decode_graph", "decode_target", "encode_graph", "encode_target"]

_NAMESPACES = {"aten": torch.ops.aten, "mxhw": torch.ops.mxhw}
_PYTHON_OPERATORS = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "neg", "pow"),
    *("eq", "ne", "lt", "le", "gt", "ge", "getitem"),
)  # on sizes and tuples
_PYTHON = {name: getattr(operator, name) for name in _PYTHON_OPERATORS}
_PYTHON_NAMES = {function: name for name, function in _PYTHON.items()}
_TORCH_VALUES = {"dtype": torch.dtype, "layout": torch.layout, "memory_format": torch.memory_format}
_OPS = ("placeholder", "get_attr", "call_function", "call_module", "output")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PATH = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_DEEPEST = 8  # nesting of lists in arguments


def encode_graph(graph: fx.Graph) -> list[dict[str, Any]]:
    """Return the nodes of `graph` in order: name, op, target, args, kwargs.

    Raises
    ------
    InputError
        If an operator or argument is outside of what may be stored.
    """
    return [
        {
            "name": node.name,
            "op": node.op,
            "target": encode_target(node.target) if node.op == "call_function" else str(node.target),
            "args": [_encode(argument) for argument in node.args],
            "kwargs": {key: _encode(argument) for key, argument in node.kwargs.items()},
        }
        for node in graph.nodes
    ]


def decode_graph(data: object, where: str) -> tuple[fx.Graph, dict[str, fx.Node]]:
    """Build the graph that :func:`encode_graph` described, and its nodes by stored name; `where` is for errors.

    Raises
    ------
    InputError
        If anything in it is malformed, unknown or not allowed.
    """
    graph = fx.Graph()
    nodes: dict[str, fx.Node] = {}
    if not isinstance(data, list) or not data:
        raise InputError(f"{where}: nodes must be a list that is not empty")
    for number, entry in enumerate(data):
        place = f"{where}: node {number}"
        if not isinstance(entry, dict) or not {"name", "op", "target", "args", "kwargs"} <= entry.keys():
            raise InputError(f"{place} must have name, op, target, args and kwargs")
        name, op = entry["name"], entry["op"]
        if op not in _OPS:
            raise InputError(f"{place}: op must be one of {', '.join(_OPS)}, not {op!r:.60}")
        if not _is_identifier(name) or name in nodes:
            raise InputError(f"{place}: name must be a new identifier, not {name!r:.60}")
        if not isinstance(entry["args"], list) or not isinstance(entry["kwargs"], dict):
            raise InputError(f"{place}: args must be a list and kwargs an object")
        args = tuple(_decode(argument, nodes, place) for argument in entry["args"])
        kwargs = {_keyword(key, place): _decode(argument, nodes, place) for key, argument in entry["kwargs"].items()}
        nodes[name] = graph.create_node(op, _target(op, entry["target"], place), args, kwargs, name)
    if [node.op for node in graph.nodes].count("output") != 1 or next(reversed(graph.nodes)).op != "output":
        raise InputError(f"{where}: the last node, and only that, must be the output")
    return graph, nodes


def encode_target(target: Any) -> str:
    """Return the name of an operator, for instance "aten.linear.default" or "operator.getitem"."""
    if isinstance(target, torch._ops.OpOverload) and target.namespace in _NAMESPACES:
        return str(target)
    if own_operator(target):
        return str(target)
    if target in _PYTHON_NAMES:
        return f"operator.{_PYTHON_NAMES[target]}"
    raise InputError(
        f"operator {target} cannot be stored: only those of aten, mxhw and operator can, and registered ones"
    )


def decode_target(name: object) -> Any:
    """Return the operator of that name; InputError if it does not exist or is not allowed."""
    parts = name.split(".") if isinstance(name, str) else []
    if len(parts) == 2 and parts[0] == "operator" and parts[1] in _PYTHON:
        return _PYTHON[parts[1]]
    if len(parts) == 3 and parts[0] in _NAMESPACES and all(_is_identifier(part) for part in parts):
        packet = getattr(_NAMESPACES[parts[0]], parts[1], None)
        overload = getattr(packet, parts[2], None)
        if isinstance(overload, torch._ops.OpOverload):
            if any("file" in argument.name for argument in overload._schema.arguments):
                raise InputError(f"operator {name!r} reads files, which a graph may not")
            return overload
    if isinstance(name, str) and name in (own := own_operators()):
        return own[name]
    raise InputError(
        f"operator {name!r:.80} does not exist or is not one of aten, mxhw and operator; one of your own must be "
        "registered before (mxhw.ir.register_operator)"
    )


def _target(op: str, target: object, place: str) -> Any:
    if op == "call_function":
        try:
            return decode_target(target)
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
    allowed = _is_identifier(target) if op in ("placeholder", "output") else _is_path(target)
    if not allowed:
        raise InputError(f"{place}: target of {op} must be a plain name, not {target!r:.60}")
    return target


def _encode(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    if isinstance(value, slice):
        return {"slice": [_encode(part) for part in (value.start, value.stop, value.step)]}
    if isinstance(value, torch.device):
        return {"device": value.type}
    for kind, python_type in _TORCH_VALUES.items():
        if isinstance(value, python_type):
            return {kind: str(value).removeprefix("torch.")}
    raise InputError(f"argument {value!r:.80} of type {type(value).__name__} cannot be stored")


def _decode(value: Any, nodes: Mapping[str, fx.Node], place: str, depth: int = 0) -> Any:
    if depth > _DEEPEST:
        raise InputError(f"{place}: arguments are nested deeper than {_DEEPEST}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_decode(item, nodes, place, depth + 1) for item in value]
    kind, content = next(iter(value.items())) if isinstance(value, dict) and len(value) == 1 else (None, None)
    if kind == "node" and isinstance(content, str) and content in nodes:
        return nodes[content]
    if kind == "float" and content in ("inf", "-inf", "nan"):
        return float(content)
    if kind == "slice" and isinstance(content, list) and len(content) == 3:
        return slice(*(_decode(part, nodes, place, depth + 1) for part in content))
    if kind == "device" and content in ("cpu", "cuda"):
        return torch.device(content)
    if kind in _TORCH_VALUES and isinstance(content, str):
        found = getattr(torch, content, None)
        if isinstance(found, _TORCH_VALUES[kind]):
            return found
    raise InputError(f"{place}: argument {value!r:.80} is malformed or names a node that does not come before")


def _keyword(key: object, place: str) -> str:
    if not _is_identifier(key):
        raise InputError(f"{place}: argument name {key!r:.60} is not an identifier")
    return str(key)


def _is_identifier(name: object) -> bool:
    return isinstance(name, str) and _IDENTIFIER.fullmatch(name) is not None and not keyword.iskeyword(name)


def _is_path(name: object) -> bool:
    return isinstance(name, str) and _PATH.fullmatch(name) is not None
