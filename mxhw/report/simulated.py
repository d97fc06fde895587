"""What simulation found, as parts of a page: single layers, and whole designs with their components."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mxhw.report.markup import escape, table
from mxhw.report.results import StepRow
from mxhw.sim.dataflow import DataflowDesign

__all__ = ["block_table", "cosim_parts", "cosim_verdict", "design_steps"]

_LAYER_COLUMNS = (
    "layer",
    "unit",
    "weights",
    "inputs",
    "outputs compared",
    "mismatches",
    "cycles without stalls (predicted)",
    "cycles with stalls",
)
_DESIGN_COLUMNS = (
    "design",
    "components",
    "beats compared",
    "different",
    "cycles without stalls (predicted)",
    "cycles with stalls",
    "first difference",
)


def cosim_verdict(cosim: Mapping[str, Any] | None, family: str | None = None) -> str:
    """Return ``yes``, ``no`` or ``not simulated`` for all layers and designs, or for those of one family."""
    cosim = cosim or {}
    good = [
        case["mismatches"] == 0 and case["outputs"] > 0 and case["error"] is None
        for case in cosim.get("cases", [])
        if family in (None, case["unit"])
    ]
    good += [design["equal"] for design in cosim.get("designs", []) if family in (None, design["name"])]
    if not good:
        return "not simulated"
    return "yes" if all(good) else "no"


def cosim_parts(cosim: Mapping[str, Any] | None) -> list[str]:
    """Return the paragraphs and tables about a co-simulation."""
    verdict = cosim_verdict(cosim)
    if cosim is None or verdict == "not simulated":
        return ["<p>Not simulated yet.</p>"]
    words = {
        "yes": f"All {cosim['outputs']:,} outputs of the simulated RTL equal the software, bit for bit.",
        "no": f"{cosim['mismatches']:,} of {cosim['outputs']:,} outputs differ from the software.",
    }
    parts = [f"<p class='{verdict}'>{words[verdict]}</p>"]
    if cosim.get("designs"):
        parts.append("<p>An output is a beat of a stream; those of every component are compared.</p>")
        parts.append(table(list(_DESIGN_COLUMNS), [_design_row(design) for design in cosim["designs"]]))
    if cosim.get("cases"):
        parts.append(table(list(_LAYER_COLUMNS), [_layer_row(case) for case in cosim["cases"]]))
    return parts


def block_table(steps: Iterable[StepRow]) -> str:
    """Return the components of a block: parallelism, cycles a token, FIFOs."""
    rows = [
        [
            step.name,
            step.kind,
            " ".join(f"{name}={value}" for name, value in step.parallelism.items()),
            f"{step.interval:,}",
            " ".join(f"{depth:,}" for depth in step.fifo.values()),
        ]
        for step in steps
    ]
    return table(["node", "component", "parallelism", "cycles a token", "FIFO"], rows)


def design_steps(design: DataflowDesign) -> tuple[StepRow, ...]:
    """Return the components of an emitted design."""
    return tuple(
        StepRow(name=step.name, kind=step.kind, parallelism=step.parallelism, interval=step.interval, fifo=step.fifo)
        for step in design.steps
    )


def _layer_row(case: Mapping[str, Any]) -> list[str]:
    return [
        case["node"],
        case["unit"],
        case["format"],
        case["input_format"],
        f"{case['outputs']:,}",
        f"{case['mismatches']:,}",
        f"{_count(case['cycles_stall_free'])} ({_count(case['cycles_stall_free_predicted'])})",
        _count(case["cycles"]),
    ]


def _design_row(design: Mapping[str, Any]) -> list[str]:
    free, stalled = design["free"], design["stalled"]
    wrong = next((run["first"] for run in (free, stalled) if not run["equal"]), None)
    return [
        design["name"],
        f"{len(free['steps'])}",
        f"{free['beats']:,}",
        f"{free['different'] + stalled['different']:,}",
        f"{_count(free['cycles'])} ({_count(free['predicted_cycles'])})",
        _count(stalled["cycles"]),
        "none" if design["equal"] else escape(str(wrong or free["error"] or stalled["error"])),
    ]


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
