"""The linear unit equals its operation bit for bit, under any stalls, in exactly the predicted cycles."""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch

from mxhw.arithmetic.dataflow import BlockCodes, Integers, Linear, Quantize, code_stream
from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.rtl_templates.dataflow import LinearUnit
from mxhw.rtl_templates.dataflow import linear as linear_module
from mxhw.rtl_templates.dataflow.linear_timing import LinearTiming
from mxhw.rtl_templates.dataflow.padding import Padding
from mxhw.rtl_templates.gemm import BitModGemm, DialectGemm, GemmShape
from mxhw.rtl_templates.gemm.layout import word_ints
from mxhw.rtl_templates.gemm.shape import Tiling
from mxhw.rtl_templates.stream import Fifo, TileOrder
from mxhw.sim import StreamError
from tests.rtl_templates.bank import Bench, damaged
from tests.rtl_templates.dataflow.streams import code_beats, integer_beats, mantissas

INT8, DIALECT = "int8-e8m0", "dialect4-online"


@dataclass(frozen=True)
class Case:
    """Formats and sizes; ``unit`` makes the hardware."""

    x_format: str
    w_format: str
    k: int
    n: int
    rows: int
    columns: int
    lanes: int

    @property
    def source(self) -> Integers:
        return Integers(length=self.k, bits=16, exponent=-12)

    @cached_property
    def linear(self) -> Linear:
        generator = torch.Generator().manual_seed(self.k)
        x_format, w_format = parse_format(self.x_format), parse_format(self.w_format)
        x = code_stream(x_format, self.source)
        weight = torch.randn(self.n, self.k, generator=generator)
        return Linear.of(weight * torch.logspace(-2, 1, self.n)[:, None], x, x_format, w_format)

    @property
    def unit(self) -> LinearUnit:
        return LinearUnit.of(self.linear, rows=self.rows, columns=self.columns, lanes=self.lanes, filled=True)

    def mantissas(self, tokens: int, seed: int) -> torch.Tensor:
        """Drawn ones; token 0 drives the largest sum of the weight to its bound."""
        drawn, linear = mantissas(tokens, self.k, seed), self.linear
        row = int(linear.matrix.abs().sum(-1).argmax())
        drawn[0, 0] = torch.where(linear.matrix[row, : self.k] < 0, -32767, 32767)
        return drawn

    def beats(self, drawn: torch.Tensor) -> tuple[list[int], list[int]]:
        """Beats of x, and of y as they should be."""
        linear = self.linear
        values = Quantize(x=self.source, y=linear.x).run(drawn)
        y = integer_beats(linear.run(values), linear.output.bits, self.columns)
        return code_beats(linear.x, values, self.lanes), y


# K is no multiple of the group in those called padded.
QUICK = {
    "bitmod4_padded": Case(INT8, "bitmod4", 140, 4, 1, 2, 2),
    "bitmod3_padded_rows": Case(INT8, "bitmod3-g16", 24, 3, 2, 1, 4),
    "int8": Case(INT8, "int8", 20, 6, 1, 2, 2),
    "int8_shortest": Case(INT8, "int8", 4, 1, 1, 1, 4),
    "int2_padded_loads": Case(INT8, "int2-g32-s8", 8, 1, 2, 1, 4),
    "int2_drains": Case(INT8, "int2", 4, 3, 2, 1, 4),
    "dialect_padded": Case(DIALECT, "dialect4", 40, 3, 1, 1, 2),
    "dialect_waits_for_x": Case(DIALECT, "dialect4", 32, 1, 2, 1, 2),
}
MORE = {
    "int4_padded": Case(INT8, "int4-g128-s8", 140, 2, 2, 2, 1),
    "int6_rows": Case(INT8, "int6", 30, 3, 4, 1, 2),
    "int8_short_codes": Case("int6-e8m0", "int8", 16, 2, 1, 1, 4),
    "int8_shortest_rows": Case(INT8, "int8", 4, 1, 2, 1, 4),
    "int2_padded_rows": Case(INT8, "int2-g32-s8", 8, 3, 2, 1, 4),
    "bitmod4_rows": Case(INT8, "bitmod4-g32", 40, 6, 4, 3, 4),
    "dialect_rows": Case(DIALECT, "dialect4", 64, 4, 2, 2, 2),
    "dialect_drains": Case(DIALECT, "dialect4", 32, 3, 4, 1, 32),
    "dialect_loads": Case(DIALECT, "dialect4", 40, 1, 1, 1, 2),
}
CASES = QUICK | MORE
RUNS = [(0.0, 0), (0.3, 1), (0.6, 2)]
INTERVALS = {
    # The array; the load of its buffer, every second row tile a cycle late; the drain; x.
    "bitmod4_padded": 2 * 128 * 2,
    "int2_padded_loads": Fraction(17, 4),
    "int2_drains": Fraction(9, 2),
    "dialect_waits_for_x": 16,
    "dialect_loads": Fraction(65, 2),
    "dialect_drains": Fraction(15, 4),
}


