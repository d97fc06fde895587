"""Whole language models in RTL: every beat, token and logit that of the software; planted faults are found by layer.

One emitted folder and one build a design; the quick tests share a tiny Qwen2 of two layers.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mxhw.errors import InputError
from mxhw.flow.assignments import layered_assignment
from mxhw.flow.blocks import EmittedPart
from mxhw.flow.language import LanguageSettings, calibration_ranges, emit_lowered, lower_language
from mxhw.flow.talk import Conversation, Sampling
from mxhw.models import capture, load_model
from mxhw.passes.transform.fold import LanguageGraph, continued, greedy
from mxhw.passes.transform.lower import IntegerModel
from mxhw.sim.dataflow import DataflowResult, DataflowSimulation, run_dataflow
from mxhw.sim.dataflow_cosim import simulate_dataflow
from mxhw.sim.dataflow_design import DataflowDesign, LanguageModel
from mxhw.sim.design import image_header
from mxhw.sim.language import LanguageSimulation, TokenAnswer, TokenRequest
from tests.passes.transform.fold.models import FORMATS, model, prompts
from tests.tiny_language import CHUNK, KEYS, PROMPTS, TOKENS, TinyLanguage

WITHIN = 0.01
quick = pytest.mark.xdist_group("tiny_language")


class Software:
    """Answers requests by whole runs of the unfolded integers, as slowly as it is plain."""

    def __init__(self, graph: LanguageGraph, language: LanguageModel) -> None:
        self.language, self.cycles = language, 0
        self._model, self._texts = IntegerModel(graph.whole), dict[int, list[int]]()

    def step(self, requests: Sequence[TokenRequest]) -> list[TokenAnswer]:
        """Return the logits after each token that asks for them."""
        return [answer for request in requests if (answer := self._one(request)) is not None]

    def _one(self, request: TokenRequest) -> TokenAnswer | None:
        text = self._texts.setdefault(request.sequence, [])
        assert len(text) == request.position
        text.append(request.token)
        if not request.logits:
            return None
        logits = self._model.run(torch.tensor([text]))[0, -1]
        integers = torch.ldexp(logits, torch.tensor(-self.language.logits_exponent)).long().numpy()
        return TokenAnswer(integers, int(integers.argmax()))


def said(engine: Any, texts: Sequence[Sequence[int]], tokens: int, sampling: Sampling | None = None) -> list[list[int]]:
    """Return what is generated behind the texts."""
    conversation = Conversation(engine, texts, tokens=tokens, sampling=sampling)
    list(conversation)
    return [line.generated for line in conversation.lines]


def check_all(folder: Path, stalls: Sequence[tuple[float, int]] = ((0.3, 1), (0.7, 2))) -> DataflowSimulation:
    """Simulate what is recorded: every beat of every step equal, cycles without stalls near those predicted."""
    simulation = DataflowSimulation(folder)
    free = simulation.run()
    assert free.equal, free.verdict()
    assert all(step.moved == step.beats > 0 for step in free.steps)
    assert {step.name for step in free.steps} == {step.name for step in simulation.design.steps}
    assert free.prediction_error is not None
    print(f"{free.name}: {free.beats:,} beats, {free.cycles:,} cycles, error {free.prediction_error:+.3%}")
    assert abs(free.prediction_error) <= WITHIN
    for stall, seed in stalls:
        run = simulation.run(stall=stall, seed=seed)
        assert run.equal, run.verdict()
    return simulation


@quick
def test_every_beat_of_a_folded_model_is_the_softwares(tiny_language: TinyLanguage) -> None:
    design = check_all(tiny_language.folder).design
    language = design.language
    assert language is not None
    assert (language.folded, language.layers, language.sequences) == (True, 2, 2)
    kinds = [step.kind for step in design.steps]
    assert kinds.count("linear") == 7 + 1  # those of one block, and the head
    assert kinds.count("bias") == 3
    assert {"token_select", "pass_order", "field", "enter", "keep", "arg_max"} <= set(kinds)
    assert sum(map(len, PROMPTS)) > 2 * CHUNK  # several chunks, one over the border of the prompts
    assert (language.prompt_tokens, language.generated_tokens) == (sum(map(len, PROMPTS)), 2 * TOKENS)


@quick
def test_prompts_and_tokens_take_the_cycles_that_are_predicted(tiny_language: TinyLanguage) -> None:
    case = simulate_dataflow(tiny_language.folder, 3, 0.2, "bulk", None, None)
    assert case.passed
    assert len(case.phases) == 2
    for phase in case.phases:
        print(phase)
        assert phase.error is not None
        assert abs(phase.error) <= WITHIN


@quick
def test_it_talks_as_the_software_does(tiny_language: TinyLanguage) -> None:
    """Of other prompts than those that were recorded, each token and each logit; alone, together, and drawn."""
    graph = tiny_language.graph
    texts = [list(b"Another prompt"), [0, 255, 7]]
    for sampling, given in (
        (None, texts),
        (None, texts[1:]),
        (Sampling(temperature=0.8, seed=5), texts),
        (Sampling(temperature=3.0, top_k=7, seed=1), texts),
    ):
        with LanguageSimulation(tiny_language.folder) as rtl:
            software = Software(graph, rtl.language)
            found = said(Watched(rtl, software), given, 6, sampling)
            rtl.finish()
        wanted = said(Software(graph, rtl.language), given, 6, sampling)
        assert found == wanted
        if sampling is None:
            assert found == [torch.cat(list(continued(graph.whole, torch.tensor(text), 6))).tolist() for text in given]


class Watched:
    """The RTL, each answer compared with the software's, logit by logit."""

    def __init__(self, rtl: LanguageSimulation, software: Software) -> None:
        self.rtl, self.software, self.language, self.compared = rtl, software, rtl.language, 0

    @property
    def cycles(self) -> int:
        return self.rtl.cycles

    def step(self, requests: Sequence[TokenRequest]) -> list[TokenAnswer]:
        answers = self.rtl.step(requests)
        for answer, wanted in zip(answers, self.software.step(requests), strict=True):
            assert np.array_equal(answer.logits, wanted.logits)
            assert answer.token == wanted.token
            self.compared += 1
        return answers


