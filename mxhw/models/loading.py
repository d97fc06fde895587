"""Models by name: "demo", a Hugging Face directory, or a hub id. Nothing but safetensors and JSON is ever read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from mxhw.errors import InputError, nearest
from mxhw.models.checkpoint import check_directory
from mxhw.models.tokenizers import HuggingFaceEncoder, decoder, encode_bytes, encoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["DEMO", "LoadedModel", "companion_texts", "first_line", "load_model", "misfit", "model_folder", "quiet"]

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
    folder : Path, optional
        The directory that it came from.
    """

    name: str
    model: PreTrainedModel
    encode: Callable[[bytes], Tensor]
    texts: Mapping[str, Path]
    folder: Path | None = None

    @property
    def bytes_per_token(self) -> float | None:
        """1.0 for a model whose tokens are bytes; None where that depends on the text."""
        return 1.0 if self.encode is encode_bytes else None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The Hugging Face tokenizer; None for bytes, for a llama2.c vocabulary, and without any."""
        return self.encode.tokenizer if isinstance(self.encode, HuggingFaceEncoder) else None

    def decode(self, ids: Tensor) -> bytes:
        """Return the text of token ids [tokens]; InputError if the model came without a tokenizer."""
        return decoder(self.encode)(ids)

    @property
    def end_tokens(self) -> list[int]:
        """The ids that end a text; none if the model knows no end."""
        ends = getattr(getattr(self.model, "generation_config", None), "eos_token_id", None)
        ends = self.model.config.eos_token_id if ends is None else ends
        return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)

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
    folder = model_folder(str(name))
    check_directory(folder)
    model = _load(folder, dtype)
    return LoadedModel(
        name=str(name),
        model=model,
        encode=encoder(folder, model.config.vocab_size),
        texts=companion_texts(folder),
        folder=folder,
    )


def companion_texts(folder: Path) -> dict[str, Path]:
    """Return the texts that lie beside a model, by name."""
    texts = {text: folder / f"{text}.txt" for text in ("heldout", "search", "calibration")}
    return {text: path for text, path in texts.items() if path.is_file()}


def model_folder(name: str) -> Path:
    """Return the directory of a model by name; a hub id is downloaded, safetensors and JSON only."""
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
        with quiet():
            model, report = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # transformers raises whatever a malformed config leads to
        raise InputError(f"{folder} cannot be loaded by transformers: {first_line(error)}") from error
    for kind in _MISFITS:
        misfit(folder, kind, report.get(kind, ()))
    model.eval()
    return cast("PreTrainedModel", model)


def misfit(folder: Path, kind: str, keys: Iterable[object]) -> None:
    """Raise an InputError if there are `keys` of that kind ("missing_keys", as transformers calls them)."""
    if names := sorted(str(key) for key in keys):
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        raise InputError(f"checkpoint {folder} {_MISFITS[kind]} weights: {', '.join(names[:_LISTED])}{more}")


@contextmanager
def quiet() -> Iterator[None]:
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


def first_line(error: Exception) -> str:
    """Return what an error of another library says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
