"""Synthesize every component of `rtl_templates` and write the table of sizes that the cost model reads.

    python bench/synth_area.py --liberty asap7=DIR_OR_FILE --liberty sg13g2=FILE --family xilinx --family ecp5

Engine: yosys (pyosys, `pip install mxhw[synth]`). An ASIC library is a liberty file or a folder of them (.lib,
.lib.gz): `synth -flatten; dfflibmap; abc; stat`, once per abc script and delay target; the smallest result that meets
the clock counts (the quickest if none does) and the spread is recorded, because abc is heuristic. FPGA families:
`synth_xilinx -noiopad -nodsp` (UltraScale+) and `synth_ecp5 -nodsp`; LUTs as yosys counts them, an ECP5 carry cell as
the two LUT4 that it occupies. Libraries that are not named keep their entries in the table.
"""

import argparse
import gzip
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic import bitmod_widths, dialect_widths, weight_types
from mxhw.errors import InputError, MissingToolError
from mxhw.files import write_text
from mxhw.rtl_templates.decoder import BitModTermDecoder, DialectDecoder
from mxhw.rtl_templates.gemm.drain import Drain
from mxhw.rtl_templates.gemm.sequencer import Sequencer
from mxhw.rtl_templates.gemm.shape import Tiling
from mxhw.rtl_templates.mac import BitSerialPE, DialectPE, IntegerMac

TABLE = Path(__file__).resolve().parent.parent / "mxhw" / "hardware" / "data" / "pe_area.json"
LANES = 4
SHORT_K, LONG_K = 256, 8192  # two lengths of the reduction, for the price of an accumulator bit
GROUP = 128
DIALECT_BLOCK = 32
CLOCKS = {"asap7": 2000, "sg13g2": 10000}  # ps: the clocks of the platforms
ORIGINS = {
    "asap7": "ASAP7 7.5-track RVT, slow corner, Arizona State University, BSD-3-Clause",
    "sg13g2": "IHP SG13G2 130 nm, typical corner, IHP PDK Authors, Apache-2.0",
    "xilinx": "AMD UltraScale+ (synth_xilinx -family xcup -noiopad -nodsp): LUTs as yosys counts them",
    "ecp5": "Lattice ECP5 (synth_ecp5 -nodsp): LUT4 as yosys counts them, a carry cell as two",
}
_PREPARE = "strash;&get,-n;&fraig,-x;&put;scorr;dc2;strash"
_SIZE = "buffer,-c;upsize,-D,{0};dnsize,-D,{0};stime,-p"
SCRIPTS = (
    f"+{_PREPARE};&get,-n;&dch,-f;&nf,-D,{{0}};&put;{_SIZE}",
    f"+{_PREPARE};dc2;dch,-f;map,-B,0.9,-D,{{0}};topo;{_SIZE}",
)
FAMILIES = {
    "xilinx": "synth_xilinx -family xcup -flatten -noiopad -nodsp -nobram",
    "ecp5": "synth_ecp5 -nodsp -nobram",
}


