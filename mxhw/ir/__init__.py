"""The graph: capture from torch and Hugging Face, the dialect of operators, typed records, storage."""

from mxhw.ir.assignment import Assignment
from mxhw.ir.capture import capture_features, capture_language_model
from mxhw.ir.graph import Graph, Signature
from mxhw.ir.metadata import Gemm, Hardware, NodeInfo, Shape, Site, SiteKey, site_key
from mxhw.ir.symbolic import Size, Symbolic, size_at

__all__ = [
    "Assignment",
    "Gemm",
    "Graph",
    "Hardware",
    "NodeInfo",
    "Shape",
    "Signature",
    "Site",
    "SiteKey",
    "Size",
    "Symbolic",
    "capture_features",
    "capture_language_model",
    "site_key",
    "size_at",
]
