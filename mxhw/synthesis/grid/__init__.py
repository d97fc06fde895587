"""Records of units, and components of theirs that are synthesised: what sizes are fitted to, and held-out points.

Every point is a component of `rtl_templates` small enough to be synthesised in seconds, with the record that the cost
model has of it. Points of a class span what its size depends on (widths, lanes, rows, columns, lengths); those that are
``held_out`` take no part in the fit and say what it is worth. What a record does not say (exponents, shifts, epsilon)
has ordinary values. What memories hold is not part of a component here.
"""

from collections.abc import Iterator

from mxhw.synthesis.grid.attention import attention_points
from mxhw.synthesis.grid.functions import function_points
from mxhw.synthesis.grid.point import Point
from mxhw.synthesis.grid.products import large_product_points, product_point, product_points
from mxhw.synthesis.grid.streams import control_points, stream_points
from mxhw.synthesis.grid.vectors import vector_points

__all__ = ["Point", "all_points", "product_point"]


def all_points() -> Iterator[Point]:
    """Yield the points of all classes; those that take longest come last."""
    yield from stream_points()
    yield from function_points()
    yield from attention_points()
    yield from control_points()
    yield from vector_points()
    yield from product_points()
    yield from large_product_points()
