"""BitMoD's GEMM unit: INT8 activations times bit-serial weights of 2 to 8 bits.

Source: BitMoD (arXiv 2411.11745). Term decoders stand at the column side of the array, one per column and lane; group
scales are serial, one bit a cycle, beside the next group's steps. Row scales are not applied here.
"""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data

from mxhw.arithmetic import SCALE_BITS, bitmod_widths, weight_type_named
from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.decoder import BitModTermDecoder, SerialTerm
from mxhw.rtl_templates.gemm.layout import Array, column_words, pad
from mxhw.rtl_templates.gemm.shape import GemmShape, Tiling
from mxhw.rtl_templates.gemm.unit import Front, GemmUnit, whole_groups
from mxhw.rtl_templates.mac.bit_serial import ACTIVATION_BITS, BitSerialPE, ScaleControl
from mxhw.rtl_templates.place import place

__all__ = ["BitModGemm"]

SELECTOR_BITS = 2
_LATENCY = 3
_SCALE_LATENCY = SCALE_BITS + 1


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

    Members
    -------
    x, y
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
    ) -> None:
        kind = weight_type_named(weight_type)
        steps = len(kind.significances)
        if group is None:
            require(not kind.magnitudes, "group", f"a number of weights for {weight_type}", group)
            tiling = Tiling(shape.column_tiles, 1, -(-shape.k // shape.lanes), steps)
        else:
            require_natural("group", group)
            groups, chunks = whole_groups(shape.k, group, shape.lanes)
            require(
                chunks * steps >= SCALE_BITS,
                "cycles of a group",
                f"at least the {SCALE_BITS} bits of its scale (group {group}, {shape.lanes} lanes, {steps} terms)",
                chunks * steps,
            )
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
            latency=_LATENCY if group is None else _LATENCY + _SCALE_LATENCY,
            weights=weights,
            metadata=metadata,
        )

    def metadata_fields(self, multiplier: Any, selector: Any = None) -> Array:
        """Return multipliers [N, groups], and selectors if the type has them, as [metadata_depth, columns] fields."""
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
        done, tile_first, tile_last = Signal(), Signal(), Signal()
        compute = front.compute
        with m.If(front.advance):
            m.d.sync += [
                done.eq(compute.valid & compute.last),
                tile_first.eq(compute.tile_first),
                tile_last.eq(compute.valid & compute.tile_last),
            ]
        capture: Value = tile_last
        if front.metadata is not None:
            control, bits, capture = self._scales(m, front, front.metadata, done, tile_first, tile_last)
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

    def _scales(
        self, m: Module, front: Front, metadata: Value, done: Signal, tile_first: Signal, tile_last: Signal
    ) -> tuple[Signal, list[Value], Value]:
        """Add the control of the serial scales and one shift register a column.

        ``done`` marks the cycle in which group sums are complete, the others whether they are a tile's first or last. A
        group's multiplier waits in ``pending`` from its first step on, for the metadata memory moves on to the next
        group before the scale is used.
        """
        control = Signal(ScaleControl)
        left = Signal(range(SCALE_BITS + 1))
        is_first, is_last, scale_ends, capture = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            control.load.eq(done),
            control.active.eq(left != 0),
            control.first.eq(left == SCALE_BITS),
            control.fold.eq(scale_ends),
        ]
        with m.If(front.advance):
            m.d.sync += [
                left.eq(Mux(done, SCALE_BITS, Mux(control.active, left - 1, 0))),
                scale_ends.eq(left == 1),
                capture.eq((left == 1) & is_last),
                control.start.eq(is_first),
            ]
            with m.If(done):
                m.d.sync += [is_first.eq(tile_first), is_last.eq(tile_last)]
        bits: list[Value] = []
        for column in range(self.shape.columns):
            pending = Signal(SCALE_BITS, name=f"pending_{column}", reset_less=True)
            scale = Signal(SCALE_BITS, name=f"scale_{column}", reset_less=True)
            multiplier = metadata.word_select(column, self._field_bits)[:SCALE_BITS]
            with m.If(front.advance):
                with m.If(front.compute.valid & front.compute.first):
                    m.d.sync += pending.eq(multiplier)
                m.d.sync += scale.eq(Mux(done, pending, scale << 1))
            bits.append(scale[-1])
        return control, bits, capture
