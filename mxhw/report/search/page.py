"""The page of a search: one self-contained file that loads nothing from anywhere.

Tables, counts and the chosen design can be read without scripts; the pictures are drawn by the page's script from the
record that it holds. Elements have stable ids, by which tests and people's own scripts find them: `front`,
`hypervolume`, `formats`, `sensitivity`, `importance`, `comparison` (pictures), `chosen`, `feasible`, `front-table`, and
`record` (the JSON).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median

from plotly.colors import get_colorscale
from plotly.io import templates
from plotly.offline import get_plotlyjs

from mxhw.report.markup import escape, table, write_page
from mxhw.report.search.assets import SCRIPT, STYLE
from mxhw.report.search.payload import embedded, format_summary, page_data
from mxhw.report.search.record import Objective, SearchReport, Trial

__all__ = ["SEARCH_PAGE", "figure_text", "objective_title", "write_search_report"]

SEARCH_PAGE = "search.html"
_STATES = {"complete": "evaluated", "stopped": "stopped early", "infeasible": "infeasible"}
_ALL_FIGURES = 12  # of the table of the front, at most: the others are in the record and in the hover texts


def write_search_report(report: SearchReport, path: Path) -> None:
    """Write the page in one step."""
    parts = [
        f"<h1>mxhw search: {escape(report.model)}</h1>",
        _lead(report),
        _chosen(report),
        *_constraints(report),
        *_section("Pareto front", _front(report)),
        *_section("Hypervolume over trials", _hypervolume(report)),
        *_section("Formats", _formats(report)),
        *_section("Sensitivity", _sensitivity(report)),
        *_section("Importance", _importance(report)),
        *_section("Strategies compared", _comparison(report)),
        *_section("Reproduce", _reproduce(report)),
        f"<script>{get_plotlyjs()}</script>",
        f"<script type='application/json' id='record'>{embedded(_data(report))}</script>",
    ]
    write_page(path, f"mxhw search: {report.model}", parts, style=STYLE, script=SCRIPT)


def figure_text(value: float | None) -> str:
    """Return a number as tables show it: whole from 1000 on, else four digits."""
    if value is None:
        return "no figure"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def objective_title(objective: Objective) -> str:
    """Return an objective's name with its unit."""
    return f"{objective.name}, {objective.unit}" if objective.unit else objective.name


def _data(report: SearchReport) -> dict[str, object]:
    look = {"template": templates["plotly_white"].to_plotly_json(), "colorscale": get_colorscale("Teal")}
    return {**page_data(report), **look}


def _section(title: str, parts: Iterable[str]) -> list[str]:
    """Return a section with its heading, or nothing if the record has nothing for it."""
    found = list(parts)
    return [f"<h2>{escape(title)}</h2>", *found] if found else []


def _lead(report: SearchReport) -> str:
    aims = ", ".join(
        f"{objective_title(o)} ({'small' if o.direction == 'minimize' else 'large'})" for o in report.objectives
    )
    counts = {state: report.count(state) for state in ("complete", "stopped", "infeasible")}  # type: ignore[arg-type]
    total = len(report.trials)
    bar = "".join(
        f"<i class='{state}' style='flex-grow:{number}' title='{number} {_STATES[state]}'></i>"
        for state, number in counts.items()
        if number
    )
    words = ", ".join(f"{number} {_STATES[state]}" for state, number in counts.items() if number)
    feasible = f"{100 * (total - counts['infeasible']) / total:.0f} % feasible" if total else "no trials yet"
    return (
        f"<p class='lead'>Searched for {escape(aims)}. {total} trials: "
        f"<span id='feasible'>{feasible}</span> ({words}); "
        f"{len(report.front)} designs on the front.</p><div class='states'>{bar}</div>"
    )


