"""Measure what the cost model reads: `pe_area.json` and `unit_sizes.json` in `mxhw/hardware/data`.

    python -m mxhw.synthesis.table --liberty ../shared/liberty [--target asap7] [--only 'bitmod_*'] [--jobs 2]

Targets: `generic` (yosys' cells, NAND2), the cell libraries ASAP7 and IHP SG13G2, the FPGA families. What has been
measured of the same RTL with the same tools is kept, so that an interrupted run goes on where it stopped, and a change
of one unit costs one unit; the files are written after every result. Entries that are no longer in the library of
hardware are dropped by a run that covers all of a target.

The first file has parts and the catalogue's units, each measured with all scripts; the second one the points of
:mod:`.grid`, measured with one script (:mod:`.points`), and what :mod:`.fit` makes of them.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from time import perf_counter
from typing import Any

from mxhw.errors import InputError, nearest
from mxhw.files import write_text
from mxhw.synthesis.asic import RECIPES, count_gates, map_to_cells
from mxhw.synthesis.fit import fit_file
from mxhw.synthesis.fpga import FAMILIES, clock_wrapper
from mxhw.synthesis.liberty import Library, open_library
from mxhw.synthesis.measure import resources_on, tool_versions
from mxhw.synthesis.parts import Part, all_parts
from mxhw.synthesis.points import LIBRARIES, SIZES, SizeFile, drop_other_points, measure_points
from mxhw.synthesis.yosys import Source, source_of

__all__ = ["TARGETS", "Job", "Target", "main", "plan", "run"]

TABLE = Path(__file__).resolve().parent.parent / "hardware" / "data" / "pe_area.json"
_DIGEST_DIGITS = 16


@dataclass(frozen=True)
class Target:
    """What sizes are measured in.

    Attributes
    ----------
    name : of its part of the table.
    origin : where the cells come from, and under which licence.
    unit : of sizes.
    liberty : file or folder below the folder of libraries, if it is a cell library.
    clock : ps, the clock of the platform that it is for.
    """

    name: str
    origin: str
    unit: str
    liberty: str | None = None
    clock: float | None = None


TARGETS = {
    target.name: target
    for target in (
        Target("generic", "yosys' own cells (synth -flatten), whatever the technology", "cells"),
        Target(
            "asap7",
            "ASAP7 7.5-track RVT, slow corner, Arizona State University, BSD-3-Clause",
            "um2",
            "asap7",
            2000,
        ),
        Target(
            "sg13g2",
            "IHP SG13G2 130 nm, typical corner, IHP PDK Authors, Apache-2.0",
            "um2",
            "sg13g2_typ.lib.gz",
            10000,
        ),
        *(
            Target(family.name, f"{family.description}: LUTs as yosys counts them, without DSP blocks", "LUT")
            for family in FAMILIES.values()
        ),
    )
}


@dataclass(frozen=True)
class Job:
    """One part on one target: sources with their accumulator bits, and what a result is kept by."""

    target: Target
    part: Part
    sources: tuple[tuple[int | None, Source, Source | None], ...]
    digest: str


def plan(targets: list[Target], only: str, kept: dict[str, Any]) -> Iterator[Job]:
    """Yield what is to be measured: parts whose name fits ``only`` and that ``kept`` does not have as they are now."""
    for part in all_parts():
        if not fnmatchcase(part.name, only):
            continue
        sources = [source_of(make()) for _, make in part.variants]
        for target in targets:
            described = [_tools(target), asdict(target), RECIPES, *(source.text for source in sources)]
            digest = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:_DIGEST_DIGITS]
            entry = kept.get(target.name, {}).get(part.section, {}).get(part.name, {})
            if entry.get("digest") != digest:
                with_clock = target.name in FAMILIES and FAMILIES[target.name].has_clock
                triples = tuple(
                    (bits, source, clock_wrapper(make()) if with_clock else None)
                    for (bits, make), source in zip(part.variants, sources, strict=True)
                )
                yield Job(target, part, triples, digest)


def _tools(target: Target) -> str:
    """Return the versions of the tools that a target's figures come from."""
    return ", ".join(tool_versions([FAMILIES[target.name]] if target.name in FAMILIES else []).values())


def run(job: Job, libraries: dict[str, Library]) -> dict[str, Any]:
    """Measure a job; return its entry of the table."""
    with tempfile.TemporaryDirectory(prefix="mxhw-table-") as scratch:
        entries = [
            (bits, _entry(job.target, source, routed, Path(scratch), libraries)) for bits, source, routed in job.sources
        ]
    bits, entry = entries[0]
    slope = 0.0
    if len(entries) > 1:
        (low, first), (high, second) = entries[0], entries[-1]
        assert low is not None and high is not None
        # A negative price of a bit is the noise of synthesis.
        slope = max(0.0, (second["size"] - first["size"]) / (high - low))
    entry |= {"accumulator_bits": bits, "per_accumulator_bit": round(slope, 4)}
    if memory_bits := job.sources[0][1].memory_bits:
        entry["memory_bits"] = memory_bits
    if job.part.parameters:
        entry["parameters"] = job.part.parameters
    return entry | {"digest": job.digest}


