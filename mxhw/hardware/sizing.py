"""Sizes of a model's units: what each may be built as, and the choice that a platform has room for.

Products vary in columns, vector units in lanes, attention in the products that it computes a cycle; rows of arrays are
given. A unit's memories of constants keep their bits when its lanes change: words become wider and fewer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mxhw.errors import InputError
from mxhw.hardware.balance import OptionTable, smallest_interval, smallest_need, smallest_sum
from mxhw.hardware.cycles import unit_interval
from mxhw.hardware.platform import Platform
from mxhw.hardware.resources import unit_resources
from mxhw.hardware.sizes import NOTHING, Resources
from mxhw.hardware.sizes.connections import connections
from mxhw.hardware.structure import (
    AttentionUnit,
    BlockUse,
    Design,
    Encoder,
    ModelDesign,
    Product,
    Rope,
    Step,
    Unit,
    Values,
    VectorUnit,
    rows_of,
)

__all__ = [
    "MOST_COLUMNS",
    "MOST_LANES",
    "Objective",
    "Options",
    "SizedModel",
    "check_share",
    "is_index",
    "lanes_in_blocks",
    "option_table",
    "resized",
    "sized_model",
    "sizes_of",
    "too_small",
    "unit_options",
    "with_sizes",
]

Objective = Literal["interval", "latency"]
MOST_COLUMNS = 64
MOST_LANES = 16


@dataclass(frozen=True)
class SizedModel:
    """A model with sizes.

    Attributes
    ----------
    design : with chosen units.
    interval : cycles a token of the slowest step, all layers that share it counted.
    resources : of the whole design.
    """

    design: ModelDesign
    interval: float
    resources: Resources


def unit_options(unit: Unit, *, most_columns: int = MOST_COLUMNS, most_lanes: int = MOST_LANES) -> tuple[Unit, ...]:
    """Return what a unit may be built as, itself included."""
    return _options(unit, most_columns, most_lanes)


@lru_cache(maxsize=65536)
def _options(unit: Unit, most_columns: int, most_lanes: int) -> tuple[Unit, ...]:
    if isinstance(unit, Product):
        return tuple(replace(unit, columns=n) for n in range(1, most_columns + 1) if unit.n % n == 0)
    if isinstance(unit, AttentionUnit):
        return tuple(_attention(unit, lanes) for lanes in _powers(unit.head_dim, unit.head_dim))
    if isinstance(unit, Rope) or not isinstance(unit, VectorUnit):
        return (unit,)
    length = unit.block if isinstance(unit, Encoder) else unit.length
    return tuple(_with_lanes(unit, lanes) for lanes in _powers(length, most_lanes) if unit.length % lanes == 0)


def _powers(length: int, most: int) -> Iterator[int]:
    lanes = 1
    while lanes <= most and length % lanes == 0:
        yield lanes
        lanes *= 2


def _attention(unit: AttentionUnit, lanes: int) -> AttentionUnit:
    if isinstance(unit, Values):
        return replace(unit, lanes=lanes, output_lanes=min(unit.output_lanes, lanes))
    return replace(unit, lanes=lanes)


def _with_lanes(unit: VectorUnit, lanes: int) -> VectorUnit:
    """Return a vector unit with other lanes; what it keeps of constants stays."""
    words = getattr(unit, "constant_words", 0)
    if not words or words * unit.lanes % lanes:
        return replace(unit, lanes=lanes)
    bits: int = unit.constant_bits  # type: ignore[attr-defined]
    changes: dict[str, Any] = {
        "constant_words": words * unit.lanes // lanes,
        "constant_bits": bits * lanes // unit.lanes,
    }
    return replace(unit, lanes=lanes, **changes)


def resized(step: Step, unit: Unit) -> Step:
    """Return a step with a unit of other sizes, and the beats that it then takes and gives."""
    if isinstance(unit, Product):
        return replace(step, unit=unit, lanes_in=(unit.lanes, *step.lanes_in[1:]), lanes_out=unit.columns)
    if isinstance(unit, Values):
        return replace(step, unit=unit, lanes_in=(1, unit.lanes, *step.lanes_in[2:]), lanes_out=unit.output_lanes)
    if isinstance(unit, AttentionUnit):
        return replace(step, unit=unit, lanes_in=(unit.lanes, unit.lanes, *step.lanes_in[2:]))
    if isinstance(unit, VectorUnit) and not isinstance(unit, Rope):
        lanes_in = tuple(1 if lanes == 1 and is_index(source) else unit.lanes for source, lanes in _taken(step))
        return replace(step, unit=unit, lanes_in=lanes_in, lanes_out=unit.lanes)
    return replace(step, unit=unit)


def _taken(step: Step) -> Iterator[tuple[str, int]]:
    yield from zip(step.inputs, step.lanes_in, strict=True)


def is_index(source: str) -> bool:
    """Return whether an input of a design is a number a token, which has no lanes."""
    return source in ("positions", "input", "tokens", "layers", "banks")


def with_sizes(
    model: ModelDesign,
    arrays: Mapping[str, tuple[int, int]],
    lanes: Mapping[str, int],
    *,
    rows: int | None = None,
) -> ModelDesign:
    """Return a model with chosen sizes: (rows, columns) by node or step, lanes by step; the others stay.

    ``rows``: of every product that ``arrays`` does not name.

    Raises
    ------
    InputError
        If a size does not divide what it must; the message names the step.
    """
    places = list(_places(model))
    return _rebuilt(model, places, [_chosen(place.step, arrays, lanes, rows) for place in places])


def lanes_in_blocks(model: ModelDesign, lanes: Mapping[str, int]) -> dict[str, int]:
    """Return lanes, too, by the names that steps have within a block that layers share: those of its first layer."""
    found = dict(lanes)
    if model.folded:
        for use in model.blocks:
            prefix = f"{use.layers[0]}."
            found |= {name.removeprefix(prefix): count for name, count in lanes.items() if name.startswith(prefix)}
    return found


def _chosen(step: Step, arrays: Mapping[str, tuple[int, int]], lanes: Mapping[str, int], rows: int | None) -> Unit:
    unit = step.unit
    if isinstance(unit, Product):
        given = arrays.get(step.name) or arrays.get(step.node)
        if given is None:
            return unit if rows is None else replace(unit, rows=rows)
        if unit.n % given[1]:
            raise InputError(f"step {step.name}: columns must be a divisor of its {unit.n} outputs, not {given[1]!r}")
        return replace(unit, rows=given[0], columns=given[1])
    count = lanes.get(step.name)
    if count is None or isinstance(unit, Rope) or not isinstance(unit, VectorUnit | AttentionUnit):
        return unit
    length = unit.head_dim if isinstance(unit, AttentionUnit) else unit.length
    if length % count:
        raise InputError(f"step {step.name}: lanes must be a divisor of {length}, not {count!r}")
    return _attention(unit, count) if isinstance(unit, AttentionUnit) else _with_lanes(unit, count)


@dataclass(frozen=True)
class _Place:
    """A step in its part, and how often a token passes it."""

    part: int
    step: Step
    times: int


def sized_model(
    model: ModelDesign,
    platform: Platform,
    *,
    position: int,
    share: float = 1.0,
    least: float = 0.0,
    objective: Objective = "interval",
    most_columns: int = MOST_COLUMNS,
    most_lanes: int = MOST_LANES,
) -> SizedModel:
    """Return the sizes with the smallest interval that fit a share of the platform's budget.

    Parameters
    ----------
    model : with any sizes; rows of products and lanes of their operands stay.
    platform : what it is built on.
    position : of the token whose cycles count.
    share : of the budget that may be used.
    least : cycles a token that something else takes anyway, a memory port for instance.
    objective : "interval": the slowest step is as quick as possible, for many tokens at a time. "latency": the sum over
        all steps is as small as possible, for one token after the other.

    Raises
    ------
    InputError
        If even the smallest design does not fit: what it needs, and what there is.
    """
    check_share(share)
    places = list(_places(model))
    options = [
        option_table(unit_options(p.step.unit, most_columns=most_columns, most_lanes=most_lanes), platform, position)
        for p in places
    ]
    names = [name for name, amount in platform.budget.items() if amount.value > 0]
    around = sum((unit_resources(unit, platform) for unit in _connecting(model)), NOTHING)
    room = {name: platform.budget[name].value * share - around[name] for name in names}
    table = OptionTable.stacked(
        [(each.intervals * p.times, each.amounts) for p, each in zip(places, options, strict=True)], names
    )
    if objective == "latency":
        # A row tile takes as long for one token as for all that it has room for.
        waits = [
            (each.intervals * p.times * rows_of(p.step.unit), each.amounts)
            for p, each in zip(places, options, strict=True)
        ]
        choice = smallest_sum(OptionTable.stacked(waits, names), room)
    else:
        choice = smallest_interval(table, room, least=least)
    if choice is None:
        raise too_small(smallest_need(table, room), room, around, platform, share)
    units = [each.units[index] for each, index in zip(options, choice, strict=True)]
    taken = sum((unit_resources(unit, platform) for unit in units), around)
    return SizedModel(_rebuilt(model, places, units), table.interval(choice), taken)


def check_share(share: float) -> None:
    """Raise InputError unless a share of a budget is one."""
    if not 0 < share <= 1:
        raise InputError(f"share must be above 0 and at most 1, not {share!r}")


@cache
def _interval(unit: Unit, position: int) -> float:
    return unit_interval(unit, position)


@dataclass(frozen=True, eq=False)
class Options:
    """What a step may be built as, quickest first: units, cycles a token and amounts of each [options]."""

    units: tuple[Unit, ...]
    intervals: NDArray[np.float64]
    amounts: Mapping[str, NDArray[np.float64]]


@lru_cache(maxsize=65536)
def option_table(units: tuple[Unit, ...], platform: Platform, position: int) -> Options:
    """Return every option that no other one beats."""
    found = [(unit, _interval(unit, position), unit_resources(unit, platform)) for unit in units]
    kept: list[tuple[Unit, float, Resources]] = []
    for option in sorted(found, key=lambda each: each[1]):
        if not any(_no_more(other[2].amounts, option[2].amounts) for other in kept):
            kept.append(option)
    amounts = {name: np.array([taken[name] for _, _, taken in kept]) for name in platform.budget}
    return Options(tuple(unit for unit, _, _ in kept), np.array([each for _, each, _ in kept]), amounts)


def _no_more(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return all(amount <= other.get(name, 0.0) for name, amount in one.items())


def _places(model: ModelDesign) -> Iterator[_Place]:
    for index, (design, often) in enumerate(model.parts.values()):
        for step in design.steps.values():
            yield _Place(index, step, often)


def _connecting(model: ModelDesign) -> Iterator[Unit]:
    for design, _ in model.parts.values():
        yield from connections(design)


def sizes_of(model: ModelDesign) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """Return the sizes of a model by step, as :func:`with_sizes` takes them: rows and columns, lanes."""
    arrays, lanes = {}, {}
    for _, step in model.steps():
        if isinstance(step.unit, Product):
            arrays[step.name] = step.unit.rows, step.unit.columns
        elif isinstance(step.unit, VectorUnit | AttentionUnit):
            lanes[step.name] = step.unit.lanes
    return arrays, lanes


def _rebuilt(model: ModelDesign, places: Sequence[_Place], units: Sequence[Unit]) -> ModelDesign:
    """Return the model with other units."""
    parts: dict[int, dict[str, Step]] = {}
    for place, unit in zip(places, units, strict=True):
        parts.setdefault(place.part, {})[place.step.name] = resized(place.step, unit)

    def rebuilt(design: Design, index: int) -> Design:
        return replace(design, steps=parts.get(index, {}))

    blocks = tuple(BlockUse(rebuilt(use.design, index), use.layers) for index, use in enumerate(model.blocks, start=1))
    return replace(model, front=rebuilt(model.front, 0), blocks=blocks, back=rebuilt(model.back, 1 + len(model.blocks)))


def too_small(
    need: Mapping[str, float], room: Mapping[str, float], around: Resources, platform: Platform, share: float
) -> InputError:
    """Return the error of a platform that has no room for what steps need at least, and what stands around them."""
    needs = {name: amount + around[name] for name, amount in need.items()}
    limits = {name: platform.budget[name].value * share for name in room}
    over = [name for name in room if needs[name] > limits[name]] or list(room)
    said = ", ".join(
        f"{needs[name]:,.0f} {platform.budget[name].unit} ({name}) of {limits[name]:,.0f}" for name in over
    )
    return InputError(
        f"platform {platform.name!r} is too small: the design needs {said} at its smallest sizes (budget times a share "
        f"of {share:g}); give a larger budget or platform, fewer rows, or narrower weight formats"
    )
