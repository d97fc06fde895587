"""A linear unit of several layers equals the folded operation bit for bit, also where formats are mixed by layer."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch
from amaranth import hdl

from mxhw.arithmetic.dataflow import BlockValues, Folded, Integers, Linear, Quantize, code_stream
from mxhw.arithmetic.dataflow.products import share_products
from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.rtl_templates.dataflow import LinearUnit
from mxhw.rtl_templates.gemm import BitModGemm, GemmShape, sequencer
from tests.rtl_templates.bank import Bench, damaged
from tests.rtl_templates.dataflow.streams import code_beats, integer_beats, mantissas

INT8, DIALECT = "int8-e8m0", "dialect4-online"
TOKENS = 14


@dataclass(frozen=True)
class Case:
    """Formats and sizes."""

    x_format: str
    w_formats: tuple[str, ...]
    k: int
    n: int
    columns: int
    lanes: int

    @property
    def source(self) -> Integers:
        return Integers(length=self.k, bits=16, exponent=-12)

    @cached_property
    def layers(self) -> list[Linear]:
        generator = torch.Generator().manual_seed(self.k)
        x_format = parse_format(self.x_format)
        x = code_stream(x_format, self.source)
        rows = torch.logspace(-2, 1, self.n)[:, None]
        weights = (torch.randn(self.n, self.k, generator=generator) * rows * 3**i for i in range(len(self.w_formats)))
        formats = map(parse_format, self.w_formats)
        return list(share_products([Linear.of(w, x, x_format, fmt) for w, fmt in zip(weights, formats, strict=True)]))

    @cached_property
    def folded(self) -> Folded:
        return Folded(members=tuple(self.layers))

    @property
    def unit(self) -> LinearUnit:
        return self.of(self.layers)

    def of(self, layers: list[Linear]) -> LinearUnit:
        return LinearUnit.of_layers(layers, columns=self.columns, lanes=self.lanes, filled=True)

    def inputs(self, seed: int, tokens: int = TOKENS) -> tuple[BlockValues, torch.Tensor]:
        """Codes and layers: drawn ones, and each layer after each other one."""
        values = Quantize(x=self.source, y=self.layers[0].x).run(mantissas(tokens, self.k, seed))
        drawn = torch.randint(len(self.layers), (1, tokens), generator=torch.Generator().manual_seed(seed))
        return values, drawn

    def beats(self, seed: int) -> tuple[dict[str, list[int]], list[int]]:
        """Beats of the inputs, and of y as they should be."""
        values, layers = self.inputs(seed)
        y = integer_beats(self.folded.run(values, layers), self.folded.output.bits, self.columns)
        return {"x": code_beats(self.layers[0].x, values, self.lanes), "layer": layers[0].tolist()}, y


# K is no multiple of the group in those called padded.
CASES = {
    "bitmod_mixed_padded": Case(INT8, ("bitmod4-g16", "bitmod3-g16", "bitmod4-clip-g16"), 24, 6, 2, 4),
    "fp3_in_int4": Case(INT8, ("bitmod3-g16", "int4-g16-s8"), 32, 3, 1, 4),
    "int_mixed": Case(INT8, ("int8", "int6", "int8", "int6", "int6"), 20, 4, 2, 2),
    "int2_shortest": Case(INT8, ("int2", "int2"), 4, 1, 1, 4),
    "int8_one_tile": Case(INT8, ("int8", "int8"), 4, 2, 2, 2),
    "dialect_padded": Case(DIALECT, ("dialect4", "dialect4", "dialect4"), 40, 3, 1, 2),
    "dialect_loads": Case(DIALECT, ("dialect4", "dialect4"), 32, 1, 1, 2),
}
RUNS = [(0.0, 0), (0.3, 1), (0.6, 2)]


def swapped(case: Case) -> LinearUnit:
    """The unit with the weights of layers 0 and 1 in each other's place."""
    first, second, *others = case.layers
    return case.of([second, first, *others])


def without_layers(words: Any) -> hdl.Array:
    """Every layer begins where layer 0 does."""
    return hdl.Array([0 for _ in words])


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench({name: case.unit for name, case in CASES.items()})


@pytest.fixture(scope="module")
def faulty() -> Bench:
    """Units with a planted fault, and one of a single layer."""
    mixed, dialect = CASES["bitmod_mixed_padded"], CASES["dialect_padded"]
    return Bench(
        {
            "bitmod_mixed_padded": swapped(mixed),
            "dialect_padded": damaged(dialect.unit, sequencer, Array=without_layers),
            "alone": LinearUnit.of(dialect.layers[2], columns=dialect.columns, lanes=dialect.lanes, filled=True),
        }
    )


def test_verilator_has_no_complaint(bench: Bench) -> None:
    assert bench.complaints() == ""


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("stall,seed", RUNS)
def test_sums_are_those_of_the_token_s_layer(bench: Bench, name: str, stall: float, seed: int) -> None:
    inputs, y = CASES[name].beats(seed)
    assert bench.y(name, inputs, len(y), stall=stall, seed=seed) == y


