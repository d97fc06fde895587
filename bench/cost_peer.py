"""One GEMM in another simulator: run by `bench/cost.py` in that simulator's own environment, where mxhw is not.

    python bench/cost_peer.py zigzag|scalesim M N K ROWS COLUMNS

Prints JSON: cycles, CPU seconds of the evaluation and of the import, and for ZigZag the mappings it evaluated. Both
machines are arrays of ROWS by COLUMNS with stationary weights. ZigZag: its own `tpu_like` accelerator and mapping, the
best latency of its default search. SCALE-Sim: no traces, a memory of 1 MB an operand, the bandwidth that it needs.
"""

import contextlib
import io
import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

SCALESIM = """
[general]
run_name = gemm
[architecture_presets]
ArrayHeight : {rows}
ArrayWidth : {columns}
IfmapSramSzkB : 1024
FilterSramSzkB : 1024
OfmapSramSzkB : 1024
IfmapOffset : 0
FilterOffset : 10000000
OfmapOffset : 20000000
Dataflow : ws
Bandwidth : 10
ReadRequestBuffer : 64
WriteRequestBuffer : 64
[layout]
IfmapCustomLayout : False
IfmapSRAMBankBandwidth : 10
IfmapSRAMBankNum : 10
IfmapSRAMBankPort : 2
FilterCustomLayout : False
FilterSRAMBankBandwidth : 10
FilterSRAMBankNum : 10
FilterSRAMBankPort : 2
[sparsity]
SparsitySupport : false
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""


def zigzag(m: int, n: int, k: int, rows: int, columns: int) -> dict[str, float]:
    """Return what ZigZag's default search says."""
    started = time.process_time()
    import zigzag
    from zigzag.api import get_hardware_performance_zigzag
    from zigzag.stages.evaluation.cost_model_evaluation import CostModelEvaluation

    imported = time.process_time() - started
    logging.disable(logging.CRITICAL)
    inputs = Path(zigzag.__file__).parent / "inputs"
    mappings = 0
    made = CostModelEvaluation.__init__

    def counted(self, *args, **options):
        nonlocal mappings
        mappings += 1
        made(self, *args, **options)

    CostModelEvaluation.__init__ = counted
    if (rows, columns) != (32, 32):
        raise SystemExit("the accelerator `tpu_like` is 32 by 32")
    layer = f"""
- id: 0
  name: gemm
  operator_type: Gemm
  equation: O[b][k]+=W[k][c]*I[b][c]
  loop_dims: [B, C, K]
  loop_sizes: [{m}, {k}, {n}]
  operand_precision: {{W: 8, I: 8, O: 16, O_final: 8}}
  operand_source: {{W: 0, I: 0}}
"""
    with tempfile.TemporaryDirectory() as folder:
        workload = Path(folder) / "gemm.yaml"
        workload.write_text(layer)
        started = time.process_time()
        _, cycles, _ = get_hardware_performance_zigzag(
            workload=str(workload),
            accelerator=str(inputs / "hardware" / "tpu_like.yaml"),
            mapping=str(inputs / "mapping" / "tpu_like.yaml"),
            opt="latency",
            dump_folder=folder,
            loma_show_progress_bar=False,
        )
        seconds = time.process_time() - started
    return {"cycles": float(cycles), "seconds": seconds, "import": imported, "mappings": mappings}


def scalesim(m: int, n: int, k: int, rows: int, columns: int) -> dict[str, float]:
    """Return what SCALE-Sim counts."""
    started = time.process_time()
    from scalesim.scale_sim import scalesim as simulator

    imported = time.process_time() - started
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("gemm.cfg").write_text(SCALESIM.format(rows=rows, columns=columns))
        Path("gemm.csv").write_text(f"Layer, M, N, K,\ngemm, {m}, {n}, {k}, 1:1,\n")
        Path("layout.csv").write_text("Layer\n")
        started = time.process_time()
        made = simulator(
            save_disk_space=True,
            verbose=False,
            config="gemm.cfg",
            topology="gemm.csv",
            layout="layout.csv",
            input_type_gemm=True,
        )
        made.run_scale(top_path=folder)
        seconds = time.process_time() - started
        # `made.get_total_cycles()` of version 3.0.0 fails: it subscripts a method.
        (layer,) = made.runner.single_layer_sim_object_list
        cycles, stalls = layer.total_cycles, layer.stall_cycles
        os.chdir("/")
    return {"cycles": float(cycles), "seconds": seconds, "import": imported, "stalls": float(stalls)}


if __name__ == "__main__":
    peer, *sizes = sys.argv[1:]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        result = {"zigzag": zigzag, "scalesim": scalesim}[peer](*(int(size) for size in sizes))
    print(json.dumps(result))
