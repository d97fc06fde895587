"""Decoders at the edge of an array: stored codes become the operands of multipliers."""

from mxhw.rtl_templates.decoder.bitmod_term import BitModTermDecoder, SerialTerm
from mxhw.rtl_templates.decoder.dialect import DialectDecoder, SignMagnitude

__all__ = ["BitModTermDecoder", "DialectDecoder", "SerialTerm", "SignMagnitude"]
