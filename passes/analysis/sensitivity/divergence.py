"""KL of the logits against the float model when one unit alone takes a candidate: measured, not estimated."""

import os
import random
from collections.abc import Callable, Iterator, Sequence

import torch

from mxhw.ir import Graph
from mxhw.passes.analysis.quality import QualityEvaluator
from mxhw.passes.analysis.sensitivity.entry import Entry, nodes_of
from mxhw.passes.analysis.sensitivity.frontier import Frontier, Rounded
from mxhw.passes.analysis.sensitivity.rounding import Rounding
from mxhw.passes.transform.weights import WeightCache

__all__ = ["divergences"]


def divergences(
    graph: Graph,
    evaluator: QualityEvaluator,
    entries: Sequence[Entry],
    weights: WeightCache | None,
    wanted: Callable[[Entry], bool],
) -> Iterator[tuple[Entry, float]]:
    """Yield the KL [nats/token] of every entry as it is found, in the order of the graph.

    An entry that is not `wanted` any more when its turn comes is left out: another process has measured it. Processes
    take the candidates of a unit in different orders, so that two of them share the work.
    """
    frontier = Frontier(graph, torch.split(evaluator.windows, evaluator.batch))
    firsts = {entry: frontier.first(nodes_of(graph, entry.unit)) for entry in entries}
    shuffled = random.Random(os.getpid()).sample(list(entries), len(entries))
    for entry in sorted(shuffled, key=lambda entry: firsts[entry]):
        if wanted(entry):
            frontier.advance(firsts[entry])
            rounding = Rounding([(entry.unit, entry.candidate)], weights)
            yield entry, evaluator(Rounded(graph, rounding, frontier)).kl
