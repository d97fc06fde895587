"""The graph as one self-contained HTML page: every computing node, its shapes, work, formats and errors.

Layers that repeat are collapsed and stand under one line for all layers of equal structure, which names them and says
how many there are; each opens by itself, for formats and errors differ from layer to layer. A node is found by the
search box, by the legend, by the links of the nodes that read it, or in the list of the worst ones. Without scripts
the page can still be read and opened, but not searched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from mxhw.ir import Graph, NodeInfo
from mxhw.report.graph_assets import SCRIPT, STYLE, kind_colour
from mxhw.report.graph_rows import NodeTable
from mxhw.report.graph_text import count, error_words, heat, short_name, size_text
from mxhw.report.markup import escape, write_page

if TYPE_CHECKING:
    from mxhw.ir import Assignment
    from mxhw.passes.analysis import Comparison

__all__ = ["write_graph_page"]

WORST = 10  # nodes that are listed first


def write_graph_page(
    graph: Graph,
    path: Path,
    *,
    batch: int | None = None,
    sequence: int | None = None,
    assignment: Assignment | None = None,
    comparisons: Sequence[Comparison] = (),
) -> None:
    """Write the page in one step; the graph needs no weights.

    Parameters
    ----------
    batch, sequence : int, optional
        Sizes that multiply-accumulates are counted for; those of the capture by default. Shapes stay symbolic.
    assignment : Assignment, optional
        Formats of the sites; without it those that the graph has, if any.
    comparisons : sequence of Comparison
        Errors of the nodes, from `mxhw.passes.analysis.PerNode`.

    Raises
    ------
    InputError
        If the assignment does not fit the graph, or a static graph is asked for other sizes.
    """
    if assignment is not None:
        assignment.check(graph)
    sizes = graph.sizes(batch, sequence)
    page = _GraphPage(graph, sizes, NodeTable(graph, sizes, assignment, comparisons), comparisons)
    write_page(path, f"graph of {graph.signature.model}", page.parts(), style=STYLE, script=SCRIPT)


class _GraphPage:
    """The parts of one page."""

    def __init__(
        self, graph: Graph, sizes: tuple[int, int], rows: NodeTable, comparisons: Sequence[Comparison]
    ) -> None:
        self.graph, self.nodes, self.sizes = graph, graph.nodes, sizes
        self.rows = rows
        self.comparisons = comparisons

    def parts(self) -> Iterable[str]:
        """Yield the page from top to bottom."""
        signature, (batch, sequence) = self.graph.signature, self.sizes
        structures = self.graph.blocks
        layers = sum(map(len, structures.values()))
        total = sum(self.rows.macs.values())
        bare = len(self.graph.uncovered)
        uncovered = f"{count(bare, 'node')} without a rule of the dialect. " if bare else ""
        repeated = f"{layers} layers of {count(len(structures), 'structure')}, " if layers else ""
        yield f"<h1>{escape(signature.model)}</h1>"
        yield (
            f"<p class='lead'>{repeated}{count(len(self.nodes), 'computing node')}, "
            f"<span title='{total:,}'>{size_text(total)} MACs</span> at batch {batch} and sequence {sequence}. "
            f"{uncovered}In shapes, b is the batch, s the sequence, and p what a cache holds before it.</p>"
        )
        yield self._legend()
        yield self._errors()
        yield "<main>"
        yield from self._sections()
        yield "</main><aside id='selected' hidden></aside>"

    def _legend(self) -> str:
        number = Counter(info.op for info in self.nodes.values())
        macs: Counter[str] = Counter()
        for name, info in self.nodes.items():
            macs[info.op] += self.rows.macs[name]
        kinds = sorted(number, key=lambda kind: (-macs[kind], -number[kind], kind))
        bar = "".join(
            f"<i style='flex-grow:{macs[kind] / self.rows.total:.6f};background:{kind_colour(kind)}' "
            f"title='{escape(kind)}: {self.rows.percent(macs[kind])} of the MACs'></i>"
            for kind in kinds
            if macs[kind]
        )
        buttons = "".join(
            f"<button type='button' data-kind='{escape(kind)}' style='--kind:{kind_colour(kind)}' "
            f"title='{'no rule knows these: they run, without hardware' if kind == 'other' else ''}'>{escape(kind)}"
            f"<small>{number[kind]}{f' · {self.rows.percent(macs[kind])}' if macs[kind] else ''}</small></button>"
            for kind in kinds
        )
        return (
            "<header><div class='find'><input id='search' type='search' autocomplete='off' spellcheck='false' "
            "aria-label='Find nodes' placeholder='Find a node: q_proj, layers.17 mlp, bitmod4 …   ( / )'>"
            "<output id='found'></output><button type='button' id='close'>close all</button></div>"
            f"<div class='legend'>{buttons}</div><div class='bar'>{bar}</div></header>"
        )

    def _errors(self) -> str:
        """Return the lists of the worst nodes, with what their figures mean."""
        if not self.comparisons:
            return ""
        return (
            "<details class='worst' open><summary>Where the errors are</summary><p>Own error: the node alone, fed with "
            "the values of the reference. Accumulated (acc.): with everything before it. Decibels of signal to "
            "quantization noise (6 dB are one bit), then the largest difference; "
            f"{count(self.comparisons[0].inputs, 'window')} of tokens.</p>"
            f"<div>{''.join(map(self._worst, self.comparisons))}</div></details>"
        )

    def _worst(self, comparison: Comparison) -> str:
        rows = "".join(
            f"<tr><td>{self.rows.link(each.node)}</td>"
            f"<td><span class='hot' style='{heat(each.local)}'>{error_words(each.local)}</span></td>"
            f"<td>{error_words(each.accumulated)}</td></tr>"
            for each in comparison.nodes[:WORST]
            if not (each.local.exact and each.accumulated.exact)
        )
        title = f"{escape(comparison.other)} against {escape(comparison.reference)}"
        if not rows:
            return f"<p>{title}: all outputs are equal.</p>"
        return (
            f"<table><caption>{title}, worst nodes first</caption>"
            f"<tr><th>node</th><th>own error</th><th>accumulated</th></tr>{rows}</table>"
        )

    def _sections(self) -> Iterable[str]:
        """Yield nodes outside of layers as they come, and all layers of one structure where its first one stands."""
        members: dict[str, list[NodeInfo]] = {}
        for info in self.nodes.values():
            if info.layer is not None:
                members.setdefault(info.layer, []).append(info)
        shown: set[int] = set()
        outside: list[NodeInfo] = []
        for block, infos in groupby(self.nodes.values(), key=lambda info: info.block):
            if block is None:
                outside += infos
            elif block not in shown:
                if outside:
                    yield self.rows.table(outside, None)
                    outside = []
                shown.add(block)
                yield self._structure({layer: members[layer] for layer in self.graph.blocks[block]})
        if outside:
            yield self.rows.table(outside, None)

    def _structure(self, layers: dict[str, list[NodeInfo]]) -> str:
        names = list(layers)
        infos = [info for members in layers.values() for info in members]
        body = "".join(self._layer(name, members) for name, members in layers.items())
        nodes = count(len(layers[names[0]]), "node")
        times = f"<span class='times'>×{len(names)}</span> " if len(names) > 1 else ""
        return (
            f"<details class='structure'><summary>{times}<b>{escape(_span(names))}</b> "
            f"{self._summary(infos, nodes + (' each' if len(names) > 1 else ''))}</summary>{body}</details>"
        )

    def _layer(self, layer: str, infos: list[NodeInfo]) -> str:
        return (
            f"<details class='layer'><summary><b>{escape(layer)}</b> {self._summary(infos, layer=layer)}</summary>"
            f"{self.rows.table(infos, layer)}</details>"
        )

    def _summary(self, infos: list[NodeInfo], nodes: str = "", layer: str | None = None) -> str:
        """Return what a closed section says: its share of the work, its formats, its worst node."""
        macs = sum(self.rows.macs[info.name] for info in infos)
        formats = dict.fromkeys(name for info in infos for name in self.rows.formats(info).values() if name)
        said = [nodes] if nodes else []
        said.append(f"{size_text(macs)} MACs, {self.rows.percent(macs)}")
        if formats:
            said.append(escape(", ".join(formats)))
        words = f"<span>{' · '.join(said)}</span>"
        for errors in self.rows.errors[:1]:
            worst = min((errors[i.name] for i in infos if i.name in errors), key=lambda e: e.local.sqnr, default=None)
            if worst is not None and not worst.local.exact:
                place = escape(short_name(worst.node, layer))
                words += f"<span class='hot' style='{heat(worst.local)}'>{place} {error_words(worst.local)}</span>"
        return words


def _span(names: list[str]) -> str:
    """Return "model.layers.0 … 31" for neighbours, else the numbers one by one."""
    if len(names) == 1:
        return names[0]
    stem = names[0].rpartition(".")[0]
    numbers = [name.rpartition(".")[2] for name in names]
    if {name.rpartition(".")[0] for name in names} != {stem}:
        return ", ".join(names)
    if [int(number) for number in numbers] == list(range(int(numbers[0]), int(numbers[0]) + len(numbers))):
        return f"{stem}.{numbers[0]} … {numbers[-1]}"
    return f"{stem}.{', '.join(numbers)}"
