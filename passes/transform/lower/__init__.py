"""From a captured float graph and an assignment to integers."""

from mxhw.extensions import Table, track
from mxhw.passes.transform.lower import registry as _registry
from mxhw.passes.transform.lower.inputs import integer_inputs, to_integers
from mxhw.passes.transform.lower.lower import LoweredGraph, NotLoweredError, lower_graph
from mxhw.passes.transform.lower.lowering import HIDDEN, POSITIONS, TOKENS, Lowering, Stream
from mxhw.passes.transform.lower.model import IntegerModel
from mxhw.passes.transform.lower.ranges import Ranges, calibrate, static_exponent
from mxhw.passes.transform.lower.registry import register_lowering

__all__ = [
    "HIDDEN",
    "POSITIONS",
    "TOKENS",
    "IntegerModel",
    "LoweredGraph",
    "Lowering",
    "NotLoweredError",
    "Ranges",
    "Stream",
    "calibrate",
    "integer_inputs",
    "lower_graph",
    "register_lowering",
    "static_exponent",
    "to_integers",
]

track(Table(_registry._RULES))
