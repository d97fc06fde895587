"""Text of a language model that was emitted: to token ids and back with its tokenizer, token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mxhw.errors import InputError

if TYPE_CHECKING:
    from mxhw.sim.dataflow_design import LanguageModel

__all__ = ["TextWriter", "Tokenizer", "load_tokenizer", "parse_ids"]

_BYTES = 256


@dataclass(frozen=True)
class Tokenizer:
    """Text to token ids, with a begin token where the tokenizer puts one, and token ids to text, as bytes."""

    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], bytes]


def load_tokenizer(folder: Path, language: LanguageModel) -> Tokenizer | None:
    """Return the tokenizer of the design in `folder`; None if the model came without one.

    A model without tokenizer files whose vocabulary is 256 reads and writes bytes.
    """
    if language.tokenizer is None and language.vocabulary != _BYTES:
        return None
    import torch

    from mxhw.models.tokenizers import decoder, encode_bytes, encoder

    encode: Callable[[bytes], torch.Tensor] = encode_bytes
    if language.tokenizer is not None:
        place = folder / language.tokenizer
        if not place.is_dir():
            raise InputError(f"there is no tokenizer in {place}; emit the design again")
        encode = encoder(place, language.vocabulary)
    decode = decoder(encode)
    return Tokenizer(lambda text: encode(text.encode()).tolist(), lambda ids: decode(torch.tensor(ids)))


def parse_ids(text: str) -> list[int]:
    """Return the token ids of "1,2,3"; none for an empty text."""
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise InputError(f"ids must be token ids such as 1,2,3, not {text!r}") from None


class TextWriter:
    """The text of one sequence as its tokens come; what may still change is held back.

    Parameters
    ----------
    decode : token ids to text, as bytes.
    prompt : its token ids: a word may go on across the border.
    """

    def __init__(self, decode: Callable[[Sequence[int]], bytes], prompt: Sequence[int]) -> None:
        self._decode, self._prompt, self._ids, self._shown = decode, list(prompt), list[int](), 0
        self._before = decode(self._prompt)

    @property
    def text(self) -> str:
        """The continuation so far."""
        whole = self._decode(self._prompt + self._ids)
        new = whole.removeprefix(self._before) if whole.startswith(self._before) else self._decode(self._ids)
        return new.decode("utf-8", "replace")

    def add(self, token: int) -> str:
        """Return what the token adds to the text, without a character that is not whole yet."""
        self._ids.append(token)
        return self._show(self.text.rstrip("\N{REPLACEMENT CHARACTER}"))

    def rest(self) -> str:
        """Return what was held back."""
        return self._show(self.text)

    def _show(self, text: str) -> str:
        new = text[self._shown :]
        self._shown = max(self._shown, len(text))
        return new
