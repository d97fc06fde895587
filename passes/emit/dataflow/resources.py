"""What a design takes of its platform: its components, and what connects them, by their records (:mod:`.costed`)."""

from collections.abc import Mapping

from mxhw.arithmetic.dataflow import Folded, IntegerGraph, Linear, Operation
from mxhw.hardware import Platform
from mxhw.hardware.platform import memory_sizes
from mxhw.hardware.resources import unit_resources
from mxhw.hardware.sizes import NOTHING, Resources, unit_sizes
from mxhw.hardware.sizes.connections import connections
from mxhw.passes.emit.dataflow.costed import design_of, has_record, record_of
from mxhw.passes.emit.dataflow.place import Placed
from mxhw.passes.emit.dataflow.top import Depths

__all__ = ["Resources", "fifo_resources", "linear_layers", "step_resources"]

_OF_WEIGHTS = ("weights", "metadata")


def step_resources(
    operation: Operation, placed: Placed, platform: Platform, *, weights_inside: bool = True
) -> Resources:
    """Return what a step's component takes; an operation without a record takes nothing.

    ``weights_inside``: the weights of products lie in memories of the design.
    """
    if not has_record(operation):
        return NOTHING
    unit = record_of(operation, placed)
    if weights_inside or not linear_layers(operation):
        return unit_resources(unit, platform)
    kept = [shape for shape in unit.memories() if shape.name not in _OF_WEIGHTS]
    return sum((memory_sizes(shape, platform) for shape in kept), unit_sizes(unit, platform))


def fifo_resources(graph: IntegerGraph, placed: Mapping[str, Placed], depths: Depths, platform: Platform) -> Resources:
    """Return what stands between steps takes: forks, FIFOs and converters."""
    units = connections(design_of(graph, placed, depths))
    return sum((unit_resources(unit, platform) for unit in units), NOTHING)


def linear_layers(operation: Operation) -> tuple[Linear, ...]:
    """Return the products that a product's unit serves, one a layer; nothing for other operations."""
    members = operation.members if isinstance(operation, Folded) else (operation,)
    return tuple(member for member in members if isinstance(member, Linear))
