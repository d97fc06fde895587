"""Quantization: a graph whose weights, inputs and attention operands take the formats of an assignment.

rewrite, arithmetic "float":     y = linear(x, w)  →  y = linear(fake_quantize[fx](x), w rounded to fw)
                                 y = a @ b         →  y = fake_quantize[fa](a) @ fake_quantize[fb](b)
                                 convolutions as linear layers, attention and any product of two activations as a @ b
                                 experts as linear layers, each expert's weight rounded by itself
                                 attn(q, k)        →  attn(q, quantize_cache[fc](k)); k then is what the cache stores
rewrite, arithmetic "hardware":  y = linear(x, w)  →  y = HardwareGemm[fx, fw, w](x), where a unit computes that pair

A source that several nodes read in one format is quantized once. A weight that is shared with something else (an
output head tied to the embedding) is rounded for the GEMM only.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Literal, cast

import torch
from torch import Tensor, fx, nn

from mxhw.arithmetic import supports
from mxhw.errors import InputError
from mxhw.formats import Format, parse_format
from mxhw.ir import Assignment, Graph, NodeInfo, Site
from mxhw.ir.cache import CACHE, insert_cache_quantizer
from mxhw.ir.dialect import operand_position
from mxhw.passes.base import Pass, PassResult, register_pass
from mxhw.passes.transform.hardware_modules import HardwareAttentionPV, HardwareAttentionQK, HardwareLinear
from mxhw.passes.transform.weights import WeightCache

__all__ = ["Arithmetic", "Quantize", "QuantizeConfig", "mac_coverage"]

Arithmetic = Literal["float", "hardware"]
_INFO = "mxhw"
_OPERANDS = {"linear": ("input", "weight"), "attn_qk": ("lhs", "rhs"), "attn_pv": ("lhs", "rhs")}


@dataclass(frozen=True, kw_only=True)
class QuantizeConfig:
    """Which formats, and which arithmetic.

    Attributes
    ----------
    assignment : Assignment
        Formats by site; sites that are absent keep the captured floating-point values.
    arithmetic : "float" or "hardware"
        "float" rounds operands and multiplies in floating point, which is quick; "hardware" multiplies exactly as the
        RTL does wherever a unit exists, and as "float" elsewhere.
    """

    assignment: Assignment
    arithmetic: Arithmetic = "float"

    def __post_init__(self) -> None:
        if self.arithmetic not in ("float", "hardware"):
            raise InputError(f"arithmetic must be 'float' or 'hardware', not {self.arithmetic!r}")


@register_pass
class Quantize(Pass):
    """Give sites their formats and compute with them.

    Parameters
    ----------
    config : QuantizeConfig
    cache : WeightCache, optional
        Shared between calls, it makes a further assignment cost little more than its forward passes.
    """

    name = "quantize"
    description = "round weights, inputs and attention operands to their formats, in float or exact hardware arithmetic"
    requires = frozenset({"sites"})
    provides = frozenset({"formats"})

    def __init__(self, config: QuantizeConfig, cache: WeightCache | None = None) -> None:
        self.config = config
        self.cache = cache if cache is not None else WeightCache()

    def __call__(self, graph: Graph) -> PassResult:
        """Return a new graph; the given one is untouched.

        The report counts weights, quantizers, and the GEMM nodes and multiply-accumulates in hardware arithmetic.

        Raises
        ------
        InputError
            If the assignment names a site, node or format that does not exist.
        """
        self.config.assignment.check(graph)
        rewriting = _Rewriting(graph.copy(), self.config, self.cache)
        for node in list(rewriting.graph.module.graph.nodes):
            info = node.meta.get(_INFO)
            if isinstance(info, NodeInfo) and info.sites:
                rewriting.rewrite(node, info)
        rewriting.finish()
        return PassResult(rewriting.graph, rewriting.report(graph))


class _Rewriting:
    """One rewrite of one graph."""

    def __init__(self, graph: Graph, config: QuantizeConfig, cache: WeightCache) -> None:
        self.graph, self.fx, self.cache = graph, graph.module.graph, cache
        self.formats, self.axes = config.assignment.formats, config.assignment.axes
        self.exact = config.arithmetic == "hardware"
        self.quantizers: dict[tuple[fx.Node, str, int], fx.Node] = {}
        self.weights = 0
        self.in_hardware: list[str] = []
        self.without: list[str] = []
        self.attached = 0

    def rewrite(self, node: fx.Node, info: NodeInfo) -> None:
        """Give one node the formats of its sites."""
        sites = tuple(
            replace(site, format=self.formats.get(site.key, site.format), axis=self.axes.get(site.key, site.axis))
            for site in info.sites
        )
        node.meta[_INFO] = replace(info, sites=sites)
        formats = {site.operand: parse_format(self.formats[site.key]) for site in sites if site.key in self.formats}
        if CACHE in formats:
            self._quantize_cache(node, next(site for site in sites if site.operand == CACHE), formats.pop(CACHE))
        pair = [formats[operand] for operand in _OPERANDS.get(info.op, ()) if operand in formats]
        if self.exact and len(pair) == 2 and supports(pair[0], pair[1]) is not None:
            self._to_hardware(node, info, pair[0], pair[1])
            self.in_hardware.append(info.name)
            return
        if self.exact and sites:
            self.without.append(info.name)
        for site in sites:
            if site.operand in formats:
                self._quantize(node, site, formats[site.operand])

    def _quantize(self, node: fx.Node, site: Site, fmt: Format) -> None:
        position = operand_position(node.target, site.operand)
        source = _node(node.args[position])
        if site.operand == "weight" and source.op == "get_attr":
            value = self.cache.fake_quantized(self._tensor(source), fmt, site.axis)
            with self.fx.inserting_before(node):
                replacement = self.fx.get_attr(self._attach("weight", nn.Parameter(value, requires_grad=False)))
            self.weights += 1
        else:
            replacement = self._quantizer(source, fmt, site.axis)
        node.update_arg(position, replacement)

    def _quantize_cache(self, node: fx.Node, site: Site, fmt: Format) -> None:
        """Let attention read a rounded cache; the operand that it multiplies may be rounded once more after that."""
        position = operand_position(node.target, CACHE)
        source = _node(node.args[position])
        key = (source, f"{CACHE} {fmt.name}", site.axis)
        if key not in self.quantizers:
            self.quantizers[key] = insert_cache_quantizer(source, fmt.name, site.axis)
        node.update_arg(position, self.quantizers[key])

    def _quantizer(self, source: fx.Node, fmt: Format, axis: int) -> fx.Node:
        key = (source, fmt.name, axis)
        if key not in self.quantizers:
            with self.fx.inserting_after(source):
                self.quantizers[key] = self.fx.call_function(
                    torch.ops.mxhw.fake_quantize.default, (source, fmt.name, axis)
                )
        return self.quantizers[key]

    def _to_hardware(self, node: fx.Node, info: NodeInfo, lhs: Format, rhs: Format) -> None:
        """Put a module in the place of the operator; it takes the unrounded operands and encodes them itself."""
        module: nn.Module
        args = node.args
        if info.op == "linear":
            module = HardwareLinear(self.cache.hardware(self._tensor(_node(args[1])), lhs, rhs))
            args = (args[0], *args[2:])
            self.weights += 1
        elif info.op == "attn_qk":
            module = HardwareAttentionQK(lhs, rhs)
        else:
            module = HardwareAttentionPV(lhs, rhs)
        with self.fx.inserting_before(node):
            made = self.fx.call_module(self._attach("gemm", module), args)
        made.meta = dict(node.meta)
        node.replace_all_uses_with(made)
        self.fx.erase_node(node)

    def _tensor(self, source: fx.Node) -> Tensor:
        return cast(Tensor, attrgetter(str(source.target))(self.graph.module))

    def _attach(self, kind: str, value: nn.Module | nn.Parameter) -> str:
        """Add something to the graph's module under a name of its own."""
        name = f"quantized_{kind}_{self.attached}"
        self.attached += 1
        setattr(self.graph.module, name, value)
        return name

    def finish(self) -> None:
        """Drop what nothing reads any more, and make the graph runnable."""
        self.fx.eliminate_dead_code()
        self.fx.lint()
        self.graph.module.delete_all_unused_submodules()
        self.graph.module.recompile()

    def report(self, before: Graph) -> dict[str, Any]:
        """Return the counts."""
        report: dict[str, Any] = {
            "arithmetic": "hardware" if self.exact else "float",
            "sites": len(self.formats),
            "weights": self.weights,
            "quantizers": len(self.quantizers),
        }
        if self.exact:
            report["nodes_in_hardware"] = self.in_hardware
            report["nodes_without"] = self.without
            report["mac_coverage"] = mac_coverage(before, self.in_hardware)
        return report


def mac_coverage(graph: Graph, names: Iterable[str]) -> float:
    """Return the share of the graph's multiply-accumulates, at its default sizes, that the GEMMs of those names do."""
    macs = {info.name: info.gemm(*graph.sizes()).macs for info in graph.gemms}
    return sum(macs[name] for name in names) / max(1, graph.macs())


def _node(argument: object) -> fx.Node:
    """Return an operand of a GEMM node, which is always a node."""
    return cast(fx.Node, argument)
