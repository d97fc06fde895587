"""Platforms: an ASIC process or an FPGA part as data, every number with its unit and source.

A platform is a TOML file; `data/platforms/` ships some, and any path to a file of the same shape is accepted. What is
not published (the energy of an FPGA's logic, say) is absent from the file and None here: nothing is guessed.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mxhw.errors import InputError, nearest

__all__ = ["MemoryEnergy", "Platform", "Quantity", "known_platforms", "load_platform"]

_FOLDER = Path(__file__).parent / "data" / "platforms"
_KINDS = ("asic", "fpga")
_BUDGETS = {"asic": ("area",), "fpga": ("lut", "dsp", "bram")}


@dataclass(frozen=True)
class Quantity:
    """A number that can be traced: its value, its unit, and where it was read or measured."""

    value: float
    unit: str
    source: str


@dataclass(frozen=True)
class MemoryEnergy:
    """Energy of a memory read as ``a + b * sqrt(bytes)`` per word, fitted by least squares to published points.

    The square root is the length of a word or bit line of a square array. A write is charged like a read.
    """

    word_bits: int
    points: tuple[tuple[float, float], ...]
    source: str

    def coefficients(self) -> tuple[float, float]:
        """Return ``a`` [pJ/word] and ``b`` [pJ/word per square root of a byte]."""
        return _fit(self.points)

    def per_bit(self, size_bits: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Return the energy [pJ/bit] of one access to a memory of ``size_bits``."""
        a, b = self.coefficients()
        return (a + b * np.sqrt(np.asarray(size_bits, dtype=np.float64) / 8)) / self.word_bits


@cache
def _fit(points: tuple[tuple[float, float], ...]) -> tuple[float, float]:
    table = np.asarray(points)
    design = np.stack([np.ones(len(table)), np.sqrt(table[:, 0])], axis=1)
    a, b = np.linalg.lstsq(design, table[:, 1], rcond=None)[0]
    return float(a), float(b)


@dataclass(frozen=True)
class Platform:
    """What a design is built from and how much of it there is.

    Attributes
    ----------
    name, description : str
    kind : "asic" or "fpga"
        Decides the resources: area [um2], or LUTs and block memories.
    library : str
        Column of the measured table `data/pe_area.json`.
    clock : Quantity
        Clock of every unit [Hz].
    budget : mapping of str to Quantity
        Resource name ("area", or "lut", "dsp", "bram") to what the platform has.
    logic_energy : Quantity or None
        Energy of logic: pJ/(um2*cycle), or the pJ/cycle of `logic_reference`, over whose area it is spread.
    logic_reference : str or None
        Component of the measured table whose energy is known.
    memory_energy : MemoryEnergy or None
    memory_bit, memory_macro : Quantity or None
        Area of an SRAM: per bit and per macro (ASIC).
    memory_shapes : tuple of (bits, words)
        Aspect ratios of a block memory (FPGA).
    distributed_bits : Quantity or None
        Bits that one LUT stores (FPGA).
    """

    name: str
    description: str
    kind: Literal["asic", "fpga"]
    library: str
    clock: Quantity
    budget: Mapping[str, Quantity]
    logic_energy: Quantity | None = None
    logic_reference: str | None = None
    memory_energy: MemoryEnergy | None = None
    memory_bit: Quantity | None = None
    memory_macro: Quantity | None = None
    memory_shapes: tuple[tuple[int, int], ...] = ()
    distributed_bits: Quantity | None = None

    @property
    def has_energy(self) -> bool:
        """Whether energies of logic and memories are known."""
        return self.logic_energy is not None and self.memory_energy is not None

    def with_budget(self, **amounts: float) -> "Platform":
        """Return this platform with other budgets, for instance ``with_budget(area=2e6)``.

        Raises
        ------
        InputError
            If a resource is not one of this platform's, or an amount is not positive.
        """
        budget = dict(self.budget)
        for resource, amount in amounts.items():
            if resource not in budget:
                raise InputError(
                    f"platform {self.name!r} has no budget {resource!r}; it has {', '.join(budget)}"
                    + nearest(resource, budget)
                )
            if not amount > 0:
                raise InputError(f"budget {resource!r} must be positive, not {amount!r}")
            budget[resource] = Quantity(float(amount), budget[resource].unit, "given by the user")
        return replace(self, budget=budget)


