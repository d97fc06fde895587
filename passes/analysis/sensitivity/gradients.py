"""Loss increases expanded around the float model: `taylor` and `fisher`, by one backward run a window.

    taylor  |Σ_w G_wᵀ Δ_w| / N          first order, LLM-MQ (Li et al., NeurIPS 2023 workshop): s = |gᵀ(W − Q(W))|
    fisher  ½ Σ_w Σ_i G_wi² Δ_wi² / N    diagonal of the empirical Fisher information, as in SqueezeLLM (Kim et al.,
                                        arXiv 2306.07629, section 4.1) for weights and FGMP (Hooper et al., arXiv
                                        2504.14152) for weights and activations

G_w is the gradient of the loss of window w by the operand: the negative log likelihood of the text's own next tokens,
summed over the window's predictions; N counts the predictions of all windows; Δ is the operand rounded minus unrounded,
of a weight the same in all windows. Gradients are squared window by window, never token by token or over a batch. Sums
run over all sites of a unit, in `taylor` before the absolute value is taken.

Both are in nats per token. With labels drawn from the model itself, gradients of different tokens are uncorrelated, so
that Σ G_w²/N estimates the diagonal of the Fisher information of one token, and half its quadratic form is the KL to
second order. SqueezeLLM's Σ F_ii Δ_i² differs from `fisher` by a constant factor only. The expansion is around one
operand as its node reads it: what else reads the same value stays unrounded.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from mxhw.ir import Graph
from mxhw.ir.describe import INFO
from mxhw.ir.dialect import operand_position
from mxhw.passes.analysis.quality import QualityEvaluator
from mxhw.passes.analysis.sensitivity.entry import Entry, nodes_of
from mxhw.passes.analysis.sensitivity.rounding import Rounding, is_constant
from mxhw.passes.transform.weights import WeightCache

__all__ = ["expansions"]

_Place = tuple[fx.Node, int]  # a node, and which of its arguments
_Seen = Mapping[_Place, tuple[Tensor, Tensor]]  # operand, gradient


def expansions(
    graph: Graph, evaluator: QualityEvaluator, entries: Sequence[Entry], weights: WeightCache | None, order: int
) -> Iterator[tuple[Entry, float]]:
    """Yield the `taylor` (order 1) or `fisher` (order 2) estimate of every entry, after the runs over all windows.

    In memory are the gradients of one window by all operands, and for weights one float64 number an element.
    """
    by_unit = {entry.unit: _places(graph, entry) for entry in entries}
    places = {entry: by_unit[entry.unit] for entry in entries}
    probed = _Probes(graph.module, {place for each in places.values() for place in each})
    constant = {(node, place) for node, place in probed.places if _is_weight(node, place)}
    roundings = {entry: Rounding([entry]) for entry in entries if not constant.issuperset(places[entry])}
    sums = dict.fromkeys(entries, 0.0)
    totals: dict[_Place, Tensor] = {}
    operands: dict[_Place, Tensor] = {}
    for window in torch.split(evaluator.windows, 1):
        seen = probed.gradients(window)
        for place in constant:
            operands[place], gradient = seen[place]
            power = gradient.double() ** order
            totals[place] = totals[place].add_(power) if place in totals else power
        for entry, rounding in roundings.items():
            for place in places[entry]:
                if place not in constant:
                    sums[entry] += _term(rounding, place, *seen[place], order)
    predictions = evaluator.windows.shape[0] * (evaluator.windows.shape[1] - 1)
    for entry in entries:
        rounding = Rounding([entry], weights)
        for place in places[entry]:
            if place in constant:
                change = (rounding.operand(*place, operands[place]) - operands[place]).double()
                sums[entry] += float((totals[place] * change**order).sum())
        yield entry, (abs(sums[entry]) if order == 1 else sums[entry] / 2) / predictions


def _term(rounding: Rounding, place: _Place, operand: Tensor, gradient: Tensor, order: int) -> float:
    change = rounding.operand(*place, operand).double() - operand.double()
    return float((gradient.double() * change).pow_(order).sum())


def _places(graph: Graph, entry: Entry) -> list[_Place]:
    rounding = Rounding([entry])
    nodes = [graph.fx_node(name) for name in nodes_of(graph, entry.unit)]
    return [(node, place) for node in nodes for place in rounding.places(node)]


def _is_weight(node: fx.Node, place: int) -> bool:
    has_weight = any(site.operand == "weight" for site in node.meta[INFO].sites)
    return has_weight and place == operand_position(node.target, "weight") and is_constant(node)


class _Probes(fx.Interpreter):
    """Runs a graph so that the loss can be derived by operands of its nodes."""

    def __init__(self, module: fx.GraphModule, places: set[_Place]) -> None:
        super().__init__(module)
        self.places = places
        self._by_node: dict[fx.Node, list[int]] = {}
        for node, place in sorted(places, key=lambda each: (each[0].name, each[1])):
            self._by_node.setdefault(node, []).append(place)
        self._probes: dict[_Place, Tensor] = {}

    def gradients(self, window: Tensor) -> _Seen:
        """Return every operand's value, and the gradient of the summed loss of a window [1, tokens] by it."""
        self._probes = {}
        with torch.enable_grad():
            logits = self.run(window)
            loss = torch.nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1).float(), window[:, 1:].flatten(), reduction="sum"
            )
            probes = list(self._probes.values())
            found = torch.autograd.grad(loss, probes, allow_unused=True, materialize_grads=True)
        return {
            place: (probe.detach(), gradient)
            for (place, probe), gradient in zip(self._probes.items(), found, strict=True)
        }

    def run_node(self, n: fx.Node) -> Any:
        if n not in self._by_node:
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        changed = list(args)
        for place in self._by_node[n]:
            changed[place] = self._probes[n, place] = _probe(n, place, changed[place])
        return getattr(self, n.op)(n.target, tuple(changed), kwargs)


def _probe(node: fx.Node, place: int, value: Tensor) -> Tensor:
    """Return the same numbers as a value of their own that a gradient can be taken by."""
    if _is_weight(node, place) or not value.requires_grad:
        return value.detach().requires_grad_()
    return value.clone()
