"""What comes through the port of weights: how many beats each product's component takes a layer, and which."""

from collections.abc import Mapping

from mxhw.arithmetic.dataflow import Folded, Linear
from mxhw.passes.emit.dataflow.place import Parallelism, Placed, place_graph
from mxhw.passes.transform.fold import LanguageGraph, with_weight_port
from mxhw.rtl_templates.dataflow.linear import LinearUnit
from mxhw.sim.beats import Array

__all__ = ["port_words", "with_shares"]


def with_shares(rom: LanguageGraph, bits: int, parallelism: Parallelism) -> LanguageGraph:
    """Return a design behind a port with the shares that its components take.

    ``rom``: the design without a port, whose products are built with these sizes.
    """
    placed = place_graph(with_weight_port(rom, bits), parallelism)
    shares = {}
    for name, (unit, _) in _products(placed, rom).items():
        loads = unit.gemm.loads
        shares[name] = sum(load.beats for load in loads), sum(load.cycles for load in loads)
    return with_weight_port(rom, bits, shares)


def port_words(graph: LanguageGraph, placed: Mapping[str, Placed]) -> dict[str, Array]:
    """Return what each product gets, uint32 [layers, beats, parts], in the order of the shares; {} without a port."""
    return {
        name: unit.words_of(*layers)
        for name, (unit, layers) in _products(placed, graph).items()
        if unit.gemm.port is not None
    }


def _products(placed: Mapping[str, Placed], graph: LanguageGraph) -> dict[str, tuple[LinearUnit, tuple[Linear, ...]]]:
    """Return unit and operations of every product that layers share."""
    found = {}
    for name, step in graph.steps.items():
        unit = placed[name].component
        if isinstance(step.operation, Folded) and isinstance(unit, LinearUnit):
            found[name] = unit, tuple(each for each in step.operation.members if isinstance(each, Linear))
    return found
