"""The structs and functions of `native/driver.cpp` and `session.cpp`, as ctypes sees them, and errors in words."""

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path

from mxhw.sim.beats import Array
from mxhw.sim.ports import Stream
from mxhw.sim.streams import StreamError

__all__ = [
    "TEXT_BYTES",
    "Clocking",
    "Column",
    "Constant",
    "Fault",
    "MemoryRecord",
    "Request",
    "Result",
    "SessionRequest",
    "StreamRecord",
    "TapRecord",
    "Waiting",
    "load_driver",
    "passed_beats",
    "stream_error",
]

TEXT_BYTES = 256


class Fault:
    """Error numbers of a run."""

    WITHDRAWN, CHANGED, EXTRA, IDLE, SIMULATION = range(1, 6)


class Clocking(ctypes.Structure):
    """Numbers of the clock and reset ports, -1 if there is none."""

    _fields_ = (("clk", ctypes.c_int32), ("rst", ctypes.c_int32))


class Constant(ctypes.Structure):
    """A port that keeps one value."""

    _fields_ = (("port", ctypes.c_int32), ("value", ctypes.c_void_p))


class MemoryRecord(ctypes.Structure):
    """A memory behind a port; all zero where there is none."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("rate", "cost", "room", "latency", "period", "pause"))


class StreamRecord(ctypes.Structure):
    """A stream with its beats; `moved`, and the cycles that `times` points to, are results."""

    _fields_ = (
        ("valid", ctypes.c_int32),
        ("ready", ctypes.c_int32),
        ("payload", ctypes.c_int32),
        ("is_output", ctypes.c_int32),
        ("state", ctypes.c_uint64),
        ("count", ctypes.c_uint64),
        ("beats", ctypes.c_void_p),
        ("stride", ctypes.c_uint32),
        ("top_mask", ctypes.c_uint32),
        ("moved", ctypes.c_uint64),
        ("times", ctypes.c_void_p),
        ("memory", MemoryRecord),
    )


class TapRecord(ctypes.Structure):
    """A tap; what follows `stride` are results, and so is what `got` and `times` point to."""

    _fields_ = (
        ("fire", ctypes.c_int32),
        ("payload", ctypes.c_int32),
        ("count", ctypes.c_uint64),
        ("beats", ctypes.c_void_p),
        ("expected", ctypes.c_void_p),
        ("got", ctypes.c_void_p),
        ("times", ctypes.c_void_p),
        ("stride", ctypes.c_uint32),
        ("moved", ctypes.c_uint64),
        ("different", ctypes.c_uint64),
        ("first", ctypes.c_uint64),
        ("cycle", ctypes.c_uint64),
    )


class Request(ctypes.Structure):
    """What a run is to do."""

    _fields_ = (
        ("clocking", Clocking),
        ("streams", ctypes.c_uint32),
        ("constants", ctypes.c_uint32),
        ("taps", ctypes.c_uint32),
        ("quiet", ctypes.c_uint32),
        ("threshold", ctypes.c_uint64),
        ("longest", ctypes.c_uint64),
        ("limit", ctypes.c_uint64),
        ("silence", ctypes.c_uint64),
    )


class Result(ctypes.Structure):
    """What a run found."""

    _fields_ = (
        ("error", ctypes.c_int32),
        ("stream", ctypes.c_int32),
        ("cycle", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),
        ("total", ctypes.c_uint64),
        ("text", ctypes.c_char * TEXT_BYTES),
    )


class Column(ctypes.Structure):
    """A port in every cycle of a trace."""

    _fields_ = (("port", ctypes.c_int32), ("stride", ctypes.c_uint32), ("values", ctypes.c_void_p))


class SessionRequest(ctypes.Structure):
    """What a session is opened with: how many streams, constants and ports that show movement inside follow."""

    _fields_ = (
        ("clocking", Clocking),
        ("streams", ctypes.c_uint32),
        ("constants", ctypes.c_uint32),
        ("watched", ctypes.c_uint32),
    )


class Waiting(ctypes.Structure):
    """What a session is clocked for; stream -1 waits for nothing."""

    _fields_ = (
        ("stream", ctypes.c_int32),
        ("count", ctypes.c_uint64),
        ("limit", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),
    )


def load_driver(path: Path) -> ctypes.CDLL:
    """Load a unit's library and declare its functions."""
    library, pointer = ctypes.CDLL(str(path)), ctypes.c_void_p
    text, number, count = ctypes.c_char_p, ctypes.c_uint64, ctypes.c_uint32
    library.mxhw_open.restype = pointer
    library.mxhw_open.argtypes = (text, text, text, number)
    library.mxhw_close.restype = None
    library.mxhw_close.argtypes = (pointer,)
    library.mxhw_run.restype = None
    library.mxhw_run.argtypes = (pointer,) * 6
    library.mxhw_trace.restype = ctypes.c_int
    library.mxhw_trace.argtypes = (pointer, pointer, number, pointer, count, pointer, count, pointer, number)
    stream = ctypes.c_int32
    library.mxhw_session_open.restype = pointer
    library.mxhw_session_open.argtypes = (pointer, pointer, pointer, pointer, pointer, text, number)
    for name in ("close", "send", "take"):
        getattr(library, f"mxhw_session_{name}").restype = None
    library.mxhw_session_close.argtypes = (pointer,)
    library.mxhw_session_send.argtypes = library.mxhw_session_take.argtypes = (pointer, stream, pointer, number)
    for name in ("moved", "waiting"):
        getattr(library, f"mxhw_session_{name}").restype = number
        getattr(library, f"mxhw_session_{name}").argtypes = (pointer, stream)
    library.mxhw_session_cycles.restype = number
    library.mxhw_session_cycles.argtypes = (pointer,)
    library.mxhw_session_run.restype = ctypes.c_int
    library.mxhw_session_run.argtypes = (pointer, pointer, pointer)
    return library


def stream_error(
    streams: list[Stream], records: list[StreamRecord], result: Result, limit: int, received: Mapping[str, Array]
) -> StreamError:
    """Put into words what the driver found, with how far all streams came."""
    counts = [f"{record.moved} of {record.count}" for record in records]
    where = f"cycle {result.cycle}: {passed_beats(streams, counts)}"
    if result.error == Fault.IDLE:
        said = f"no beat moved for {limit} cycles: deadlock or a lost beat"
        return StreamError(f"{said}; {where}", None, None, result.cycle, received)
    stream, beat = streams[result.stream], records[result.stream].moved
    valid, _, payload = stream.ports
    said = {
        Fault.WITHDRAWN: f"{valid} was withdrawn before ready, at {stream.name} beat {beat}",
        Fault.CHANGED: f"{payload} changed while valid and not ready, at {stream.name} beat {beat}",
        Fault.EXTRA: f"a {stream.name} beat too many after the last",
    }[result.error]
    return StreamError(f"{said}; {where}", stream.name, beat, result.cycle, received)


def passed_beats(streams: Sequence[Stream], counts: Sequence[str]) -> str:
    """Say how far the streams came."""
    return ", ".join(
        f"{count} {stream.name} beats {'accepted' if stream.is_input else 'received'}"
        for stream, count in zip(streams, counts, strict=True)
    )
