"""Which kind of node a module class or a custom operator is: the dialect's rules, and what other packages register.

    register_module("Squared", "squared_relu")
    register_operator(torch.ops.mine.softcap.default, "softcap")

A registered class goes before the dialect's patterns and marks. Everything that one call of such a module computed
becomes one node, whose operands are the tensors that it reads, parameters among them, in the order of their use. Its
multiply-accumulates count as none unless the registration says how many there are; a module that multiplies matrices
without saying so is refused, so that no work is hidden.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch._ops import OpOverload, OpOverloadPacket

from mxhw.errors import InputError
from mxhw.extensions import Table, track
from mxhw.ir.dialect import CLASS_RULES, OPS

__all__ = [
    "Macs",
    "Own",
    "class_op",
    "own_module",
    "own_operator",
    "own_operators",
    "register_module",
    "register_operator",
]

Macs = Callable[[Sequence[tuple[Any, ...]], tuple[Any, ...]], Any]
"""Shapes of the tensor operands, shape of the output (symbolic sizes among them) → multiply-accumulates."""

_KIND = re.compile(r"[a-z][a-z0-9_]*")
_OF_TORCH = frozenset({"aten", "mxhw", "prim", "prims", "higher_order"})
# Kinds that a class may become though they are mxhw's: those whose modules are folded, and multiply no matrices.
_FOLDED = frozenset(op for _, op in CLASS_RULES) - {"linear", "conv"}


@dataclass(frozen=True)
class Own:
    """What was registered: a kind, and how many multiply-accumulates a node of it takes."""

    op: str
    macs: Macs | None = None


_modules: dict[str, Own] = {}
_operators: dict[OpOverload, Own] = {}
track(Table(_modules), Table(_operators))


def register_module(pattern: str, op: str, *, macs: Macs | None = None) -> None:
    """Make every call of a module of a class one node.

    Parameters
    ----------
    pattern : str
        The name of the class, or a regular expression for the whole of it.
    op : str
        The kind of node: a new one, or a kind of the dialect that modules of known classes are ("rms_norm", "act").
    macs : callable, optional
        Multiply-accumulates of a node of a new kind; none if it is not given.

    Raises
    ------
    InputError
        If the class is registered already, ``pattern`` is no regular expression, or ``op`` cannot be its kind.
    """
    try:
        re.compile(pattern)
    except (re.error, TypeError) as error:
        raise InputError(f"class must be a name or a regular expression, not {pattern!r}: {error}") from None
    if pattern in _modules:
        raise InputError(f"modules of class {pattern!r} are {_modules[pattern].op!r} already; register a class once")
    if op in _FOLDED:
        if macs is not None:
            raise InputError(f"kind {op!r} is the dialect's and counts no multiply-accumulates; choose a new name")
    else:
        _check_new(op)
    _modules[pattern] = Own(op, macs)


def register_operator(operator: OpOverload | OpOverloadPacket, op: str, *, macs: Macs | None = None) -> None:
    """Make every call of a custom operator (`torch.library`) a node of a new kind.

    Parameters
    ----------
    operator : torch operator
        For instance ``torch.ops.mine.softcap.default``, or the packet of one that has no other overload.
    op : str
        The kind of node, a new one.
    macs : callable, optional
        As of :func:`register_module`.

    Raises
    ------
    InputError
        If the operator is torch's own, writes into an argument or is registered already, or ``op`` cannot be its kind.
    """
    if isinstance(operator, OpOverloadPacket):
        names: Any = operator.overloads
        operator = operator.default if names() == ["default"] else operator
    if not isinstance(operator, OpOverload):
        raise InputError(f"operator must be one of torch.ops, such as torch.ops.mine.softcap.default, not {operator!r}")
    if operator.namespace in _OF_TORCH:
        raise InputError(f"operator {operator} is no custom operator; only those of other namespaces can be registered")
    if operator._schema.is_mutable:
        raise InputError(f"operator {operator} writes into an argument; only those that return new values are nodes")
    if operator in _operators:
        raise InputError(f"operator {operator} is {_operators[operator].op!r} already; register an operator once")
    _check_new(op)
    _operators[operator] = Own(op, macs)


def class_op(name: str) -> str | None:
    """Return the kind of node that a module of the class called `name` becomes, or None."""
    found = _registered(name)
    if found is not None:
        return found.op
    return next((op for pattern, op in CLASS_RULES if pattern.search(name)), None)


def own_module(name: str) -> Own | None:
    """Return the new kind that a class was registered for; None for the dialect's kinds."""
    found = _registered(name)
    return None if found is None or found.op in OPS else found


def own_operator(target: object) -> Own | None:
    """Return what a custom operator was registered for, or None."""
    return _operators.get(target) if isinstance(target, OpOverload) else None


def own_operators() -> dict[str, OpOverload]:
    """Return the registered operators by name, "mine.softcap.default"."""
    return {str(operator): operator for operator in _operators}


def _registered(name: str) -> Own | None:
    found = {pattern: own for pattern, own in _modules.items() if re.fullmatch(pattern, name)}
    if len({own.op for own in found.values()}) > 1:
        said = ", ".join(f"{pattern!r} → {own.op!r}" for pattern, own in found.items())
        raise InputError(f"module class {name!r} was registered for several kinds: {said}; register it once")
    return next(iter(found.values()), None)


def _check_new(op: object) -> None:
    if not isinstance(op, str) or not _KIND.fullmatch(op):
        raise InputError(f"kind must be a lower-case name such as 'squared_relu', not {op!r}")
    if op in OPS:
        raise InputError(f"kind {op!r} is the dialect's own; choose a new name")
