"""A measurement that tests kill: `python -m tests.passes.analysis.sensitivity.crash FOLDER RESULT`."""

import json
import sys
from pathlib import Path

import torch

from mxhw.ir import Graph
from mxhw.passes.analysis import QualityEvaluator
from mxhw.passes.analysis.sensitivity import Unit, measure_sensitivity, units_of
from tests.passes.search.tiny import TOKENS, tiny_graph


def problem() -> tuple[Graph, QualityEvaluator, tuple[Unit, ...]]:
    graph = tiny_graph()
    windows = torch.randint(0, 32, (6, TOKENS), generator=torch.Generator().manual_seed(5))
    units = units_of(graph, ("mxfp4", "mxint4", "int4-g32", "bitmod3", "mxfp6-e2m3", "int8-g32"))
    return graph, QualityEvaluator(graph, windows), units


if __name__ == "__main__":
    table = measure_sensitivity(*problem(), cache=Path(sys.argv[1]))
    Path(sys.argv[2]).write_text(json.dumps(table.to_json()))
