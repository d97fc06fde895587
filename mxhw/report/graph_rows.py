"""The rows of the graph's page: what is known of each node, and the totals that shares are taken of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mxhw.ir import Graph, NodeInfo, size_at
from mxhw.report.graph_assets import kind_colour
from mxhw.report.graph_text import error_text, shape_text, short_name, size_text
from mxhw.report.markup import escape

if TYPE_CHECKING:
    from mxhw.ir import Assignment
    from mxhw.passes.analysis import Comparison, NodeError

__all__ = ["NodeTable"]

_COLUMNS = (("name", "node"), ("shape", "shapes"), ("macs", "MACs"), ("formats", "formats"), ("reads", "reads"))


class NodeTable:
    """Writes tables of nodes.

    Parameters
    ----------
    graph : Graph
    sizes : (batch, sequence)
        What multiply-accumulates are counted for.
    assignment : Assignment or None
    comparisons : sequence of Comparison

    Attributes
    ----------
    anchors : mapping of node name to the id of its row
    macs : mapping of node name to multiply-accumulates
    total : int
        Their sum, at least 1.
    errors : list, a mapping of node name to NodeError for each comparison
    """

    def __init__(
        self, graph: Graph, sizes: tuple[int, int], assignment: Assignment | None, comparisons: Sequence[Comparison]
    ) -> None:
        nodes = graph.nodes
        self._formats = assignment.formats if assignment is not None else {}
        self._arrays = assignment.arrays if assignment is not None else {}
        self._comparisons = comparisons
        self._has_hardware = bool(self._arrays) or any(info.hardware for info in nodes.values())
        self.errors: list[dict[str, NodeError]] = [{e.node: e for e in each.nodes} for each in comparisons]
        self.anchors = {name: f"n{number}" for number, name in enumerate(nodes)}
        self.macs = {name: size_at(info.macs, *sizes) for name, info in nodes.items()}
        self.total = max(1, sum(self.macs.values()))

    def percent(self, macs: int) -> str:
        """Return the share of all multiply-accumulates."""
        return f"{100 * macs / self.total:.3g} %"

    def formats(self, info: NodeInfo) -> dict[str, str | None]:
        """Return operand to format of the node's sites; None where it has none."""
        return {site.operand: self._formats.get(site.key, site.format) for site in info.sites}

    def link(self, source: str, layer: str | None = None) -> str:
        """Return a link to a node, named as seen from `layer`; "input" is no node and only text."""
        if source not in self.anchors:
            return f"<span>{escape(source)}</span>"
        return f"<a href='#{self.anchors[source]}'>{escape(short_name(source, layer))}</a>"

    def table(self, infos: Sequence[NodeInfo], layer: str | None) -> str:
        """Return the table of some nodes, those of a layer named within it."""
        head = [*_COLUMNS, *([("hardware", "hardware")] if self._has_hardware else [])]
        head += [("error", f"{each.other}") for each in self._comparisons]
        cells = "".join(f"<th class='{kind}'>{escape(text)}</th>" for kind, text in head)
        rows = "".join(self._row(info, layer) for info in infos)
        return f"<table class='nodes'><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table>"

    def _row(self, info: NodeInfo, layer: str | None) -> str:
        name = info.name
        shapes = " · ".join(map(shape_text, info.input_shapes))
        cells = [
            f"<td class='name' title='{escape(name)}'><b>{escape(short_name(name, layer))}</b>"
            f"<small>{escape(info.op)} <i>{escape(info.module_class)}</i></small></td>",
            f"<td class='shape'>{escape(shapes)} → {escape(shape_text(info.output_shape))} "
            f"<small>{escape(info.dtype)}</small></td>",
            f"<td class='macs'>{self._work(info)}</td>",
            f"<td class='formats'>{self._format_text(info)}</td>",
            f"<td class='reads'>{' '.join(self.link(source, layer) for source in info.inputs)}</td>",
        ]
        if self._has_hardware:
            cells.append(f"<td class='hardware'>{escape(self._hardware(info))}</td>")
        for comparison, errors in zip(self._comparisons, self.errors, strict=True):
            text = error_text(errors[name]) if name in errors else ""
            cells.append(f"<td class='error' data-of='{escape(comparison.other)}'>{text}</td>")
        return (
            f"<tr id='{self.anchors[name]}' class='node' data-name='{escape(name)}' data-kind='{escape(info.op)}' "
            f"style='--kind:{kind_colour(info.op)}'>{''.join(cells)}</tr>"
        )

    def _work(self, info: NodeInfo) -> str:
        macs = self.macs[info.name]
        if not macs:
            return ""
        text = f"<div title='{macs:,}'>{size_text(macs)} <small>{self.percent(macs)}</small></div>"
        if not isinstance(info.macs, int):
            text += f"<div><small>{escape(size_text(info.macs))}</small></div>"
        return text

    def _format_text(self, info: NodeInfo) -> str:
        return "".join(
            f"<div><small>{escape(operand)}</small> {escape(name or '–')}</div>"
            for operand, name in self.formats(info).items()
        )

    def _hardware(self, info: NodeInfo) -> str:
        if info.hardware is not None:
            return " ".join(
                [info.hardware.component, *(f"{n} {name}" for name, n in info.hardware.parallelism.items())]
            )
        return "{}×{}".format(*self._arrays[info.name]) if info.name in self._arrays else ""
