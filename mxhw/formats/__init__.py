"""Number formats: one object per format defines values, blocks, scales, rounding, codes, packing and true bits.

>>> fmt = parse_format("mxfp4")
>>> fmt.fake_quantize(x, axis=-1)      # the values
>>> fmt.encode(x)                      # codes, scales, metadata
>>> fmt.bits(x.shape)                  # every stored bit
"""

from mxhw.extensions import load_extension, load_extensions, track
from mxhw.formats import kernels, operators
from mxhw.formats.base import Encoded, Field, Format, IntegerForm, Parts
from mxhw.formats.bitmod import BitModFormat
from mxhw.formats.bitmod_codebooks import BITMOD_GRIDS, BITMOD_SPECIAL_VALUES, BitModCodebook
from mxhw.formats.channel_cuts import cut_channels
from mxhw.formats.channels import (
    ChannelEncoded,
    ChannelGroups,
    channel_dimension,
    channel_groups,
    formats_in,
    runs_of,
)
from mxhw.formats.dialect import (
    DIALECT_EXPONENT_BIAS,
    DIALECT_RANGES,
    DIALECT_TABLE,
    DIALECT_THRESHOLDS,
    DialectFormat,
)
from mxhw.formats.extensions import Families
from mxhw.formats.fp8 import FP8Format
from mxhw.formats.integer import IntegerFormat
from mxhw.formats.mx import MXFloatFormat, MXIntFormat
from mxhw.formats.nf4 import NF4_TABLE, NF4Format
from mxhw.formats.nvfp4 import NVFP4Format
from mxhw.formats.packing import PackedField, pack, pack_words, packed_layout, unpack
from mxhw.formats.plain import PlainFormat
from mxhw.formats.razer import RAZER_SPECIAL_VALUES, RazerFormat
from mxhw.formats.registry import known_formats, parse_format, register_format

__all__ = [
    "BITMOD_GRIDS",
    "BITMOD_SPECIAL_VALUES",
    "DIALECT_EXPONENT_BIAS",
    "DIALECT_RANGES",
    "DIALECT_TABLE",
    "DIALECT_THRESHOLDS",
    "NF4_TABLE",
    "RAZER_SPECIAL_VALUES",
    "BitModCodebook",
    "BitModFormat",
    "ChannelEncoded",
    "ChannelGroups",
    "DialectFormat",
    "Encoded",
    "FP8Format",
    "Field",
    "Format",
    "IntegerForm",
    "IntegerFormat",
    "MXFloatFormat",
    "MXIntFormat",
    "NF4Format",
    "NVFP4Format",
    "PackedField",
    "Parts",
    "PlainFormat",
    "RazerFormat",
    "channel_dimension",
    "channel_groups",
    "cut_channels",
    "formats_in",
    "kernels",
    "known_formats",
    "load_extension",
    "load_extensions",
    "operators",
    "pack",
    "pack_words",
    "packed_layout",
    "parse_format",
    "register_format",
    "runs_of",
    "unpack",
]

track(Families())
