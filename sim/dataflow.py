"""Simulation of an emitted dataflow design: every beat of every step compared with the software's.

    result = run_dataflow(folder, stall=0.3, seed=1)
    result.equal, result.first, result.cycles

The design runs inside this process (`library.py`), or under cocotb with the bench that lies beside it. All inputs are
driven and all outputs taken under random stalls; what passes the tap of a step is compared while it passes. The first
difference is told in execution order: the step that computed wrong, not the output where it came out.
"""

from collections.abc import Mapping, Sequence
from math import floor, inf
from pathlib import Path
from time import perf_counter
from typing import Literal, get_args

import numpy as np

from mxhw.errors import InputError
from mxhw.sim.beats import Array, Values, to_ints
from mxhw.sim.cocotb_engine import Simulator, compile_verilator, run_dataflow_bench
from mxhw.sim.dataflow_build import build_dataflow_library, check_images, read_stream
from mxhw.sim.dataflow_design import (
    DataflowDesign,
    DataflowStep,
    PayloadField,
    StreamBeats,
    is_dataflow_design,
    payload_fields,
)
from mxhw.sim.dataflow_result import BeatDifference, DataflowResult, StreamResult, output_result, step_result
from mxhw.sim.library import Library, Run
from mxhw.sim.memory import Memory
from mxhw.sim.ports import CLOCK, RESET, check_stall
from mxhw.sim.streams import LONGEST_PAUSE, StreamError
from mxhw.sim.taps import TapComparison

__all__ = [
    "BeatDifference",
    "DataflowDesign",
    "DataflowResult",
    "DataflowSimulation",
    "DataflowStep",
    "PayloadField",
    "StreamBeats",
    "StreamResult",
    "is_dataflow_design",
    "payload_fields",
    "run_dataflow",
]

Engine = Literal["cocotb", "bulk"]

_SHOWN = 8


def run_dataflow(
    folder: Path,
    *,
    stall: float = 0.0,
    seed: int = 0,
    waves: Path | None = None,
    cache: Path | None = None,
    engine: Engine = "bulk",
) -> DataflowResult:
    """Build the design in `folder` (or find it built), run it once and compare every beat of every step and output.

    Parameters
    ----------
    stall : probability a cycle and port of a pause, 0 to 0.95.
    waves : VCD file to write; costs another build.
    engine : what drives the ports; both take the same cycles.

    Raises
    ------
    InputError
        If the design is damaged or contradicts its files.
    MissingToolError
        If Verilator or g++ is absent.
    BuildError, SimulationError
        If the Verilog cannot be compiled, or the simulation ends by itself.
    """
    return DataflowSimulation(folder, engine=engine, cache=cache).run(stall=stall, seed=seed, waves=waves)


