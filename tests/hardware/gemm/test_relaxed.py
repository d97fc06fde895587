"""Relaxed costs bound the exact ones, have the derivatives that they claim, and lead a descent to the optimum."""

from dataclasses import fields, replace
from itertools import product as combinations
from random import Random

import numpy as np
import pytest
import torch

from mxhw.hardware.gemm import GemmPoints, bounded_cycles, gemm_costs, gemm_cycles, product_cycles, weight_bits
from tests.hardware.gemm.draws import drawn_gemm, points_of, stacked
from tests.hardware.gemm.test_cost import PRICES

BUDGET = 4e6  # um2
MOST, LANES = 128, (4, 8, 16, 32, 64, 128)  # rows and columns; divisors of a block
STEPS = 15
WITHIN, EACH_WITHIN = 0.02, 0.1  # of the cycles of the best point: those that three descents find, the best and each
LLAMA = {"m": 512, "n": 4096, "k": 4096, "terms": 2, "block": 128, "scaled": 1, "code_bits": 4, "metadata_bits": 10}


def relaxed(points: GemmPoints) -> GemmPoints:
    tensors = {
        each.name: torch.as_tensor(getattr(points, each.name)).double()
        for each in fields(points)
        if each.name != "relaxed"
    }
    return replace(points, **tensors, relaxed=True)


def test_relaxed_costs_are_nowhere_below_the_exact_ones():
    random = Random(21)
    exact = stacked([points_of(drawn_gemm(random), random.choice([0, 1, 5, 64])) for _ in range(2000)])
    smooth = relaxed(exact)
    for cost in (
        gemm_cycles,
        product_cycles,
        weight_bits,
        lambda each: bounded_cycles(each, 64),
        lambda each: gemm_costs(each, PRICES, port=64).total_energy(),
        lambda each: gemm_costs(each, PRICES).resource("area"),
    ):
        ratio = (cost(smooth) + 1e-9).numpy() / (cost(exact) + 1e-9)
        assert ratio.min() >= 1 - 1e-12
        assert np.median(ratio) < 1.35  # of small sizes, where padding is most


def test_relaxed_costs_of_large_sizes_are_close():
    exact = GemmPoints(**LLAMA, rows=16, columns=32, lanes=8)
    assert 1 <= float(gemm_cycles(relaxed(exact))) / gemm_cycles(exact) < 1.04


def test_derivatives_are_those_of_finite_differences():
    """By rows, columns, lanes, bits and terms, at sizes that are not whole; a step of 1e-6 either way."""
    names = ("rows", "columns", "lanes", "code_bits", "input_bits", "terms", "accumulator_bits")
    start = torch.tensor([6.3, 11.7, 5.2, 3.6, 7.4, 2.3, 27.5], dtype=torch.double)
    rest = {name: value for name, value in LLAMA.items() if name not in names}

    def cost(values: torch.Tensor, metric: str, port: int | None) -> torch.Tensor:
        points = GemmPoints(**rest, **dict(zip(names, values, strict=True)), relaxed=True)
        costs = gemm_costs(points, PRICES, port=port)
        return {"cycles": costs.cycles, "area": costs.resource("area"), "energy": costs.total_energy()}[metric].log()

    moved = set()
    for metric, port in combinations(("cycles", "area", "energy"), (None, 64, 4096)):
        values = start.clone().requires_grad_()
        (slopes,) = torch.autograd.grad(cost(values, metric, port), values, allow_unused=True)
        for i, name in enumerate(names):
            step = torch.zeros_like(start)
            step[i] = 1e-6
            between = (cost(start + step, metric, port) - cost(start - step, metric, port)) / 2e-6
            assert float(slopes[i]) == pytest.approx(float(between), rel=1e-4, abs=1e-7), (metric, port, name)
            if abs(float(between)) > 1e-4:
                moved.add((metric, name))
    assert {("cycles", "rows"), ("cycles", "terms"), ("area", "columns"), ("energy", "code_bits")} <= moved


def descend(start: torch.Tensor, lanes: int, steps: int, port: int | None) -> list[float]:
    """Return rows and columns after a descent on their logarithms, where area above the budget has a price."""
    sizes = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([sizes], max_iter=steps, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        rows, columns = sizes.clamp(min=0, max=np.log(MOST)).exp()
        costs = gemm_costs(
            GemmPoints(**LLAMA, rows=rows, columns=columns, lanes=lanes, relaxed=True), PRICES, port=port
        )
        over = (costs.resource("area") / BUDGET).log().clamp(min=0)
        optimizer.zero_grad()
        value: torch.Tensor = costs.cycles.log() + 100 * over**2
        value.backward()
        return value

    optimizer.step(loss)
    return sizes.detach().clamp(min=0, max=np.log(MOST)).exp().tolist()


def fewest_cycles(rows: np.ndarray, columns: np.ndarray, lanes: int, port: int | None) -> int:
    """Return those of the best point of a grid within the budget."""
    points = GemmPoints(**LLAMA, rows=rows[:, None], columns=columns[None, :], lanes=lanes)
    costs = gemm_costs(points, PRICES, port=port)
    return int(np.where(costs.resource("area") <= BUDGET, costs.cycles, np.iinfo(np.int64).max).min())


def found_by_descent(steps: int, seed: int, port: int | None) -> int:
    """Return the fewest cycles of whole sizes within a factor of 1.4 of where descents end, of all lanes."""
    start = torch.rand(2, dtype=torch.double, generator=torch.Generator().manual_seed(seed)) * 2
    found = []
    for lanes in LANES:
        ends = descend(start, lanes, steps, port)
        around = [np.arange(max(1, int(end / 1.4)), min(MOST, int(end * 1.4) + 1) + 1) for end in ends]
        found.append(fewest_cycles(*around, lanes, port))
    return min(found)


@pytest.mark.parametrize("port", [None, 1024])
def test_descents_come_within_two_percent_of_the_best_of_all_points(port):
    every = np.arange(1, MOST + 1)
    best = min(fewest_cycles(every, every, lanes, port) for lanes in LANES)
    found = [found_by_descent(STEPS, seed, port) for seed in range(3)]
    assert best <= min(found) <= (1 + WITHIN) * best
    assert max(found) <= (1 + EACH_WITHIN) * best
    assert found_by_descent(0, 0, port) > 2 * best  # where they start is not there
