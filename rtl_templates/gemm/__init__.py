"""GEMM units: output-stationary arrays, with weights in a memory or with both operands streamed."""

from mxhw.rtl_templates.gemm import bitmod, dialect, drain, sequencer, streamed_bitmod, streamed_block
from mxhw.rtl_templates.gemm.bitmod import BitModGemm
from mxhw.rtl_templates.gemm.command import Command, CommandLimits
from mxhw.rtl_templates.gemm.dialect import DialectGemm
from mxhw.rtl_templates.gemm.shape import GemmShape
from mxhw.rtl_templates.gemm.streamed import StreamedGemm
from mxhw.rtl_templates.gemm.streamed_bitmod import StreamedBitModGemm
from mxhw.rtl_templates.gemm.streamed_block import StreamedBlockGemm
from mxhw.rtl_templates.gemm.unit import GemmUnit
from mxhw.rtl_templates.memory import activation_buffer, layer_loader
from mxhw.rtl_templates.template import UnitTemplate

__all__ = [
    "UNITS",
    "BitModGemm",
    "Command",
    "CommandLimits",
    "DialectGemm",
    "GemmShape",
    "GemmUnit",
    "StreamedBitModGemm",
    "StreamedBlockGemm",
    "StreamedGemm",
]

UNITS: tuple[UnitTemplate, ...] = tuple(
    module.TEMPLATE
    for module in (bitmod, dialect, streamed_bitmod, streamed_block, drain, sequencer, activation_buffer, layer_loader)
)
