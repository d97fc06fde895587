"""Text to ids by every kind of tokenizer, and ids to windows."""

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from mxhw.errors import InputError
from mxhw.models import load_model, read_ids, windows
from mxhw.models.tokenizers import Llama2cTokenizer, encoder
from tests.ir.zoo import MODELS


def test_demo_texts_are_their_bytes() -> None:
    loaded = load_model("demo")
    for name, path in loaded.texts.items():
        assert bytes(read_ids(name, loaded).tolist()) == path.read_bytes()


def test_a_text_file_is_read_like_a_text_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes("naïve\n".encode())
    assert bytes(read_ids(tmp_path / "t.txt", load_model("demo")).tolist()) == "naïve\n".encode()


def test_files_of_ids_are_taken_as_they_are(tmp_path: Path) -> None:
    loaded = load_model("demo")
    np.save(tmp_path / "ids.npy", np.array([3, 255, 0], dtype=np.uint16))
    assert read_ids(tmp_path / "ids.npy", loaded).tolist() == [3, 255, 0]
    faults = {
        "floats": (np.array([1.5]), r"must hold integers in one dimension"),
        "matrix": (np.zeros((2, 2), dtype=int), r"must hold integers in one dimension"),
        "large": (np.array([256]), r"must be from 0 to 255, not 256 to 256"),
        "negative": (np.array([-1]), r"must be from 0 to 255, not -1 to -1"),
        "objects": (np.array([{}], dtype=object), r"is no file of ids: "),
        "none": (np.array([], dtype=int), r"is empty"),
    }
    for name, (array, message) in faults.items():
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
        with pytest.raises(InputError, match=message):
            read_ids(tmp_path / f"{name}.npy", loaded)


def test_missing_and_empty_texts_are_refused(tmp_path: Path) -> None:
    loaded = load_model("demo")
    with pytest.raises(
        InputError, match=r"^text 'held' is no file, no folder and none that came with demo \(calibration"
    ):
        read_ids("held", loaded)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(InputError, match=r"^text .*empty\.txt is empty"):
        read_ids(tmp_path / "empty.txt", loaded)


def test_windows_do_not_overlap_and_leave_out_the_rest() -> None:
    assert windows(torch.arange(11), 4).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(InputError, match=r"^text of 3 tokens has 0 windows of 4"):
        windows(torch.arange(3), 4)
    with pytest.raises(InputError, match=r"^context must be at least 2 tokens, not 1"):
        windows(torch.arange(3), 1)


def test_tokenizer_json_is_used(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        ["the cat sat on the mat"], trainers.BpeTrainer(vocab_size=270, initial_alphabet=alphabet)
    )
    MODELS["llama"]().save_pretrained(tmp_path)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    assert load_model(tmp_path).encode(b"the cat").tolist() == tokenizer.encode("the cat").ids


def test_without_a_tokenizer_text_is_refused(tmp_path: Path) -> None:
    MODELS["llama"]().save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"has no tokenizer\.json and a vocabulary of 96, not 256 bytes; give ids"):
        load_model(tmp_path).encode(b"x")
    assert encoder(tmp_path, 256)(b"x").tolist() == [120]


def slow_llama2c(tokenizer: Llama2cTokenizer, text: str) -> list[int]:
    """`encode` of run.c as it stands there: look at all pairs, merge the best, again and again."""
    pieces, scores = tokenizer._pieces, tokenizer._scores
    lookup = {piece: number for number, piece in reversed(list(enumerate(pieces)))}
    ids = [1, lookup[b" "]]
    for character in text:
        raw = character.encode()
        ids += [lookup[raw]] if raw in lookup else [byte + 3 for byte in raw]
    while True:
        best, where, merged = -1e10, -1, -1
        for i in range(len(ids) - 1):
            number = lookup.get(pieces[ids[i]] + pieces[ids[i + 1]])
            if number is not None and scores[number] > best:
                best, where, merged = scores[number], i, number
        if where < 0:
            return ids
        ids[where : where + 2] = [merged]


TEXTS = ("Once upon a time, there was a little girl named Lily.", "aaaaaaa bb", "naïve 日本\n", "", "x")


@pytest.mark.parametrize("text", TEXTS[:3] + TEXTS[4:])
def test_llama2c_vocabulary_merges_as_run_c_does(shared, text: str) -> None:
    tokenizer = Llama2cTokenizer.load(shared / "models" / "stories260K" / "tok512.bin", 512)
    assert tokenizer.encode(text.encode()).tolist() == slow_llama2c(tokenizer, text)


def test_stories_model_predicts_stories_better_than_shuffled_ones(shared) -> None:
    loaded = load_model(shared / "models" / "stories260K")
    ids = loaded.encode(TEXTS[0].encode())
    assert ids[0] == Llama2cTokenizer.BEGIN
    shuffled = torch.cat([ids[:1], ids[1:][torch.randperm(ids.numel() - 1)]])

    def loss(tokens: torch.Tensor) -> float:
        with torch.no_grad():
            logits = loaded.model(tokens[None]).logits[0]
        return float(torch.nn.functional.cross_entropy(logits[:-1], tokens[1:]))

    assert loss(ids) < 2.5 < loss(shuffled)


def test_cut_vocabularies_are_refused(shared, tmp_path: Path) -> None:
    whole = shared / "models" / "stories260K" / "tok512.bin"
    shutil.copyfile(whole, tmp_path / "tok512.bin")
    data = whole.read_bytes()
    (tmp_path / "tok512.bin").write_bytes(data[:-1])
    with pytest.raises(InputError, match=r"^vocabulary .*tok512\.bin: piece 511 of \d+ bytes does not fit"):
        Llama2cTokenizer.load(tmp_path / "tok512.bin", 512)
    (tmp_path / "tok512.bin").write_bytes(data[:10])
    with pytest.raises(InputError, match=r"^vocabulary .*tok512\.bin ends before piece 0 of 512"):
        Llama2cTokenizer.load(tmp_path / "tok512.bin", 512)
    (tmp_path / "tok512.bin").write_bytes(struct.pack("<ifi", 4, 0.0, -3) + bytes(9))
    with pytest.raises(InputError, match=r"piece 0 of -3 bytes"):
        Llama2cTokenizer.load(tmp_path / "tok512.bin", 512)
