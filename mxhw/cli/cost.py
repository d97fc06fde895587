"""`mxhw cost`: what a design costs on a platform."""

from __future__ import annotations

from typing import Annotated

import typer

from mxhw.cli.app import AssignmentOption, ConfigOnlyOption, ExtensionOption, JsonOption, ModelArgument, app
from mxhw.cli.console import Output

__all__ = ["cost"]


@app.command()
def cost(
    model: ModelArgument,
    assignment: AssignmentOption = None,
    platform: Annotated[str, typer.Option(help="A platform's name, or the path of a platform file.")] = "asap7",
    sequence: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens of the prefill; default: 512, or the model's context."),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows of the arrays, where the assignment gives none.")] = 8,
    config_only: ConfigOnlyOption = False,
    extension: ExtensionOption = None,
    json: JsonOption = False,
) -> None:
    """Count cycles, area and energy of every GEMM of a design.

    Arrays are the assignment's; without any, they are sized for the platform.

    Example: `mxhw cost demo --platform sg13g2`
    """
    from dataclasses import replace

    from mxhw.flow.assignments import assignment_for
    from mxhw.hardware import load_platform
    from mxhw.models import capture, load_model, load_skeleton
    from mxhw.passes.analysis import evaluate_hardware, ledger
    from mxhw.passes.transform import Parallelize, ParallelizeConfig

    output = Output(as_json=json)
    target = load_platform(platform)
    loaded = load_skeleton(model) if config_only else load_model(model)
    sequence = sequence or loaded.at_most_context(512)
    graph = capture(loaded, batch=1, sequence=sequence)
    given = assignment_for(graph, assignment)
    if not given.arrays:
        sized = Parallelize(ParallelizeConfig(assignment=given, platform=target, sequence=sequence, rows=rows))(graph)
        arrays = {node: (size[0], size[1]) for node, size in sized.report["arrays"].items()}
        given = replace(given, arrays=arrays)
    report = evaluate_hardware(graph, given, target, sequence)
    bits = ledger(graph, given, sequence=sequence)
    if not json:
        cells = [
            [
                name,
                str(node["unit"]),
                str(node["weight_type"]),
                f"{node['rows']}×{node['columns']}",
                f"{node['macs']:,}",
                f"{node['cycles']:,}",
                "–" if node["energy"] is None else f"{sum(node['energy'].values()) * 1e-6:.3f}",
            ]
            for name, node in report.nodes.items()
        ]
        title = f"{model} on {target.name}, prefill of {sequence} tokens"
        output.table(title, ["GEMM", "unit", "weights", "array", "MACs", "cycles", "energy, µJ"], cells)
        used = ", ".join(f"{value:,.0f} {target.budget[name].unit} {name}" for name, value in report.resources.items())
        output.say(f"slowest GEMM: {report.interval:,} cycles; all one after the other: {report.cycles:,} cycles")
        output.say(f"used: {used}; memories hold {report.memory_bits:,.0f} bits")
        output.say(
            "energy: no figure for this platform" if report.energy is None else f"energy: {report.energy * 1e-6:.2f} µJ"
        )
        output.say(f"true bits: {bits.bits_per_weight:.4f} a weight, {bits.bits_per_input:.4f} an input element")
        if report.without:
            output.say(f"without hardware: {', '.join(report.without)}")
    output.result({**report.to_json(), "bits": bits.to_json(), "arrays": {k: list(v) for k, v in given.arrays.items()}})
