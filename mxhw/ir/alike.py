"""Layers of a model that are the same but for their index: what it takes to trace a few of them in place of all.

The layers of a stack must hold the same classes with the same values and parameters of the same shapes; only an
integer that counts the layers may differ, and the code may use that for nothing but the place in the KV cache. That is
read from the source of the classes, so whatever is written in a way that is not known here counts as a difference.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["FEWEST", "Stack", "repeated_layers"]

FEWEST = 8  # layers of a stack that is worth it
_STATE = ("_parameters", "_buffers", "_modules")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_CACHES = frozenset({"past_key_values", "past_key_value", "layer_past"})
_TAKE_SELF = frozenset({"attention_interface", "isinstance", "super"})  # calls that may get the module itself
_Named = dict[str, nn.Module]


@dataclass(frozen=True)
class Stack:
    """A list of layers that are the same; `path` is its path in the model."""

    path: str
    layers: nn.ModuleList

    @contextmanager
    def shortened(self, count: int) -> Iterator[None]:
        """Leave only the first `count` layers in the list inside the context."""
        every = self.layers._modules
        self.layers._modules = dict(list(every.items())[:count])
        try:
            yield
        finally:
            self.layers._modules = every


def repeated_layers(model: nn.Module) -> Stack | None:
    """Return the stack of at least :data:`FEWEST` layers that are the same; None if there is not exactly one."""
    named = dict(model.named_modules())
    lists = [p for p, m in named.items() if isinstance(m, nn.ModuleList) and len(m) >= FEWEST]
    outer = [path for path in lists if not any(path.startswith(f"{other}.") for other in lists)]
    if len(outer) != 1:
        return None
    (path,) = outer
    layers = named[path]
    assert isinstance(layers, nn.ModuleList)
    if not _shares_nothing(model, layers):
        return None
    names: set[str] = set()
    holders: set[type] = set()
    first = dict(layers[0].named_modules())
    for number, layer in enumerate(layers):
        if number and not _same(first, dict(layer.named_modules()), number, names, holders):
            return None
    parents = [named[""]] + [named[path[:end]] for end, letter in enumerate(path) if letter == "."]
    try:
        alike = all(_ignores_index(kind, names) for kind in holders) and _loops_once(parents, path, len(layers))
    except (OSError, TypeError, SyntaxError):  # a class without source
        return None
    return Stack(path, layers) if alike else None


def _shares_nothing(model: nn.Module, layers: nn.ModuleList) -> bool:
    """Whether no module and no parameter of the layers occurs twice in the model."""
    modules = [id(module) for _, module in model.named_modules(remove_duplicate=False)]
    tensors = [id(tensor) for _, tensor in model.named_parameters(remove_duplicate=False)]
    inside = [*map(id, layers.modules()), *map(id, layers.parameters())]
    counts: dict[int, int] = {}
    for each in (*modules, *tensors):
        counts[each] = counts.get(each, 0) + 1
    return all(counts[each] == 1 for each in inside)


def _same(first: _Named, other: _Named, number: int, names: set[str], holders: set[type]) -> bool:
    """Whether the modules of layer `number` are those of the first; adds the names of indices and who holds them."""
    if list(first) != list(other):
        return False
    for a, b in zip(first.values(), other.values(), strict=True):
        mine, its = vars(a), vars(b)
        if type(a) is not type(b) or list(mine) != list(its) or "forward" in mine or any(mine[h] for h in _HOOKS):
            return False
        if not all(_same_tensors(mine[state], its[state]) for state in ("_parameters", "_buffers")):
            return False
        for name, value in mine.items():
            if name in _STATE or value is its[name] or (_is_plain(value) and _is_equal(value, its[name])):
                continue
            if type(value) is not int or type(its[name]) is not int or its[name] - value != number:
                return False
            names.add(name)
            holders.add(type(a))
    return True


def _same_tensors(mine: dict[str, Tensor | None], its: dict[str, Tensor | None]) -> bool:
    def kind(value: Tensor | None) -> Any:
        if value is None:
            return None
        return type(value), value.shape, value.stride(), value.dtype, value.device, value.requires_grad

    return {name: kind(value) for name, value in mine.items()} == {name: kind(value) for name, value in its.items()}


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_plain(each) for pair in value.items() for each in pair)
    if isinstance(value, tuple | list | set | frozenset):
        return all(_is_plain(each) for each in value)
    return value is None or isinstance(value, bool | int | float | str | torch.dtype | torch.device | torch.Size)


def _is_equal(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


def _ignores_index(kind: type, names: set[str]) -> bool:
    """Whether the methods of a class, its constructor apart, use the attributes `names` for the cache only.

    What the constructor makes of them is seen in the module that it made.
    """
    return all(_method_ignores(method, names) for each in _own_classes(kind) for method in _methods(each))


def _method_ignores(method: ast.AST, names: set[str]) -> bool:
    nodes = list(ast.walk(method))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    allowed = {id(each) for call in calls if _updates_cache(call) for each in _arguments(call)}
    for call in calls:
        called = call.func.id if isinstance(call.func, ast.Name) else ""
        takes_self = any(isinstance(each, ast.Name) and each.id == "self" for each in _arguments(call))
        if (takes_self and called not in _TAKE_SELF) or called == "vars":
            return False
        if called == "getattr" and not isinstance(call.args[1], ast.Constant):
            return False
    for node in nodes:
        if id(node) in allowed:
            continue
        word = getattr(node, {ast.Attribute: "attr", ast.Name: "id", ast.Constant: "value"}.get(type(node), ""), None)
        if isinstance(word, str) and (word in names or word == "__dict__"):
            return False
    return True


def _updates_cache(call: ast.Call) -> bool:
    function = call.func
    return (
        isinstance(function, ast.Attribute)
        and function.attr == "update"
        and isinstance(function.value, ast.Name)
        and function.value.id in _CACHES
    )


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _loops_once(parents: list[nn.Module], path: str, count: int) -> bool:
    """Whether the code of the modules around the list runs through the whole of it once, and treats all layers alike.

    It may be `for layer in self.layers`, with a slice up to the configured number of layers, and with `enumerate` if
    the number serves for nothing but a look into a list of the configuration that has one value throughout.
    """
    owner, name = parents[-1], path.rpartition(".")[2]
    loops: list[tuple[ast.For, ast.AST]] = []
    mentions = 0
    for each in {kind for parent in parents for kind in _own_classes(type(parent), type(parent).__module__)}:
        for method in _methods(each):
            for node in ast.walk(method):
                mentions += isinstance(node, ast.Attribute) and node.attr == name
                if isinstance(node, ast.For) and _whole_list(node.iter, owner, name, count):
                    loops.append((node, method))
    if len(loops) != 1 or mentions != 1:
        return False
    loop, method = loops[0]
    if any(_may_count(node) for node in ast.walk(loop)):
        return False
    return isinstance(loop.target, ast.Name) or _number_serves_lists(loop, method, owner)


def _may_count(node: ast.AST) -> bool:
    """Whether code in the loop over the layers may keep a number of its own: it calculates with a constant."""
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) == "next"
    if isinstance(node, ast.AugAssign):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.BinOp) and any(isinstance(each, ast.Constant) for each in (node.left, node.right))


def _whole_list(iterated: ast.expr, owner: nn.Module, name: str, count: int) -> bool:
    if isinstance(iterated, ast.Call) and ast.unparse(iterated.func) == "enumerate" and len(_arguments(iterated)) == 1:
        iterated = iterated.args[0]
    if isinstance(iterated, ast.Subscript):
        part = iterated.slice
        if not isinstance(part, ast.Slice) or part.lower or part.step or not part.upper:
            return False
        if _attribute(owner, part.upper) != count:
            return False
        iterated = iterated.value
    return ast.unparse(iterated) == f"self.{name}"


def _number_serves_lists(loop: ast.For, method: ast.AST, owner: nn.Module) -> bool:
    if not isinstance(loop.target, ast.Tuple) or not isinstance(loop.target.elts[0], ast.Name):
        return False
    number, allowed = loop.target.elts[0], set()
    for node in ast.walk(method):
        if isinstance(node, ast.Subscript) and ast.unparse(node.slice) == number.id:
            values = _attribute(owner, node.value)
            if isinstance(values, list | tuple) and _is_plain(values) and all(each == values[0] for each in values):
                allowed.add(id(node.slice))
    uses = (node for node in ast.walk(method) if isinstance(node, ast.Name) and node.id == number.id)
    return all(node is number or id(node) in allowed for node in uses)


def _attribute(owner: nn.Module, expression: ast.expr) -> Any:
    """Return what `self.config.name` is; None for other expressions."""
    words = ast.unparse(expression).split(".")
    if words[:2] != ["self", "config"] or not all(word.isidentifier() for word in words):
        return None
    value: Any = owner
    for word in words[1:]:
        value = getattr(value, word, None)
    return value


def _own_classes(kind: type, python_module: str | None = None) -> list[type]:
    """Return a class and its bases, those of torch left out, or those of one Python module only."""
    every = [each for each in kind.__mro__ if each.__module__.partition(".")[0] not in ("builtins", "torch", "typing")]
    return [each for each in every if python_module is None or each.__module__ == python_module]


def _methods(kind: type) -> list[ast.AST]:
    """Return the methods of a class as syntax trees, its constructor left out."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    functions = (each for each in body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
    return [function for function in functions if function.name != "__init__"]
