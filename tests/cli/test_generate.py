"""`mxhw generate` writes what the model writes, float or quantized, and refuses what cannot be generated."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from mxhw.flow.assignments import uniform_assignment
from mxhw.ir import Assignment, DecodeGraph
from mxhw.models import LoadedModel, capture_decoder, load_model
from mxhw.passes.transform import Quantize, QuantizeConfig
from tests.cli.conftest import Ran

Command = Callable[..., Ran]
PROMPT = "The river runs"


@cache
def demo() -> tuple[LoadedModel, DecodeGraph]:
    loaded = load_model("demo")
    return loaded, capture_decoder(loaded)


@pytest.fixture
def assignment(tmp_path: Path) -> Path:
    """Everything quantized, the KV cache in blocks along the sequence too."""
    graph = demo()[1]
    caches = [key for key, site in graph.sites.items() if site.operand == "cache"]
    formats = {**uniform_assignment(graph).formats, **dict.fromkeys(caches, "mxint4-b8")}
    Assignment("demo", formats, axes=dict.fromkeys(caches, -2)).save(tmp_path / "assignment.json")
    return tmp_path / "assignment.json"


def test_the_float_model_writes_what_transformers_generates(mxhw_command: Command) -> None:
    ran = mxhw_command("generate", "demo", "--prompt", PROMPT, "--tokens", 20, "--json")
    assert ran.code == 0, ran.err
    loaded, _ = demo()
    loaded.model.set_attn_implementation("eager")
    start = loaded.encode(PROMPT.encode())[None]
    theirs = loaded.model.generate(start, max_new_tokens=20, do_sample=False)[0, start.shape[1] :]
    assert ran.json["tokens"] == theirs.tolist()
    assert ran.json["text"] == bytes(theirs.tolist()).decode("utf-8", "replace")
    assert (ran.json["prompt"], ran.json["prompt_tokens"]) == (PROMPT, len(PROMPT))
    assert ran.json["bits"] is None and ran.json["assignment"] is None


@pytest.mark.parametrize("arithmetic", ["float", "hardware"])
def test_an_assignment_quantizes_what_is_written(mxhw_command: Command, assignment: Path, arithmetic: str) -> None:
    words = ("--prompt", PROMPT, "--tokens", 12, "--assignment", assignment, "--arithmetic", arithmetic)
    ran = mxhw_command("generate", "demo", *words, "--json")
    assert ran.code == 0, ran.err
    loaded, graph = demo()
    config = QuantizeConfig(assignment=Assignment.load(assignment), arithmetic=arithmetic)
    start = loaded.encode(PROMPT.encode())[None]
    found = Quantize(config)(graph).graph.generate(start, 12)
    assert ran.json["tokens"] == found[0, start.shape[1] :].tolist()
    assert 4 < ran.json["bits"]["bits_per_weight"] < 5
    tokens = len(PROMPT) + 12
    rounded = tokens // 8 * 8  # at 4 bits, and an exponent of 8 for each block of 8
    assert ran.json["bits"]["bits_per_cached_element"] == pytest.approx(
        (rounded * 5 + (tokens - rounded) * 32) / tokens
    )


def test_people_read_prompt_and_continuation(mxhw_command: Command) -> None:
    ran = mxhw_command("generate", "demo", "--prompt", PROMPT, "--tokens", 5)
    loaded, graph = demo()
    found = graph.generate(loaded.encode(PROMPT.encode())[None], 5)[0]
    assert loaded.decode(found).decode() in ran.out


def test_a_story_begins_as_stories_do(mxhw_command: Command, shared: Path) -> None:
    model = shared / "models" / "stories260K"
    ran = mxhw_command("generate", model, "--prompt", "Once upon a time", "--tokens", 24, "--json")
    assert ran.json["text"].startswith(", there was a little girl named Lily.")
    assert ran.json["prompt_tokens"] == torch.tensor(load_model(model).encode(b"Once upon a time").shape).item()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--prompt", ""), "prompt is empty"),
        (("--prompt", "x" * 513), "513 tokens are more than the context of 512 positions"),
        (("--prompt", "x" * 500, "--tokens", 13), "500 tokens and 13 new ones are more than the context of 512"),
        (("--prompt", "x", "--assignment", "no.json"), "assignment no.json cannot be read"),
    ],
)
def test_what_cannot_be_generated_is_refused_in_one_line(mxhw_command: Command, words: tuple, part: str) -> None:
    ran = mxhw_command("generate", "demo", *words)
    assert ran.code == 2
    (line,) = ran.err.strip().splitlines()
    assert line.startswith("mxhw: error: ") and part in line
    assert ran.out == ""


def test_an_assignment_of_another_model_is_refused(mxhw_command: Command, tmp_path: Path) -> None:
    Assignment("other", {"model.layers.9.self_attn.qk:cache": "mxint4"}).save(tmp_path / "a.json")
    ran = mxhw_command("generate", "demo", "--prompt", "x", "--tokens", 3, "--assignment", tmp_path / "a.json")
    assert ran.code == 2 and "no site 'model.layers.9.self_attn.qk:cache' in the graph of demo" in ran.err
