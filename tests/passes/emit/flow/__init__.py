"""FPGA flows of emitted designs."""
