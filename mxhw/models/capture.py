"""`mxhw.capture`: one door for models by name, loaded models, and modules of torch."""

from pathlib import Path

from torch import Tensor, nn

from mxhw.errors import InputError
from mxhw.ir import Graph, capture_features, capture_language_model
from mxhw.models.loading import LoadedModel, load_model

__all__ = ["capture"]


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
        an MLP, which takes floating-point features.
    batch, sequence : int
        Default sizes of the graph; with ``dynamic=False`` the only ones.
    dynamic : bool
        Keep batch and sequence symbolic.
    example : Tensor, optional
        An input of a plain module; without it, [batch, features of its first Linear].

    Raises
    ------
    InputError
        If the model cannot be found, loaded or captured, or the sizes do not fit it.
    """
    name: str | None = None
    if isinstance(model, str | Path):
        model = load_model(model)
    if isinstance(model, LoadedModel):
        name, model = model.name, model.model
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a name, a directory or a torch module, not {type(model).__name__}")
    if not hasattr(model, "set_attn_implementation"):
        return capture_features(model, example, batch=batch, dynamic=dynamic)
    if example is not None:
        raise InputError("example is for plain modules; a language model takes token ids")
    return capture_language_model(model, batch=batch, sequence=sequence, dynamic=dynamic, name=name)
