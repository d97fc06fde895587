"""Payloads of the streams of control: the fields of a request and of a pass, the first one lowest."""

from amaranth.hdl import Shape, unsigned
from amaranth.lib import data

from mxhw.arithmetic.dataflow import Passes, Requests
from mxhw.rtl_templates.checks import require_natural

__all__ = ["index_shape", "pass_layout", "request_layout"]


def index_shape(count: int) -> Shape:
    """Return the payload of a stream of :class:`~mxhw.arithmetic.dataflow.Indices` below ``count``."""
    return unsigned(Shape.cast(range(max(2, count))).width)


def request_layout(kind: Requests) -> data.StructLayout:
    """Return the payload of a stream of requests."""
    return _layout(kind)


def pass_layout(kind: Passes) -> data.StructLayout:
    """Return the payload of a stream of passes."""
    return _layout(kind)


def _layout(kind: Requests | Passes) -> data.StructLayout:
    for name in ("vocabulary", "layers", "sequences", "keys"):
        require_natural(name, getattr(kind, name, 1))
    return data.StructLayout({name: index_shape(count) for name, count in kind.counts.items()})
