"""Folded language models whose weights come through a port: every beat, the cycles, and what they say are right."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest

from mxhw.errors import InputError
from mxhw.flow.assignments import layered_assignment
from mxhw.flow.language import LanguageSettings, emit_lowered, lower_language
from mxhw.flow.talk import Conversation
from mxhw.hardware import load_platform
from mxhw.ir import Assignment, Graph
from mxhw.passes.emit.dataflow.emit import EmittedDesign
from mxhw.passes.emit.dataflow.place import place_graph
from mxhw.passes.emit.dataflow.resources import step_resources
from mxhw.passes.emit.language import plan_language, with_shares
from mxhw.passes.transform.fold import LanguageGraph, greedy, with_weight_port
from mxhw.sim import default_cache
from mxhw.sim.beats import read_beats
from mxhw.sim.dataflow import DataflowSimulation
from mxhw.sim.dataflow_build import check_images
from mxhw.sim.language import LanguageSimulation, simulate_phases
from tests.passes.transform.lower.families import Lowered

SETTINGS = LanguageSettings(keys=24, sequences=2, chunk=4, tokens=5, weight_port=64)
SMALL = (("hidden_size", 16), ("intermediate_size", 24))
FORMATS: Mapping[str, Callable[[Graph], Assignment]] = {
    "bitmod": lambda graph: layered_assignment(graph, ("bitmod4", "bitmod3"), "int8-e8m0"),
    "dialect": lambda graph: layered_assignment(graph, ("dialect4",), "dialect4-online"),
}


@dataclass(frozen=True)
class Made:
    """A model of two layers with a port, in a folder; made and built when it is first asked for."""

    formats: str
    folder: Path

    @cached_property
    def model(self) -> Lowered:
        return Lowered("mistral", SMALL, FORMATS[self.formats])

    @cached_property
    def graph(self) -> LanguageGraph:
        return lower_language(self.model.graph, self.model.assignment, self.model.ranges, SETTINGS)

    @cached_property
    def prompts(self) -> list[np.ndarray]:
        return [self.model.tokens[0, :6], self.model.tokens[1, :3]]

    @cached_property
    def emitted(self) -> EmittedDesign:
        made = emit_lowered(self.graph, self.model.graph, self.model.assignment, self.prompts, self.folder, SETTINGS)
        return made.emitted

    @cached_property
    def simulation(self) -> DataflowSimulation:
        return DataflowSimulation(self.emitted.folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    return {name: Made(name, tmp_path_factory.mktemp(name) / "design") for name in FORMATS}


def group(name: str) -> object:
    return pytest.param(name, marks=[pytest.mark.slow, pytest.mark.xdist_group(f"port_{name}")])


BOTH = pytest.mark.parametrize("name", [group(name) for name in FORMATS])


@BOTH
def test_every_beat_is_right_and_the_cycles_are_as_predicted(name: str, made: dict[str, Made]) -> None:
    simulation = made[name].simulation
    free = simulation.run()
    assert free.equal, free.verdict()
    assert free.prediction_error is not None
    assert abs(free.prediction_error) <= 0.005
    kinds = [step.kind for step in made[name].emitted.design.steps]
    assert kinds.count("take_share") == 7
    for stall, seed in ((0.3, 1), (0.6, 2)):
        run = simulation.run(stall=stall, seed=seed)
        assert run.equal, run.verdict()
    phases = simulate_phases(simulation.folder, simulation.design)
    assert [phase.name for phase in phases] == ["prefill", "decode"]
    assert all(abs(phase.error) <= 0.005 for phase in phases)  # type: ignore[arg-type]


@BOTH
def test_it_says_what_the_software_says(name: str, made: dict[str, Made]) -> None:
    case = made[name]
    expected = greedy(case.graph, case.prompts, 9)
    prompts = [prompt.tolist() for prompt in case.prompts]
    with LanguageSimulation(case.simulation.folder, cache=default_cache()) as model:
        conversation = Conversation(model, prompts, tokens=9)
        list(conversation)
        model.finish()
    for line, ids, length in zip(conversation.lines, expected.sequences, expected.prompts, strict=True):
        assert line.generated == ids[length:].tolist()


@BOTH
def test_words_come_once_a_chunk_and_their_file_holds_one_round(name: str, made: dict[str, Made]) -> None:
    case = made[name]
    design, folder = case.emitted.design, case.emitted.folder
    assert design.language is not None
    record = design.inputs["weights"]
    chunks = len(greedy(case.graph, case.prompts, SETTINGS.tokens).requests.last[0].nonzero())
    assert (record.beats, record.repeat, record.width) == ("images/weights.hex", chunks, 64)
    lines = (folder / record.beats).read_text().splitlines()
    assert lines[0].startswith(f"// mxhw image of {design.language.assignment_hash}")
    assert len(lines) - 1 == design.images[record.beats] == record.count // chunks
    shares = [step for step in design.steps if step.kind == "take_share"]
    assert sum(step.count for step in shares) == record.count
    # No memory of a product that layers share has an image.
    assert not [image for image in design.images if "_proj" in image and image.endswith(".weights.hex")]


@pytest.mark.slow
@pytest.mark.xdist_group("port_bitmod")
def test_a_changed_word_and_layers_in_another_order_are_caught(made: dict[str, Made], tmp_path: Path) -> None:
    case = made["bitmod"]
    folder = tmp_path / "changed"
    shutil.copytree(case.simulation.folder, folder)
    image = folder / "images/weights.hex"
    head, *words = image.read_text().splitlines()
    half = len(words) // 2
    for changed in ([f"{int(words[0], 16) ^ 1:016x}", *words[1:]], [*words[half:], *words[:half]]):
        image.write_text("\n".join([head, *changed]) + "\n")
        result = DataflowSimulation(folder).run()
        assert not result.equal
        wrong = {step.name: str(step) for step in result.steps if not step.equal}
        assert "words of layer 0" in wrong["model.layers.self_attn.q_proj.words"]
        assert "layer 0, sequence 0, position 0" in wrong["model.layers.self_attn.q_proj"]
    expected = greedy(case.graph, case.prompts, 9)
    with LanguageSimulation(folder, cache=default_cache()) as model:
        conversation = Conversation(model, [prompt.tolist() for prompt in case.prompts], tokens=9)
        list(conversation)
    said = [line.generated for line in conversation.lines]
    assert said != [ids[n:].tolist() for ids, n in zip(expected.sequences, expected.prompts, strict=True)]


@pytest.mark.slow
@pytest.mark.xdist_group("port_bitmod")
def test_words_of_another_assignment_and_missing_ones_are_refused(made: dict[str, Made], tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(made["bitmod"].emitted.folder, folder)
    image, design = folder / "images/weights.hex", made["bitmod"].emitted.design
    text = image.read_text()
    assert design.language is not None
    image.write_text(text.replace(design.language.assignment_hash, "0" * 64))
    with pytest.raises(InputError, match=r"weights.hex is an image of assignment 0000000000000000, but design.json"):
        LanguageSimulation(folder)
    image.write_text("\n".join(text.splitlines()[:-1]) + "\n")
    with pytest.raises(InputError, match=r"weights.hex has .* words, but design.json says"):
        check_images(folder, design)
    record = json.loads((folder / "design.json").read_text())
    assert record["inputs"]["weights"]["repeat"] > 1


def test_memories_are_those_of_two_layers(made: dict[str, Made]) -> None:
    """A model of five layers: what its products take with a port is what those of two layers would."""
    model = Lowered("mistral", (*SMALL, ("num_hidden_layers", 5)), FORMATS["dialect"])
    rom = lower_language(model.graph, model.assignment, model.ranges, SETTINGS)
    platform, name = load_platform("asap7"), "model.layers.mlp.down_proj"
    ported = with_shares(rom, 64, {})
    areas = []
    for graph in (rom, ported):
        operation = graph.steps[name].operation
        placed = place_graph(graph)[name]
        areas.append(step_resources(operation, placed, platform)["area"])
        memories = placed.component.gemm.weights_depth  # type: ignore[attr-defined]
        areas.append(memories)
    assert areas[3] * 5 == areas[1] * 2
    assert areas[2] < areas[0]
    with pytest.raises(InputError, match="exceeds"):
        plan_language(with_weight_port(rom, 64), platform=platform, share=1e-6)


def test_ports_that_cannot_be_are_refused(made: dict[str, Made]) -> None:
    model = Lowered("mistral", SMALL, FORMATS["dialect"])
    folded = lower_language(model.graph, model.assignment, model.ranges, SETTINGS)
    for bits in (0, 48, -64):
        with pytest.raises(InputError, match=f"must have a multiple of 32 bits, not {bits}"):
            with_weight_port(folded, bits)
    unfolded = lower_language(
        model.graph, model.assignment, model.ranges, LanguageSettings(keys=24, sequences=2, chunk=4, fold=False)
    )
    with pytest.raises(InputError, match="weights come through a port where layers share hardware"):
        with_weight_port(unfolded, 64)


def test_lines_in_front_of_beats_are_no_beats(tmp_path: Path) -> None:
    file = tmp_path / "beats.hex"
    file.write_text("// mxhw image of something\n// and more\n0a\n0b\n")
    assert read_beats(file, 8, 2).tolist() == [10, 11]
    file.write_text("0a\n// not here\n")
    with pytest.raises(InputError, match="line 2: a beat must be a hex number"):
        read_beats(file, 8, 2)
