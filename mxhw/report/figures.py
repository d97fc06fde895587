"""The report's figures, each a function from a run's results to a plotly figure."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mxhw.passes.search import pareto_front
from mxhw.report.results import CHOSEN, Design, DesignPoint, Results

__all__ = [
    "AXES",
    "FAMILY_COLOURS",
    "FAMILY_NAMES",
    "PLOTS_ACROSS",
    "Axis",
    "bits_map",
    "breakdown",
    "front_figure",
    "front_line",
    "loss",
    "shown_axes",
]

FAMILY_COLOURS = {"bitmod": "#1f6f8b", "dialect": "#d1603d"}
CHOSEN_COLOUR = "#2b2b2b"
UNIT_COLOURS = {**FAMILY_COLOURS, "attention": "#7d7d8c"}
FAMILY_NAMES = {"bitmod": "BitMoD bit-serial", "dialect": "DialectFP4"}
PLOTS_ACROSS = 3


@dataclass(frozen=True)
class Axis:
    """A hardware objective: the point's attribute, its name with unit, and the factor from the record to that unit."""

    attribute: str
    title: str
    factor: float = 1.0

    def value(self, point: DesignPoint) -> float | None:
        """Return the point's value in the unit of :attr:`title`, or None where the platform has no figure."""
        raw = getattr(point, self.attribute)
        return None if raw is None else raw * self.factor


AXES = (
    Axis("interval", "cycles between prefills, thousands", 1e-3),
    Axis("area", "area"),
    Axis("energy", "energy a prefill, µJ", 1e-6),
    Axis("edp", "energy × time between prefills, nJ·s", 1e-3),
    Axis("weight_bits", "true bits a weight"),
)


def shown_axes(results: Results) -> list[Axis]:
    """Return the axes that the platform has figures for, with its unit of area."""
    unit = results.designs[0].area_unit if results.designs else ""
    axes = [Axis("area", f"area, {unit}", 1.0) if axis.attribute == "area" else axis for axis in AXES]
    return [axis for axis in axes if all(axis.value(point) is not None for point in results.points)]


def loss(results: Results, point: DesignPoint) -> float:
    """Perplexity on the search text, in % above the float model's on the same text."""
    return 100 * (point.quality.perplexity / results.float_search.perplexity - 1)