def _chosen(report: SearchReport) -> str:
    if report.chosen is None:
        return "<p class='no'>No design was chosen: no trial keeps all constraints.</p>"
    trial = report.trial(report.chosen.number)
    cells = "".join(
        f"<div><b>{escape(figure_text(value))}</b><small>{escape(objective_title(objective))}</small></div>"
        for objective, value in zip(report.objectives, trial.values, strict=True)
    )
    formats = "".join(f"<li>{escape(line)}</li>" for line in format_summary(trial.formats))
    return (
        f"<div id='chosen' data-trial='{trial.number}'><div class='figures'><div><b>★ trial {trial.number}</b>"
        f"<small>{escape(trial.source)}</small></div>{cells}</div><p>{escape(report.chosen.reason)}</p>"
        f"<ul>{formats}</ul>{_download(trial)}</div>"
    )


def _constraints(report: SearchReport) -> Iterator[str]:
    """Yield a table: of each constraint its limit, what the chosen design has, how many broke it and by how much."""
    known = {} if report.chosen is None else report.known(report.trial(report.chosen.number))
    rows = []
    others = dict.fromkeys(n for t in report.trials for n, by in t.violations.items() if by > 0)
    for name in dict.fromkeys([*report.constraints, *others]):
        constraint, unit = report.constraints.get(name), report.units.get(name, "")
        broken = [trial.violations[name] for trial in report.trials if trial.violations.get(name, 0.0) > 0]
        by, limit = str(len(broken)), ""
        if constraint is not None:
            by += f" (median {100 * median(broken):.3g} % beyond)" if broken else ""
            limit = f"{'at most' if constraint.sense == '<=' else 'at least'} {figure_text(constraint.limit)} {unit}"
        rows.append([name, limit.rstrip(), figure_text(known[name]) if name in known else "", by])
    if rows:
        yield table(["constraint", "limit", "chosen design", "trials that broke it"], rows)


def _front(report: SearchReport) -> Iterator[str]:
    options = "".join(
        f"<option value='{i}'>{escape(objective_title(o))}</option>" for i, o in enumerate(report.objectives)
    )
    if len(report.objectives) > 1:
        yield (
            f"<p class='controls'><label>across <select id='front-x'>{options}</select></label>"
            f"<label>up <select id='front-y'>{options}</select></label>"
            "<label><input id='front-log' type='checkbox' checked> logarithmic where values span a decade</label></p>"
            "<p>Ringed designs are on the front of all objectives; the dotted line is the front of the two shown. "
            "A trial without a value in one of them stands on the edge. Click a ringed design to see its formats "
            "below.</p>"
            "<div id='front' class='picture'></div>"
        )
    if report.front:
        yield _front_table(report)


def _front_table(report: SearchReport) -> str:
    """Return the designs of the front, best first in the first objective, with a download of each assignment."""
    front = sorted((report.trial(number) for number in report.front), key=report.signed)
    aims = {objective.name for objective in report.objectives}
    names = [name for name in dict.fromkeys(n for t in front for n in t.figures) if name not in aims][:_ALL_FIGURES]
    head = ["trial", "proposed by", *map(objective_title, report.objectives)]
    head += [f"{name}, {report.units[name]}" if report.units.get(name) else name for name in names]
    chosen = None if report.chosen is None else report.chosen.number
    rows = []
    for trial in front:
        mark = "★ " if trial.number == chosen else ""
        cells = [trial.source, *map(figure_text, trial.values)]
        cells += [figure_text(trial.figures[name]) if name in trial.figures else "" for name in names]
        body = f"<td>{mark}{trial.number} {_download(trial)}</td>" + "".join(f"<td>{escape(c)}</td>" for c in cells)
        kind = " class='chosen'" if trial.number == chosen else ""
        rows.append(f"<tr data-trial='{trial.number}'{kind}>{body}</tr>")
    heads = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f"<div class='scroll'><table id='front-table'><tr>{heads}</tr>{''.join(rows)}</table></div>"


def _download(trial: Trial) -> str:
    if trial.assignment is None:
        return ""
    return f"<button type='button' class='download' data-trial='{trial.number}'>assignment-{trial.number}.json</button>"


