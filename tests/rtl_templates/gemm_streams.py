"""What the tests of streamed GEMM units share: drawn products in every format, their references, and bulk runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from mxhw.arithmetic import Decoded, accumulate, block_sums, decode_element, gemm_accumulators
from mxhw.formats import parse_format
from mxhw.rtl_templates import StreamedBitModGemm, StreamedBlockGemm, StreamedGemm
from mxhw.rtl_templates.gemm.beats import (
    Job,
    Operand,
    bitmod_operands,
    block_operands,
    make_job,
    output_accumulators,
)
from mxhw.sim.library import Library, Run, build_library

INPUTS = parse_format("int8-e8m0")
WINDOW = (110, 131)


@dataclass(frozen=True)
class Product:
    """A job of a unit and the accumulators that it must give."""

    unit: StreamedGemm
    job: Job
    accumulators: np.ndarray

    def run(self, stall: float = 0.0, seed: int = 0) -> Run:
        """Send the job's beats."""
        return run_beats(self.unit, self.job.beats, self.job.tiles, stall, seed)

    def equals(self, run: Run) -> bool:
        """Whether the outputs of a run are the accumulators."""
        return bool((output_accumulators(self.unit, self.job, run.ints("y")) == self.accumulators).all())


@cache
def bitmod_unit() -> StreamedBitModGemm:
    """The unit of most tests: all types, both mappings."""
    return StreamedBitModGemm(rows=2, columns=3, k=512, gemv=True)


@cache
def block_unit(element: str) -> StreamedBlockGemm:
    """A unit of an element; that of DialectFP4 has both mappings and weights in a window."""
    if element == "dialect4":
        return StreamedBlockGemm(
            element=element, rows=3, columns=2, lanes=8, k=256, block=64, w_exponents=(6, 18), gemv=True
        )
    return StreamedBlockGemm(element=element, rows=2, columns=2, lanes=4, k=256, x_exponents=WINDOW, w_exponents=WINDOW)


@cache
def library(unit: StreamedGemm) -> Library:
    """The compiled unit."""
    return build_library(unit)


def run_beats(unit: StreamedGemm, beats: dict[str, list[int]], tiles: int, stall: float = 0.0, seed: int = 0) -> Run:
    """Send beats and take the outputs of ``tiles`` tiles."""
    return library(unit).run(beats, {"y": tiles * unit.rows}, stall=stall, seed=seed, fresh=False)


def joined(products: Sequence[Product]) -> dict[str, list[int]]:
    """The beats of products one after the other."""
    return {name: [b for p in products for b in p.job.beats[name]] for name in products[0].job.beats}


def draw(shape: tuple[int, int], seed: int) -> torch.Tensor:
    """Values with outliers, some of them zero, and a block of zeros where there is room for one."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator) * (1 + 7 * (torch.rand(shape, generator=generator) < 0.02))
    values[torch.rand(shape, generator=generator) < 0.1] = 0
    values[-1, :128] = 0
    return values


def bitmod_product(
    name: str, m: int, k: int, n: int, mapping: str = "gemm", seed: int = 0, unit: StreamedBitModGemm | None = None
) -> Product:
    """A product of int8 inputs and weights of a serial format, encoded from floats."""
    unit, fmt = unit or bitmod_unit(), parse_format(name)
    x, w = INPUTS.integers(INPUTS.encode(draw((m, k), seed))), fmt.encode(draw((n, k), seed + 1))
    job = make_job(unit, *bitmod_operands(unit, x, fmt, w), mapping)
    return Product(unit, job, gemm_accumulators(x, fmt.integers(w), "bitmod").objects())


def block_product(name: str, element: str, m: int, k: int, n: int, mapping: str = "gemm", seed: int = 0) -> Product:
    """A product of two operands of a block format, encoded from floats whose exponents lie in the unit's windows."""
    unit, fmt = block_unit(element), parse_format(name)
    x, w = (fmt.encode(draw((rows, k), seed + rows)) for rows in (m, n))
    operands = block_operands(unit, fmt, x, w)
    return Product(unit, make_job(unit, *operands, mapping), block_reference(unit, *operands))


def block_reference(unit: StreamedBlockGemm, x: Operand, w: Operand) -> np.ndarray:
    """The accumulators of operands by the definition of the block unit."""
    (x_values, x_exponent), (w_values, w_exponent) = (_blocks(unit, operand) for operand in (x, w))
    sums = block_sums(_expand(x_values, 1), _expand(w_values, 0))
    windows = unit.x_exponents, unit.w_exponents
    return accumulate(sums, x_exponent[:, None] + windows[0][0], w_exponent[None] + windows[1][0], *windows).objects()


def exact_product(fmt_name: str, unit: StreamedBlockGemm, m: int, k: int, n: int, seed: int = 0) -> np.ndarray:
    """The same accumulators from decoded values with Python's integers: 2**120 times too large values, no rounding."""
    fmt = parse_format(fmt_name)
    x, w = (fmt.decode(fmt.encode(draw((rows, k), seed + rows))).double().numpy() for rows in (m, n))
    # All values are multiples of 2**-60: exact as Python's integers.
    big = [np.vectorize(lambda v: int(v * 2.0**60), otypes=[object])(values) for values in (x, w)]
    product = big[0] @ big[1].T
    exponent = 120 + unit.x_exponents[0] + unit.w_exponents[0] - 2 * unit.element.bias
    assert all(not v % (1 << exponent) for v in product.flat)
    return product >> exponent


def largest_operands(unit: StreamedBlockGemm, code: int, sign: int, dialect: int = 0) -> tuple[Operand, Operand]:
    """Operands of ``k`` elements of one code, all exponents the highest; rows of x alternate in sign."""
    k, chunks = unit.limits.tile_chunks * unit.lanes, unit.limits.group_chunks
    x, w = np.full((unit.rows, k), code), np.full((unit.columns, k), code)
    x[1::2] = sign
    windows = (unit.x_exponents, unit.w_exponents)
    scales = [
        np.full((len(codes), k // unit.block), dialect | (high - low) << unit.element.selector_bits)
        for codes, (low, high) in zip((x, w), windows, strict=True)
    ]
    return Operand(x, chunks, scales[0]), Operand(w, chunks, scales[1])


def _blocks(unit: StreamedBlockGemm, operand: Operand) -> tuple[Decoded, torch.Tensor]:
    bits = unit.element.selector_bits
    scales = torch.tensor(operand.scales)
    codes = torch.tensor(operand.codes).view(*scales.shape, -1)
    dialect = (scales & (1 << bits) - 1)[..., None] if bits else None
    return decode_element(unit.element.name, codes, dialect), scales >> bits


def _expand(values: Decoded, at: int) -> Decoded:
    return Decoded(*(field.unsqueeze(at) for field in (values.sign, values.significand, values.shift)))
