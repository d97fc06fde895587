"""Check of one component's streams by cocotb: beats in, expected beats out, random stalls on every port.

    check_streams(component, {"x": beats}, {"y": expected}, stall=0.3, seed=1)

The bench is the one beside emitted designs, in Verilator or Icarus Verilog. For millions of beats use
`mxhw.sim.library`, which checks the same promises with the same pauses.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from mxhw.errors import InputError
from mxhw.sim.beats import Values, pack, to_ints
from mxhw.sim.cocotb_engine import Simulator, compile_icarus, compile_verilator, run_bench
from mxhw.sim.design import DESIGN_FILE
from mxhw.sim.ports import CLOCK, RESET, Port, check_stall, component_ports, component_verilog, find_streams
from mxhw.sim.streams import IDLE_LIMIT, StreamError, check_names

__all__ = ["SimulatorName", "check_streams"]

SimulatorName = Literal["verilator", "icarus"]
_TOP = "unit"


def check_streams(
    component: Any,
    inputs: Mapping[str, Values],
    expected: Mapping[str, Values],
    *,
    stall: float = 0.0,
    seed: int = 0,
    levels: Mapping[str, int] | None = None,
    limit: int = IDLE_LIMIT,
    simulator: SimulatorName = "verilator",
    waves: Path | None = None,
    cache: Path | None = None,
) -> int:
    """Send `inputs`, compare every output beat with `expected`; return the cycles, first beat in to last beat out.

    Parameters are those of :meth:`mxhw.sim.library.Library.run`. `waves` is a .vcd file (with Icarus also .fst).

    Raises
    ------
    InputError
        For an unknown or missing name, a beat that does not fit, a stall out of range.
    StreamError
        If the component breaks a promise, stops, or sends a wrong beat.
    """
    check_stall(stall)
    if simulator not in get_args(SimulatorName):
        raise InputError(f"simulator must be one of {', '.join(get_args(SimulatorName))}, not {simulator!r}")
    ports = component_ports(component)
    streams = find_streams(ports)
    check_names("input stream", inputs, (s.name for s in streams.values() if s.is_input))
    check_names("output stream", expected, (s.name for s in streams.values() if not s.is_input))
    taken = {name for stream in streams.values() for name in stream.ports}
    check_names("level", levels or {}, (p.name for p in ports.values() if p.is_input and p.name not in taken))
    beats = {name: _patterns(streams[name].payload, values, name) for name, values in {**inputs, **expected}.items()}
    record = {
        "streams": [
            {"name": s.name, "prefix": s.prefix, "width": s.payload.width, "is_input": s.is_input}
            for s in streams.values()
        ],
        "levels": {name: _patterns(ports[name], [value], name)[0] for name, value in (levels or {}).items()},
        "idle_limit": limit,
    }
    with tempfile.TemporaryDirectory(prefix="mxhw-protocol-") as place:
        folder = Path(place)
        (folder / DESIGN_FILE).write_text(json.dumps(record))
        (folder / f"{_TOP}.v").write_text(component_verilog(component, _TOP))
        for name, words in beats.items():
            (folder / f"{name}_beats.hex").write_text("".join(f"{word:x}\n" for word in words))
        made = _compile(folder, simulator, [CLOCK, RESET, *ports], waves, cache)
        result = run_bench(made, folder, [(stall, seed)], list(expected))[0]
    if result.error is not None or result.cycles is None:
        raise StreamError(str(result.error), result.port, result.beat)
    for name in expected:
        _compare(name, beats[name], result.outputs[name])
    return result.cycles


def _compile(folder: Path, simulator: str, ports: list[str], waves: Path | None, cache: Path | None) -> Simulator:
    source = folder / f"{_TOP}.v"
    if simulator == "icarus":
        return compile_icarus([source], _TOP, folder, waves=waves)
    return compile_verilator([source], _TOP, ports=ports, waves=waves, cache=cache)


def _patterns(port: Port, values: Values, what: str) -> list[int]:
    """Return `values` of a port as unsigned patterns."""
    return to_ints(pack(values, port.width, port.signed, f"values of {what}"))


def _compare(name: str, expected: list[int], got: list[int]) -> None:
    wrong = [index for index, (want, have) in enumerate(zip(expected, got, strict=True)) if want != have]
    if wrong:
        beat = wrong[0]
        raise StreamError(
            f"{len(wrong)} of {len(expected)} {name} beats differ, the first is beat {beat}:"
            f" expected {expected[beat]:#x}, got {got[beat]:#x}",
            name,
            beat,
        )
