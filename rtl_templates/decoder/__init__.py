"""Decoders at the edge of an array: stored codes become the operands of multipliers."""

from mxhw.rtl_templates.decoder.bitmod_term import BitModTermDecoder, SerialTerm
from mxhw.rtl_templates.decoder.dialect import DialectDecoder, SignMagnitude
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["UNITS", "BitModTermDecoder", "DialectDecoder", "SerialTerm", "SignMagnitude"]

UNITS: tuple[UnitTemplate, ...] = ()
