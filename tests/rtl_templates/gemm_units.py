"""What the tests of GEMM units with weights in memory share: drawn cases, integer references, a bench with stalls."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from mxhw.arithmetic import gemm_accumulators, weight_type_named
from mxhw.formats import DIALECT_TABLE, IntegerForm
from mxhw.rtl_templates import BitModGemm, DialectGemm, GemmShape, GemmUnit
from mxhw.rtl_templates.gemm.layout import word_ints


@dataclass
class Case:
    """A unit with its weights in memory, the beats to send and the beats to expect.

    ``rebuild`` makes the same unit with other memory words.
    """

    unit: GemmUnit
    rebuild: Callable[..., GemmUnit]
    weights: list[int]
    metadata: list[int] | None
    x: list[int]
    y: list[int]
    accumulators: np.ndarray
    tokens: int


def _form(values: np.ndarray, multiplier: np.ndarray, exponent: np.ndarray) -> IntegerForm:
    tensors = (torch.tensor(array.astype(np.int64)).int() for array in (values, multiplier, exponent))
    return IntegerForm(*tensors, torch.ones(len(values)))


def _blocks(codes: np.ndarray, blocks: int, block: int) -> np.ndarray:
    return np.pad(codes, [(0, 0), (0, blocks * block - codes.shape[1])]).reshape(len(codes), blocks, block)


def bitmod_case(
    shape: GemmShape, weight_type: str, group: int | None, tokens: int, seed: int, extreme: bool = False
) -> Case:
    """Random codes, multipliers and selectors; ``extreme``: every operand has its largest magnitude."""
    rng = np.random.default_rng(seed)
    kind = weight_type_named(weight_type)
    x = rng.integers(-127, 128, (tokens, shape.k))
    codes = rng.integers(0, 1 << kind.code_bits, (shape.n, shape.k))
    groups = -(-shape.k // group) if group else 1
    multiplier, selector = rng.integers(0, 256, (shape.n, groups)), rng.integers(0, 4, (shape.n, groups))
    if not kind.magnitudes:
        codes[codes == 1 << kind.code_bits - 1] = 0
    if extreme:
        x[:] = np.where(np.arange(tokens) % 2, 127, -127)[:, None]
        codes[:] = kind.special_code or kind.largest
        multiplier[:], selector[:] = 255, rng.integers(2, 4, (shape.n, 1))
    values = np.vectorize(kind.value)(codes, np.repeat(selector, group or shape.k, 1)[:, : shape.k])
    block = group or shape.k
    w = _form(_blocks(values, groups, block), multiplier if group else multiplier * 0 + 1, multiplier * 0)
    accumulators = gemm_accumulators(_form(x[:, None], x[:, :1] * 0 + 1, x[:, :1] * 0), w, "bitmod").objects()

    def rebuild(**words: Any) -> BitModGemm:
        return BitModGemm(shape, weight_type=weight_type, group=group, **words)

    unit = rebuild()
    weights = word_ints(unit.weight_fields(codes), kind.code_bits)
    metadata = None
    if group:
        fields = unit.metadata_fields(multiplier, selector if kind.special_values else None)
        metadata = word_ints(fields, unit.metadata_width // shape.columns)
    return _case(rebuild, weights, metadata, unit.input_beats(x), accumulators)


def dialect_case(shape: GemmShape, block: int, exponents: tuple[int, int], tokens: int, seed: int) -> Case:
    """Random codes, dialects and exponents, those of the weights in ``exponents``."""
    rng = np.random.default_rng(seed)
    table, blocks = np.array(DIALECT_TABLE), -(-shape.k // block)

    def operand(rows: int, low: int, high: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        sizes = (rows, blocks)
        exponent = rng.integers(low, high + 1, sizes)
        exponent.flat[:2] = low, high
        return rng.integers(0, 16, (rows, shape.k)), rng.integers(0, 16, sizes), exponent

    def form(codes: np.ndarray, dialect: np.ndarray, exponent: np.ndarray) -> IntegerForm:
        half_units = table[np.repeat(dialect, block, 1)[:, : shape.k], codes & 7]
        values = _blocks(np.where(codes > 7, -half_units, half_units), blocks, block)
        return _form(values, dialect * 0 + 1, exponent - 16)

    x, w = operand(tokens, 0, 31), operand(shape.n, *exponents)
    accumulators = gemm_accumulators(form(*x), form(*w), "dialect").objects()

    def rebuild(**words: Any) -> DialectGemm:
        return DialectGemm(shape, block=block, weight_exponents=exponents, **words)

    unit = rebuild()
    weights = word_ints(unit.weight_fields(w[0]), 4)
    metadata = word_ints(unit.metadata_fields(*w[1:]), 9)
    return _case(rebuild, weights, metadata, unit.input_beats(*x), accumulators)


def _case(
    rebuild: Callable[..., GemmUnit],
    weights: list[int],
    metadata: list[int] | None,
    x: list[int],
    accumulators: np.ndarray,
) -> Case:
    unit = rebuild(weights=weights, metadata=metadata)
    y = unit.output_beats(accumulators)
    return Case(unit, rebuild, weights, metadata, x, y, accumulators, len(accumulators))


@dataclass
class Run:
    """What came out, and the cycles from the first beat in to the last beat out, both counted."""

    beats: list[int]
    cycles: int


def run(
    unit: GemmUnit, x: list[int], expected_beats: int, stall: float = 0.0, seed: int = 0, reset_after: int = 0
) -> Run:
    """Send ``x``, take ``expected_beats``; both sides pause with probability ``stall``; the protocol is checked.

    With ``reset_after`` the unit first computes on garbage for so many cycles and is then reset.
    """
    rng = random.Random(seed)
    beats: list[int] = []
    span: list[int] = []

    reset = Signal()

    async def bench(ctx: Any) -> None:
        ctx.set(unit.x.valid, 1)
        for cycle in range(reset_after):
            ctx.set(unit.x.payload, rng.getrandbits(unit.x_width))
            ctx.set(reset, cycle == reset_after - 1)
            await ctx.tick()
        ctx.set(reset, 0)
        position, offered, cycle, held = 0, False, 0, None
        while len(beats) < expected_beats:
            offered = offered or (position < len(x) and rng.random() >= stall)
            taking = rng.random() >= stall
            ctx.set(unit.y.ready, taking)
            ctx.set(unit.x.valid, offered)
            ctx.set(unit.x.payload, x[position] if offered else rng.getrandbits(unit.x_width))
            if ctx.get(unit.y.valid):
                payload = ctx.get(unit.y.payload)
                assert held in (None, payload), "payload changed while valid and not ready"
                held = None if taking else payload
                if taking:
                    beats.append(payload)
                    span.append(cycle)
            else:
                assert held is None, "valid fell before ready"
            if offered and ctx.get(unit.x.ready):
                position, offered = position + 1, False
                span.append(cycle)
            await ctx.tick()
            cycle += 1
            assert cycle < 200 * (len(x) + expected_beats) + 100_000, "the unit hangs"

    simulator = Simulator(ResetInserter(reset)(unit))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return Run(beats, max(span) - min(span) + 1)
