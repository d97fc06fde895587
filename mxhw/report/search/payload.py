"""What the page's script reads: the record's numbers with what pictures need beside them, as one JSON object.

Names and texts of a model or a user stay text: the script writes them as text, and the JSON cannot end its element.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import permutations
from typing import Any, Literal

from mxhw.report.search.curves import band, front_of_pair
from mxhw.report.search.record import SearchReport, Trial

__all__ = ["OPERANDS", "colours", "embedded", "format_summary", "page_data"]

_COLOURS = {
    "uniform": "#7d7d8c",
    "greedy": "#c9971c",
    "milp": "#d1603d",
    "mixed": "#b5479a",
    "tpe": "#1f6f8b",
    "nsga2": "#7a4fb5",
    "random": "#8fb3c2",
    "qmc": "#3f8f4f",
    "guided": "#8ab02e",
    "hybrid": "#2b2b2b",
}
_OTHER_COLOURS = ("#5b6f9e", "#2f9e9e", "#8a5a44")
OPERANDS = {"weight": "weight", "input": "input", "lhs": "left", "rhs": "right", "cache": "KV cache"}
_LAYER = re.compile(r"^(?P<layer>(?:.*\.)?\d+)\.(?P<part>.+)$")
_OUTSIDE = "outside"  # column of what is in no layer


def page_data(report: SearchReport) -> dict[str, Any]:
    """Return the JSON object; every number of the record is in it, formats of each site for front and choice only."""
    shown = {*report.front, *([] if report.chosen is None else [report.chosen.number])}
    record = report.model_dump(
        mode="json", include={"objectives", "constraints", "units", "front", "reference", "hypervolume", "importance"}
    )
    return {
        **record,
        "chosen": None if report.chosen is None else report.chosen.number,
        "trials": [_trial(trial) for trial in report.trials],
        "pairs": {f"{x} {y}": front_of_pair(report, x, y) for x, y in permutations(range(len(report.objectives)), 2)},
        "designs": {str(number): _design(report, report.trial(number)) for number in sorted(shown)},
        "map": _map(site for number in shown for site in report.trial(number).formats),
        "sensitivity": [table.model_dump(mode="json") for table in report.sensitivity],
        "comparison": _comparison(report),
        "colours": colours(trial.source for trial in report.trials),
    }


def format_summary(formats: Mapping[str, str]) -> list[str]:
    """Return a line an operand: how many of its sites have which format, the most frequent first."""
    counts: dict[str, Counter[str]] = {}
    for site, name in formats.items():
        counts.setdefault(site.rpartition(":")[2], Counter())[name] += 1
    return [
        f"{OPERANDS.get(operand, operand)}: "
        + ", ".join(f"{name} ×{number}" if number > 1 else name for name, number in found.most_common())
        for operand, found in counts.items()
    ]


def colours(names: Iterable[str]) -> dict[str, str]:
    """Return a colour by name of who proposes, or of a strategy: known ones first and always the same."""
    given = dict.fromkeys(names)
    others = [name for name in given if name not in _COLOURS]
    known = {name: colour for name, colour in _COLOURS.items() if name in given}
    return known | {name: _OTHER_COLOURS[i % len(_OTHER_COLOURS)] for i, name in enumerate(others)}


def embedded(data: Mapping[str, Any]) -> str:
    """Return JSON that may stand in a script element."""
    return json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _trial(trial: Trial) -> dict[str, Any]:
    row = trial.model_dump(mode="json", exclude={"formats", "bits", "assignment", "parameters"})
    return {**row, "summary": format_summary(trial.formats)}


def _design(report: SearchReport, trial: Trial) -> dict[str, Any]:
    """Return what the map and the download of a design need; bits are the true ones where they were counted."""
    nominal = report.format_bits
    file = "" if trial.assignment is None else json.dumps(trial.assignment, indent=1) + "\n"
    return {
        "formats": trial.formats,
        "bits": {site: trial.bits.get(site, nominal.get(name)) for site, name in trial.formats.items()},
        "parameters": trial.parameters,
        "file": file,
    }


def _map(sites: Iterable[str]) -> dict[str, Any]:
    """Return rows (part of a layer and operand), columns (layers), and the place of every site."""
    cells: dict[str, tuple[str, str]] = {}
    for site in sites:
        node, _, operand = site.rpartition(":")
        found = _LAYER.match(node)
        layer, part = (found["layer"], found["part"]) if found else (_OUTSIDE, node)
        cells[site] = (f"{part} {OPERANDS.get(operand, operand)}", layer)
    ordered = sorted(cells.values(), key=lambda cell: cell[1] == _OUTSIDE)  # stable: parts of layers come first
    rows = list(dict.fromkeys(row for row, _ in ordered))
    columns = sorted({column for _, column in cells.values()}, key=_by_layer)
    places = {site: (rows.index(row), columns.index(column)) for site, (row, column) in cells.items()}
    return {"rows": rows, "columns": columns, "cells": places, "titles": _short(columns)}


def _by_layer(name: str) -> tuple[bool, str, int]:
    stem, _, number = name.rpartition(".")
    return (name == _OUTSIDE, stem, int(number)) if number.isdigit() else (name == _OUTSIDE, name, 0)


def _short(columns: list[str]) -> list[str]:
    """Return layers by their number where one stem is all that they share."""
    stems = {column.rpartition(".")[0] for column in columns if column != _OUTSIDE}
    return [column.rpartition(".")[2] if len(stems) == 1 else column for column in columns]


def _comparison(report: SearchReport) -> dict[str, Any] | None:
    if report.comparison is None:
        return None
    strategies = report.comparison.strategies
    colour = colours(strategy.name for strategy in strategies)
    axes: tuple[Literal["trials", "seconds"], ...] = ("trials", "seconds")
    return {
        axis: [{**asdict(band(strategy, axis)), "colour": colour[strategy.name]} for strategy in strategies]
        for axis in axes
    }
