"""Whole designs: the same bytes again, every stream equal in simulation, faults found where they are, folders safe."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import torch

from mxhw.arithmetic.dataflow import IntegerGraph, Integers, ReLU, Step
from mxhw.errors import InputError
from mxhw.flow.assignments import uniform_assignment
from mxhw.formats import pack_words
from mxhw.hardware import load_platform
from mxhw.passes.emit.dataflow import emit_dataflow
from mxhw.passes.emit.dataflow.images import step_images
from mxhw.passes.transform.lower import calibrate, integer_inputs, lower_graph
from mxhw.sim import lint
from mxhw.sim.clocks import IMPLEMENTATION_FILE, Clock, Implementation, design_clocks
from mxhw.sim.dataflow import DataflowDesign, run_dataflow
from tests.passes.emit.dataflow.graphs import drawn, mlp
from tests.passes.search.tiny import tiny_graph

FORMATS = ("dialect4-online", "dialect4")
SIZES = {"length": 20, "hidden": 24}
# Other numbers of lanes side by side, and two tokens at once in one product.
PARALLELISM = {
    "norm": {"lanes": 2},
    "mlp.gate_proj": {"rows": 2, "columns": 3, "lanes": 4},
    "mlp.act": {"lanes": 3},
    "mlp.mul": {"lanes": 2},
}


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def design(tmp_path_factory):
    """An MLP in a format of blocks, with vectors that fill no whole block."""
    graph = mlp(FORMATS, **SIZES)
    folder = tmp_path_factory.mktemp("mlp") / "design"
    return emit_dataflow(graph, drawn(graph, 6), folder, name="mlp", parallelism=PARALLELISM)


@pytest.fixture(scope="module")
def block(tmp_path_factory):
    """A decoder block of a tiny Llama that knows nothing, with two sequences."""
    graph = tiny_graph()
    tokens = torch.randint(0, 32, (2, 6), generator=torch.Generator().manual_seed(4))
    assignment = uniform_assignment(graph)
    lowered = lower_graph(graph, assignment, calibrate(graph, tokens), nodes="model.layers.0", keys=8)
    values = integer_inputs(lowered, tokens, graph=graph)
    folder = tmp_path_factory.mktemp("block") / "design"
    return emit_dataflow(lowered, values, folder, name="block", assignment=assignment.to_json())


@pytest.mark.parametrize("name", ["design", pytest.param("block", marks=pytest.mark.slow)])
def test_every_stream_of_every_step_is_what_the_software_says(name, request):
    emitted = request.getfixturevalue(name)
    for stall, seed in ((0.0, 0), (0.4, 1)):
        result = run_dataflow(emitted.folder, stall=stall, seed=seed)
        assert result.equal, str(result.first)
        assert stall or result.cycles == emitted.design.cycles
    assert {step.name for step in emitted.design.steps} == set(emitted.placed)


@pytest.mark.parametrize("name", ["design", "block"])
def test_verilator_has_nothing_to_say_against_the_design(name, request):
    emitted = request.getfixturevalue(name)
    assert lint([emitted.folder / source for source in emitted.design.sources], emitted.design.top) == ""


@pytest.mark.parametrize(("image", "step"), [("mlp_up_proj.weights", "mlp.up_proj"), ("norm.gains", "norm")])
def test_a_flipped_bit_in_an_image_is_found_in_its_own_step(design, image, step, tmp_path):
    shutil.copytree(design.folder, tmp_path / "damaged")
    path = tmp_path / "damaged" / "images" / f"{image}.hex"
    words = path.read_text().splitlines()
    flipped = f"{int(words[1], 16) ^ 4:0{len(words[1])}x}"
    path.write_text("\n".join([words[0], flipped, *words[2:], ""]))
    result = run_dataflow(tmp_path / "damaged")
    assert not result.equal
    assert str(result.first).startswith(f"step {step} ")


def test_the_same_input_emits_the_same_bytes(design, tmp_path):
    graph = mlp(FORMATS, **SIZES)
    again = emit_dataflow(graph, drawn(graph, 6), tmp_path / "again", name="mlp", parallelism=PARALLELISM)
    assert files(again.folder) == files(design.folder)


def test_the_folder_has_what_design_json_says(block):
    design = DataflowDesign.load(block.folder)
    assert design == block.design
    listed = {
        *design.sources,
        *design.images,
        *(s.beats for s in design.steps),
        *(s.beats for s in design.inputs.values()),
    }
    records = {"design.json", "structure.json", "schedule.npz"}
    assert set(files(block.folder)) == listed | records | {"README.txt", "bench.py", "assignment.json"}
    for path, words in design.images.items():
        assert len((block.folder / path).read_text().splitlines()) == words


def test_instances_are_called_as_the_model_calls_its_layers(block):
    text = (block.folder / "block_core.v").read_text()
    assert ") layers_0_mlp_down_proj (" in text
    assert f"configuration {block.design.hash}" in text.splitlines()[0]
    modules = [step.module for step in block.design.steps]
    assert len(modules) > len(set(modules))
    for module in set(modules):
        instances = [line for line in text.splitlines() if line.startswith((f"    {module} #(", f"    {module} "))]
        assert len(instances) == modules.count(module)


def test_weights_lie_in_the_images_as_the_format_stores_them(design):
    graph = mlp(FORMATS, **SIZES)
    placed = design.placed["mlp.up_proj"]
    found = {file: text for file, _, text in step_images(placed)}
    for name, (fields, bits) in placed.component.fields(graph.steps["mlp.up_proj"].operation).items():
        written = (design.folder / "images" / f"mlp_up_proj.{name}.hex").read_text()
        assert written.splitlines() == pack_words(fields, bits)
        assert found[f"{name}.hex"] == written
        assert np.any(fields)


def small(bits: int = 8) -> IntegerGraph:
    x = Integers(length=4, bits=bits, exponent=0)
    return IntegerGraph({"x": x}, [Step("relu", "relu", ReLU(x=x, y=x), ("x",))], ["relu"])


def test_folders_of_others_are_left_alone(tmp_path):
    folder = tmp_path / "design"
    emit_dataflow(small(), drawn(small(), 3), folder, name="tiny")
    before = files(folder)
    emit_dataflow(small(), drawn(small(), 5), folder, name="tiny")
    assert files(folder).keys() == before.keys()
    before = files(folder)
    with pytest.raises(InputError, match=r"holds another design \(tiny, .*use --force"):
        emit_dataflow(small(9), drawn(small(9), 3), folder, name="tiny")
    assert files(folder) == before
    emit_dataflow(small(9), drawn(small(9), 3), folder, name="other", force=True)
    assert DataflowDesign.load(folder).name == "other"
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    for force in (False, True):
        with pytest.raises(InputError, match="holds something that is no dataflow design"):
            emit_dataflow(small(), drawn(small(), 3), mine, name="tiny", force=force)
    assert files(mine) == {"thesis.txt": b"years"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["design", "mine"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "3d"}, "the name of a design must be a Verilog identifier"),
        ({"values": {}}, "a run needs values of every input; x has none"),
        (
            {"values": {"x": torch.zeros(4, dtype=torch.int64)}},
            r"x must be int64 .*, 4\], not torch.int64 \[4",
        ),
        (
            {"values": {"x": torch.zeros(1, 2, 3, dtype=torch.int64)}},
            r"x must be .*, 4\], not .* \[1, 2, 3",
        ),
        ({"values": {"x": torch.zeros(1, 2, 4)}}, "the values of x must be int64 .*, not torch.float32"),
        ({"values": {"x": torch.full((1, 2, 4), -128)}}, "the values of x must be from -127 to 127, not -128 to -128"),
        ({"fifos": {("y", "relu"): 4}}, "there is no FIFO from 'y' to step relu, which reads x"),
        ({"fifos": {("x", "relo"): 4}}, "no step 'relo' to put a FIFO in front of.*relu"),
        ({"fifos": {("x", "relu"): -1}}, "must hold 0 or more beats, not -1"),
    ],
)
def test_bad_input_leaves_no_folder(change, said, tmp_path):
    graph = small()
    arguments = {"values": drawn(graph, 3), "name": "tiny"} | change
    with pytest.raises(InputError, match=said):
        emit_dataflow(graph, arguments.pop("values"), tmp_path / "design", **arguments)
    assert not list(tmp_path.iterdir())


def test_tokens_must_fill_the_rows(tmp_path):
    graph = mlp(FORMATS, **SIZES)
    with pytest.raises(InputError, match=r"step mlp\.gate_proj computes 2 tokens at once, which do not divide the 5"):
        emit_dataflow(graph, drawn(graph, 5), tmp_path / "design", name="mlp", parallelism=PARALLELISM)


def test_figures_of_the_same_design_stay_when_it_is_emitted_again(tmp_path):
    graph, folder, platform = small(), tmp_path / "design", load_platform("asap7")
    made = emit_dataflow(graph, drawn(graph, 6), folder, name="tiny", platform=platform)
    assert (made.design.platform, made.design.clock_hz) == ("asap7", platform.clock.value)
    assert design_clocks(folder) == (Clock(platform.clock.value, "clock of platform asap7"),)
    found = Implementation("ecp5", "core", None, 80.0, 1, 1, 1, 1, 1, 1, 1, 1, {})
    record = {"hash": made.design.hash, "families": {"ecp5": asdict(found)}}
    (folder / IMPLEMENTATION_FILE).write_text(json.dumps(record))
    emit_dataflow(graph, drawn(graph, 4), folder, name="tiny")
    assert design_clocks(folder) == (Clock(80e6, "ecp5, placed and routed"),)
    emit_dataflow(small(9), drawn(small(9), 6), folder, name="tiny", force=True)
    assert not (folder / IMPLEMENTATION_FILE).exists()
    assert design_clocks(folder) == ()
