"""Emission of whole graphs: every step a component, streams between them.

An operation of one's own needs a component (`register_component`); its choices of sizes (`register_options`), what the
cost model counts it as (`register_record`) and when it takes and gives its beats (`register_timing`, with what
:mod:`.timing` has for rules) are registered where the defaults do not do.
"""

from mxhw.passes.emit.dataflow import components as _components  # noqa: F401  registers builders
from mxhw.passes.emit.dataflow import control as _control  # noqa: F401  registers builders
from mxhw.passes.emit.dataflow import products as _products  # noqa: F401  registers builders
from mxhw.passes.emit.dataflow.balance import register_options
from mxhw.passes.emit.dataflow.costed import register_record
from mxhw.passes.emit.dataflow.emit import EmittedDesign, emit_dataflow
from mxhw.passes.emit.dataflow.folder import check_folder
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
from mxhw.passes.emit.dataflow.registry import track_tables
from mxhw.passes.emit.dataflow.timing import register_timing

__all__ = [
    "DesignPlan",
    "EmittedDesign",
    "Parallelism",
    "Placed",
    "Port",
    "Request",
    "check_design_name",
    "check_folder",
    "emit_dataflow",
    "missing_components",
    "module_name",
    "place_graph",
    "plan_design",
    "register_component",
    "register_options",
    "register_record",
    "register_timing",
]

track_tables()
