"""Emission of whole graphs: every step a component, streams between them."""

from mxhw.passes.emit.dataflow import components as _components  # noqa: F401  registers builders
from mxhw.passes.emit.dataflow import products as _products  # noqa: F401  registers builders
from mxhw.passes.emit.dataflow.emit import EmittedDesign, emit_dataflow
from mxhw.passes.emit.dataflow.place import (
    Parallelism,
    Placed,
    Port,
    Request,
    missing_components,
    module_name,
    place_graph,
    register_component,
)

__all__ = [
    "EmittedDesign",
    "Parallelism",
    "Placed",
    "Port",
    "Request",
    "emit_dataflow",
    "missing_components",
    "module_name",
    "place_graph",
    "register_component",
]
