"""From a model to RTL that is simulated and compared: a block of the shipped model, an MLP, parts that fit together.

Every beat of every step is compared with the software's; faults that are planted are found where they are.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mxhw.flow.assignments import uniform_assignment
from mxhw.flow.blocks import (
    EmittedPart,
    PartRequest,
    PartSettings,
    choose_part,
    design_name,
    emit_from_model,
    emit_part,
)
from mxhw.hardware import load_platform
from mxhw.ir import Assignment, Graph
from mxhw.models import capture, load_model, read_ids, windows
from mxhw.passes.transform.lower import calibrate, integer_inputs, lower_graph
from mxhw.progress import SilentProgress
from mxhw.sim.beats import read_beats, to_ints
from mxhw.sim.cocotb_engine import bench_environment, compile_icarus
from mxhw.sim.dataflow import DataflowSimulation
from mxhw.sim.dataflow_design import DataflowStep, StreamBeats
from tests.sim.faulty import drop_beat, flip_image_bit

TOKENS = 4
STALLS = ((0.2, 1), (0.7, 2))


def prove(folder: Path, stalls: tuple[tuple[float, int], ...] = STALLS, *, within: float = 0.0) -> DataflowSimulation:
    """Build and simulate: every beat of every step equal, predicted cycles those of the run without stalls.

    ``within`` is what a prediction may be off, of the cycles of the run.
    """
    simulation = DataflowSimulation(folder)
    free = simulation.run()
    assert free.equal, free.verdict()
    assert free.prediction_error is not None
    assert abs(free.prediction_error) <= within
    assert all(step.moved == step.beats > 0 for step in free.steps)
    assert {step.name for step in free.steps} == {step.name for step in simulation.design.steps}
    for stall, seed in stalls:
        run = simulation.run(stall=stall, seed=seed)
        assert run.equal, run.verdict()
    return simulation


def beats(part: EmittedPart, record: StreamBeats | DataflowStep) -> list[int]:
    return to_ints(read_beats(part.emitted.folder / record.beats, record.width, record.count))


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> EmittedPart:
    """The first decoder block of the shipped model in the default formats, with small units."""
    folder = tmp_path_factory.mktemp("block") / "design"
    return emit_from_model(PartRequest(model="demo", tokens=TOKENS), folder, SilentProgress())


@pytest.mark.xdist_group("demo_block")
def test_a_block_of_the_shipped_model_is_exact_in_every_step(block: EmittedPart) -> None:
    assert block.part == "model.layers.0"
    kinds = [step.kind for step in block.emitted.design.steps]
    assert kinds.count("linear") == 7
    assert set(kinds) == {
        "rms_norm", "quantize", "linear", "requantize", "rope", "attention_scores", "attention_weights",
        "attention_values", "add", "activation", "multiply",
    }  # fmt: skip
    prove(block.emitted.folder)


@pytest.mark.xdist_group("demo_block")
@pytest.mark.parametrize(
    ("image", "bit", "step"),
    [
        ("self_attn_q_proj.weights", 3, "self_attn.q_proj"),
        ("self_attn_o_proj_requantize.multipliers", 3, "self_attn.o_proj.requantize"),
        ("self_attn_rope_k.rope", 3, "self_attn.rope.k"),
        ("post_attention_layernorm.gains", 7, "post_attention_layernorm"),  # lower ones may be rounded off
        ("mlp_down_proj.weights", 3, "mlp.down_proj"),
    ],
)
def test_one_flipped_bit_in_a_memory_of_a_block_is_found_in_its_step(
    block: EmittedPart, image: str, bit: int, step: str, tmp_path: Path
) -> None:
    shutil.copytree(block.emitted.folder, tmp_path / "damaged")
    flip_image_bit(tmp_path / "damaged", f"images/layers_0_{image}.hex", 2, bit)
    result = DataflowSimulation(tmp_path / "damaged").run()
    assert not result.equal
    assert result.first is not None
    assert result.first.name == f"model.layers.0.{step}"


@pytest.mark.xdist_group("demo_block")
def test_the_table_and_the_record_of_a_block_say_the_same(block: EmittedPart) -> None:
    rows, record = block.rows(), block.to_json()
    assert [row[0] for row in rows] == [step["name"] for step in record["steps"]]
    assert record["interval"] == max(step["interval"] for step in record["steps"])
    assert f"{record['cycles']:,} cycles predicted for {TOKENS} tokens" in block.summary()
    assert record["tokens"] == TOKENS
    deep = {step["name"]: step["fifo"] for step in record["steps"] if max(step["fifo"].values()) > 2}
    assert deep.keys() == {"model.layers.0.add", "model.layers.0.add_2"}  # what waits beside attention, and the MLP


def mlp(folder: Path) -> EmittedPart:
    """A plain module of torch, from its definition to a folder."""
    model = nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 12), nn.ReLU(), nn.Linear(12, 5)).eval()
    graph = capture(model)
    ranges = calibrate(graph, torch.randn(64, 16))
    return emit_part(graph, uniform_assignment(graph), ranges, torch.randn(2, 8, 16), folder, PartSettings())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> EmittedPart:
    torch.manual_seed(0)
    return mlp(tmp_path_factory.mktemp("mlp") / "design")


@pytest.mark.xdist_group("plain_mlp")
def test_an_mlp_with_biases_is_exact_in_every_step(plain: EmittedPart) -> None:
    kinds = [step.kind for step in plain.emitted.design.steps]
    assert kinds.count("linear") == kinds.count("bias") == 3
    assert {"activation", "relu"} <= set(kinds)
    prove(plain.emitted.folder)


@pytest.mark.slow
@pytest.mark.xdist_group("plain_mlp")
def test_the_same_model_gives_the_same_bytes(plain: EmittedPart, tmp_path: Path) -> None:
    torch.manual_seed(0)
    again = mlp(tmp_path / "design").emitted.folder
    first = plain.emitted.folder
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert [name for name in names if (first / name).read_bytes() != (again / name).read_bytes()] == []


def drop(folder: Path) -> None:
    drop_beat(folder, "n1", 30)


def round_down(folder: Path) -> None:
    """Take the half away that rounding adds, in the requantizer of the last layer."""
    (module,) = (folder / "modules").glob("mxhw_requantize_5x*.v")
    text, count = re.subn(r"\$signed\(2'h1\)", "$signed(2'h0)", module.read_text())
    assert count
    module.write_text(text)


@pytest.mark.xdist_group("plain_mlp")
@pytest.mark.parametrize(
    ("plant", "step", "place"),
    [
        pytest.param(drop, "1", "beat 30 (token 1, value 6", marks=pytest.mark.slow),
        (round_down, "4.requantize", "value"),
    ],
)
def test_a_fault_in_the_verilog_is_found_in_its_step(
    plain: EmittedPart, plant, step: str, place: str, tmp_path: Path
) -> None:
    folder = tmp_path / "faulty"
    shutil.copytree(plain.emitted.folder, folder)
    plant(folder)
    result = DataflowSimulation(folder).run(stall=0.2, seed=3)
    assert not result.equal
    assert result.first is not None
    assert result.first.name == step
    assert place in result.verdict()


@pytest.mark.slow
@pytest.mark.xdist_group("plain_mlp")
def test_the_bench_in_the_folder_judges_alone_under_icarus(plain: EmittedPart, tmp_path: Path) -> None:
    if shutil.which("iverilog") is None:
        pytest.skip("needs iverilog")
    folder = tmp_path / "design"
    shutil.copytree(plain.emitted.folder, folder)
    design = plain.emitted.design
    command = compile_icarus([folder / source for source in design.sources], design.top, tmp_path).command
    environment = bench_environment(design.top, folder, "bench")

    def failure() -> str:
        subprocess.run(command, cwd=folder, env={**os.environ, **environment}, check=False, capture_output=True)
        text = (folder / "results.xml").read_text()
        assert "every_step_is_exact" in text
        found = re.search("<failure(.*?)>", text, re.DOTALL)
        return found[1] if found else ""

    assert failure() == ""
    flip_image_bit(folder, "images/n2.weights.hex", 1, 2)
    assert "step 2 (n2, linear), beat" in failure()


class Tiny:
    """A random Llama of two blocks with fewer key heads than query heads, in which every part can be looked at."""

    def __init__(self) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(3)
        sizes = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": 16}
        heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
        config = LlamaConfig(**sizes, **heads, initializer_range=0.3)
        self.graph: Graph = capture(LlamaForCausalLM(config).eval(), sequence=8)
        self.assignment = uniform_assignment(self.graph)
        self.tokens: Tensor = torch.randint(0, 40, (2, 6))
        self.ranges = calibrate(self.graph, self.tokens)

    def emit(self, folder: Path, part: str | None, **settings: object) -> EmittedPart:
        changed = PartSettings(part=part, **settings)  # type: ignore[arg-type]
        return emit_part(self.graph, self.assignment, self.ranges, self.tokens, folder, changed)


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    return Tiny()


@pytest.mark.slow
def test_what_a_block_gives_is_what_the_next_one_gets(tiny: Tiny, tmp_path: Path) -> None:
    first, second = (tiny.emit(tmp_path / f"{n}", f"model.layers.{n}") for n in range(2))
    (given,) = first.emitted.design.outputs.values()
    taken = {name: record for name, record in second.emitted.design.inputs.items() if name != "positions"}
    assert [beats(second, record) for record in taken.values()] == [beats(first, given)]
    assert beats(second, second.emitted.design.inputs["positions"]) == [*range(6), *range(6)]


@pytest.mark.slow
def test_without_the_whole_in_integers_the_float_model_gives_the_stimulus(tiny: Tiny, tmp_path: Path) -> None:
    formats = {key: name for key, name in tiny.assignment.formats.items() if not key.startswith("lm_head")}
    assignment = Assignment("tiny", formats)
    made = emit_part(tiny.graph, assignment, tiny.ranges, tiny.tokens, tmp_path / "a", PartSettings())
    lowered = lower_graph(tiny.graph, assignment, tiny.ranges, nodes="model.layers.0", keys=6)
    wanted = integer_inputs(lowered, tiny.tokens, graph=tiny.graph)["hidden"]
    mask = (1 << 24) - 1
    assert beats(made, made.emitted.design.inputs["hidden"]) == [value & mask for value in wanted.flatten().tolist()]


def test_the_part_is_chosen_and_its_name_is_verilog(tiny: Tiny) -> None:
    assert choose_part(tiny.graph) == "model.layers.0"
    assert choose_part(capture(nn.Sequential(nn.Linear(4, 4)))) == "all"
    assert design_name("../models/stories260K", "model.layers.0") == "stories260k_layers_0"
    assert design_name("3B-model", "all") == "m_3b_model_all"


@pytest.mark.slow
@pytest.mark.parametrize("rows", [None, 2])
def test_a_whole_small_model_is_exact_from_token_to_logits(tiny: Tiny, rows: int | None, tmp_path: Path) -> None:
    made = tiny.emit(tmp_path / "all", "all", rows=rows)
    kinds = [step.kind for step in made.emitted.design.steps]
    assert kinds.count("embedding") == 1
    assert kinds.count("linear") == 2 * 7 + 1
    prove(made.emitted.folder, within=0.005)


@pytest.mark.slow
def test_a_balanced_block_is_exact(tiny: Tiny, tmp_path: Path) -> None:
    made = tiny.emit(tmp_path / "fast", "model.layers.0", platform=load_platform("ecp5-85"))
    plain = tiny.emit(tmp_path / "small", "model.layers.0")
    assert made.plan.interval < plain.plan.interval
    assert made.resource_names
    prove(made.emitted.folder, within=0.005)


class Demo:
    """The shipped model, captured and calibrated once."""

    def __init__(self) -> None:
        loaded = load_model("demo")
        self.graph = capture(loaded, batch=1, sequence=TOKENS)
        self.ranges = calibrate(self.graph, windows(read_ids("calibration", loaded), 256, 4))
        self.tokens = windows(read_ids("heldout", loaded), TOKENS, 1)


@pytest.fixture(scope="module")
def demo() -> Demo:
    return Demo()


def mixed(graph: Graph) -> Assignment:
    """Integers of groups for attention, BitMoD for the rest."""
    given = uniform_assignment(graph)
    attention = {key: "int6-g128-s8" for key in given.formats if "self_attn" in key and key.endswith(":weight")}
    return Assignment("demo", {**given.formats, **attention})


def dialect(graph: Graph) -> Assignment:
    """DialectFP4 in all products of weights."""
    given = uniform_assignment(graph, "dialect4", "dialect4-online").formats
    own = uniform_assignment(graph).formats
    linear = {key.rpartition(":")[0] for key in own if key.endswith(":weight")}
    return Assignment("demo", {key: given[key] if key.rpartition(":")[0] in linear else own[key] for key in own})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("assignment", "settings"),
    [
        pytest.param(dialect, {}, id="dialect4"),
        pytest.param(lambda graph: uniform_assignment(graph, "bitmod3"), {"part": "model.layers.1"}, id="bitmod3"),
        pytest.param(mixed, {}, id="int6-g128-s8 and bitmod4"),
        pytest.param(uniform_assignment, {"rows": 2}, id="two rows"),
    ],
)
def test_other_formats_and_sizes_of_a_block_are_exact(demo: Demo, assignment, settings, tmp_path: Path) -> None:
    given = assignment(demo.graph)
    made = emit_part(demo.graph, given, demo.ranges, demo.tokens, tmp_path / "design", PartSettings(**settings))
    prove(made.emitted.folder, stalls=((0.3, 1),))
