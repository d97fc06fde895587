"""The captured model: a `torch.fx.GraphModule` whose computing nodes carry typed records.

A :class:`Graph` can be run, asked, copied and saved. Passes that change the computation work on :meth:`Graph.copy`
and the fx nodes themselves; passes that only add knowledge return :meth:`Graph.with_nodes` or :meth:`with_sites`.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, fx

from mxhw.errors import InputError, nearest
from mxhw.ir.describe import INFO
from mxhw.ir.dialect import OPERAND_POSITION
from mxhw.ir.metadata import NodeInfo, Site, SiteKey
from mxhw.ir.symbolic import size_at

__all__ = ["Graph", "Signature"]


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What a graph takes.

    Attributes
    ----------
    model : str
        Name of the model that was captured.
    kind : str
        "tokens" (ids [batch, sequence]) or "features" (one floating-point tensor).
    batch, sequence : int
        Sizes given at capture: the defaults of everything that needs sizes.
    dynamic : bool
        Whether it runs at other sizes too.
    vocabulary, context : int, optional
        Number of token ids, and of positions.
    """

    model: str
    kind: str
    batch: int
    sequence: int
    dynamic: bool
    vocabulary: int | None = None
    context: int | None = None


class Graph:
    """A captured model.

    Parameters
    ----------
    module : fx.GraphModule
        One input, one output tensor; computing nodes carry a NodeInfo in ``meta["mxhw"]``.
    signature : Signature
    """

    def __init__(self, module: fx.GraphModule, signature: Signature) -> None:
        self.module = module
        self.signature = signature
        module.eval()

    def __repr__(self) -> str:
        return f"Graph({self.signature.model!r}, {len(self.nodes)} nodes, {len(self.gemms)} GEMMs)"

    @property
    def nodes(self) -> dict[str, NodeInfo]:
        """The record of every computing node by name, in execution order; views are not among them."""
        return {node.meta[INFO].name: node.meta[INFO] for node in self.module.graph.nodes if INFO in node.meta}

    @property
    def sites(self) -> dict[SiteKey, Site]:
        """Everything that can be quantized, by "node:operand", in execution order."""
        return {site.key: site for info in self.nodes.values() for site in info.sites}

    @property
    def gemms(self) -> list[NodeInfo]:
        """The matrix products (linear, attn_qk, attn_pv) in execution order."""
        return [info for info in self.nodes.values() if info.is_gemm]

    @property
    def blocks(self) -> dict[int, list[str]]:
        """The layers that share each block number: structurally equal ones stand together."""
        layers: dict[int, list[str]] = {}
        for info in self.nodes.values():
            if info.block is not None and info.layer is not None:
                members = layers.setdefault(info.block, [])
                if info.layer not in members:
                    members.append(info.layer)
        return layers

    def run(self, x: Tensor) -> Tensor:
        """Return the logits [batch, sequence, vocabulary] of token ids [batch, sequence] (or the output for features).

        There is no padding mask: pad on the right and ignore those outputs.

        Raises
        ------
        InputError
            If ids are not integers in the vocabulary, or the shape is not one that the graph was captured for.
        """
        self._check_input(x)
        with torch.no_grad():
            y: Tensor = self.module(x)
            return y

    def macs(self, batch: int | None = None, sequence: int | None = None) -> int:
        """Return the multiply-accumulates of one run, the masked half of attention included."""
        b, s = self.sizes(batch, sequence)
        return sum(size_at(info.macs, b, s) for info in self.nodes.values())

    def sizes(self, batch: int | None = None, sequence: int | None = None) -> tuple[int, int]:
        """Return batch and sequence, the captured ones where None; InputError if a static graph has others."""
        captured = (self.signature.batch, self.signature.sequence)
        asked = (captured[0] if batch is None else batch, captured[1] if sequence is None else sequence)
        if not self.signature.dynamic and asked != captured:
            raise InputError(
                f"graph was captured for batch {captured[0]} and sequence {captured[1]} only, not {asked[0]} and "
                f"{asked[1]}; capture with dynamic=True"
            )
        return asked

    def fx_node(self, name: str) -> fx.Node:
        """Return the fx node of that name; InputError if there is none."""
        for node in self.module.graph.nodes:
            if INFO in node.meta and node.meta[INFO].name == name:
                return cast(fx.Node, node)
        raise self.unknown_node(name)

    def operand(self, name: str, operand: str) -> fx.Node:
        """Return the fx node that feeds an operand ("weight", "input", "lhs", "rhs") of a matrix product.

        Raises
        ------
        InputError
            If the graph has no such site.
        """
        node = self.fx_node(name)
        if all(site.operand != operand for site in node.meta[INFO].sites):
            raise self.unknown_site(f"{name}:{operand}")
        return cast(fx.Node, node.args[OPERAND_POSITION[operand]])

    def set_operand(self, name: str, operand: str, value: fx.Node) -> None:
        """Make `value` feed an operand of a matrix product; recompile the module once all are set."""
        self.operand(name, operand)
        self.fx_node(name).update_arg(OPERAND_POSITION[operand], value)

    def weight(self, name: str) -> Tensor:
        """Return the weight [out, in] of a linear node, shared with the model.

        Raises
        ------
        InputError
            If the node is unknown, or no linear layer, or its weight is computed (quantized in the graph).
        """
        source = self.operand(name, "weight")
        if source.op != "get_attr":
            raise InputError(f"weight of {name!r} is computed by {source.name!r} here; ask the graph before the pass")
        return cast(Tensor, operator.attrgetter(str(source.target))(self.module))

    def copy(self) -> Graph:
        """Return a graph with a structure of its own that shares every parameter with this one."""
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for node in self.module.graph.nodes:
            copies[node] = graph.node_copy(node, copies.__getitem__)
        return Graph(fx.GraphModule(self.module, graph, class_name="CapturedModel"), self.signature)

    def with_nodes(self, infos: Iterable[NodeInfo]) -> Graph:
        """Return a copy in which these records stand in for those of the same names; the rest stays."""
        copy = self.copy()
        by_name = {node.meta[INFO].name: node for node in copy.module.graph.nodes if INFO in node.meta}
        for info in infos:
            if info.name not in by_name:
                raise self.unknown_node(info.name)
            by_name[info.name].meta[INFO] = info
        return copy

    def with_sites(self, sites: Mapping[SiteKey, Site]) -> Graph:
        """Return a copy in which these sites stand in for those of the same keys; the rest stays."""
        if unknown := sites.keys() - self.sites.keys():
            raise self.unknown_site(min(unknown))
        infos = []
        for info in self.nodes.values():
            if any(site.key in sites for site in info.sites):
                infos.append(replace(info, sites=tuple(sites.get(site.key, site) for site in info.sites)))
        return self.with_nodes(infos)

    def unknown_node(self, name: str) -> InputError:
        """Return the error for a node that the graph lacks, with the nearest name."""
        return InputError(f"no node {name!r} in the graph of {self.signature.model}{nearest(name, self.nodes)}")

    def unknown_site(self, key: SiteKey) -> InputError:
        """Return the error for a site that the graph lacks, with the nearest key."""
        return InputError(f"no site {key!r} in the graph of {self.signature.model}{nearest(key, self.sites)}")

    def save(self, folder: str | Path) -> None:
        """Write the graph and its weights into `folder` (graph.json, weights.safetensors)."""
        from mxhw.ir.storage import save_graph

        save_graph(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> Graph:
        """Read what :meth:`save` wrote; InputError if it is not whole or not allowed."""
        from mxhw.ir.storage import load_graph

        return load_graph(Path(folder))

    def _check_input(self, x: Tensor) -> None:
        signature = self.signature
        if signature.kind == "features":
            if not x.is_floating_point():
                raise InputError(f"{signature.model} takes floating-point features, not {x.dtype}")
            self.sizes(x.shape[0], x.shape[1] if x.dim() == 3 else None)
            return
        if x.dim() != 2 or x.is_floating_point() or x.numel() == 0:
            raise InputError(f"token ids must be integers [batch, sequence], not {x.dtype} {tuple(x.shape)}")
        self.sizes(x.shape[0], x.shape[1])
        if signature.context is not None and x.shape[1] > signature.context:
            raise InputError(f"{x.shape[1]} tokens are more than the context of {signature.context} positions")
        low, high = int(x.min()), int(x.max())
        if low < 0 or (signature.vocabulary is not None and high >= signature.vocabulary):
            raise InputError(f"token ids must be from 0 to {(signature.vocabulary or 0) - 1}, not {low} to {high}")
