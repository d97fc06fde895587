"""The RTL stage of a run: a block, or single layers, of every picked design; the whole folder appears at once."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mxhw.errors import InputError
from mxhw.flow.assignments import uniform_assignment
from mxhw.flow.blocks import WHOLE, PartSettings, choose_part, emit_part
from mxhw.flow.prepare import Prepared
from mxhw.ir import Assignment
from mxhw.passes.emit import EmitLayers, EmitLayersConfig, emittable
from mxhw.passes.transform import WeightCache
from mxhw.passes.transform.lower import NotLoweredError, Ranges, calibrate, lower_graph
from mxhw.progress import Progress
from mxhw.report.results import Design, NodeRow
from mxhw.report.simulated import design_steps

__all__ = ["RtlStage"]


@dataclass(frozen=True)
class RtlStage:
    """Writes the RTL of designs.

    Attributes
    ----------
    prepared : model, texts, settings.
    cache : of weights that scoring has encoded.
    """

    prepared: Prepared
    cache: WeightCache
    progress: Progress

    @property
    def is_block(self) -> bool:
        """Whether a block is emitted, not single layers."""
        return self.prepared.config.emit.what == "block"

    @cached_property
    def part(self) -> str:
        """The part of the model that becomes a design."""
        return self.prepared.config.emit.block or choose_part(self.prepared.graph)

    @cached_property
    def ranges(self) -> Ranges:
        """Largest magnitudes on the calibration text, which exponents of integer streams are chosen by."""
        return calibrate(self.prepared.graph, self.prepared.calibration, self.progress)

    @cached_property
    def has_whole_model(self) -> bool:
        """Whether a block is emitted and the whole model has integers, so that quality is stated in them."""
        return self.is_block and self._missing(WHOLE) is None

    def check(self) -> None:
        """Raise InputError if the part has no integer arithmetic, before a long search finds a design for it."""
        error = self._missing(self.part) if self.is_block else None
        if error is not None:
            raise InputError(f'{error}; set [emit] what = "layers" to emit its linear layers alone')

    def _missing(self, part: str) -> NotLoweredError | None:
        """Return why a part has no integers, with the default formats."""
        graph = self.prepared.graph
        try:
            lower_graph(graph, uniform_assignment(graph), self.ranges, nodes=None if part == WHOLE else part)
        except NotLoweredError as error:
            return error
        return None

    def emit(self, designs: Sequence[Design], assignments: dict[str, Assignment], out: Path) -> tuple[Design, ...]:
        """Write ``out``/rtl/FAMILY of every design; return the designs with their blocks."""
        with _appears_at_once(out / "rtl") as folder:
            emit = self._block if self.is_block else self._layers
            return tuple(emit(design, assignments[design.name], folder / design.family) for design in designs)

    def _block(self, design: Design, assignment: Assignment, folder: Path) -> Design:
        emit = self.prepared.config.emit
        rows = emit.rows or max((size[0] for size in assignment.arrays.values()), default=1)
        tokens = min(-(-emit.tokens // rows) * rows, self.prepared.test.shape[1] // rows * rows)
        if tokens < 1:
            context = self.prepared.test.shape[1]
            raise InputError(
                f"arrays of {rows} rows need as many tokens, but the context has {context}; set [emit] rows"
            )
        settings = PartSettings(part=self.part, rows=emit.rows)
        stimulus = self.prepared.test[:1, :tokens]
        with self.progress.task("emit", 1) as task:
            made = emit_part(self.prepared.graph, assignment, self.ranges, stimulus, folder, settings)
            task.note(f"{design.family}: {self.part}")
            task.advance()
        return design.model_copy(update={"block": design_steps(made.emitted.design)})

    def _layers(self, design: Design, assignment: Assignment, folder: Path) -> Design:
        tokens, graph = self.prepared.config.emit.tokens, self.prepared.graph
        settings = EmitLayersConfig(
            assignment=assignment,
            tokens=self.prepared.test[:1, : max(tokens, 2)],
            folder=folder,
            nodes=self._chosen_layers(design, emittable(graph, assignment)),
            rows=tokens,
        )
        EmitLayers(settings, self.progress, self.cache)(graph)
        return design

    def _chosen_layers(self, made: Design, possible: Collection[str]) -> list[str]:
        """Return the layers to emit: of every weight format the layer with most cycles, then the next ones."""
        left = sorted((row for row in made.nodes if row.node in possible), key=lambda row: (-row.cycles, row.node))
        taken: list[NodeRow] = []
        while left and len(taken) < self.prepared.config.emit.layers:
            seen = {row.formats["weight"] for row in taken}
            fresh = [row for row in left if row.formats["weight"] not in seen]
            taken.append((fresh or left)[0])
            left.remove(taken[-1])
        return [row.node for row in taken]


@contextmanager
def _appears_at_once(folder: Path) -> Iterator[Path]:
    """Give a folder beside ``folder``, which takes its place when the block ends well."""
    beside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    yield beside
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)
