"""Models without weights: parameters on torch's meta device, which knows shapes and types and stores nothing.

Buffers that no checkpoint holds (RoPE's inverse frequencies) are real in such a model. They stand on the meta device
while the model is traced, for an operator takes operands of one device, and are real again in the captured graph; the
device "meta" that the trace bakes into arange and casts becomes the CPU, so that the graph runs once weights are there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

__all__ = [
    "assign_tensor",
    "buffers_on_meta",
    "forget_tensors",
    "is_weightless",
    "move_to_cpu",
    "restore_buffers",
    "tracing_device",
]

_META = torch.device("meta")
_CPU = torch.device("cpu")


def is_weightless(module: nn.Module) -> bool:
    """Say whether some parameter or buffer of `module` is on the meta device."""
    tensors = (*module.parameters(), *module.buffers())
    return any(tensor.is_meta for tensor in tensors)


def tracing_device(module: nn.Module) -> str:
    """Return where the inputs stand that `module` is traced with."""
    return "meta" if is_weightless(module) else "cpu"


@contextmanager
def buffers_on_meta(model: nn.Module) -> Iterator[None]:
    """Put the buffers of a weightless `model` on the meta device inside the context; other models are left alone.

    Constants that its forward makes with `torch.tensor` keep their values: they stay on the CPU.
    """
    if not is_weightless(model):
        yield
        return
    moved: list[tuple[nn.Module, str, Tensor]] = []
    for module in model.modules():
        for name, buffer in list(module._buffers.items()):
            if buffer is not None and not buffer.is_meta:
                moved.append((module, name, buffer))
                module._buffers[name] = buffer.to(_META)
    try:
        with _ConstantsOnCpu():
            yield
    finally:
        for module, name, buffer in moved:
            module._buffers[name] = buffer


class _ConstantsOnCpu(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if func is torch.tensor and named.get("device") == _META:
            named["device"] = _CPU
        return func(*args, **named)


def move_to_cpu(graph: fx.Graph) -> None:
    """Replace the device "meta" by the CPU in every argument of `graph`, in place."""

    def moved(argument: Any) -> Any:
        if isinstance(argument, tuple | list):
            return type(argument)(moved(each) for each in argument)
        return _CPU if argument == _META else argument

    for node in graph.nodes:
        if node.op == "call_function":
            node.args = tuple(moved(argument) for argument in node.args)
            node.kwargs = {name: moved(argument) for name, argument in node.kwargs.items()}


def restore_buffers(module: fx.GraphModule, model: nn.Module) -> None:
    """Give the captured `module` the real buffers of `model` where it has their copies on the meta device."""
    targets = {str(node.target) for node in module.graph.find_nodes(op="get_attr")}
    for name, buffer in model.named_buffers():
        if name in targets and not buffer.is_meta:
            assign_tensor(module, name, buffer)


def assign_tensor(module: nn.Module, target: str, tensor: Tensor) -> None:
    """Put `tensor` in the place of the attribute `target` (a dotted path) of `module`."""
    path, _, name = target.rpartition(".")
    owner = module.get_submodule(path)
    if name in owner._parameters or name in owner._buffers:
        delattr(owner, name)
    if isinstance(tensor, nn.Parameter):
        owner.register_parameter(name, tensor)
    else:
        owner.register_buffer(name, tensor)


def forget_tensors(module: fx.GraphModule) -> None:
    """Drop everything that `module` holds: it cannot run any more.

    A graph module and its graph refer to each other, so its tensors would live until the garbage collector comes by.
    """
    for held in (module._parameters, module._buffers, module._modules):
        held.clear()
