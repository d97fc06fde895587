"""When a design that generates text is done: its timed graph with the requests of a run."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mxhw.arithmetic.dataflow import RequestValues
from mxhw.errors import InputError
from mxhw.passes.emit.dataflow.place import Placed
from mxhw.passes.emit.dataflow.schedule import Loops, TimedGraph
from mxhw.passes.emit.dataflow.timing_control import control_schedule
from mxhw.passes.emit.dataflow.top import Depths
from mxhw.passes.emit.language.tokens import PassTokens
from mxhw.passes.transform.fold import Domain, LanguageGraph
from mxhw.sim.performance.events import DeadlockError, IntArray

__all__ = ["LanguageCycles", "language_cycles", "timed_language"]


@dataclass(frozen=True)
class LanguageCycles:
    """Cycles from the first request on, both ends counted.

    Attributes
    ----------
    prefill : to the first token that follows the last prompt.
    total : to the last output.
    """

    prefill: int
    total: int


def language_cycles(
    graph: LanguageGraph,
    placed: Mapping[str, Placed],
    depths: Depths,
    requests: RequestValues,
    tokens: Mapping[Domain, PassTokens],
    prefill: int,
) -> LanguageCycles:
    """Return the cycles of a run; ``prefill``: tokens that come of the prompts.

    Raises InputError if the FIFOs make it stop: where, and how far every stream comes.
    """
    timed = timed_language(graph, placed, depths, requests, tokens)
    try:
        times = timed.earliest()
    except DeadlockError as error:
        raise InputError(f"the design would stop, since its FIFOs are too short: {error!s:.400}") from error
    first = min(int(times[series][0]) for series in timed.inputs.values())
    chosen = times[timed.outputs[graph.chooser]]
    return LanguageCycles(int(chosen[prefill - 1]) - first + 1, timed.span(times))


def timed_language(
    graph: LanguageGraph,
    placed: Mapping[str, Placed],
    depths: Depths | None,
    requests: RequestValues,
    tokens: Mapping[Domain, PassTokens],
) -> TimedGraph:
    """Return the timed graph of a run; no depths: FIFOs without limit."""
    positions = {name: tokens[domain].positions for name, domain in graph.domains.items()}
    banks = {
        name: _banks(graph, tokens[domain])
        for name, domain in graph.domains.items()
        if domain in ("passes", "requests")
    }
    loops = Loops(graph.feedback, positions, banks, control_schedule(requests, graph.layers, graph.chunk))
    return TimedGraph(graph, placed, tokens["passes"].positions, depths, loops)


def _banks(graph: LanguageGraph, tokens: PassTokens) -> IntArray:
    return np.asarray(tokens.layers * graph.sequences + tokens.sequences)