@quick
def test_the_text_that_is_recorded_is_what_the_software_writes(tiny_language: TinyLanguage) -> None:
    design = DataflowDesign.load(tiny_language.folder)
    texts = [torch.tensor(list(prompt.encode())) for prompt in PROMPTS]
    with LanguageSimulation(tiny_language.folder) as rtl:
        found = said(rtl, [text.tolist() for text in texts], TOKENS)
    conversation = greedy(tiny_language.graph, texts, TOKENS)
    assert found == [ids[len(text) :].tolist() for ids, text in zip(conversation.sequences, texts, strict=True)]
    (tokens,) = [step for step in design.steps if step.name == "arg_max"]
    recorded = [int(line, 16) for line in (tiny_language.folder / tokens.beats).read_text().split()]
    assert sorted(recorded) == sorted(token for line in found for token in line)


@quick
@pytest.mark.parametrize(
    ("image", "step"),
    [
        ("layers_self_attn_k_proj.weights", "model.layers.self_attn.k_proj"),
        ("layers_self_attn_q_proj_bias.bias", "model.layers.self_attn.q_proj.bias"),
        ("layers_mlp_down_proj_requantize.multipliers", "model.layers.mlp.down_proj.requantize"),
        ("layers_post_attention_layernorm.gains", "model.layers.post_attention_layernorm"),
    ],
)
def test_constants_of_two_layers_that_are_swapped_are_found_in_layer_0(
    tiny_language: TinyLanguage, image: str, step: str, tmp_path: Path
) -> None:
    def swap(words: list[str]) -> list[str]:
        half = len(words) // 2
        assert words[:half] != words[half:]
        return words[half:] + words[:half]

    result = run_dataflow(damaged(tiny_language.folder, tmp_path, image, swap), seed=1)
    assert not result.equal
    assert result.first is not None and result.first.name == step
    assert "(layer 0, sequence 0, position 0)" in result.verdict()


