"""What the simulation of a dataflow design found: every beat of every stream, and which is the first that is wrong."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

from mxhw.sim.beats import Array, to_ints
from mxhw.sim.dataflow_design import DataflowDesign, DataflowStep
from mxhw.sim.taps import TapComparison

__all__ = ["BeatDifference", "DataflowResult", "StreamResult", "output_result", "step_result"]

OUTPUT = "output"


@dataclass(frozen=True, kw_only=True)
class BeatDifference:
    """One beat that is not the expected one.

    Attributes
    ----------
    beat : its number in the stream.
    cycle : since reset, when it passed; None where the engine does not count them.
    token : that it belongs to; None for a beat too many.
    where : which token that is, in words; empty where its number says all.
    field, element : the part of the payload that differs first, and which one of the token's it is.
    expected, got : that element's values; `expected` is None for a beat too many.
    expected_beat, got_beat : whole payloads in hex.
    """

    beat: int
    cycle: int | None
    token: int | None
    field: str | None
    element: int | None
    expected: int | None
    got: int
    expected_beat: str | None
    got_beat: str
    where: str = ""

    def __str__(self) -> str:
        when = "" if self.cycle is None else f", cycle {self.cycle}"
        if self.token is None:
            return f"beat {self.beat}{when}: a beat too many, {self.got_beat}"
        where = f" ({self.where})" if self.where else ""
        place = f"token {self.token}{where}, {self.field} {self.element}{when}"
        return f"beat {self.beat} ({place}): expected {self.expected}, got {self.got}"


@dataclass(frozen=True, kw_only=True)
class StreamResult:
    """The beats of one step's output stream, seen at its tap, or of an output of the design.

    Attributes
    ----------
    name : the step's, as in the model; of an output, its stream.
    stream : name in Verilog.
    node, kind : of the step; an output has an empty node and the kind ``output``.
    beats, moved : to expect, and those that passed.
    different : wrong ones, those too many included.
    first : the first wrong one.
    """

    name: str
    stream: str
    node: str
    kind: str
    beats: int
    moved: int
    different: int
    first: BeatDifference | None

    @property
    def equal(self) -> bool:
        """Whether exactly the expected beats passed."""
        return self.different == 0 and self.moved == self.beats

    def __str__(self) -> str:
        where = f"output {self.name}" if self.kind == OUTPUT else f"step {self.name} ({self.stream}, {self.kind})"
        if self.first is None:
            return f"{where}: {self.moved} of {self.beats} beats passed"
        return f"{where}, {self.first}; {self.different:,} of {self.beats:,} beats differ"


@dataclass(frozen=True, kw_only=True)
class DataflowResult:
    """One run of a design.

    Attributes
    ----------
    name : of the design.
    stall, seed : of the pauses.
    steps : in execution order.
    outputs : of the design.
    error : a broken promise of a port, or a deadlock with how far every stream came; None if there is none.
    cycles : from the first input beat to the last output beat, both counted; None if the run broke off.
    predicted_cycles : what the design says of a run without stalls; None if it says nothing.
    simulated : clock cycles in all; None where the engine does not count them.
    seconds, build_seconds : of the simulation, and of the build before it.
    """

    name: str
    stall: float
    seed: int
    steps: tuple[StreamResult, ...]
    outputs: tuple[StreamResult, ...]
    error: str | None
    cycles: int | None
    predicted_cycles: int | None
    simulated: int | None
    seconds: float
    build_seconds: float

    @property
    def equal(self) -> bool:
        """Whether every beat of every step and output is the software's, and no port misbehaved."""
        return self.error is None and all(stream.equal for stream in (*self.steps, *self.outputs))

    @property
    def first(self) -> StreamResult | None:
        """The stream where the fault is: whose wrong beat passed first; None if all are right.

        Where that is not known, or in the same cycle, the steps come in execution order, then the outputs. That order
        alone would not do: where there is feedback, a fault far behind changes what comes to the first step later.
        Streams that only came short come after those with wrong beats: one lost beat holds up many.
        """
        streams = (*self.steps, *self.outputs)
        wrong = [stream for stream in streams if stream.different] or [s for s in streams if not s.equal]
        return min(wrong, key=_cycle, default=None)

    @property
    def beats(self) -> int:
        """Beats compared."""
        return sum(min(stream.moved, stream.beats) for stream in (*self.steps, *self.outputs))

    @property
    def different(self) -> int:
        """Wrong beats."""
        return sum(stream.different for stream in (*self.steps, *self.outputs))

    @property
    def missing(self) -> int:
        """Beats that did not come."""
        return sum(max(0, stream.beats - stream.moved) for stream in (*self.steps, *self.outputs))

    @property
    def cycles_per_second(self) -> float | None:
        """Simulated clock cycles a second."""
        count = self.cycles if self.simulated is None else self.simulated
        return None if count is None else count / self.seconds

    @property
    def prediction_error(self) -> float | None:
        """Predicted over simulated cycles, less 1; None where there is no prediction, or with stalls."""
        if self.stall or self.predicted_cycles is None or self.cycles is None:
            return None
        return self.predicted_cycles / self.cycles - 1

    def verdict(self) -> str:
        """Say in one line, or in two where a port misbehaved, whether all is equal, and what is not."""
        if self.equal:
            return f"{self.beats:,} beats of {len(self.steps)} steps equal, bit for bit"
        wrong = self.first
        said = [] if wrong is None or (self.error and not wrong.different) else [f"first difference: {wrong}"]
        return "\n".join(said + ([self.error] if self.error else []))

    def to_json(self) -> dict[str, Any]:
        """Return all fields and what follows from them."""
        derived = ("equal", "beats", "different", "missing", "cycles_per_second", "prediction_error")
        first = {"first": None if self.first is None else self.first.name}
        return {**asdict(self), **{name: getattr(self, name) for name in derived}, **first}