def known_platforms() -> list[str]:
    """Return the names of the shipped platforms."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load_platform(name: str | Path) -> Platform:
    """Return a shipped platform by name, or one from a TOML file by path.

    Raises
    ------
    InputError
        If there is no such platform or file, or the file is not a complete platform.
    """
    path = _FOLDER / f"{name}.toml"
    if not (str(name) in known_platforms() and path.is_file()):
        path = Path(name)
        if path.suffix != ".toml" or not path.is_file():
            raise InputError(
                f"no platform {str(name)!r}: known are {', '.join(known_platforms())}, or the path of a .toml file"
                + nearest(str(name), known_platforms())
            )
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"platform file {path}: not valid TOML: {error}") from None
    return _platform(data, path)


def _platform(data: dict[str, Any], path: Path) -> Platform:
    kind = _string(data, "kind", path)
    if kind not in _KINDS:
        raise InputError(f"platform file {path}: kind must be one of {', '.join(_KINDS)}, not {kind!r}")
    budget = {name: _quantity(data, ("budget", name), path) for name in _BUDGETS[kind]}
    common: dict[str, Any] = {
        "name": _string(data, "name", path),
        "description": _string(data, "description", path),
        "library": _string(data, "library", path),
        "clock": _quantity(data, ("clock",), path),
        "budget": budget,
    }
    if kind == "fpga":
        shapes = tuple((int(bits), int(words)) for bits, words in _pairs(data, ("memory", "block"), "shapes", path))
        distributed = _quantity(data, ("memory", "distributed"), path)
        return Platform(kind="fpga", memory_shapes=shapes, distributed_bits=distributed, **common)
    return Platform(
        kind="asic",
        memory_bit=_quantity(data, ("memory", "bit"), path),
        memory_macro=_quantity(data, ("memory", "macro"), path),
        **_energy(data, path),
        **common,
    )


def _energy(data: dict[str, Any], path: Path) -> dict[str, Any]:
    if "energy" not in data:
        return {}
    memory = _table(data, ("energy", "memory"), path)
    points = _pairs(data, ("energy", "memory"), "points", path)
    word_bits = memory.get("word_bits")
    if len(points) < 2 or not isinstance(word_bits, int) or word_bits < 1 or not isinstance(memory.get("source"), str):
        raise InputError(f"platform file {path}: [energy.memory] needs word_bits, two or more points, and a source")
    return {
        "logic_energy": _quantity(data, ("energy", "logic"), path),
        "logic_reference": _table(data, ("energy", "logic"), path).get("reference"),
        "memory_energy": MemoryEnergy(word_bits, points, memory["source"]),
    }


def _table(data: dict[str, Any], keys: tuple[str, ...], path: Path) -> dict[str, Any]:
    for key in keys:
        if not isinstance(data, dict) or key not in data:
            raise InputError(f"platform file {path}: [{'.'.join(keys)}] is missing")
        data = data[key]
    return data


def _pairs(data: dict[str, Any], keys: tuple[str, ...], name: str, path: Path) -> tuple[tuple[float, float], ...]:
    """Return a list of pairs of positive numbers."""
    value = _table(data, keys, path).get(name)

    def is_pair(item: object) -> bool:
        return isinstance(item, list) and len(item) == 2 and all(isinstance(n, int | float) and n > 0 for n in item)

    if not isinstance(value, list) or not value or not all(is_pair(item) for item in value):
        raise InputError(
            f"platform file {path}: [{'.'.join(keys)}] {name} must be a list of pairs of positive numbers, "
            f"not {value!r}"
        )
    return tuple((float(first), float(second)) for first, second in value)


def _quantity(data: dict[str, Any], keys: tuple[str, ...], path: Path) -> Quantity:
    table = _table(data, keys, path)
    missing = [name for name in ("value", "unit", "source") if name not in table]
    if missing:
        raise InputError(f"platform file {path}: [{'.'.join(keys)}] lacks {', '.join(missing)}")
    if not isinstance(table["value"], int | float) or table["value"] < 0:
        raise InputError(
            f"platform file {path}: [{'.'.join(keys)}] value must be a number >= 0, not {table['value']!r}"
        )
    return Quantity(float(table["value"]), str(table["unit"]), str(table["source"]))


def _string(data: dict[str, Any], key: str, path: Path) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise InputError(f"platform file {path}: {key!r} must be a string, not {value!r}")
    return value
