"""DialectFP4's GEMM unit: 4-bit blocks times 4-bit blocks.

Source: BlockDialect (arXiv 2501.01144v5). Decoders stand at both sides of the array; a PE multiplies unsigned 4-bit
magnitudes, and each block's sum is shifted once by the sum of the two exponents.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data

from mxhw.arithmetic import dialect_widths
from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.decoder import DialectDecoder, SignMagnitude
from mxhw.rtl_templates.gemm.layout import Array, column_words, pad, word_ints
from mxhw.rtl_templates.gemm.shape import GemmShape, Tiling
from mxhw.rtl_templates.gemm.unit import Front, GemmUnit, whole_groups
from mxhw.rtl_templates.mac.dialect import EXPONENT_BITS, DialectPE
from mxhw.rtl_templates.place import place
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "DialectGemm"]

CODE_BITS = 4
DIALECT_BITS = 4
FIELD_BITS = DIALECT_BITS + EXPONENT_BITS
_LATENCY = 3


class DialectGemm(GemmUnit):
    """Output-stationary array of DialectFP4 PEs.

    Parameters
    ----------
    shape : GemmShape
        Problem and array; K is padded to whole blocks.
    block : int
        Elements along K that share a dialect and an exponent, in both operands.
    weight_exponents : (int, int)
        Smallest and largest stored exponent of the weights: the accumulator counts from the smallest.
    weights, metadata : sequence of int, or None
        Memory words for simulation inside Amaranth; the Verilog reads hex files.
    layers : int
        Layers whose words the memories hold, one layer after the other.
    port : int or None
        Bits of a beat of the stream that the words come through; the memories then hold two layers, see
        :class:`GemmUnit`. None: they hold all.

    Members
    -------
    x, y, layer, words
        See :class:`GemmUnit`. Beat of x: code of (row, lane) at ``[(row*lanes + lane)*4 +: 4]``, above all codes the
        dialects, 4 bits a row, above these the stored exponents, 5 bits a row; both repeated during a block.

    Raises
    ------
    InputError
        If lanes do not divide the block, or exponents are not 0 <= smallest <= largest <= 31.
    """

    def __init__(
        self,
        shape: GemmShape,
        *,
        block: int = 32,
        weight_exponents: tuple[int, int] = (0, 31),
        weights: Sequence[int] | None = None,
        metadata: Sequence[int] | None = None,
        layers: int = 1,
        port: int | None = None,
    ) -> None:
        require_natural("block", block)
        self.widths = dialect_widths(shape.k, block, weight_exponents)
        self.block, self.weight_exponents = block, weight_exponents
        blocks, chunks = whole_groups(shape.k, block, shape.lanes)
        super().__init__(
            shape,
            Tiling(shape.column_tiles, blocks, chunks, 1),
            code_bits=CODE_BITS,
            x_bits=CODE_BITS,
            x_row_bits=FIELD_BITS,
            field_bits=FIELD_BITS,
            accumulator_width=self.widths.accumulator,
            latency=_LATENCY,
            weights=weights,
            metadata=metadata,
            layers=layers,
            port=port,
        )

    def metadata_fields(self, dialect: Any, exponent: Any) -> Array:
        """Return a layer's dialects and stored exponents [N, blocks] as [words, columns] fields of memory words."""
        size = self.column_tiles * self.shape.columns, self.groups
        fields = pad(dialect, size, "dialect").astype("int64")
        fields |= pad(exponent, size, "exponent").astype("int64") << DIALECT_BITS
        return column_words(fields, self.shape.columns)

    def input_beats(self, codes: Any, dialect: Any, exponent: Any) -> list[int]:
        """Return the x payloads of codes [M, K], dialects and stored exponents [M, blocks]."""
        low = self._code_words(codes)
        middle = word_ints(self._repeated(dialect, "dialect"), DIALECT_BITS)
        high = word_ints(self._repeated(exponent, "exponent"), EXPONENT_BITS)
        at = self.shape.rows * self.shape.lanes * CODE_BITS
        above = at + self.shape.rows * DIALECT_BITS
        return [a | b << at | c << above for a, b, c in zip(low, middle, high, strict=True)]

    def _repeated(self, values: Any, what: str) -> Array:
        """Return [M, blocks] values as [row tiles * chunks, rows], one copy for every chunk of a block."""
        whole = pad(values, (self._padded_rows(values), self.groups), what)
        return column_words(np.repeat(whole, self.tiling.group_chunks, axis=1), self.shape.rows)

    def _array(self, m: Module, front: Front, platform: Any) -> tuple[list[Value], Value]:
        rows, row_exponents = self._rows(m, front, platform)
        columns, column_exponents = self._columns(m, front, platform)
        compute = front.compute
        fold, start, tile_done = Signal(), Signal(), Signal()
        with m.If(front.advance):
            m.d.sync += [
                fold.eq(compute.valid & compute.last),
                start.eq(compute.tile_first),
                tile_done.eq(compute.valid & compute.tile_last),
            ]
        results: list[Value] = []
        for row in range(self.shape.rows):
            for column in range(self.shape.columns):
                pe = DialectPE(widths=self.widths, lanes=self.shape.lanes)
                place(m, "pe", f"{row}_{column}", pe, platform)
                m.d.comb += [
                    pe.advance.eq(front.advance),
                    pe.x.eq(rows[row]),
                    pe.w.eq(columns[column]),
                    pe.enable.eq(compute.valid),
                    pe.first.eq(compute.first),
                    pe.fold.eq(fold),
                    pe.start.eq(start),
                    pe.x_exponent.eq(row_exponents[row]),
                    pe.w_exponent.eq(column_exponents[column]),
                ]
                results.append(pe.result)
        return results, tile_done

    def _rows(self, m: Module, front: Front, platform: Any) -> tuple[list[Signal], list[Signal]]:
        """Decode stage 2's activations; return the operands of stage 2 and the exponents of stage 3, a row each."""
        rows, lanes = self.shape.rows, self.shape.lanes
        dialects = front.x[rows * lanes * CODE_BITS :]
        exponents = dialects[rows * DIALECT_BITS :]
        operands, registers = [], []
        for row in range(rows):
            operand = Signal(data.ArrayLayout(SignMagnitude, lanes), name=f"row_{row}")
            exponent = Signal(EXPONENT_BITS, name=f"row_exponent_{row}", reset_less=True)
            for lane in range(lanes):
                decoder = DialectDecoder()
                place(m, "decoder", f"row_{row}_{lane}", decoder, platform)
                m.d.comb += [
                    decoder.code.eq(front.x.word_select(row * lanes + lane, CODE_BITS)),
                    decoder.dialect.eq(dialects.word_select(row, DIALECT_BITS)),
                    operand[lane].eq(decoder.operand),
                ]
            with m.If(front.advance):
                m.d.sync += exponent.eq(exponents.word_select(row, EXPONENT_BITS))
            operands.append(operand)
            registers.append(exponent)
        return operands, registers

    def _columns(self, m: Module, front: Front, platform: Any) -> tuple[list[Signal], list[Signal]]:
        """Decode stage 1's weights; return the operands of stage 2 and the exponents of stage 3, a column each."""
        lanes, lowest = self.shape.lanes, self.weight_exponents[0]
        operands, registers = [], []
        for column in range(self.shape.columns):
            operand = Signal(data.ArrayLayout(SignMagnitude, lanes), name=f"column_{column}", reset_less=True)
            compute_exponent = Signal(EXPONENT_BITS, name=f"compute_exponent_{column}", reset_less=True)
            exponent = Signal(EXPONENT_BITS, name=f"column_exponent_{column}", reset_less=True)
            field = front.metadata.word_select(column, FIELD_BITS)
            for lane in range(lanes):
                decoder = DialectDecoder()
                place(m, "decoder", f"column_{column}_{lane}", decoder, platform)
                m.d.comb += [
                    decoder.code.eq(front.weights.word_select(column * lanes + lane, CODE_BITS)),
                    decoder.dialect.eq(field[:DIALECT_BITS]),
                ]
                with m.If(front.advance):
                    m.d.sync += operand[lane].eq(decoder.operand)
            with m.If(front.advance):
                m.d.sync += [
                    compute_exponent.eq(field[DIALECT_BITS:] - lowest),
                    exponent.eq(compute_exponent),
                ]
            operands.append(operand)
            registers.append(exponent)
        return operands, registers


def _build(
    rows: int = 4,
    columns: int = 4,
    lanes: int = 4,
    n: int = 4,
    k: int = 128,
    block: int = 32,
    low: int = 8,
    high: int = 12,
) -> DialectGemm:
    """``low`` and ``high``: the smallest and largest stored exponent of the weights. The memories hold drawn words."""
    shape = GemmShape(rows=rows, columns=columns, lanes=lanes, n=n, k=k)
    unit = DialectGemm(shape, block=block, weight_exponents=(low, high))
    weights, metadata = unit.drawn_words()
    return DialectGemm(shape, block=block, weight_exponents=(low, high), weights=weights, metadata=metadata)


TEMPLATE = UnitTemplate(
    name="dialect_gemm",
    kind="gemm",
    description="GEMM array of DialectFP4 PEs, weights in a memory, activations streamed",
    build=_build,
    macs_per_cycle=lambda **p: float(p["rows"] * p["columns"] * p["lanes"]),
)
