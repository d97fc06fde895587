"""The structure of a captured model's hardware, made without its weights."""

from mxhw.passes.analysis.structure.model import Structure, Structurer, model_structure
from mxhw.passes.analysis.structure.steps import Choices

__all__ = ["Choices", "Structure", "Structurer", "model_structure"]
