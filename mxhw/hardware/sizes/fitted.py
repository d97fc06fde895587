"""Sizes of units: features times the prices in `data/unit_sizes.json`, or a composition of other units.

Prices come from synthesis of components over a grid of sizes (:mod:`mxhw.synthesis.grid`); each group of units keeps
the largest errors of its fit and of held-out points. Beyond the sizes that were measured, features are extrapolated:
:func:`extrapolated` names them. Arrays add up, so that large ones are no risk; widths that are no one's habit are.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mxhw.errors import InputError, nearest
from mxhw.hardware.sizes.features import FABRICS, Fabric, Features, features_of
from mxhw.hardware.sizes.resources import NOTHING, Resources
from mxhw.hardware.structure import Unit

if TYPE_CHECKING:  # platforms have resources, too
    from mxhw.hardware.platform import Platform

__all__ = ["Composition", "extrapolated", "register_composition", "register_sizes", "unit_sizes"]

_FILE = Path(__file__).resolve().parent.parent / "data" / "unit_sizes.json"
_CACHED = 65536

Composition = Callable[[Any], Mapping[Unit, float]]
SizeFunction = Callable[[Any, "Platform"], Resources]
_COMPOSITIONS: dict[type[Unit], Composition] = {}
_SIZES: dict[type[Unit], SizeFunction] = {}


def register_composition(kind: type[Unit]) -> Callable[[Composition], Composition]:
    """Return a decorator that makes a function of a record what it is put together from: unit → how many."""

    def add(function: Composition) -> Composition:
        _COMPOSITIONS[kind] = function
        return function

    return add


def register_sizes(kind: type[Unit]) -> Callable[[SizeFunction], SizeFunction]:
    """Return a decorator that makes a function of (record, platform) the logic of a class of one's own."""

    def add(function: SizeFunction) -> SizeFunction:
        _SIZES[kind] = function
        return function

    return add


def unit_sizes(unit: Unit, platform: "Platform") -> Resources:
    """Return the logic of a unit: "area" [um2] and "ff" of an ASIC; "lut", "ff" and "dsp" of an FPGA.

    Memories are left out: those that ``unit.memories()`` names. Queues of fewer than
    :data:`~mxhw.hardware.structure.unit.QUEUE_WORDS` words, registers and tables of constants that need no memory are
    logic. DSP blocks are used wherever yosys takes them for a multiplier, but not in the arrays of products, which have
    no multiplier that is worth one.

    Raises
    ------
    InputError
        If nothing was measured in the platform's library, or the class of the record has no sizes.
    """
    own = _SIZES.get(type(unit))
    if own is not None:
        return own(unit, platform)
    found = _sizes(unit, platform.library)
    return (
        found
        if platform.area_scale == 1.0
        else Resources({**found.amounts, "area": found["area"] * platform.area_scale})
    )


def extrapolated(unit: Unit, platform: "Platform") -> tuple[str, ...]:
    """Return the features of a unit that lie outside of what its group's fit has seen, as ``group: feature``."""
    names: set[str] = set()
    composition = _COMPOSITIONS.get(type(unit))
    for part in composition(unit) if composition else (unit,):
        features = features_of(part, FABRICS.get(platform.library, Fabric()))
        if features is None:
            continue
        seen = _group(platform.library, features.group)["range"]
        for name, amount in features.of_resource("area").items():
            low, high = seen.get(name, (0.0, 0.0))
            if not low <= amount <= high and amount:
                names.add(f"{features.group}: {name}")
    return tuple(sorted(names))


@lru_cache(maxsize=_CACHED)
def _sizes(unit: Unit, library: str) -> Resources:
    composition = _COMPOSITIONS.get(type(unit))
    parts = None if composition is None else composition(unit)
    if parts is not None and parts != {unit: 1}:
        return sum((_sizes(part, library) * times for part, times in parts.items()), NOTHING)
    features = features_of(unit, FABRICS.get(library, Fabric()))
    if features is None:
        raise InputError(
            f"the size of {type(unit).__name__} is not known; a function of it is registered with "
            "mxhw.hardware.sizes.register_sizes"
        )
    return _priced(features, library)


def _priced(features: Features, library: str) -> Resources:
    if not features.amounts:
        return NOTHING
    amounts = {}
    for resource, fitted in _group(library, features.group).items():
        if resource == "range":
            continue
        built = features.of_resource(resource)
        amounts[resource] = sum(built.get(name, 0.0) * price for name, price in fitted["prices"].items())
    return Resources(amounts)


def _group(library: str, group: str) -> dict[str, Any]:
    libraries = _file()
    if library not in libraries:
        raise InputError(
            f"no sizes of units were measured in library {library!r}; there are {', '.join(libraries)}"
            + nearest(library, libraries)
        )
    groups: dict[str, dict[str, Any]] = libraries[library]["groups"]
    if group not in groups:
        raise InputError(
            f"no unit of the kind {group!r} was measured in library {library!r}; `make table-synth` measures what is "
            "missing"
        )
    return groups[group]


@cache
def _file() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))["libraries"]
    return found
