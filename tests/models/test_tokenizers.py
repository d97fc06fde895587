"""Token ids to text: what is decoded is what was encoded, for every kind of tokenizer."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tokenizers import decoders as pieces
from transformers import PreTrainedTokenizerFast

from mxhw.errors import InputError
from mxhw.models.tokenizers import Llama2cTokenizer, decoder, encode_bytes, encoder

TEXTS = (b"Once upon a time", "na\u00efve \u2014 caf\u00e9\n".encode(), b"a  b", b"\xff\x00 bytes")


@pytest.mark.parametrize("text", TEXTS)
def test_bytes_are_their_own_text(text: bytes) -> None:
    assert decoder(encode_bytes)(encode_bytes(text)) == text


@pytest.mark.parametrize("text", TEXTS)
def test_a_llama2c_vocabulary_goes_both_ways(text: bytes) -> None:
    first = [(b"<unk>", 0.0), (b"\n<s>\n", 0.0), (b"\n</s>\n", 0.0)]
    single = [(f"<0x{byte:02X}>".encode(), 0.0) for byte in range(256)]
    learnt = [(piece, -float(n)) for n, piece in enumerate([b" ", b"e", b"a", b" a", b"on", b"o", b"n", b" time"])]
    tokenizer = Llama2cTokenizer([*first, *single, *learnt])
    ids = tokenizer.encode(text)
    assert decoder(tokenizer.encode)(ids) == text
    assert ids.tolist()[0] == Llama2cTokenizer.BEGIN
    assert decoder(tokenizer.encode)(ids[1:]) == b" " + text  # the begin token takes the space that it needs with it
    assert decoder(tokenizer.encode)(torch.cat([ids, torch.tensor([2, 0])])) == text


def test_the_stories_vocabulary_goes_both_ways(shared) -> None:
    tokenizer = Llama2cTokenizer.load(shared / "models" / "stories260K" / "tok512.bin", 512)
    for text in TEXTS:
        assert decoder(tokenizer.encode)(tokenizer.encode(text)) == text


def test_a_hugging_face_tokenizer_goes_both_ways(tmp_path: Path) -> None:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = pieces.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        ["a text about a river"], trainers.BpeTrainer(initial_alphabet=alphabet, special_tokens=["<end>"])
    )
    PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>").save_pretrained(tmp_path)
    encode = encoder(tmp_path, made.get_vocab_size())
    for text in ("a river", "na\u00efve caf\u00e9"):
        ids = encode(text.encode())
        assert decoder(encode)(ids) == text.encode()
        assert decoder(encode)(torch.cat([ids, torch.tensor([made.token_to_id("<end>")])])) == text.encode()


def test_a_model_without_a_tokenizer_has_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^the model came without a tokenizer"):
        decoder(encoder(tmp_path, 300))
