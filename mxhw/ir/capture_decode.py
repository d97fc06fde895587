"""From a Hugging Face language model to a :class:`mxhw.ir.decode.DecodeGraph`: export with the cache as inputs.

The model is traced with a cache object of ours in the place of transformers' `DynamicCache`. It only concatenates, so
nothing in the graph depends on how many tokens there were; positions are an input, and what a sliding window drops is
dropped outside of the graph.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from mxhw.errors import InputError
from mxhw.ir.attention import use_dialect_attention
from mxhw.ir.cache import CACHE, past_of
from mxhw.ir.cache_layers import CacheLayer
from mxhw.ir.capture import dialect_module
from mxhw.ir.decode import DecodeGraph
from mxhw.ir.describe import SOURCE
from mxhw.ir.experts import use_dialect_experts
from mxhw.ir.export import LONGEST, evaluating, export_model
from mxhw.ir.signature import language_signature
from mxhw.ir.weightless import buffers_on_meta, restore_buffers, tracing_device

__all__ = ["capture_decoder"]


_LOOKS = (torch.ops.aten.sym_size.int, torch.ops.aten._assert_tensor_metadata.default)  # at sizes and types only
_TRACED = {"b": 2, "s": 4, "p": 5}  # sizes that no two inputs share by chance, and neither 0 nor 1


class _TracedCache:
    """A KV cache for tracing: it gives attention its past and the new tokens, and holds that afterwards."""

    is_compileable = False

    def __init__(self, keys: list[Tensor], values: list[Tensor]) -> None:
        self.keys, self.values = keys, values
        self.past = keys[0].shape[-2] if keys else 0

    @property
    def is_sliding(self) -> list[bool]:
        return [False] * len(self.keys)

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self.keys[layer_idx] = torch.cat([self.keys[layer_idx], keys], dim=-2)
        self.values[layer_idx] = torch.cat([self.values[layer_idx], values], dim=-2)
        return self.keys[layer_idx], self.values[layer_idx]

    # Models with attention of their own build masks from these. Others do not read them: positions are an input, and
    # the dialect's attention looks at the sizes of scores, which is right where a window has dropped tokens too.
    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.past

    def get_query_offset(self, layer_idx: int = 0) -> int:
        return self.past

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return self.past + query_length, 0

    def tensors(self) -> list[Tensor]:
        return [*self.keys, *self.values]


class _SeenCache(_TracedCache):
    """An empty KV cache that looks at what it is given, and keeps its sizes."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.sizes: dict[int, CacheLayer] = {}

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self.sizes[layer_idx] = CacheLayer(
            heads=keys.shape[1],
            key_size=keys.shape[3],
            value_size=values.shape[3],
            window=0,
            dtype=str(keys.dtype).removeprefix("torch."),
        )
        return keys, values


