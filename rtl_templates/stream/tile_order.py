"""Converter between row-major order and tile order of a matrix.

Tile order: tiles one after the other along a row of tiles, elements row by row inside a tile. Both orders agree on
which elements a row of tiles holds, so that it is what the double buffer keeps; the number of rows is not limited.
"""

from typing import Any, Literal

from amaranth.hdl import Module, ShapeLike, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.stream.block_buffer import BlockBuffer
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "TileOrder"]

Direction = Literal["to_tiles", "to_rows"]


class TileOrder(wiring.Component):
    """Reorders a stream of matrices, each of a multiple of ``tile_rows`` rows. One beat a cycle.

    The first beat of a row of tiles leaves two cycles after its last one came; memory is two rows of tiles.

    Parameters
    ----------
    shape : ShapeLike
        A beat: an element of the matrix, or several neighbours of a row.
    columns : int
        Beats of a matrix row.
    tile_rows, tile_columns : int
        Rows of a tile, and its columns in beats.
    direction : "to_tiles" or "to_rows"
        "to_tiles" takes row-major order and gives tile order, "to_rows" is its inverse.

    Members
    -------
    x : In(stream.Signature(shape))
        Ready depends on registers only.
    y : Out(stream.Signature(shape))
        From registers and the memory's output latch.

    Raises
    ------
    InputError
        If ``tile_columns`` does not divide ``columns``.
    """

    def __init__(
        self, *, shape: ShapeLike, columns: int, tile_rows: int, tile_columns: int, direction: Direction = "to_tiles"
    ) -> None:
        for name, value in (("columns", columns), ("tile_rows", tile_rows), ("tile_columns", tile_columns)):
            require_natural(name, value)
        require(columns % tile_columns == 0, "tile_columns", f"a divisor of the {columns} columns", tile_columns)
        require(direction in ("to_tiles", "to_rows"), "direction", "'to_tiles' or 'to_rows'", direction)
        tiles, tile = columns // tile_columns, tile_rows * tile_columns
        if direction == "to_tiles":
            loops = [(tiles, tile_columns), (tile_rows, columns), (tile_columns, 1)]
        else:
            loops = [(tile_rows, tile_columns), (tiles, tile), (tile_columns, 1)]
        self._buffer = BlockBuffer(shape=shape, length=tiles * tile, loops=loops)
        super().__init__({"x": In(stream.Signature(shape)), "y": Out(stream.Signature(shape))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.buffer = buffer = self._buffer
        wiring.connect(m, wiring.flipped(self.x), buffer.x)
        m.d.comb += [
            Value.cast(self.y.payload).eq(Value.cast(buffer.y.payload.beat)),
            self.y.valid.eq(buffer.y.valid),
            buffer.y.ready.eq(self.y.ready),
        ]
        return m


def _build(
    width: int = 8, columns: int = 32, tile_rows: int = 4, tile_columns: int = 4, direction: str = "to_tiles"
) -> TileOrder:
    require_natural("width", width)
    return TileOrder(shape=width, columns=columns, tile_rows=tile_rows, tile_columns=tile_columns, direction=direction)


TEMPLATE = UnitTemplate(
    name="tile_order_converter",
    kind="stream",
    description="row-major order to tile order of a matrix, or back",
    build=_build,
    choices={"direction": ("to_tiles", "to_rows")},
)
