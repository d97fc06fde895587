"""Function units: everything of a transformer between its matrix products, as integer arithmetic on streams."""

from mxhw.rtl_templates.function import (
    elementwise,
    embedding,
    gelu,
    layer_norm,
    requantize,
    rms_norm,
    rope,
    silu,
    softmax,
    softmax_weights,
)
from mxhw.rtl_templates.function.pipeline import Pipeline
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["UNITS", "Pipeline"]

UNITS: tuple[UnitTemplate, ...] = (
    softmax.TEMPLATE,
    softmax_weights.TEMPLATE,
    silu.TEMPLATE,
    silu.GATE_TEMPLATE,
    gelu.TEMPLATE,
    rope.TEMPLATE,
    requantize.TEMPLATE,
    rms_norm.TEMPLATE,
    layer_norm.TEMPLATE,
    *elementwise.TEMPLATES,
    embedding.TEMPLATE,
)
