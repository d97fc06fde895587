"""The assignment that a command works on: a file, or the uniform default; and one that changes from layer to layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mxhw.errors import InputError
from mxhw.ir import Assignment, Graph
from mxhw.ir.cache import CACHE

__all__ = [
    "DEFAULT_INPUTS",
    "DEFAULT_WEIGHTS",
    "assignment_for",
    "checked_assignment",
    "chosen_sizes",
    "layered_assignment",
    "uniform_assignment",
]

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


def layered_assignment(
    graph: Graph, weights: Sequence[str], inputs: str = DEFAULT_INPUTS, attention: str = DEFAULT_INPUTS
) -> Assignment:
    """Return formats of weights that take turns, layer after layer; weights in no layer have the first of them.

    ``inputs`` is for linear layers, ``attention`` for its operands; the KV cache stays as it is.

    Raises
    ------
    InputError
        If there are no formats of weights.
    """
    if not weights:
        raise InputError("weights must name at least one format")
    turns = {
        node: weights[layer % len(weights)]
        for members in graph.blocks.values()
        for layer, block in enumerate(members)
        for node in graph.nodes
        if node.startswith(f"{block}.")
    }
    formats = {
        key: {"weight": turns.get(site.node, weights[0]), "input": inputs}.get(site.operand, attention)
        for key, site in graph.sites.items()
        if site.operand != CACHE
    }
    return Assignment(graph.signature.model, formats, {}, {"layered": [list(weights), inputs, attention]})


def assignment_for(graph: Graph, path: Path | None) -> Assignment:
    """Read an assignment file, or return the default; checked against the graph.

    Raises
    ------
    InputError
        If the file is absent or malformed, or names a site, format or node that does not exist.
    """
    return checked_assignment(graph, None if path is None else Assignment.load(path))


def checked_assignment(graph: Graph, given: Assignment | None) -> Assignment:
    """Return an assignment, or the default; InputError if it does not fit the graph."""
    assignment = uniform_assignment(graph) if given is None else given
    assignment.check(graph)
    return assignment


def chosen_sizes(assignment: Assignment, step: str, node: str, kind: str) -> dict[str, int]:
    """Return what an assignment chooses for a step: rows and columns of a product, lanes of others."""
    if kind == "linear":
        return dict(zip(("rows", "columns"), assignment.arrays[node], strict=True)) if node in assignment.arrays else {}
    return {"lanes": assignment.lanes[step]} if step in assignment.lanes else {}
