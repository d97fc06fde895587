"""Sizes of a component in gates: technology-free counts, and area and delay in a cell library.

abc is heuristic: the same netlist comes out some ten percent larger or smaller with another script or delay target. A
component is therefore mapped several times; the best result counts, and the spread is reported with it. Figures of
different components closer than their spreads do not rank them. Not done: wires, placement, clock tree, sizing for
fan-out beyond a unit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from mxhw.errors import InputError
from mxhw.synthesis.liberty import Library
from mxhw.synthesis.yosys import Source, YosysError, run_yosys, statistics

__all__ = ["ONCE", "RECIPES", "CellArea", "GateCount", "count_gates", "map_once", "map_to_cells"]

_MEMORIES = frozenset({"mxhw_rom", "mxhw_ram", "mxhw_queue", "$anyseq"})  # the last is where a queue was cut out
_PREPARE = "strash;&get,-n;&fraig,-x;&put;scorr;dc2;strash"
_SHRINK = (
    "balance,-l;resub,-K,6,-l;rewrite,-l;resub,-K,6,-N,2,-l;refactor,-l;resub,-K,8,-l;balance,-l;resub,-K,8,-N,2,-l;"
    "rewrite,-l;resub,-K,10,-l;rewrite,-z,-l;resub,-K,10,-N,2,-l;balance,-l;resub,-K,12,-l;refactor,-z,-l;"
    "resub,-K,12,-N,2,-l;rewrite,-z,-l;balance,-l"
)  # abc's alias compress2rs, which is not defined there
_SIZE = "buffer,-c;upsize,-D,{0};dnsize,-D,{0};stime,-p"
RECIPES = {  # abc scripts; {0}: delay target [ps]
    "nf": f"+{_PREPARE};&get,-n;&dch,-f;&nf,-D,{{0}};&put;{_SIZE}",
    "map": f"+{_PREPARE};dc2;dch,-f;map,-B,0.9,-D,{{0}};topo;{_SIZE}",
    "amap": f"+strash;ifraig;scorr;dc2;strash;{_SHRINK};{_SHRINK};dch;amap;topo;{_SIZE}",
    "amap -F": f"+strash;ifraig;scorr;dc2;strash;{_SHRINK};{_SHRINK};dch;amap,-F,5,-A,20,-C,2000;topo;{_SIZE}",
}
ONCE = {  # those of `map_once`
    "amap -F": RECIPES["amap -F"].replace("ifraig;", "", 1),
    "nf": f"+strash;scorr;dc2;strash;&get,-n;&dch,-f;&nf,-D,{{0}};&put;{_SIZE}",
}
_WIRES = "buffer,-c"  # counts a net's wires by the loads that a library states for the area of the whole design
_MOST_BUFFERS = 0.1
"""Buffers of all cells of a result above which it is made without wire loads, too. Those that the cell library of
SG13G2 states for large areas make abc put a buffer behind every gate of an array of 4 by 8: half of its cells, where an
array of 2 by 4 has 5 %. The library of ASAP7 states none."""
_RELAXED = 1_000_000.0  # ps: a target that binds nothing
_LOOSER = 4.0  # the second target, in clocks
_TIGHTER = 0.5  # without a clock: the second target, in delays of the smallest result
_FLIP_FLOP = re.compile(r"\$_\w*(DFF|DLATCH|SR_|FF_)")
_BUFFER = re.compile(r"(^|_)buf", re.IGNORECASE)
_DELAY = re.compile(r"Delay = *([0-9.]+) ps")


@dataclass(frozen=True)
class GateCount:
    """Technology-free counts, by which designs of different authors can be compared.

    Attributes
    ----------
    cells : of yosys' internal library after `synth -flatten`, flip-flops included.
    flip_flops : bits of state.
    transistors : static CMOS transistors of the combinational cells (`stat -tech cmos`).
    nand2 : two-input NANDs after `abc -g NAND`, beside which there are ``inverters``.
    """

    cells: int
    flip_flops: int
    transistors: int
    nand2: int
    inverters: int


@dataclass(frozen=True)
class CellArea:
    """A component in cells of a library.

    Attributes
    ----------
    area : um2, flip-flops included; the smallest result that meets the clock, or the quickest if none does. Without a
        clock the smallest of all.
    delay : ps, longest combinational path of that result.
    flip_flops : bits of state.
    spread : area of the largest result over that of the smallest, less 1; without a clock, of those results that no
        delay target binds.
    recipe : abc script and delay target [ps] of the result.
    quickest_area, quickest_delay : of the result with the shortest path.
    """

    area: float
    delay: float
    flip_flops: int
    spread: float
    recipe: str
    quickest_area: float
    quickest_delay: float


def count_gates(source: Source, folder: Path) -> GateCount:
    """Count yosys' own cells, CMOS transistors and NAND2 of a design."""
    run_yosys(
        [
            *source.write(folder),
            *source.cut_queues(),
            f"synth -flatten -top {source.name}",
            "tee -o cells.json stat -json",
            "tee -o cmos.json stat -json -tech cmos",
            "abc -g NAND",
            "opt_clean",
            "tee -o nand.json stat -json",
        ],
        folder,
    )
    cells, nands = _cells(statistics(folder, "cells.json")), _cells(statistics(folder, "nand.json"))
    # yosys appends "+" where there are cells (flip-flops) that it knows no transistors of.
    transistors = int(str(statistics(folder, "cmos.json")["estimated_num_transistors"]).rstrip("+"))
    return GateCount(
        sum(cells.values()), _flip_flops(cells), transistors, nands.get("$_NAND_", 0), nands.get("$_NOT_", 0)
    )


