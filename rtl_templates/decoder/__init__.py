"""Decoders at the edge of an array: stored codes become the operands of multipliers."""

from mxhw.rtl_templates.decoder import bitmod_fp16, bitmod_runtime, bitmod_term, dialect, minifloat, term_stream
from mxhw.rtl_templates.decoder.bitmod_fp16 import Fp16Decoder, Fp16Operand
from mxhw.rtl_templates.decoder.bitmod_runtime import RuntimeTermDecoder, SpecialTerms, SpecialValueFile
from mxhw.rtl_templates.decoder.bitmod_term import BitModTermDecoder, SerialTerm
from mxhw.rtl_templates.decoder.dialect import DialectDecoder, SignMagnitude
from mxhw.rtl_templates.decoder.minifloat import MinifloatDecoder
from mxhw.rtl_templates.decoder.term_stream import TermStream
from mxhw.rtl_templates.template import UnitTemplate

__all__ = [
    "UNITS",
    "BitModTermDecoder",
    "DialectDecoder",
    "Fp16Decoder",
    "Fp16Operand",
    "MinifloatDecoder",
    "RuntimeTermDecoder",
    "SerialTerm",
    "SignMagnitude",
    "SpecialTerms",
    "SpecialValueFile",
    "TermStream",
]

UNITS: tuple[UnitTemplate, ...] = (
    dialect.TEMPLATE,
    minifloat.TEMPLATE,
    bitmod_term.TEMPLATE,
    bitmod_runtime.TEMPLATE,
    term_stream.TEMPLATE,
    bitmod_fp16.TEMPLATE,
)
