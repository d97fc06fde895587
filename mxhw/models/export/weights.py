"""Which parameters of a model an assignment quantizes, and how: what both kinds of checkpoint start from."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mxhw.errors import InputError
from mxhw.formats import Format, parse_format
from mxhw.ir import Assignment, Graph

__all__ = ["QuantizedWeight", "quantized_weights", "rounded", "shared_names"]


@dataclass(frozen=True)
class QuantizedWeight:
    """A parameter whose values an assignment rounds.

    Attributes
    ----------
    node : str
        The node of the graph that multiplies by it.
    parameter : str
        Its name in the model, for instance "lm_head.weight".
    value : Tensor
        The parameter as the model holds it, which may be the transpose of what the graph multiplies by (GPT-2).
    format : Format
    axis : int
        The reduction dimension of `value`, negative: blocks and scales run along it.
    input_format : str, optional
        Format that the assignment gives to the node's other operand.
    """

    node: str
    parameter: str
    value: Tensor
    format: Format
    axis: int
    input_format: str | None = None

    @property
    def module(self) -> str:
        """Path of the module that owns the parameter."""
        return self.parameter.rpartition(".")[0]


def quantized_weights(model: nn.Module, graph: Graph, assignment: Assignment) -> list[QuantizedWeight]:
    """Return every parameter of `model` that `assignment` gives a format, in the order of `graph`, which captured it.

    Raises
    ------
    InputError
        If the assignment does not fit the graph, gives no weight a format, or gives one parameter two formats.
    """
    assignment.check(graph)
    found: dict[str, QuantizedWeight] = {}
    for weight in _weights(model, graph, assignment):
        known = found.setdefault(weight.parameter, weight)
        if (known.format, known.axis) != (weight.format, weight.axis):
            raise InputError(
                f"{known.node!r} and {weight.node!r} share {weight.parameter!r}, which cannot be stored as both "
                f"{known.format} and {weight.format}; give them one format"
            )
    if not found:
        raise InputError(f"assignment for {assignment.model!r} gives no weight a format, so there is nothing to export")
    return list(found.values())


def _weights(model: nn.Module, graph: Graph, assignment: Assignment) -> Iterator[QuantizedWeight]:
    for site in graph.sites.values():
        if site.operand != "weight" or site.key not in assignment.formats:
            continue
        name = str(graph.operand(site.node, "weight").target)
        try:
            value = model.get_parameter(name)
        except AttributeError:
            raise InputError(f"weight of {site.node!r} is no parameter of the model; it cannot be exported") from None
        yield QuantizedWeight(
            node=site.node,
            parameter=name,
            value=value.detach(),
            format=parse_format(assignment.formats[site.key]),
            axis=_axis(value, graph.weight(site.node), site.axis, site.node),
            input_format=assignment.formats.get(f"{site.node}:input"),
        )


def _axis(parameter: Tensor, weight: Tensor, axis: int, node: str) -> int:
    """Return `axis` of the graph's weight as a dimension of the parameter, which is the same or transposed."""
    if _same_layout(parameter, weight):
        return axis
    if parameter.dim() >= 2 and axis in (-1, -2) and _same_layout(parameter.transpose(-1, -2), weight):
        return -3 - axis
    raise InputError(
        f"weight {tuple(weight.shape)} of {node!r} is not its parameter {tuple(parameter.shape)} or the transpose of "
        "it, so it cannot be exported"
    )


def _same_layout(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.stride() == b.stride() and a.data_ptr() == b.data_ptr()


def shared_names(model: nn.Module) -> dict[str, str]:
    """Return the parameters that are another one under a second name, with the first name of each."""
    first: dict[int, str] = {}
    return {
        name: first[id(value)]
        for name, value in model.named_parameters(remove_duplicate=False)
        if first.setdefault(id(value), name) != name
    }


def rounded(weight: QuantizedWeight, dtype: torch.dtype) -> Tensor:
    """Return the values that the graph computes with, for a model in `dtype`: the shape of the parameter."""
    return weight.format.fake_quantize(weight.value.to(dtype), axis=weight.axis)
