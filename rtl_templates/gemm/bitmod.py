"""BitMoD's GEMM unit: INT8 activations times bit-serial weights of 2 to 8 bits.

Source: BitMoD (arXiv 2411.11745). Term decoders stand at the column side of the array, one per column and lane; group
scales are serial, one bit a cycle, beside the next group's steps. Row scales are not applied here.
"""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Const, Module, Signal, Value
from amaranth.lib import data

from mxhw.arithmetic import SCALE_BITS, bitmod_widths, terms, weight_type_named, weight_types
from mxhw.rtl_templates.checks import require, require_hidden_scale, require_natural
from mxhw.rtl_templates.decoder import BitModTermDecoder, SerialTerm
from mxhw.rtl_templates.gemm.layout import Array, column_words, pad
from mxhw.rtl_templates.gemm.serial_scale import SCALE_LATENCY, TileEnd, scale_bit, scale_control
from mxhw.rtl_templates.gemm.shape import GemmShape, Tiling
from mxhw.rtl_templates.gemm.unit import Front, GemmUnit, whole_groups
from mxhw.rtl_templates.mac.bit_serial import ACTIVATION_BITS, BitSerialPE
from mxhw.rtl_templates.place import place
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "BitModGemm"]

SELECTOR_BITS = 2
_LATENCY = 3


