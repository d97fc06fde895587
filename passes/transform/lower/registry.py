"""Which rule lowers a node: a table by kind of node, torch operator or module class, which other packages extend.

    @register_lowering("linear")
    def lower_linear(lowering: Lowering, node: fx.Node) -> None: ...

A rule reads the operands of its node as streams, adds steps and says which stream the node gives
(:class:`mxhw.passes.transform.lower.lowering.Lowering`); it raises InputError with the reason where it cannot.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import fx

from mxhw.errors import InputError
from mxhw.ir import NodeInfo

if TYPE_CHECKING:
    from mxhw.passes.transform.lower.lowering import Lowering

__all__ = ["Rule", "lowering_of", "register_lowering"]

Rule = Callable[["Lowering", fx.Node], None]
_RULES: dict[str, Rule] = {}


def register_lowering(*kinds: str) -> Callable[[Rule], Rule]:
    """Add a rule to the table (a decorator).

    Parameters
    ----------
    kinds : str
        Each a kind of node ("linear"), a torch operator ("aten.tanh.default"), or the class of the module that a node
        came from ("SquaredReLU"); a class goes before an operator, and an operator before a kind.

    Raises
    ------
    InputError
        If another rule has that kind.
    """

    def add(rule: Rule) -> Rule:
        for kind in kinds:
            if _RULES.get(kind, rule) is not rule:
                raise InputError(f"{kind!r} has a lowering already, {_RULES[kind].__qualname__}")
            _RULES[kind] = rule
        return rule

    return add


def lowering_of(info: NodeInfo) -> Rule | None:
    """Return the rule of a node; None if there is none."""
    return next((_RULES[key] for key in (info.module_class, info.target, info.op) if key in _RULES), None)
