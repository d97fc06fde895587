"""What a language model works on: the order of passes, their tokens, who enters a block and who leaves it."""

from mxhw.rtl_templates.control import arg_max, enter, field, keep, pass_order, take_share, token_select
from mxhw.rtl_templates.control.arg_max import ArgMaxUnit
from mxhw.rtl_templates.control.enter import EnterUnit
from mxhw.rtl_templates.control.field import FieldUnit
from mxhw.rtl_templates.control.keep import KeepUnit
from mxhw.rtl_templates.control.pass_order import PassOrderUnit
from mxhw.rtl_templates.control.payloads import index_shape, pass_layout, request_layout
from mxhw.rtl_templates.control.take_share import TakeShareUnit
from mxhw.rtl_templates.control.token_select import TokenSelectUnit
from mxhw.rtl_templates.template import UnitTemplate

__all__ = [
    "UNITS",
    "ArgMaxUnit",
    "EnterUnit",
    "FieldUnit",
    "KeepUnit",
    "PassOrderUnit",
    "TakeShareUnit",
    "TokenSelectUnit",
    "index_shape",
    "pass_layout",
    "request_layout",
]

UNITS: tuple[UnitTemplate, ...] = (
    pass_order.TEMPLATE,
    field.TEMPLATE,
    token_select.TEMPLATE,
    enter.TEMPLATE,
    keep.TEMPLATE,
    arg_max.TEMPLATE,
    take_share.TEMPLATE,
)
