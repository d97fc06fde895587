"""A tiny Llama in integers, and what a part of it and the float model give."""

import pytest
from torch import Tensor

from mxhw.ir import Assignment, Graph
from mxhw.passes.transform.lower import LoweredGraph, calibrate, lower_graph


@pytest.fixture(scope="session")
def assignment(tiny: Graph) -> Assignment:
    """INT8 everywhere; attention as the integers compute it: per token and head, probabilities as they are."""
    formats = {}
    for key, site in tiny.sites.items():
        kind = tiny.nodes[site.node].op
        if kind == "linear":
            formats[key] = "int8" if site.operand == "weight" else "int8-e8m0"
        elif (kind == "attn_qk") == (site.operand != "cache"):
            formats[key] = "int8-e8m0"
    return Assignment("tiny", {key: name for key, name in formats.items() if not key.endswith("pv:lhs")})


@pytest.fixture(scope="session")
def ranges(tiny: Graph, windows: Tensor) -> dict[str, float]:
    return calibrate(tiny, windows)


@pytest.fixture(scope="session")
def whole(tiny: Graph, assignment: Assignment, ranges: dict[str, float]) -> LoweredGraph:
    return lower_graph(tiny, assignment, ranges)
