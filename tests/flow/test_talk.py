"""A conversation asks a model right: chunks, positions, batches, ends, draws; and it believes no wrong arg-max."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mxhw.errors import InputError
from mxhw.flow.talk import Conversation, Sampling, check_prompts
from mxhw.flow.talk_text import TextWriter, load_tokenizer, parse_ids
from mxhw.sim import StreamError, default_cache
from mxhw.sim.language import LanguageSimulation, TokenAnswer, TokenRequest
from tests.sim.language_toy import EXPONENT, KEYS, VOCABULARY, SoftwareToy, toy_language, write_language_toy

PROMPTS = ([65, 66, 67, 68, 69, 70, 71, 72, 73], [80], [90, 91, 92])


def alone(prompt: Sequence[int], tokens: int) -> list[int]:
    """Return the greedy continuation of one prompt, token by token, each its own chunk."""
    toy, ids = SoftwareToy(), list(prompt)
    for position in range(len(prompt) + tokens - 1):
        ask = TokenRequest(token=ids[position], position=position, sequence=0, logits=True, last=True)
        (answer,) = toy.step([ask])
        if position >= len(prompt) - 1:
            ids.append(answer.token)
    return ids[len(prompt) :]


def test_prompts_go_in_chunks_and_then_a_token_of_each_sequence() -> None:
    toy = SoftwareToy()
    conversation = Conversation(toy, PROMPTS, tokens=3)
    written = list(conversation)
    assert [line.generated for line in conversation.lines] == [alone(prompt, 3) for prompt in PROMPTS]
    assert [line.ended for line in conversation.lines] == ["tokens"] * 3
    assert [each.sequence for each in written] == [0, 1, 2] * 3
    first, second, third = toy.asked
    assert [request.token for request in first] == [token for prompt in PROMPTS for token in prompt]
    assert [request.position for request in first] == [*range(9), 0, *range(3)]
    assert [request.sequence for request in first] == [0] * 9 + [1] + [2] * 3
    assert [request.logits for request in first] == [False] * 8 + [True, True, False, False, True]
    assert [number for number, request in enumerate(first) if request.last] == [3, 7, 11, 12]
    assert [(r.position, r.sequence, r.logits, r.last) for r in second] == [
        (9, 0, True, False),
        (1, 1, True, False),
        (3, 2, True, True),
    ]
    assert [r.token for r in third] == [line.generated[1] for line in conversation.lines]
    assert not any(request.generated for asked in toy.asked for request in asked)


def test_a_step_of_more_sequences_than_a_chunk_is_cut() -> None:
    toy = SoftwareToy(toy_language(chunk=2))
    conversation = Conversation(toy, PROMPTS, tokens=4)
    list(conversation)
    assert [line.generated for line in conversation.lines] == [alone(prompt, 4) for prompt in PROMPTS]
    assert [request.last for request in toy.asked[1]] == [False, True, True]


def test_the_rtl_says_what_the_software_says(tmp_path: Path) -> None:
    folder = write_language_toy(tmp_path)
    for sampling in (Sampling(), Sampling(temperature=2.0, seed=4), Sampling(temperature=0.7, top_k=5)):
        toy = SoftwareToy()
        expected = Conversation(toy, PROMPTS, tokens=30, sampling=sampling)
        with LanguageSimulation(folder, cache=default_cache()) as model:
            conversation = Conversation(model, PROMPTS, tokens=30, sampling=sampling)
            assert list(conversation) == list(expected)
            model.finish()
            assert sum(step.cycles for step in conversation.steps) == model.cycles - 200
        counted = conversation.to_json()
        assert (counted["prompt_tokens"], counted["generated_tokens"]) == (13, 90)
        assert len(counted["decode_cycles"]) == 29
        assert counted["cycles"] == counted["prefill_cycles"] + sum(counted["decode_cycles"])
        assert counted["cycles_per_token"] == sum(counted["decode_cycles"]) / 87
        assert counted["cycles_last_token"] == counted["decode_cycles"][-1] / 3
        assert counted["decode_cycles"] == sorted(counted["decode_cycles"])  # it waits as long as the position says


def test_an_end_token_ends_its_sequence_only() -> None:
    whole = [alone(prompt, 12) for prompt in PROMPTS]
    end = next(token for token in whole[1][1:8] if token not in whole[0] + whole[2] and token != whole[1][0])
    toy = SoftwareToy(toy_language(eos=end))
    conversation = Conversation(toy, PROMPTS, tokens=12)
    list(conversation)
    stop = whole[1].index(end) + 1
    assert [line.generated for line in conversation.lines] == [whole[0], whole[1][:stop], whole[2]]
    assert [line.ended for line in conversation.lines] == ["tokens", "eos", "tokens"]
    assert [len(asked) for asked in toy.asked[1:]] == [3] * (stop - 1) + [2] * (12 - stop)
    assert [step.tokens for step in conversation.steps] == [3] * stop + [2] * (12 - stop)


def test_one_token_needs_no_step_after_the_prompt() -> None:
    conversation = Conversation(SoftwareToy(), [[65]], tokens=1)
    assert [each.token for each in conversation] == alone([65], 1)
    counted = conversation.to_json()
    assert (counted["cycles_per_token"], counted["decode_cycles"], counted["generated_tokens"]) == (None, [], 1)


class Liar(SoftwareToy):
    """Says the second largest logit after some steps."""

    def step(self, requests: Sequence[TokenRequest]) -> list[TokenAnswer]:
        answers = super().step(requests)
        if len(self.asked) < 3:
            return answers
        return [TokenAnswer(answer.logits, int(np.argsort(answer.logits)[-2])) for answer in answers]


def test_a_wrong_arg_max_is_not_believed() -> None:
    liar = Liar()
    conversation = Conversation(liar, [[65, 66]], tokens=8)
    with pytest.raises(StreamError, match=r"arg_max says that logit \d+ is the largest of sequence 0, position 3, but"):
        list(conversation)
    assert len(liar.asked) == 3


def test_of_equal_logits_the_first_is_the_largest() -> None:
    class Flat(SoftwareToy):
        def step(self, requests: Sequence[TokenRequest]) -> list[TokenAnswer]:
            return [TokenAnswer(np.array([3, 7, 7, 7]), 1) for request in requests if request.logits]

    assert [each.token for each in Conversation(Flat(), [[65]], tokens=2)] == [1, 1]


def test_draws_follow_the_softmax_and_the_seed() -> None:
    logits = np.array([0.0, 1.0, 2.0, -3.0, 2.0])
    draws = np.random.default_rng(0)

    def shares(sampling: Sampling, count: int = 20_000) -> np.ndarray:
        found = [sampling.choose(logits, draws) for _ in range(count)]
        return np.bincount(found, minlength=5) / count

    for temperature in (0.5, 1.0, 3.0):
        weights = np.exp(logits / temperature)
        assert np.abs(shares(Sampling(temperature)) - weights / weights.sum()).max() < 0.02
    assert np.abs(shares(Sampling(1.0, top_k=2)) - [0, 0, 0.5, 0, 0.5]).max() < 0.02
    weights = np.exp([0, 1, 2, -np.inf, 2])
    assert np.abs(shares(Sampling(1.0, top_k=4)) - weights / weights.sum()).max() < 0.02
    assert shares(Sampling(5.0, top_k=1), 50)[2] == 1  # the first of equals
    assert shares(Sampling(1e-300), 50)[[2, 4]].sum() == 1
    assert Sampling().choose(logits, draws) == 2


def test_a_seed_repeats_a_conversation_and_sequences_draw_by_themselves() -> None:
    def talk(seed: int, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        conversation = Conversation(SoftwareToy(), prompts, tokens=20, sampling=Sampling(8.0, seed=seed))
        list(conversation)
        return [line.generated for line in conversation.lines]

    assert talk(1, PROMPTS) == talk(1, PROMPTS)
    assert talk(1, PROMPTS) != talk(2, PROMPTS)
    assert talk(1, PROMPTS)[0] == talk(1, PROMPTS[:1])[0]
    same = talk(1, [PROMPTS[0], PROMPTS[0]])
    assert same[0] != same[1]


def test_logits_are_numbers_with_the_exponent() -> None:
    toy = SoftwareToy()
    seen = []

    class Watching(Sampling):
        def choose(self, logits: np.ndarray, draws: np.random.Generator) -> int:
            seen.append(logits)
            return super().choose(logits, draws)

    list(Conversation(toy, [[65]], tokens=1, sampling=Watching()))
    (answer,) = SoftwareToy().step([TokenRequest(token=65, position=0, sequence=0, logits=True, last=True)])
    assert np.array_equal(seen[0], answer.logits * 2.0**EXPONENT)


@pytest.mark.parametrize(
    ("prompts", "tokens", "message"),
    [
        ([[1] * 60], 5, "prompt of 60 tokens and 5 new ones are 65, more than the 64 that the KV memory holds"),
        ([[1], [1] * 65], 1, "prompt 2 of 65 tokens and 1 new ones are 66, more than the 64"),
        ([[]], 1, "prompt is empty; give at least one token"),
        ([[1], []], 1, "prompt 2 is empty"),
        ([[1, VOCABULARY]], 1, "prompt must have token ids from 0 to 255, not 256"),
        ([[-1]], 1, "prompt must have token ids from 0 to 255, not -1"),
        ([[1]] * 4, 1, "the design has KV caches for 3 sequences, not 4; give fewer"),
        ([], 1, "KV caches for 3 sequences, not 0"),
        ([[1]], 0, "tokens must be at least 1, not 0"),
    ],
)
def test_what_does_not_fit_the_design_is_refused(prompts: list[list[int]], tokens: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_prompts(toy_language(), prompts, tokens)
    with pytest.raises(InputError, match=message):
        Conversation(SoftwareToy(), prompts, tokens=tokens)


def test_a_prompt_that_just_fits_is_taken() -> None:
    conversation = Conversation(SoftwareToy(), [[1] * (KEYS - 4)], tokens=4)
    assert [each.token for each in conversation] == alone([1] * (KEYS - 4), 4)


def test_bad_sampling_is_refused() -> None:
    for given, message in (
        ({"temperature": -1.0}, "temperature must be 0 .* or more, not -1.0"),
        ({"temperature": float("nan")}, "temperature must be 0 .* not nan"),
        ({"top_k": 0}, "top-k must be at least 1 logit, not 0"),
        ({"seed": -1}, "seed must be 0 or more, not -1"),
    ):
        with pytest.raises(InputError, match=message):
            Sampling(**given)
    with pytest.raises(InputError, match="top-k must be at most the vocabulary of 256, not 257"):
        check_prompts(toy_language(), [[1]], 1, Sampling(top_k=257))


def test_text_comes_in_whole_characters() -> None:
    text = "é → 🙂!"
    writer = TextWriter(bytes, list(b"ab"))
    pieces = [writer.add(byte) for byte in text.encode()]
    assert "".join(pieces) == text and writer.rest() == ""
    assert pieces[:2] == ["", "é"]
    broken = TextWriter(bytes, [65])
    assert [broken.add(byte) for byte in (0xC3, 0x41)] == ["", "\N{REPLACEMENT CHARACTER}A"]
    assert broken.add(0xF0) == "" and broken.rest() == "\N{REPLACEMENT CHARACTER}"
    border = TextWriter(bytes, "é".encode()[:1])  # a character that begins in the prompt
    assert border.add("é".encode()[1]) + border.rest() == "\N{REPLACEMENT CHARACTER}"


def test_tokenizers_are_those_of_the_model(shared: Path, tmp_path: Path) -> None:
    model = shared / "models" / "stories260K"
    language = toy_language(vocabulary=512, tokenizer="tokenizer")
    with pytest.raises(InputError, match=r"there is no tokenizer in .*; emit the design again"):
        load_tokenizer(tmp_path, language)
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tok512.bin").write_bytes((model / "tok512.bin").read_bytes())
    tokenizer = load_tokenizer(tmp_path, language)
    assert tokenizer is not None
    ids = tokenizer.encode("Once upon a time")
    assert ids[0] == 1
    whole = tokenizer.encode("Once upon a time, there was a dog.")
    writer = TextWriter(tokenizer.decode, ids)
    assert whole[: len(ids)] == ids
    assert "".join(writer.add(token) for token in whole[len(ids) :]) == ", there was a dog."


def test_a_model_of_bytes_needs_no_files_and_others_have_ids_only(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tmp_path, toy_language())
    assert tokenizer is not None
    assert tokenizer.encode("aé") == [97, 195, 169]
    assert tokenizer.decode([97, 195, 169]) == "aé".encode()
    assert load_tokenizer(tmp_path, toy_language(vocabulary=512)) is None
    assert parse_ids("1,2, 30") == [1, 2, 30]
    assert parse_ids("") == []
    with pytest.raises(InputError, match="ids must be token ids such as 1,2,3, not '1;2'"):
        parse_ids("1;2")
