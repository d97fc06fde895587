"""What a platform asks for a GEMM unit's parts: sizes of logic as coefficients, functions for memories, energies.

A unit's logic grows with its elements, columns and rows, and each of these with the lanes; the coefficients are read
off any function that gives sizes of records (:func:`sizes_from`), so that the fitted figures stand in one place only.
Coefficients may be arrays, one entry a point, where points differ in formats.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace

from mxhw.errors import InputError
from mxhw.hardware.gemm.numbers import Numbers
from mxhw.hardware.gemm.points import GemmPoints
from mxhw.hardware.gemm.traffic import GemmMemory
from mxhw.hardware.structure import Product

__all__ = ["GemmPrices", "GemmSizes", "sizes_from"]


@dataclass(frozen=True)
class GemmSizes:
    """Sizes of logic of one kind of unit, of one resource: um2, LUTs and so on.

    Attributes
    ----------
    once, row, column, element : of a unit, of each row, of each column, of each processing element.
    lane, row_lane, column_lane, element_lane : what each lane adds to these.
    """

    once: Numbers = 0.0
    row: Numbers = 0.0
    column: Numbers = 0.0
    element: Numbers = 0.0
    lane: Numbers = 0.0
    row_lane: Numbers = 0.0
    column_lane: Numbers = 0.0
    element_lane: Numbers = 0.0

    def of(self, points: GemmPoints) -> dict[str, Numbers]:
        """Return the size by part: "elements", "columns", "rows", "control"."""
        rows, columns, lanes = points.rows, points.columns, points.lanes
        return {
            "elements": rows * columns * (self.element + lanes * self.element_lane),
            "columns": columns * (self.column + lanes * self.column_lane),
            "rows": rows * (self.row + lanes * self.row_lane),
            "control": self.once + lanes * self.lane,
        }

    def at(self, kind: Numbers) -> "GemmSizes":
        """Return the coefficients of the kind of unit of each point, from an array of coefficients by kind."""
        return GemmSizes(*(getattr(self, each.name)[kind] for each in fields(self)))


_CORNERS = ((2, 2), (2, 16), (16, 2), (16, 16))  # rows and columns at which sizes are asked for


def sizes_from(product: Product, size_of: Callable[[Product], float], lanes: tuple[int, int] = (4, 8)) -> GemmSizes:
    """Return coefficients of what a function says of a unit like this one, of other rows, columns and lanes.

    They reproduce any function that is a sum of products of rows, columns and lanes, each at most to the first power;
    of another one they are the interpolation between its values at 2 and 16 rows and columns and the two lanes. Of the
    fitted sizes that leaves the bits of counters: less than 3 % of units of 8 elements and more.

    Raises
    ------
    InputError
        If the two lanes are equal, or one does not divide the block.
    """
    low, high = lanes
    shared = product.block > product.lanes or product.metadata_bits > 0
    if low == high or (shared and any(product.block % each for each in lanes)):
        raise InputError(f"lanes must be two divisors of the block of {product.block}, not {lanes}")
    by_lanes = []
    for count in lanes:
        block = product.block if shared else count
        alike = replace(product, lanes=count, block=block)
        values = [size_of(replace(alike, rows=rows, columns=columns)) for rows, columns in _CORNERS]
        by_lanes.append(_bilinear(values))
    more = [(b - a) / (high - low) for a, b in zip(*by_lanes, strict=True)]
    fixed = [a - low * slope for a, slope in zip(by_lanes[0], more, strict=True)]
    return GemmSizes(*fixed, *more)


def _bilinear(values: list[float]) -> tuple[float, float, float, float]:
    """Return once, row, column, element of the values at the corners."""
    (low, _), (_, high) = _CORNERS[0], _CORNERS[1]
    step = high - low
    element = (values[3] - values[2] - values[1] + values[0]) / step**2
    row = (values[2] - values[0]) / step - low * element
    column = (values[1] - values[0]) / step - low * element
    return values[0] - low * (row + column) - low * low * element, row, column, element


@dataclass(frozen=True)
class GemmPrices:
    """What a platform asks.

    Attributes
    ----------
    sizes : of logic, by resource: "area" [um2], or "lut", "ff", "dsp".
    memory : gives the resources of a memory.
    access : gives the energy of reading a word of a memory, and of writing one [pJ]; None: there is no figure.
    logic_energy : pJ a unit of each resource and cycle in which elements work; None: there is no figure.
    static_energy, static_bit : pJ a unit of each resource of logic, and a bit of memory, and cycle, whatever happens.
    outside_energy : pJ a bit that comes from memory outside.
    """

    sizes: Mapping[str, GemmSizes]
    memory: Callable[[GemmMemory], Mapping[str, Numbers]]
    access: Callable[[GemmMemory], tuple[Numbers, Numbers]] | None = None
    logic_energy: Mapping[str, float] | None = None
    static_energy: Mapping[str, float] = field(default_factory=dict)
    static_bit: float = 0.0
    outside_energy: float = 0.0

    @property
    def has_energy(self) -> bool:
        """Whether logic and accesses have figures."""
        return self.access is not None and self.logic_energy is not None
