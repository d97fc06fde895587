"""Streams between units: FIFO, skid buffer, fork, join, block buffer, and converters of width and of tile order."""

from mxhw.rtl_templates.stream import fifo, fork, join, skid, tile_order, width
from mxhw.rtl_templates.stream.block_buffer import BlockBuffer
from mxhw.rtl_templates.stream.fifo import Fifo
from mxhw.rtl_templates.stream.fork import Fork
from mxhw.rtl_templates.stream.join import Join
from mxhw.rtl_templates.stream.skid import SkidBuffer
from mxhw.rtl_templates.stream.tile_order import TileOrder
from mxhw.rtl_templates.stream.width import Narrow, Widen, beat_layout
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["UNITS", "BlockBuffer", "Fifo", "Fork", "Join", "Narrow", "SkidBuffer", "TileOrder", "Widen", "beat_layout"]

UNITS: tuple[UnitTemplate, ...] = (
    fifo.TEMPLATE,
    skid.TEMPLATE,
    fork.TEMPLATE,
    join.TEMPLATE,
    width.TEMPLATE,
    tile_order.TEMPLATE,
)
