"""Emission of whole graphs: every step a component, streams between them."""

from mxhw.passes.emit.dataflow import components as _components  # noqa: F401  registers builders
from mxhw.passes.emit.dataflow import products as _products  # noqa: F401  registers builders
from mxhw.passes.emit.dataflow.emit import EmittedDesign, emit_dataflow
from mxhw.passes.emit.dataflow.names import check_design_name
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
from mxhw.passes.emit.dataflow.plan import DesignPlan, plan_design

__all__ = [
    "DesignPlan",
    "EmittedDesign",
    "Parallelism",
    "Placed",
    "Port",
    "Request",
    "check_design_name",
    "emit_dataflow",
    "missing_components",
    "module_name",
    "place_graph",
    "plan_design",
    "register_component",
]