@cache
def _register() -> None:
    """Tell torch that the tensors of a cache are inputs and outputs; once."""

    def build(tensors: Any, _: Any) -> _TracedCache:
        found = list(tensors)
        return _TracedCache(found[: len(found) // 2], found[len(found) // 2 :])

    pytree.register_pytree_node(
        _TracedCache,
        lambda held: (held.tensors(), None),
        build,
        serialized_type_name="mxhw.ir.TracedCache",
        flatten_with_keys_fn=lambda held: ([(pytree.SequenceKey(i), t) for i, t in enumerate(held.tensors())], None),
    )


def capture_decoder(model: nn.Module, *, batch: int = 1, sequence: int = 1, name: str | None = None) -> DecodeGraph:
    """Capture a Hugging Face causal language model with its KV cache as inputs and outputs.

    Greedy generation with the graph equals ``model.generate(do_sample=False)`` with eager attention token for token,
    and the logits of every step equal those of the model with a `DynamicCache` of its config bit for bit.

    Parameters
    ----------
    batch, sequence : int
        Default sizes of the graph, new tokens of one run; it runs at any others.

    Raises
    ------
    InputError
        If the model keeps no keys and values per layer, or something else beside them, or cannot be exported.
    """
    signature = language_signature(model, batch=batch, sequence=sequence, dynamic=True, name=name)
    layers = _cache_layers(model)
    with use_dialect_attention(model), use_dialect_experts(model):
        exported = export_model(model, *_inputs(layers, tracing_device(model)))
    symbols = _inputs_and_outputs(exported, layers)
    module = dialect_module(exported, symbols)
    restore_buffers(module, model)
    graph = DecodeGraph(module, signature, layers)
    _check_windows(graph)
    return graph


def _cache_layers(model: Any) -> list[CacheLayer]:
    """Return what each layer keeps, as one token run through the model shows it."""
    seen, name = _SeenCache(), type(model).__name__
    known = inspect.signature(model.forward).parameters
    if "past_key_values" in known:
        if "position_ids" not in known:
            raise InputError(f"{name} takes no position_ids, so it has no decode graph; capture it without a cache")
        token = torch.zeros(1, 1, dtype=torch.long, device=tracing_device(model))
        try:
            with torch.no_grad(), evaluating(model), buffers_on_meta(model):
                model(token, past_key_values=seen, use_cache=True)
        except Exception as error:  # a model that wants more of a cache than keys and values fails in its own way
            raise InputError(f"{name} does not run with a cache of keys and values: {error!s:.200}") from error
    if not seen.sizes:
        raise InputError(f"{name} keeps no keys and values from token to token; only causal language models decode")
    windows = _windows(model)
    if list(seen.sizes) != list(range(len(windows))):
        raise InputError(
            f"{name} keeps keys and values in layers {sorted(seen.sizes)} of {len(windows)}; a model that keeps "
            "anything else, or shares them, has no decode graph"
        )
    return [replace(layer, window=window) for layer, window in zip(seen.sizes.values(), windows, strict=True)]


def _windows(model: Any) -> list[int]:
    """Return the sliding window of every layer, 0 without one, as transformers' own cache has it."""
    from transformers import DynamicCache

    layers = DynamicCache(config=model.config).layers
    return [int(layer.sliding_window) if getattr(layer, "is_sliding", False) else 0 for layer in layers]


def _inputs(layers: list[CacheLayer], device: str) -> tuple[dict[str, Any], Any]:
    """Return example inputs for tracing, and which of their sizes are symbolic."""
    _register()
    dims = {name: torch.export.Dim(name, min=0, max=LONGEST) for name in ("b", "s")}
    pasts: dict[int, tuple[int, Any]] = {}
    for number, window in enumerate(sorted({layer.window for layer in layers})):
        dim = torch.export.Dim(f"p{window}", min=0, max=LONGEST)
        pasts[window] = (_TRACED["p"] + number, dim)

    def past(layer: CacheLayer, size: int) -> Tensor:
        shape = (_TRACED["b"], layer.heads, pasts[layer.window][0], size)
        return torch.zeros(shape, dtype=getattr(torch, layer.dtype), device=device)

    held = _TracedCache(
        [past(layer, layer.key_size) for layer in layers], [past(layer, layer.value_size) for layer in layers]
    )
    ids = torch.zeros(_TRACED["b"], _TRACED["s"], dtype=torch.long, device=device)
    positions = torch.zeros(1, _TRACED["s"], dtype=torch.long, device=device)
    shapes = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]
    shapes[ids] = {0: dims["b"], 1: dims["s"]}
    shapes[positions] = {1: dims["s"]}
    for layer, tensor in zip([*layers, *layers], held.tensors(), strict=True):
        shapes[tensor] = {0: dims["b"], 2: pasts[layer.window][1]}
    return {"input_ids": ids, "position_ids": positions, "past_key_values": held, "use_cache": True}, shapes


def _inputs_and_outputs(exported: fx.GraphModule, layers: list[CacheLayer]) -> dict[Any, str]:
    """Leave ids, positions and cache as inputs, logits and cache as outputs; return the names of the symbols."""
    graph = exported.graph
    ids, positions, *pasts = [node for node in graph.nodes if node.op == "placeholder"][: 2 + 2 * len(layers)]
    outputs: list[fx.Node] = []
    fx.map_arg(graph.output_node().args, outputs.append)
    logits, *stored = outputs[: 1 + 2 * len(layers)]
    for number, (past, after) in enumerate(zip(pasts, stored, strict=True)):
        if past_of(after) is not past or len(_readers(after)) != 1:
            raise InputError(
                f"layer {number % len(layers)} does not read its cache as it is stored, or shares it with another "
                "layer; such a model has no decode graph"
            )
    graph.output_node().args = ((logits, *stored),)
    graph.set_codegen(fx.graph.CodeGen())
    graph.eliminate_dead_code()
    symbols = dict(zip((size.node.expr for size in ids.meta["val"].shape), ("b", "s"), strict=True))
    for past, layer in zip(pasts, [*layers, *layers], strict=True):
        past.meta[SOURCE] = CACHE
        length = past.meta["val"].shape[2].node.expr
        symbols[length] = f"Min(p, {layer.window - 1})" if layer.window else "p"
    for extra in graph.find_nodes(op="placeholder"):
        if extra not in (ids, positions, *pasts):
            graph.erase_node(extra)
    return symbols


def _readers(stored: fx.Node) -> list[fx.Node]:
    """Return the nodes that read the values of a cache, not only its length."""
    return [user for user in stored.users if user.op != "output" and user.target not in _LOOKS]


def _check_windows(graph: DecodeGraph) -> None:
    """Raise an InputError where a layer's attention does not look back just as far as its cache reaches."""
    for number, layer in enumerate(graph.layers):
        (product,) = _readers(graph.stored[number])
        windows = {user.args[3] for user in product.users if user.target is torch.ops.mxhw.attn_softmax.default}
        if windows != {layer.window} and (layer.window or windows):
            raise InputError(
                f"{graph.signature.model}: layer {number} keeps a window of {layer.window or 'all'} tokens, but its "
                f"attention is not one of the dialect with that window ({sorted(map(str, windows))})"
            )
