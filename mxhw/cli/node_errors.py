"""What `mxhw evaluate --per-node` does: measures where an assignment hurts, and shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mxhw.cli.console import Output

if TYPE_CHECKING:
    from torch import Tensor

    from mxhw.ir import Assignment, Graph
    from mxhw.passes.analysis import Comparison, Deviation
    from mxhw.passes.transform import Arithmetic, WeightCache

__all__ = ["PER_NODE_WINDOWS", "compare", "show_comparison"]

PER_NODE_WINDOWS = 8  # of an evaluation's windows: sums over some thousand tokens change little with more


def compare(
    output: Output,
    graph: Graph,
    windows: Tensor,
    assignment: Assignment,
    arithmetics: tuple[Arithmetic, ...],
    cache: WeightCache,
) -> list[Comparison]:
    """Return a comparison for each arithmetic, on the first :data:`PER_NODE_WINDOWS` of `windows` [windows, tokens]."""
    from mxhw.passes.analysis import PerNode, PerNodeConfig

    config = PerNodeConfig(
        assignment=assignment,
        windows=windows[:PER_NODE_WINDOWS],
        arithmetics=arithmetics,
    )
    return PerNode(config, cache, output.progress).comparisons(graph)


def show_comparison(output: Output, comparison: Comparison, top: int) -> None:
    """Print the `top` worst nodes of a comparison (0: all nodes), and what the figures are."""
    shown = comparison.nodes[: top or None]
    rows = [[each.node, each.op, *_cells(each.local), *_cells(each.accumulated)] for each in shown]
    many = f"{len(shown)} of {len(comparison.nodes)} nodes, worst first"
    output.table(
        f"{comparison.other} against {comparison.reference}: {many}",
        ["node", "kind", "own SQNR, dB", "own largest", "accumulated SQNR, dB", "accumulated largest"],
        rows,
    )
    output.say(
        f"own: the node alone, on the values of the {comparison.reference}; accumulated: with all before it; "
        f"windows of text: {comparison.inputs}"
    )


def _cells(error: Deviation) -> list[str]:
    return ["exact", "0"] if error.exact else [f"{error.sqnr:.2f}", f"{error.largest:.3g}"]
