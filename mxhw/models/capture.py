"""`mxhw.capture` and `mxhw.capture_decoder`: one door for models by name, loaded models, and modules of torch."""

from pathlib import Path

from torch import Tensor, nn

from mxhw import ir
from mxhw.errors import InputError
from mxhw.ir import DecodeGraph, Graph, capture_features, capture_language_model
from mxhw.models.loading import LoadedModel, load_model

__all__ = ["capture", "capture_decoder"]


def capture(
    model: str | Path | LoadedModel | nn.Module,
    batch: int = 1,
    sequence: int = 128,
    dynamic: bool = True,
    *,
    example: Tensor | None = None,
) -> Graph:
    """Capture a model as a graph that computes exactly what the model computes (with eager attention).

    Parameters
    ----------
    model : str, Path, LoadedModel or nn.Module
        "demo", a directory, a hub id; what :func:`load_model` returned; a Hugging Face model; or a plain module such as
        an MLP or a CNN. Plain modules and Hugging Face's vision models take one tensor of floating-point features.
    batch, sequence : int
        Default sizes of the graph; with ``dynamic=False`` the only ones.
    dynamic : bool
        Keep batch and sequence symbolic.
    example : Tensor, optional
        An input of a model that takes features, for instance pixels [batch, 3, height, width]; without it, [batch,
        features of its first Linear]. Only its shape and type matter.

    Raises
    ------
    InputError
        If the model cannot be found, loaded or captured, or the sizes do not fit it.
    """
    name, model = _resolved(model)
    if not _takes_tokens(model, example):
        return capture_features(model, example, batch=batch, dynamic=dynamic, name=name)
    if example is not None:
        raise InputError("example is for modules that take features; a language model takes token ids")
    return capture_language_model(model, batch=batch, sequence=sequence, dynamic=dynamic, name=name)


def capture_decoder(model: str | Path | LoadedModel | nn.Module, batch: int = 1, sequence: int = 1) -> DecodeGraph:
    """Capture a causal language model with its KV cache, for generation token by token.

    Parameters
    ----------
    model : str, Path, LoadedModel or nn.Module
        As for :func:`capture`, but language models only.
    batch, sequence : int
        Default sizes of the graph; `sequence` counts the new tokens of one run.

    Raises
    ------
    InputError
        If the model cannot be found, loaded or captured, or keeps no keys and values.
    """
    name, model = _resolved(model)
    if not _takes_tokens(model, None):
        raise InputError(f"{type(model).__name__} is no language model of Hugging Face, so it has nothing to decode")
    return ir.capture_decoder(model, batch=batch, sequence=sequence, name=name)


def _resolved(model: str | Path | LoadedModel | nn.Module) -> tuple[str | None, nn.Module]:
    """Return a name, where there is one, and the module."""
    name: str | None = None
    if isinstance(model, str | Path):
        model = load_model(model)
    if isinstance(model, LoadedModel):
        name, model = model.name, model.model
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a name, a directory or a torch module, not {type(model).__name__}")
    return name, model


def _takes_tokens(model: nn.Module, example: Tensor | None) -> bool:
    """Whether a model is one of Hugging Face that takes token ids, or can only be told that it is none."""
    if not hasattr(model, "set_attn_implementation"):
        return False
    return example is None or getattr(model, "main_input_name", "input_ids") == "input_ids"
