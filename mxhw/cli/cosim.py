"""`mxhw cosim`: simulate emitted RTL and compare every output, of whole designs every step, with the software."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mxhw.cli.app import JsonOption, app
from mxhw.cli.console import Output

if TYPE_CHECKING:
    from mxhw.sim.cosim import CosimCase
    from mxhw.sim.dataflow import StreamResult
    from mxhw.sim.dataflow_cosim import DataflowCase

__all__ = ["cosim"]

SHOWN_MISMATCHES = 5
SHOWN_STEPS = 10


@app.command()
def cosim(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `mxhw codesign` or `mxhw emit` made.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random stalls.")] = 0,
    stall: Annotated[float, typer.Option(min=0.0, max=0.9, help="Probability of a stall a cycle, on each port.")] = 0.2,
    engine: Annotated[
        Literal["cocotb", "bulk"] | None,
        typer.Option(
            show_default="cocotb for layers, bulk for whole designs",
            help="What drives the ports: cocotb runs the bench beside the design, which any simulator can run;"
            " bulk runs the same traffic in this process, in the same cycles, and is quicker to build and to run.",
        ),
    ] = None,
    waves: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a .vcd of the run with stalls; DIR holds one.")
    ] = None,
    activity: Annotated[
        bool,
        typer.Option(
            "--activity",
            help="Count how often the registers of whole designs toggle, for their energy; one more build.",
        ),
    ] = False,
    platform: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --activity: the platform of the energy. Default: what the design was balanced for; asap7.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Build the RTL with Verilator, drive it with real activations, and compare every output bit for bit.

    Each layer or design runs twice: without stalls, for its cycles, and with random stalls on all ports. Of a whole
    design the beats of every step are compared, and the first step that differs is named. Writes `cosim.json` into DIR.
    Exit code 1 if anything differs. With --activity, `activity.json` and `energy.json` are written beside each whole
    design: what the run spends on a platform, at the activity that its figures assume, and at the measured one.

    Example: `mxhw cosim build/demo`
    """
    from mxhw.cli.activity import count_activity, designs_to_count
    from mxhw.errors import InputError
    from mxhw.sim.cosim import run_cosim

    output = Output(as_json=json)
    designs = designs_to_count(folder, platform) if activity else []
    if platform is not None and not activity:
        raise InputError("--platform is that of the energy with measured activity; add --activity, or leave it out")
    report = run_cosim(folder, seed=seed, stall=stall, engine=engine, waves=waves, progress=output.progress)
    if not json:
        if report.cases:
            _show_layers(output, report.cases)
        for case in report.designs:
            _show_design(output, case)
        verdict = "equal, bit for bit" if report.passed else "NOT equal"
        counted = {"layer": len(report.cases), "design": len(report.designs)}
        what = ", ".join(f"{count} {name}{'s' * (count > 1)}" for name, count in counted.items() if count)
        output.say(f"{what}, {report.outputs:,} outputs, {report.mismatches:,} mismatches: {verdict}")
    record = report.to_json()
    if activity and report.passed:
        record |= count_activity(output, designs, platform)
    output.result(record)
    if not report.passed:
        raise typer.Exit(1)


def _show_layers(output: Output, cases: Sequence[CosimCase]) -> None:
    columns = ["layer", "unit", "weights", "outputs", "mismatches", "cycles", "predicted", "stalled", "cycles/s"]
    rows = [
        [
            case.node,
            case.unit,
            case.format,
            f"{case.outputs:,}",
            f"{case.mismatches:,}",
            _number(case.cycles_stall_free),
            f"{case.cycles_stall_free_predicted:,}",
            _number(case.cycles),
            f"{case.cycles_per_second:,.0f}",
        ]
        for case in cases
    ]
    output.table("Co-simulation", columns, rows)
    for case in cases:
        if case.error:
            output.say(f"{case.node}: {case.error}")
        for miss in case.first_mismatches[:SHOWN_MISMATCHES]:
            output.say(f"{case.node}: row {miss.row}, column {miss.column}: expected {miss.expected}, got {miss.got}")


def _show_design(output: Output, case: DataflowCase) -> None:
    """Show the steps by kind, those that are wrong one by one, the cycles, and the first difference."""
    kinds: dict[str, list[StreamResult]] = {}
    for stream in (*case.free.steps, *case.free.outputs):
        kinds.setdefault(stream.kind, []).append(stream)
    wrong = {stream.kind for run in case.runs for stream in (*run.steps, *run.outputs) if not stream.equal}
    rows = [
        [
            kind,
            f"{len(streams):,}",
            f"{sum(stream.beats for stream in streams):,}",
            "NO" if kind in wrong else "yes",
        ]
        for kind, streams in kinds.items()
    ]
    output.table(f"Co-simulation of {case.free.name}", ["kind", "steps", "beats", "equal"], rows)
    if case.wrong:
        rows = [
            [stream.name, stream.kind, f"{stream.beats:,}", f"{stream.moved:,}", f"{stream.different:,}"]
            for stream in case.wrong[:SHOWN_STEPS]
        ]
        title = f"{len(case.wrong)} of {sum(map(len, kinds.values()))} streams differ, in execution order"
        output.table(title, ["step", "kind", "beats", "passed", "different"], rows)
    for run in case.runs:
        if not run.equal:
            output.say(f"{case.free.name}, stall {run.stall:g}: {run.verdict()}")
    free, error = case.free, case.free.prediction_error
    predicted = "" if free.predicted_cycles is None else f", predicted {free.predicted_cycles:,}"
    stalled = "" if case.stalled_predicted is None else f", predicted {case.stalled_predicted:,} (event simulator)"
    time = "" if free.cycles is None else "".join(f"; {clock.words(free.cycles)}" for clock in case.clocks)
    output.say(
        f"{free.name}: {_number(free.cycles)} cycles{predicted}{'' if error is None else f' ({error:+.2%})'}{time};"
        f" with stalls {_number(case.stalled.cycles)}{stalled}; {_number(free.cycles_per_second)} cycles/s"
    )
    for phase in case.phases:
        output.say(f"{free.name}: {phase}")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"
