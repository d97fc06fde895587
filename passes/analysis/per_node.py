"""Where an assignment hurts: the error of every computing node between two graphs of one model.

The graphs run in lockstep, node by node, so that of each only the values still to be read are in memory; nothing is
kept of a node but its sums. Two errors are measured for a node:

- **local**: the other graph's node (with its rounded weight and rounded inputs) is fed with the reference's values,
  and its output compared with the reference's. It is the error that this node itself makes: what to look at to find
  the culprit. A node that computes the same in both graphs is exact here.
- **accumulated**: both graphs run on the same tokens from the start, and the outputs are compared. It is what arrives
  at this place from everything before it as well.

Views (reshape, transpose, cat ...) compute nothing and are not listed; they are done on whatever values they get.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mxhw.errors import InputError
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis.deviation import Deviation, DeviationSums
from mxhw.passes.analysis.lockstep import lockstep
from mxhw.passes.base import Pass, PassResult, register_pass
from mxhw.passes.transform.quantize import Arithmetic, Quantize, QuantizeConfig
from mxhw.passes.transform.weights import WeightCache
from mxhw.progress import Progress, SilentProgress

__all__ = ["Comparison", "NodeError", "PerNode", "PerNodeConfig", "compare_nodes"]

FLOAT, EMULATION, HARDWARE = "float model", "float emulation", "hardware arithmetic"


@dataclass(frozen=True)
class NodeError:
    """The two errors of one node, for its kind `op` see :data:`mxhw.ir.dialect.OPS`."""

    node: str
    op: str
    local: Deviation
    accumulated: Deviation

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "node": self.node,
            "op": self.op,
            "local": self.local.to_json(),
            "accumulated": self.accumulated.to_json(),
        }


@dataclass(frozen=True)
class Comparison:
    """The errors of all computing nodes of `other` against `reference`.

    Attributes
    ----------
    other, reference : str
        Names for people, for instance "float emulation" and "float model".
    inputs : int
        Model inputs (windows) that were run.
    nodes : tuple of NodeError
        Worst first: by local SQNR, then by accumulated SQNR, then in execution order.
    """

    other: str
    reference: str
    inputs: int
    nodes: tuple[NodeError, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "of": self.other,
            "against": self.reference,
            "windows": self.inputs,
            "nodes": [node.to_json() for node in self.nodes],
        }


def compare_nodes(
    reference: Graph,
    other: Graph,
    inputs: Sequence[Tensor],
    *,
    names: tuple[str, str] = (EMULATION, FLOAT),
    progress: Progress | None = None,
) -> Comparison:
    """Return the local and the accumulated error of every computing node of `other` against `reference`.

    Parameters
    ----------
    reference, other : Graph
        Two graphs of one model with the same computing nodes in the same order, for instance before and after
        `Quantize`.
    inputs : sequence of Tensor
        What the graphs take, one after the other: token ids [batch, sequence], or features.
    names : pair of str
        What to call `other` and `reference`.

    Raises
    ------
    InputError
        If the graphs have different nodes, no weights or a cache to give, or there are no inputs.
    """
    _check(reference, other, inputs)
    sums = {name: DeviationSums() for name in reference.nodes}
    with (progress or SilentProgress()).task("compare nodes", len(inputs)) as task:
        for x in inputs:
            for name, value, local, accumulated in lockstep(reference, other, x):
                sums[name].add(value, local, accumulated)
            task.advance()
    nodes = [
        NodeError(name, info.op, sums[name].error(0), sums[name].error(1)) for name, info in reference.nodes.items()
    ]
    nodes.sort(key=lambda node: (node.local.sqnr, node.accumulated.sqnr))
    return Comparison(names[0], names[1], len(inputs), tuple(nodes))


def _check(reference: Graph, other: Graph, inputs: Sequence[Tensor]) -> None:
    if not inputs:
        raise InputError("comparing graphs node by node needs at least one input")
    for graph in (reference, other):
        graph.check_weights()
        if (places := len(graph.module.graph.find_nodes(op="placeholder"))) != 1:
            raise InputError(
                f"graph of {graph.signature.model} has {places} inputs; nodes can be compared where tokens or features "
                "are the only one, not in a graph for decoding"
            )
    ours, theirs = list(reference.nodes), list(other.nodes)
    if ours != theirs:
        odd = next((a for a, b in zip(ours, theirs, strict=False) if a != b), None) or (ours + theirs)[-1]
        raise InputError(
            f"graphs of {reference.signature.model} and {other.signature.model} have {len(ours)} and {len(theirs)} "
            f"nodes that differ from {odd!r} on; only two graphs of one capture can be compared node by node"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class PerNodeConfig:
    """What to compare, on what.

    Attributes
    ----------
    assignment : Assignment
    windows : int64 tensor [windows, tokens]
        They run one at a time.
    arithmetics : tuple of "float" and "hardware"
        "float" compares the float emulation with the float model; "hardware" compares the hardware arithmetic with
        the float emulation, whose operands are rounded alike.
    """

    assignment: Assignment
    windows: Tensor
    arithmetics: tuple[Arithmetic, ...] = ("float",)

    def __post_init__(self) -> None:
        if self.windows.dim() != 2 or self.windows.numel() == 0:
            raise InputError(f"windows to compare nodes on must be [windows, tokens], not {list(self.windows.shape)}")


@register_pass
class PerNode(Pass):
    """Measure where an assignment hurts: graph → the same graph; the report has the errors of every node.

    Parameters
    ----------
    config : PerNodeConfig
    cache : WeightCache, optional
        Shared with other passes, it saves rounding the weights again.
    """

    name = "per-node"
    description = "local and accumulated error of every node between float model, float emulation and hardware"
    requires = frozenset({"sites"})
    provides = frozenset({"node_errors"})

    def __init__(
        self, config: PerNodeConfig, cache: WeightCache | None = None, progress: Progress | None = None
    ) -> None:
        self.config = config
        self.cache = cache if cache is not None else WeightCache()
        self.progress = progress

    def __call__(self, graph: Graph) -> PassResult:
        """Return the graph and {"comparisons": [:meth:`Comparison.to_json`]}."""
        return PassResult(graph, {"comparisons": [each.to_json() for each in self.comparisons(graph)]})

    def comparisons(self, graph: Graph) -> list[Comparison]:
        """Return a comparison for each arithmetic of the config; `graph` is the float graph.

        Raises
        ------
        InputError
            If the assignment does not fit the graph.
        """
        windows = torch.split(self.config.windows, 1)
        emulated = self._quantized(graph, "float")
        found = []
        if "float" in self.config.arithmetics:
            found.append(compare_nodes(graph, emulated, windows, names=(EMULATION, FLOAT), progress=self.progress))
        if "hardware" in self.config.arithmetics:
            exact = self._quantized(graph, "hardware")
            found.append(compare_nodes(emulated, exact, windows, names=(HARDWARE, EMULATION), progress=self.progress))
        return found

    def _quantized(self, graph: Graph, arithmetic: Arithmetic) -> Graph:
        config = QuantizeConfig(assignment=self.config.assignment, arithmetic=arithmetic)
        return Quantize(config, self.cache)(graph).graph
