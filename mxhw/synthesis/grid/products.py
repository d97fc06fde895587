"""Points of products: arrays with what stands around them."""

from collections.abc import Iterator
from typing import Any

from mxhw.arithmetic.dataflow import BlockCodes
from mxhw.hardware.structure import Product
from mxhw.rtl_templates.dataflow.linear import LinearUnit
from mxhw.rtl_templates.gemm import BitModGemm, DialectGemm, GemmShape
from mxhw.synthesis.grid.point import Point

__all__ = ["large_product_points", "product_point", "product_points"]

_SCALE_ROOM = 15  # bits that the largest scale of a token shifts by


def product_point(weight_type: str, rows: int, columns: int, lanes: int, n: int, k: int, *, group: int | None = None,
                  bits: int | None = None, layers: int = 1, port: int | None = None, window: tuple[int, int] = (8, 12),
                  held: bool = False) -> Point:  # fmt: skip
    """Return the point of a product; ``group``: of multipliers, or DialectFP4's block; ``window``: its exponents.

    ``bits``: of an element of the output; None: as many as the accumulator, shifted by a token's scale where the format
    of x has one.
    """
    shape = GemmShape(rows=rows, columns=columns, lanes=lanes, n=n, k=k)
    dialect = weight_type == "dialect4"
    gemm: BitModGemm | DialectGemm
    more: Any = {"layers": layers, "port": port}
    if dialect:
        gemm = DialectGemm(shape, block=group or 32, weight_exponents=window, **more)
    else:
        gemm = BitModGemm(shape, weight_type=weight_type, group=group, **more)
    own = 4 if dialect else 8
    x = BlockCodes(
        kind="dialect" if dialect else "integer", length=k, block=(group or 32) if dialect else k, bits=own, exponent=0
    )
    out = bits or gemm.accumulator_width + (0 if dialect else _SCALE_ROOM)
    unit = Product(
        family="dialect" if dialect else "bitmod",
        weight_type=weight_type,
        terms=1 if dialect else gemm.terms,
        lanes=lanes,
        rows=rows,
        columns=columns,
        n=n,
        k=k,
        block=gemm.tiling.group_chunks * lanes if gemm.metadata_depth else lanes,
        code_bits=gemm.code_bits,
        input_bits=own,
        metadata_bits=gemm.metadata_width // columns if gemm.metadata_depth else 0,
        input_metadata_bits=gemm.x_width // rows - lanes * own,
        accumulator_bits=gemm.accumulator_width,
        output_bits=out,
        layers=layers,
        storage="inside" if port is None else "layers",
        port=port or 0,
    )

    def make() -> LinearUnit:
        if dialect:
            array: BitModGemm | DialectGemm = DialectGemm(shape, block=group or 32, weight_exponents=window, **more)
        else:
            array = BitModGemm(shape, weight_type=weight_type, group=group, **more)
        return LinearUnit(gemm=array, x=x, bits=out)

    return Point(unit, make, held)


def product_points() -> Iterator[Point]:
    yield product_point("int8", 1, 2, 4, 8, 64)
    yield product_point("int8", 1, 8, 4, 32, 256)
    yield product_point("int8", 2, 2, 4, 4, 160)
    yield product_point("int8", 1, 4, 8, 16, 128)
    yield product_point("int8", 1, 2, 4, 8, 1024, group=128)
    yield product_point("int6", 1, 4, 4, 16, 256, group=128)
    yield product_point("int6", 1, 2, 4, 8, 96)
    yield product_point("int4", 1, 4, 4, 16, 256, group=64)
    yield product_point("int4", 1, 2, 8, 8, 96)
    yield product_point("fp4", 1, 2, 4, 8, 128, group=64)
    yield product_point("fp4", 2, 4, 4, 16, 256, group=128)
    yield product_point("fp4", 1, 4, 8, 16, 1024, group=128)
    yield product_point("fp3", 1, 4, 4, 16, 256, group=128)
    yield product_point("fp3", 2, 2, 8, 8, 384, group=128)
    yield product_point("dialect4", 1, 2, 4, 8, 128)
    yield product_point("dialect4", 1, 4, 8, 16, 256)
    yield product_point("dialect4", 2, 4, 4, 16, 160)
    yield product_point("dialect4", 1, 4, 4, 16, 128, window=(2, 20))
    yield product_point("int8", 4, 2, 4, 4, 160)
    yield product_point("int8", 4, 1, 4, 2, 256, group=128)
    yield product_point("int6", 4, 1, 8, 2, 320)
    yield product_point("fp4", 4, 2, 4, 4, 256, group=128)
    yield product_point("fp4", 6, 1, 8, 2, 512, group=128)
    yield product_point("fp3", 4, 1, 4, 2, 256, group=64)
    yield product_point("dialect4", 4, 2, 4, 4, 160)
    yield product_point("dialect4", 6, 1, 8, 2, 320)
    yield product_point("int8", 1, 4, 4, 16, 64, layers=4)
    yield product_point("fp4", 1, 4, 4, 16, 256, group=128, layers=4, port=64)
    yield product_point("dialect4", 1, 2, 4, 8, 64, layers=4, port=32)
    yield product_point("int8", 2, 4, 4, 16, 192, held=True)
    yield product_point("fp4", 1, 8, 4, 32, 512, group=128, held=True)
    yield product_point("int6", 2, 4, 4, 16, 192, held=True)
    yield product_point("dialect4", 2, 4, 8, 16, 320, held=True)


def large_product_points() -> Iterator[Point]:
    yield product_point("int8", 4, 4, 4, 16, 256, held=True)
    yield product_point("fp4", 4, 8, 4, 64, 256, group=128, held=True)
    yield product_point("fp3", 4, 4, 4, 64, 256, group=128, held=True)
    yield product_point("int6", 4, 4, 4, 64, 256, group=128, held=True)
    yield product_point("dialect4", 4, 4, 4, 64, 256, held=True)
    yield product_point("int8", 1, 16, 8, 64, 512, held=True)