def without_zeros(**options: Any) -> Padding:
    return Padding(**options | {"zeros": 0})


def row_by_row(**options: Any) -> TileOrder:
    return TileOrder(**options | {"direction": "to_tiles"})


def one_deep(*, shape: Any, depth: int) -> Fifo:
    return Fifo(shape=shape, depth=1)


def flipped(case: Case) -> LinearUnit:
    unit = case.unit
    words = word_ints(*unit.fields(case.linear)["weights"])
    words[0] ^= 4
    gemm = BitModGemm(unit.gemm.shape, weight_type="int8", group=None, weights=words)
    return LinearUnit(gemm=gemm, x=case.linear.x, bits=case.linear.output.bits)


def one_bit_less(case: Case) -> LinearUnit:
    unit = case.unit
    return LinearUnit(gemm=unit.gemm, x=case.linear.x, bits=case.linear.output.bits - 1)


@pytest.fixture(scope="module", params=["quick", pytest.param("more", marks=pytest.mark.slow)])
def some(request):
    """A bench, and the cases that it has."""
    cases = {"quick": QUICK, "more": MORE}[request.param]
    return Bench({name: case.unit for name, case in cases.items()}), cases


@pytest.fixture(scope="module")
def faulty():
    return Bench(
        {
            "int2_padded_loads": damaged(CASES["int2_padded_loads"].unit, linear_module, Padding=without_zeros),
            "int2_drains": damaged(CASES["int2_drains"].unit, linear_module, TileOrder=row_by_row),
            "int8_shortest": damaged(CASES["int8_shortest"].unit, linear_module, Fifo=one_deep),
            "flipped": flipped(CASES["int8_shortest"]),
            "int8_shortest_rows": one_bit_less(CASES["int8_shortest_rows"]),
            "dialect_loads": one_bit_less(CASES["dialect_loads"]),
        }
    )


