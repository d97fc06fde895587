"""From what a search knows, as plain values, to its record: completed, checked, and no larger than it need be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

import mxhw
from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.report.search.record import SearchReport

__all__ = ["format_bits", "search_report"]

_SHAPE = (128, 128)  # long enough for the blocks of every format that mxhw has


def search_report(
    *,
    model: str,
    objectives: Sequence[Mapping[str, Any]],
    trials: Iterable[Mapping[str, Any]],
    front: Sequence[int],
    chosen: tuple[int, str] | None,
    command: str = "",
    config: Mapping[str, Any] | None = None,
    fingerprint: Mapping[str, Any] | None = None,
    constraints: Mapping[str, tuple[float, str]] | None = None,
    units: Mapping[str, str] | None = None,
    reference: Sequence[float] = (),
    hypervolume: Sequence[float] = (),
    sensitivity: Sequence[Mapping[str, Any]] = (),
    importance: Mapping[str, Mapping[str, float]] | None = None,
    comparison: Mapping[str, Any] | None = None,
    seconds: Mapping[str, float] | None = None,
) -> SearchReport:
    """Return the record of a search.

    Parameters
    ----------
    objectives : sequence of {"name", "direction", "unit"}
        Direction "minimize" unless given; the unit may be left out.
    trials : iterable of mappings
        Fields of :class:`mxhw.report.search.Trial`, in the order in which they finished. A trial with an `assignment`
        needs no `formats`. Assignments are kept for the front and the chosen design only.
    front : sequence of int
        Numbers of the trials that no complete one dominates.
    chosen : (number, reason), optional
    constraints : mapping of name to (limit, "<=" or ">="), optional
    units : mapping of a figure's name to its unit, optional
    hypervolume : sequence of float
        After each trial, in their order, measured from `reference`.
    sensitivity : sequence of {"metric", "units", "candidates", "losses", "spearman", "kendall"}
    importance : mapping of objective to {parameter: share}, optional
    comparison : mapping, optional
        {"strategies": [{"name", "curves": [{"seed", "trials", "seconds", "hypervolume", "best"}]}], "best_of",
        "direction"}, as :class:`mxhw.report.search.Comparison`.
    seconds : mapping of stage to seconds, optional

    Raises
    ------
    pydantic.ValidationError
        If the values contradict each other: a front design that is dominated or infeasible, a missing value.
    """
    kept = {*front, *(chosen or ())[:1]}
    rows = [_trial(trial, keep=trial["number"] in kept) for trial in trials]
    return SearchReport.model_validate(
        {
            "mxhw": mxhw.__version__,
            "command": command,
            "config": dict(config or {}),
            "model": model,
            "fingerprint": dict(fingerprint or {}),
            "objectives": objectives,
            "constraints": {
                name: {"limit": limit, "sense": sense} for name, (limit, sense) in (constraints or {}).items()
            },
            "units": dict(units or {}),
            "trials": rows,
            "format_bits": format_bits(name for row in rows for name in row["formats"].values()),
            "front": front,
            "chosen": None if chosen is None else {"number": chosen[0], "reason": chosen[1]},
            "reference": reference,
            "hypervolume": hypervolume,
            "sensitivity": sensitivity,
            "importance": importance or {},
            "comparison": comparison,
            "seconds": dict(seconds or {}),
        }
    )


def format_bits(names: Iterable[str]) -> dict[str, float]:
    """Return bits an element of a 128 × 128 tensor by format name; formats that do not fit that shape are left out."""
    bits = {}
    for name in sorted(set(names)):
        try:
            bits[name] = parse_format(name).bits(_SHAPE) / prod(_SHAPE)
        except InputError:
            continue
    return bits


def _trial(trial: Mapping[str, Any], *, keep: bool) -> dict[str, Any]:
    """Return a trial with the formats of its assignment, which stays only where it is kept."""
    assignment = trial.get("assignment")
    formats = trial.get("formats") or (assignment or {}).get("formats", {})
    return {**trial, "formats": formats, "assignment": assignment if keep else None}
