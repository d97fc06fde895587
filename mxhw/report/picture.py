"""The Pareto front as a still picture (SVG), for papers and the README."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from mxhw.files import write_text
from mxhw.report.figures import FAMILY_COLOURS, loss, shown_axes
from mxhw.report.results import CHOSEN, Results

__all__ = ["write_front"]


def write_front(results: Results, path: Path) -> None:
    """Draw quality against each hardware objective, as `report.html` does, with matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "mxhw"  # equal results give equal files
    axes = shown_axes(results)
    figure, plots = plt.subplots(
        1, len(axes), figsize=(3.4 * len(axes), 3.4), sharey=True, layout="constrained", squeeze=False
    )
    chosen = results.design(CHOSEN).trial
    for plot, axis in zip(plots[0], axes, strict=True):
        for family, colour in FAMILY_COLOURS.items():
            points = [p for p in results.points if p.family == family]
            name = {"bitmod": "BitMoD bit-serial", "dialect": "DialectFP4"}[family]
            xs, ys = [axis.value(p) for p in points], [loss(results, p) for p in points]
            plot.scatter(xs, ys, s=22, color=colour, alpha=0.75, label=name, linewidths=0)
        marked = [p for p in results.points if p.trial == chosen]
        plot.scatter(
            [axis.value(p) for p in marked],
            [loss(results, p) for p in marked],
            marker="*",
            s=190,
            color="#f2c14e",
            edgecolors="#2b2b2b",
            label="chosen",
        )
        plot.set_xlabel(axis.title)
        plot.grid(alpha=0.25)
        plot.spines[["top", "right"]].set_visible(False)
    plots[0][0].set_ylabel("perplexity above float, %")
    plots[0][0].legend(frameon=False, fontsize=8)
    svg = StringIO()
    figure.savefig(svg, format="svg", metadata={"Date": None})
    plt.close(figure)
    write_text(path, svg.getvalue())
