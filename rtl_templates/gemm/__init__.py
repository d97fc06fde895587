"""GEMM units: output-stationary arrays with streamed activations and weights in memory."""

from mxhw.rtl_templates.gemm.bitmod import BitModGemm
from mxhw.rtl_templates.gemm.dialect import DialectGemm
from mxhw.rtl_templates.gemm.shape import GemmShape
from mxhw.rtl_templates.gemm.unit import GemmUnit

__all__ = ["BitModGemm", "DialectGemm", "GemmShape", "GemmUnit"]
