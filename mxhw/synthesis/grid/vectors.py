"""Points of norms, encoders, rotations and look-ups."""

from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import torch

from mxhw.arithmetic.dataflow import BlockCodes, Integers
from mxhw.arithmetic.functions.layer_norm import LayerNormSpec
from mxhw.arithmetic.functions.rms_norm import RMSNormSpec
from mxhw.hardware.structure import Embedding, Encoder, Norm, Rope
from mxhw.rtl_templates.catalogue import unit_named
from mxhw.rtl_templates.dataflow.payloads import SCALE_BITS
from mxhw.rtl_templates.dataflow.quantize import QuantizeUnit
from mxhw.rtl_templates.encoder import MXEncoder
from mxhw.rtl_templates.function import layer_norm, rms_norm
from mxhw.synthesis.grid.point import Point, quiet

__all__ = ["vector_points"]

_CODE_BITS = {"mxfp4": 4, "mxfp6-e2m3": 6, "mxfp8-e4m3": 8}


def _norm(kind: Literal["rms_norm", "layer_norm"], length: int, lanes: int, bits: int, *, out: int = 16,
          held: bool = False) -> Point:  # fmt: skip
    gains, given = torch.linspace(0.5, 1.5, length), {"input_bits": bits, "output_bits": out}
    exponents = 8 - bits, 4 - out
    spec: Any
    make: Any
    if kind == "rms_norm":
        spec, make = RMSNormSpec.of(gains, 1e-5, *exponents, **given), rms_norm.RMSNorm
        constant = spec.gain_bits
    else:
        biases = torch.linspace(-1.0, 1.0, length)
        spec, make = LayerNormSpec.of(gains, biases, 1e-5, *exponents, **given), layer_norm.LayerNorm
        constant = spec.gain_bits + spec.bias_bits
    unit = Norm(
        kind=kind,
        length=length,
        lanes=lanes,
        input_bits=bits,
        gain_bits=spec.gain_bits,
        output_bits=out,
        constant_words=length // lanes,
        constant_bits=lanes * constant,
    )
    return Point(unit, partial(make, spec=spec, lanes=lanes), held)


def _norms() -> Iterator[Point]:
    yield _norm("rms_norm", 64, 1, 24)
    yield _norm("rms_norm", 256, 2, 24)
    yield _norm("rms_norm", 4096, 1, 20)
    yield _norm("rms_norm", 128, 4, 16)
    yield _norm("rms_norm", 16, 1, 24)
    yield _norm("rms_norm", 512, 2, 20, held=True)
    yield _norm("layer_norm", 64, 1, 24)
    yield _norm("layer_norm", 1024, 1, 20)
    yield _norm("layer_norm", 128, 2, 16)
    yield _norm("layer_norm", 96, 1, 20)
    yield _norm("layer_norm", 512, 1, 16, held=True)


def _rope(head_dim: int, heads: int, positions: int, bits: int, *, held: bool = False) -> Point:
    template = unit_named("rope")
    make = partial(template.make, head_dim=head_dim, heads=heads, positions=positions, input_bits=bits)
    spec = quiet(make()).spec
    unit = Rope(
        length=heads * head_dim,
        lanes=1,
        heads=heads,
        head_dim=head_dim,
        positions=positions,
        span=spec.span,
        input_bits=bits,
        output_bits=spec.output_bits,
        table_bits=spec.table_bits,
    )
    return Point(unit, make, held)


def _embedding(rows: int, length: int, lanes: int, *, held: bool = False) -> Point:
    make = partial(unit_named("embedding").make, rows=rows, length=length, lanes=lanes)
    spec = quiet(make())._spec
    unit = Embedding(
        length=length,
        lanes=lanes,
        rows=rows,
        code_bits=spec.code_bits,
        multiplier_bits=spec.multiplier_bits,
        output_bits=spec.output_bits,
    )
    return Point(unit, make, held)


def _lookups() -> Iterator[Point]:
    yield _rope(64, 1, 64, 16)
    yield _rope(128, 8, 1024, 16)
    yield _rope(8, 2, 16, 12)
    yield _rope(64, 32, 4096, 16)
    yield _rope(32, 4, 128, 14, held=True)
    yield _embedding(256, 64, 1)
    yield _embedding(512, 64, 2)
    yield _embedding(64, 256, 4)
    yield _embedding(1024, 128, 2, held=True)


def _quantizer(kind: Literal["integer", "dialect"], length: int, block: int, lanes: int, *, bits: int = 8,
               held: bool = False) -> Point:  # fmt: skip
    x = Integers(length=length, bits=16, exponent=0)
    bits = 4 if kind == "dialect" else bits
    y = BlockCodes(kind=kind, length=length, block=block, bits=bits, exponent=0)
    unit = Encoder(
        kind=kind,
        length=length,
        lanes=lanes,
        padded=y.padded,
        block=block,
        input_bits=16,
        code_bits=bits,
        metadata_bits=9 if kind == "dialect" else SCALE_BITS,
    )
    return Point(unit, partial(QuantizeUnit, x=x, y=y, lanes=lanes), held)


def _mx_encoder(element: str, block: int, lanes: int, *, held: bool = False) -> Point:
    unit = Encoder(
        kind="mx",
        length=block,
        lanes=lanes,
        padded=block,
        block=block,
        input_bits=16,
        code_bits=_CODE_BITS[element],
        metadata_bits=8,
    )
    return Point(unit, partial(MXEncoder, element=element, block=block, lanes=lanes, exponent=0), held)


def _encoders() -> Iterator[Point]:
    yield _quantizer("integer", 128, 128, 1)
    yield _quantizer("integer", 128, 128, 2)
    yield _quantizer("integer", 4096, 4096, 4)
    yield _quantizer("integer", 128, 128, 4, bits=6)
    yield _quantizer("integer", 64, 64, 8, bits=4)
    yield _quantizer("integer", 48, 32, 2)
    yield _quantizer("integer", 1024, 1024, 8, held=True)
    yield _quantizer("dialect", 128, 32, 1)
    yield _quantizer("dialect", 128, 32, 2)
    yield _quantizer("dialect", 96, 16, 4)
    yield _quantizer("dialect", 256, 32, 8)
    yield _quantizer("dialect", 512, 64, 4, held=True)
    yield _mx_encoder("mxfp4", 32, 1)
    yield _mx_encoder("mxfp4", 32, 4)
    yield _mx_encoder("mxfp8-e4m3", 32, 1)
    yield _mx_encoder("mxfp6-e2m3", 32, 2)
    yield _mx_encoder("mxfp8-e4m3", 32, 4, held=True)


def vector_points() -> Iterator[Point]:
    """Yield them all."""
    yield from _encoders()
    yield from _norms()
    yield from _lookups()
