"""What a design is compared with: two ways to the same beats, one over whole sequences and one pass by pass."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mxhw.arithmetic.dataflow import BlockCodes, BlockValues, Folded, Integers, KeyWeights, Scores
from mxhw.passes.emit.dataflow.beats import stream_beats
from mxhw.passes.emit.language import PassRecorded
from mxhw.passes.transform.fold import CONTROL, Conversation, LanguageGraph, greedy
from mxhw.passes.transform.lower import integer_inputs
from tests.passes.transform.fold.models import folded, prompts

LANES = 4
DESIGNS = {
    "qwen2": {"family": "qwen2"},
    "qwen2 in dialects": {"family": "qwen2", "formats": "dialect"},
    "mistral": {"family": "mistral"},
    "gpt2": {"family": "gpt2"},
    "qwen2 unfolded": {"family": "qwen2", "fold": False},
}


@dataclass(frozen=True)
class Recorded:
    """A design, a conversation, and its streams; beside them the whole model on each sequence."""

    graph: LanguageGraph
    conversation: Conversation
    values: PassRecorded

    @cached_property
    def runs(self) -> list[dict[str, Any]]:
        whole = self.graph.whole
        return [whole.run(integer_inputs(whole, ids[None]), keep=whole.steps) for ids in self.conversation.sequences]

    def places(self, name: str) -> list[tuple[int, int, int]]:
        """Layer, sequence and position of each token of a stream."""
        return list(self.values.tokens[self.graph.domains[name]].places())

    def member(self, name: str, layer: int) -> str:
        members = self.graph.members[name]
        return members[layer if len(members) > 1 else 0]

    def gathered(self, name: str) -> Any:
        """The value of a stream, a token at a time from the runs on whole sequences."""
        if name not in self.graph.members:
            return self.values.value(name)
        rows = [self.runs[s][self.member(name, layer)] for layer, s, _ in self.places(name)]
        at = [position for _, _, position in self.places(name)]
        if isinstance(rows[0], BlockValues):
            dialect = None if rows[0].dialect is None else picked([row.dialect for row in rows], at)
            return BlockValues(picked([r.codes for r in rows], at), picked([r.scale for r in rows], at), dialect)
        return picked(rows, at)


def picked(rows: list[Tensor], at: list[int]) -> Tensor:
    return torch.stack([row[0, position] for row, position in zip(rows, at, strict=True)])[None]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, BlockValues):
        parts = [(a.codes, b.codes), (a.scale, b.scale)] + ([] if a.dialect is None else [(a.dialect, b.dialect)])
        return all(torch.equal(x, y) for x, y in parts)
    return torch.equal(a, b)


@pytest.fixture(scope="module", params=list(DESIGNS))
def recorded(request: pytest.FixtureRequest) -> Recorded:
    graph = folded(**DESIGNS[request.param])
    conversation = greedy(graph, prompts(6, 3), 4)
    return Recorded(graph, conversation, PassRecorded(graph, conversation))


def test_control_streams_are_what_the_members_say(recorded: Recorded) -> None:
    graph, values, ids = recorded.graph, recorded.values, recorded.conversation.sequences

    def of_places(name: str, what: Any) -> None:
        assert values.value(name)[0].tolist() == [what(*place) for place in recorded.places(name)]

    of_places("tokens", lambda layer, s, p: int(ids[s][p]))
    of_places("positions", lambda layer, s, p: p)
    of_places("banks", lambda layer, s, p: layer * graph.sequences + s)
    of_places("arg_max", lambda layer, s, p: int(ids[s][p + 1]))
    assert torch.equal(values.value("feedback"), values.value("arg_max"))
    assert len(values.value("arg_max")[0]) == sum(map(len, ids)) - sum(recorded.conversation.prompts)
    if graph.folded:
        of_places("layers", lambda layer, s, p: layer)


def test_what_enters_returns_and_leaves_is_that_of_the_unfolded_model(recorded: Recorded) -> None:
    graph, values = recorded.graph, recorded.values
    (last,) = {source for source in graph.steps["final"].inputs if source != "passes"}
    wanted = [recorded.runs[s][recorded.member(last, graph.layers - 1)][0, p] for _, s, p in recorded.places("final")]
    assert torch.equal(values.value("final")[0], torch.stack(wanted))
    if not graph.folded:
        return
    first = graph.steps["hidden"].inputs[1]
    before = {0: first} | {layer + 1: recorded.member(last, layer) for layer in range(graph.layers - 1)}
    wanted = [recorded.runs[s][before[layer]][0, p] for layer, s, p in recorded.places("hidden")]
    assert torch.equal(values.value("hidden")[0], torch.stack(wanted))
    assert torch.equal(values.value("loop"), values.value("returned"))
    assert values.count("hidden") == graph.layers * values.count("tokens")
    assert values.count("returned") == (graph.layers - 1) * values.count("tokens")


def test_a_folded_operation_gives_each_token_what_its_layer_gives(recorded: Recorded) -> None:
    """And another order of layers gives something else, wherever layers differ."""
    graph, tried = recorded.graph, set()
    for name, step in graph.steps.items():
        kinds = (*step.operation.inputs, step.operation.output)
        if step.node == CONTROL or any(isinstance(kind, Scores | KeyWeights) for kind in kinds):
            continue  # attention sees other tokens too: whole sequences, which beats are taken from
        given = [recorded.gathered(source) for source in step.inputs]
        assert same(step.operation.run(*given), recorded.gathered(name)), name
        if isinstance(step.operation, Folded):
            tried.add(step.operation.kind)
            swapped = step.operation.run(*given[:-1], graph.layers - 1 - given[-1])
            assert not same(swapped, recorded.gathered(name)), name
    # In dialects the scales are in the codes, and multipliers are the same in all layers.
    assert (tried >= {"linear", "bias"} or tried >= {"linear", "requantize"}) == graph.folded


def test_beats_are_those_of_the_values_in_order(recorded: Recorded) -> None:
    graph, values, kinds = recorded.graph, recorded.values, set()
    for name in graph.steps:
        kind = graph.types[name]
        given = kind.length if isinstance(kind, Integers | BlockCodes) else 1
        lanes = LANES if given % LANES == 0 and isinstance(kind, Integers | BlockCodes) else 1
        beats, sizes = values.beats(name, lanes), values.token_beats(name, lanes)
        assert len(beats) == (sizes * values.count(name) if isinstance(sizes, int) else sum(sizes))
        kinds.add(type(kind))
        if not isinstance(kind, Scores | KeyWeights):
            assert np.array_equal(beats, stream_beats(recorded.gathered(name), kind, lanes)), name
            continue
        # Tokens of their own lengths: each token's beats are those at its place in its own sequence.
        assert isinstance(sizes, tuple)
        start = 0
        for (layer, s, position), size in zip(recorded.places(name), sizes, strict=True):
            whole = stream_beats(recorded.runs[s][recorded.member(name, layer)], kind, 1)
            seen = [kind.heads * min(p + 1, kind.window or p + 1) for p in range(position + 1)]
            assert size == seen[-1]
            assert np.array_equal(beats[start : start + size], whole[sum(seen[:-1]) : sum(seen)]), name
            start += size
    assert kinds >= {Integers, BlockCodes, Scores, KeyWeights}


def test_a_conversation_of_other_text_is_not_what_control_computes() -> None:
    graph = folded("qwen2")
    plain = greedy(graph, prompts(6, 3), 4)
    changed = [ids.clone() for ids in plain.sequences]
    changed[0][-2] = (changed[0][-2] + 1) % graph.requests.vocabulary
    other = PassRecorded(graph, Conversation(tuple(changed), plain.prompts, plain.requests))
    said = [int(changed[s][p]) for _, s, p in other.tokens["requests"].places()]
    assert other.value("tokens")[0].tolist() != said
