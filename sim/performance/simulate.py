"""A design that is held up at its ports: when every beat of it passes.

    found = simulate(timed, Stalls(stall=0.3, seed=1, memories={"x": Memory(bits=64, latency=80)}))
    found.cycles, found.inputs["x"], found.outputs["y"]

The design is a system of events (:mod:`.events`), to which its ports' other sides are added: an input's beat is offered
when the one before has passed and its source has it, an output's is taken when its sink does. Everything else, FIFOs
that fill and pipelines that stand, follows from the events' own waits (:mod:`.walk`).

Times are cycles since reset, the first one is 0, as the bulk engine counts them. No values are computed here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mxhw.sim.performance.events import Events, IntArray, Times
from mxhw.sim.performance.stalls import Stalls
from mxhw.sim.performance.walk import exact_times
from mxhw.sim.streams import check_known

__all__ = ["Inlet", "Outlet", "Simulated", "Timed", "simulate"]


@dataclass(frozen=True)
class Inlet:
    """An input of a design.

    Attributes
    ----------
    taken : the series of its beats.
    seen : all series that wait for a beat to be offered, ``taken`` or what stands for it included.
    width : bits of a beat.
    """

    taken: int
    seen: tuple[int, ...]
    width: int


@dataclass(frozen=True)
class Outlet:
    """An output of a design: the series of its beats, and their bits."""

    given: int
    width: int


@dataclass(frozen=True, eq=False)
class Timed:
    """A design as events, and its ports, by name."""

    events: Events
    inputs: Mapping[str, Inlet]
    outputs: Mapping[str, Outlet]


@dataclass(frozen=True, eq=False)
class Simulated:
    """When everything happens.

    Attributes
    ----------
    times : of every series of the design.
    inputs, outputs : port → cycle of each beat.
    """

    times: Times
    inputs: Mapping[str, IntArray]
    outputs: Mapping[str, IntArray]

    @property
    def cycles(self) -> int:
        """First beat in to last beat out, both counted."""
        first = min(int(times[0]) for times in self.inputs.values() if len(times))
        return max(int(times[-1]) for times in self.outputs.values() if len(times)) - first + 1


def simulate(timed: Timed, stalls: Stalls | None = None) -> Simulated:
    """Return when every beat of a design passes that is held up so; by default by nothing.

    Raises
    ------
    DeadlockError
        If some beat never passes.
    InputError
        For a memory at a port that the design has not, or whose buffer has no room for a beat.
    """
    stalls = stalls or Stalls()
    check_known("port", stalls.memories, [*timed.inputs, *timed.outputs])
    events = timed.events.copy()
    for name, inlet in timed.inputs.items():
        if (hold := stalls.at(name, inlet.width, is_output=False)) is not None:
            offers = events.series(f"{name} offers", events.counts[inlet.taken])
            events.hold(offers, hold)
            events.after(offers, inlet.taken, 1, lag=1, back=True)
            for series in inlet.seen:
                events.after(series, offers, 0)
    for name, outlet in timed.outputs.items():
        if (hold := stalls.at(name, outlet.width, is_output=True)) is not None:
            events.hold(outlet.given, hold)
    times = exact_times(events)[: len(timed.events.names)]
    return Simulated(
        times,
        {name: times[inlet.taken] for name, inlet in timed.inputs.items()},
        {name: times[outlet.given] for name, outlet in timed.outputs.items()},
    )
