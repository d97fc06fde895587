"""From a model and an assignment to the RTL of a decoder block, or of a whole small model, with its bench.

    calibrate ▸ lower to integers ▸ choose parallelism ▸ size FIFOs ▸ emit ▸ project files

The stimulus is real: what the part gets inside the whole model in integers where the whole has integer arithmetic, else
what it gets in the float model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mxhw.errors import InputError
from mxhw.flow.assignments import assignment_for, chosen_sizes
from mxhw.hardware import Platform, load_platform
from mxhw.ir import Assignment, Graph
from mxhw.models import capture, load_model, read_ids, windows
from mxhw.passes.emit.dataflow import (
    DesignPlan,
    EmittedDesign,
    check_design_name,
    check_folder,
    emit_dataflow,
    plan_design,
)
from mxhw.passes.emit.flow import write_flow
from mxhw.passes.transform.lower import (
    LoweredGraph,
    NotLoweredError,
    Ranges,
    calibrate,
    integer_inputs,
    lower_graph,
)
from mxhw.progress import Progress
from mxhw.sim.clocks import Clock, design_clocks

__all__ = [
    "WHOLE",
    "EmittedPart",
    "PartRequest",
    "PartSettings",
    "choose_part",
    "design_name",
    "emit_from_model",
    "emit_part",
]

WHOLE = "all"
CALIBRATION = "calibration"
CALIBRATION_WINDOWS = 4
CALIBRATION_TOKENS = 256


@dataclass(frozen=True, kw_only=True)
class PartSettings:
    """What of a model becomes RTL, and how.

    Attributes
    ----------
    part : a block such as "model.layers.0", "all", or None for :func:`choose_part`.
    rows : tokens that linear layers compute at once; None: those of the assignment's arrays.
    keys : longest sequence that caches and tables have room for; None: as many as the stimulus has tokens.
    platform : whose budget the parallelism has to fit; None: the components' own small parallelism.
    force : replace a folder that holds another design.
    """

    part: str | None = None
    rows: int | None = None
    keys: int | None = None
    platform: Platform | None = None
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class PartRequest:
    """The same by names, as a command line gives it; see :func:`emit_from_model`.

    Without ``calibration`` it is the model's own text of that name, or ``text`` where it came with none.
    """

    model: str
    assignment: Path | None = None
    part: str | None = None
    platform: str | None = None
    rows: int | None = None
    keys: int | None = None
    tokens: int = 32
    text: str = "heldout"
    calibration: str | None = None
    force: bool = False


@dataclass(frozen=True)
class EmittedPart:
    """A design that was written.

    Attributes
    ----------
    part : of the model.
    emitted : the design, and its components.
    plan : parallelism, FIFO depths, cycles, resources.
    note : one line on files that could not be written and how to get them; empty if there are none.
    """

    part: str
    emitted: EmittedDesign
    plan: DesignPlan
    note: str = ""

    @property
    def resource_names(self) -> list[str]:
        """Resources that are estimated; none without a platform."""
        return sorted({name for amounts in self.plan.resources.values() for name in amounts.amounts})

    def rows(self) -> list[list[str]]:
        """Return the table of the design, a row a step: node, component, parallelism, cycles, FIFOs, resources."""
        rows = []
        for step in self.emitted.design.steps:
            sizes = " ".join(f"{name}={value}" for name, value in step.parallelism.items())
            depths = " ".join(str(depth) for depth in step.fifo.values())
            amounts = [f"{self.plan.resources[step.name][name]:,.0f}" for name in self.resource_names]
            rows.append([step.name, step.kind, sizes, f"{step.interval:,}", depths, *amounts])
        if self.resource_names:
            fifos = [f"{self.plan.resources[''][name]:,.0f}" for name in self.resource_names]
            rows.append(["FIFOs", "", "", "", "", *fifos])
        return rows

    def summary(self) -> str:
        """Say what was written, in one line; the time of the cycles where a clock is known."""
        design = self.emitted.design
        weights = sum(step.kind == "linear" for step in design.steps)
        cycles = "" if design.cycles is None else f", {design.cycles:,} cycles predicted for {self._work()}"
        return (
            f"{len(design.steps)} components ({weights} matrix products) of {len(design.sources)} modules in "
            f"{self.emitted.folder}: a token every {self.plan.interval:,} cycles{cycles}{self._time()}"
        )

    @property
    def clocks(self) -> tuple[Clock, ...]:
        """What is known of the design's clock."""
        return design_clocks(self.emitted.folder, self.emitted.design)

    def _work(self) -> str:
        """Say what the run beside the design is."""
        design = self.emitted.design
        if design.language is None:
            return f"{design.tokens} tokens"
        return (
            f"{design.language.prompt_tokens} tokens of {design.language.prefill_tokens} prompts and "
            f"{design.language.generated_tokens} generated ones"
        )

    def _time(self) -> str:
        cycles = self.emitted.design.cycles
        return "" if cycles is None else "".join(f"; {clock.words(cycles)}" for clock in self.clocks)

    def to_json(self) -> dict[str, Any]:
        """Return what the command prints for programs."""
        design = self.emitted.design
        steps = [
            step.model_dump(mode="json", include={"name", "node", "kind", "module", "parallelism", "interval", "fifo"})
            | {"resources": dict(self.plan.resources[step.name].amounts) if self.plan.resources else None}
            for step in design.steps
        ]
        return {
            "folder": str(self.emitted.folder),
            "name": design.name,
            "part": self.part,
            "platform": self.plan.platform,
            "interval": self.plan.interval,
            "cycles": design.cycles,
            "tokens": design.tokens,
            "clocks": [clock.to_json(design.cycles) for clock in self.clocks],
            "hash": design.hash,
            "steps": steps,
            "note": self.note,
        }


