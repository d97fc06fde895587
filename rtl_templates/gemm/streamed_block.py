"""Streamed GEMM of block formats: DialectFP4, MXFP4, MXFP6, MXFP8, MXINT and integers with power-of-two scales.

Source: BlockDialect (arXiv 2501.01144v5), OCP Microscaling v1.0. Decoders stand at both edges of the array; a PE adds
exact integer products, and each block's sum is shifted once by the sum of the two exponents into an exact accumulator.
Definition: `mxhw.arithmetic.mac`.
"""

from functools import partial
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value

from mxhw.arithmetic import block_element, block_elements, block_widths
from mxhw.rtl_templates.checks import require, require_lanes, require_natural
from mxhw.rtl_templates.gemm.block_edge import BlockEdge
from mxhw.rtl_templates.gemm.command import CommandLimits
from mxhw.rtl_templates.gemm.streamed import BeatBits, Side, StreamedFront, StreamedGemm
from mxhw.rtl_templates.mac.block import BlockPE
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "StreamedBlockGemm"]

_LATENCY = 2
Window = tuple[int, int]


class StreamedBlockGemm(StreamedGemm):
    """Output-stationary array of block PEs with streamed operands.

    Parameters
    ----------
    element : str
        Of both operands: a name of :func:`mxhw.arithmetic.block_elements`.
    rows, columns, lanes : int
        PEs, and products per PE and cycle.
    k : int
        Longest reduction, padding to whole groups included: commands beyond it are refused.
    block : int
        Largest block; a command may have any smaller one that is a multiple of ``lanes``.
    x_exponents, w_exponents : (int, int)
        Windows: lowest and highest stored exponent of a block. The width of the accumulator follows from them.
    gemv : bool
        Whether the unit has the mapping "gemv" as well, chosen by each command.
    tiles : int
        Most tiles of a command.
    accumulator : int or None
        A wider accumulator than the bound.

    Members
    -------
    command, x, w, y, refused
        See :class:`StreamedGemm`. Codes are the format's own bit patterns.
    x_scale, w_scale : In(stream.Signature(n * (selector_bits + exponent bits)))
        Per row, per column, the first lowest: the block's dialect if the element has one, above it the stored exponent
        less the lowest of its window, in ``widths.x_exponent`` or ``widths.w_exponent`` bits.
    outside : Out(1)
        An exponent was above its window: results since are wrong. Until reset.

    Raises
    ------
    InputError
        If the element is unknown, ``lanes`` do not divide ``block``, ``k`` is shorter than a block, a window is none,
        or ``accumulator`` is below its bound.
    """

    def __init__(
        self,
        *,
        element: str,
        rows: int,
        columns: int,
        lanes: int = 4,
        k: int = 4096,
        block: int = 32,
        x_exponents: Window | None = None,
        w_exponents: Window | None = None,
        gemv: bool = False,
        tiles: int = 65535,
        accumulator: int | None = None,
    ) -> None:
        kind = block_element(element)
        for name, value in (("block", block), ("k", k)):
            require_natural(name, value)
        require_lanes(lanes, block, "block")
        require(k >= block, "k", f"at least the block of {block}", k)
        everything = (0, kind.largest_exponent)
        self.x_exponents, self.w_exponents = x_exponents or everything, w_exponents or everything
        tile_chunks = -(-k // block) * (block // lanes)
        self.widths = block_widths(
            element, tile_chunks * lanes, block, self.x_exponents, self.w_exponents, accumulator=accumulator
        )
        self.element, self.block = kind, block
        super().__init__(
            rows=rows,
            columns=columns,
            lanes=lanes,
            limits=CommandLimits(group_chunks=block // lanes, tile_chunks=tile_chunks, tiles=tiles, gemv=gemv),
            bits=BeatBits(
                x=kind.code_bits,
                w=kind.code_bits,
                x_scale=kind.selector_bits + self.widths.x_exponent,
                w_scale=kind.selector_bits + self.widths.w_exponent,
            ),
            accumulator_width=self.widths.accumulator,
            latency=_LATENCY,
            flags=("outside",),
        )

    def _array(self, m: Module, front: StreamedFront) -> tuple[list[Any], Value]:
        compute = front.compute
        fold, start, tile_done = Signal(), Signal(), Signal()
        with m.If(front.advance):
            m.d.sync += [
                fold.eq(compute.valid & compute.last),
                start.eq(compute.tile_first),
                tile_done.eq(compute.valid & compute.tile_last),
            ]
        (inputs,) = self.edges("x", partial(self._edge, "x"), m, front)
        weights = self.edges("w", partial(self._edge, "w"), m, front)
        rows = self.pe_rows(m, front, self._pe, {"w", "w_exponent"})
        for index, row in enumerate(rows):
            edge = weights[index % len(weights)]
            m.d.comb += [
                row.fold.eq(fold),
                row.start.eq(start),
                row.x.eq(inputs.register(index)),
                row.x_exponent.eq(inputs.exponents.word_select(index, self.widths.x_exponent)),
                row.w.eq(Cat(edge.register(column)[: edge.operand_bits] for column in range(self.columns))),
                row.w_exponent.eq(edge.exponents),
            ]
        with m.If(front.advance & compute.valid & Cat(*(edge.outside for edge in (inputs, *weights))).any()):
            m.d.sync += self.outside.eq(1)
        return rows, tile_done

    def _pe(self) -> BlockPE:
        return BlockPE(element=self.element.name, widths=self.widths, lanes=self.lanes)

    def _edge(self, side: Side, vectors: int, shared: bool) -> BlockEdge:
        low, high = self.x_exponents if side == "x" else self.w_exponents
        return BlockEdge(
            element=self.element.name,
            lanes=self.lanes,
            vectors=vectors,
            exponent_bits=self.widths.x_exponent if side == "x" else self.widths.w_exponent,
            span=high - low,
            shared=shared,
        )


def _build(
    element: str = "dialect4",
    rows: int = 4,
    columns: int = 4,
    lanes: int = 4,
    k: int = 4096,
    block: int = 32,
    x_exponents: int = 16,
    w_exponents: int = 8,
    gemv: bool = False,
    accumulator: int | None = None,
) -> StreamedBlockGemm:
    """``x_exponents`` and ``w_exponents`` are how many stored exponents the windows hold."""
    for name, size in (("x_exponents", x_exponents), ("w_exponents", w_exponents)):
        require_natural(name, size)
    return StreamedBlockGemm(
        element=element,
        rows=rows,
        columns=columns,
        lanes=lanes,
        k=k,
        block=block,
        x_exponents=(0, x_exponents - 1),
        w_exponents=(0, w_exponents - 1),
        gemv=gemv,
        accumulator=accumulator,
    )


TEMPLATE = UnitTemplate(
    name="streamed_block_gemm",
    kind="gemm",
    description="GEMM array of block PEs, both operands streamed; one multiply and add per lane and cycle",
    build=_build,
    choices={"element": tuple(block_elements())},
    macs_per_cycle=lambda **p: float(p["rows"] * p["columns"] * p["lanes"]),
)