def differing(bench, name, case, x, y, **options):
    """The tokens whose beats are wrong."""
    found = bench.y(name, {"x": x}, len(y), **options)
    per_token = case.n // case.columns
    mask = (1 << case.linear.output.bits * case.columns) - 1
    return sorted({i // per_token for i, (a, b) in enumerate(zip(found, y, strict=True)) if (a ^ b) & mask})


def test_verilator_has_no_complaint(some):
    assert some[0].complaints() == ""


@pytest.mark.parametrize("stall,seed", [(0.0, 0), (0.3, 1), (0.6, 2)])
def test_sums_are_those_of_the_operation_in_the_predicted_cycles(some, stall, seed):
    bench, cases = some
    for name, case in cases.items():
        x, y = case.beats(case.mantissas(12, seed))
        assert differing(bench, name, case, x, y, stall=stall, seed=seed) == [], name
        if not stall:
            assert bench.run(name, {"x": x}, len(y)).cycles == bench.units[name].cycles(12), name


def test_interval_and_latency_are_those_of_the_simulation(some):
    bench, cases = some
    for name, case in cases.items():
        unit = bench.units[name]
        x, _ = case.beats(case.mantissas(24, 0))
        spans = {}
        for tokens in (case.rows, 8, 24):
            beats = tokens * unit.timing.x_beats, tokens * unit.timing.y_beats
            spans[tokens] = bench.run(name, {"x": x[: beats[0]]}, beats[1]).cycles
        assert spans == {tokens: unit.cycles(tokens) for tokens in spans}, name
        assert Fraction(spans[24] - spans[8], 16) == unit.interval == INTERVALS.get(name, unit.interval), name
        sent = x[: case.rows * unit.timing.x_beats]
        ports = {"x__valid": [1] * len(sent), "x__payload": sent, "y__ready": [1] * (unit.latency + 20)}
        trace = bench.trace({name: ports})[name]
        assert trace["x__ready"][: len(sent)].all(), name
        assert int(trace["y__valid"].argmax()) == unit.latency, name


def test_the_wrong_scale_of_one_token_is_caught_there(some):
    bench, cases = some
    for name in {"bitmod4_padded", "bitmod3_padded_rows", "int6_rows"} & set(cases):
        case = cases[name]
        for token in (1, 5):
            x, y = case.beats(case.mantissas(12, 3))
            x[token * case.k // case.lanes] ^= 1 << 8 * case.lanes
            assert differing(bench, name, case, x, y, stall=0.3, seed=4) == [token]


def test_the_fields_are_those_of_the_memories(some):
    bench, cases = some
    for name, case in cases.items():
        gemm, fields = bench.units[name].gemm, bench.units[name].fields(case.linear)
        sizes = {"weights": (gemm.weights_depth, gemm.weights_width)}
        if gemm.metadata_depth:
            sizes["metadata"] = gemm.metadata_depth, gemm.metadata_width
        assert {key: (len(values), values.shape[1] * bits) for key, (values, bits) in fields.items()} == sizes


def test_the_largest_sums_are_as_large_as_the_bound_says():
    for name, case in CASES.items():
        linear = case.linear
        values = Quantize(x=case.source, y=linear.x).run(case.mantissas(4, 0))
        assert linear.run(values)[0, 0].abs().max() == linear.largest, name


@pytest.mark.parametrize("name", ["int8_shortest_rows", "dialect_loads"])
def test_one_bit_less_fails_at_the_largest_sum(faulty, name):
    case = CASES[name]
    drawn = case.mantissas(8, 0)
    x, _ = case.beats(drawn)
    sums = case.linear.run(Quantize(x=case.source, y=case.linear.x).run(drawn))
    bits = case.linear.output.bits - 1
    found = np.array(faulty.y(name, {"x": x}, len(x) * case.n // case.columns // faulty.units[name].timing.x_beats))
    low = [int(beat) >> bits * lane & (1 << bits) - 1 for beat in found for lane in range(case.columns)]
    values = torch.tensor([value - (value >> bits - 1 << bits) for value in low]).reshape(sums.shape)
    assert not (values[0, 0] == sums[0, 0]).all()
    fits = sums.abs() < 1 << bits - 1
    assert (values == sums)[fits].all() and fits.any()


def test_zeros_that_are_forgotten_are_caught(faulty):
    case = CASES["int2_padded_loads"]
    x, y = case.beats(case.mantissas(12, 1))
    with pytest.raises(StreamError, match="no beat moved"):
        faulty.y("int2_padded_loads", {"x": x}, len(y))


@pytest.mark.parametrize("name,case", [("int2_drains", "int2_drains"), ("flipped", "int8_shortest")])
def test_a_wrong_order_and_a_flipped_bit_of_a_weight_are_caught(faulty, name, case):
    case = CASES[case]
    x, y = case.beats(case.mantissas(12, 1))
    assert differing(faulty, name, case, x, y)


def test_a_queue_of_scales_that_is_too_short_costs_cycles_and_nothing_else(faulty):
    name = "int8_shortest"
    x, y = CASES[name].beats(CASES[name].mantissas(24, 0))
    assert differing(faulty, name, CASES[name], x, y, stall=0.3, seed=1) == []
    assert faulty.run(name, {"x": x}, len(y)).cycles > faulty.units[name].cycles(24)


def test_no_tokens_take_no_cycles_and_a_part_of_a_row_tile_is_refused():
    timing = LinearTiming(Tiling(3, 1, 8, 2), rows=2, x_beats=8, gemm_latency=3)
    assert timing.cycles(0) == 0
    with pytest.raises(InputError, match="tokens must be a multiple of the 2 rows, not 3"):
        timing.cycles(3)


def test_impossible_units_are_refused():
    shape = GemmShape(rows=1, columns=2, lanes=4, n=4, k=40)
    serial, blocks = BitModGemm(shape, weight_type="int8", group=None), DialectGemm(shape)
    x = BlockCodes(kind="integer", length=40, block=40, bits=8, exponent=0)
    dialect = BlockCodes(kind="dialect", length=40, block=32, bits=4, exponent=0)
    for gemm, codes, message in (
        (serial, dialect, "x must be a stream of integer codes, not 'dialect'"),
        (blocks, x, "x must be a stream of dialect codes, not 'integer'"),
        (serial, replace(x, length=44, block=44), "length of x must be that of a row of the weight, 40, not 44"),
        (serial, replace(x, block=20), "blocks of x must be 1: integers have one scale a token, not 2"),
        (serial, replace(x, bits=9), "bits of x must be at most 8, not 9"),
        (blocks, replace(dialect, block=16), "block of x must be that of the weight, 32, not 16"),
    ):
        with pytest.raises(InputError, match=message):
            LinearUnit(gemm=gemm, x=codes, bits=20)
    with pytest.raises(InputError, match="bits must be an integer of at least 2, not 1"):
        LinearUnit(gemm=serial, x=x, bits=1)
    linear = CASES["int8"].linear
    with pytest.raises(InputError, match="columns must be a divisor of the 6 outputs, not 4"):
        LinearUnit.of(linear, columns=4, lanes=4)
    with pytest.raises(InputError, match="lanes must be a divisor of the padded length of x of 20, not 3"):
        LinearUnit.of(linear, columns=2, lanes=3)
