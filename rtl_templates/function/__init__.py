"""Function units: everything of a transformer between its matrix products, as integer arithmetic on streams."""

from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["UNITS"]

UNITS: tuple[UnitTemplate, ...] = ()
