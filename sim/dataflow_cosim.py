"""Co-simulation of a whole design: without stalls, for the cycles that were predicted, and with random stalls."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mxhw.sim.clocks import Clock, design_clocks
from mxhw.sim.dataflow import DataflowResult, DataflowSimulation, Engine, StreamResult
from mxhw.sim.language import Phase, simulate_phases
from mxhw.sim.performance.record import predicted_cycles
from mxhw.sim.performance.stalls import Stalls

__all__ = ["DataflowCase", "simulate_dataflow"]


@dataclass(frozen=True)
class DataflowCase:
    """One design: both runs.

    Attributes
    ----------
    name : of its folder.
    free, stalled : the run without stalls, and the one with them.
    clocks : what is known of the design's clock.
    phases : of a design that generates text: prompts, and what follows them, without stalls.
    stalled_predicted : cycles of the run with stalls, from the design's events and the seed of its pauses; None where
        no events are kept of it.
    """

    name: str
    free: DataflowResult
    stalled: DataflowResult
    clocks: tuple[Clock, ...] = ()
    phases: tuple[Phase, ...] = ()
    stalled_predicted: int | None = None

    @property
    def runs(self) -> tuple[DataflowResult, DataflowResult]:
        """Both."""
        return self.free, self.stalled

    @property
    def passed(self) -> bool:
        """Whether every beat of both runs is the software's, and no port misbehaved."""
        return all(run.equal for run in self.runs)

    @property
    def outputs(self) -> int:
        """Beats of all steps and outputs, once."""
        return sum(stream.beats for stream in (*self.free.steps, *self.free.outputs))

    @property
    def mismatches(self) -> int:
        """Wrong and missing beats of both runs."""
        return sum(run.different + run.missing for run in self.runs)

    @property
    def wrong(self) -> tuple[StreamResult, ...]:
        """Steps, in execution order, and outputs that differ in the first run that is not equal."""
        run = next((run for run in self.runs if not run.equal), self.free)
        return tuple(stream for stream in (*run.steps, *run.outputs) if not stream.equal)

    def to_json(self) -> dict[str, Any]:
        """Return the record in cosim.json."""
        runs = {"free": self.free.to_json(), "stalled": self.stalled.to_json()}
        clocks = [clock.to_json(self.free.cycles) for clock in self.clocks]
        phases = [{**asdict(phase), "error": phase.error} for phase in self.phases]
        predicted = {"stalled_predicted_cycles": self.stalled_predicted}
        return {"name": self.name, "equal": self.passed, **runs, **predicted, "clocks": clocks, "phases": phases}


def simulate_dataflow(
    folder: Path, seed: int, stall: float, engine: Engine, waves: Path | None, cache: Path | None
) -> DataflowCase:
    """Run the design in `folder` twice; `waves` are of the run with stalls."""
    simulation = DataflowSimulation(folder, engine=engine, cache=cache)
    clocks = design_clocks(folder, simulation.design)
    free, stalled = simulation.run(), simulation.run(stall=stall, seed=seed, waves=waves)
    phases: tuple[Phase, ...] = ()
    if simulation.design.language is not None and free.equal:
        phases = simulate_phases(folder, simulation.design, cache=cache)
    ports = {**simulation.design.inputs, **simulation.design.outputs}
    beats = {name: port.count for name, port in ports.items()}
    predicted = predicted_cycles(folder, beats, Stalls(stall, seed))
    return DataflowCase(folder.resolve().name, free, stalled, clocks, phases, predicted)
