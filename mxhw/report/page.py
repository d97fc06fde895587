"""The report: one self-contained HTML page about a co-design run. It loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mxhw.report.figures import FAMILY_NAMES, bits_map, breakdown, front_figure
from mxhw.report.markup import escape, table, write_page
from mxhw.report.results import CHOSEN, Design, QualityRow, Results
from mxhw.report.simulated import block_table, cosim_parts, cosim_verdict, design_steps
from mxhw.sim.dataflow import DataflowDesign
from mxhw.sim.design import GemmDesign

__all__ = ["summary_rows", "write_cosim_page", "write_report"]


def write_report(results: Results, path: Path) -> None:
    """Write the page of a whole run in one step."""
    chosen = results.design(CHOSEN)
    parts = [
        f"<h1>mxhw: {escape(results.model)} on {escape(results.platform)}</h1>",
        f"<p class='lead'>{len(results.points)} designs for a model of {results.parameters:,} parameters, searched by "
        f"{', '.join(results.config['search']['objectives'])}. "
        f"The chosen one ({escape(chosen.reason)}) "
        "and the best of the other family of processing elements were emitted as RTL and simulated.</p>",
        "<h2>Result</h2>",
        table(["", *[_design_title(d) for d in results.designs]], summary_rows(results)),
        "<h2>Quality against hardware</h2>",
        "<p>Every point is a finished trial, scored on text that neither the model nor the test saw. "
        "Down and left is better; the dotted line is the front of each picture.</p>",
        _figure(front_figure(results), with_library=True),
        _front_table(results),
    ]
    for design in results.designs:
        parts += [
            f"<h2>{_design_title(design)}: true bits an element</h2>",
            "<p>Codes, scales, selectors, second-level scales and padding, over the number of elements.</p>",
            _figure(bits_map(design)),
            f"<h2>{_design_title(design)}: where cycles and energy go</h2>",
            _figure(breakdown(design)),
        ]
    parts += ["<h2>Co-simulation</h2>", *cosim_parts(results.cosim)]
    for design in results.designs:
        if design.block:
            parts += [f"<h3>{_design_title(design)}: components</h3>", block_table(design.block)]
    parts += ["<h2>Reproduce</h2>", f"<pre>{escape(results.command)}</pre>", _stages(results.seconds)]
    write_page(path, f"mxhw: {results.model}", parts)


def write_cosim_page(
    folder: Path,
    cosim: dict[str, Any] | None,
    layers: Sequence[GemmDesign],
    path: Path,
    designs: Sequence[DataflowDesign] = (),
) -> None:
    """Write the page of a folder that `mxhw emit` made: its layers or designs, and their co-simulation if it ran."""
    parts = [f"<h1>mxhw: emitted RTL of {escape(folder.resolve().name)}</h1>"]
    for design in designs:
        parts += [
            f"<h2>{escape(design.name)}</h2>",
            f"<p>{len(design.steps)} components, {design.tokens} tokens, configuration {escape(design.hash[:16])}.</p>",
            block_table(design_steps(design)),
        ]
    if layers:
        rows = [
            [d.node, d.unit, d.weight_format, d.input_format, f"{d.rows}×{d.columns}", f"{d.m}", f"{d.n}", f"{d.k}"]
            for d in layers
        ]
        parts.append(table(["node", "unit", "weights", "inputs", "array", "M", "N", "K"], rows))
    parts += ["<h2>Co-simulation</h2>", *cosim_parts(cosim)]
    parts += ["<h2>Reproduce</h2>", f"<pre>mxhw cosim {escape(str(folder))}</pre>"]
    write_page(path, "mxhw: emitted RTL", parts)


def summary_rows(results: Results) -> list[list[str]]:
    """Return the table that ends a run: a row a figure, a column a design."""
    designs = results.designs
    base = results.float_test
    arithmetic = designs[0].arithmetic

    def perplexity(quality: QualityRow) -> str:
        return _against(quality.perplexity, base.perplexity)

    return [
        ["perplexity, float model", *[f"{base.perplexity:.4f}" for _ in designs]],
        ["perplexity, quantized (float emulation)", *[perplexity(d.emulated) for d in designs]],
        [f"perplexity, {arithmetic} arithmetic", *[perplexity(d.hardware) for d in designs]],
        [f"share of MACs in {arithmetic} arithmetic", *[f"{100 * d.hardware_coverage:.1f} %" for d in designs]],
        ["KL to float, nats a token", *[f"{d.emulated.kl:.5f}" for d in designs]],
        ["top-1 agreement with float", *[f"{100 * d.emulated.top1:.2f} %" for d in designs]],
        ["true bits a weight", *[f"{d.weight_bits:.3f}" for d in designs]],
        ["true bits an input element", *[f"{d.input_bits:.3f}" for d in designs]],
        ["cycles a prefill, one step after the other", *[f"{d.cycles:,.0f}" for d in designs]],
        ["cycles between prefills (slowest step)", *[f"{d.interval:,.0f}" for d in designs]],
        ["area", *[f"{d.area:,.0f} {d.area_unit}" for d in designs]],
        ["energy a prefill", *["no figure" if d.energy is None else f"{d.energy * 1e-6:,.2f} µJ" for d in designs]],
        ["RTL equal to the software", *[cosim_verdict(results.cosim, d.family) for d in designs]],
    ]


def _design_title(design: Design) -> str:
    name = FAMILY_NAMES[design.family]
    return f"{name} (chosen)" if design.name == CHOSEN else f"{name} (best of its family)"


def _front_table(results: Results) -> str:
    base = results.float_test.perplexity
    rows = []
    for point in results.points:
        if not point.on_front:
            continue
        rows.append(
            [
                str(point.trial),
                point.label,
                "" if point.test is None else _against(point.test.perplexity, base),
                f"{point.weight_bits:.3f}",
                f"{point.input_bits:.3f}",
                f"{point.interval:,.0f}",
                f"{point.area:,.0f}",
                "" if point.energy is None else f"{point.energy * 1e-6:,.2f}",
            ]
        )
    head = ["trial", "design", "test perplexity", "bits a weight", "bits an input", "interval", "area", "energy, µJ"]
    words = "The front of the search, with the perplexity on the test text and how far it is above the float model's:"
    return f"<p>{words}</p>" + table(head, rows)


def _against(perplexity: float, base: float) -> str:
    return f"{perplexity:.4f} ({100 * (perplexity / base - 1):+.2f} %)"


def _stages(seconds: dict[str, float]) -> str:
    total = sum(seconds.values())
    text = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    return f"<p>This run took {total:.0f} s: {escape(text)}.</p>"


def _figure(figure: Any, *, with_library: bool = False) -> str:
    options = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["lasso2d", "select2d"]}
    text = figure.to_html(full_html=False, include_plotlyjs=with_library, config=options)
    return f"<div class='scroll'>{text}</div>"
