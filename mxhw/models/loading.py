"""Models by name: "demo", a Hugging Face directory, or a hub id. Nothing but safetensors and JSON is ever read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from mxhw.errors import InputError, nearest
from mxhw.models.checkpoint import check_directory
from mxhw.models.tokenizers import encode_bytes, encoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["DEMO", "LoadedModel", "load_model"]

DEMO = "demo"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_HUB_FILES = ("*.json", "*.safetensors", "merges.txt", "vocab.txt", "tokenizer.model")
_MISFITS = {"missing_keys": "lacks", "unexpected_keys": "has unexpected", "mismatched_keys": "has wrongly shaped"}
_LISTED = 3  # names in a message


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to be captured and evaluated.

    Attributes
    ----------
    name : str
        As it was asked for.
    model : PreTrainedModel
        A Hugging Face causal language model in evaluation mode.
    encode : callable
        Text as bytes to token ids, int64 [tokens]; raises an InputError if the model came without a tokenizer.
    texts : mapping of str to Path
        Texts that came with the model: "heldout", "search" and "calibration" for the demo model.
    """

    name: str
    model: PreTrainedModel
    encode: Callable[[bytes], Tensor]
    texts: Mapping[str, Path]

    @property
    def bytes_per_token(self) -> float | None:
        """1.0 for a model whose tokens are bytes; None where that depends on the text."""
        return 1.0 if self.encode is encode_bytes else None

    def at_most_context(self, tokens: int) -> int:
        """Return `tokens`, or the model's number of positions if that is less."""
        positions = getattr(self.model.config, "max_position_embeddings", None)
        return tokens if positions is None else min(tokens, int(positions))


def load_model(name: str | Path, dtype: torch.dtype = torch.float32) -> LoadedModel:
    """Load a model by name.

    Parameters
    ----------
    name : str or Path
        "demo", a directory with config.json and safetensors, or a hub id such as "facebook/opt-125m".
    dtype : torch.dtype
        Of the parameters in memory.

    Raises
    ------
    InputError
        If there is no such model, or its files are incomplete, damaged, or not of the safe kind.
    """
    folder = _folder(str(name))
    check_directory(folder)
    model = _load(folder, dtype)
    texts = {text: folder / f"{text}.txt" for text in ("heldout", "search", "calibration")}
    return LoadedModel(
        name=str(name),
        model=model,
        encode=encoder(folder, model.config.vocab_size),
        texts={text: path for text, path in texts.items() if path.is_file()},
    )


def _folder(name: str) -> Path:
    if name == DEMO:
        return Path(str(files("mxhw.models") / "demo"))
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise InputError(f"model {name!r} is a file; give the directory that holds it")
    if not _HUB_ID.fullmatch(name):
        raise InputError(f"model {name!r} is not a directory, not a hub id and not {DEMO!r}")
    return _from_hub(name)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(_HUB_FILES)))
    except Exception as error:  # the hub client raises errors of many libraries: HTTP, cache, names
        raise InputError(
            f"model {name!r} is no directory here and cannot be fetched from the hub ({type(error).__name__}); "
            f"check the name and the network, or give a directory or {DEMO!r}{nearest(name, [DEMO])}"
        ) from error


def _load(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    try:
        with _quiet():
            model, report = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # transformers raises whatever a malformed config leads to
        raise InputError(f"{folder} cannot be loaded by transformers: {_first_line(error)}") from error
    for kind, what in _MISFITS.items():
        if names := sorted(str(key) for key in report.get(kind, ())):
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            raise InputError(f"checkpoint {folder} {what} weights: {', '.join(names[:_LISTED])}{more}")
    model.eval()
    return cast("PreTrainedModel", model)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing bars and warnings; what matters is raised."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
