"""`torch.export` as the capture needs it: a model in evaluation mode, symbolic sizes, errors in one line."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from mxhw.errors import InputError
from mxhw.ir.provenance import marked_functions
from mxhw.ir.weightless import buffers_on_meta, move_to_cpu

__all__ = ["LONGEST", "evaluating", "export_model"]

LONGEST = 1 << 20  # bound of the symbolic sizes


def export_model(model: nn.Module, inputs: dict[str, Any] | tuple[Tensor, ...], shapes: Any) -> fx.GraphModule:
    """Return what `torch.export` makes of a model: aten operators that know which module they came from.

    Parameters
    ----------
    model : nn.Module
        Weights on the meta device stay there.
    inputs : dict or tuple
        Arguments by name or by position; only their shapes and types matter.
    shapes : nested like `inputs`
        Which sizes are symbolic (`dynamic_shapes` of `torch.export.export`), None for none.

    Raises
    ------
    InputError
        If it cannot be exported; the message names the module that it failed in.
    """
    args, kwargs = ((), inputs) if isinstance(inputs, dict) else (inputs, None)
    with (
        torch.no_grad(),
        evaluating(model),
        buffers_on_meta(model),
        _without_stack_traces(),
        marked_functions(model),
        torch.fx.traceback.preserve_node_meta(),
    ):
        try:
            exported = torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=False)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"{type(model).__name__} cannot be captured by torch.export: {_why(model, error)}"
            ) from error
        module = exported.module(check_guards=False)
    move_to_cpu(module.graph)
    _number_sizes(module.graph)
    return module


def _number_sizes(graph: fx.Graph) -> None:
    """Name the sizes of the inputs in their order: torch's numbers for them depend on how many layers there are."""
    for number, node in enumerate(graph.find_nodes(op="call_function", target=torch.ops.aten.sym_size.int)):
        node._rename(f"sym_size_{number}")


@contextmanager
def _without_stack_traces() -> Iterator[None]:
    """Keep torch from recording where in Python every node was made: a fifth of the time, and nothing reads it."""
    from torch.fx import config

    before = getattr(config, "do_not_emit_stack_traces", None)  # absent before torch 2.13
    if before is not None:
        config.do_not_emit_stack_traces = True
    try:
        yield
    finally:
        if before is not None:
            config.do_not_emit_stack_traces = before


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put `model` into evaluation mode, and every part of it back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _why(model: nn.Module, error: Exception) -> str:
    """Return in one line what torch.export said, and in which module it happened."""
    paths = {id(module): path for path, module in model.named_modules() if path}
    inner = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = frame.f_locals.get("self")
        if id(module) in paths:
            inner = f"in {paths[id(module)]!r} ({type(module).__name__}): "
    lines = [line.strip(" -") for line in str(error).strip().splitlines() if line.strip()]
    if lines and lines[0].startswith("Constraints violated"):
        return f"its sizes cannot stay symbolic, capture with dynamic=False: {' '.join(lines[1:2]):.240}"
    return f"{inner}{(lines or [type(error).__name__])[0]:.300}"
