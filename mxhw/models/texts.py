"""Text to evaluate on: files of text or of token ids, or a dataset, cut into windows of the model's context.

A text is tokenized once as a whole, and windows do not overlap: the protocol of GPTQ and its successors. Special tokens
are those that the tokenizer puts around one text, so a begin token stands in front of the first window only.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mxhw.errors import InputError
from mxhw.models.dataset_text import read_dataset
from mxhw.models.loading import LoadedModel

__all__ = ["read_ids", "windows"]


def read_ids(source: str | Path, loaded: LoadedModel, *, column: str | None = None, split: str | None = None) -> Tensor:
    """Return token ids, int64 [tokens].

    Parameters
    ----------
    source : str or Path
        The name of a text that came with the model, a text file, a .npy file of integer ids (one dimension), or a
        folder with a dataset (:func:`mxhw.models.dataset_text.read_dataset`).
    loaded : LoadedModel
    column, split : str, optional
        Of the dataset.

    Raises
    ------
    InputError
        If there is no such file or text, it is empty, ids are outside of the vocabulary, or the model came without a
        tokenizer; if a column or a split is given for what is no dataset.
    """
    path = loaded.texts.get(str(source), Path(source))
    if not path.is_dir() and (column is not None or split is not None):
        raise InputError(f"column and split are for datasets, and text {str(source)!r} is no folder")
    if not path.exists():
        known = ", ".join(sorted(loaded.texts)) or "none"
        raise InputError(f"text {str(source)!r} is no file, no folder and none that came with {loaded.name} ({known})")
    if path.is_dir():
        ids = loaded.encode(read_dataset(path, column=column, split=split).encode())
    else:
        ids = _numpy_ids(path) if path.suffix == ".npy" else loaded.encode(path.read_bytes())
    if ids.numel() == 0:
        raise InputError(f"text {path} is empty")
    vocabulary = int(loaded.model.config.vocab_size)
    if int(ids.min()) < 0 or int(ids.max()) >= vocabulary:
        raise InputError(f"ids of {path} must be from 0 to {vocabulary - 1}, not {int(ids.min())} to {int(ids.max())}")
    return ids


def windows(ids: Tensor, context: int, count: int = 0) -> Tensor:
    """Cut ids [tokens] into windows [count, context] that do not overlap; a short rest is left out.

    Parameters
    ----------
    count : int
        How many windows, evenly spread over the text; 0 takes all.

    Raises
    ------
    InputError
        If the context is less than 2 (nothing to predict), or the text is shorter than the windows asked for.
    """
    if context < 2:
        raise InputError(f"context must be at least 2 tokens, not {context!r}")
    available = ids.numel() // context
    if available < max(count, 1):
        raise InputError(
            f"text of {ids.numel()} tokens has {available} windows of {context}, fewer than {max(count, 1)}; "
            "give a longer text, a smaller context or fewer windows"
        )
    cut = ids[: available * context].view(available, context)
    return cut if count == 0 else cut[torch.arange(count) * available // count]


def _numpy_ids(path: Path) -> Tensor:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is no file of ids: {error}") from None
    if not isinstance(array, np.ndarray) or array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{path} must hold integers in one dimension")
    return torch.from_numpy(array.astype(np.int64))
