"""A unit that stays alive between calls: beats go in and come out on demand, with the state that those before left.

    with library.session() as session:
        session.send("requests", beats)
        logits = session.receive("logits", 64)
        session.cycles

The unit is reset once. Inputs are offered without pauses; outputs are taken at full speed, and what nobody asked for
yet is kept. Clocking happens in C++ (`native/session.cpp`), in the same cycles as a run without stalls. That a beat is
one too many only the caller can know: `pending` says what has come and was not received.
"""

import ctypes
from collections.abc import Sequence
from time import perf_counter
from types import TracebackType
from typing import Self

import numpy as np

from mxhw.errors import InputError
from mxhw.sim.beats import Array, Values, pack, unpack
from mxhw.sim.driver import (
    TEXT_BYTES,
    Constant,
    Fault,
    Result,
    SessionRequest,
    StreamRecord,
    Waiting,
    passed_beats,
)
from mxhw.sim.ports import Stream
from mxhw.sim.streams import IDLE_LIMIT, SimulationError, StreamError, check_known

__all__ = ["SimulationSession"]

_SLICE = 0.2  # seconds in C++ at a time, so that Ctrl-C is heard
_FIRST_SLICE, _LONGEST_SLICE = 256, 1 << 24  # cycles
_NONE = -1


class SimulationSession:
    """A model with what it has been sent since reset; made by :meth:`mxhw.sim.library.Library.session`, in any number.

    Attributes
    ----------
    cycles : clock cycles since reset.
    """

    def __init__(
        self,
        driver: ctypes.CDLL,
        model: int,
        streams: Sequence[Stream],
        request: SessionRequest,
        records: ctypes.Array[StreamRecord],
        constants: ctypes.Array[Constant],
        watched: ctypes.Array[ctypes.c_int32],
        *,
        limit: int | None = None,
    ) -> None:
        self._driver, self._model, self._session = driver, model, 0
        self._limit = _checked_limit(IDLE_LIMIT if limit is None else limit)
        self._streams, self._slice = list(streams), _FIRST_SLICE
        self._numbers = {stream.name: number for number, stream in enumerate(self._streams)}
        text = ctypes.create_string_buffer(TEXT_BYTES)
        opened = driver.mxhw_session_open(model, ctypes.byref(request), records, constants, watched, text, TEXT_BYTES)
        if not opened:
            self.close()
            raise SimulationError(text.value.decode(errors="replace"))
        self._session = opened

    @property
    def cycles(self) -> int:
        """Clock cycles since reset."""
        return int(self._driver.mxhw_session_cycles(self._alive()))

    def send(self, stream: str, beats: Values) -> None:
        """Queue beats of an input stream, as :meth:`Library.run` takes them; the unit gets them while it is clocked."""
        number = self._number("input stream", stream, is_input=True)
        port = self._streams[number].payload
        packed = pack(beats, port.width, port.signed, f"beats of {stream}")
        self._driver.mxhw_session_send(self._alive(), number, packed.ctypes.data, len(packed))

    def receive(self, stream: str, count: int, *, limit: int | None = None) -> Array:
        """Clock the unit until `count` beats of an output stream are there, and return them, as in `Run.outputs`.

        Parameters
        ----------
        limit : cycles without a beat, on a stream or at a tap, that are a deadlock; default: the session's.

        Raises
        ------
        InputError
            For an unknown name or a negative count.
        StreamError
            If the unit stops before; what has come is still there to be received.
        SimulationError
            If the simulation ends by itself; the session is closed then.
        """
        number = self._number("output stream", stream, is_input=False)
        if count < 0:
            raise InputError(f"the number of beats of {stream} must not be negative, not {count}")
        limit = self._limit if limit is None else _checked_limit(limit)
        while not self._run(Waiting(number, count, limit, self._slice)):
            pass
        port = self._streams[number].payload
        room = np.zeros(count, np.uint64) if port.width <= 64 else np.zeros((count, port.stride // 4), np.uint32)
        self._driver.mxhw_session_take(self._alive(), number, room.ctypes.data, count)
        return unpack(room, port.width, port.signed)

    def clock(self, cycles: int) -> None:
        """Clock the unit so many cycles, whatever moves."""
        end = self.cycles + cycles
        while (left := end - self.cycles) > 0:
            self._run(Waiting(_NONE, 0, 0, min(left, self._slice)))

    def pending(self, stream: str) -> int:
        """Return the beats of an input that the unit has not taken, or of an output that came and were not received."""
        check_known("stream", [stream], self._numbers)
        return int(self._driver.mxhw_session_waiting(self._alive(), self._numbers[stream]))

    def moved(self, stream: str) -> int:
        """Return how many beats of a stream have passed since reset."""
        check_known("stream", [stream], self._numbers)
        return int(self._driver.mxhw_session_moved(self._alive(), self._numbers[stream]))

    def close(self) -> None:
        """Drop the model."""
        if self._session:
            self._driver.mxhw_session_close(self._session)
        if self._model:
            self._driver.mxhw_close(self._model)
        self._session = self._model = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_model", 0):
            self.close()

    def _run(self, waiting: Waiting) -> bool:
        """Clock for a while; return whether the beats are there."""
        session, result, start, begin = self._alive(), Result(), perf_counter(), self.cycles
        came = bool(self._driver.mxhw_session_run(session, ctypes.byref(waiting), ctypes.byref(result)))
        if result.error == Fault.SIMULATION:
            self.close()
            raise SimulationError(result.text.decode(errors="replace"))
        if result.error:
            raise self._stopped(self._streams[waiting.stream], waiting)
        seconds, cycles = perf_counter() - start, self.cycles - begin
        if cycles == waiting.cycles:
            self._slice = min(max(_FIRST_SLICE, int(cycles * _SLICE / max(seconds, 1e-6))), _LONGEST_SLICE)
        return came

    def _stopped(self, stream: Stream, waiting: Waiting) -> StreamError:
        moved = {name: self.moved(name) for name in self._numbers}
        counts = [
            f"{moved[s.name]} of {moved[s.name] + self.pending(s.name)}" if s.is_input else str(moved[s.name])
            for s in self._streams
        ]
        had = self.pending(stream.name)
        said = f"no beat moved for {waiting.limit} cycles: deadlock or a lost beat"
        missing = f"while waiting for {waiting.count} {stream.name} beats, of which {had} came"
        where = f"cycle {self.cycles}: {passed_beats(self._streams, counts)}"
        error = StreamError(f"{said}, {missing}; {where}", None, None, self.cycles)
        error.moved = moved
        return error

    def _number(self, what: str, name: str, *, is_input: bool) -> int:
        check_known(what, [name], (stream.name for stream in self._streams if stream.is_input == is_input))
        return self._numbers[name]

    def _alive(self) -> int:
        if not self._session:
            raise SimulationError("the session is closed; open another")
        return self._session


def _checked_limit(limit: int) -> int:
    if limit < 1:
        raise InputError(f"limit must be at least 1 cycle, not {limit!r}")
    return limit