def _entry(
    target: Target, source: Source, routed: Source | None, folder: Path, libraries: dict[str, Library]
) -> dict[str, Any]:
    """Return the figures of one design on one target."""
    if target.name in libraries:
        cell = map_to_cells(source, libraries[target.name], folder, target.clock)
        return {"size": cell.area, "delay": cell.delay, "flip_flops": cell.flip_flops, "spread": cell.spread}
    if target.name in FAMILIES:
        pair = resources_on(source, routed, FAMILIES[target.name], folder)
        figures = [
            {"size": r.lut_sites, "flip_flops": r.flip_flops, "carry": r.carry, "dsp": r.dsp, "clock": r.clock}
            for r in (pair.without_dsp, pair.with_dsp)
            if r is not None
        ]
        return {**figures[0], "with_dsp": figures[1] if pair.with_dsp else None}
    gates = count_gates(source, folder)
    return {"size": gates.cells, "flip_flops": gates.flip_flops, "nand2": gates.nand2, "transistors": gates.transistors}


class _Table:
    """The file, written again after every result."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.libraries: dict[str, Any] = {}
        if path.exists():
            self.libraries = json.loads(path.read_text(encoding="utf-8"))["libraries"]

    def put(self, job: Job, entry: dict[str, Any]) -> None:
        """Store an entry."""
        column = self.libraries.setdefault(job.target.name, {})
        column |= {"origin": job.target.origin, "tool": _tools(job.target), "unit": job.target.unit}
        column.setdefault(job.part.section, {})[job.part.name] = entry
        self.write()

    def drop_others(self, targets: list[Target]) -> None:
        """Drop the entries of parts that there are no longer."""
        known = {(part.section, part.name) for part in all_parts()}
        for target in targets:
            column = self.libraries.get(target.name, {})
            for section in ("components", "units"):
                entries = column.get(section, {})
                for name in [name for name in entries if (section, name) not in known]:
                    del entries[name]

    def write(self) -> None:
        """Write the file."""
        order = [name for name in TARGETS if name in self.libraries]
        text = json.dumps({"libraries": {name: self.libraries[name] for name in order}}, indent=1)
        write_text(self._path, text + "\n")


def _chosen(names: list[str], liberty: Path | None) -> list[Target]:
    for name in names:
        if name not in TARGETS:
            raise InputError(f"there is no target {name!r}; there are {', '.join(TARGETS)}{nearest(name, TARGETS)}")
    targets = [TARGETS[name] for name in names or TARGETS]
    if liberty is None and any(target.liberty for target in targets):
        needing = ", ".join(target.name for target in targets if target.liberty)
        raise InputError(f"--liberty is needed for {needing}: the folder that holds the cell libraries")
    return targets


def _work(
    jobs: list[Job], libraries: dict[str, Library], table: _Table, workers: int, say: Callable[[str], None]
) -> int:
    """Run the jobs on some processes of yosys; return how many failed."""
    failed = 0
    with ThreadPoolExecutor(workers) as pool:
        start = perf_counter()
        waiting: dict[Future[dict[str, Any]], Job] = {pool.submit(run, job, libraries): job for job in jobs}
        try:
            for count, future in enumerate(as_completed(waiting), 1):
                job = waiting[future]
                label = f"[{count}/{len(jobs)}, {perf_counter() - start:.0f} s] {job.target.name} {job.part.name}"
                try:
                    entry = future.result()
                except InputError as error:
                    failed += 1
                    say(f"{label}: FAILED: {error}")
                    continue
                table.put(job, entry)
                say(f"{label}: {entry['size']:g} {job.target.unit}")
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise
    return failed


def _points(
    path: Path, targets: list[Target], libraries: dict[str, Library], only: str, say: Callable[[str], None]
) -> int:
    """Measure the points that are missing and fit sizes to them; return how many failed."""
    chosen = [(each.name, libraries.get(each.name), each.clock) for each in targets if each.name in LIBRARIES]
    if not chosen:
        return 0
    sizes = SizeFile(path)
    failed = measure_points(sizes, chosen, lambda point: fnmatchcase(point.label, only), say)
    if only == "*":
        drop_other_points(sizes, [name for name, _, _ in chosen])
    fit_file(sizes)
    sizes.write()
    return failed


def main(arguments: list[str] | None = None) -> int:
    """Measure what is missing; 0 if all of it could be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--liberty", type=Path, help="the folder that holds the cell libraries")
    parser.add_argument("--target", action="append", default=[], help=f"{', '.join(TARGETS)}; default: all")
    parser.add_argument("--only", default="*", metavar="GLOB", help="only entries of these names; others are kept")
    parser.add_argument("--again", action="store_true", help="measure also what has not changed")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=TABLE)
    parser.add_argument("--sizes", type=Path, help=f"default: {SIZES.name} beside the other file")
    given = parser.parse_args(arguments)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    targets, table = _chosen(given.target, given.liberty), _Table(given.out)
    with tempfile.TemporaryDirectory(prefix="mxhw-liberty-") as scratch:
        libraries = {
            target.name: open_library(given.liberty / target.liberty, Path(scratch) / target.name)
            for target in targets
            if target.liberty
        }
        jobs = list(plan(targets, given.only, {} if given.again else table.libraries))
        say(f"{len(jobs)} entries to measure")
        failed = _work(jobs, libraries, table, given.jobs, say)
        failed += _points(given.sizes or given.out.with_name(SIZES.name), targets, libraries, given.only, say)
    if given.only == "*":
        table.drop_others(targets)
        table.write()
    return int(failed > 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; what was measured is kept")
