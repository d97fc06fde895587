"""AXI-Stream and AXI-Lite in front of an emitted design."""

from mxhw.rtl_templates.axi.control import AxiLiteControl
from mxhw.rtl_templates.axi.registers import AxiStream, Register, describe_registers, register_map
from mxhw.rtl_templates.axi.stream import AxiStreamIn, AxiStreamOut
from mxhw.rtl_templates.axi.top import AxiTop, axi_top

__all__ = [
    "AxiLiteControl",
    "AxiStream",
    "AxiStreamIn",
    "AxiStreamOut",
    "AxiTop",
    "Register",
    "axi_top",
    "describe_registers",
    "register_map",
]
