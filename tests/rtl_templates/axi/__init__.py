"""AXI ports of designs."""
