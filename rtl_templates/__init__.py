"""Hardware templates in Amaranth: decoders, processing elements, memories and the GEMM units made of them."""

from mxhw.rtl_templates.emission import component_verilog, gemm_verilog, verilog_library
from mxhw.rtl_templates.gemm import (
    BitModGemm,
    DialectGemm,
    GemmShape,
    GemmUnit,
    StreamedBitModGemm,
    StreamedBlockGemm,
    StreamedGemm,
)

__all__ = [
    "BitModGemm",
    "DialectGemm",
    "GemmShape",
    "GemmUnit",
    "StreamedBitModGemm",
    "StreamedBlockGemm",
    "StreamedGemm",
    "component_verilog",
    "gemm_verilog",
    "verilog_library",
]
