"""Units of the RTL and their points, drawn."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np

from mxhw.arithmetic import hides_scale, terms
from mxhw.arithmetic.dataflow import BlockCodes
from mxhw.hardware.gemm import GROUP_SCALE_BITS, GemmPoints
from mxhw.hardware.structure import Product
from mxhw.hardware.structure.products import SCALE_BITS
from mxhw.rtl_templates.dataflow import LinearUnit
from mxhw.rtl_templates.gemm import BitModGemm, DialectGemm, GemmShape, GemmUnit

# Those without values that a group selects need no group.
TYPES = {"int2": False, "int3": False, "int5": False, "int6": False, "int8": False, "fp4": True, "fp3": True}


def points_of(unit: GemmUnit, tokens: int = 1) -> GemmPoints:
    """Return the point of an array of the RTL."""
    shape, is_dialect = unit.shape, isinstance(unit, DialectGemm)
    block = unit.block if is_dialect else unit.group
    fields = unit.metadata_width // shape.columns
    return GemmPoints(
        m=tokens,
        n=shape.n,
        k=shape.k,
        rows=shape.rows,
        columns=shape.columns,
        lanes=shape.lanes,
        terms=unit.terms,
        block=block or 1,
        input_block=block if is_dialect else 1,
        scaled=int(not is_dialect and block is not None),
        code_bits=unit.code_bits,
        input_bits=4 if is_dialect else 8,
        metadata_bits=fields,
        input_metadata_bits=fields if is_dialect else 0,
        token_bits=0 if is_dialect else SCALE_BITS,
        accumulator_bits=unit.accumulator_width,
    )


def drawn_gemm(random: Random, *, whole_columns: bool = False, **words: Any) -> GemmUnit:
    """Return an array with any legal parameters; ``whole_columns``: they divide N, lanes K, as in a design."""
    lanes = random.choice([1, 2, 4, 8])
    columns, rows = random.randint(1, 9), random.choice([1, 1, 2, 3, 4, 8, 17])
    n = random.randint(1, 6) * columns if whole_columns else random.randint(1, 40)
    k = lanes * random.randint(1, 60) if whole_columns else random.randint(1, 250)
    shape = GemmShape(rows=rows, columns=columns, lanes=lanes, n=n, k=k)
    group = lanes * random.choice([2, 4, 8, 16])
    kind = random.choice([*TYPES, "dialect4", "dialect4"])
    if kind == "dialect4":
        return DialectGemm(shape, block=group, **words)
    grouped = TYPES[kind] or random.random() < 0.5
    if grouped and not hides_scale(group, lanes, terms(kind)):
        group = lanes * GROUP_SCALE_BITS
    return BitModGemm(shape, weight_type=kind, group=group if grouped else None, **words)


def linear_of(gemm: GemmUnit) -> LinearUnit:
    """Return the unit that has an array between streams of tokens."""
    is_dialect, k = isinstance(gemm, DialectGemm), gemm.shape.k
    kind, bits = ("dialect", 4) if is_dialect else ("integer", 8)
    x = BlockCodes(kind=kind, length=k, block=gemm.block if is_dialect else k, bits=bits, exponent=0)
    return LinearUnit(gemm=gemm, x=x, bits=40)


def record_of(unit: GemmUnit, layers: int = 1) -> Product:
    """Return the record of an array of the RTL as it stands in a design."""
    points, linear = points_of(unit), isinstance(unit, DialectGemm)
    return Product(
        family="dialect" if linear else "bitmod",
        weight_type="dialect4" if linear else unit.weight_type.name,
        block=unit.block if linear else unit.group or unit.shape.lanes,
        layers=layers,
        **{
            name: getattr(points, name)
            for name in (
                *("terms", "lanes", "rows", "columns", "n", "k", "code_bits", "input_bits", "metadata_bits"),
                *("input_metadata_bits", "accumulator_bits", "output_bits"),
            )
        },
    )


def stacked(points: list[GemmPoints], array: Callable[[list[Any]], Any] = np.asarray) -> GemmPoints:
    """Return one record of arrays [points]."""
    names = [name for name in points[0].__dataclass_fields__ if name != "relaxed"]
    return replace(points[0], **{name: array([getattr(each, name) for each in points]) for name in names})
