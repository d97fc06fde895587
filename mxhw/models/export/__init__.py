"""Quantized checkpoints for other software: compressed-tensors where it can say a format, native packed bytes for all.

>>> export_checkpoint(loaded, graph, assignment, "out", to="native")
>>> import mxhw; AutoModelForCausalLM.from_pretrained("out")     # elsewhere
"""

from mxhw.models.export.checkpoint import TARGETS, ExportReport, Target, export_checkpoint

__all__ = ["TARGETS", "ExportReport", "Target", "export_checkpoint"]
