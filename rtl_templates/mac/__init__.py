"""Processing elements: the bit-serial PE, the DialectFP4 PE, and a plain INT8 MAC to compare their cost with."""

from mxhw.rtl_templates.mac.bit_serial import BitSerialPE, ScaleControl
from mxhw.rtl_templates.mac.dialect import DialectPE
from mxhw.rtl_templates.mac.integer import IntegerMac
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["UNITS", "BitSerialPE", "DialectPE", "IntegerMac", "ScaleControl"]

UNITS: tuple[UnitTemplate, ...] = ()