def step_result(design: DataflowDesign, step: DataflowStep, expected: Array, found: TapComparison) -> StreamResult:
    """Return what a tap found, with the place and the values of the first difference in the step's own terms."""
    return StreamResult(
        name=step.name,
        stream=step.stream,
        node=step.node,
        kind=step.kind,
        beats=found.expected,
        moved=found.moved,
        different=found.different,
        first=_difference(design, step, expected, found),
    )


def output_result(design: DataflowDesign, name: str, expected: Array, found: TapComparison) -> StreamResult:
    """Return the same of an output; its beats are in the terms of the step whose beats they are, if there is one."""
    step = next((step for step in design.steps if step.beats == design.outputs[name].beats), None)
    first = _difference(design, step, expected, found)
    return StreamResult(
        name=name,
        stream=name,
        node="",
        kind=OUTPUT,
        beats=found.expected,
        moved=found.moved,
        different=found.different,
        first=first,
    )


def _difference(
    design: DataflowDesign, step: DataflowStep | None, expected: Array, found: TapComparison
) -> BeatDifference | None:
    if found.first is None or found.got is None:
        return None
    beat, got = found.first, found.got
    place: Mapping[str, Any] = {"token": None, "field": None, "element": None, "expected": None, "got": got}
    want = to_ints(expected[beat : beat + 1])[0] if beat < len(expected) else None
    if want is not None and step is not None:
        place = _element(design, step, beat, want, got)
    elif want is not None:
        place = {
            "token": beat * design.tokens // len(expected),
            "field": "beat",
            "element": beat,
            "expected": want,
            "got": got,
        }
    whole = None if want is None else f"{want:x}"
    if step is not None and place["token"] is not None:
        place = {**place, "where": design.where(step, place["token"])}
    return BeatDifference(beat=beat, cycle=found.cycle, expected_beat=whole, got_beat=f"{got:x}", **place)


def _element(design: DataflowDesign, step: DataflowStep, beat: int, want: int, got: int) -> dict[str, Any]:
    """Return the place and the values of the first element that differs; lowest bits first."""
    token, within = design.place(step, beat)
    offset = 0
    for field in step.fields:
        mask = (1 << field.bits) - 1
        for lane in range(field.lanes):
            right, wrong = (_signed(word >> offset & mask, field.bits, field.signed) for word in (want, got))
            if right != wrong:
                element = within * field.lanes + lane
                return {"token": token, "field": field.name, "element": element, "expected": right, "got": wrong}
            offset += field.bits
    raise AssertionError("the fields of a payload have all its bits")


def _signed(value: int, bits: int, signed: bool) -> int:
    return value - (value >> (bits - 1) << bits) if signed else value


def _cycle(stream: StreamResult) -> float:
    """Return when the first wrong beat of a stream passed; unknown is late."""
    return inf if stream.first is None or stream.first.cycle is None else stream.first.cycle
