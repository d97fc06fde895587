"""The graph: capture from torch and Hugging Face, the dialect of operators, typed records, storage."""

from mxhw.ir.assignment import Assignment
from mxhw.ir.cache_layers import CacheLayer
from mxhw.ir.capture import capture_features, capture_language_model
from mxhw.ir.capture_decode import capture_decoder
from mxhw.ir.decode import DecodeGraph, KVCache
from mxhw.ir.graph import Graph, Signature
from mxhw.ir.kinds import register_module, register_operator
from mxhw.ir.metadata import Gemm, Hardware, NodeInfo, Shape, Site, SiteKey, site_key
from mxhw.ir.partition import Part, partition
from mxhw.ir.symbolic import Size, Symbolic, size_at

__all__ = [
    "Assignment",
    "CacheLayer",
    "DecodeGraph",
    "Gemm",
    "Graph",
    "Hardware",
    "KVCache",
    "NodeInfo",
    "Part",
    "Shape",
    "Signature",
    "Site",
    "SiteKey",
    "Size",
    "Symbolic",
    "capture_decoder",
    "capture_features",
    "capture_language_model",
    "partition",
    "register_module",
    "register_operator",
    "site_key",
    "size_at",
]
