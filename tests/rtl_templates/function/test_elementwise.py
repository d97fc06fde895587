"""Sums, products, ReLU, requantization and embedding in hardware equal their definitions, under any stalls."""

from dataclasses import replace

import pytest
import torch
from amaranth.hdl import Value

from mxhw.arithmetic.functions.elementwise import AddSpec, MultiplySpec, add, multiply, relu
from mxhw.arithmetic.functions.embedding import EmbeddingSpec, embedding
from mxhw.arithmetic.functions.requantize import RequantizeSpec, RequantizeWidths, requantize
from mxhw.errors import InputError
from mxhw.rtl_templates.catalogue import unit_named
from mxhw.rtl_templates.function import elementwise as elementwise_module
from mxhw.rtl_templates.function import requantize as requantize_module
from mxhw.rtl_templates.function.elementwise import Add, Multiply, ReLU
from mxhw.rtl_templates.function.embedding import Embedding
from mxhw.rtl_templates.function.requantize import Requantize
from tests.rtl_templates.bank import Bench, beats, damaged, without_half

ADDS = {
    "add": AddSpec(),
    "add_residual": AddSpec(right_bits=48, shift=22),
    "add_small": AddSpec(left_bits=6, right_bits=7, shift=2, output_bits=6),
    "add_left": AddSpec(left_bits=6, right_bits=7, shift=-2, output_bits=12),
}
MULTIPLIES = {
    "multiply": MultiplySpec(),
    "multiply_small": MultiplySpec(left_bits=6, right_bits=7, shift=4, output_bits=6),
    "multiply_left": MultiplySpec(left_bits=6, right_bits=7, shift=-1, output_bits=10),
}
REQUANTIZES = {
    "requantize": (RequantizeSpec(multipliers=(40000, 1, 0, 65535, 32768, 5), largest=(1 << 31) - 1, shift=32), 1),
    "requantize_long": (RequantizeSpec(multipliers=(65535, 40000, 1, 0), largest=(1 << 47) - 1, shift=20), 2),
    "requantize_one": (RequantizeSpec(multipliers=(32768,), largest=7200 << 29, shift=27), 3),
    "requantize_left": (RequantizeSpec(multipliers=(3, 2), largest=1000, shift=-4, output_bits=12), 1),
}
LANES = {"add": 3, "multiply": 2}


def embedding_spec(rows, length, shift):
    generator = torch.Generator().manual_seed(rows)
    codes = torch.randint(-127, 128, (rows, length), generator=generator)
    codes[0], codes[-1] = 127, -127
    multipliers = torch.randint(0, 1 << 16, (rows,), generator=generator)
    multipliers[0] = multipliers[-1] = 65535
    return EmbeddingSpec(codes=codes, multipliers=tuple(multipliers.tolist()), shift=shift)


EMBEDDINGS = {
    "embedding": (embedding_spec(37, 10, 4), 1),
    "embedding_lanes": (embedding_spec(16, 8, 9), 4),
    "embedding_beat": (embedding_spec(5, 3, 0), 3),
}


class _Narrow(RequantizeSpec):
    """Says that its products need a bit less than they do."""

    @property
    def widths(self) -> RequantizeWidths:
        return replace(super().widths, product=super().widths.product - 1)


@pytest.fixture(scope="module")
def bench():
    first = REQUANTIZES["requantize"][0]
    return Bench(
        {name: Add(spec=spec, lanes=LANES.get(name, 1)) for name, spec in ADDS.items()}
        | {name: Multiply(spec=spec, lanes=LANES.get(name, 1)) for name, spec in MULTIPLIES.items()}
        | {"relu": ReLU(), "relu_lanes": ReLU(bits=5, lanes=4)}
        | {name: Requantize(spec=spec, lanes=lanes) for name, (spec, lanes) in REQUANTIZES.items()}
        | {name: Embedding(spec=spec, lanes=lanes) for name, (spec, lanes) in EMBEDDINGS.items()}
        | {
            "add_fault": damaged(Add(spec=ADDS["add_small"]), elementwise_module, round_shift=without_half),
            "requantize_fault": damaged(Requantize(spec=first), requantize_module, round_shift=without_half),
            "requantize_narrow": Requantize(spec=_Narrow(**vars(first))),
        }
    )


def operands(spec, count, seed):
    """Drawn operands of all sizes; the largest ones of both signs in all combinations; all pairs of small ones."""
    generator = torch.Generator().manual_seed(seed)
    largest = [(1 << bits - 1) - 1 for bits in (spec.left_bits, spec.right_bits)]
    if spec.left_bits + spec.right_bits < 14:
        left, right = (torch.arange(-top, top + 1) for top in largest)
        return left.repeat_interleave(len(right)), right.repeat(len(left))
    left, right = (
        torch.randint(-top, top + 1, (count,), generator=generator)
        >> torch.randint(0, top.bit_length() + 1, (count,), generator=generator)
        for top in largest
    )
    left[:4] = torch.tensor([1, -1, 1, -1]) * largest[0]
    right[:4] = torch.tensor([1, -1, -1, 1]) * largest[1]
    return left, right


