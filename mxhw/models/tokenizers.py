"""Text to token ids and back, by what lies beside the weights: tokenizer.json, a llama2.c vocabulary, or bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mxhw.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["HuggingFaceEncoder", "Llama2cTokenizer", "decoder", "encode_bytes", "encoder"]

_BYTES = 256


def encoder(folder: Path, vocabulary: int) -> Callable[[bytes], Tensor]:
    """Return the function from text (bytes) to ids (int64 [tokens]) for the model in `folder`.

    A vocabulary of 256 without any tokenizer is taken for bytes. Where nothing fits, the returned function raises an
    InputError: such a model can still be evaluated on files of token ids.
    """
    if (folder / "tokenizer.json").is_file():
        return _huggingface(folder)
    if (vocabularies := sorted(folder.glob("tok*.bin"))) and len(vocabularies) == 1:
        return Llama2cTokenizer.load(vocabularies[0], vocabulary).encode
    if vocabulary == _BYTES:
        return encode_bytes

    def refuse(_: bytes) -> Tensor:
        raise InputError(
            f"{folder} has no tokenizer.json and a vocabulary of {vocabulary}, not {_BYTES} bytes; give ids (.npy)"
        )

    return refuse


def encode_bytes(text: bytes) -> Tensor:
    """Return every byte as an id, int64 [bytes]."""
    return torch.tensor(list(text), dtype=torch.long)


def _huggingface(folder: Path) -> HuggingFaceEncoder:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # malformed tokenizer files raise errors of many kinds
        raise InputError(f"{folder / 'tokenizer.json'} cannot be loaded: {error!s:.200}") from error

    return HuggingFaceEncoder(tokenizer)


@dataclass(frozen=True)
class HuggingFaceEncoder:
    """Text to ids with a Hugging Face tokenizer, and with the special tokens that it puts around one text.

    A begin token therefore stands once in front of the text, as in the evaluations of GPTQ and its successors; windows
    that are cut later do not get one each.
    """

    tokenizer: PreTrainedTokenizerBase

    def __call__(self, text: bytes) -> Tensor:
        """Return ids [tokens] of a text in UTF-8; bytes that are none become replacement characters."""
        ids = self.tokenizer(text.decode("utf-8", "replace"), verbose=False)["input_ids"]
        return torch.tensor(ids, dtype=torch.long)

    def decode(self, ids: Tensor) -> bytes:
        """Return the text of ids [tokens] in UTF-8, without special tokens."""
        return str(self.tokenizer.decode(ids.tolist(), skip_special_tokens=True)).encode()


def decoder(encode: Callable[[bytes], Tensor]) -> Callable[[Tensor], bytes]:
    """Return the function from ids [tokens] to text (bytes) that belongs to one from :func:`encoder`.

    Raises
    ------
    InputError
        If the model came without a tokenizer.
    """
    if encode is encode_bytes:
        return lambda ids: bytes(ids.tolist())
    owner = encode if isinstance(encode, HuggingFaceEncoder) else getattr(encode, "__self__", None)
    if isinstance(owner, HuggingFaceEncoder | Llama2cTokenizer):
        return owner.decode
    raise InputError("the model came without a tokenizer, so its token ids have no text; they can be read as ids only")


class Llama2cTokenizer:
    """The byte-pair vocabulary of llama2.c (`tok512.bin`): pieces with scores, the best pair is merged first.

    Parameters
    ----------
    pieces : list of (bytes, float)
        Text and score by id. Ids 0 to 2 are unknown, begin and end; 3 to 258 are the single bytes.

    Source: karpathy/llama2.c, `run.c`, `encode`: a begin token, a space in front, characters or their bytes, then
    merges until none is left; of equal scores the leftmost pair. `decode` inverts it: the begin token takes the space
    in front with it.
    """

    BEGIN = 1
    FIRST_BYTE = 3

    def __init__(self, pieces: list[tuple[bytes, float]]) -> None:
        self._pieces = [piece for piece, _ in pieces]
        self._scores = [score for _, score in pieces]
        self._ids = {piece: number for number, piece in reversed(list(enumerate(self._pieces)))}

    @classmethod
    def load(cls, file: Path, vocabulary: int) -> Llama2cTokenizer:
        """Read int32 longest piece, then per piece float32 score, int32 length, bytes; InputError if it ends early."""
        data, position, pieces = file.read_bytes(), 4, []
        for number in range(vocabulary):
            if position + 8 > len(data):
                raise InputError(f"vocabulary {file} ends before piece {number} of {vocabulary}")
            score, length = struct.unpack_from("<fi", data, position)
            position += 8
            if length < 0 or position + length > len(data):
                raise InputError(f"vocabulary {file}: piece {number} of {length} bytes does not fit {len(data)} bytes")
            pieces.append((data[position : position + length], score))
            position += length
        return cls(pieces)

    def encode(self, text: bytes) -> Tensor:
        """Return ids [tokens], begin token first."""
        ids = self._characters(text)
        after = [*range(1, len(ids)), -1]  # the next living piece of each position
        before = [-1, *range(len(ids) - 1)]
        heap: list[tuple[float, int, int, int, int]] = []

        def offer(left: int) -> None:
            right = after[left]
            if right >= 0 and (merged := self._ids.get(self._pieces[ids[left]] + self._pieces[ids[right]])) is not None:
                heappush(heap, (-self._scores[merged], left, merged, ids[left], ids[right]))

        for position in range(len(ids)):
            offer(position)
        while heap:
            _, left, merged, first, second = heappop(heap)
            right = after[left]
            if right < 0 or ids[left] != first or ids[right] != second:
                continue  # one of the two was merged meanwhile
            ids[left], ids[right], after[left] = merged, -1, after[right]
            if after[left] >= 0:
                before[after[left]] = left
            offer(left)
            if before[left] >= 0:
                offer(before[left])
        return torch.tensor([self.BEGIN, *(number for number in ids if number >= 0)], dtype=torch.long)

    def decode(self, ids: Tensor) -> bytes:
        """Return the text of ids [tokens]; unknown, begin and end tokens have none."""
        found = b""
        for before, number in pairwise([-1, *ids.tolist()]):
            if number >= self.FIRST_BYTE + _BYTES:
                piece = self._pieces[number]
                found += piece.removeprefix(b" ") if before == self.BEGIN else piece
            elif number >= self.FIRST_BYTE:
                found += bytes([number - self.FIRST_BYTE])
        return found

    def _characters(self, text: bytes) -> list[int]:
        found: list[int] = []
        for character in " " + text.decode("utf-8", "surrogateescape") if text else "":
            raw = character.encode("utf-8", "surrogateescape")
            known = self._ids.get(raw)
            found += [known] if known is not None else [byte + self.FIRST_BYTE for byte in raw]
        return found
