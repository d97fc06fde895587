"""`mxhw platforms`: the hardware platforms that there are."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Annotated

import typer

from mxhw.cli.app import JsonOption, app
from mxhw.cli.console import Output

if TYPE_CHECKING:
    from mxhw.hardware import Platform, Quantity

__all__ = ["platforms"]


@app.command()
def platforms(
    name: Annotated[
        str | None, typer.Argument(help="Show every number of one platform (or platform file) with its source.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List platforms and their budgets; with a name, every number with its source.

    Example: `mxhw platforms`, or `mxhw platforms asap7`.
    """
    from mxhw.hardware import known_platforms, load_platform

    output = Output(as_json=json)
    names = [name] if name else known_platforms()
    loaded = [load_platform(each) for each in names]
    if not json and name is None:
        rows = [
            [
                p.name,
                p.kind,
                ", ".join(f"{amount.value:,.0f} {amount.unit}" for amount in p.budget.values()),
                p.description,
            ]
            for p in loaded
        ]
        output.table("Platforms", ["name", "kind", "budget", "what it is"], rows)
    elif not json:
        rows = [
            [label, f"{quantity.value:g}", quantity.unit, quantity.source]
            for label, quantity in _numbers(loaded[0]).items()
        ]
        output.table(f"{loaded[0].name}: {loaded[0].description}", ["number", "value", "unit", "source"], rows)
    output.result(
        {
            "platforms": [
                {
                    "name": p.name,
                    "kind": p.kind,
                    "description": p.description,
                    "numbers": {label: asdict(quantity) for label, quantity in _numbers(p).items()},
                }
                for p in loaded
            ]
        }
    )


def _numbers(platform: Platform) -> dict[str, Quantity]:
    """Return every number of a platform that has a source, by name."""
    from mxhw.hardware import Quantity

    numbers = {f"budget of {name}": quantity for name, quantity in platform.budget.items()}
    for field in fields(platform):
        if isinstance(value := getattr(platform, field.name), Quantity):
            numbers[field.name.replace("_", " ")] = value
    if platform.memory_energy is not None:
        for size, energy in platform.memory_energy.points:
            label = f"energy of reading {platform.memory_energy.word_bits} bits from {size:,.0f} bytes"
            numbers[label] = Quantity(energy, "pJ", platform.memory_energy.source)
    return numbers
