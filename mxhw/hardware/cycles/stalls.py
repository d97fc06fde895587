"""Cycles of a design whose ports are held up: expected ones under random pauses, and under bandwidths.

    record of a unit   →  its stages, and how many beats fit into them            (:mod:`.stages`)
    design, ports      →  stages, queues, forks, pauses and bits of memories      (:mod:`.network`)
    graph              →  the least solution of its (max, +) equations            (:mod:`.marked`)

Beats wait where the design's own queues, buffers and pipelines are full: nothing is fitted. Without stalls the cycles
are those of :func:`.design_cycles`. Where only bandwidths bound, nothing is drawn; else the total is the mean over
drawn pauses, always the same ones, as many as make its standard error small.

These are the closed forms' equations with room added, but no formula: their time grows with the beats of a run, as that
of the simulator of events (`sim/performance`) does. It takes no more than records, and a walk computes hundreds of
draws.

Not described: what exactly becomes of bubbles in pipelines that stand (see :func:`.network.network_of`); refresh of
memories. `bench/validation/stalls.py` measures what this amounts to against the simulator of events, which equals the
RTL.

Source: Baccelli, Cohen, Olsder, Quadrat, Synchronization and Linearity (1992), section 2.5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np

from mxhw.errors import InputError, nearest
from mxhw.hardware.cycles.compose import DesignCycles, design_cycles
from mxhw.hardware.cycles.marked import StuckError, Times
from mxhw.hardware.cycles.network import Network, network_of
from mxhw.hardware.cycles.ports import PortStalls
from mxhw.hardware.cycles.rules import Run
from mxhw.hardware.structure import Design

__all__ = ["PortStalls", "StalledCycles", "stalled_cycles"]

_PRECISION = 0.0025
"""Standard error of the mean over draws, of the mean, below which no more are drawn."""

_DRAWS, _MOST = 64, 4096
_VALUES = 1 << 24  # times that are kept at once


@dataclass(frozen=True, eq=False)
class StalledCycles:
    """Cycles from the first beat in to the last beat out, both counted.

    Attributes
    ----------
    total : expected.
    deviation : standard deviation of a single run; 0 where nothing is random.
    draws : runs that this is the mean of.
    free : without stalls.
    """

    total: float
    deviation: float
    draws: int
    free: DesignCycles

    @property
    def standard_error(self) -> float:
        """Of the total, for the draws are not all that there are."""
        return self.deviation / sqrt(self.draws)


def stalled_cycles(
    design: Design, tokens: int, start: int = 0, *, ports: Mapping[str, PortStalls], precision: float = _PRECISION
) -> StalledCycles:
    """Return the cycles of tokens of one sequence, the first at position ``start``.

    Parameters
    ----------
    ports : input, or step whose stream leaves the design → what holds it up; others are free.
    precision : standard error of the mean, of the mean, that is enough; at most 4096 runs are drawn for it.

    Raises
    ------
    InputError
        For a port that the design has not, queues that are too short for a run to end, or what
        :func:`.compose.design_cycles` refuses.
    """
    known = [*design.inputs, *design.outputs]
    for name in ports:
        if name not in known:
            raise InputError(f"the design has no port {name!r}{nearest(name, known)}; it has {', '.join(known)}")
    free = design_cycles(design, tokens, start)
    try:
        network = network_of(design, Run(np.arange(start, start + tokens, dtype=np.int64)), ports)
        found = _drawn(network, ports, precision)
    except StuckError as error:
        raise InputError(
            f"a run of the design never ends, for its queues are too short: {error}; take the depths that"
            " mxhw.passes.emit.dataflow.fifos.fifo_depths gives"
        ) from error
    return StalledCycles(float(found.mean()), float(found.std()), len(found), free)


def _drawn(network: Network, ports: Mapping[str, PortStalls], precision: float) -> Times:
    """Return the cycles of each draw, of a single one if nothing is drawn."""
    if not network.pauses:
        return np.array([_cycles(network, network.graph.solve())], dtype=np.float64)
    rng, found = np.random.default_rng(0), np.empty(0)
    most = max(1, _VALUES // sum(network.graph.counts))
    while len(found) < _MOST:
        draws = min(most, max(_DRAWS, len(found)))
        drawn = [ports[each.name].pauses(rng, (each.beats, draws), is_output=each.is_output) for each in network.pauses]
        found = np.concatenate([found, _cycles(network, network.graph.solve(drawn))])
        if len(found) >= _DRAWS and found.std() <= precision * found.mean() * sqrt(len(found)):
            break
    return found


def _cycles(network: Network, times: list[list[Times]]) -> Times:
    """Return the cycles from the first beat in to the last one out."""
    begins = np.min([times[series][0] for series in network.inputs.values()], axis=0)
    ends = np.max([times[series][-1] for series in network.outputs.values()], axis=0)
    cycles: Times = ends - begins + 1
    return cycles
