"""The report: one self-contained HTML page about a co-design run. It loads nothing from anywhere."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mxhw.files import write_text
from mxhw.report.figures import FAMILY_NAMES, bits_map, breakdown, front_figure
from mxhw.report.results import CHOSEN, Design, QualityRow, Results
from mxhw.sim.design import GemmDesign

__all__ = ["cosim_verdict", "summary_rows", "write_cosim_page", "write_report"]

OBJECTIVE_NAMES = {
    "cycles": "cycles between prefills",
    "area": "area",
    "energy": "energy a prefill",
    "edp": "energy × time between prefills",
    "bits": "true bits a weight",
}
STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1180px; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; }
p { max-width: 85ch; }
p.lead { color: #555; margin-top: 0; max-width: 75ch; }
table { border-collapse: collapse; margin: .6rem 0; }
td, th { padding: .28rem .8rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
td:first-child, th:first-child { text-align: left; }
th { font-weight: 600; border-bottom: 2px solid #888; }
code, pre { background: #f4f4f2; border-radius: 4px; padding: .1rem .35rem; }
pre { padding: .7rem 1rem; overflow-x: auto; }
.yes { color: #1b7f4b; font-weight: 600; }
.no { color: #b3261e; font-weight: 600; }
.scroll { overflow-x: auto; }
"""


def write_report(results: Results, path: Path) -> None:
    """Write the page of a whole run in one step."""
    chosen = results.design(CHOSEN)
    parts = [
        f"<h1>mxhw: {_escape(results.model)} on {_escape(results.platform)}</h1>",
        f"<p class='lead'>{len(results.points)} designs for a model of {results.parameters:,} parameters, searched by "
        f"{OBJECTIVE_NAMES[results.config['search']['objective']]} against quality. "
        f"The chosen one ({_escape(chosen.reason)}) "
        "and the best of the other family of processing elements were emitted as RTL and simulated.</p>",
        "<h2>Result</h2>",
        _table(["", *[_design_title(d) for d in results.designs]], summary_rows(results)),
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
    parts += ["<h2>Co-simulation</h2>", _cosim(results.cosim)]
    parts += ["<h2>Reproduce</h2>", f"<pre>{_escape(results.command)}</pre>", _stages(results.seconds)]
    _write(path, f"mxhw: {results.model}", parts)


def write_cosim_page(folder: Path, cosim: dict[str, Any] | None, layers: Sequence[GemmDesign], path: Path) -> None:
    """Write the page of a folder that `mxhw emit` made: its layers, and their co-simulation if it has run."""
    rows = [
        [d.node, d.unit, d.weight_format, d.input_format, f"{d.rows}×{d.columns}", f"{d.m}", f"{d.n}", f"{d.k}"]
        for d in layers
    ]
    parts = [
        f"<h1>mxhw: emitted layers of {_escape(folder.name)}</h1>",
        _table(["node", "unit", "weights", "inputs", "array", "M", "N", "K"], rows),
        "<h2>Co-simulation</h2>",
        _cosim(cosim),
        "<h2>Reproduce</h2>",
        f"<pre>mxhw cosim {_escape(str(folder))}</pre>",
    ]
    _write(path, "mxhw: emitted layers", parts)


def cosim_verdict(cosim: dict[str, Any] | None, family: str | None = None) -> str:
    """Return ``yes``, ``no`` or ``not simulated`` for all cases or those of one family."""
    cases = [case for case in (cosim or {}).get("cases", []) if family in (None, case["unit"])]
    if not cases:
        return "not simulated"
    good = [case["mismatches"] == 0 and case["outputs"] > 0 and case["error"] is None for case in cases]
    return "yes" if all(good) else "no"


def summary_rows(results: Results) -> list[list[str]]:
    """Return the table that ends a run: a row a figure, a column a design."""
    designs = results.designs
    base = results.float_test

    def perplexity(quality: QualityRow) -> str:
        return _against(quality.perplexity, base.perplexity)

    return [
        ["perplexity, float model", *[f"{base.perplexity:.4f}" for _ in designs]],
        ["perplexity, quantized (float emulation)", *[perplexity(d.emulated) for d in designs]],
        ["perplexity, hardware arithmetic", *[perplexity(d.hardware) for d in designs]],
        ["share of MACs in hardware arithmetic", *[f"{100 * d.hardware_coverage:.1f} %" for d in designs]],
        ["KL to float, nats a token", *[f"{d.emulated.kl:.5f}" for d in designs]],
        ["top-1 agreement with float", *[f"{100 * d.emulated.top1:.2f} %" for d in designs]],
        ["true bits a weight", *[f"{d.weight_bits:.3f}" for d in designs]],
        ["true bits an input element", *[f"{d.input_bits:.3f}" for d in designs]],
        ["cycles a prefill, all GEMMs one after the other", *[f"{d.cycles:,.0f}" for d in designs]],
        ["cycles between prefills (slowest GEMM)", *[f"{d.interval:,.0f}" for d in designs]],
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
    return f"<p>{words}</p>" + _table(head, rows)


def _against(perplexity: float, base: float) -> str:
    return f"{perplexity:.4f} ({100 * (perplexity / base - 1):+.2f} %)"


def _cosim(cosim: dict[str, Any] | None) -> str:
    if not cosim or not cosim.get("cases"):
        return "<p>Not simulated yet.</p>"
    head = [
        "layer",
        "unit",
        "weights",
        "inputs",
        "outputs compared",
        "mismatches",
        "cycles without stalls (predicted)",
        "cycles with stalls",
    ]
    rows = [
        [
            case["node"],
            case["unit"],
            case["format"],
            case["input_format"],
            f"{case['outputs']:,}",
            f"{case['mismatches']:,}",
            f"{_count(case['cycles_stall_free'])} ({_count(case['cycles_stall_free_predicted'])})",
            _count(case["cycles"]),
        ]
        for case in cosim["cases"]
    ]
    verdict = cosim_verdict(cosim)
    words = {
        "yes": f"All {cosim['outputs']:,} outputs of the simulated RTL equal the software, bit for bit.",
        "no": f"{cosim['mismatches']:,} of {cosim['outputs']:,} outputs differ from the software.",
    }
    return f"<p class='{verdict}'>{words[verdict]}</p>" + _table(head, rows)


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _stages(seconds: dict[str, float]) -> str:
    total = sum(seconds.values())
    text = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    return f"<p>This run took {total:.0f} s: {_escape(text)}.</p>"


def _figure(figure: Any, *, with_library: bool = False) -> str:
    options = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["lasso2d", "select2d"]}
    text = figure.to_html(full_html=False, include_plotlyjs=with_library, config=options)
    return f"<div class='scroll'>{text}</div>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def cell(text: str) -> str:
        kind = f" class='{text}'" if text in ("yes", "no") else ""
        return f"<td{kind}>{_escape(text)}</td>"

    body = "".join(f"<tr>{''.join(cell(text) for text in row)}</tr>" for row in rows)
    return f"<div class='scroll'><table><tr>{''.join(f'<th>{_escape(h)}</th>' for h in head)}</tr>{body}</table></div>"


def _escape(text: str) -> str:
    return html.escape(text)


def _write(path: Path, title: str, parts: list[str]) -> None:
    page = (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{_escape(title)}</title>"
        f"<meta name='viewport' content='width=device-width'><style>{STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>"
    )
    write_text(path, page)
