"""The first designs of a search: uniform ones, and mixed ones that follow the measured sensitivity of each layer.

DOSA (MICRO 2023) reports that plain Bayesian optimization is an order of magnitude worse than a search that knows good
analytic points; so the sampler starts from such points.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from mxhw.formats import parse_format
from mxhw.passes.search.space import SearchSpace

__all__ = ["MIXES", "seed_designs"]

MIXES = (0.1, 0.2, 0.4)  # share of all weights that takes the wider of two formats
_GROUP = (128, 128)  # shape at which formats are ordered by their bits


def seed_designs(
    space: SearchSpace, sensitivity: Mapping[str, float] | None = None, outliers: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Return parameters of the designs to try first.

    Every family's first weight format with every choice of rows comes first; then every other format, uniform; then,
    if `sensitivity` (node to loss when its weight alone is narrow) is given, mixtures of every two neighbouring
    choices, the wider one where it gains most per weight; and, if `outliers` (node to the outlier ratio that
    calibration saw in its operands) is given, designs in which the calmer half of the layers takes the next attention
    format.
    """
    config = space.config
    designs = [space.parameters(family, rows) for rows in config.rows for family in config.families]
    middle = config.rows[len(config.rows) // 2]
    for family in config.families:
        choices = config.weights(family)
        designs += [space.parameters(family, middle, weights=choice) for choice in choices[1:]]
        designs += [space.parameters(family, middle, attention=choice) for choice in config.attention(family)[1:]]
        if sensitivity:
            designs += _mixes(space, family, middle, sensitivity)
        if outliers:
            designs += _attention_mixes(space, family, middle, outliers)
    return _unique(designs)


def _mixes(space: SearchSpace, family: str, rows: int, sensitivity: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return designs in which the layers that gain most per weight take the wider of two neighbouring formats."""
    order = sorted(space.config.weights(family), key=lambda name: parse_format(name).bits(_GROUP))
    sizes = {node: space.graph.weight(node).numel() for node in space.linears}
    total = sum(sizes.values())
    worth = sorted(space.linears, key=lambda node: (-sensitivity.get(node, 0.0) / sizes[node], node))
    mixes = []
    for narrow, wide in pairwise(order):
        for share in MIXES:
            widened: set[str] = set()
            left = share * total
            for node in worth:
                if sizes[node] <= left:
                    widened.add(node)
                    left -= sizes[node]
            weights = {node: wide if node in widened else narrow for node in space.linears}
            mixes.append(space.parameters(family, rows, weights=weights))
    return mixes


def _attention_mixes(space: SearchSpace, family: str, rows: int, outliers: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return designs in which the half of the layers with the smallest outliers takes another attention format."""
    first, *others = space.config.attention(family)
    worst = {layer: max(outliers.get(node, 0.0) for node in nodes) for layer, nodes in space.attention.items()}
    calm = sorted(worst, key=lambda layer: (worst[layer], layer))[: len(worst) // 2]
    return [
        space.parameters(family, rows, attention={layer: other if layer in calm else first for layer in worst})
        for other in others
        if calm
    ]


def _unique(designs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({tuple(sorted(design.items())): design for design in designs}.values())
