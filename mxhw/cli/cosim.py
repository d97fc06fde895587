"""`mxhw cosim`: simulate emitted RTL and compare every output with the software."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mxhw.cli.app import JsonOption, app
from mxhw.cli.console import Output

__all__ = ["cosim"]

SHOWN_MISMATCHES = 5


@app.command()
def cosim(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `mxhw codesign` or `mxhw emit` made.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random stalls.")] = 0,
    stall: Annotated[float, typer.Option(min=0.0, max=0.9, help="Probability of a stall a cycle, on each port.")] = 0.2,
    engine: Annotated[
        Literal["cocotb", "bulk"],
        typer.Option(
            help="What drives the ports: cocotb runs the bench beside the design, which any simulator can run;"
            " bulk runs the same traffic in this process, in the same cycles, and is quicker to build and to run."
        ),
    ] = "cocotb",
    waves: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a .vcd of the run with stalls; DIR must be one layer.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Build the RTL with Verilator, drive it with real activations, and compare every output bit for bit.

    Each layer runs twice: without stalls, for its cycles, and with random stalls on both ports. Writes `cosim.json`
    into DIR. Exit code 1 if anything differs.

    Example: `mxhw cosim build/demo`
    """
    from mxhw.sim.cosim import run_cosim

    output = Output(as_json=json)
    report = run_cosim(folder, seed=seed, stall=stall, engine=engine, waves=waves, progress=output.progress)
    if not json:
        columns = ["layer", "unit", "weights", "outputs", "mismatches", "cycles", "predicted", "stalled", "cycles/s"]
        rows = [
            [
                case.node,
                case.unit,
                case.format,
                f"{case.outputs:,}",
                f"{case.mismatches:,}",
                "–" if case.cycles_stall_free is None else f"{case.cycles_stall_free:,}",
                f"{case.cycles_stall_free_predicted:,}",
                "–" if case.cycles is None else f"{case.cycles:,}",
                f"{case.cycles_per_second:,.0f}",
            ]
            for case in report.cases
        ]
        output.table("Co-simulation", columns, rows)
        for case in report.cases:
            if case.error:
                output.say(f"{case.node}: {case.error}")
            for miss in case.first_mismatches[:SHOWN_MISMATCHES]:
                output.say(
                    f"{case.node}: row {miss.row}, column {miss.column}: expected {miss.expected}, got {miss.got}"
                )
        verdict = "equal, bit for bit" if report.passed else "NOT equal"
        output.say(
            f"{len(report.cases)} layers, {report.outputs:,} outputs, {report.mismatches:,} mismatches: {verdict}"
        )
    output.result(report.to_json())
    if not report.passed:
        raise typer.Exit(1)
