"""GEMM units: output-stationary arrays with streamed activations and weights in memory."""

from mxhw.rtl_templates.gemm.bitmod import BitModGemm
from mxhw.rtl_templates.gemm.dialect import DialectGemm
from mxhw.rtl_templates.gemm.shape import GemmShape
from mxhw.rtl_templates.gemm.unit import GemmUnit
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["UNITS", "BitModGemm", "DialectGemm", "GemmShape", "GemmUnit"]

UNITS: tuple[UnitTemplate, ...] = ()
