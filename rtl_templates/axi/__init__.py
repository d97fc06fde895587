"""AXI-Stream and AXI-Lite in front of an emitted design."""
