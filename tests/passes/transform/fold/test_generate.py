"""What the software generates is what one run over the finished text says, and the requests ask for just that."""

import pytest
import torch
from torch import Tensor

from mxhw.arithmetic.dataflow import PassOrder, TokenSelect
from mxhw.errors import InputError
from mxhw.passes.transform.fold import Conversation, LanguageGraph, continued, greedy
from mxhw.passes.transform.lower import IntegerModel
from tests.passes.transform.fold.models import folded, model, prompts

TOKENS = 5
LENGTHS = (7, 3)


@pytest.fixture(scope="module", params=["qwen2", "mistral", "gpt2"])
def graph(request: pytest.FixtureRequest) -> LanguageGraph:
    return folded(request.param)


@pytest.fixture(scope="module")
def conversation(graph: LanguageGraph) -> Conversation:
    return greedy(graph, prompts(*LENGTHS), TOKENS)


def chosen(graph: LanguageGraph, ids: Tensor) -> Tensor:
    """Return the largest logit after each token, all in one run."""
    return IntegerModel(graph.whole).run(ids[None])[0].argmax(-1)


def test_every_token_is_the_largest_logit_of_what_is_before_it(
    graph: LanguageGraph, conversation: Conversation
) -> None:
    assert conversation.prompts == LENGTHS
    for ids, prompt in zip(conversation.sequences, prompts(*LENGTHS), strict=True):
        assert torch.equal(ids[: len(prompt)], prompt)
        assert len(ids) == len(prompt) + TOKENS
        following = chosen(graph, ids[:-1])
        assert torch.equal(ids[len(prompt) :], following[len(prompt) - 1 :])
        assert not torch.equal(prompt[1:], following[: len(prompt) - 1])  # a prompt is no continuation


def test_sequences_do_not_change_each_other(graph: LanguageGraph, conversation: Conversation) -> None:
    for ids, prompt in zip(conversation.sequences, prompts(*LENGTHS), strict=True):
        assert torch.equal(greedy(graph, [prompt], TOKENS).sequences[0], ids)


def test_requests_give_the_sequences_by_their_own_definition(graph: LanguageGraph, conversation: Conversation) -> None:
    requests = conversation.requests
    select = graph.steps["tokens"].operation
    assert isinstance(select, TokenSelect)
    asked = requests.logits[0].nonzero().flatten()
    places = list(zip(requests.sequence[0].tolist(), requests.position[0].tolist(), strict=True))
    feedback = torch.tensor([[int(conversation.sequences[s][p + 1]) for s, p in (places[i] for i in asked)]])
    tokens = select.run(requests, feedback)
    assert tokens[0].tolist() == [int(conversation.sequences[s][p]) for s, p in places]
    # Every token but the last one of a sequence is read once, in order.
    for sequence, ids in enumerate(conversation.sequences):
        assert [p for s, p in places if s == sequence] == list(range(len(ids) - 1))
    assert len(asked) == TOKENS * len(LENGTHS)
    wrong = feedback.clone()
    wrong[0, 0] = (wrong[0, 0] + 1) % graph.requests.vocabulary
    assert not torch.equal(select.run(requests, wrong), tokens)


def test_passes_are_layer_by_layer_in_every_chunk(graph: LanguageGraph, conversation: Conversation) -> None:
    order = graph.steps["passes"].operation
    assert isinstance(order, PassOrder)
    requests = conversation.requests
    assert sum(LENGTHS) == 10
    prefill = [range(4), range(4, 8), range(8, 10)]  # chunks of 4, over the border of the prompts
    decode = [range(10 + 2 * step, 12 + 2 * step) for step in range(TOKENS - 1)]
    wanted = [(layer, request) for chunk in (*prefill, *decode) for layer in range(2) for request in chunk]
    passes = order.run(requests)
    assert passes.layer[0].tolist() == [layer for layer, _ in wanted]
    for name in ("position", "sequence", "logits"):
        given = getattr(requests, name)[0].tolist()
        assert getattr(passes, name)[0].tolist() == [given[request] for _, request in wanted]
    assert requests.last[0].nonzero().flatten().tolist() == [chunk[-1] for chunk in (*prefill, *decode)]


def test_more_sequences_than_a_chunk_are_cut() -> None:
    graph = folded("qwen2", sequences=3, chunk=2)
    found = greedy(graph, prompts(1, 1, 1), 3).requests
    assert found.last[0].tolist() == [0, 1, 1] * 3
    assert found.generated[0].tolist() == [0] * 3 + [1] * 6


def test_an_end_token_ends_a_text() -> None:
    whole, (prompt,) = model("qwen2").whole, prompts(4)
    free = torch.cat(list(continued(whole, prompt, 6))).tolist()
    end = free[2]
    assert torch.cat(list(continued(whole, prompt, 6, [end]))).tolist() == free[: free.index(end) + 1]


@pytest.mark.parametrize(
    ("lengths", "tokens", "message"),
    [
        (
            (20, 3),
            5,
            "a prompt must have 1 to 19 tokens, so that it and 5 generated ones fit the 24 positions of the KV",
        ),
        ((3, 0), 5, "a prompt must have 1 to 19 tokens.*, not 0"),
        ((3, 3, 3), 5, "prompts must be 1 to the 2 sequences of the design, not 3"),
        ((), 5, "prompts must be 1 to the 2 sequences of the design, not 0"),
        ((3,), 0, "tokens must be 1 to 23, .* not 0"),
        ((3,), 24, "tokens must be 1 to 23, .* not 24"),
    ],
)
def test_what_does_not_fit_is_refused(lengths: tuple[int, ...], tokens: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        greedy(folded("qwen2"), prompts(*lengths), tokens)


def test_what_just_fits_is_taken() -> None:
    found = greedy(folded("qwen2"), prompts(19), 5)
    assert [len(ids) for ids in found.sequences] == [24]
    assert int(found.requests.position.max()) == 22
