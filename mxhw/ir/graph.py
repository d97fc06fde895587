"""The captured model: a `torch.fx.GraphModule` whose computing nodes carry typed records.

A :class:`Graph` can be run, asked, copied and saved. Passes that change the computation work on :meth:`Graph.copy`
and the fx nodes themselves; passes that only add knowledge return :meth:`Graph.with_nodes` or :meth:`with_sites`.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, fx, nn

from mxhw.errors import InputError, nearest
from mxhw.ir.describe import INFO
from mxhw.ir.dialect import operand_position
from mxhw.ir.metadata import NodeInfo, Site, SiteKey
from mxhw.ir.signature import Signature
from mxhw.ir.symbolic import size_at

__all__ = ["Graph", "Signature"]


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
    def weighted(self) -> list[NodeInfo]:
        """The nodes that multiply by a weight of their own (linear layers, experts, ...) in execution order."""
        return [info for info in self.nodes.values() if any(site.operand == "weight" for site in info.sites)]

    @property
    def uncovered(self) -> list[NodeInfo]:
        """The nodes that the dialect does not cover, in execution order: they run, as the float operators they are.

        These are nodes of kind "other", and products whose operands are no sites (a fused attention).
        """
        return [info for info in self.nodes.values() if info.op == "other" or (info.macs and not info.sites)]

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

    @property
    def attributes(self) -> dict[str, Tensor]:
        """Every parameter and buffer that the graph reads, by its path; tied weights are one tensor under two paths."""
        nodes = self.module.graph.find_nodes(op="get_attr")
        targets = dict.fromkeys(str(node.target) for node in nodes)
        return {target: operator.attrgetter(target)(self.module) for target in targets}

    @property
    def parameters(self) -> int:
        """How many numbers the parameters are, tied ones counted once."""
        unique = {id(value): value.numel() for value in self.attributes.values() if isinstance(value, nn.Parameter)}
        return sum(unique.values())

    @property
    def has_weights(self) -> bool:
        """Whether it can run; False for a graph that was captured from a configuration only."""
        return not any(value.is_meta for value in self.attributes.values())

    def run(self, x: Tensor) -> Tensor:
        """Return the logits [batch, sequence, vocabulary] of token ids [batch, sequence] (or the output for features).

        There is no padding mask: pad on the right and ignore those outputs.

        Raises
        ------
        InputError
            If the graph has no weights, ids are not integers in the vocabulary, or the shape is not one that the graph
            was captured for.
        """
        self._check_input(x)
        with torch.no_grad():
            y: Tensor = self.module(x)
            return y

    def macs(self, batch: int | None = None, sequence: int | None = None, past: int = 0) -> int:
        """Return the multiply-accumulates of one run, the masked half of attention included.

        `past` is the number of tokens that a cache holds before the run; it matters to graphs for decoding only.
        """
        b, s = self.sizes(batch, sequence)
        return sum(size_at(info.macs, b, s, past) for info in self.nodes.values())

    def sizes(self, batch: int | None = None, sequence: int | None = None) -> tuple[int, int]:
        """Return batch and sequence, the captured ones where None; InputError if a static graph has others."""
        return self.signature.sizes(batch, sequence)

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
        return cast(fx.Node, node.args[operand_position(node.target, operand)])

    def set_operand(self, name: str, operand: str, value: fx.Node) -> None:
        """Make `value` feed an operand of a matrix product; recompile the module once all are set."""
        self.operand(name, operand)
        node = self.fx_node(name)
        node.update_arg(operand_position(node.target, operand), value)

    def weight(self, name: str) -> Tensor:
        """Return the weight [out, in] of a linear node, or [experts, out, in], shared with the model.

        Raises
        ------
        InputError
            If the node is unknown, or no linear layer, or its weight is computed (quantized in the graph).
        """
        source = self.operand(name, "weight")
        if source.op != "get_attr":
            raise InputError(f"weight of {name!r} is computed by {source.name!r} here; ask the graph before the pass")
        weight = cast(Tensor, operator.attrgetter(str(source.target))(self.module))
        if weight.is_meta:
            self.check_weights()
        return weight

    def copy(self) -> Graph:
        """Return a graph with a structure of its own that shares every parameter with this one."""
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for node in self.module.graph.nodes:
            copies[node] = graph.node_copy(node, copies.__getitem__)
        return self._of_module(fx.GraphModule(self.module, graph, class_name="CapturedModel"))

    def _of_module(self, module: fx.GraphModule) -> Graph:
        """Return a graph of this kind around another module."""
        return Graph(module, self.signature)

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

    def check_weights(self) -> None:
        """Raise an InputError if the graph has no weights."""
        if not self.has_weights:
            raise InputError(
                f"graph of {self.signature.model} has no weights, so it cannot run; capture a directory with "
                "safetensors without config-only, or stream it (mxhw evaluate DIR --stream)"
            )

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
        self.check_weights()
        self.signature.check(x)
