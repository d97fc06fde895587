"""The design of a language model has each of its steps once, control where it belongs, and indices where needed."""

from typing import Any

import pytest

from mxhw.arithmetic.dataflow import ArgMax, AttentionScores, AttentionValues, Field, Folded, Indices, Passes
from mxhw.errors import InputError
from mxhw.passes.transform.fold import CONTROL, LanguageGraph, language_graph
from mxhw.passes.transform.lower import lower_graph
from tests.passes.transform.fold.models import folded, model

FAMILIES = ("qwen2", "mistral", "gpt2")


def control(graph: LanguageGraph) -> dict[str, tuple[str, ...]]:
    return {step.name: step.inputs for step in graph.steps.values() if step.node == CONTROL}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("fold", [True, False])
def test_every_step_of_the_model_is_a_member_once(family: str, fold: bool) -> None:
    graph = folded(family, fold=fold)
    members = [name for own in graph.members.values() for name in own]
    assert sorted(members) == sorted(graph.whole.steps)
    assert graph.members.keys() | control(graph).keys() == graph.steps.keys()
    for name, own in graph.members.items():
        assert {graph.whole.types[member] for member in own} == {graph.types[name]}
    lengths = {len(own) for name, own in graph.members.items() if graph.domains[name] == "passes"}
    assert lengths == ({2} if fold else set())  # unfolded, a request is a pass
    assert (graph.folded, graph.layers) == (fold, 2 if fold else 1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("fold", [True, False])
def test_streams_have_tokens_where_their_readers_have(family: str, fold: bool) -> None:
    """Only control lets one number of tokens become another."""
    graph = folded(family, fold=fold)
    assert graph.domains.keys() == graph.inputs.keys() | graph.steps.keys()
    for step in graph.steps.values():
        if step.node != CONTROL:
            read = {graph.domains[source] for source in step.inputs}
            # Unfolded, a request is a pass.
            same = {frozenset(("requests", "passes"))} if not fold else set()
            assert read == {graph.domains[step.name]} or frozenset(read | {graph.domains[step.name]}) in same
    assert graph.domains[graph.logits] == graph.domains[graph.chooser] == graph.domains["final"] == "logits"
    assert graph.outputs == (graph.logits, graph.chooser)
    assert isinstance(graph.steps[graph.chooser].operation, ArgMax)


def test_feedback_goes_from_the_arg_max_and_from_the_block() -> None:
    graph = folded("qwen2")
    assert graph.feedback == {"feedback": "arg_max", "loop": "returned"}
    assert all(graph.types[source] == graph.types[step] for source, step in graph.feedback.items())
    assert control(graph) == {
        "tokens": ("requests", "feedback"),
        "passes": ("requests",),
        "positions": ("passes",),
        "layers": ("passes",),
        "banks": ("passes",),
        "hidden": ("passes", "model.embed_tokens", "loop"),
        "returned": ("passes", "model.layers.add_2"),
        "final": ("passes", "model.layers.add_2"),
        "arg_max": ("lm_head.requantize",),
    }
    assert graph.types["passes"] == Passes(layers=2, sequences=2, keys=24)
    assert (graph.types["layers"], graph.types["banks"]) == (Indices(count=2), Indices(count=4))
    assert (graph.requests.vocabulary, graph.requests.sequences, graph.requests.keys) == (48, 2, 24)


def test_unfolded_there_is_no_loop() -> None:
    graph = folded("qwen2", fold=False)
    assert graph.feedback == {"feedback": "arg_max"}
    assert control(graph) == {
        "tokens": ("requests", "feedback"),
        "passes": ("requests",),
        "positions": ("passes",),
        "banks": ("passes",),
        "final": ("passes", "model.layers.1.add_2"),
        "arg_max": ("lm_head.requantize",),
    }
    assert not any(isinstance(step.operation, Folded) for step in graph.steps.values())
    alone = folded("qwen2", fold=False, sequences=1)
    assert "banks" not in alone.steps
    same = {name for name, step in alone.steps.items() if step.inputs == graph.whole.steps.get(name, step).inputs}
    assert alone.steps.keys() - same == {"model.norm"}  # which reads what `final` lets through


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("fold", "sequences"), [(True, 1), (True, 3), (False, 1), (False, 3)])
def test_index_streams_go_where_they_are_needed(family: str, fold: bool, sequences: int) -> None:
    graph = folded(family, fold=fold, sequences=sequences)
    banks = sequences * (2 if fold else 1)
    for step in graph.steps.values():
        if step.node == CONTROL:
            continue
        assert ("layers" in step.inputs) == isinstance(step.operation, Folded)
        attends = isinstance(step.operation, AttentionScores | AttentionValues)
        assert ("banks" in step.inputs) == (attends and banks > 1)
        assert [graph.types[source] for source in step.inputs] == list(step.operation.inputs)
        if attends:
            assert step.operation.banks == banks
    assert ("layers" in graph.steps, "banks" in graph.steps) == (fold, banks > 1)


def test_what_is_in_front_of_the_layers_has_the_positions_of_requests() -> None:
    graph = folded("gpt2")
    assert graph.steps["transformer.wpe"].inputs == ("request_positions",)
    operation = graph.steps["request_positions"].operation
    assert isinstance(operation, Field)
    assert (operation.x, operation.name) == (graph.requests, "position")
    assert graph.steps["transformer.h.attn.qk"].inputs[-2:] == ("positions", "banks")
    unfolded = folded("gpt2", fold=False)
    assert unfolded.steps["transformer.wpe"].inputs == ("positions",)
    assert "request_positions" not in unfolded.steps | folded("qwen2").steps


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sequences": 0}, "sequences must be an integer of at least 1, not 0"),
        ({"sequences": 2.0}, "sequences must be an integer of at least 1, not 2.0"),
        ({"sequences": True}, "sequences must be an integer of at least 1, not True"),
        ({"chunk": -1}, "chunk must be an integer of at least 1, not -1"),
    ],
)
def test_impossible_numbers_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        folded("qwen2", **given)


def test_a_part_of_a_model_is_no_language_model() -> None:
    made = model("qwen2")
    for nodes in ("model.layers.0", ["model.layers.0", "model.layers.1"]):
        part = lower_graph(made.graph, made.assignment, made.ranges, nodes=nodes)
        with pytest.raises(InputError, match="is made of a whole language model, from token ids to logits"):
            language_graph(part, made.graph.blocks, fold=True, sequences=1, chunk=1)


def test_the_longest_sequence_is_that_of_the_lowered_caches() -> None:
    made = model("qwen2")
    short = lower_graph(made.graph, made.assignment, made.ranges, keys=9)
    assert language_graph(short, made.graph.blocks, fold=True, sequences=1, chunk=1).positions_room == 9
