"""Synthesis of the hardware library with yosys: cells, area, delay, FPGA resources, and formal equivalence."""
