"""Streamed GEMM of bit-serial weights whose type is chosen at run time, command by command.

Source: BitMoD (arXiv 2411.11745). INT8 activations; weights INT8, INT6, INT5, INT4, FP4, FP3, and the one-term FP3. A
chunk takes as many cycles as its type has terms. Decoders stand at the column side of the array; group scales are
serial, one bit a cycle, beside the next group's steps. Special values are those of the formats; row scales are not
applied here.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data

from mxhw.arithmetic import RUNTIME_TYPES, SCALE_BITS, runtime_widths, terms, type_number, weight_type_named
from mxhw.arithmetic.widths import at_least
from mxhw.rtl_templates.checks import require, require_hidden_scale, require_lanes, require_natural
from mxhw.rtl_templates.decoder.bitmod_runtime import SELECTORS, SpecialTerms, special_terms_bits
from mxhw.rtl_templates.gemm.command import CommandLimits
from mxhw.rtl_templates.gemm.edge import Edge
from mxhw.rtl_templates.gemm.serial_scale import SCALE_LATENCY, TileEnd, scale_control
from mxhw.rtl_templates.gemm.streamed import BeatBits, StreamedFront, StreamedGemm
from mxhw.rtl_templates.gemm.term_edge import SELECTOR_BITS, TermEdge
from mxhw.rtl_templates.mac.bit_serial import ACTIVATION_BITS, BitSerialPE
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "ActivationEdge", "StreamedBitModGemm"]

_LATENCY = 2 + SCALE_LATENCY


class ActivationEdge(Edge):
    """Registers rows of ``lanes`` int8 activations, which need no decoder; see :class:`Edge`."""

    def __init__(self, *, lanes: int, vectors: int, shared: bool) -> None:
        bits = lanes * ACTIVATION_BITS
        super().__init__(vectors=vectors, codes=bits, scale=0, decoded=bits, shared=shared, more={})

    def _decode(self, m: Module, vector: int, codes: Value, scale: Any, platform: Any) -> Value:
        return codes


class StreamedBitModGemm(StreamedGemm):
    """Output-stationary array of bit-serial PEs with streamed operands.

    Parameters
    ----------
    rows, columns, lanes : int
        PEs, and products per PE and chunk.
    k : int
        Longest reduction, padding to whole groups included: commands beyond it are refused.
    group : int
        Largest group of weights that share a multiplier; a command may have any smaller one that is a multiple of
        ``lanes`` and takes at least the 8 cycles of its scale. Weights without multipliers get groups of multiplier 1.
    types : sequence of str
        The weight types that commands choose among; the number of a type is its place in
        :data:`mxhw.arithmetic.RUNTIME_TYPES`.
    gemv : bool
        Whether the unit has the mapping "gemv" as well, chosen by each command.
    tiles : int
        Most tiles of a command.
    accumulator : int or None
        A wider accumulator than the bound.

    Members
    -------
    command, y, refused
        See :class:`StreamedGemm`.
    x : In
        Codes are int8, -128 excluded.
    w : In
        Codes lie in the low bits of slots that are as wide as the widest type's.
    w_scale : In(stream.Signature(n * 10))
        Per column, the first lowest: 8 bits of multiplier, above them the selector of the special value.

    Raises
    ------
    InputError
        If a type is unknown, ``lanes`` do not divide ``group``, ``k`` is shorter than a group, the largest group takes
        fewer cycles than its scale has bits, or ``accumulator`` is below its bound.
    """

    def __init__(
        self,
        *,
        rows: int,
        columns: int,
        lanes: int = 4,
        k: int = 4096,
        group: int = 128,
        types: Sequence[str] = RUNTIME_TYPES,
        gemv: bool = False,
        tiles: int = 65535,
        accumulator: int | None = None,
    ) -> None:
        for name, value in (("group", group), ("k", k)):
            require_natural(name, value)
        require_lanes(lanes, group, "group")
        unknown = [name for name in types if name not in RUNTIME_TYPES]
        require(bool(types) and not unknown, "types", f"some of {', '.join(RUNTIME_TYPES)}", tuple(types))
        require(k >= group, "k", f"at least the group of {group}", k)
        self.types, self.group = tuple(name for name in RUNTIME_TYPES if name in types), group
        self._kinds = [weight_type_named(name) for name in self.types]
        chunks, fewest = group // lanes, min(kind.steps for kind in self._kinds)
        require_hidden_scale(group, lanes, fewest)
        tile_chunks = -(-k // group) * chunks
        widths = runtime_widths(self.types, tile_chunks * lanes, group, lanes)
        self.widths = replace(widths, accumulator=at_least("accumulator", accumulator, widths.accumulator))
        steps = [weight_type_named(name).steps if name in self.types else 0 for name in RUNTIME_TYPES]
        super().__init__(
            rows=rows,
            columns=columns,
            lanes=lanes,
            limits=CommandLimits(
                group_chunks=chunks,
                tile_chunks=tile_chunks,
                tiles=tiles,
                steps=tuple(steps),
                group_cycles=SCALE_BITS,
                gemv=gemv,
            ),
            bits=BeatBits(
                x=ACTIVATION_BITS,
                w=max(kind.code_bits for kind in self._kinds),
                x_scale=0,
                w_scale=SCALE_BITS + SELECTOR_BITS,
            ),
            accumulator_width=self.widths.accumulator,
            latency=_LATENCY,
        )

    def number(self, weight_type: str) -> int:
        """Return the number of a weight type in commands; InputError if the unit lacks it."""
        require(weight_type in self.types, "weight_type", f"one of {', '.join(self.types)}", weight_type)
        return type_number(weight_type)

    def _array(self, m: Module, front: StreamedFront) -> tuple[list[Any], Value]:
        compute = front.compute
        end = TileEnd(m, front.advance, compute)
        control, capture = scale_control(m, front.advance, end)
        (inputs,) = self.edges("x", self._x_edge, m, front)
        weights = self.edges("w", self._w_edge, m, front)
        specials = self._specials(m, front.decode.weight_type)
        for index, edge in enumerate(weights):
            m.d.comb += [
                edge.kind.eq(front.decode.weight_type),
                edge.step.eq(front.decode.step),
                edge.specials.eq(specials),
                edge.take.eq(compute.valid & compute.first),
                edge.done.eq(end.done),
            ]
            if self.limits.gemv:
                first = front.w_scale[: len(edge.scales)]
                m.d.comb += [edge.other_scales.eq(first), edge.use_other_scales.eq(~compute.mapping & (index > 0))]
        rows = self.pe_rows(m, front, self._pe, {"terms", "significance", "scale_bit"})
        for index, row in enumerate(rows):
            edge = weights[index % len(weights)]
            columns = [edge.register(column) for column in range(self.columns)]
            m.d.comb += [
                row.x.eq(inputs.register(index)),
                row.terms.eq(Cat(column[: edge.term_bits] for column in columns)),
                row.significance.eq(Cat(column[edge.term_bits :] for column in columns)),
                row.scale_bit.eq(edge.bits),
                row.control.eq(control),
            ]
        return rows, capture

    def _pe(self) -> BitSerialPE:
        return BitSerialPE(weight_type=self._kinds, widths=self.widths, lanes=self.lanes)

    def _x_edge(self, vectors: int, shared: bool) -> ActivationEdge:
        return ActivationEdge(lanes=self.lanes, vectors=vectors, shared=shared)

    def _w_edge(self, vectors: int, shared: bool) -> TermEdge:
        return TermEdge(types=self.types, lanes=self.lanes, vectors=vectors, shared=shared)

    def _specials(self, m: Module, weight_type: Value) -> Signal:
        """Return the special values of the present type, the format's own."""
        specials = Signal(data.ArrayLayout(SpecialTerms, SELECTORS))
        with m.Switch(weight_type):
            for kind in self._kinds:
                if kind.special_values:
                    entries = [special_terms_bits(kind.special_entry(value)) for value in kind.special_values]
                    with m.Case(type_number(kind.name)):
                        m.d.comb += specials.eq(specials.shape().const(entries))
            with m.Default():
                m.d.comb += specials.eq(specials.shape().const(None))
        return specials


def _build(
    rows: int = 4,
    columns: int = 4,
    lanes: int = 4,
    k: int = 4096,
    group: int = 128,
    weight_type: str | None = None,
    gemv: bool = False,
    accumulator: int | None = None,
) -> StreamedBitModGemm:
    """``weight_type``: the only type, or None for all."""
    types = RUNTIME_TYPES if weight_type is None else (weight_type,)
    return StreamedBitModGemm(
        rows=rows, columns=columns, lanes=lanes, k=k, group=group, types=types, gemv=gemv, accumulator=accumulator
    )


TEMPLATE = UnitTemplate(
    name="streamed_bitmod_gemm",
    kind="gemm",
    description="GEMM array of bit-serial PEs, both operands streamed, the weight type chosen by each command",
    build=_build,
    choices={"weight_type": (None, *RUNTIME_TYPES)},
    # Where the type is chosen at run time, that of the most terms.
    macs_per_cycle=lambda **p: p["rows"] * p["columns"] * p["lanes"] / terms(p["weight_type"] or RUNTIME_TYPES[0]),
)
