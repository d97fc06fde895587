"""On-line quantizers: streams of values become streams of codes, scales and metadata in front of a GEMM unit."""

from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["UNITS"]

UNITS: tuple[UnitTemplate, ...] = ()
