"""Number formats: one object per format defines values, blocks, scales, rounding, codes, packing and true bits.

>>> fmt = parse_format("mxfp4")
>>> fmt.fake_quantize(x, axis=-1)      # the values
>>> fmt.encode(x)                      # codes, scales, metadata
>>> fmt.bits(x.shape)                  # every stored bit
"""

from mxhw.formats.base import Encoded, Field, Format, IntegerForm
from mxhw.formats.bitmod import BITMOD_GRIDS, BITMOD_SPECIAL_VALUES, BitModFormat
from mxhw.formats.dialect import (
    DIALECT_EXPONENT_BIAS,
    DIALECT_RANGES,
    DIALECT_TABLE,
    DIALECT_THRESHOLDS,
    DialectFormat,
)
from mxhw.formats.integer import IntegerFormat
from mxhw.formats.mx import MXFloatFormat, MXIntFormat
from mxhw.formats.packing import pack, pack_words, unpack
from mxhw.formats.plain import PlainFormat
from mxhw.formats.registry import known_formats, parse_format, register_format

__all__ = [
    "BITMOD_GRIDS",
    "BITMOD_SPECIAL_VALUES",
    "DIALECT_EXPONENT_BIAS",
    "DIALECT_RANGES",
    "DIALECT_TABLE",
    "DIALECT_THRESHOLDS",
    "BitModFormat",
    "DialectFormat",
    "Encoded",
    "Field",
    "Format",
    "IntegerForm",
    "IntegerFormat",
    "MXFloatFormat",
    "MXIntFormat",
    "PlainFormat",
    "known_formats",
    "pack",
    "pack_words",
    "parse_format",
    "register_format",
    "unpack",
]
