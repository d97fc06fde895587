"""The assignment that a command works on: a file, or the uniform default."""

from __future__ import annotations

from pathlib import Path

from mxhw.ir import Assignment, Graph
from mxhw.ir.cache import CACHE

__all__ = ["DEFAULT_INPUTS", "DEFAULT_WEIGHTS", "assignment_for", "uniform_assignment"]

DEFAULT_WEIGHTS = "bitmod4"
DEFAULT_INPUTS = "int8-e8m0"


def uniform_assignment(graph: Graph, weights: str = DEFAULT_WEIGHTS, inputs: str = DEFAULT_INPUTS) -> Assignment:
    """Return one format for all weights, and one for all inputs and attention operands; the KV cache stays as it is."""
    formats = {
        key: weights if site.operand == "weight" else inputs
        for key, site in graph.sites.items()
        if site.operand != CACHE
    }
    return Assignment(graph.signature.model, formats, {}, {"uniform": [weights, inputs]})


def assignment_for(graph: Graph, path: Path | None) -> Assignment:
    """Read an assignment file, or return the default; checked against the graph.

    Raises
    ------
    InputError
        If the file is absent or malformed, or names a site, format or node that does not exist.
    """
    assignment = uniform_assignment(graph) if path is None else Assignment.load(path)
    assignment.check(graph)
    return assignment