def front_figure(results: Results) -> go.Figure:
    """Quality against each hardware objective, every trial, with the front and the chosen design."""
    axes = shown_axes(results)
    across = min(len(axes), PLOTS_ACROSS)
    down = -(-len(axes) // across)
    figure = make_subplots(rows=down, cols=across, shared_yaxes=True, horizontal_spacing=0.03, vertical_spacing=0.17)
    for index, axis in enumerate(axes):
        place = {"row": index // across + 1, "col": index % across + 1}
        for trace in _front_traces(results, axis):
            figure.add_trace(trace.update(showlegend=index == 0), **place)
        figure.update_xaxes(title_text=axis.title, **place)
    for row in range(1, down + 1):
        figure.update_yaxes(title_text="perplexity above float, %", row=row, col=1)
    return _styled(figure, height=90 + 320 * down)


def front_line(results: Results, axis: Axis) -> list[tuple[float, float]]:
    """Return (value on the axis, loss) of the trials that no other beats in both, by rising value."""
    values = [(loss(results, p), axis.value(p) or 0.0) for p in results.points]
    return [(x, y) for y, x in pareto_front(values, values)]


def _front_traces(results: Results, axis: Axis) -> list[go.Scatter]:
    """Return the trials of every family, the front, and the chosen design, as traces over one axis."""
    traces = []
    for family, colour in FAMILY_COLOURS.items():
        if points := [p for p in results.points if p.family == family]:
            traces.append(
                go.Scatter(
                    x=[axis.value(p) for p in points],
                    y=[loss(results, p) for p in points],
                    mode="markers",
                    name=FAMILY_NAMES[family],
                    legendgroup=family,
                    marker={"color": colour, "size": 8, "opacity": 0.75},
                    text=[f"trial {p.trial}: {p.label}" for p in points],
                    hovertemplate="%{text}<br>%{x:.4g}, %{y:.2f} %<extra></extra>",
                )
            )
    front = front_line(results, axis)
    traces.append(
        go.Scatter(
            x=[x for x, _ in front],
            y=[y for _, y in front],
            mode="lines",
            line={"shape": "hv", "color": "#999999", "width": 1.5, "dash": "dot"},
            name="front",
            legendgroup="front",
            hoverinfo="skip",
        )
    )
    chosen = [p for p in results.points if p.trial == results.design(CHOSEN).trial]
    traces.append(
        go.Scatter(
            x=[axis.value(p) for p in chosen],
            y=[loss(results, p) for p in chosen],
            mode="markers",
            marker={"symbol": "star", "size": 17, "color": "#f2c14e", "line": {"color": CHOSEN_COLOUR, "width": 1.5}},
            name="chosen",
            legendgroup="chosen",
            hovertemplate="chosen<br>%{x:.4g}, %{y:.2f} %<extra></extra>",
        )
    )
    return traces


def bits_map(design: Design) -> go.Figure:
    """True bits an element of every operand of every GEMM, one row a GEMM, with the format's name in the cell."""
    operands = ["weight", "input", "lhs", "rhs"]
    names = [node.node for node in design.nodes]
    values = [[node.bits.get(operand) for operand in operands] for node in design.nodes]
    labels = [
        [f"{node.formats[o]}<br>{node.bits[o]:.2f}" if o in node.bits else "" for o in operands]
        for node in design.nodes
    ]
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=["weight", "input", "left (q, p)", "right (k, v)"],
            y=names,
            text=[[label.replace("<br>", "  ") for label in row] for row in labels],
            texttemplate="%{text}",
            colorscale="Teal",
            zmin=2,
            zmax=9,
            colorbar={"title": "bits", "thickness": 12},
            hovertemplate="%{y} %{x}: %{text}<extra></extra>",
            xgap=2,
            ygap=1,
        )
    )
    figure.update_yaxes(autorange="reversed", tickfont={"size": 10})
    figure.update_xaxes(side="top")
    return _styled(figure, height=120 + 21 * len(names))


def breakdown(design: Design) -> go.Figure:
    """Cycles and energy of every GEMM of the design."""
    names = [node.node for node in design.nodes]
    energies = [node.energy for node in design.nodes]
    has_energy = all(energy is not None for energy in energies)
    titles = ["cycles, thousands"] + (["energy, µJ"] if has_energy else [])
    figure = make_subplots(rows=1, cols=len(titles), shared_yaxes=True, horizontal_spacing=0.03, subplot_titles=titles)
    series = [[node.cycles * 1e-3 for node in design.nodes]]
    if has_energy:
        series.append([(energy or 0.0) * 1e-6 for energy in energies])
    for column, values in enumerate(series, start=1):
        figure.add_trace(
            go.Bar(
                x=values,
                y=names,
                orientation="h",
                showlegend=False,
                marker={"color": [UNIT_COLOURS[node.unit] for node in design.nodes]},
                customdata=[f"{n.array[0]}×{n.array[1]} {n.unit}" for n in design.nodes],
                hovertemplate="%{y}: %{x:.4g} (%{customdata})<extra></extra>",
            ),
            row=1,
            col=column,
        )
    figure.update_yaxes(autorange="reversed", tickfont={"size": 10})
    return _styled(figure, height=110 + 19 * len(names))


def _styled(figure: go.Figure, *, height: int) -> go.Figure:
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 10, "r": 10, "t": 40, "b": 40},
        legend={"orientation": "h", "y": 1.12, "x": 0},
        font={"family": "system-ui, sans-serif", "size": 12},
    )
    figure.update_yaxes(automargin=True)
    return figure
