"""Costs add up part by part, alike in numbers, arrays and tensors."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch

from mxhw.errors import InputError
from mxhw.hardware.gemm import (
    GemmMemory,
    GemmPoints,
    GemmPrices,
    GemmSizes,
    Numbers,
    bounded_cycles,
    gemm_costs,
    gemm_memories,
    sizes_from,
    steady_cycles,
)
from mxhw.hardware.structure import Product
from tests.hardware.gemm.draws import drawn_gemm, points_of, stacked

SIZES = GemmSizes(3000.0, 11.0, 53.0, 101.0, 1.5, 2.5, 19.0, 61.0)


def sram(memory: GemmMemory) -> dict[str, Numbers]:
    """0.027 um2 a bit and 500 a memory that there is."""
    return {"area": memory.capacity * 0.027 + (memory.capacity > 0) * 500.0}


def access(memory: GemmMemory) -> tuple[Numbers, Numbers]:
    energy = memory.bits * (0.03 + 0.001 * (memory.capacity / 8) ** 0.5)
    return energy, 2 * energy


PRICES = GemmPrices({"area": SIZES}, sram, access, {"area": 1e-4}, {"area": 1e-6}, 1e-9, 18.75)
FP4 = Product(
    family="bitmod",
    weight_type="fp4",
    terms=2,
    lanes=4,
    rows=2,
    columns=3,
    n=9,
    k=256,
    block=128,
    code_bits=4,
    input_bits=8,
    metadata_bits=10,
    input_metadata_bits=0,
    accumulator_bits=28,
    output_bits=40,
)


def size(product: Product) -> float:
    rows, columns, lanes = product.rows, product.columns, product.lanes
    return 3000 + 11 * rows + (53 + 19 * lanes) * columns + (101 + 61 * lanes) * rows * columns + 2.5 * rows * lanes


def drawn_points(count: int) -> list[GemmPoints]:
    random = Random(9)
    return [points_of(drawn_gemm(random), random.randint(1, 50)) for _ in range(count)]


@pytest.mark.parametrize("port", [None, 64])
def test_numbers_arrays_and_tensors_cost_the_same(port):
    points = drawn_points(200)
    singles = [gemm_costs(each, PRICES, port=port) for each in points]
    for many in (stacked(points), stacked(points, lambda values: torch.tensor(values).double())):
        found = gemm_costs(many, PRICES, port=port)
        assert found.cycles.tolist() == [each.cycles for each in singles]
        assert found.traffic.total.tolist() == [each.traffic.total for each in singles]
        assert found.resource("area").tolist() == pytest.approx([each.resource("area") for each in singles])
        assert found.total_energy().tolist() == pytest.approx([each.total_energy() for each in singles])
        assert found.resource("lut") == 0


def test_energy_and_area_are_the_sums_of_their_causes():
    for points in drawn_points(50):
        costs, memories = gemm_costs(points, PRICES, port=32), gemm_memories(points, tiled=True)
        logic = sum(SIZES.of(points).values())
        area = logic + sum(
            each.copies * (0.027 * each.capacity + 500 * (each.capacity > 0)) for each in memories.values()
        )
        assert costs.resource("area") == pytest.approx(area)
        energy = logic * (1e-4 * steady_cycles(points) + 1e-6 * bounded_cycles(points, 32))
        energy += 18.75 * costs.traffic.weights
        for each in memories.values():
            energy += 1e-9 * each.copies * each.capacity * bounded_cycles(points, 32)
            words = each.copies * (each.reads + 2 * each.writes)
            energy += words * each.bits * (0.03 + 0.001 * (each.capacity / 8) ** 0.5)
        assert costs.total_energy() == pytest.approx(energy)
    assert gemm_costs(points, replace(PRICES, access=None)).energy is None


def test_coefficients_reproduce_the_function_that_they_are_read_off():
    read = sizes_from(FP4, size, lanes=(4, 8))
    for rows, columns, lanes in ((1, 1, 2), (3, 7, 4), (64, 48, 16), (5, 1, 8)):
        unit = replace(FP4, rows=rows, columns=columns, lanes=lanes)
        assert sum(read.of(GemmPoints.of(unit, 1)).values()) == pytest.approx(size(unit))
    crooked = sizes_from(FP4, lambda unit: size(unit) + unit.rows**2)
    odd = replace(FP4, rows=7)
    assert sum(crooked.of(GemmPoints.of(odd, 1)).values()) != pytest.approx(size(odd) + odd.rows**2)
    with pytest.raises(InputError, match=r"lanes must be two divisors of the block of 128, not \(4, 5\)"):
        sizes_from(FP4, size, lanes=(4, 5))
    with pytest.raises(InputError, match="lanes must be two divisors"):
        sizes_from(FP4, size, lanes=(4, 4))


def test_points_of_several_kinds_have_the_coefficients_of_theirs():
    other = replace(SIZES, element=7.0)
    both = GemmSizes(*(np.array([getattr(each, name) for each in (SIZES, other)]) for name in vars(SIZES)))
    points = stacked(drawn_points(6))
    kinds = np.array([0, 1, 1, 0, 1, 0])
    mixed, pure = both.at(kinds).of(points), [each.of(points) for each in (SIZES, other)]
    for part, values in mixed.items():
        assert (values == np.where(kinds, pure[1][part], pure[0][part])).all()
    assert (mixed["elements"] != pure[0]["elements"]).tolist() == kinds.astype(bool).tolist()
