"""What of a graph the dialect does not cover: it runs as the float operators it is, and is counted, never hidden."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import torch

from mxhw.ir.graph import Graph
from mxhw.ir.metadata import NodeInfo
from mxhw.ir.symbolic import size_at

__all__ = ["Uncovered", "uncovered"]


@dataclass(frozen=True)
class Uncovered:
    """The nodes of :attr:`Graph.uncovered`, and their share of the work.

    Attributes
    ----------
    operators : mapping of str to int
        How many nodes there are per torch operator.
    nodes : tuple of str
    macs, mac_share : int, float
        Multiply-accumulates of one run.
    bytes, byte_share : int, float
        What they write, of all that computing nodes write in one run.
    """

    operators: dict[str, int]
    nodes: tuple[str, ...]
    macs: int
    mac_share: float
    bytes: int
    byte_share: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON object."""
        return {**asdict(self), "nodes": list(self.nodes)}


def uncovered(graph: Graph, batch: int | None = None, sequence: int | None = None) -> Uncovered:
    """Return what the dialect does not cover, at a batch and a sequence length (the captured ones by default)."""
    sizes = graph.sizes(batch, sequence)
    found = graph.uncovered
    macs = sum(size_at(info.macs, *sizes) for info in found)
    written, all_written = _written(found, sizes), _written(graph.nodes.values(), sizes)
    return Uncovered(
        operators=dict(Counter(info.target for info in found)),
        nodes=tuple(info.name for info in found),
        macs=macs,
        mac_share=macs / max(1, graph.macs(*sizes)),
        bytes=written,
        byte_share=written / max(1, all_written),
    )


def _written(infos: Iterable[NodeInfo], sizes: tuple[int, int]) -> int:
    return sum(
        prod(size_at(size, *sizes) for size in info.output_shape) * getattr(torch, info.dtype).itemsize
        for info in infos
    )
