"""Emission of the layers of an assignment, each with the activations that it gets in hardware arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mxhw.arithmetic import supports
from mxhw.errors import InputError
from mxhw.ir import Assignment, Graph, NodeInfo
from mxhw.passes.analysis.activations import capture_inputs
from mxhw.passes.base import Pass, PassResult, register_pass
from mxhw.passes.emit.gemm import EmittedGemm, GemmSource, emit_gemm
from mxhw.passes.transform.quantize import Quantize, QuantizeConfig
from mxhw.passes.transform.weights import WeightCache
from mxhw.progress import Progress, SilentProgress

__all__ = ["EmitLayers", "EmitLayersConfig", "emittable"]


@dataclass(frozen=True, kw_only=True, eq=False)
class EmitLayersConfig:
    """What is emitted.

    Attributes
    ----------
    assignment : Assignment
        Formats, and arrays of nodes; a node without an array gets 4 × 8.
    tokens : int64 tensor [batch, tokens]
        What the model reads while the activations are captured: real text.
    folder : Path
        Gets a folder per layer.
    nodes : sequence of str, optional
        Default: every node that :func:`emittable` returns.
    rows : int, optional
        Keep only the first so many activation rows of a layer.
    """

    assignment: Assignment
    tokens: Tensor
    folder: Path
    nodes: Sequence[str] | None = None
    rows: int | None = None

    def __post_init__(self) -> None:
        if self.rows is not None and self.rows < 1:
            raise InputError(f"rows of activations must be at least 1, not {self.rows!r}")


def emittable(graph: Graph, assignment: Assignment) -> list[str]:
    """Return the linear nodes whose weight and input formats a unit computes, in execution order."""
    return [info.name for info in graph.gemms if info.op == "linear" and _unit(info, assignment) is not None]


@register_pass
class EmitLayers(Pass):
    """Write RTL, memory images, stimulus and bench of layers; the graph passes through unchanged.

    Parameters
    ----------
    config : EmitLayersConfig
    progress : Progress, optional
    cache : WeightCache, optional
        One that scoring in hardware arithmetic has filled saves encoding the weights again.
    """

    name = "emit-layers"
    description = "write Verilog, memory images, real stimulus and a bench for the linear layers of an assignment"
    requires = frozenset({"sites"})
    provides = frozenset({"rtl"})

    def __init__(
        self, config: EmitLayersConfig, progress: Progress | None = None, cache: WeightCache | None = None
    ) -> None:
        self.config = config
        self.progress = progress or SilentProgress()
        self.cache = cache

    def __call__(self, graph: Graph) -> PassResult:
        """Emit; `graph` is the captured float graph.

        The report has one entry a layer: node, folder, unit, array, tokens, predicted cycles.

        Raises
        ------
        InputError
            If a chosen node does not exist, or its formats have no unit.
        """
        config = self.config
        names = emittable(graph, config.assignment) if config.nodes is None else list(config.nodes)
        self._check(graph, names)
        exact = Quantize(QuantizeConfig(assignment=config.assignment, arithmetic="hardware"), self.cache)(graph).graph
        inputs = capture_inputs(exact, config.tokens, names)
        layers = []
        with self.progress.task("emit", len(names)) as task:
            for name in names:
                layers.append(_entry(self._emit(graph, name, inputs[name])))
                task.note(name)
                task.advance()
        return PassResult(graph, {"layers": layers})

    def _check(self, graph: Graph, names: Sequence[str]) -> None:
        self.config.assignment.check(graph)
        if not names:
            raise InputError("no layer to emit: the assignment gives no linear node a pair of formats with a unit")
        nodes = graph.nodes
        for name in names:
            if name not in nodes:
                raise graph.unknown_node(name)
            if _unit(nodes[name], self.config.assignment) is None:
                formats = [self.config.assignment.formats.get(site.key) for site in nodes[name].sites]
                raise InputError(f"node {name!r} with formats {formats} has no unit, so no RTL can be emitted for it")

    def _emit(self, graph: Graph, name: str, inputs: Tensor) -> EmittedGemm:
        formats = self.config.assignment.formats
        rows, columns = self.config.assignment.array(name)
        source = GemmSource(
            node=name,
            weight=graph.weight(name),
            inputs=inputs.reshape(-1, inputs.shape[-1])[: self.config.rows],
            weight_format=formats[f"{name}:weight"],
            input_format=formats[f"{name}:input"],
            rows=rows,
            columns=columns,
        )
        return emit_gemm(source, self.config.folder)


def _unit(info: NodeInfo, assignment: Assignment) -> str | None:
    pair = [assignment.formats.get(f"{info.name}:{operand}") for operand in ("input", "weight")]
    if info.op != "linear" or pair[0] is None or pair[1] is None:
        return None
    return supports(pair[0], pair[1])


def _entry(emitted: EmittedGemm) -> dict[str, Any]:
    design = emitted.design
    return {
        "node": design.node,
        "folder": str(emitted.folder),
        "unit": design.unit,
        "weight_format": design.weight_format,
        "input_format": design.input_format,
        "rows": design.rows,
        "columns": design.columns,
        "tokens": design.m,
        "cycles": design.cycles_stall_free,
    }
