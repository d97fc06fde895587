"""Bulk co-simulation: any unit as a library in this process, run from arrays in one call a run.

    library = build_library(component)
    run = library.run({"x": beats}, {"y": 64}, stall=0.3, seed=1)      # streams under random stalls
    trace = library.trace({"a": values, "b": values})                  # one value a port and clock cycle
    with library.session() as session: ...                             # beats on demand (`session.py`)

Taps (`taps.py`) show beats inside the unit: `taps={"t": 64}` records them, `compare={"t": beats}` compares them while
they pass.

The protocol checked is that of `mxhw.rtl_templates`: a payload that waits stays valid and unchanged, valid does not
wait for ready (under stalls, ready mostly waits for valid: a unit that waits too stops), no beat is missing, none too
many. Payloads are rubbish while not valid. The pauses are those of the cocotb bench (`bench.py`), draw for draw, so
that both engines take the same cycles. What a beat should be is for the caller to say.
"""

import ctypes
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mxhw.errors import InputError
from mxhw.sim.beats import Array, Values, pack, to_ints, unpack
from mxhw.sim.cache import read_source
from mxhw.sim.driver import (
    TEXT_BYTES,
    Clocking,
    Column,
    Constant,
    Fault,
    MemoryRecord,
    Request,
    Result,
    SessionRequest,
    StreamRecord,
    load_driver,
    stream_error,
)
from mxhw.sim.memory import Memory
from mxhw.sim.ports import (
    CLOCK,
    RESET,
    Port,
    Stream,
    check_stall,
    component_ports,
    component_verilog,
    find_streams,
)
from mxhw.sim.session import SimulationSession
from mxhw.sim.shared import SharedBuild, Waves, build_shared
from mxhw.sim.streams import IDLE_LIMIT, SimulationError, StreamError, check_known, check_names, pause_state
from mxhw.sim.taps import Tap, TapComparison, TapRun, find_taps

__all__ = ["Library", "Run", "SimulationError", "StreamError", "build_library", "build_library_from_sources"]

_SILENCE = 200  # cycles to wait for a beat too many
_TOGGLES = ".saif"


@dataclass(frozen=True)
class Run:
    """What came out.

    Attributes
    ----------
    outputs : stream → beats: uint64 [n], int64 [n] where the payload is signed, uint32 [n, words] above 64 bits.
    cycles : first input beat to last output beat, both counted.
    simulated : all clock cycles of the run, with those that waited for a beat too many.
    taps : tap that was recorded → beats, as in `outputs`.
    compared : tap that was compared → what differs.
    times : stream or tap → cycle of each beat, the first one after reset is 0; empty where it was not asked for.
    """

    outputs: dict[str, Array]
    cycles: int
    simulated: int
    taps: dict[str, Array] = field(default_factory=dict)
    compared: dict[str, TapComparison] = field(default_factory=dict)
    times: dict[str, Array] = field(default_factory=dict)

    def ints(self, stream: str) -> list[int]:
        """Return the beats of a stream as Python ints, whatever their width; wide ones unsigned."""
        return to_ints(self.outputs[stream])


@dataclass(frozen=True)
class _Source:
    """What a unit was made of, for a second build that writes waveforms."""

    texts: tuple[str, ...]
    top: str
    cache: Path | None
    folder: Path | None
    signed: frozenset[str]


