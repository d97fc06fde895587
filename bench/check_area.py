"""Compare the cost model's logic area with synthesis of whole GEMM units, memories left out.

    python bench/check_area.py --liberty asap7=DIR_OR_FILE

Every unit is emitted, its memories are black boxes, and it is synthesized in one piece by the flow of `synth_area.py`.
The exit code is 1 if a unit's area is off by more than the tolerance.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from synth_area import CLOCKS, Yosys, synthesize_asic, unpacked

from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.hardware import GemmBatch, GemmWork, gemm_costs, load_platform
from mxhw.passes.analysis import gemm_unit
from mxhw.rtl_templates import BitModGemm, DialectGemm, GemmShape, gemm_verilog

PAIRS = (("int8-e8m0", "bitmod4"), ("int8-e8m0", "bitmod3"), ("int8-e8m0", "int6-g128-s8"), ("int8-e8m0", "int8-e8m0"))
ARRAYS = ((4, 4), (4, 8))
N, K = 64, 256
BLACK_BOXES = """
(* blackbox *) module mxhw_rom #(parameter WIDTH = 8, DEPTH = 1, ADDRESS = 1, FILE = "")
  (input clk, input enable, input [ADDRESS-1:0] address, output [WIDTH-1:0] data); endmodule
(* blackbox *) module mxhw_ram #(parameter WIDTH = 8, DEPTH = 1, ADDRESS = 1)
  (input clk, input write, input [ADDRESS-1:0] write_address, input [WIDTH-1:0] write_data, input enable,
   input [ADDRESS-1:0] address, output [WIDTH-1:0] data); endmodule
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--liberty", required=True, metavar="NAME=PATH")
    parser.add_argument("--tolerance", type=float, default=0.10)
    arguments = parser.parse_args()
    library, _, path = arguments.liberty.partition("=")
    platform, yosys, worst = load_platform(library), Yosys(), 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        liberty = unpacked(Path(path), folder)
        for rows, columns in ARRAYS:
            shape = GemmShape(rows=rows, columns=columns, n=N, k=K)
            dialect = DialectGemm(shape, block=32, weight_exponents=(8, 12))
            cases = [(dialect, gemm_unit(*map(parse_format, ("dialect4-online", "dialect4")), K, exponents=(8, 12)))]
            for x_name, w_name in PAIRS:
                unit = gemm_unit(parse_format(x_name), parse_format(w_name), K)
                group = unit.block if unit.scaled else None
                cases.append((BitModGemm(shape, weight_type=unit.weight_type, group=group), unit))
            for twin, unit in cases:
                source = folder / "unit.v"
                source.write_text(BLACK_BOXES + gemm_verilog(twin, "top"), encoding="utf-8")
                measured = synthesize_asic(yosys, f"read_verilog -sv {source}", liberty, CLOCKS[library], folder)
                costs = gemm_costs(GemmBatch([unit], [GemmWork(64, N, K)]), rows, np.asarray([[columns]]), platform)
                model = float(sum(costs.logic.values())[0, 0])
                error = model / measured["size"] - 1
                worst = max(worst, abs(error))
                row = {"unit": unit.kind, "weights": unit.weight_type, "rows": rows, "columns": columns}
                print(
                    json.dumps(
                        {**row, "synthesis": measured["size"], "model": round(model, 1), "error": round(error, 4)}
                    )
                )
    return int(worst > arguments.tolerance)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
