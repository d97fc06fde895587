"""On-line quantizers: streams of values become streams of codes, scales and metadata in front of a GEMM unit."""

from mxhw.rtl_templates.encoder import dialect, integer, mx
from mxhw.rtl_templates.encoder.dialect import DialectEncoder
from mxhw.rtl_templates.encoder.dialect_select import BeneficialRanges, DialectIndex
from mxhw.rtl_templates.encoder.elements import FloatElement, IntegerElement
from mxhw.rtl_templates.encoder.integer import IntegerEncoder
from mxhw.rtl_templates.encoder.mx import MXEncoder
from mxhw.rtl_templates.template import UnitTemplate

__all__ = [
    "UNITS",
    "BeneficialRanges",
    "DialectEncoder",
    "DialectIndex",
    "FloatElement",
    "IntegerElement",
    "IntegerEncoder",
    "MXEncoder",
]

UNITS: tuple[UnitTemplate, ...] = (dialect.TEMPLATE, mx.TEMPLATE, integer.TEMPLATE)