class BitModGemm(GemmUnit):
    """Output-stationary array of bit-serial PEs.

    Parameters
    ----------
    shape : GemmShape
        Problem and array.
    weight_type : str
        "int2" .. "int8", "fp3", "fp4".
    group : int or None
        Weights along K that share an 8-bit multiplier; None if there is none, and then no metadata memory either.
        K is padded to whole groups (to whole chunks without groups).
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
        See :class:`GemmUnit`. Beat of x: int8 of (row, lane) at ``[(row*lanes + lane)*8 +: 8]``, -128 excluded.

    Raises
    ------
    InputError
        If the type is unknown, lanes do not divide the group, a group takes fewer cycles than its scale has bits, or a
        floating-point type has no group.
    """

    def __init__(
        self,
        shape: GemmShape,
        *,
        weight_type: str,
        group: int | None = 128,
        weights: Sequence[int] | None = None,
        metadata: Sequence[int] | None = None,
        layers: int = 1,
        port: int | None = None,
    ) -> None:
        kind = weight_type_named(weight_type)
        steps = len(kind.significances)
        if group is None:
            require(not kind.magnitudes, "group", f"a number of weights for {weight_type}", group)
            tiling = Tiling(shape.column_tiles, 1, -(-shape.k // shape.lanes), steps)
        else:
            require_natural("group", group)
            groups, chunks = whole_groups(shape.k, group, shape.lanes)
            require_hidden_scale(group, shape.lanes, steps)
            tiling = Tiling(shape.column_tiles, groups, chunks, steps)
        self.weight_type, self.group = kind, group
        self.widths = bitmod_widths(weight_type, shape.k, group, shape.lanes)
        has_selector = bool(kind.special_values)
        self._field_bits = 0 if group is None else SCALE_BITS + SELECTOR_BITS * has_selector
        super().__init__(
            shape,
            tiling,
            code_bits=kind.code_bits,
            x_bits=ACTIVATION_BITS,
            x_row_bits=0,
            field_bits=self._field_bits,
            accumulator_width=self.widths.accumulator,
            latency=_LATENCY if group is None else _LATENCY + SCALE_LATENCY,
            weights=weights,
            metadata=metadata,
            layers=layers,
            port=port,
        )

    def metadata_fields(self, multiplier: Any, selector: Any = None) -> Array:
        """Return a layer's multipliers [N, groups], and selectors if the type has them, as [words, columns] fields."""
        fields = self._per_group(multiplier, "multiplier")
        if self.weight_type.special_values:
            fields = fields | self._per_group(selector, "selector") << SCALE_BITS
        return column_words(fields, self.shape.columns)

    def input_beats(self, codes: Any) -> list[int]:
        """Return the x payloads of activation codes [M, K], signed or as unsigned patterns."""
        return self._code_words(codes)

    def _per_group(self, values: Any, what: str) -> Array:
        size = self.column_tiles * self.shape.columns, self.groups
        return pad(values, size, what).astype("int64")

    def _array(self, m: Module, front: Front, platform: Any) -> tuple[list[Value], Value]:
        terms = self._decoders(m, front, platform)
        compute = front.compute
        end = TileEnd(m, front.advance, compute)
        capture: Value = end.tile_last
        if front.metadata is not None:
            control, capture = scale_control(m, front.advance, end)
            fields = [front.metadata.word_select(c, self._field_bits) for c in range(self.shape.columns)]
            take = compute.valid & compute.first
            bits = [scale_bit(m, c, front.advance, take, end.done, f[:SCALE_BITS]) for c, f in enumerate(fields)]
        results: list[Value] = []
        row_bits = self.shape.lanes * ACTIVATION_BITS
        for row in range(self.shape.rows):
            for column in range(self.shape.columns):
                pe = BitSerialPE(
                    weight_type=self.weight_type,
                    widths=self.widths,
                    lanes=self.shape.lanes,
                    scaled=self.group is not None,
                )
                place(m, "pe", f"{row}_{column}", pe, platform)
                m.d.comb += [
                    pe.advance.eq(front.advance),
                    pe.x.as_value().eq(front.x.word_select(row, row_bits)),
                    pe.terms.eq(terms[column]),
                    pe.step.eq(compute.step),
                    pe.enable.eq(compute.valid),
                    pe.first.eq(compute.first),
                ]
                if front.metadata is not None:
                    m.d.comb += [pe.scale_bit.eq(bits[column]), pe.control.eq(control)]
                results.append(pe.result)
        return results, capture

    def _decoders(self, m: Module, front: Front, platform: Any) -> list[Signal]:
        """Decode stage 1's codes; return the terms of stage 2, one signal a column."""
        columns: list[Signal] = []
        for column in range(self.shape.columns):
            terms = Signal(data.ArrayLayout(SerialTerm, self.shape.lanes), name=f"terms_{column}", reset_less=True)
            selector = Const(0, SELECTOR_BITS)
            if self.weight_type.special_values and front.metadata is not None:
                selector = front.metadata.word_select(column, self._field_bits)[SCALE_BITS:]
            for lane in range(self.shape.lanes):
                decoder = BitModTermDecoder(weight_type=self.weight_type)
                place(m, "decoder", f"{column}_{lane}", decoder, platform)
                m.d.comb += [
                    decoder.code.eq(front.weights.word_select(column * self.shape.lanes + lane, self.code_bits)),
                    decoder.selector.eq(selector),
                    decoder.step.eq(front.decode.step),
                ]
                with m.If(front.advance):
                    m.d.sync += terms[lane].eq(decoder.term)
            columns.append(terms)
        return columns


def _build(
    weight_type: str = "fp4",
    rows: int = 4,
    columns: int = 4,
    lanes: int = 4,
    n: int = 4,
    k: int = 128,
    group: int | None = 128,
) -> BitModGemm:
    """The memories hold drawn words: one of nothing but zeros would take the array with it in synthesis."""
    shape = GemmShape(rows=rows, columns=columns, lanes=lanes, n=n, k=k)
    unit = BitModGemm(shape, weight_type=weight_type, group=group)
    weights, metadata = unit.drawn_words()
    return BitModGemm(shape, weight_type=weight_type, group=group, weights=weights, metadata=metadata)


TEMPLATE = UnitTemplate(
    name="bitmod_gemm",
    kind="gemm",
    description="GEMM array of bit-serial PEs, weights of one type in a memory, activations streamed",
    build=_build,
    choices={"weight_type": tuple(name for name, kind in weight_types().items() if not kind.selector_significances)},
    macs_per_cycle=lambda **p: p["rows"] * p["columns"] * p["lanes"] / terms(p["weight_type"]),
)
