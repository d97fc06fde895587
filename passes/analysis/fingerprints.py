"""Short digests that say whether something stored on disk is about the same thing: tensors, formats, graphs.

A digest is 64 bits of SHA-256: equal for equal values on every machine, with no regard to paths, names of files or
times. Rounding that depends on the machine (threads, instruction set) is in no digest.
"""

from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, fx

from mxhw.formats import ChannelGroups, Format, parse_format
from mxhw.ir import Graph

__all__ = ["fingerprint_of_format", "fingerprint_of_graph", "fingerprint_of_model", "fingerprint_of_tensor"]

_DIGITS = 16
_DRAWS = 1 << 13
_MULTIPLIER = 1103515245  # a linear congruential generator's, modulo 2^31


def fingerprint_of_tensor(tensor: Tensor) -> str:
    """Return a short digest of a tensor's values, type and shape."""
    digest = sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(tensor.detach().contiguous().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:_DIGITS]


def fingerprint_of_format(name: str) -> str:
    """Return a short digest of what a format rounds numbers of many magnitudes to, and of the bits that they cost.

    A format of a user's own may change under its name; results with the old rule are not results with the new one.
    """
    return _fingerprint_of_format(parse_format(name))


def _fingerprint_of_format(fmt: Format) -> str:
    if isinstance(fmt, ChannelGroups):  # it rounds nothing but tensors of its own number of channels
        runs = " ".join(f"{_fingerprint_of_format(each)}*{count}" for each, count in fmt.runs)
        return sha256(f"{runs} {fmt.selection_bits}".encode()).hexdigest()[:_DIGITS]
    draws = (torch.arange(_DRAWS, dtype=torch.int64) * _MULTIPLIER + 1) % (1 << 31)  # no generator's stream to rely on
    x = ((draws >> 7) - (1 << 23)).float() * torch.exp2(-(draws % 12).float())
    rounded = fmt.fake_quantize(x.reshape(-1, _DRAWS // 8))
    return sha256(f"{fingerprint_of_tensor(rounded)} {fmt.bits(rounded.shape)}".encode()).hexdigest()[:_DIGITS]


def fingerprint_of_graph(graph: Graph) -> str:
    """Return a short digest of the names and weights of the nodes that can be quantized."""
    digest = sha256()
    weighted = {info.name for info in graph.weighted}
    for info in graph.nodes.values():
        if info.sites:
            digest.update(info.name.encode())
        if info.name in weighted:
            digest.update(fingerprint_of_tensor(graph.weight(info.name)).encode())
    return digest.hexdigest()[:_DIGITS]


def fingerprint_of_model(graph: Graph) -> str:
    """Return a short digest of all that a run computes with: every operator, its arguments, every parameter and buffer.

    Graphs of equal digests give equal outputs; records in `meta` (formats, statistics, hardware) do not count.
    """
    digest = sha256()
    _add_structure(digest, graph.module)
    for path, value in sorted(graph.attributes.items()):
        digest.update(f"{path} {fingerprint_of_tensor(value)}\n".encode())
    return digest.hexdigest()[:_DIGITS]


def _add_structure(digest: Any, module: fx.GraphModule) -> None:
    for node in module.graph.nodes:
        digest.update(f"{node.name} {node.op} {_name(node.target)} {node.args} {node.kwargs}\n".encode())
        if node.op == "call_module":
            body = module.get_submodule(str(node.target))
            if isinstance(body, fx.GraphModule):
                _add_structure(digest, body)
            digest.update(f"{type(body).__module__}.{type(body).__qualname__}\n".encode())
            for path, value in body.state_dict().items():
                digest.update(f"{path} {fingerprint_of_tensor(value)}\n".encode())


def _name(target: Any) -> str:
    """Return the name of what a node calls, without the address that Python shows of a function."""
    if isinstance(target, str | torch._ops.OpOverload):
        return str(target)
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', type(target).__qualname__)}"