class Register(wiring.Component):
    """A register with a clock enable: what stands between the decoders and the array."""

    def __init__(self, width: int) -> None:
        super().__init__({"enable": In(1), "d": In(width), "q": Out(width)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        with m.If(self.enable):
            m.d.sync += self.q.eq(self.d)
        return m


def components() -> Iterator[tuple[str, int | None, wiring.Component]]:
    """Yield name, accumulator bits (None: it has none to vary) and component."""
    yield "int8_mac", None, IntegerMac(width=8, accumulator=32)
    yield "register_32", None, Register(32)
    yield "drain_256", None, Drain(rows=4, columns=4, width=16)
    yield "sequencer", None, Sequencer(tiling=Tiling(column_tiles=8, groups=2, group_chunks=32, steps=2))
    yield "dialect_decoder", None, DialectDecoder()
    for exponents in ((14, 14), (8, 20)):
        widths = dialect_widths(SHORT_K, DIALECT_BLOCK, exponents)
        yield "dialect_pe", widths.accumulator, DialectPE(widths=widths, lanes=LANES)
    for name, kind in weight_types().items():
        yield f"bitmod_term_{name}", None, BitModTermDecoder(weight_type=kind)
        for scaled in (False, True):
            if kind.magnitudes and not scaled:
                continue  # BitMoD's floating-point weights always have group scales
            for k in (SHORT_K, LONG_K):
                widths = bitmod_widths(name, k, GROUP if scaled else None, LANES)
                suffix = "scaled" if scaled else "plain"
                pe = BitSerialPE(weight_type=kind, widths=widths, lanes=LANES, scaled=scaled)
                yield f"bitmod_pe_{name}_{suffix}", widths.accumulator, pe


class Yosys:
    """Runs yosys passes in this process and reads their logs."""

    def __init__(self) -> None:
        try:
            from pyosys import libyosys
        except ImportError:
            raise MissingToolError("synthesis needs pyosys: pip install 'mxhw[synth]'") from None
        self._yosys = libyosys

    def run(self, commands: list[str], folder: Path) -> str:
        """Run commands on an empty design; return the log of everything."""
        log = folder / "log.txt"
        design = self._yosys.Design()
        log.unlink(missing_ok=True)
        for command in commands:
            self._yosys.run_pass(f"tee -q -a {log} {command}", design)
        return log.read_text(encoding="utf-8", errors="replace")


def read_command(component: wiring.Component, folder: Path) -> str:
    """Write a component as module "top"; return the command that reads it."""
    source = folder / "top.il"
    source.write_text(rtlil.convert(component, name="top"), encoding="utf-8")
    return f"read_rtlil {source}"


def synthesize_asic(yosys: Yosys, read: str, liberty: list[Path], clock: int, folder: Path) -> dict[str, Any]:
    """Return size [um2], delay [ps] and flip-flops of "top": the smallest in time of several tries, with the spread."""
    libraries = " ".join(f"-liberty {path}" for path in liberty)
    results = []
    for script, target in product(SCRIPTS, (clock, 4 * clock)):
        log = yosys.run(
            [
                read,
                "synth -flatten -top top",
                *(f"dfflibmap -liberty {path}" for path in liberty if _has_flip_flops(path)),
                f"abc {libraries} -script {script.format(target)}",
                "opt_clean -purge",
                f"stat {libraries}",
            ],
            folder,
        )
        area = float(re.findall(r"Chip area for (?:top )?module .*?: *([0-9.]+)", log)[-1])
        delays = re.findall(r"Delay = *([0-9.]+) ps", log)
        results.append((area, float(delays[-1]) if delays else 0.0, _flip_flops(log)))
    in_time = [result for result in results if result[1] <= clock]
    size, delay, flip_flops = min(in_time) if in_time else min(results, key=lambda result: result[1])
    areas = [area for area, *_ in results]
    spread = max(areas) / min(areas) - 1
    return {"size": size, "delay": delay, "flip_flops": flip_flops, "spread": round(spread, 3)}


def synthesize_fpga(yosys: Yosys, read: str, family: str, folder: Path) -> dict[str, Any]:
    """Return LUTs and flip-flops."""
    log = yosys.run([read, f"{FAMILIES[family]} -top top", "stat"], folder)
    counts = _cells(log)
    luts = sum(n for cell, n in counts.items() if re.fullmatch(r"LUT[1-6]|INV", cell)) + 2 * counts.get("CCU2C", 0)
    flops = sum(n for cell, n in counts.items() if re.match(r"FD[RSCP]E|TRELLIS_FF", cell))
    return {"size": float(luts), "delay": None, "flip_flops": flops, "spread": None}


def _cells(log: str) -> dict[str, int]:
    """Return the cells of the last `stat` in a log."""
    last = log[log.rindex("Printing statistics") :]
    return {name: int(n) for n, name in re.findall(r"^\s+(\d+)\s+(?:[0-9.eE+-]+\s+)?([\w$]+)\s*$", last, re.MULTILINE)}


def _flip_flops(log: str) -> int:
    return sum(n for cell, n in _cells(log).items() if re.search(r"dff|DFF|sdf|dfrb|dlh", cell))


def _has_flip_flops(path: Path) -> bool:
    return "SEQ" in path.name or not path.name.startswith("asap7")


def unpacked(source: Path, folder: Path) -> list[Path]:
    """Return liberty files as plain text."""
    files = sorted(source.glob("*.lib*")) if source.is_dir() else [source]
    if not files or not all(file.is_file() for file in files):
        raise InputError(f"no liberty file at {source}; give a .lib or .lib.gz file, or a folder of them")
    plain = []
    for file in files:
        if file.suffix == ".gz":
            plain.append(folder / file.stem)
            plain[-1].write_bytes(gzip.decompress(file.read_bytes()))
        else:
            plain.append(file.resolve())
    return plain


def _merge(entries: dict[str, list[tuple[int | None, dict[str, Any]]]]) -> dict[str, Any]:
    """Turn the sizes at two accumulator widths into a size and a price per bit."""
    merged = {}
    for name, runs in entries.items():
        bits, entry = runs[0]
        slope = 0.0
        if len(runs) > 1:
            (low, first), (high, second) = runs[0], runs[-1]
            slope = (second["size"] - first["size"]) / (high - low)
        # A negative price of a bit is the noise of synthesis.
        merged[name] = {**entry, "accumulator_bits": bits, "per_accumulator_bit": round(max(slope, 0.0), 4)}
    return merged


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--liberty", action="append", default=[], metavar="NAME=PATH", help="an ASIC library")
    parser.add_argument("--family", action="append", default=[], choices=sorted(FAMILIES), help="an FPGA family")
    parser.add_argument("--out", type=Path, default=TABLE)
    arguments = parser.parse_args()
    yosys = Yosys()
    table = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.exists() else {"libraries": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jobs: dict[str, list[Path]] = {family: [] for family in arguments.family}
        for item in arguments.liberty:
            library, _, path = item.partition("=")
            jobs[library] = unpacked(Path(path), folder)
        for library, liberty in jobs.items():
            entries: dict[str, list[tuple[int | None, dict[str, Any]]]] = {}
            for component_name, bits, component in components():
                read = read_command(component, folder)
                if liberty:
                    entry = synthesize_asic(yosys, read, liberty, CLOCKS.get(library, 10000), folder)
                else:
                    entry = synthesize_fpga(yosys, read, library, folder)
                entries.setdefault(component_name, []).append((bits, entry))
                print(library, component_name, bits, entry, file=sys.stderr)
            table["libraries"][library] = {
                "origin": ORIGINS.get(library, "given by the user"),
                "tool": "yosys (pyosys), bench/synth_area.py",
                "unit": "um2" if liberty else "LUT",
                "components": _merge(entries),
            }
    write_text(arguments.out, json.dumps(table, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
