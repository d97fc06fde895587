"""Sizes that may depend on the batch `b`, the tokens `s` of a run and those before it `p`: an integer or an expression.

An expression is kept as text, so that it can stand in JSON and be read by a person. It is parsed by `ast` into
+, -, *, //, ** (by a small constant) and Min of two over integers and the three names, and evaluated by walking that
tree; nothing is ever passed to `eval`. `p`, the tokens whose keys and values a cache holds, is zero except in decoding.
"""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import add, floordiv, mul, pow, sub
from typing import Any, TypeGuard

from mxhw.errors import InputError

__all__ = ["Shape", "Size", "Symbolic", "size_at", "size_from_json", "size_from_torch", "size_to_json"]

NAMES = ("b", "s", "p")
_MINIMUM = "Min"  # as sympy writes it: what a sliding window keeps of the past
_LONGEST = 1000  # characters
_HIGHEST_POWER = 8
_OPERATIONS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: add,
    ast.Sub: sub,
    ast.Mult: mul,
    ast.FloorDiv: floordiv,
    ast.Pow: pow,
}


@dataclass(frozen=True)
class Symbolic:
    """An expression of the batch `b`, the tokens `s` and the past `p`, for instance ``Symbolic("64*b*s*(p + s)")``.

    Raises
    ------
    InputError
        If the text is anything but + - * // ** Min over integers, `b`, `s` and `p`.
    """

    text: str

    def __post_init__(self) -> None:
        _parse(self.text)

    def at(self, batch: int, sequence: int, past: int = 0) -> int:
        """Return the value for a batch, a sequence length and a number of tokens before it."""
        return _value(_parse(self.text), {"b": batch, "s": sequence, "p": past}, self.text)

    def __str__(self) -> str:
        return self.text


Size = int | Symbolic
Shape = tuple[Size, ...]


def size_at(size: Size, batch: int, sequence: int, past: int = 0) -> int:
    """Return `size` for a batch, a sequence length and a number of tokens before it; an integer is itself."""
    return size if isinstance(size, int) else size.at(batch, sequence, past)


def size_to_json(size: Size) -> int | str:
    """Return the integer, or the text of the expression."""
    return size if isinstance(size, int) else size.text


def size_from_json(value: object) -> Size:
    """Read what :func:`size_to_json` gave; anything else is an InputError."""
    if isinstance(value, str):
        return Symbolic(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"size must be an integer or an expression of b, s and p, not {value!r}")
    return value


def size_from_torch(size: Any, names: Mapping[Any, str]) -> Size:
    """Convert an int, `torch.SymInt` or sympy expression, whose symbols `names` maps to those of "b", "s" and "p".

    Raises
    ------
    InputError
        If the expression is outside of what :class:`Symbolic` can say.
    """
    if isinstance(size, int):
        return size
    import sympy  # type: ignore[import-untyped]

    expression = sympy.expand(getattr(getattr(size, "node", None), "expr", size))
    expression = expression.subs({symbol: sympy.Symbol(name) for symbol, name in names.items()})
    return int(expression) if expression.is_Integer else Symbolic(str(expression))


@lru_cache(maxsize=4096)
def _parse(text: str) -> ast.expr:
    if len(text) > _LONGEST:
        raise InputError(f"size expression has {len(text)} characters, at most {_LONGEST} are allowed")
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"size expression {text!r} is not arithmetic of b, s and p") from None
    _check(tree, text)
    return tree


def _check(tree: ast.expr, text: str) -> None:
    if isinstance(tree, ast.BinOp) and type(tree.op) in _OPERATIONS:
        _check(tree.left, text)
        _check(tree.right, text)
        if not isinstance(tree.op, ast.Pow):
            return None
        power = tree.right
        if isinstance(power, ast.Constant) and isinstance(power.value, int) and 0 <= power.value <= _HIGHEST_POWER:
            return None
    elif isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return _check(tree.operand, text)
    elif _is_minimum(tree):
        for argument in tree.args:
            _check(argument, text)
        return None
    elif (isinstance(tree, ast.Constant) and type(tree.value) is int) or (
        isinstance(tree, ast.Name) and tree.id in NAMES
    ):
        return None
    raise InputError(f"size expression {text!r} may hold only + - * // ** (a power up to 8) Min, integers, b, s and p")


def _is_minimum(tree: ast.expr) -> TypeGuard[ast.Call]:
    return (
        isinstance(tree, ast.Call)
        and isinstance(tree.func, ast.Name)
        and tree.func.id == _MINIMUM
        and len(tree.args) == 2
        and not tree.keywords
    )


def _value(tree: ast.expr, values: Mapping[str, int], text: str) -> int:
    if isinstance(tree, ast.BinOp):
        try:
            return _OPERATIONS[type(tree.op)](_value(tree.left, values, text), _value(tree.right, values, text))
        except ZeroDivisionError:
            raise InputError(f"size expression {text!r} divides by zero") from None
    if isinstance(tree, ast.UnaryOp):
        return -_value(tree.operand, values, text)
    if _is_minimum(tree):
        return min(_value(argument, values, text) for argument in tree.args)
    if isinstance(tree, ast.Name):
        return values[tree.id]
    if isinstance(tree, ast.Constant) and isinstance(tree.value, int):
        return tree.value
    raise InputError(f"size expression {text!r} cannot be evaluated")
