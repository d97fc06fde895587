"""Where a node of an exported graph came from: the module whose forward computed it, and the kind that this implies.

`torch.export` keeps the stack of modules on every node; a plain function such as RoPE is marked while tracing by
`torch.fx.traceback.annotate` (:func:`marked_functions`), which puts the mark beside it.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple

from torch import fx, nn
from torch.fx import traceback

from mxhw.ir.dialect import MARKED_FUNCTIONS
from mxhw.ir.kinds import Own, class_op, own_module
from mxhw.ir.scan import REPLACEMENTS

__all__ = ["Provenance", "marked_functions", "provenance"]

_MARK = "mxhw_op"
_NO_MODULE = "_empty_nn_module_stack_from_metadata_hook"


class Provenance(NamedTuple):
    """Kind of node that the place implies (None: it says nothing), path and class of the module.

    `call` tells the calls of a module of a known class apart; `own` is what was registered for the class, if anything.
    """

    op: str | None
    fqn: str
    module_class: str
    call: str = ""
    own: Own | None = None


def provenance(node: fx.Node) -> Provenance:
    """Return where `node` came from.

    Registered classes win over marks and these over other classes, and the outermost module of a known class over
    inner ones.
    """
    stack = [
        (path, (kind if isinstance(kind, str) else kind.__qualname__).rpartition(".")[2], call)
        for call, (path, kind) in (node.meta.get("nn_module_stack") or {}).items()
        if path != _NO_MODULE
    ]
    for path, name, call in stack:
        if own := own_module(name):
            return Provenance(own.op, path, name, call, own)
    fqn, module_class, _ = stack[-1] if stack else ("", "", "")
    mark = (node.meta.get("custom") or {}).get(_MARK)
    if mark is not None:
        return Provenance(mark, fqn, module_class)
    for path, name, call in stack:
        if op := class_op(name):
            return Provenance(op, path, name, call)
    return Provenance(None, fqn, module_class)


@contextmanager
def marked_functions(model: nn.Module) -> Iterator[None]:
    """Inside the context, mark what the functions of :data:`MARKED_FUNCTIONS` compute while `model` is traced.

    Those of :data:`mxhw.ir.scan.REPLACEMENTS` are replaced by what stands in for them.
    """
    replaced: list[tuple[Any, str, Callable[..., Any]]] = []
    for python_module in {sys.modules[type(module).__module__] for module in model.modules()}:
        for name in (*MARKED_FUNCTIONS, *REPLACEMENTS):
            function = vars(python_module).get(name)
            if function is not None:
                replaced.append((python_module, name, function))
                marked = name in MARKED_FUNCTIONS
                stand_in = _marking(function, MARKED_FUNCTIONS[name]) if marked else REPLACEMENTS[name](function)
                setattr(python_module, name, stand_in)
    try:
        yield
    finally:
        for python_module, name, function in replaced:
            setattr(python_module, name, function)


def _marking(function: Callable[..., Any], op: str) -> Callable[..., Any]:
    @wraps(function)
    def marked(*arguments: Any, **named: Any) -> Any:
        with traceback.annotate({_MARK: op}):
            return function(*arguments, **named)

    return marked
