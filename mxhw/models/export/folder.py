"""What a checkpoint folder holds beside quantized tensors: files of tensors, config.json, tokenizer, mxhw.json."""

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import mxhw
from mxhw.errors import InputError
from mxhw.files import write_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["check_free", "copy_companions", "save_config", "save_record", "save_tensors"]

_SHARD = "5GB"
_COMPANIONS = (
    "added_tokens.json",
    "chat_template.json",
    "chat_template.jinja",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tok*.bin",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)


def check_free(folder: Path, force: bool) -> None:
    """Raise an InputError if `folder` is a file, or holds something and is not to be replaced by `force`."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder to make")
    if not force and folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"folder {folder} is not empty; give another one, or --force (force=True) to replace it")


def save_tensors(tensors: dict[str, Tensor], folder: Path) -> None:
    """Write safetensors as `save_pretrained` does: one file, or shards of 5 GB and an index."""
    from huggingface_hub import split_torch_state_dict_into_shards
    from safetensors.torch import save_file

    split = split_torch_state_dict_into_shards(tensors, max_shard_size=_SHARD)
    for file, names in split.filename_to_tensors.items():
        save_file({name: tensors[name] for name in names}, folder / file, {"format": "pt"})
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        write_text(folder / "model.safetensors.index.json", json.dumps(index, indent=1) + "\n")


def save_config(
    model: "PreTrainedModel", quantization: dict[str, Any] | None, dtype: torch.dtype, untied: bool, folder: Path
) -> None:
    """Write config.json: that of the model, with how its weights are quantized and whether its head is untied now."""
    config = deepcopy(model.config)
    config.dtype = dtype
    config.architectures = [type(model).__name__]
    if untied:
        config.tie_word_embeddings = False
    if quantization is not None:
        config.quantization_config = quantization
    config.save_pretrained(folder)


def copy_companions(source: Path | None, folder: Path) -> None:
    """Copy the tokenizer and the settings of generation from where the model came from."""
    if source is None:
        return
    for file in sorted(file for pattern in _COMPANIONS for file in source.glob(pattern) if file.is_file()):
        (folder / file.name).write_bytes(file.read_bytes())


def save_record(report: Mapping[str, Any], folder: Path) -> None:
    """Write mxhw.json: what was exported, and the versions that did it."""
    import transformers

    versions = {"mxhw": mxhw.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
    record = {"mxhw_export": 1, "versions": versions, **report}
    write_text(folder / "mxhw.json", json.dumps(record, indent=1) + "\n")
