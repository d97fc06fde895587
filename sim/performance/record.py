"""The events of an emitted design as a file beside it, from which the cycles of any stalled run are predicted.

Emission knows who waits for whom (:mod:`mxhw.passes.emit.dataflow.schedule`); the folder of a design holds no graph. So
the system of events (:mod:`.events`) of the run whose beats lie there is kept: numbers that most often go up by one,
which take some kilobytes. :func:`predicted_cycles` solves it with the pauses that a bench draws of a seed.
"""

import json
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from mxhw.errors import InputError
from mxhw.sim.performance.events import DeadlockError, Events, Gate, IntArray, Moving, Wait
from mxhw.sim.performance.simulate import Inlet, Outlet, Timed, simulate
from mxhw.sim.performance.stalls import Stalls

__all__ = ["MOST_EVENTS", "SCHEDULE_FILE", "predicted_cycles", "read_schedule", "schedule_bytes"]

SCHEDULE_FILE = "schedule.npz"

MOST_EVENTS = 4_000_000
"""Events of a run that is predicted: about ten seconds."""

_VERSION = 1


def schedule_bytes(timed: Timed) -> bytes | None:
    """Return the file of a design's events; None for one with more than :data:`MOST_EVENTS` of them."""
    events = timed.events
    assert not events.holds, "holds come with a run"
    if sum(events.counts) > MOST_EVENTS:
        return None
    parts: list[IntArray] = []

    def kept(numbers: IntArray) -> int:
        parts.append(np.diff(numbers, prepend=0))
        return len(numbers)

    head = {
        "version": _VERSION,
        "names": events.names,
        "paces": [kept(pace) for pace in events.paces],
        "waits": [[_wait(wait, kept) for wait in waits] for waits in events.waits],
        "gates": [[gate.enters, gate.leaves, gate.latency, kept(gate.of)] for gate in events.gates],
        "moving": [[m.gate, m.target, m.cause, m.moves, m.delay, kept(m.of)] for m in events.moving],
        "branches": [[series, sorted(others)] for series, others in events.branches.items()],
        "inputs": {name: [port.taken, list(port.seen), port.width] for name, port in timed.inputs.items()},
        "outputs": {name: [port.given, port.width] for name, port in timed.outputs.items()},
    }
    content = BytesIO()
    text = np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)
    np.savez_compressed(content, head=text, steps=np.concatenate([np.empty(0, dtype=np.int64), *parts]))
    return content.getvalue()


def _wait(wait: Wait, kept: Callable[[IntArray], int]) -> list[int]:
    """Return the numbers of a wait; how many events are listed, which are kept elsewhere, as a negative number."""
    of = wait.of.start if isinstance(wait.of, slice) else -kept(wait.of)
    return [int(number) for number in (wait.cause, wait.delay, wait.at.start, wait.at.stop, of)]


def read_schedule(path: Path) -> Timed:
    """Read the events of a design; InputError if there is no such file, or it is damaged."""
    try:
        with np.load(BytesIO(path.read_bytes())) as arrays:
            return _timed(json.loads(arrays["head"].tobytes()), arrays["steps"])
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; emit the design again") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, BadZipFile, EOFError) as error:
        raise InputError(f"{path}: no schedule of a design ({error}); emit the design again") from error


def predicted_cycles(folder: Path, beats: Mapping[str, int], stalls: Stalls) -> int | None:
    """Return the cycles of a run of the design in a folder, from the first beat in to the last one out.

    None if it has no schedule (it would be too long, or generates text), or the run never ends.

    Parameters
    ----------
    beats : port → how many beats the run has.

    Raises
    ------
    InputError
        If the schedule is damaged, or that of another run.
    """
    path = folder / SCHEDULE_FILE
    if not path.exists():
        return None
    timed = read_schedule(path)
    taken = {name: timed.events.counts[port.taken] for name, port in timed.inputs.items()}
    known = taken | {name: timed.events.counts[port.given] for name, port in timed.outputs.items()}
    if known != dict(beats):
        wrong = next(name for name in {**known, **beats} if known.get(name) != beats.get(name))
        raise InputError(
            f"{path}: port {wrong} has {known.get(wrong, 0)} beats, but {beats.get(wrong, 0)} in design.json; emit the"
            " design again"
        )
    try:
        return simulate(timed, stalls).cycles
    except DeadlockError:
        return None


def _timed(head: dict[str, Any], steps: IntArray) -> Timed:
    if head["version"] != _VERSION:
        raise ValueError(f"version {head['version']!r}")
    place = 0

    def taken(count: int) -> IntArray:
        nonlocal place
        place += count
        if place > len(steps):
            raise ValueError("it ends too soon")
        found: IntArray = np.cumsum(steps[place - count : place])
        return found

    events = Events()
    events.names, events.paces = list(head["names"]), [taken(count) for count in head["paces"]]
    events.counts = [len(pace) for pace in events.paces]
    for waits in head["waits"]:
        events.waits.append([])
        for cause, delay, first, last, of in waits:
            index = taken(-of) if of < 0 else slice(of, of + last - first)
            events.waits[-1].append(Wait(cause, delay, slice(first, last), index))
    events.gates = [Gate(enters, leaves, latency, taken(count)) for enters, leaves, latency, count in head["gates"]]
    for gate, target, cause, moves, delay, count in head["moving"]:
        events.moving.append(Moving(gate, target, cause, taken(count), moves, delay))
    events.branches = {series: set(others) for series, others in head["branches"]}
    inputs = {name: Inlet(series, tuple(seen), width) for name, (series, seen, width) in head["inputs"].items()}
    return Timed(events, inputs, {name: Outlet(series, width) for name, (series, width) in head["outputs"].items()})
