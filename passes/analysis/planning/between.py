"""What stands between steps: forks, queues and converters, found by the beats that they pass.

The units are those that :func:`mxhw.hardware.sizes.connections.connections` gives for a design of one stream, so that
which stands where is defined there alone.
"""

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mxhw.errors import InputError
from mxhw.hardware.platform import Platform
from mxhw.hardware.sizes.connections import connections, output_beat
from mxhw.hardware.structure import Converter, Design, Fifo, Fork, Step, Unit
from mxhw.passes.analysis.planning.compose import NotComposableError
from mxhw.passes.analysis.planning.costs import connection_cost
from mxhw.passes.analysis.planning.growing import Growing, Pairs
from mxhw.passes.analysis.planning.readers import Readers
from mxhw.passes.analysis.planning.shapes import Costs

__all__ = ["Beats", "Between"]

IntArray = NDArray[np.int64]
Stream = tuple[Step, int | None, int]
"""A step that gives a beat, None, 0; or one that reads it from an input of the design, at a place, in lanes."""


class Between:
    """Costs of what stands between steps, by beats.

    Parameters
    ----------
    costs : takes those of connections.
    """

    def __init__(self, costs: Costs, platform: Platform) -> None:
        self._costs, self._platform = costs, platform
        self._numbers: dict[Hashable, int] = {}
        self._streams: list[Stream] = []
        self._units: dict[Unit, int] = {}
        self._forks, self._queues, self._widths = Pairs(), Pairs(), Pairs()
        self._depths: dict[int, int] = {}

    def given(self, step: Step) -> int:
        """Return the number of the beat that a step gives; one that is not known is refused where it is read."""
        try:
            beat: Hashable = output_beat(step)
        except InputError:
            beat = step
        return self._number(beat, (step, None, 0))

    def taken(self, options: Sequence[Step], place: int, lanes: int) -> int:
        """Return the number of the beat that an input has whose first reader is one of these; it is the same for all.

        Raises
        ------
        NotComposableError
            If it is not.
        """
        made = {tuple(_around((step, place, lanes), readers=2, depth=1, width=lanes + 1)) for step in options}
        if len(made) != 1:
            raise NotComposableError
        return self._number((made.pop(), lanes), (options[0], place, lanes))

    def _number(self, key: Hashable, stream: Stream) -> int:
        number = self._numbers.setdefault(key, len(self._streams))
        if number == len(self._streams):
            self._streams.append(stream)
        return number

    def all(self, readers: Readers, beats: IntArray, lanes: IntArray) -> IntArray:
        """Return the cost numbers of all slots, 0 where nothing stands [slots].

        ``beats``: of all streams; ``lanes``: that steps take of their inputs [steps, places].
        """
        found = np.zeros(readers.slots, dtype=np.int64)
        found[readers.fork_slot] = self._forks.look_up(beats[readers.fork_stream], readers.fork_readers, self._fork)
        depths = np.array(
            [self._depths.setdefault(depth, len(self._depths)) for depth in readers.depths], dtype=np.int64
        )
        found[readers.queue_slot] = self._queues.look_up(
            beats[readers.queue_stream], depths[readers.queue_depth], self._queue
        )
        taken = lanes[readers.width_reader, readers.width_place]
        found[readers.width_slot] = self._widths.look_up(beats[readers.width_stream], taken, self._width)
        return found

    def _fork(self, beat: int, readers: int) -> int:
        return self._cost(Fork, _around(self._streams[beat], readers=readers))

    def _queue(self, beat: int, number: int) -> int:
        return self._cost(Fifo, _around(self._streams[beat], depth=list(self._depths)[number]))

    def _width(self, beat: int, lanes: int) -> int:
        return self._cost(Converter, _around(self._streams[beat], width=lanes))

    def _cost(self, kind: type[Unit], units: Sequence[Unit]) -> int:
        unit = next((unit for unit in units if isinstance(unit, kind)), None)
        if unit is None:
            return 0
        if unit not in self._units:
            self._units[unit] = self._costs.add(connection_cost(unit, self._platform))
        return self._units[unit]


def _around(stream: Stream, *, readers: int = 1, depth: int = 0, width: int | None = None) -> list[Unit]:
    """Return the connections of a stream that so many read, one of them through a queue, in beats of a width."""
    step, place, lanes = stream
    if place is None:
        giver = replace(step, name="giver", inputs=(), lanes_in=())
        taken = step.lanes_out if width is None else width
        reader = Step("reader", "", step.unit, ("giver",), (taken,), 1)
        steps, inputs = {"giver": giver, "reader": reader}, {}
    else:
        sources = tuple("giver" if each == place else "" for each in range(len(step.inputs)))
        taken = lanes if width is None else width
        lanes_in = tuple(taken if each == place else 1 for each in range(len(step.inputs)))
        steps = {"reader": replace(step, name="reader", inputs=sources, lanes_in=lanes_in)}
        inputs = {"giver": lanes}
    outputs = ("giver",) * (readers - 1)
    return list(connections(Design(inputs, steps, outputs, {("giver", "reader"): depth})))


class Beats:
    """Beats that steps give and take, for one size or another of each shape.

    Attributes
    ----------
    given : number of the beat [sizes].
    lanes : elements that are taken of each input [sizes, places].
    """

    def __init__(self, between: Between) -> None:
        self._between = between
        self.given, self.lanes = Growing(np.int64), Growing(np.int64, wide=True)

    def extend(self, steps: Sequence[Step]) -> None:
        """Add those of steps that are new."""
        for step in steps[len(self.given.array) :]:
            self.given.append(self._between.given(step))
            self.lanes.append(step.lanes_in)
