"""A tiny random language model from its folder to a design that talks. A plugin of tests/conftest.py."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from mxhw.flow.blocks import EmittedPart
    from mxhw.flow.language import LanguageSettings
    from mxhw.passes.transform.fold import LanguageGraph

__all__ = ["TinyLanguage", "tiny_language", "tiny_language_model"]

KEYS, CHUNK, TOKENS = 24, 5, 8
PROMPTS = ("Once", "A longer one")


@dataclass(frozen=True)
class TinyModel:
    """A Qwen2 of bytes with two layers: biases, fewer key heads than query heads; weights of 4 and of 3 bits.

    Attributes
    ----------
    folder : of the checkpoint.
    assignment, other : files with an assignment; the other one has 4 bits in both layers.
    calibration : token ids.
    """

    folder: Path
    assignment: Path
    other: Path
    calibration: Path

    def graph(self, settings: "LanguageSettings") -> "LanguageGraph":
        """Lower it once more, as the command does."""
        from mxhw.flow.assignments import assignment_for
        from mxhw.flow.language import calibration_ranges, lower_language
        from mxhw.models import capture, load_model

        loaded = load_model(self.folder)
        graph = capture(loaded, batch=1, sequence=settings.keys)
        ranges = calibration_ranges(loaded, graph, str(self.calibration))
        return lower_language(graph, assignment_for(graph, self.assignment), ranges, settings)


@dataclass(frozen=True)
class TinyLanguage:
    """The emitted design, and the integers that define it."""

    model: TinyModel
    made: "EmittedPart"
    settings: "LanguageSettings"

    @property
    def folder(self) -> Path:
        """Of the design."""
        return self.made.emitted.folder

    @cached_property
    def graph(self) -> "LanguageGraph":
        """The design's graph, lowered beside the emission."""
        return self.model.graph(self.settings)


@pytest.fixture(scope="session")
def tiny_language_model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """The checkpoint and what is emitted of it."""
    import torch
    from torch import nn
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from mxhw.flow.assignments import layered_assignment
    from mxhw.models import capture

    folder = tmp_path_factory.mktemp("tiny_language")
    torch.manual_seed(0)
    sizes = {"vocab_size": 256, "hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": 32}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3}
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    model = Qwen2ForCausalLM(Qwen2Config(**sizes, **heads, **ends)).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.5)
        elif parameter.dim() == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    model.save_pretrained(folder / "model")
    graph = capture(model, batch=1, sequence=KEYS)
    for file, weights in (("mixed", ["bitmod4", "bitmod3"]), ("other", ["bitmod4"])):
        layered_assignment(graph, weights).save(folder / f"{file}.json")
    np.save(folder / "ids.npy", np.random.default_rng(0).integers(0, 256, 320))
    return TinyModel(folder / "model", folder / "mixed.json", folder / "other.json", folder / "ids.npy")


@pytest.fixture(scope="session")
def tiny_language(tiny_language_model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> TinyLanguage:
    """Its design with all layers in one block, for two sequences; a session's tests share it, and its one build."""
    from mxhw.flow.language import LanguageRequest, LanguageSettings, emit_language_model

    settings = LanguageSettings(keys=KEYS, sequences=2, chunk=CHUNK, tokens=TOKENS)
    request = LanguageRequest(
        model=str(tiny_language_model.folder),
        assignment=tiny_language_model.assignment,
        prompts=PROMPTS,
        calibration=str(tiny_language_model.calibration),
        settings=settings,
    )
    made = emit_language_model(request, tmp_path_factory.mktemp("talking") / "design")
    return TinyLanguage(tiny_language_model, made, settings)
