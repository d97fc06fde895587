"""Whole tiny models of other families as RTL: every beat of every step, from token to logits, equals the software's."""

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from mxhw.flow.blocks import EmittedPart, PartSettings, emit_part
from mxhw.sim.dataflow import DataflowSimulation
from tests.passes.transform.lower.families import Lowered
from tests.sim.faulty import flip_image_bit

TOKENS, WINDOW = 7, 4
_SMALL = {"hidden_size": 16, "intermediate_size": 24}
_MODELS: dict[str, dict[str, Any]] = {
    "qwen2": _SMALL,
    "mistral": {**_SMALL, "sliding_window": WINDOW},
    "gpt2": {"n_embd": 16, "n_inner": 24},
}


@dataclass(frozen=True)
class Emitted:
    """A family in a folder; made and built when it is first asked for."""

    family: str
    folder: Path

    @cached_property
    def part(self) -> EmittedPart:
        model = Lowered(self.family, tuple(_MODELS[self.family].items()))
        tokens = model.tokens[:, :TOKENS]  # two sequences, one after the other
        return emit_part(model.graph, model.assignment, model.ranges, tokens, self.folder, PartSettings(part="all"))

    @cached_property
    def simulation(self) -> DataflowSimulation:
        return DataflowSimulation(self.part.emitted.folder)


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Emitted]:
    return {family: Emitted(family, tmp_path_factory.mktemp(family) / "design") for family in _MODELS}


def group(family: str) -> Any:
    return pytest.param(family, marks=[pytest.mark.slow, pytest.mark.xdist_group(f"family_{family}")])


@pytest.mark.parametrize("family", [group(family) for family in _MODELS])
def test_a_whole_model_is_exact_from_token_to_logits(family: str, emitted: dict[str, Emitted]) -> None:
    design, simulation = emitted[family].part.emitted.design, emitted[family].simulation
    free = simulation.run()
    assert free.equal, free.verdict()
    assert free.prediction_error is not None
    assert abs(free.prediction_error) <= 0.005
    assert all(step.moved == step.beats > 0 for step in free.steps)
    assert {step.name for step in free.steps} == {step.name for step in design.steps}
    for stall, seed in ((0.2, 1), (0.7, 2)):
        run = simulation.run(stall=stall, seed=seed)
        assert run.equal, run.verdict()


@pytest.mark.parametrize("family", [group(family) for family in _MODELS])
def test_the_steps_are_those_of_the_family(family: str, emitted: dict[str, Emitted]) -> None:
    kinds = [step.kind for step in emitted[family].part.emitted.design.steps]
    counts = {kind: kinds.count(kind) for kind in ("linear", "bias", "layer_norm", "rms_norm", "embedding", "rope")}
    llama = {"linear": 15, "bias": 0, "layer_norm": 0, "rms_norm": 5, "embedding": 1, "rope": 4}
    gpt = {"linear": 13, "bias": 12, "layer_norm": 5, "rms_norm": 0, "embedding": 2, "rope": 0}
    assert counts == {"mistral": llama, "qwen2": {**llama, "bias": 6}, "gpt2": gpt}[family]


@pytest.mark.slow
@pytest.mark.xdist_group("family_gpt2")
@pytest.mark.parametrize("part", [0, 2])
def test_a_flipped_bit_in_one_part_of_a_projection_is_found_there(
    part: int, emitted: dict[str, Emitted], tmp_path: Path
) -> None:
    shutil.copytree(emitted["gpt2"].part.emitted.folder, tmp_path / "damaged")
    flip_image_bit(tmp_path / "damaged", f"images/transformer_h_1_attn_c_attn_{part}.weights.hex", 2, 3)
    result = DataflowSimulation(tmp_path / "damaged").run()
    assert not result.equal
    assert result.first is not None
    assert result.first.name == f"transformer.h.1.attn.c_attn.{part}"