@quick
@pytest.mark.parametrize("layer", [0, 1])
def test_one_changed_word_is_found_in_its_step_and_layer(
    tiny_language: TinyLanguage, layer: int, tmp_path: Path
) -> None:
    def flip(words: list[str]) -> list[str]:
        place = layer * len(words) // 2 + 1
        words[place] = f"{int(words[place], 16) ^ 8:0{len(words[place])}x}"
        return words

    folder = damaged(tiny_language.folder, tmp_path, "layers_mlp_up_proj.weights", flip)
    result = run_dataflow(folder, stall=0.3, seed=1)
    assert not result.equal
    assert result.first is not None and result.first.name == "model.layers.mlp.up_proj"
    assert f"(layer {layer}, sequence 0, position 0)" in result.verdict()


def damaged(folder: Path, place: Path, image: str, change: Callable[[list[str]], list[str]]) -> Path:
    """Return a copy of a design in which the words of one image are others; its head stays."""
    copy = Path(shutil.copytree(folder, place / "damaged"))
    path = copy / "images" / f"{image}.hex"
    head, *words = path.read_text().splitlines()
    path.write_text("\n".join([head, *change(words)]) + "\n")
    return copy


@quick
def test_an_image_of_another_assignment_is_refused(tiny_language: TinyLanguage, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_language.folder, tmp_path / "copy"))
    image = next((copy / "images").glob("*up_proj.weights.hex"))
    other = image_header("0123456789abcdef" * 4)
    image.write_text(re.sub(r"^//[^\n]*\n", other, image.read_text()))
    for simulate in (DataflowSimulation, LanguageSimulation):
        with pytest.raises(
            InputError, match=f"{image.name} is an image of assignment 0123456789abcdef, but design.json"
        ):
            simulate(copy)


# What follows is slow: a build for each design.

TEXTS = (9, 4)


def emitted(
    lowered: LanguageGraph, graph: Any, assignment: Any, texts: Any, folder: Path, settings: LanguageSettings
) -> EmittedPart:
    made = emit_lowered(lowered, graph, assignment, texts, folder, settings)
    print(made.summary())
    return made


def check_talk(folder: Path, lowered: LanguageGraph, texts: Sequence[torch.Tensor], tokens: int) -> DataflowResult:
    """Let a design talk: each token that of the software, each logit that of one run over the finished text."""
    design = DataflowDesign.load(folder)
    assert design.language is not None
    logits: dict[int, list[Any]] = {}

    class Listened:
        language = design.language

        def __init__(self, rtl: LanguageSimulation) -> None:
            self.rtl = rtl

        @property
        def cycles(self) -> int:
            return self.rtl.cycles

        def step(self, requests: Sequence[TokenRequest]) -> list[TokenAnswer]:
            answers = self.rtl.step(requests)
            asked = [request for request in requests if request.logits]
            for request, answer in zip(asked, answers, strict=True):
                logits.setdefault(request.sequence, []).append(answer.logits)
            return answers

    with LanguageSimulation(folder) as rtl:
        found = said(Listened(rtl), [text.tolist() for text in texts], tokens)
        rtl.finish()
    whole = IntegerModel(lowered.whole)
    for number, (text, line) in enumerate(zip(texts, found, strict=True)):
        ids = torch.cat([text, torch.tensor(line)])
        wanted = whole.run(ids[None, :-1])[0, len(text) - 1 :]
        assert len(line) == tokens == len(wanted)
        assert wanted.argmax(-1).tolist() == line
        got = np.ldexp(np.stack(logits[number]).astype(np.float64), design.language.logits_exponent)
        assert np.array_equal(got, wanted.numpy())
    return run_dataflow(folder)