def map_to_cells(source: Source, library: Library, folder: Path, clock: float | None = None) -> CellArea:
    """Map a design to the cells of a library with several scripts and delay targets.

    Parameters
    ----------
    clock : ps that the longest path may take; None for the smallest area at any delay.

    Raises
    ------
    InputError
        If the library lacks the cells, a flip-flop for instance.
    """
    targets = [_RELAXED] if clock is None else [clock, _LOOSER * clock]
    flip_flops = _map_registers(source, library, folder)
    results = _tries(library, folder, targets)
    largest, smallest = max(results).area, min(results).area
    spread = round(largest / smallest - 1, 4) if smallest else 0.0
    if clock is None and (delay := min(results).delay) > 0:
        results += _tries(library, folder, [_TIGHTER * delay])
    in_time = [result for result in results if clock is None or result.delay <= clock]
    quickest = min(results, key=lambda result: (result.delay, result.area))
    best = min(in_time) if in_time else quickest
    return CellArea(best.area, best.delay, flip_flops, spread, best.recipe, quickest.area, quickest.delay)


def map_once(source: Source, library: Library, folder: Path, clock: float) -> CellArea:
    """Map a design with one script, or with another one where that misses the clock [ps].

    For many designs whose sizes are compared with each other. The first script is that of "amap -F" without the search
    for equal nodes by simulation (`ifraig`), in which large multipliers spend minutes: its results for a requantizer
    and a product were 0.4 % from those of the whole script, which is usually the one with the smallest results.
    A result that is full of buffers (:data:`_MOST_BUFFERS`) is made once more without wire loads.
    """
    flip_flops = _map_registers(source, library, folder, "-noabc")
    results: list[_Try] = []
    for recipe, script in ONCE.items():
        results += _tries(library, folder, [clock], {recipe: script})
        if results[-1].buffers > _MOST_BUFFERS:
            results += _tries(library, folder, [clock], {f"{recipe}, no wires": script.replace(_WIRES, "buffer")})
        if results[-1].delay <= clock:
            break
    in_time = [result for result in results if result.delay <= clock]
    best = min(in_time) if in_time else min(results, key=lambda result: result.delay)
    return CellArea(best.area, best.delay, flip_flops, 0.0, best.recipe, best.area, best.delay)


@dataclass(frozen=True, order=True)
class _Try:
    area: float
    delay: float
    recipe: str
    buffers: float = 0.0  # of all cells


def _map_registers(source: Source, library: Library, folder: Path, option: str = "") -> int:
    """Write the design with its flip-flops mapped to ``mapped.il``; return how many there are."""
    registers = [
        f"dfflibmap -liberty {file}" for file, has in zip(library.place(folder), library.sequential, strict=True) if has
    ]
    read = (*source.write(folder), *source.cut_queues(), f"synth -flatten {option} -top {source.name}")
    try:
        run_yosys([*read, *registers, "tee -o mapped.json stat -json", "write_rtlil mapped.il"], folder)
    except YosysError as error:
        raise InputError(f"cannot map to library {library.name}: {error.complaint}") from None
    cells = _cells(statistics(folder, "mapped.json"))
    if missing := sorted(name for name in cells if _FLIP_FLOP.match(name)):
        raise InputError(f"library {library.name} has no cell for yosys' {', '.join(missing)}")
    # All logic is still yosys' own.
    return sum(count for name, count in cells.items() if not name.startswith("$"))


def _tries(library: Library, folder: Path, targets: list[float], scripts: Mapping[str, str] = RECIPES) -> list[_Try]:
    """Map the logic of ``mapped.il`` once per script and target."""
    liberty = " ".join(f"-liberty {file}" for file in library.place(folder))
    recipes = [(name, script, target) for (name, script), target in product(scripts.items(), targets)]
    commands = []
    for index, (_, script, target) in enumerate(recipes):
        commands += [
            "design -reset",
            "read_rtlil mapped.il",
            f"tee -o abc{index}.txt abc {liberty} -script {script.format(f'{target:.0f}')}",
            "opt_clean -purge",
            f"tee -o area{index}.json stat -json {liberty}",
        ]
    try:
        run_yosys(commands, folder)
    except YosysError as error:
        raise InputError(f"cannot map to library {library.name}: {error.complaint}") from None
    found = []
    for index, (name, _, target) in enumerate(recipes):
        area = statistics(folder, f"area{index}.json")
        if missing := sorted(cell for cell in _cells(area) if cell.startswith("$")):
            raise InputError(f"library {library.name} has no cell for yosys' {', '.join(missing)}")
        delays = _DELAY.findall((folder / f"abc{index}.txt").read_text(encoding="utf-8", errors="replace"))
        label = f"{name} at {target:.0f} ps" if target != _RELAXED else name
        found.append(_Try(float(area.get("area", 0)), float(delays[-1]) if delays else 0.0, label, _buffers(area)))
    return found


def _cells(statistic: dict[str, Any]) -> dict[str, int]:
    """Return the cells of a design by type, without memories."""
    return {name: int(count) for name, count in statistic["num_cells_by_type"].items() if name not in _MEMORIES}


def _buffers(statistic: dict[str, Any]) -> float:
    """Return the buffers of a mapped design, of all its cells."""
    cells = _cells(statistic)
    return sum(count for name, count in cells.items() if _BUFFER.search(name)) / max(1, sum(cells.values()))


def _flip_flops(cells: dict[str, int]) -> int:
    """Count yosys' own flip-flops and latches."""
    return sum(count for name, count in cells.items() if _FLIP_FLOP.match(name))
