"""Embedding look-up: an index comes in, the vector of its row goes out.

Its definition is `mxhw.arithmetic.functions.embedding`; codes and multipliers lie in two ROMs.
"""

from typing import Any

import torch
from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.functions.embedding import EmbeddingSpec
from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.function.channels import beats_of
from mxhw.rtl_templates.function.pipeline import Pipeline
from mxhw.rtl_templates.integer import round_shift, saturate
from mxhw.rtl_templates.memory import Rom
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "Embedding"]


class Embedding(wiring.Component):
    """One beat of a vector a cycle, vector after vector; the first beat 4 cycles after its index.

    Parameters
    ----------
    spec : EmbeddingSpec
        Codes, multipliers, shift and widths.
    lanes : int
        Elements of a y beat; they divide the length of a vector.

    Members
    -------
    x : In(stream.Signature(range(spec.rows)))
        Indices; one that is not below ``spec.rows`` gives an undefined vector. Ready depends on y's ready.
    y : Out(stream.Signature(data.ArrayLayout(signed(spec.output_bits), lanes)))
        Element 0 first. Registers.

    Raises
    ------
    InputError
        If the lanes do not divide the length.
    """

    latency = 4

    def __init__(self, *, spec: EmbeddingSpec, lanes: int = 1) -> None:
        require_natural("lanes", lanes)
        self._spec, self._lanes, self._beats = spec, lanes, beats_of(spec.length, lanes)
        y = data.ArrayLayout(signed(spec.output_bits), lanes)
        super().__init__({"x": In(stream.Signature(range(max(2, spec.rows)))), "y": Out(stream.Signature(y))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        spec = self._spec
        # What is looked up now: a stream whose beats last a vector, in front of the pipeline.
        rows = stream.Signature(range(max(2, spec.rows))).create(path=("row",))
        beat, base = Signal(range(max(2, self._beats))), Signal(range(max(2, spec.rows * self._beats)))
        is_last = beat == self._beats - 1
        pipeline = Pipeline(m, [rows], self.y, self.latency - 1)
        m.d.comb += self.x.ready.eq(~rows.valid | (rows.ready & is_last))
        with m.If(self.x.ready):
            m.d.sync += [
                rows.valid.eq(self.x.valid),
                rows.payload.eq(self.x.payload),
                base.eq(self.x.payload * self._beats),
            ]
        with m.If(pipeline.take):
            m.d.sync += beat.eq(Mux(is_last, 0, beat + 1))
        codes, multipliers = self._memories(m)
        m.d.comb += [
            codes.address.eq(base + beat),
            multipliers.address.eq(rows.payload),
            codes.enable.eq(pipeline.advance),
            multipliers.enable.eq(pipeline.advance),
        ]
        for lane in range(self._lanes):
            code = codes.data.word_select(lane, spec.code_bits).as_signed()
            exact = (code * multipliers.data)[: spec.product_bits].as_signed()
            product = pipeline.register(exact, f"product_{lane}")
            result = saturate(round_shift(product, spec.shift), spec.output_bits)
            m.d.comb += self.y.payload[lane].eq(pipeline.register(result, f"result_{lane}"))
        return m

    def _memories(self, m: Module) -> tuple[Rom, Rom]:
        """Add the ROM of codes, a beat a word, and that of multipliers, a row a word."""
        spec = self._spec
        mask = (1 << spec.code_bits) - 1
        words = [
            sum((code & mask) << lane * spec.code_bits for lane, code in enumerate(beat))
            for beat in spec.codes.reshape(-1, self._lanes).tolist()
        ]
        m.submodules.codes = codes = Rom(
            width=self._lanes * spec.code_bits, depth=len(words), file="codes.hex", init=words
        )
        m.submodules.multipliers = multipliers = Rom(
            width=spec.multiplier_bits, depth=spec.rows, file="multipliers.hex", init=spec.multipliers
        )
        return codes, multipliers


def _build(rows: int = 256, length: int = 64, lanes: int = 1, shift: int = 4) -> Embedding:
    require_natural("rows", rows)
    require_natural("length", length)
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(-127, 128, (rows, length), generator=generator)
    multipliers = torch.randint(1 << 15, 1 << 16, (rows,), generator=generator)
    spec = EmbeddingSpec(codes=codes, multipliers=tuple(multipliers.tolist()), shift=shift)
    return Embedding(spec=spec, lanes=lanes)


TEMPLATE = UnitTemplate(
    name="embedding",
    kind="function",
    description="rows of an INT8 table with a multiplier each, looked up by index",
    build=_build,
)
