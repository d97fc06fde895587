"""What a co-design run found: the record that the report, the summary table and later runs read.

Everything in it was measured by the run that wrote it. `results.json` is this record; it needs no model to be read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from mxhw.report.records import load_record, save_record

__all__ = [
    "CHOSEN",
    "Design",
    "DesignPoint",
    "NodeRow",
    "QualityRow",
    "Results",
    "StepRow",
    "load_results",
    "save_results",
]

RESULTS_FILE = "results.json"
CHOSEN = "chosen"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class QualityRow(_Record):
    """How well a model predicts a text: perplexity a token, KL divergence to float in nats, top-1 agreement."""

    perplexity: float
    kl: float
    top1: float
    tokens: int
    bits_per_byte: float | None = None


class DesignPoint(_Record):
    """One finished trial. Quality is on the search text; ``test`` on the test text, where it was scored."""

    trial: int
    label: str
    family: str
    rows: int
    quality: QualityRow
    weight_bits: float
    input_bits: float
    cycles: float
    interval: float
    area: float
    energy: float | None
    edp: float | None
    on_front: bool
    test: QualityRow | None = None


class NodeRow(_Record):
    """One GEMM of a design: formats and true bits an element per operand, array, and what it costs."""

    node: str
    op: str
    unit: str
    formats: dict[str, str]
    bits: dict[str, float]
    array: tuple[int, int]
    macs: int
    cycles: float
    area: float
    energy: float | None


class StepRow(_Record):
    """One component of an emitted block: sizes by name, cycles a token, depth of the FIFO in front by stream."""

    name: str
    kind: str
    parallelism: dict[str, int]
    interval: int
    fifo: dict[str, int]


class Design(_Record):
    """A design that was emitted: its point, its quality on the test text in both arithmetics, and its nodes.

    ``hardware`` is the quality in the arithmetic of the emitted RTL: "integer" where a block was emitted (the whole
    model in integers), "hardware" where layers were (exact products, all else in float). ``block`` are the components.
    """

    name: str
    family: str
    trial: int
    reason: str
    assignment: str
    emulated: QualityRow
    hardware: QualityRow
    hardware_coverage: float
    arithmetic: Literal["integer", "hardware"] = "hardware"
    weight_bits: float
    input_bits: float
    cycles: float
    interval: float
    area: float
    area_unit: str
    energy: float | None
    nodes: tuple[NodeRow, ...]
    block: tuple[StepRow, ...] = ()


class Results(_Record):
    """The whole run."""

    mxhw: str
    command: str
    config: dict[str, Any]
    model: str
    parameters: int
    platform: str
    float_test: QualityRow
    float_search: QualityRow
    points: tuple[DesignPoint, ...]
    designs: tuple[Design, ...]
    cosim: dict[str, Any] | None
    seconds: dict[str, float]

    def design(self, name: str) -> Design:
        """Return the design of that name (``chosen`` or a PE family's)."""
        return next(design for design in self.designs if design.name == name)


def save_results(results: Results, folder: Path) -> Path:
    """Write ``results.json`` in one step; return its path."""
    return save_record(results, folder / RESULTS_FILE)


def load_results(folder: Path) -> Results:
    """Read ``results.json`` of a folder that `mxhw codesign` made; see :func:`.records.load_record` for errors."""
    return load_record(Results, folder / RESULTS_FILE, "codesign")
