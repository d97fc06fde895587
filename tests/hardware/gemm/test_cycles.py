"""Closed forms equal the timing of the RTL's units, and cycles that Verilator counts, in numbers and arrays alike."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch

from mxhw.errors import InputError
from mxhw.hardware.cycles import unit_cycles, unit_interval
from mxhw.hardware.gemm import (
    CAPTURE_LATENCY,
    GROUP_SCALE_BITS,
    REORDER_LATENCY,
    SCALE_LATENCY,
    GemmPoints,
    bounded_cycles,
    gemm_cycles,
    layer_load_cycles,
    product_cycles,
    product_interval,
    product_latency,
    steady_cycles,
    tile_load_cycles,
    weight_stationary_cycles,
)
from mxhw.hardware.structure import Product
from mxhw.rtl_templates.dataflow import linear_timing
from mxhw.rtl_templates.gemm import bitmod, dialect, serial_scale
from tests.hardware.gemm.draws import drawn_gemm, linear_of, points_of, record_of, stacked
from tests.rtl_templates.bank import Bench

DRAWS = 3000


def drawn(count: int, seed: int, **options: bool) -> list:
    random = Random(seed)
    return [drawn_gemm(random, **options) for _ in range(count)]


@pytest.fixture(scope="module")
def arrays():
    """Arrays of the RTL, tokens, and their points as NumPy arrays."""
    random, units = Random(1), drawn(DRAWS, 0)
    tokens = [random.choice([0, 1, 2, 7, 16, 33, 150]) for _ in units]
    return units, tokens, stacked([points_of(*each) for each in zip(units, tokens, strict=True)])


@pytest.fixture(scope="module")
def products():
    """Arrays as they stand in designs, whole row tiles of tokens, and their points."""
    random, units = Random(2), [linear_of(unit) for unit in drawn(DRAWS // 3, 3, whole_columns=True)]
    tokens = [unit.gemm.shape.rows * random.choice([1, 1, 2, 3, 8, 21]) for unit in units]
    return units, tokens, stacked([points_of(u.gemm, t) for u, t in zip(units, tokens, strict=True)])


def test_latencies_are_those_of_the_rtl():
    assert (bitmod._LATENCY, dialect._LATENCY) == (CAPTURE_LATENCY, CAPTURE_LATENCY)
    assert (serial_scale.SCALE_LATENCY, serial_scale.SCALE_BITS) == (SCALE_LATENCY, GROUP_SCALE_BITS)
    assert linear_timing._REORDER_LATENCY == REORDER_LATENCY


def test_cycles_of_an_array_are_those_that_the_rtl_states(arrays):
    units, tokens, points = arrays
    assert gemm_cycles(points).tolist() == [unit.cycles(t) for unit, t in zip(units, tokens, strict=True)]
    assert points.is_load_bound.sum() > 20  # so that the rarest of the three cases is among them
    assert (points.period > points.tile_cycles).sum() > 50


def test_cycles_of_a_product_in_a_design_are_those_that_the_rtl_states(products):
    units, tokens, points = products
    assert product_cycles(points).tolist() == [unit.cycles(t) for unit, t in zip(units, tokens, strict=True)]
    assert product_latency(points).tolist() == [unit.latency for unit in units]
    assert product_interval(points).tolist() == pytest.approx([float(unit.interval) for unit in units])


def test_numbers_and_tensors_give_what_arrays_give(arrays, products):
    for forms, (units, tokens, points) in (
        ((gemm_cycles, steady_cycles), arrays),
        ((product_cycles, product_latency, product_interval), products),
    ):
        gemms = [getattr(unit, "gemm", unit) for unit in units]
        singles = [points_of(*each) for each in zip(gemms[:200], tokens[:200], strict=True)]
        tensors = stacked(singles, torch.tensor)
        for form in forms:
            expected = form(points)[:200].tolist()
            assert [form(each) for each in singles] == expected
            assert form(tensors).tolist() == pytest.approx(expected, rel=1e-6)  # torch divides in single precision


def test_rules_of_designs_give_the_same_cycles():
    random = Random(3)
    for _ in range(300):
        unit = drawn_gemm(random, whole_columns=True)
        points, record = points_of(unit, 3 * unit.shape.rows), record_of(unit)
        assert unit_cycles(record, 3 * unit.shape.rows) == product_cycles(points)
        assert unit_interval(record) == pytest.approx(product_interval(points))


def test_a_record_of_a_design_gives_its_point():
    product = Product(
        family="bitmod",
        weight_type="fp4",
        terms=2,
        lanes=4,
        rows=2,
        columns=3,
        n=9,
        k=140,
        block=128,
        code_bits=4,
        input_bits=8,
        metadata_bits=10,
        input_metadata_bits=0,
        accumulator_bits=28,
        output_bits=40,
    )
    unit = drawn_gemm_of(product)
    points = GemmPoints.of(product, 6)
    assert product_cycles(points) == unit.cycles(6)
    assert (points.chunks, points.column_tiles, points.blocks) == (product.chunks, product.column_tiles, product.blocks)
    with pytest.raises(InputError, match="m of a GEMM must be at least 0, not -1"):
        GemmPoints.of(product, -1)


def drawn_gemm_of(product: Product):
    from mxhw.rtl_templates.gemm import BitModGemm, GemmShape

    shape = GemmShape(rows=product.rows, columns=product.columns, lanes=product.lanes, n=product.n, k=product.k)
    return linear_of(BitModGemm(shape, weight_type=product.weight_type, group=product.block))


def test_the_simulated_rtl_takes_these_cycles():
    random = Random(11)
    units = {}
    while len(units) < 4:
        found = drawn_gemm(random, whole_columns=True)
        if found.shape.n * found.shape.k < 1500 and found.shape.rows < 4:
            weights, metadata = found.drawn_words()
            options = {"weights": weights, "metadata": metadata if found.metadata_depth else None}
            rebuilt = type(found)(found.shape, **_kind(found), **options)
            units[f"u{len(units)}"] = linear_of(rebuilt) if len(units) % 2 else rebuilt
    bench = Bench(units)
    for name, unit in units.items():
        gemm = getattr(unit, "gemm", unit)
        tokens = 3 * gemm.shape.rows
        points = points_of(gemm, tokens)
        form, beats = (gemm_cycles, 3 * gemm.chunks) if unit is gemm else (product_cycles, tokens * points.input_beats)
        x = [random.getrandbits(8) for _ in range(beats)]
        run = bench.run(name, {"x": x}, tokens * gemm.column_tiles)
        assert run.cycles == form(points), name
        assert run.cycles != form(replace(points, rows=gemm.shape.rows + 1)), name


def _kind(unit):
    if hasattr(unit, "block"):
        return {"block": unit.block}
    return {"weight_type": unit.weight_type.name, "group": unit.group}


def test_loads_of_a_layer_take_the_cycles_of_the_loader():
    random = Random(5)
    for _ in range(300):
        unit, port = drawn_gemm(random, layers=2, port=32), random.choice([8, 32, 128])
        loads = [replace(load, bits=port) for load in unit.loads]
        assert layer_load_cycles(points_of(unit), port) == sum(load.cycles for load in loads)


def events(load: int, period: int, start: int, tiles: int, column_tiles: int) -> int:
    """When the array ends its last tile: each is loaded when its place is free, and computed when it is there."""
    loaded, done = 0, [start]  # the end of tile t is done[t + 1]
    for tile in range(tiles):
        if column_tiles > 2 or tile < column_tiles:
            loaded = max(loaded, done[tile - 1] if tile >= 2 else 0) + load
        done.append(max(loaded, done[-1]) + period)
    return done[-1]


def test_a_bounded_port_gives_the_cycles_of_its_events():
    random, bound = Random(7), 0
    for _ in range(3000):
        points, port = points_of(drawn_gemm(random), random.randint(1, 60)), random.choice([1, 8, 64, 512, 4096])
        tiles, load = points.row_tiles * points.column_tiles, tile_load_cycles(points, port)
        last = events(load, points.period, points.chunks, tiles, points.column_tiles)
        late = (points.row_tiles - 1) // 2 if points.is_load_bound else 0
        rest = points.tile_cycles - points.period + late + points.latency + points.rows
        assert bounded_cycles(points, port) == last + rest
        bound += bounded_cycles(points, port) > gemm_cycles(points)
    assert 500 < bound < 2900


def test_a_wide_port_hides_all_loads_but_the_first(arrays):
    points = arrays[2]
    wide, load = bounded_cycles(points, 10**9), tile_load_cycles(points, 10**9)
    exposed, hidden = np.maximum(load - points.chunks, 0) * (points.m > 0), load <= points.period
    assert (wide == gemm_cycles(points) + exposed)[hidden].all()
    assert 0.6 < hidden.mean() < 1  # words of metadata take cycles of their own
    assert (bounded_cycles(points, 16) >= wide).all()


def test_stationary_weights_take_the_published_cycles():
    """Those that SCALE-Sim 3.0.0 prints, which gives the number of the last cycle, from 0."""
    sizes = np.array([128, 512, 1024])
    assert (weight_stationary_cycles(sizes, sizes, sizes, 32, 32) - 1).tolist() == [3551, 155135, 1144831]
    assert weight_stationary_cycles(2048, 4096, 4096, 32, 32) == 35094528


def test_impossible_points_are_refused_with_their_numbers():
    good = {"m": 4, "n": 8, "k": 64, "rows": 1, "columns": 2, "lanes": 4}
    with pytest.raises(InputError, match="columns of a GEMM must be at least 1, not 0"):
        GemmPoints(**good | {"columns": np.array([4, 0])})
    with pytest.raises(InputError, match="rows of a GEMM must be at least 1, not -2"):
        GemmPoints(**good | {"rows": torch.tensor([-2])})
    with pytest.raises(InputError, match="lanes of a GEMM must divide its blocks of 30, not 4"):
        GemmPoints(**good, block=30)
