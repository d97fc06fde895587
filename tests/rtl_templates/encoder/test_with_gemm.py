"""An encoder in front of a GEMM unit: mantissas in, and the accumulators that the format's emulation computes out."""

import pytest
import torch
from amaranth.hdl import Module, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Out

from mxhw.arithmetic import gemm_accumulators, weight_exponents
from mxhw.formats import parse_format
from mxhw.rtl_templates import DialectGemm, GemmShape
from mxhw.rtl_templates.encoder import DialectEncoder
from mxhw.rtl_templates.gemm.layout import word_ints
from tests.arithmetic.online_draws import mantissa_blocks
from tests.rtl_templates.bank import Bench, beats

K, N, BLOCK, LANES, EXPONENT = 64, 6, 32, 4, -9


class EncodedGemm(wiring.Component):
    """The encoder's beats are the unit's, bit for bit."""

    def __init__(self, encoder, gemm):
        self._encoder, self._gemm = encoder, gemm
        super().__init__({"x": encoder.signature.members["x"], "y": Out(stream.Signature(gemm.y_width))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.encoder, m.submodules.gemm = encoder, gemm = self._encoder, self._gemm
        wiring.connect(m, wiring.flipped(self.x), encoder.x)
        wiring.connect(m, gemm.y, wiring.flipped(self.y))
        m.d.comb += [
            gemm.x.payload.eq(Value.cast(encoder.y.payload)),
            gemm.x.valid.eq(encoder.y.valid),
            encoder.y.ready.eq(gemm.x.ready),
        ]
        return m


def build_case():
    """The chain, its mantissas [M, K], and the accumulators [M, N]."""
    generator = torch.Generator().manual_seed(0)
    mantissas = mantissa_blocks(10, BLOCK)[:12].reshape(-1, K)
    x_format, w_format = parse_format("dialect4-online"), parse_format("dialect4")
    x = x_format.encode((mantissas.double() * 2.0**EXPONENT).float())
    w = w_format.encode(torch.randn(N, K, generator=generator))
    form = w_format.integers(w)
    accumulators = gemm_accumulators(x_format.integers(x), form, "dialect").objects()
    shape, exponents = GemmShape(rows=1, columns=2, n=N, k=K, lanes=LANES), weight_exponents(form)
    plan = DialectGemm(shape, block=BLOCK, weight_exponents=exponents)
    fields = plan.metadata_fields(w.metadata["dialect"].numpy(), w.metadata["exponent"].numpy())
    gemm = DialectGemm(
        shape,
        block=BLOCK,
        weight_exponents=exponents,
        weights=word_ints(plan.weight_fields(w.codes.reshape(N, K).numpy()), 4),
        metadata=word_ints(fields, 9),
    )
    x_beats = gemm.input_beats(
        x.codes.reshape(-1, K).numpy(), x.metadata["dialect"].numpy(), x.metadata["exponent"].numpy()
    )
    return mantissas, x_beats, gemm, gemm.output_beats(accumulators)


@pytest.fixture(scope="module")
def case():
    return build_case()


@pytest.fixture(scope="module")
def bench(case):
    gemm = case[2]
    encoders = {name: DialectEncoder(block=BLOCK, lanes=LANES, exponent=EXPONENT) for name in ("alone", "right")}
    other = DialectEncoder(block=BLOCK, lanes=LANES, exponent=EXPONENT + 1)
    chains = {"chain": EncodedGemm(encoders["right"], gemm), "other_exponent": EncodedGemm(other, build_case()[2])}
    return Bench({"encoder": encoders["alone"]} | chains)


def test_a_beat_is_that_of_a_gemm_of_one_row(bench, case):
    mantissas, x_beats, gemm, _ = case
    assert bench.units["encoder"].signature.members["y"].signature.members["payload"].shape.size == gemm.x_width
    assert bench.y("encoder", {"x": beats(mantissas, 16, LANES)}, len(x_beats)) == x_beats


def test_mantissas_become_the_accumulators_of_the_emulation(bench, case):
    mantissas, _, _, expected = case
    sent = {"x": beats(mantissas, 16, LANES)}
    for stall, seed in ((0.0, 0), (0.3, 1), (0.7, 2)):
        assert bench.y("chain", sent, len(expected), stall=stall, seed=seed) == expected


def test_another_exponent_of_the_stream_is_noticed(bench, case):
    mantissas, _, _, expected = case
    assert bench.y("other_exponent", {"x": beats(mantissas, 16, LANES)}, len(expected)) != expected
