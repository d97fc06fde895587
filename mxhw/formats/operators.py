"""`fake_quantize` as operators of torch, so that graphs that quantize can be traced, exported and compiled.

``torch.ops.mxhw.fake_quantize(x, format, axis)`` returns a new tensor and passes gradients straight through;
``fake_quantize.out(x, format, axis, out=y)`` and ``fake_quantize_(x, format, axis)`` write into a tensor that exists
and record no gradient. `format` is a name that :func:`mxhw.formats.parse_format` knows.
"""

from typing import Any

import torch
from torch import Tensor

from mxhw.formats.registry import parse_format

__all__ = ["fake_quantize"]

_LIBRARY = torch.library.Library("mxhw", "FRAGMENT")  # type: ignore[no-untyped-call]


def fake_quantize(x: Tensor, format: str, axis: int) -> Tensor:
    """Return `x` rounded to the number format of that name along `axis`; same shape and dtype, never an alias of `x`.

    Raises
    ------
    InputError
        If there is no such format, or as for :meth:`mxhw.formats.Format.fake_quantize`.
    """
    return parse_format(format).fake_quantize(x.detach(), axis=axis)


def _into(x: Tensor, format: str, axis: int, *, out: Tensor) -> Tensor:
    return parse_format(format).fake_quantize(x.detach(), axis=axis, out=out.detach())


def _in_place(x: Tensor, format: str, axis: int) -> Tensor:
    parse_format(format).fake_quantize(x.detach(), axis=axis, out=x.detach())
    return x


def _like(x: Tensor, format: str, axis: int) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


def _straight_through(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    return gradient, None, None


for _name, _schema, _implementation in (
    ("fake_quantize", "(Tensor x, str format, int axis) -> Tensor", fake_quantize),
    ("fake_quantize.out", "(Tensor x, str format, int axis, *, Tensor(a!) out) -> Tensor(a!)", _into),
    ("fake_quantize_", "(Tensor(a!) x, str format, int axis) -> Tensor(a!)", _in_place),
):
    _LIBRARY.define(_name + _schema)  # type: ignore[no-untyped-call]
    _LIBRARY.impl(_name, _implementation, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]

torch.library.register_fake("mxhw::fake_quantize", _like, lib=_LIBRARY)
torch.library.register_fake("mxhw::fake_quantize.out", lambda x, format, axis, *, out: out, lib=_LIBRARY)
torch.library.register_fake("mxhw::fake_quantize_", lambda x, format, axis: x, lib=_LIBRARY)
torch.library.register_autograd("mxhw::fake_quantize", _straight_through, lib=_LIBRARY)
