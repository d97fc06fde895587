"""From what passes found to the rows of a report: designs, their points and their nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from mxhw.flow.prepare import Prepared
from mxhw.ir import Assignment
from mxhw.ir.cache import CACHE
from mxhw.passes.analysis import Quality, evaluate_hardware
from mxhw.passes.analysis.ledger import site_bits
from mxhw.passes.search import Choice, TrialRecord
from mxhw.report.results import CHOSEN, Design, DesignPoint, NodeRow, QualityRow

__all__ = ["assignment_file", "design", "family", "point", "quality_row"]


def family(record: TrialRecord) -> str:
    """Return the family of processing elements of a trial's design."""
    return str(record.assignment.notes["family"])


def assignment_file(name: str) -> str:
    """Return the file name of a design's assignment."""
    return "assignment.json" if name == CHOSEN else f"assignment-{name}.json"


def quality_row(quality: Quality) -> QualityRow:
    """Return a quality as the report's record."""
    return QualityRow(
        perplexity=quality.perplexity,
        kl=quality.kl,
        top1=quality.agreement,
        tokens=quality.tokens,
        bits_per_byte=quality.bits_per_byte,
    )


def point(record: TrialRecord, *, on_front: bool, test: QualityRow | None) -> DesignPoint:
    """Return a trial as a point; `test` is its quality on the test text, where that was scored."""
    outcome, assignment = record.outcome, record.assignment
    hardware = outcome["hardware"]
    return DesignPoint(
        trial=record.number,
        label=_label(assignment),
        family=family(record),
        rows=assignment.notes["rows"],
        quality=quality_row(Quality(**outcome["quality"])),
        weight_bits=outcome["ledger"]["bits_per_weight"],
        input_bits=outcome["ledger"]["bits_per_input"],
        cycles=hardware["cycles"],
        interval=hardware["interval"],
        area=_area(hardware["resources"]),
        energy=hardware["energy"],
        edp=hardware["edp"],
        on_front=on_front,
        test=test,
    )


def design(
    prepared: Prepared,
    name: str,
    choice: Choice,
    emulated: QualityRow,
    hardware: QualityRow,
    coverage: float,
    arithmetic: Literal["integer", "hardware"],
) -> Design:
    """Return a design that is emitted, with the cost of every node; its block is not known yet."""
    record, assignment = choice.record, choice.record.assignment
    cost = evaluate_hardware(prepared.graph, assignment, prepared.platform, prepared.config.platform.sequence)
    return Design(
        name=name,
        family=family(record),
        trial=record.number,
        reason=choice.reason,
        assignment=assignment_file(name),
        emulated=emulated,
        hardware=hardware,
        hardware_coverage=coverage,
        arithmetic=arithmetic,
        weight_bits=record.outcome["ledger"]["bits_per_weight"],
        input_bits=record.outcome["ledger"]["bits_per_input"],
        cycles=cost.cycles,
        interval=cost.interval,
        area=_area(cost.resources),
        area_unit="µm²" if prepared.platform.kind == "asic" else "LUT",
        energy=cost.energy,
        nodes=tuple(_node(prepared, assignment, node, values) for node, values in cost.nodes.items()),
    )


def _node(prepared: Prepared, assignment: Assignment, name: str, values: Mapping[str, Any]) -> NodeRow:
    info, sequence = prepared.graph.nodes[name], prepared.config.platform.sequence
    bits = {}
    for site in info.sites:
        if site.operand == CACHE and site.key not in assignment.formats:
            continue  # a search does not choose it, and a page of designs has nothing to say about it
        stored, elements = site_bits(info, site, assignment, 1, sequence)
        bits[site.operand] = stored / elements
    return NodeRow(
        node=name,
        op=info.op,
        unit=values["unit"],
        formats={site.operand: assignment.formats[site.key] for site in info.sites if site.key in assignment.formats},
        bits=bits,
        array=(values["rows"], values["lanes"] if values["unit"] == "attention" else values["columns"]),
        macs=values["macs"],
        cycles=values["cycles"],
        area=_area(values["resources"]),
        energy=None if values["energy"] is None else sum(values["energy"].values()),
    )


def _area(resources: Mapping[str, float]) -> float:
    return float(resources["area"] if "area" in resources else resources.get("lut", 0.0))


def _label(assignment: Assignment) -> str:
    """Return the weight formats of a design with how many layers have each, and its rows."""
    counts: dict[str, int] = {}
    for key, name in assignment.formats.items():
        if key.endswith(":weight"):
            counts[name] = counts.get(name, 0) + 1
    kinds = ", ".join(name if len(counts) == 1 else f"{count}× {name}" for name, count in sorted(counts.items()))
    return f"{kinds}; {assignment.notes['rows']} rows"
