"""The roofline of a machine as a picture: where prefill, decoding and each of their steps lie under the roof.

A panel a phase, both axes logarithmic. The slope is the bandwidth of memory outside, the flat part the peak of all
arrays; a step's own roof is lower, since it has its own array only, and is drawn as a dash above its point. What moves
nothing has no intensity: it stands at the right edge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, isinf
from pathlib import Path
from typing import Any

from mxhw.errors import InputError
from mxhw.hardware.machine import MachineCost, PhaseCost

__all__ = ["roofline_plot"]

_COLOURS = {"Product": "#1f6f8b", "Scores": "#d1603d", "Values": "#e0a458"}
_NAMES = {"Product": "product with weights", "Scores": "queries and keys", "Values": "weights and values"}
_ROOF, _MODEL = "#2b2b2b", "#7a1f5c"
_SUFFIXES = (".png", ".svg", ".pdf")
_MARGIN = 4.0  # of the axes around what is drawn, as a factor
_DECADES = 5  # below the roof that are drawn
_NEAR = 1.25  # factor within which points share a label


def roofline_plot(report: MachineCost, path: Path | str) -> Path:
    """Draw the roofline of a report into a file of the suffix's format; return its path.

    Raises InputError if the suffix is none of .png, .svg and .pdf, or no phase has tokens.
    """
    target = Path(path)
    if target.suffix not in _SUFFIXES:
        raise InputError(f"a picture must be a file {', '.join(_SUFFIXES)}, not {target.name!r}")
    phases = [phase for phase in (report.prefill, report.decode) if phase.tokens]
    if not phases:
        raise InputError("a roofline needs a prefill or decoding; this report has no tokens")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4 * len(phases), 4.9), layout="constrained")
    axes = figure.subplots(1, len(phases), sharey=True, squeeze=False)[0]
    limits = _limits(phases)
    for axis, phase in zip(axes, phases, strict=True):
        _panel(axis, phase, *limits)
    axes[0].set_ylabel("MACs a second")
    figure.legend(handles=list(_legend()), ncols=6, fontsize=8, loc="outside lower center", frameon=False)
    title = f"{report.platform} at {report.clock / 1e6:,.0f} MHz, batch {report.batch}; {report.placement}"
    figure.suptitle(title, fontsize=9)
    figure.savefig(target, dpi=150)
    return target


def _panel(axis: Any, phase: PhaseCost, width: tuple[float, float], height: tuple[float, float]) -> None:
    roof, edge = phase.roofline, width[1] / _MARGIN**0.5
    axis.set(xscale="log", yscale="log", xlim=width, ylim=height, xlabel="MACs a byte of memory outside")
    axis.grid(which="major", color="#dddddd", linewidth=0.6)
    ridge = roof.peak / roof.bandwidth if roof.bandwidth else width[0]
    corners = [
        (width[0], min(roof.peak, width[0] * roof.bandwidth or roof.peak)),
        (ridge, roof.peak),
        (width[1], roof.peak),
    ]
    axis.plot(*zip(*corners, strict=True), color=_ROOF, linewidth=1.4)
    labels: list[tuple[float, float, list[str]]] = []
    for step in sorted(phase.steps, key=lambda step: -step.cycles):
        point = step.roofline
        if point is None or point.attained < height[0]:
            continue
        place, colour = min(point.intensity, edge), _COLOURS[step.kind]
        axis.plot(place, point.attained, ">" if isinf(point.intensity) else "o", color=colour, markersize=5)
        axis.plot(place, point.roof, "_", color=colour, markersize=10)
        _label(labels, place, point.attained, step.name.removesuffix(".quantize").split(".")[-1])
    for x, y, names in labels:
        side, aligned = (-8, "right") if x >= edge else (8, "left")
        axis.annotate(", ".join(names), (x, y), xytext=(side, -3), textcoords="offset points", fontsize=7, ha=aligned)
    axis.plot(min(roof.intensity, edge), roof.attained, "*", color=_MODEL, markersize=13)
    bound = max(phase.bounds, key=lambda name: phase.bounds[name])
    axis.set_title(
        f"{phase.name}: {phase.tokens_per_second:,.4g} tokens/s, {roof.attained / roof.roof:.1%} of the roof; "
        f"{phase.bounds[bound] / phase.cycles:.0%} {bound}",
        fontsize=9,
    )
    if isinf(roof.intensity):
        axis.set(xticks=[], xlabel="nothing moves from or to memory outside")
        axis.minorticks_off()


def _label(labels: list[tuple[float, float, list[str]]], x: float, y: float, name: str) -> None:
    """Add a name to the label of a point that is near, or as a new one."""
    for there, height, names in labels:
        if max(x / there, there / x) < _NEAR and max(y / height, height / y) < _NEAR:
            names.append(name)
            return
    labels.append((x, y, [name]))


def _legend() -> Iterator[Any]:
    from matplotlib.lines import Line2D

    yield Line2D([], [], color=_ROOF, label="roof of the model")
    yield Line2D([], [], color=_MODEL, marker="*", markersize=11, linestyle="none", label="the whole model")
    for kind, colour in _COLOURS.items():
        yield Line2D([], [], color=colour, marker="o", linestyle="none", label=_NAMES[kind])
    yield Line2D([], [], color="#777777", marker="_", linestyle="none", label="roof of a step")


def _limits(phases: Sequence[PhaseCost]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the limits of both axes, the same for all panels."""
    points = [step.roofline for phase in phases for step in phase.steps if step.roofline is not None]
    points += [phase.roofline for phase in phases]
    ridges = [phase.roofline.peak / phase.roofline.bandwidth for phase in phases if phase.roofline.bandwidth]
    along = [*(point.intensity for point in points if 0 < point.intensity < inf), *ridges] or [1.0]
    top = max(phase.roofline.peak for phase in phases)
    lowest = min((point.attained for point in points if point.attained > 0), default=top)
    bottom = max(lowest / _MARGIN, top / 10**_DECADES)
    return (min(along) / _MARGIN, max(along) * _MARGIN**1.5), (bottom, top * _MARGIN)