@pytest.mark.slow
def test_layers_of_their_own_give_the_same(tiny_language: TinyLanguage, tmp_path: Path) -> None:
    settings = replace(tiny_language.settings, fold=False)
    loaded = load_model(tiny_language.model.folder)
    graph = capture(loaded, batch=1, sequence=KEYS)
    assignment = layered_assignment(graph, ["bitmod4", "bitmod3"])
    lowered = tiny_language.model.graph(settings)
    assert not lowered.folded
    texts = [torch.tensor(list(prompt.encode())) for prompt in PROMPTS]
    made = emitted(lowered, graph, assignment, texts, tmp_path / "unfolded", settings)
    design = check_all(made.emitted.folder).design
    assert [step.kind for step in design.steps].count("linear") == 2 * 7 + 1
    folded = DataflowDesign.load(tiny_language.folder)
    check_talk(made.emitted.folder, lowered, texts, TOKENS)

    def outputs(of: DataflowDesign, folder: Path) -> list[str]:
        return [(folder / record.beats).read_text() for _, record in sorted(of.outputs.items())]

    assert outputs(design, made.emitted.folder) == outputs(folded, tiny_language.folder)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2", "mistral", "gpt2"])
@pytest.mark.parametrize("formats", list(FORMATS))
def test_families_are_exact_in_every_beat(family: str, formats: str, tmp_path: Path) -> None:
    """Biases and shared keys; sliding windows that are shorter than the text; LayerNorm, GELU and learned positions."""
    made = model(family, formats)
    settings = LanguageSettings(keys=24, sequences=2, chunk=4, tokens=8)
    lowered = lower_language(made.graph, made.assignment, made.ranges, settings)
    assert lowered.folded
    if family == "mistral":
        assert lowered.types["model.layers.self_attn.qk"].window == 8 < max(TEXTS) + settings.tokens
    texts = prompts(*TEXTS)
    part = emitted(lowered, made.graph, made.assignment, texts, tmp_path / "design", settings)
    kinds = {step.kind for step in part.emitted.design.steps}
    assert kinds >= {"qwen2": {"bias", "rope"}, "mistral": {"rope"}, "gpt2": {"layer_norm", "bias"}}[family]
    check_all(part.emitted.folder)
    check_talk(part.emitted.folder, lowered, prompts(3, 11), 8)


ASSIGNMENTS = {"bitmod": (["bitmod4", "bitmod3"], "int8-e8m0"), "dialect": (["dialect4"], "dialect4-online")}
TEXT = {"stories260K": (b"Once upon a time", b"Lily and Tom"), "demo": (b"The river", b"def f")}


@pytest.mark.slow
@pytest.mark.parametrize("formats", list(ASSIGNMENTS))
@pytest.mark.parametrize("name", ["stories260K", "demo"])
def test_real_models_write_what_the_software_writes(
    name: str, formats: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """32 tokens of each of two texts: every beat of every step, every token, every logit."""
    place = "demo"
    if name != "demo":
        place = str(request.getfixturevalue("shared") / "models" / name)
        if not Path(place).is_dir():
            pytest.skip(f"needs ../shared/models/{name}, which is not here")
    loaded = load_model(place)
    settings = LanguageSettings(keys=64, sequences=2, tokens=32)
    graph = capture(loaded, batch=1, sequence=settings.keys)
    weights, inputs = ASSIGNMENTS[formats]
    assignment = layered_assignment(graph, weights, inputs)
    lowered = lower_language(graph, assignment, calibration_ranges(loaded, graph), settings)
    texts = [loaded.encode(text) for text in TEXT[name]]
    made = emitted(lowered, graph, assignment, texts, tmp_path / "design", settings)
    language = made.emitted.design.language
    assert language is not None and language.generated_tokens == 64
    found = check_talk(made.emitted.folder, lowered, texts, 32)
    assert found.equal, found.verdict()
    assert found.prediction_error is not None and abs(found.prediction_error) <= WITHIN
    print(f"{found.name}: {found.beats:,} beats, {found.cycles:,} cycles ({found.prediction_error:+.3%}),"
          f" build {found.build_seconds:.0f} s, run {found.seconds:.0f} s")  # fmt: skip