def choose_part(graph: Graph) -> str:
    """Return the first block that is repeated, or "all" for a model without blocks."""
    layers = [members[0] for members in graph.blocks.values()]
    return layers[0] if layers else WHOLE


def design_name(model: str, part: str) -> str:
    """Return a Verilog name of a design."""
    words = f"{Path(model).name}_{part}".replace("model.", "")
    plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in words).strip("_").lower()
    return plain if plain[:1].isalpha() else f"m_{plain}"


def emit_from_model(request: PartRequest, folder: Path, progress: Progress) -> EmittedPart:
    """Load, capture, calibrate and emit.

    Raises
    ------
    InputError
        If something does not exist, has no component or does not fit; nothing is written then.
    """
    check_folder(folder)
    platform = None if request.platform is None else load_platform(request.platform)
    loaded = load_model(request.model)
    stimulus = windows(read_ids(request.text, loaded), request.tokens, 1)
    keys = request.keys or request.tokens
    if keys < request.tokens:
        raise InputError(f"keys must be at least the {request.tokens} tokens of the stimulus, not {keys}")
    context = loaded.at_most_context(CALIBRATION_TOKENS)
    held_in = read_ids(request.calibration or (CALIBRATION if CALIBRATION in loaded.texts else request.text), loaded)
    shown = min(CALIBRATION_WINDOWS, max(1, held_in.numel() // context))
    held_in = windows(held_in, min(context, held_in.numel()), shown)
    graph = capture(loaded, batch=1, sequence=keys)
    assignment = assignment_for(graph, request.assignment)
    settings = PartSettings(part=request.part, rows=request.rows, keys=keys, platform=platform, force=request.force)
    return emit_part(graph, assignment, calibrate(graph, held_in, progress), stimulus, folder, settings)


def emit_part(
    graph: Graph, assignment: Assignment, ranges: Ranges, tokens: Tensor, folder: Path, settings: PartSettings
) -> EmittedPart:
    """Write the design of a part of a model into ``folder``, whole or not at all.

    Parameters
    ----------
    graph : Graph
        The captured float graph.
    assignment : Assignment
        Formats, and the arrays of linear nodes that it names.
    ranges : mapping of node to largest magnitude
        From :func:`mxhw.passes.transform.lower.calibrate`.
    tokens : int64 [sequences, tokens], or features
        Real text, which becomes the stimulus.

    Raises
    ------
    InputError
        If something has no component or does not fit; nothing is written then.
    """
    part = settings.part or choose_part(graph)
    name = design_name(graph.signature.model, part)
    check_design_name(name)
    keys = settings.keys if settings.keys is not None else int(tokens.shape[1])
    lowered = lower_graph(graph, assignment, ranges, nodes=None if part == WHOLE else part, keys=keys)
    plan = plan_design(lowered, platform=settings.platform, fixed=_sizes(lowered, assignment, settings.rows))
    values = _stimulus(graph, assignment, ranges, lowered, tokens)
    emitted = emit_dataflow(
        lowered,
        values,
        folder,
        name=name,
        parallelism=plan.parallelism,
        fifos=plan.depths,
        assignment=assignment.to_json(),
        platform=settings.platform,
        force=settings.force,
    )
    return EmittedPart(part, emitted, plan, write_flow(folder, emitted.design).note)


def _stimulus(
    graph: Graph, assignment: Assignment, ranges: Ranges, lowered: LoweredGraph, tokens: Tensor
) -> dict[str, Any]:
    """Return the inputs of a part for real tokens."""
    try:
        whole = lower_graph(graph, assignment, ranges, keys=lowered.keys)
    except NotLoweredError:
        return dict(integer_inputs(lowered, tokens, graph=graph))
    return dict(integer_inputs(lowered, tokens, whole=whole))


def _sizes(lowered: LoweredGraph, assignment: Assignment, rows: int | None) -> Mapping[str, dict[str, int]]:
    """Return the sizes that the assignment has for steps of the part; ``rows`` replaces those of its arrays."""
    found = {}
    for step in lowered.steps.values():
        sizes = {} if rows is None or step.operation.kind != "linear" else {"rows": rows}
        sizes = chosen_sizes(assignment, step.name, step.node, step.operation.kind) | sizes
        if sizes:
            found[step.name] = sizes
    return found
