"""What FPGA tools need beside the Verilog: project descriptions, constraints, file lists."""
