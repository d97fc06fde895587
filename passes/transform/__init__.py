"""Transformations: formats into the graph, arrays onto its nodes."""

from mxhw.passes.transform.parallelize import Parallelize, ParallelizeConfig
from mxhw.passes.transform.quantize import Arithmetic, Quantize, QuantizeConfig
from mxhw.passes.transform.weights import WeightCache

__all__ = ["Arithmetic", "Parallelize", "ParallelizeConfig", "Quantize", "QuantizeConfig", "WeightCache"]
