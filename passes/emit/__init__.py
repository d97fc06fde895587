"""Emission: from a graph and an assignment to RTL, memory images, stimulus and benches."""

from mxhw.passes.emit.gemm import EmittedGemm, GemmSource, emit_gemm
from mxhw.passes.emit.layers import EmitLayers, EmitLayersConfig, emittable
from mxhw.passes.emit.names import folder_name
from mxhw.passes.emit.units import UnitPlan, plan_unit

__all__ = [
    "EmitLayers",
    "EmitLayersConfig",
    "EmittedGemm",
    "GemmSource",
    "UnitPlan",
    "emit_gemm",
    "emittable",
    "folder_name",
    "plan_unit",
]
