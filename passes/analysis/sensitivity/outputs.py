"""Errors at the outputs of a unit's own nodes, which get the values of the float model: `mse` and `hessian`.

mse      Σ over nodes  Σ‖ŷ − y‖² / Σ‖y‖²        relative squared error, 1 / SQNR; any operand
hessian  Σ over nodes  tr(ΔW H ΔWᵀ),  H = XXᵀ/T   squared error a token, not relative; weights only

y is a node's output on all T tokens of the windows, ŷ the same with the unit's operands rounded, X its inputs [in, T],
and ΔW = Ŵ − W. The second is the objective of GPTQ (Frantar et al., arXiv 2210.17323, eq. 1, with its H = 2XXᵀ), whose
saliencies SliM-LLM (arXiv 2405.14917) allocates by; no error is compensated here. Scores of attention that the causal
mask hides count in neither sum. A product that is no plain matrix product (convolution, experts) has the same
‖ΔW X‖² computed by its own operator with ΔW in the place of W.
"""

from collections.abc import Iterator, Sequence
from math import inf
from typing import Any

import torch
from torch import Tensor, fx

from mxhw.errors import InputError
from mxhw.ir import Graph
from mxhw.ir.describe import INFO
from mxhw.ir.dialect import operand_position
from mxhw.passes.analysis.quality import QualityEvaluator
from mxhw.passes.analysis.sensitivity.entry import Entry, nodes_of
from mxhw.passes.analysis.sensitivity.frontier import Frontier
from mxhw.passes.analysis.sensitivity.rounding import Rounding
from mxhw.passes.transform.weights import WeightCache

__all__ = ["output_errors", "weighted_errors"]

_BIAS = {"conv": 2, "expert_linear": 3}  # argument of the operator
_Roundings = dict[Entry, Rounding]


def output_errors(
    graph: Graph, evaluator: QualityEvaluator, entries: Sequence[Entry], weights: WeightCache | None
) -> Iterator[tuple[Entry, float]]:
    """Yield `mse` of every entry once the last of its nodes was reached."""
    return _sweep(graph, evaluator, entries, weights, _relative_errors)


def weighted_errors(
    graph: Graph, evaluator: QualityEvaluator, entries: Sequence[Entry], weights: WeightCache | None
) -> Iterator[tuple[Entry, float]]:
    """Yield `hessian` of every entry once the last of its nodes was reached."""
    return _sweep(graph, evaluator, entries, weights, _hessian_errors)


@torch.no_grad()
def _sweep(
    graph: Graph, evaluator: QualityEvaluator, entries: Sequence[Entry], weights: WeightCache | None, measure: Any
) -> Iterator[tuple[Entry, float]]:
    """Move through the graph once, and measure every node with those entries that are about it."""
    chunks = torch.split(evaluator.windows, evaluator.batch)
    frontier = Frontier(graph, chunks)
    waiting = {entry: {frontier.number(name) for name in nodes_of(graph, entry.unit)} for entry in entries}
    sums = dict.fromkeys(entries, 0.0)
    roundings: _Roundings = {}
    for place in sorted(set().union(*waiting.values())):
        frontier.advance(place)
        here = [entry for entry in entries if place in waiting[entry]]
        for entry in here:
            roundings.setdefault(entry, Rounding([entry], weights))
        found = measure(frontier, [roundings[entry] for entry in here], len(chunks), evaluator.windows.numel())
        for entry, error in zip(here, found, strict=True):
            sums[entry] += error
            waiting[entry].discard(place)
            if not waiting[entry]:
                del roundings[entry]
                yield entry, sums[entry]


def _relative_errors(frontier: Frontier, roundings: list[Rounding], chunks: int, tokens: int) -> list[float]:
    node = frontier.order[frontier.place]
    energy, errors = 0.0, [0.0] * len(roundings)
    for index in range(chunks):
        args, kwargs = frontier.arguments(index)
        exact = _seen(node, _call(node, args, kwargs))
        energy += _energy(exact)
        for number, rounding in enumerate(roundings):
            errors[number] += _energy(_seen(node, _call(node, rounding.arguments(node, args), kwargs)) - exact)
    return [error / energy if energy else error and inf for error in errors]


def _hessian_errors(frontier: Frontier, roundings: list[Rounding], chunks: int, tokens: int) -> list[float]:
    node = frontier.order[frontier.place]
    place = operand_position(node.target, "weight")
    weight = frontier.arguments(0)[0][place]
    changes = [(rounding.operand(node, place, weight) - weight).double() for rounding in roundings]
    errors = [0.0] * len(roundings)
    if node.target is torch.ops.aten.linear.default:
        inputs = [frontier.arguments(index)[0][0].reshape(-1, weight.shape[1]).double() for index in range(chunks)]
        hessian = sum((x.t() @ x for x in inputs), torch.zeros(weight.shape[1], weight.shape[1], dtype=torch.float64))
        found = [float(((change @ hessian) * change).sum()) / tokens for change in changes]
        return [0.0 if error < 0 else error for error in found]  # rounding; what is not a number stays
    bias = _BIAS.get(node.meta[INFO].op)
    for index in range(chunks):
        args, kwargs = frontier.arguments(index)
        plain: list[Any] = [None if i == bias else arg for i, arg in enumerate(args)]
        plain[0] = plain[0].double()
        for number, change in enumerate(changes):
            errors[number] += _energy(_call(node, (plain[0], change, *plain[2:]), kwargs)) / tokens
    return errors


def _call(node: fx.Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    if node.op != "call_function" or not callable(node.target):
        raise InputError(f"node {node.meta[INFO].name!r} is no operator of the dialect; its outputs cannot be compared")
    result: Tensor = node.target(*args, **kwargs)
    return result


def _seen(node: fx.Node, output: Tensor) -> Tensor:
    """Return the output without what the causal mask hides from everything after it."""
    info = node.meta[INFO]
    if info.causal and info.op == "attn_qk":
        return output.tril(output.shape[-1] - output.shape[-2])
    return output


def _energy(x: Tensor) -> float:
    return float(x.double().square().sum())