@pytest.mark.parametrize("name", CASES)
def test_a_number_that_is_there_early_costs_no_cycle(bench: Bench, name: str) -> None:
    inputs, y = CASES[name].beats(0)
    assert bench.run(name, inputs, len(y)).cycles == bench.units[name].cycles(TOKENS)


def test_a_token_waits_for_its_layer_and_takes_it_once(bench: Bench) -> None:
    """The number of token 1 comes 100 cycles late: so does its first sum, and no number is taken before its turn."""
    name = "int8_one_tile"
    inputs, _ = CASES[name].beats(0)
    late = 100
    cycle = np.arange(2 * late)
    arrival = (cycle == 0) | (cycle >= late)
    sent = inputs["x"][:4]
    ports = {
        "x__valid": [1] * len(sent),
        "x__payload": sent,
        "layer__valid": arrival.astype(int).tolist(),
        "layer__payload": [0] * len(cycle),
        "y__ready": [1] * len(cycle),
    }
    trace = bench.trace({name: ports})[name]
    taken = (arrival & (trace["layer__ready"] != 0)).nonzero()[0]
    gave = trace["y__valid"].nonzero()[0]
    unit = bench.units[name]
    assert taken[:2].tolist() == [0, late]
    # A number that is taken in cycle t lets the steps begin in t + 1, as the last beat of x does.
    lead = unit.timing.tiling.chunks - 1
    assert gave.tolist()[:2] == [unit.latency, late + unit.latency - lead]


@pytest.mark.parametrize("name", ["bitmod_mixed_padded", "dialect_padded"])
def test_layers_in_each_other_s_place_are_caught(faulty: Bench, name: str) -> None:
    case = CASES[name]
    inputs, y = case.beats(1)
    found = faulty.y(name, inputs, len(y), stall=0.3, seed=1)
    per_token = case.n // case.columns
    wrong = {i // per_token for i, (a, b) in enumerate(zip(found, y, strict=True)) if a != b}
    layers = inputs["layer"]
    concerned = {0, 1} if name == "bitmod_mixed_padded" else {1, 2}
    # The last tokens but two are of zeros.
    assert wrong == {token for token in range(TOKENS) if layers[token] in concerned and token != TOKENS - 3}


def test_memories_hold_the_layers_one_after_the_other_in_the_type_that_has_all_values() -> None:
    case = CASES["bitmod_mixed_padded"]
    unit = case.unit
    assert unit.gemm.weight_type.name == "fp4"
    assert CASES["fp3_in_int4"].unit.gemm.weight_type.name == "int4"
    for name, (fields, bits) in unit.fields(*case.layers).items():
        words = len(fields) // len(case.layers)
        depth, width = getattr(unit.gemm, f"{name}_depth"), getattr(unit.gemm, f"{name}_width")
        assert (len(fields), fields.shape[1] * bits) == (depth, width)
        alone = LinearUnit.of(case.layers[0], columns=case.columns, lanes=case.lanes).fields(case.layers[0])
        assert (fields[:words] == alone[name][0]).all()


def test_dialect_exponents_of_all_layers_are_united() -> None:
    layers = CASES["dialect_padded"].layers
    low, high = CASES["dialect_padded"].unit.gemm.weight_exponents
    stored = torch.cat([layer.form.exponent.flatten() for layer in layers]) + 16
    assert (low, high) == (int(stored.min()), int(stored.max()))
    assert len({int(layer.form.exponent.min()) for layer in layers}) > 1


def test_a_layer_alone_counts_from_the_floor_of_all(faulty: Bench) -> None:
    """In a design that does not fold, sums of the type that the layers share come from a unit of one of them."""
    case = CASES["dialect_padded"]
    linear = case.layers[2]
    assert int(linear.form.exponent.min()) > linear.floor
    values, _ = case.inputs(4)
    y = integer_beats(linear.run(values), linear.output.bits, case.columns)
    assert faulty.y("alone", {"x": code_beats(linear.x, values, case.lanes)}, len(y), stall=0.3, seed=4) == y


def test_one_layer_has_no_port_for_it() -> None:
    linear = CASES["int8_one_tile"].layers[0]
    assert "layer" not in LinearUnit.of_layers([linear]).signature.members
    assert "layer" in LinearUnit.of_layers([linear, linear]).signature.members


def test_bad_parameters_are_refused() -> None:
    layers = CASES["int8_one_tile"].layers
    with pytest.raises(InputError, match="rows must be 1 for a unit of several layers, not 2"):
        LinearUnit.of_layers(layers, rows=2)
    with pytest.raises(InputError, match="layers must be 2 operations, not 1"):
        LinearUnit.of_layers(layers).fields(layers[0])
    with pytest.raises(InputError, match="the streams of layer 1 of a linear are not those of layer 0"):
        LinearUnit.of_layers([layers[0], CASES["int_mixed"].layers[0]])
    with pytest.raises(InputError, match="layers must be an integer of at least 1, not 0"):
        BitModGemm(GemmShape(rows=1, columns=1, n=1, k=4), weight_type="int8", group=None, layers=0)
