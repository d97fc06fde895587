"""Memories are those of the RTL and of the records; traffic is counted bit by bit."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch

from mxhw.hardware.gemm import GemmPoints, gemm_memories, gemm_traffic, tile_loads, weight_bits
from mxhw.rtl_templates.gemm import DialectGemm
from tests.hardware.gemm.draws import drawn_gemm, linear_of, points_of, record_of, stacked


@pytest.fixture(scope="module")
def arrays():
    random = Random(4)
    units = [drawn_gemm(random) for _ in range(400)]
    return units, [random.choice([1, 2, 5, 33]) * unit.shape.rows for unit in units]


def test_memories_are_those_of_the_rtl(arrays):
    for unit in arrays[0]:
        found = gemm_memories(points_of(unit))
        assert (found["weights"].words, found["weights"].bits) == (unit.weights_depth, unit.weights_width)
        assert (found["metadata"].words, found["metadata"].bits) == (unit.metadata_depth, unit.metadata_width)
        assert found["activations"].bits == unit.x_width


def test_memories_and_their_use_are_those_of_a_record_of_a_design(arrays):
    kinds = set()
    for unit, tokens in zip(*arrays, strict=True):
        record = record_of(unit, layers=3)
        found = gemm_memories(GemmPoints.of(record, tokens), layers=3)
        by_name: dict[str, list] = {}
        for shape in record.memories():
            by_name.setdefault(shape.name, []).append(shape)
        assert set(by_name) == {name for name, each in found.items() if each.capacity}
        for name, shapes in by_name.items():
            each = found[name]
            assert len(shapes) == each.copies
            assert (each.words, each.bits) == (shapes[0].words, shapes[0].bits)
            assert (each.reads, each.writes) == pytest.approx((shapes[0].reads * tokens, shapes[0].writes * tokens))
        kinds |= set(by_name)
    assert kinds == {"weights", "metadata", "activations", "row", "scales", "row tile"}


def test_numbers_arrays_and_tensors_agree(arrays):
    points = [points_of(*each) for each in zip(*arrays, strict=True)]
    for many in (stacked(points), stacked(points, torch.tensor)):
        memories = gemm_memories(many, tiled=True)
        for name in ("activations", "row", "scales", "row tile", "weights", "metadata"):
            for attribute in ("words", "capacity", "moved"):
                values = np.broadcast_to(np.asarray(getattr(memories[name], attribute)), len(points))
                singles = [getattr(gemm_memories(each, tiled=True)[name], attribute) for each in points]
                assert values.tolist() == singles, (name, attribute)


def test_traffic_is_what_a_walk_over_the_tiles_counts(arrays):
    """Every code of padded K and N, every field of a block, every token's scale, once where it passes the edge."""
    for unit, tokens in zip(*(each[:150] for each in arrays), strict=True):
        points = points_of(unit, tokens)
        weights, inputs, outputs, kept = 0, 0, 0, []
        fields = points.metadata_bits
        for _ in range(unit.shape.row_tiles(tokens)):
            for tile in range(unit.column_tiles):
                if tile not in kept:
                    kept = [*kept, tile][-2:] if unit.column_tiles > 2 else [*kept, tile]
                    codes = unit.shape.columns * unit.chunks * unit.shape.lanes * unit.code_bits
                    weights += codes + unit.shape.columns * unit.groups * fields
        linear = linear_of(unit) if unit.shape.n % unit.shape.columns == 0 == unit.shape.k % unit.shape.lanes else None
        for _ in range(tokens):
            outputs += unit.column_tiles * unit.shape.columns * points.output_bits
            blocks = unit.groups if isinstance(unit, DialectGemm) else 0
            inputs += points.input_beats * unit.shape.lanes * points.input_bits
            inputs += blocks * points.input_metadata_bits + points.token_bits
        if linear is not None:
            assert points.input_beats == linear.timing.x_beats
        found = gemm_traffic(points, tiled=True)
        assert (found.weights, found.inputs, found.outputs) == (weights, inputs, outputs)
        assert found.total == weights + inputs + outputs
        assert gemm_traffic(points).weights == 0


def test_padding_and_metadata_are_charged():
    exact = GemmPoints(m=8, n=16, k=256, rows=4, columns=8, lanes=4, block=128, scaled=1, code_bits=4, metadata_bits=10)
    assert weight_bits(exact) == 16 * (256 * 4 + 2 * 10)
    assert weight_bits(replace(exact, n=17)) == 24 * (256 * 4 + 2 * 10)
    assert weight_bits(replace(exact, k=257)) == 16 * (384 * 4 + 3 * 10)
    assert tile_loads(exact) == 2
    assert tile_loads(replace(exact, n=17)) == 6
    assert tile_loads(replace(exact, n=17, m=0)) == 0