class DataflowSimulation:
    """A design that is read and built, for any number of runs; see :func:`run_dataflow`.

    Attributes
    ----------
    design : its record.
    build_seconds : spent on the build.
    """

    def __init__(self, folder: Path, *, engine: Engine = "bulk", cache: Path | None = None) -> None:
        if engine not in get_args(Engine):
            raise InputError(f"engine must be one of {', '.join(get_args(Engine))}, not {engine!r}")
        self.folder, self.engine, self.cache = folder, engine, cache
        self.design = design = DataflowDesign.load(folder)
        check_images(folder, design)
        self._inputs = {name: self._read(item) for name, item in design.inputs.items()}
        self._outputs = {name: self._read(item) for name, item in design.outputs.items()}
        self._steps = {step.stream: self._read(step) for step in design.steps}
        self._library: Library | None = None
        if engine == "bulk":
            self._library = build_dataflow_library(folder, design, cache=cache)
            self.build_seconds = self._library.build.seconds
        else:
            self.build_seconds = self._compile(None).seconds

    def run(self, *, stall: float = 0.0, seed: int = 0, waves: Path | None = None) -> DataflowResult:
        """Run once from reset."""
        check_stall(stall)
        start = perf_counter()
        run = self._by_library if self._library is not None else self._by_cocotb
        found, error, cycles, simulated = run(stall, seed, waves)
        seconds, design = perf_counter() - start, self.design
        return DataflowResult(
            name=design.name,
            stall=stall,
            seed=seed,
            steps=tuple(
                step_result(design, step, self._steps[step.stream], found[f"tap_{step.stream}"])
                for step in design.steps
            ),
            outputs=tuple(
                output_result(design, name, expected, found[name]) for name, expected in self._outputs.items()
            ),
            error=error,
            cycles=cycles,
            predicted_cycles=design.cycles,
            simulated=simulated,
            seconds=seconds,
            build_seconds=self.build_seconds,
        )

    def run_bulk(
        self,
        *,
        inputs: Mapping[str, Values] | None = None,
        stall: float = 0.0,
        seed: int = 0,
        longest: int = LONGEST_PAUSE,
        memories: Mapping[str, Memory] | None = None,
        times: bool = False,
        waves: Path | None = None,
    ) -> Run:
        """Run once in this process; return what passed the ports and what differs at the taps, ``tap_STREAM``.

        For the parameters, and what it raises, see :meth:`.library.Library.run`; ``inputs`` are those that get other
        beats than the recorded ones, as many.
        """
        if self._library is None:
            raise InputError(f"such a run takes engine='bulk', not {self.engine!r}")
        return self._library.run(
            {**self._inputs, **(inputs or {})},
            {name: len(expected) for name, expected in self._outputs.items()},
            compare={f"tap_{stream}": expected for stream, expected in self._steps.items()},
            stall=stall,
            seed=seed,
            limit=self.design.idle_limit,
            longest=longest,
            memories=memories,
            times=times,
            waves=waves,
        )

    def _by_library(self, stall: float, seed: int, waves: Path | None) -> "_Found":
        error, cycles, simulated = None, None, None
        try:
            run = self.run_bulk(stall=stall, seed=seed, waves=waves)
            compared, outputs = dict(run.compared), run.outputs
            cycles, simulated = run.cycles, run.simulated
        except StreamError as broken:
            compared, outputs = dict(broken.compared), dict(broken.received or {})
            error, simulated = str(broken), broken.cycle
            if broken.port is None:
                error += self._halt({**broken.moved, **{name: found.moved for name, found in compared.items()}})
        compared |= {name: _compared(self._outputs[name], beats) for name, beats in outputs.items()}
        return compared, error, cycles, simulated

    def _by_cocotb(self, stall: float, seed: int, waves: Path | None) -> "_Found":
        result = run_dataflow_bench(self._compile(waves), self.folder.resolve(), stall, seed)
        error = result.error
        if error is not None and result.deadlock:
            error += self._halt({name: found.moved for name, found in result.compared.items()})
        return result.compared, error, result.cycles, None

    def _compile(self, waves: Path | None) -> Simulator:
        design = self.design
        ports = [
            f"{name}_{part}" for name in (*design.inputs, *design.outputs) for part in ("valid", "ready", "payload")
        ]
        taps = [port for step in design.steps for port in (step.fire, step.payload)]
        return compile_verilator(
            [self.folder / name for name in design.sources],
            design.top,
            ports=[CLOCK, RESET, *ports, *taps],
            waves=waves,
            cache=self.cache,
        )

    def _read(self, record: StreamBeats | DataflowStep) -> Array:
        return read_stream(self.folder, record)

    def _halt(self, moved: Mapping[str, int]) -> str:
        """Say which steps have input that did not go on, the likeliest place of the fault first, and which stand still.

        A step behind which something is stuck has such input too; but it has also sent what its readers did not use.
        """
        design = self.design
        came = {step.stream: moved[f"tap_{step.stream}"] for step in design.steps}
        tokens = {name: design.tokens * moved[name] / item.count for name, item in design.inputs.items()}
        tokens |= {step.stream: design.tokens_passed(step, came[step.stream]) for step in design.steps}

        def unused(step: DataflowStep) -> tuple[bool, bool]:
            """Return whether a reader lacks whole tokens of what the step sent, and whether it lacks any of it."""
            used = min((tokens[reader.stream] for reader in design.steps if step.stream in reader.fifo), default=inf)
            return used < floor(tokens[step.stream]), used < tokens[step.stream]

        holding = [
            step
            for step in reversed(design.steps)
            if step.fifo and min(tokens[name] for name in step.fifo) > tokens[step.stream]
        ]
        said = {step.stream: f"{step.stream} {came[step.stream]} of {step.count}" for step in design.steps}
        suspects = [said[step.stream] for step in sorted(holding, key=unused)]
        standing = [said[step.stream] for step in design.steps if came[step.stream] < step.count]
        return _listed("steps whose input did not go on, likeliest first", suspects) + _listed(
            "steps that stand", standing
        )


_Found = tuple[Mapping[str, TapComparison], str | None, int | None, int | None]


def _listed(what: str, items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return f"; {what}: {', '.join(items[:_SHOWN])}{more}" if items else ""


def _compared(expected: Array, got: Array) -> TapComparison:
    """Compare the beats of an output; the run that took them has refused any too many."""
    differs = expected[: len(got)] != got
    wrong = np.flatnonzero(differs.any(axis=1) if differs.ndim == 2 else differs)
    first = int(wrong[0]) if wrong.size else None
    value = None if first is None else to_ints(got[first : first + 1])[0]
    return TapComparison(len(expected), len(got), len(wrong), first, None, value)
