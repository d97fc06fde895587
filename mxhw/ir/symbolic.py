"""Sizes that may depend on the batch `b` and the sequence length `s`: an integer, or a small expression of the two.

An expression is kept as text, so that it can stand in JSON and be read by a person. It is parsed by `ast` into
+, -, *, // and ** (by a small constant) over integers and the two names, and evaluated by walking that tree; nothing
is ever passed to `eval`.
"""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import add, floordiv, mul, pow, sub
from typing import Any

from mxhw.errors import InputError

__all__ = ["Shape", "Size", "Symbolic", "size_at", "size_from_json", "size_from_torch", "size_to_json"]

NAMES = ("b", "s")
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
    """An expression of the batch `b` and the sequence length `s`, for instance ``Symbolic("64*b*s**2")``.

    Raises
    ------
    InputError
        If the text is anything but + - * // ** over integers, `b` and `s`.
    """

    text: str

    def __post_init__(self) -> None:
        _parse(self.text)

    def at(self, batch: int, sequence: int) -> int:
        """Return the value for a batch and a sequence length."""
        return _value(_parse(self.text), {"b": batch, "s": sequence}, self.text)

    def __str__(self) -> str:
        return self.text


Size = int | Symbolic
Shape = tuple[Size, ...]


def size_at(size: Size, batch: int, sequence: int) -> int:
    """Return `size` for a batch and a sequence length; an integer is itself."""
    return size if isinstance(size, int) else size.at(batch, sequence)


def size_to_json(size: Size) -> int | str:
    """Return the integer, or the text of the expression."""
    return size if isinstance(size, int) else size.text


def size_from_json(value: object) -> Size:
    """Read what :func:`size_to_json` gave; anything else is an InputError."""
    if isinstance(value, str):
        return Symbolic(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"size must be an integer or an expression of b and s, not {value!r}")
    return value


def size_from_torch(size: Any, names: Mapping[Any, str]) -> Size:
    """Convert an int, `torch.SymInt` or sympy expression, whose symbols `names` maps to "b" and "s".

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
        raise InputError(f"size expression {text!r} is not arithmetic of b and s") from None
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
    elif (isinstance(tree, ast.Constant) and type(tree.value) is int) or (
        isinstance(tree, ast.Name) and tree.id in NAMES
    ):
        return None
    raise InputError(f"size expression {text!r} may hold only + - * // ** (a power up to 8), integers, b and s")


def _value(tree: ast.expr, values: Mapping[str, int], text: str) -> int:
    if isinstance(tree, ast.BinOp):
        try:
            return _OPERATIONS[type(tree.op)](_value(tree.left, values, text), _value(tree.right, values, text))
        except ZeroDivisionError:
            raise InputError(f"size expression {text!r} divides by zero") from None
    if isinstance(tree, ast.UnaryOp):
        return -_value(tree.operand, values, text)
    if isinstance(tree, ast.Name):
        return values[tree.id]
    if isinstance(tree, ast.Constant) and isinstance(tree.value, int):
        return tree.value
    raise InputError(f"size expression {text!r} cannot be evaluated")
