"""Tiny random language models in integers, folded and unfolded: what tests of folding and of its emission share."""

from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor

from mxhw.arithmetic.dataflow import Step
from mxhw.flow.assignments import layered_assignment
from mxhw.ir import Assignment, Graph
from mxhw.passes.transform.fold import LanguageGraph, language_graph
from mxhw.passes.transform.lower import LoweredGraph
from tests.passes.transform.lower.families import VOCABULARY, Lowered

__all__ = ["FORMATS", "dialect", "folded", "mixed", "model", "prompts", "rewired"]


def mixed(graph: Graph) -> Assignment:
    """Weights of 4 and 3 bits that take turns, layer after layer."""
    return layered_assignment(graph, ["bitmod4", "bitmod3"])


def dialect(graph: Graph) -> Assignment:
    """DialectFP4 in all linear layers, weights and inputs."""
    return layered_assignment(graph, ["dialect4"], "dialect4-online")


FORMATS: Mapping[str, Callable[[Graph], Assignment]] = {"bitmod": mixed, "dialect": dialect}


def model(family: str, formats: str = "bitmod") -> Lowered:
    """Return a family of two layers, captured, calibrated and lowered once a process."""
    return _model(family, formats)


@cache
def _model(family: str, formats: str) -> Lowered:
    return Lowered(family, formats=FORMATS[formats])


def folded(
    family: str, *, fold: bool = True, sequences: int = 2, chunk: int = 4, formats: str = "bitmod"
) -> LanguageGraph:
    """Return the design of a family."""
    made = model(family, formats)
    return language_graph(made.whole, made.graph.blocks, fold=fold, sequences=sequences, chunk=chunk)


def prompts(*lengths: int) -> list[Tensor]:
    """Return random prompts of these lengths."""
    generator = torch.Generator().manual_seed(11)
    return [torch.randint(0, VOCABULARY, (length,), generator=generator) for length in lengths]


def rewired(whole: LoweredGraph, inputs: Mapping[str, tuple[str, ...]]) -> LoweredGraph:
    """Return the graph with other inputs of some steps."""
    steps = [
        Step(step.name, step.node, step.operation, inputs.get(step.name, step.inputs)) for step in whole.steps.values()
    ]
    return LoweredGraph(
        whole.inputs,
        steps,
        whole.outputs,
        model=whole.model,
        sources=whole.sources,
        streams=whole.streams,
        keys=whole.keys,
    )
