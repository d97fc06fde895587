"""What FPGA tools need beside the Verilog: project descriptions, constraints, file lists."""

from mxhw.passes.emit.flow.describe import FlowTarget
from mxhw.passes.emit.flow.implement import implement_design
from mxhw.passes.emit.flow.write import WrittenFlow, write_flow
from mxhw.sim.clocks import Implementation, read_implementations

__all__ = [
    "FlowTarget",
    "Implementation",
    "WrittenFlow",
    "implement_design",
    "read_implementations",
    "write_flow",
]