@pytest.mark.parametrize("stall,seed", [(0.0, 0), (0.3, 1), (0.6, 2)])
@pytest.mark.parametrize("name", [*ADDS, *MULTIPLIES])
def test_two_operands_give_what_the_definition_says(bench, name, stall, seed):
    spec, function = (ADDS[name], add) if name in ADDS else (MULTIPLIES[name], multiply)
    lanes = LANES.get(name, 1)
    left, right = operands(spec, 3000, seed)
    expected = beats(function(left, right, spec), spec.output_bits, lanes)
    inputs = {"left": beats(left, spec.left_bits, lanes), "right": beats(right, spec.right_bits, lanes)}
    run = bench.run(name, inputs, len(expected), stall=stall, seed=seed)
    assert run.ints("y") == expected
    assert stall or run.cycles == len(expected) + bench.units[name].latency


@pytest.mark.parametrize("stall,seed", [(0.0, 0), (0.4, 1), (0.4, 2)])
def test_relu_of_every_number(bench, stall, seed):
    every = torch.arange(-(1 << 15), 1 << 15)
    found = bench.run("relu", {"x": beats(every, 16)}, len(every), stall=stall, seed=seed)
    assert found.ints("y") == relu(every).tolist()
    assert stall or found.cycles == len(every)
    small = torch.arange(-16, 16)
    assert bench.y("relu_lanes", {"x": beats(small, 5, 4)}, 8, stall=stall, seed=seed) == beats(relu(small), 5, 4)


def sums(spec, vectors, seed):
    generator = torch.Generator().manual_seed(seed)
    length = spec.length if spec.length > 1 else 6
    x = torch.randint(-spec.largest, spec.largest + 1, (vectors, length), generator=generator)
    x = x >> torch.randint(0, spec.input_bits, x.shape, generator=generator)
    x[0], x[1], x[2] = spec.largest, -spec.largest, 0
    return x


@pytest.mark.parametrize("stall,seed", [(0.0, 0), (0.3, 1), (0.6, 2)])
@pytest.mark.parametrize("name", REQUANTIZES)
def test_sums_are_requantized_channel_by_channel(bench, name, stall, seed):
    spec, lanes = REQUANTIZES[name]
    x = sums(spec, 500, seed)
    expected = beats(requantize(x, spec), spec.output_bits, lanes)
    run = bench.run(name, {"x": beats(x, spec.input_bits, lanes)}, len(expected), stall=stall, seed=seed)
    assert run.ints("y") == expected
    assert stall or run.cycles == len(expected) + Requantize.latency


@pytest.mark.parametrize("stall,seed", [(0.0, 0), (0.3, 1), (0.6, 2)])
@pytest.mark.parametrize("name", EMBEDDINGS)
def test_indices_give_the_rows_of_the_table(bench, name, stall, seed):
    spec, lanes = EMBEDDINGS[name]
    generator = torch.Generator().manual_seed(seed)
    index = torch.cat([torch.arange(spec.rows), torch.randint(0, spec.rows, (200,), generator=generator)])
    expected = beats(embedding(index, spec), spec.output_bits, lanes)
    run = bench.run(name, {"x": index.tolist()}, len(expected), stall=stall, seed=seed)
    assert run.ints("y") == expected
    assert stall or run.cycles == len(expected) + Embedding.latency


def test_planted_faults_are_found(bench):
    spec = ADDS["add_small"]
    left, right = operands(spec, 0, 0)
    inputs = {"left": beats(left, 6), "right": beats(right, 7)}
    assert bench.y("add_fault", inputs, len(left)) != beats(add(left, right, spec), 6)
    spec = REQUANTIZES["requantize"][0]
    x = sums(spec, 500, 0)
    expected = beats(requantize(x, spec), 16)
    for fault in ("requantize_fault", "requantize_narrow"):
        assert bench.y(fault, {"x": beats(x, 32)}, x.numel()) != expected


def test_another_multiplier_is_found(bench):
    """The checker sees a table entry that is off by one."""
    spec = REQUANTIZES["requantize"][0]
    other = replace(spec, multipliers=(*spec.multipliers[:3], 65534, *spec.multipliers[4:]))
    x = sums(spec, 500, 0)
    assert bench.y("requantize", {"x": beats(x, 32)}, x.numel()) != beats(requantize(x, other), 16)


def test_verilog_is_clean(bench):
    assert bench.complaints() == ""


def test_the_catalogue_makes_units_of_several_lanes():
    lanes = {name: unit_named(name).make(lanes=2) for name in ("requantize", "add", "multiply", "relu", "embedding")}
    kinds = {"requantize": Requantize, "add": Add, "multiply": Multiply, "relu": ReLU, "embedding": Embedding}
    for name, unit in lanes.items():
        assert isinstance(unit, kinds[name])
        assert len(Value.cast(unit.y.payload)) == 2 * len(Value.cast(unit_named(name).make().y.payload))


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: Requantize(spec=REQUANTIZES["requantize"][0], lanes=4), "lanes must be a divisor of the length of 6"),
        (lambda: Embedding(spec=EMBEDDINGS["embedding"][0], lanes=3), "lanes must be a divisor of the length of 10"),
        (lambda: Add(spec=AddSpec(), lanes=0), "lanes must be an integer of at least 1"),
        (lambda: Multiply(spec=MultiplySpec(), lanes=0), "lanes must be an integer of at least 1"),
        (lambda: ReLU(bits=1), "bits must be an integer of at least 2"),
        (lambda: unit_named("requantize").make(length=0), "length must be an integer of at least 1"),
        (lambda: unit_named("embedding").make(rows=0), "rows must be an integer of at least 1"),
    ],
)
def test_impossible_units_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
