"""Still pictures of a search (SVG), for papers and the README: the front, the hypervolume, the comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from mxhw.errors import InputError
from mxhw.report.picture import write_svg
from mxhw.report.search.curves import band, front_of_pair
from mxhw.report.search.page import objective_title
from mxhw.report.search.payload import colours
from mxhw.report.search.record import SearchReport

__all__ = ["write_comparison", "write_hypervolume", "write_search_front", "write_search_pictures"]

_DECADE = 10.0  # ratio of values from which an axis is logarithmic


def write_search_pictures(report: SearchReport, folder: Path) -> list[Path]:
    """Write the pictures that the record has numbers for into a folder; return their paths."""
    wanted = (
        ("search-front.svg", write_search_front, len(report.objectives) > 1 and bool(report.complete)),
        ("hypervolume.svg", write_hypervolume, bool(report.hypervolume)),
        ("comparison.svg", write_comparison, report.comparison is not None),
    )
    paths = []
    for name, write, known in wanted:
        if known:
            write(report, folder / name)
            paths.append(folder / name)
    return paths


def write_search_front(report: SearchReport, path: Path) -> None:
    """Draw the first objective against every other, complete trials by who proposed them, with front and choice.

    Raises InputError if there is one objective only, or no complete trial.
    """
    if len(report.objectives) < 2 or not report.complete:
        raise InputError("a picture of a front needs two objectives and a complete trial")
    from matplotlib.figure import Figure

    others = range(1, len(report.objectives))
    figure = Figure(figsize=(4.4 * len(others) + 1.2, 3.5), layout="constrained")
    panels = figure.subplots(1, len(others), sharey=True, squeeze=False)[0]
    for panel, index in zip(panels, others, strict=True):
        _front_panel(panel, report, index)
    panels[0].set_ylabel(objective_title(report.objectives[0]))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    write_svg(figure, path)


def write_hypervolume(report: SearchReport, path: Path) -> None:
    """Draw the hypervolume after each trial, with marks of who proposed the complete ones.

    Raises InputError if it was not measured.
    """
    if not report.hypervolume:
        raise InputError("the search has no hypervolume to draw")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 3.2), layout="constrained")
    panel = figure.subplots()
    panel.step(range(1, len(report.trials) + 1), report.hypervolume, where="post", color="#999999", zorder=0)
    for source, colour in colours(trial.source for trial in report.complete).items():
        at = [i for i, trial in enumerate(report.trials) if trial.state == "complete" and trial.source == source]
        panel.scatter([i + 1 for i in at], [report.hypervolume[i] for i in at], s=13, color=colour, label=source)
    panel.set(xlabel="trials", ylabel="hypervolume", ylim=(0, 1.05 * max(report.hypervolume) or 1))
    _finish(panel)
    panel.legend(frameon=False, fontsize=8, loc="lower right")
    write_svg(figure, path)


def write_comparison(report: SearchReport, path: Path) -> None:
    """Draw median and range over the seeds of every strategy, against trials and against seconds.

    Raises InputError if the record has no comparison.
    """
    if report.comparison is None:
        raise InputError("the search has no comparison of strategies to draw")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    colour_of = colours(strategy.name for strategy in report.comparison.strategies)
    axes: tuple[Literal["trials", "seconds"], ...] = ("trials", "seconds")
    for panel, axis in zip(panels, axes, strict=True):
        for strategy in report.comparison.strategies:
            drawn, colour = band(strategy, axis), colour_of[strategy.name]
            panel.step(drawn.at, drawn.median, where="post", color=colour, linewidth=1.6, label=strategy.name)
            panel.fill_between(drawn.at, drawn.low, drawn.high, step="post", color=colour, alpha=0.16, linewidth=0)
        panel.set(xlabel=axis, xlim=(0, None))
        _finish(panel)
    panels[0].set(ylabel="hypervolume", ylim=(0, None))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    write_svg(figure, path)


def _front_panel(panel: Any, report: SearchReport, index: int) -> None:
    """Draw the complete trials over one objective, the front of both, and the chosen design."""
    for source, colour in colours(trial.source for trial in report.complete).items():
        points = [trial.values for trial in report.complete if trial.source == source]
        panel.scatter(*_xy(points, index), s=22, color=colour, alpha=0.75, linewidths=0, label=source)
    smaller = report.objectives[index].direction == "minimize"
    line = front_of_pair(report, index, 0)
    along, up = [x for x, _ in line], [y for _, y in line]
    where = "post" if smaller else "pre"
    panel.step(along, up, where=where, color="#999999", linestyle=":", linewidth=1.3, label="front", zorder=0)
    if report.chosen is not None:
        at = _xy([report.trial(report.chosen.number).values], index)
        panel.scatter(*at, marker="*", s=190, color="#f2c14e", edgecolors="#2b2b2b", label="chosen")
    every = _xy([trial.values for trial in report.complete], index)
    for set_scale, values in zip((panel.set_xscale, panel.set_yscale), every, strict=True):
        if min(values) > 0 and max(values) / min(values) >= _DECADE:
            set_scale("log")
    panel.set_xlabel(objective_title(report.objectives[index]))
    _finish(panel)


def _xy(points: list[tuple[float | None, ...]], index: int) -> tuple[list[float], list[float]]:
    """Return the values in one objective and in the first, of complete trials."""
    return [point[index] or 0.0 for point in points], [point[0] or 0.0 for point in points]


def _finish(panel: Any) -> None:
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
