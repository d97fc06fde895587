"""What `mxhw cosim --activity` counts and shows: toggles of whole designs, and what their runs spend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mxhw.cli.console import Output
from mxhw.errors import InputError

if TYPE_CHECKING:
    from mxhw.hardware.activity import RunEnergy
    from mxhw.hardware.energy import EnergyBreakdown

__all__ = ["count_activity", "designs_to_count"]

_NANO = 1e3  # pJ
_LOGIC = "logic"


def designs_to_count(folder: Path, platform: str | None) -> list[Path]:
    """Return the whole designs in a folder.

    Raises
    ------
    InputError
        If there is none, or with a platform: it is not known, or a design does not say what its components are.
    """
    from mxhw.sim.cosim import find_designs
    from mxhw.sim.dataflow_design import is_dataflow_design
    from mxhw.sim.energy import has_structure, platform_of

    found = [path for path in find_designs(folder) if is_dataflow_design(path)]
    if not found:
        raise InputError(f"activity is that of whole designs, of which {folder} holds none; leave --activity out")
    for path in found if platform is not None else []:
        platform_of(path, platform)
        if not has_structure(path):
            raise InputError(f"{path} does not say what its components are, so that it has no energy; emit it again")
    return found


def count_activity(output: Output, folders: list[Path], platform: str | None) -> dict[str, Any]:
    """Write activity.json and energy.json beside designs, show the totals, and return both as records."""
    from mxhw.sim.activity import measure_activity, write_activity
    from mxhw.sim.energy import emitted_energy, has_structure, platform_of, write_energy

    activities, energies = [], []
    for folder in folders:
        found = measure_activity(folder)
        path, total = write_activity(folder, found), found.total
        output.say(
            f"{found.name}: {total.bits:,} register bits toggle {total.rate:.3f} times a cycle each, "
            f"{total.relative:.0%} of what random data would make them; {path} has those of every step"
        )
        activities.append(found.to_json())
        if not has_structure(folder):
            output.say(f"{found.name}: no energy, since the design does not say what its components are")
            continue
        energy = emitted_energy(folder, found, platform_of(folder, platform))
        _show(output, found.name, energy)
        output.say(f"{found.name}: {write_energy(folder, energy)} has the terms of every step")
        energies.append(energy.to_json())
    return {"activity": activities, "energy": energies}


def _show(output: Output, name: str, energy: RunEnergy) -> None:
    rows = [
        [
            step.name,
            step.kind or "fork",
            f"{step.working:,.0f}",
            "–" if step.activity is None else f"{step.activity:.3f}",
            _term(step.assumed, _LOGIC),
            _term(step.measured, _LOGIC),
            _others(step.assumed),
        ]
        for step in energy.steps
    ]
    columns = ["step", "unit", "works, cycles", "toggles", "logic assumed, nJ", "measured, nJ", "memories, nJ"]
    output.table(f"{name} on {energy.platform}: toggles of a register bit in a cycle of work", columns, rows)
    names = dict.fromkeys([*energy.assumed.terms, *sorted(energy.assumed.unknown | energy.measured.unknown)])
    rows = [[term, _term(energy.assumed, term), _term(energy.measured, term)] for term in names]
    rows.append(["total", _total(energy.assumed), _total(energy.measured)])
    output.table(
        f"{name} on {energy.platform}: energy of the run of {energy.cycles:,} cycles, nJ",
        ["term", "activity assumed", "measured"],
        rows,
    )
    stated = energy.activity
    if stated is None:
        output.say(
            f"{energy.platform} states no energy.activity, so that measured toggles have nothing to compare with"
        )
    else:
        output.say(f"assumed: {stated.value:g} toggles of a register bit in a cycle of work ({stated.source})")
    if energy.uncounted:
        output.say(f"without energy, since no record says what they are: {', '.join(energy.uncounted)}")


def _term(found: EnergyBreakdown, name: str) -> str:
    if name in found.unknown:
        known = found.terms.get(name, 0.0)
        return f"at least {known / _NANO:,.4g}" if known else "no figure"
    return f"{found.terms.get(name, 0.0) / _NANO:,.4g}"


def _others(found: EnergyBreakdown) -> str:
    if found.unknown - {_LOGIC}:
        return "no figure"
    return f"{sum(energy for term, energy in found.terms.items() if term != _LOGIC) / _NANO:,.4g}"


def _total(found: EnergyBreakdown) -> str:
    return f"{'' if found.total is not None else 'at least '}{found.known / _NANO:,.4g}"
