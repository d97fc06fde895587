"""Models without weights, from their configuration alone: what a model computes and costs, at any size.

Parameters stand on the meta device. Buffers that no checkpoint holds are computed as transformers computes them when it
loads a checkpoint (v5: the model's own weight initialization fills them), so that a captured skeleton runs as soon as
its parameters are there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from mxhw.errors import InputError
from mxhw.models.checkpoint import check_config
from mxhw.models.loading import DEMO, LoadedModel, companion_texts, first_line, model_folder, quiet
from mxhw.models.tokenizers import encoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["load_skeleton"]

_UNSET = -(1 << 15)  # what an integer buffer holds before it is computed; floating-point ones hold NaN


def load_skeleton(name: str | Path, dtype: torch.dtype = torch.bfloat16) -> LoadedModel:
    """Build a causal language model without weights.

    Parameters
    ----------
    name : str or Path
        A config.json (under any name), or a directory that holds one.
    dtype : torch.dtype
        Of the parameters.

    Raises
    ------
    InputError
        If there is no such file, it is malformed or asks for code of its own, or transformers knows no such
        architecture.
    """
    path = model_folder(DEMO) if str(name) == DEMO else Path(name).expanduser()
    file = path / "config.json" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"no configuration {str(name)!r}: give a config.json or a directory that holds one")
    check_config(file)
    model = _build(file, dtype)
    _compute_buffers(model, file)
    folder = file.parent
    return LoadedModel(
        name=str(name),
        model=model.eval(),
        encode=encoder(folder, model.config.vocab_size),
        texts=companion_texts(folder),
    )


def _build(file: Path, dtype: torch.dtype) -> PreTrainedModel:
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with quiet():
            config = AutoConfig.from_pretrained(file, trust_remote_code=False, local_files_only=True)
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    except Exception as error:  # transformers raises whatever a malformed config leads to
        raise InputError(f"{file} is no model that transformers can build: {first_line(error)}") from error
    return cast("PreTrainedModel", model)


def _compute_buffers(model: PreTrainedModel, file: Path) -> None:
    """Give the buffers that are not stored in checkpoints their values."""
    names = [name for name, _ in model.named_non_persistent_buffers()]
    for name in names:
        path, _, own = name.rpartition(".")
        module: nn.Module = model.get_submodule(path)
        buffer = cast(torch.Tensor, module._buffers[own])
        unset = float("nan") if buffer.is_floating_point() else _UNSET
        module._buffers[own] = torch.full_like(buffer, False if buffer.dtype == torch.bool else unset, device="cpu")
    model.initialize_weights()
    for name in names:
        buffer = model.get_buffer(name)
        if buffer.is_meta or bool((buffer.isnan() if buffer.is_floating_point() else buffer == _UNSET).any()):
            raise InputError(f"{file}: buffer {name!r} of {type(model).__name__} is in no checkpoint and not computed")
