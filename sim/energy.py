"""The energy of an emitted design's run, with the toggles that its simulation counted beside those that are assumed.

    energy = emitted_energy(folder, measure_activity(folder), platform)

What every component is stands in `structure.json` of the folder, which :mod:`mxhw.passes.emit` writes.
"""

import json
from pathlib import Path

from mxhw.errors import InputError
from mxhw.files import write_text
from mxhw.hardware import Platform, load_platform
from mxhw.hardware.activity import CountedRun, RunEnergy, StreamRun, run_energy
from mxhw.hardware.structure import Design
from mxhw.hardware.structure.record import STRUCTURE_FILE, design_from_json
from mxhw.sim.activity import Activity
from mxhw.sim.dataflow_design import DataflowDesign, DataflowStep

__all__ = ["DEFAULT_PLATFORM", "ENERGY_FILE", "emitted_energy", "has_structure", "platform_of", "write_energy"]

DEFAULT_PLATFORM = "asap7"
ENERGY_FILE = "energy.json"


def has_structure(folder: Path) -> bool:
    """Return whether a folder says what its components are, so that their energy can be told."""
    return (folder / STRUCTURE_FILE).is_file()


def platform_of(folder: Path, given: str | None) -> Platform:
    """Return the platform of that name or path, else the one that the design was balanced for, else asap7."""
    return load_platform(given or DataflowDesign.load(folder).platform or DEFAULT_PLATFORM)


def emitted_energy(folder: Path, activity: Activity, platform: Platform) -> RunEnergy:
    """Return what the run beside an emitted design spends.

    Raises
    ------
    InputError
        If the folder does not say what its components are, the activity is that of another design, or the platform's
        library lacks a component.
    """
    design = DataflowDesign.load(folder)
    if design.hash != activity.hash:
        raise InputError(f"the activity is that of a design {activity.hash[:16]}, not of {folder}: count it again")
    streams = {name: StreamRun(port.count) for name, port in design.inputs.items()}
    streams |= {step.stream: StreamRun(step.count, _positions(design, step)) for step in design.steps}
    for name, counted in activity.steps.items():
        known = streams.get(name, StreamRun(0))
        streams[name] = StreamRun(known.beats, known.positions, counted.bits, counted.toggles)
    language = design.language
    port = None if language is None or language.weights is None else design.inputs[language.weights]
    loads = 0 if language is None or port is None else len(language.domains["words"]) // language.layers
    return run_energy(
        _structure(folder),
        CountedRun(
            cycles=activity.cycles,
            streams=streams,
            outside=0.0 if port is None else port.count * port.width,
            loads=loads,
        ),
        platform,
    )


def write_energy(folder: Path, energy: RunEnergy) -> Path:
    """Write energy.json beside a design; return its path."""
    path = folder / ENERGY_FILE
    try:
        write_text(path, json.dumps(energy.to_json(), indent=1) + "\n")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    return path


def _structure(folder: Path) -> Design:
    path = folder / STRUCTURE_FILE
    try:
        return design_from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; emit the design again for its energy") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _positions(design: DataflowDesign, step: DataflowStep) -> list[int]:
    """Return the position of each token of a step; without a language model sequences follow each other."""
    if design.language is not None and step.domain is not None:
        return [position for _, _, position in design.language.domains[step.domain]]
    tokens = step.tokens or design.tokens
    return [token % (design.sequence or tokens) for token in range(tokens)]
