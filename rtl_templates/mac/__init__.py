"""Processing elements: the bit-serial PE, the PE of block formats, and MACs alone to compare their cost."""

from mxhw.rtl_templates.mac import bit_serial, bitmod_fp16, block, block_mac, dialect, float16, integer
from mxhw.rtl_templates.mac.bit_serial import BitSerialPE, ScaleControl
from mxhw.rtl_templates.mac.bitmod_fp16 import BitModPE
from mxhw.rtl_templates.mac.block import BlockPE, edge_decoder, operand_shape
from mxhw.rtl_templates.mac.block_mac import BlockMac
from mxhw.rtl_templates.mac.dialect import DialectPE
from mxhw.rtl_templates.mac.float16 import Float16Mac
from mxhw.rtl_templates.mac.integer import IntegerMac
from mxhw.rtl_templates.template import UnitTemplate

__all__ = [
    "UNITS",
    "BitModPE",
    "BitSerialPE",
    "BlockMac",
    "BlockPE",
    "DialectPE",
    "Float16Mac",
    "IntegerMac",
    "ScaleControl",
    "edge_decoder",
    "operand_shape",
]

UNITS: tuple[UnitTemplate, ...] = (
    *block_mac.TEMPLATES,
    integer.TEMPLATE,
    float16.TEMPLATE,
    block.TEMPLATE,
    dialect.TEMPLATE,
    bit_serial.TEMPLATE,
    bitmod_fp16.TEMPLATE,
)
