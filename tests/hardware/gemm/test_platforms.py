"""Prices of shipped platforms are those that each unit alone is given."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch

from mxhw.errors import InputError
from mxhw.hardware.energy import unit_energy
from mxhw.hardware.gemm import GemmPoints, gemm_costs, platform_prices, steady_cycles
from mxhw.hardware.platform import load_platform
from mxhw.hardware.resources import memory_resources
from mxhw.hardware.sizes import unit_sizes
from mxhw.hardware.structure import Product
from tests.hardware.gemm.test_cost import FP4

LOGIC = 0.03  # of 8 elements and more
BASE = replace(FP4, n=512, k=1024)
INT8 = replace(BASE, weight_type="int8", terms=4, code_bits=8, metadata_bits=0, block=4)
DIALECT = replace(
    BASE,
    family="dialect",
    weight_type="dialect4",
    terms=1,
    block=32,
    metadata_bits=9,
    input_bits=4,
    input_metadata_bits=9,
    accumulator_bits=40,
)


def drawn(product: Product, count: int, seed: int) -> list[Product]:
    random = Random(seed)
    return [replace(product, rows=2 ** random.randint(1, 5), columns=2 ** random.randint(2, 6)) for _ in range(count)]


@pytest.mark.parametrize("name", ["asap7", "ecp5-85"])
@pytest.mark.parametrize("product", [BASE, INT8, DIALECT], ids=lambda each: each.weight_type)
def test_points_cost_what_their_records_cost(name, product):
    """Memories and accesses exactly; logic but for bits of counters, which are no product of rows and columns."""
    platform, tokens = load_platform(name), 64
    units = drawn(product, 40, 1)
    rows, columns = (np.array([getattr(unit, each) for unit in units]) for each in ("rows", "columns"))
    points = replace(GemmPoints.of(product, tokens), rows=rows, columns=columns)
    prices = platform_prices(product, platform)
    costs = gemm_costs(points, prices)
    for resource in prices.sizes:
        logic = np.array([unit_sizes(unit, platform)[resource] for unit in units])
        assert sum(prices.sizes[resource].of(points).values()) == pytest.approx(logic, rel=LOGIC)
        memories = np.array([memory_resources(unit, platform)[resource] for unit in units])
        found = costs.resource(resource) - sum(prices.sizes[resource].of(points).values())
        assert found == pytest.approx(memories, abs=1e-6 * (1 + logic.max()))
    if costs.energy is None:
        return
    spent = [
        unit_energy(unit, tokens, 0, platform, unit_sizes(unit, platform), float(work)).total
        for unit, work in zip(units, steady_cycles(points), strict=True)
    ]
    assert costs.total_energy() - costs.energy["static"] == pytest.approx(np.array(spent), rel=LOGIC)


def test_relaxed_prices_of_an_asic_are_close_above_and_an_fpga_has_none():
    sizes = {"rows": 6.0, "columns": 12.0}
    exact = replace(GemmPoints.of(BASE, 64), rows=6, columns=12)
    relaxed = replace(exact, relaxed=True, **{name: torch.tensor(size).double() for name, size in sizes.items()})
    prices = platform_prices(BASE, load_platform("asap7"))
    area, above = gemm_costs(exact, prices).resource("area"), gemm_costs(relaxed, prices).resource("area")
    assert area <= float(above) < 1.25 * area
    with pytest.raises(InputError, match="memories of platform 'ecp5-85' come in whole blocks and have no derivatives"):
        gemm_costs(relaxed, platform_prices(BASE, load_platform("ecp5-85")))
