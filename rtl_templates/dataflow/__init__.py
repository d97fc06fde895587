"""Components of whole graphs: streams of vectors, one per token, in and out."""

from mxhw.rtl_templates.dataflow import attention_scores, attention_values, bias, lanes, linear, quantize, width
from mxhw.rtl_templates.dataflow.attention_scores import AttentionScoresUnit
from mxhw.rtl_templates.dataflow.attention_values import AttentionValuesUnit
from mxhw.rtl_templates.dataflow.bias import BiasUnit
from mxhw.rtl_templates.dataflow.lanes import Lanes
from mxhw.rtl_templates.dataflow.linear import LinearUnit
from mxhw.rtl_templates.dataflow.payloads import code_layout, integer_layout
from mxhw.rtl_templates.dataflow.quantize import QuantizeUnit
from mxhw.rtl_templates.dataflow.width import WidthUnit
from mxhw.rtl_templates.template import UnitTemplate

__all__ = [
    "UNITS",
    "AttentionScoresUnit",
    "AttentionValuesUnit",
    "BiasUnit",
    "Lanes",
    "LinearUnit",
    "QuantizeUnit",
    "WidthUnit",
    "code_layout",
    "integer_layout",
]

UNITS: tuple[UnitTemplate, ...] = (
    linear.TEMPLATE,
    quantize.TEMPLATE,
    bias.TEMPLATE,
    lanes.TEMPLATE,
    width.TEMPLATE,
    attention_scores.TEMPLATE,
    attention_values.TEMPLATE,
)
