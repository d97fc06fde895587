"""A model that is run part by part, each with its weights only while it runs: evaluation in the memory of a few blocks.

The model is captured without weights, cut into parts (:mod:`mxhw.ir.partition`), and a part gets its weights from the
mapped files when it is asked for. Whoever drives it runs all inputs through one part before the next one is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from mxhw.errors import InputError
from mxhw.ir import Graph, Part, Signature, partition
from mxhw.ir.weightless import assign_tensor, forget_tensors
from mxhw.models.capture import capture
from mxhw.models.loading import LoadedModel, model_folder
from mxhw.models.shards import Shards
from mxhw.models.skeleton import load_skeleton

__all__ = ["StreamedModel", "stream_model"]

_SEQUENCE = 512


@dataclass(frozen=True)
class StreamedModel:
    """A model whose weights stay in its files.

    Attributes
    ----------
    loaded : LoadedModel
        The model without weights, its tokenizer and texts.
    graph : Graph
        The whole graph, without weights; :meth:`Graph.weight` reads the one that is asked for from its file.
    parts : list of Part
        The graph cut into the embedding, every layer, and the rest.
    """

    loaded: LoadedModel
    graph: Graph
    parts: list[Part]
    _shards: Shards

    @contextmanager
    def weights_of(self, part: Part) -> Iterator[Graph]:
        """Give the part with its weights, which are dropped at the end of the context.

        Raises
        ------
        InputError
            If the part reads a tensor that is in no checkpoint.
        """
        graph = part.graph.copy()
        absent = {target: value for target, value in graph.attributes.items() if value.is_meta}
        stored = self._shards.load(absent)
        for target, captured in absent.items():
            assign_tensor(graph.module, target, _as_captured(stored.pop(target), captured))
        try:
            yield graph
        finally:
            forget_tensors(graph.module)


def stream_model(
    name: str | Path, dtype: torch.dtype = torch.float32, *, batch: int = 1, sequence: int | None = None
) -> StreamedModel:
    """Open a model for streaming.

    Parameters
    ----------
    name : str or Path
        "demo", a directory with config.json and safetensors, or a hub id.
    dtype : torch.dtype
        Of the parameters while they are in memory. Weights that are stored so are used where they are mapped; others
        are converted, one part at a time.
    batch, sequence : int
        Default sizes of the graph; a sequence of 512, or the model's context.

    Raises
    ------
    InputError
        As :func:`mxhw.models.load_model` does, and for checkpoints that do not fit the configuration.
    """
    folder = model_folder(str(name))
    loaded = load_skeleton(folder, dtype)
    shards = Shards(folder, loaded.model)
    captured = capture(loaded, batch=batch, sequence=sequence or loaded.at_most_context(_SEQUENCE))
    graph = _MappedGraph(captured.module, captured.signature, shards)
    parts = partition(captured)
    return StreamedModel(
        loaded=LoadedModel(str(name), loaded.model, loaded.encode, loaded.texts),
        graph=graph,
        parts=parts,
        _shards=shards,
    )


class _MappedGraph(Graph):
    """A graph without weights that reads a single one from its file when that is asked for."""

    def __init__(self, module: fx.GraphModule, signature: Signature, shards: Shards) -> None:
        super().__init__(module, signature)
        self._shards = shards

    def weight(self, name: str) -> Tensor:
        source = self.operand(name, "weight")
        target = str(source.target)
        value = self.attributes.get(target)
        if source.op != "get_attr" or value is None or not value.is_meta:
            return super().weight(name)
        return _as_captured(self._shards.load([target])[target], value)

    def _of_module(self, module: fx.GraphModule) -> Graph:
        return _MappedGraph(module, self.signature, self._shards)


def _as_captured(tensor: Tensor, captured: Tensor) -> Tensor:
    """Return a stored tensor as the graph reads it: transposed where capture turned it, a parameter where it is one."""
    if not captured.is_contiguous() and captured.mT.is_contiguous():
        tensor = tensor.mT
    if tensor.shape != captured.shape:
        raise InputError(f"a stored weight is {list(tensor.shape)}, where the graph reads {list(captured.shape)}")
    return nn.Parameter(tensor, requires_grad=False) if isinstance(captured, nn.Parameter) else tensor
