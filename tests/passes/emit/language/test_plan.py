"""Plans of designs that generate text: one token at a time, a loop with room for a chunk, cycles that depend on it."""

import pytest

from mxhw.errors import InputError
from mxhw.passes.emit.dataflow.place import place_graph
from mxhw.passes.emit.language import LanguageCycles, language_cycles, pass_tokens, plan_language
from mxhw.passes.transform.fold import LanguageGraph, greedy
from tests.passes.transform.fold.models import folded, prompts

LENGTHS, TOKENS = (6, 3), 4


def cycles(graph: LanguageGraph, depths: dict[tuple[str, str], int] | None = None) -> LanguageCycles:
    """Predict a conversation; ``depths``: FIFOs that are not as planned."""
    plan = plan_language(graph)
    requests = greedy(graph, prompts(*LENGTHS), TOKENS).requests
    placed = place_graph(graph, plan.parallelism)
    return language_cycles(
        graph, placed, {**plan.depths, **(depths or {})}, requests, pass_tokens(graph, requests), len(LENGTHS)
    )


@pytest.mark.parametrize("chunk", [1, 4, 16])
def test_what_returns_has_room_for_a_chunk(chunk: int) -> None:
    graph = folded("qwen2", chunk=chunk)
    depths = plan_language(graph).depths
    assert depths["loop", "hidden"] == chunk * graph.types["hidden"].length
    assert plan_language(folded("qwen2", fold=False, chunk=chunk)).depths.keys().isdisjoint({("loop", "hidden")})


def test_a_residual_stream_without_room_stops() -> None:
    graph = folded("qwen2")
    assert plan_language(graph).depths["hidden", "model.layers.add"] > graph.types["hidden"].length
    with pytest.raises(InputError, match="the design would stop, since its FIFOs are too short"):
        cycles(graph, {("hidden", "model.layers.add"): 2})


def test_prefill_is_a_part_of_the_whole_and_layers_share_their_time() -> None:
    shared, own = (cycles(folded("qwen2", fold=fold)) for fold in (True, False))
    assert all(0 < found.prefill < found.total for found in (shared, own))
    # A token at a time nothing overlaps; while prompts are read, layers of their own work side by side.
    assert own.prefill < shared.prefill
    short, long = cycles(folded("qwen2", chunk=1)), cycles(folded("qwen2", chunk=4))
    assert long.prefill < short.prefill  # layers of a chunk overlap


def test_a_linear_layer_takes_one_token_at_a_time() -> None:
    graph = folded("qwen2")
    name = "model.layers.mlp.gate_proj"
    with pytest.raises(InputError, match=f"step {name} .* works on one token at a time, not on rows of 2"):
        plan_language(graph, fixed={name: {"rows": 2}})
    wide = plan_language(graph, fixed={name: {"rows": 1, "columns": 16}})
    assert wide.parallelism[name]["columns"] == 16
