"""The Pareto front as a still picture (SVG), for papers and the README."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

from mxhw.files import write_text
from mxhw.report.figures import FAMILY_COLOURS, FAMILY_NAMES, PLOTS_ACROSS, Axis, front_line, loss, shown_axes
from mxhw.report.results import CHOSEN, Results

__all__ = ["write_front", "write_svg"]


def write_front(results: Results, path: Path) -> None:
    """Draw quality against each hardware objective, as `report.html` does, with matplotlib."""
    from matplotlib.figure import Figure

    axes = shown_axes(results)
    across = min(len(axes), PLOTS_ACROSS)
    down = -(-len(axes) // across)
    size = (3.7 * across, 3.1 * down)
    figure = Figure(figsize=size, layout="constrained")
    plots = figure.subplots(down, across, sharey=True, squeeze=False)
    for plot, axis in zip(plots.flat, axes, strict=False):
        _draw(plot, results, axis)
    for plot in plots[:, 0]:
        plot.set_ylabel("perplexity above float, %")
    handles, labels = plots[0][0].get_legend_handles_labels()
    unused = list(plots.flat)[len(axes) :]
    for plot in unused:
        plot.axis("off")
    place = {"loc": "center"} if unused else {"loc": "best"}
    (unused or [plots[0][0]])[0].legend(handles, labels, frameon=False, **place)
    write_svg(figure, path)


def write_svg(figure: Any, path: Path) -> None:
    """Write a figure of matplotlib as SVG in one step; equal figures give equal files."""
    import matplotlib

    svg = StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "mxhw"}):
        figure.savefig(svg, format="svg", metadata={"Date": None})
    write_text(path, svg.getvalue())


def _draw(plot: Any, results: Results, axis: Axis) -> None:
    """Draw every trial over one axis, and the chosen design."""
    for family, colour in FAMILY_COLOURS.items():
        points = [p for p in results.points if p.family == family]
        xs, ys = [axis.value(p) for p in points], [loss(results, p) for p in points]
        plot.scatter(xs, ys, s=22, color=colour, alpha=0.75, label=FAMILY_NAMES[family], linewidths=0)
    front = front_line(results, axis)
    xs, ys = [x for x, _ in front], [y for _, y in front]
    plot.step(xs, ys, where="post", color="#999999", linestyle=":", linewidth=1.3, label="front", zorder=0)
    chosen = [p for p in results.points if p.trial == results.design(CHOSEN).trial]
    xs, ys = [axis.value(p) for p in chosen], [loss(results, p) for p in chosen]
    plot.scatter(xs, ys, marker="*", s=190, color="#f2c14e", edgecolors="#2b2b2b", label="chosen")
    plot.set_xlabel(axis.title)
    plot.grid(alpha=0.25)
    plot.spines[["top", "right"]].set_visible(False)