def _hypervolume(report: SearchReport) -> Iterator[str]:
    if report.hypervolume:
        where = ", ".join(
            f"{o.name} {figure_text(v)} {o.unit}".rstrip()
            for o, v in zip(report.objectives, report.reference, strict=False)
        )
        against = f", measured from {escape(where)}" if where else ""
        last = figure_text(report.hypervolume[-1])
        yield f"<p>What the front dominates after each trial{against}; {last} at the end.</p>"
        yield "<div id='hypervolume' class='picture'></div>"


def _formats(report: SearchReport) -> Iterator[str]:
    chosen = [] if report.chosen is None else [report.chosen.number]
    shown = [n for n in dict.fromkeys([*chosen, *report.front]) if report.trial(n).formats]
    if not shown:
        return
    options = "".join(f"<option value='{n}'>{'★ ' if n in chosen else ''}trial {n}</option>" for n in shown)
    counted = all(report.trial(n).bits for n in shown)
    bits = "True bits an element, metadata and padding included" if counted else "Bits an element"
    yield f"<p class='controls'><label>design <select id='formats-design'>{options}</select></label></p>"
    yield f"<p>{bits} as colour: an operand a row, a layer a column. Hover shows the format of a cell.</p>"
    yield "<div id='formats' class='picture'></div><div id='formats-parameters'></div>"


def _sensitivity(report: SearchReport) -> Iterator[str]:
    if report.sensitivity:
        options = "".join(f"<option value='{i}'>{escape(t.metric)}</option>" for i, t in enumerate(report.sensitivity))
        yield f"<p class='controls'><label>metric <select id='sensitivity-metric'>{options}</select></label></p>"
        yield (
            "<p>Loss when one unit alone takes a format, on a logarithmic scale; white: no loss, or a gain. The rank "
            "correlation is with the true loss of drawn assignments: how far the metric can be trusted.</p>"
        )
        rows = [[t.metric, _rank(t.spearman), _rank(t.kendall)] for t in report.sensitivity]
        yield table(["rank correlation", "Spearman", "Kendall"], rows)
        yield "<div id='sensitivity' class='picture'></div>"


def _rank(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _importance(report: SearchReport) -> Iterator[str]:
    if report.importance:
        options = "".join(f"<option>{escape(name)}</option>" for name in report.importance)
        yield f"<p class='controls'><label>objective <select id='importance-objective'>{options}</select></label></p>"
        yield "<p>Share of what the trials' parameters explain of the objective.</p>"
        yield "<div id='importance' class='picture'></div>"


def _comparison(report: SearchReport) -> Iterator[str]:
    if (compared := report.comparison) is None:
        return
    yield (
        "<p class='controls'><label>against <select id='comparison-axis'><option value='trials'>trials</option>"
        "<option value='seconds'>seconds</option></select></label></p>"
        "<p>Median of the seeds, with the range from the worst seed to the best.</p>"
        "<div id='comparison' class='picture'></div>"
    )
    rows = []
    for strategy in compared.strategies:
        ends = [curve.hypervolume[-1] for curve in strategy.curves if curve.hypervolume]
        best = [curve.best for curve in strategy.curves if curve.best is not None]
        none = len(strategy.curves) - len(best)
        missed = f"; {none} of {len(strategy.curves)} seeds found none" if none else ""
        rows.append([strategy.name, str(len(strategy.curves)), _spread(ends), f"{_spread(best)}{missed}"])
    yield table(
        ["strategy", "seeds", "hypervolume at the end: median (range)", f"{compared.best_of}: median (range)"], rows
    )


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "none"
    return f"{figure_text(median(values))} ({figure_text(min(values))} … {figure_text(max(values))})"


def _reproduce(report: SearchReport) -> Iterator[str]:
    yield f"<pre>{escape(report.command)}</pre>" if report.command else ""
    rows = [[name, str(value)] for name, value in {"mxhw": report.mxhw, **report.fingerprint}.items()]
    facts = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows)
    yield f"<details><summary>What the study is of</summary><table class='facts'>{facts}</table></details>"
    if report.seconds:
        stages = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in report.seconds.items())
        yield f"<p>This search took {sum(report.seconds.values()):.0f} s: {escape(stages)}.</p>"