class Library:
    """A compiled unit; made by :func:`build_library`.

    Attributes
    ----------
    ports : of the top module, by name, clock and reset included.
    streams : by name.
    taps : by name, which is what stands before `_fire` and `_payload`.
    build : the file, and what making it took.
    """

    def __init__(self, source: _Source, *, waves: Waves = None) -> None:
        self.build: SharedBuild = build_shared(source.texts, source.top, cache=source.cache, waves=waves)
        self.ports: dict[str, Port] = {p.name: replace(p, signed=p.name in source.signed) for p in self.build.ports}
        self.streams: dict[str, Stream] = find_streams(self.ports)
        self.taps: dict[str, Tap] = find_taps(self.ports)
        self._numbers = {port.name: index for index, port in enumerate(self.build.ports)}
        self._clocking = Clocking(self._numbers.get(CLOCK, -1), self._numbers.get(RESET, -1))
        self._source = source
        self._model: int | None = None
        self._driver: ctypes.CDLL | None = None

    def run(
        self,
        inputs: Mapping[str, Values],
        outputs: Mapping[str, int],
        *,
        taps: Mapping[str, int] | None = None,
        compare: Mapping[str, Values] | None = None,
        stall: float = 0.0,
        seed: int = 0,
        levels: Mapping[str, int] | None = None,
        limit: int | None = None,
        longest: int | None = None,
        memories: Mapping[str, Memory] | None = None,
        times: bool = False,
        fresh: bool = True,
        waves: Path | None = None,
    ) -> Run:
        """Reset the unit, send all beats, take all outputs, and check the protocol.

        Parameters
        ----------
        inputs : every input stream → its beats: ints, an integer array [n], or uint32 [n, words] above 64 bits.
        outputs : every output stream → the number of beats to expect.
        taps : taps to record → the number of beats to expect; others cost nothing.
        compare : taps to compare → the beats to expect; what differs is told in `Run.compared`, and the run goes on.
        stall : probability a cycle and port of a pause, 0 to 0.95; some pauses are long (up to `longest` cycles).
        levels : the inputs that belong to no stream → their value during the run.
        limit : cycles without a beat that are a deadlock; default 4096.
        longest : default a quarter of `limit`.
        memories : streams that a memory gives or takes, as fast as it can; others have their beats at once.
        times : note the cycle of every beat that passes a stream or a tap.
        fresh : make the model anew; else it is the one of the run before, and only reset.
        waves : file to write, .vcd, or .saif for how often each bit toggles; the unit is compiled once more for it, and
            such a run is always fresh. Where toggles are counted, payloads keep their value while they are not valid.

        Raises
        ------
        InputError
            For an unknown or missing name, a beat that does not fit, a stall out of range.
        StreamError
            If the unit breaks a promise or stops, or a recorded tap moves more or fewer beats than expected.
        """
        check_stall(stall)
        limit = IDLE_LIMIT if limit is None else limit
        if limit < 1:
            raise InputError(f"limit must be at least 1 cycle, not {limit!r}")
        check_names("input stream", inputs, (s.name for s in self.streams.values() if s.is_input))
        check_names("output stream", outputs, (s.name for s in self.streams.values() if not s.is_input))
        constants, _kept = self._constants(levels or {})
        beats = {
            name: self._packed(s.payload, inputs[name], f"beats of {name}")
            if s.is_input
            else self._room(s.payload, outputs[name])
            for name, s in self.streams.items()
        }
        probes = self._probes(taps or {}, compare or {}, times=times)
        cycles = {name: np.zeros(len(found), np.uint64) for name, found in beats.items()} if times else {}
        check_known("stream", memories or {}, self.streams)
        records = (StreamRecord * len(beats))(
            *(self._record(s, beats[s.name], seed, cycles.get(s.name)) for s in self.streams.values())
        )
        for record, (name, stream) in zip(records, self.streams.items(), strict=True):
            if memories is not None and name in memories:
                record.memory = MemoryRecord(*memories[name].in_units(stream.payload.width))
        sizes = (len(records), len(constants), len(probes.records))
        longest = max(1, limit // 4) if longest is None else longest
        # Toggles that are counted are those of the run.
        quiet = waves is not None and waves.suffix == _TOGGLES
        silence = 1 if quiet else min(limit, _SILENCE)
        request = Request(self._clocking, *sizes, quiet, int(stall * 2**32), longest, limit, silence)
        result = Result()
        with self._opened(fresh, waves) as (driver, model):
            driver.mxhw_run(model, ctypes.byref(request), records, constants, probes.records, ctypes.byref(result))
            if result.error == Fault.SIMULATION:
                raise SimulationError(result.text.decode(errors="replace"))
        found = {
            s.name: unpack(beats[s.name][: record.moved], s.payload.width, s.payload.signed)
            for s, record in zip(self.streams.values(), records, strict=True)
            if not s.is_input
        }
        if result.error:
            error = stream_error(list(self.streams.values()), list(records), result, limit, found)
            error.compared = probes.comparisons()
            error.moved = {name: record.moved for name, record in zip(self.streams, records, strict=True)}
            raise error
        return Run(found, result.cycles, result.total, probes.beats(), probes.comparisons(), {**cycles, **probes.times})

    def trace(
        self,
        inputs: Mapping[str, Values | int],
        *,
        cycles: int | None = None,
        fresh: bool = True,
        waves: Path | None = None,
    ) -> dict[str, Array]:
        """Reset the unit, set one value of every input a clock cycle, and return every output of every cycle.

        Outputs are sampled before the clock edge. An input that is one int keeps it; `cycles` is needed where all do.
        The reset port may be given too; otherwise it stays low.
        """
        free = {RESET} - set(inputs)
        check_names("input", inputs, (port.name for port in self._driven() if port.name not in free))
        columns = {name: [value] if isinstance(value, int) else value for name, value in inputs.items()}
        packed = {name: self._packed(self.ports[name], values, f"values of {name}") for name, values in columns.items()}
        lengths = {len(packed[name]) for name, value in inputs.items() if not isinstance(value, int)}
        if len(lengths | ({cycles} - {None})) != 1:
            given = ", ".join(map(str, sorted(lengths))) or "none"
            raise InputError(f"inputs must have as many values as there are cycles ({cycles}), not {given}")
        count = next(iter(lengths)) if lengths else int(cycles or 0)
        for name, value in inputs.items():
            if isinstance(value, int):
                packed[name] = np.repeat(packed[name], count, axis=0)
        found = {port.name: self._room(port, count) for port in self.ports.values() if not port.is_input}
        ins, outs = self._columns(packed), self._columns(found)
        text = ctypes.create_string_buffer(TEXT_BYTES)
        with self._opened(fresh, waves) as (driver, model):
            clocking = ctypes.byref(self._clocking)
            if driver.mxhw_trace(model, clocking, count, ins, len(ins), outs, len(outs), text, TEXT_BYTES):
                raise SimulationError(text.value.decode(errors="replace"))
        return {name: unpack(a, self.ports[name].width, self.ports[name].signed) for name, a in found.items()}

    def session(self, *, levels: Mapping[str, int] | None = None, limit: int | None = None) -> SimulationSession:
        """Make a model of its own, reset it, and keep it alive: beats are sent and received on demand.

        Parameters
        ----------
        levels : the inputs that belong to no stream → their value.
        limit : cycles without a beat, on a stream or at a tap, that are a deadlock; default 4096.
        """
        constants, _kept = self._constants(levels or {})
        streams = list(self.streams.values())
        records = (StreamRecord * len(streams))(*(self._record(s, self._room(s.payload, 0), 0) for s in streams))
        watched = (ctypes.c_int32 * len(self.taps))(*(self._numbers[tap.fire] for tap in self.taps.values()))
        request = SessionRequest(self._clocking, len(streams), len(constants), len(watched))
        driver, model = self._new_model(None)
        return SimulationSession(driver, model, streams, request, records, constants, watched, limit=limit)

    def close(self) -> None:
        """Drop the model; the next run makes another."""
        if self._driver is not None and self._model is not None:
            self._driver.mxhw_close(self._model)
        self._model = None

    def __del__(self) -> None:
        if getattr(self, "_model", None) is not None:
            self.close()

    @contextmanager
    def _opened(self, fresh: bool, waves: Path | None = None) -> Iterator[tuple[ctypes.CDLL, int]]:
        """Give the driver and a model; one whose simulation failed is not used again."""
        if waves is not None:
            traced = Library(self._source, waves="saif" if waves.suffix == _TOGGLES else "vcd")
            try:
                yield traced._open(_wave_file(waves))
            finally:
                traced.close()
            return
        if fresh or self._model is None:
            self._open(None)
        assert self._driver is not None and self._model is not None
        try:
            yield self._driver, self._model
        except SimulationError:
            self.close()
            raise

    def _open(self, waves: bytes | None) -> tuple[ctypes.CDLL, int]:
        self.close()
        driver, self._model = self._new_model(waves)
        return driver, self._model

    def _new_model(self, waves: bytes | None) -> tuple[ctypes.CDLL, int]:
        self._driver = self._driver or load_driver(self.build.path)
        folder, text = self._source.folder, ctypes.create_string_buffer(TEXT_BYTES)
        place = b"" if folder is None else str(folder.resolve()).encode()
        model: int | None = self._driver.mxhw_open(place, waves, text, TEXT_BYTES)
        if not model:
            raise SimulationError(text.value.decode(errors="replace"))
        return self._driver, model

    def _driven(self) -> list[Port]:
        """The inputs, without the clock."""
        return [port for port in self.ports.values() if port.is_input and port.name != CLOCK]

    def _plain_inputs(self) -> list[str]:
        """The inputs that belong to no stream."""
        taken = {name for stream in self.streams.values() for name in stream.ports} | {RESET}
        return [port.name for port in self._driven() if port.name not in taken]

    def _constants(self, levels: Mapping[str, int]) -> tuple[ctypes.Array[Constant], dict[str, Array]]:
        """Return the ports that keep a value, and the values, which must live as long as the driver reads them."""
        check_names("level", levels, self._plain_inputs())
        kept = {name: self._packed(self.ports[name], [value], f"level {name}") for name, value in levels.items()}
        constants = (Constant(self._numbers[name], array.ctypes.data) for name, array in kept.items())
        return (Constant * len(kept))(*constants), kept

    def _packed(self, port: Port, values: Values, what: str) -> Array:
        return pack(values, port.width, port.signed, what)

    def _room(self, port: Port, count: int) -> Array:
        """Return zeros for `count` values of a port."""
        if count < 0:
            raise InputError(f"the number of beats of {port.name} must not be negative, not {count}")
        return np.zeros(count, np.uint64) if port.width <= 64 else np.zeros((count, port.stride // 4), np.uint32)

    def _probes(self, taps: Mapping[str, int], compare: Mapping[str, Values], *, times: bool) -> TapRun:
        check_known("tap", [*taps, *compare], self.taps)
        if both := set(taps) & set(compare):
            raise InputError(f"tap {min(both)} is either recorded or compared, not both")
        return TapRun(
            self.taps,
            self._numbers,
            {name: self._room(self.taps[name].payload, count) for name, count in taps.items()},
            {name: self._packed(self.taps[name].payload, v, f"beats of {name}") for name, v in compare.items()},
            times=times,
        )

    def _record(self, stream: Stream, beats: Array, seed: int, times: Array | None = None) -> StreamRecord:
        numbers = (self._numbers[name] for name in stream.ports)
        port = stream.payload
        top_mask = (1 << ((port.width - 1) % 32 + 1)) - 1
        state = pause_state(seed, stream.name)
        sizes = (len(beats), beats.ctypes.data, port.stride, top_mask, 0)
        return StreamRecord(*numbers, not stream.is_input, state, *sizes, None if times is None else times.ctypes.data)

    def _columns(self, arrays: Mapping[str, Array]) -> ctypes.Array[Column]:
        columns = (Column(self._numbers[name], self.ports[name].stride, a.ctypes.data) for name, a in arrays.items())
        return (Column * len(arrays))(*columns)


def build_library(component: Any, name: str = "unit", *, cache: Path | None = None) -> Library:
    """Compile an Amaranth component, or find it compiled before (by the content of its Verilog).

    Raises
    ------
    MissingToolError
        If Verilator or g++ is absent.
    BuildError
        If a tool refuses the Verilog.
    """
    signed = frozenset(port.name for port in component_ports(component).values() if port.signed)
    return Library(_Source((component_verilog(component, name),), name, cache, None, signed))


def build_library_from_sources(
    sources: Sequence[Path],
    top: str,
    *,
    folder: Path | None = None,
    signed: Iterable[str] = (),
    cache: Path | None = None,
) -> Library:
    """Compile Verilog files with module `top`, whose clock and reset are called clk and rst.

    `folder` is where the files lie that `$readmemh` names (default: the working directory). They are read when a model
    is made and are no part of the build; the process stays in its directory. `signed` names the ports whose values are
    signed.
    """
    texts = tuple(read_source(source) for source in sources)
    return Library(_Source(texts, top, cache, folder, frozenset(signed)))


def _wave_file(path: Path) -> bytes:
    """Return the path for the driver; raise InputError if it is not one that it can write."""
    if path.suffix not in (".vcd", _TOGGLES):
        raise InputError(
            f"waves must be a .vcd or .saif file, not {path}: Verilator's other formats need more than a compiler"
        )
    try:
        path.touch()
    except OSError as error:
        raise InputError(f"cannot write waves to {path}: {error.strerror}") from error
    return str(path.resolve()).encode()
