"""Streams between units: FIFO, skid buffer, fork, join, and converters of width and of tile order."""

from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["UNITS"]

UNITS: tuple[UnitTemplate, ...] = ()
