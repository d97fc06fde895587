"""Compare the cost model's logic area with synthesis of whole GEMM units, memories left out.

    python bench/check_area.py --liberty asap7=DIR_OR_FILE

Every unit, its memories black boxes, is synthesized in one piece by the flow that also measures its parts
(`make table-synth`). The exit code is 1 if a unit's area is off by more than the tolerance.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.hardware import GemmBatch, GemmWork, gemm_costs, load_platform
from mxhw.passes.analysis import gemm_unit
from mxhw.rtl_templates import BitModGemm, DialectGemm, GemmShape
from mxhw.synthesis import map_to_cells, open_library, source_of
from mxhw.synthesis.table import TARGETS

PAIRS = (("int8-e8m0", "bitmod4"), ("int8-e8m0", "bitmod3"), ("int8-e8m0", "int6-g128-s8"), ("int8-e8m0", "int8-e8m0"))
ARRAYS = ((4, 4), (4, 8))
N, K = 64, 256


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--liberty", required=True, metavar="NAME=PATH")
    parser.add_argument("--tolerance", type=float, default=0.10)
    arguments = parser.parse_args()
    name, _, path = arguments.liberty.partition("=")
    platform, worst = load_platform(name), 0.0
    with tempfile.TemporaryDirectory() as scratch:
        library = open_library(Path(path), Path(scratch) / "library")
        for rows, columns in ARRAYS:
            shape = GemmShape(rows=rows, columns=columns, n=N, k=K)
            dialect = DialectGemm(shape, block=32, weight_exponents=(8, 12))
            cases = [(dialect, gemm_unit(*map(parse_format, ("dialect4-online", "dialect4")), K, exponents=(8, 12)))]
            for x_name, w_name in PAIRS:
                unit = gemm_unit(parse_format(x_name), parse_format(w_name), K)
                group = unit.block if unit.scaled else None
                cases.append((BitModGemm(shape, weight_type=unit.weight_type, group=group), unit))
            for twin, unit in cases:
                measured = map_to_cells(source_of(twin), library, Path(scratch), TARGETS[name].clock).area
                costs = gemm_costs(GemmBatch([unit], [GemmWork(64, N, K)]), rows, np.asarray([[columns]]), platform)
                model = float(sum(costs.logic.values())[0, 0])
                error = model / measured - 1
                worst = max(worst, abs(error))
                row = {"unit": unit.kind, "weights": unit.weight_type, "rows": rows, "columns": columns}
                figures = {"synthesis": measured, "model": round(model, 1), "error": round(error, 4)}
                print(json.dumps(row | figures), flush=True)
    return int(worst > arguments.tolerance)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
