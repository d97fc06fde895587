"""Runs cocotb tests on an AXI top in Icarus Verilog or Verilator and says which failed."""

import json
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mxhw.rtl_templates.axi import AxiStream, AxiTop, register_map
from mxhw.rtl_templates.axi.stream import bus_width
from mxhw.sim.cocotb_engine import bench_environment, compile_icarus, compile_verilator
from tests.rtl_templates.axi.design import DIGEST, NAME, STREAMS, Traffic, core_verilog, split

BENCH = Path(__file__).with_name("axi_bench.py")


def need(simulator: str) -> None:
    """Skip the test where a tool is absent."""
    pytest.importorskip("cocotbext.axi", reason="needs cocotbext-axi: pip install 'mxhw[dev]'")
    if simulator == "icarus" and shutil.which("iverilog") is None:
        pytest.skip("needs Icarus Verilog: sudo apt-get install iverilog")


def case(traffic: Traffic, bus: int, streams: Sequence[AxiStream] = STREAMS, digest: bytes = DIGEST) -> dict[str, Any]:
    """Return what the bench reads: transfers of every token, registers, constants."""
    registers = register_map(streams)
    inputs = [stream for stream in streams if stream.is_input]
    by_name = {stream.name: stream for stream in streams}
    constants = {"STREAMS": len(inputs) | (len(streams) - len(inputs)) << 16}
    constants |= {f"HASH_{i}": int.from_bytes(digest[4 * i : 4 * i + 4]) for i in range(8)}
    for stream in streams:
        constants[f"{stream.name}.SHAPE"] = stream.width | (not stream.is_input) << 31
        constants[f"{stream.name}.BEATS"] = stream.beats or 0

    def cut(tokens: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        width = {name: by_name[name].width for name in tokens}
        return {name: [split(t, bus_width(width[name], bus), width[name]) for t in tokens[name]] for name in tokens}

    return {
        "inputs": cut(traffic.inputs),
        "outputs": cut(traffic.outputs),
        "registers": {register.name: register.offset for register in registers},
        "writable": [register.name for register in registers if register.writable],
        "constants": constants,
        "streams": constants["STREAMS"],
        "runs": [[0.0, 0], [0.3, 1], [0.7, 2]],
        "latency": 24,
    }


def simulate(folder: Path, top: AxiTop, content: dict[str, Any], **options: Any) -> dict[str, str]:
    """Return test → "" or why it failed, for the small design.

    Options: ``core`` (Verilog of the core), and those of :func:`run_bench`.
    """
    sources = [folder / "core.v", folder / "axi.v", folder / "top.v"]
    texts = (options.pop("core", None) or core_verilog(), top.modules, top.top)
    for path, text in zip(sources, texts, strict=True):
        path.write_text(text)
    return run_bench(folder, NAME, sources, [port.name for port in top.ports], content, **options)


def run_bench(
    folder: Path,
    name: str,
    sources: Sequence[Path],
    ports: Sequence[str],
    content: dict[str, Any],
    *,
    simulator: str = "icarus",
    only: Sequence[str] = (),
) -> dict[str, str]:
    """Run the bench, or some of its tests, in a folder."""
    (folder / "case.json").write_text(json.dumps(content))
    shutil.copy(BENCH, folder)
    if simulator == "icarus":
        made = compile_icarus(sources, name, folder)
    else:
        made = compile_verilator(sources, name, ports=["aclk", "aresetn", *ports])
    environment = bench_environment(name, folder, BENCH.stem)
    if only:
        environment["COCOTB_TEST_FILTER"] = "|".join(f"{name}$" for name in only)
    done = subprocess.run(
        list(made.command), cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    results = folder / "results.xml"
    assert results.is_file(), done.stdout + done.stderr
    return {found.get("name", ""): _failure(found) for found in ElementTree.parse(results).iter("testcase")}


def _failure(found: ElementTree.Element) -> str:
    parts = [part for part in found if part.tag in ("failure", "error", "skipped")]
    return next((part.get("error_msg") or part.get("message") or part.tag for part in parts), "")
