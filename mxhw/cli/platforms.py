"""`mxhw platforms`: the hardware platforms that there are, and where their numbers come from."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mxhw.cli.app import JsonOption, app
from mxhw.cli.console import Output

if TYPE_CHECKING:
    from mxhw.hardware import Platform

__all__ = ["platforms"]


@app.command()
def platforms(
    name: Annotated[
        str | None, typer.Argument(help="Show every number of one platform (or platform file) with its source.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List platforms, their clocks, budgets and memories outside; with a name, every number with its source.

    Example: `mxhw platforms`, or `mxhw platforms asap7`, or `mxhw platforms mine.toml`.
    """
    from mxhw.hardware import known_platforms, load_platform

    output = Output(as_json=json)
    loaded = [load_platform(each) for each in ([name] if name else known_platforms())]
    if not json and name is None:
        columns = ["name", "kind", "clock", "budget", "memory outside", "what it is"]
        output.table("Platforms", columns, [_row(platform) for platform in loaded])
    elif not json:
        rows = [[label, _value(number), number["unit"], number["source"]] for label, number in _numbers(loaded[0])]
        output.table(f"{loaded[0].name}: {loaded[0].description}", ["number", "value", "unit", "source"], rows)
    output.result({"platforms": [_summary(platform) for platform in loaded]})


def _row(platform: Platform) -> list[str]:
    budget = ", ".join(f"{amount.value:,.0f} {amount.unit}" for amount in platform.budget.values())
    outside = ", ".join(
        f"{memory.kind} {memory.capacity.value:g} GiB {memory.bandwidth.value:g} GB/s"
        for memory in platform.offchip.values()
    )
    clock = f"{platform.clock.value / 1e6:g} MHz"
    return [platform.name, platform.kind, clock, budget, outside or "none", platform.description]


def _summary(platform: Platform) -> dict[str, Any]:
    return {
        "name": platform.name,
        "kind": platform.kind,
        "description": platform.description,
        "clock": platform.clock.value,
        "budget": {name: amount.value for name, amount in platform.budget.items()},
        "offchip": {
            name: {"kind": memory.kind, "bytes": memory.bits / 8, "bytes_per_second": memory.bytes_per_second}
            for name, memory in platform.offchip.items()
        },
        "numbers": dict(_numbers(platform)),
    }


def _numbers(platform: Platform) -> list[tuple[str, dict[str, Any]]]:
    """Return every number of a platform that has a source, by its place in the file."""
    from mxhw.hardware.platform import platform_numbers

    return [(label, asdict(number)) for label, number in platform_numbers(platform).items()]


def _value(number: dict[str, Any]) -> str:
    if "rows" in number:
        return "; ".join(" ".join(f"{each:g}" for each in row) for row in number["rows"])
    of = f" of {number['reference']}" if number.get("reference") else ""
    return f"{number['value']:g}{of}"
