"""A dataflow design passes in both engines in the same cycles; every planted fault is found at the step that has it."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import mxhw.sim
from mxhw.errors import InputError
from mxhw.sim import lint
from mxhw.sim.cocotb_engine import bench_environment, compile_icarus
from mxhw.sim.dataflow import DataflowDesign, DataflowSimulation, Engine, run_dataflow
from tests.sim.dataflow_toy import write_dataflow_toy, write_words
from tests.sim.faulty import drop_beat, edit_source, flip_image_bit, stick_stream

ENGINES: tuple[Engine, ...] = ("bulk", "cocotb")
STEPS = "modules/steps.v"
Fault = Callable[[Path], None]


def wrong_rounding(folder: Path) -> None:
    """Truncate in one lane of the step that rounds."""
    edit_source(folder, STEPS, r"\(low \* low \+ 40'sd8\)", "(low * low)")


def repeat_beat(folder: Path) -> None:
    """Let the last key of position 2 come twice."""
    edit_source(folder, STEPS, "wire last = key == p_payload;", "wire last = key == p_payload + (p_payload == 2);")


FAULTS: dict[str, tuple[Fault, str, str]] = {
    "flipped weight bit": (
        lambda folder: flip_image_bit(folder, "images/norm.hex", 3, 5),
        "layers.0.norm",
        r"first difference: step layers\.0\.norm \(layers_0_norm, norm\), beat 1 \(token 0, value 3.*: expected"
        r" -?\d+, got -?\d+; 6 of 24 beats differ$",
    ),
    "wrong rounding": (
        wrong_rounding,
        "layers.0.square",
        r"step layers\.0\.square .*, value \d*[02468]\W.*beats differ$",
    ),
    "dropped beat": (
        lambda folder: drop_beat(folder, "layers_0_square", 9),
        "layers.0.square",
        r"step layers\.0\.square .*, beat 9 \(token 2, value 2.*\n"
        "no beat moved for 4096 cycles: deadlock or a lost beat; .*23 of 24 layers_0_add beats",
    ),
    "repeated beat": (
        repeat_beat,
        "layers.0.scores",
        r"step layers\.0\.scores .*, beat 5 \(token 2, last 2.*expected 1, got 0",
    ),
}


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> DataflowSimulation:
    return DataflowSimulation(write_dataflow_toy(tmp_path_factory.mktemp("toy"), tokens=30), cache=cache)


def test_every_beat_of_every_step_is_compared_under_any_stalls(simulation: DataflowSimulation) -> None:
    free = simulation.run()
    assert free.equal
    assert free.verdict() == "600 beats of 4 steps equal, bit for bit"
    assert free.beats == 4 * 120 + 2 * 60
    assert (free.cycles, free.predicted_cycles, free.prediction_error) == (123, 123, 0.0)
    assert [(step.name, step.moved) for step in free.steps] == [
        ("layers.0.norm", 120),
        ("layers.0.square", 120),
        ("layers.0.scores", 60),
        ("layers.0.add", 120),
    ]
    stalled = [simulation.run(stall=stall, seed=seed) for stall in (0.1, 0.5, 0.95) for seed in range(4)]
    assert all(run.equal for run in stalled)
    assert len({run.cycles for run in stalled}) > 6
    assert all(run.prediction_error is None for run in stalled)
    assert free.cycles_per_second is not None


def test_both_engines_take_the_same_cycles(simulation: DataflowSimulation, cache: Path) -> None:
    other = DataflowSimulation(simulation.folder, engine="cocotb", cache=cache)
    for stall, seed in ((0.0, 0), (0.2, 3)):
        bulk, cocotb = simulation.run(stall=stall, seed=seed), other.run(stall=stall, seed=seed)
        assert cocotb.equal
        assert (bulk.cycles, bulk.beats) == (cocotb.cycles, cocotb.beats)


@pytest.mark.parametrize("fault", [*list(FAULTS)[:3], pytest.param("repeated beat", marks=pytest.mark.slow)])
def test_a_planted_fault_is_found_at_its_step(fault: str, tmp_path: Path, cache: Path) -> None:
    plant, step, words = FAULTS[fault]
    folder = write_dataflow_toy(tmp_path)
    plant(folder)
    result = run_dataflow(folder, stall=0.3, seed=1, cache=cache)
    assert not result.equal
    assert result.first is not None
    assert result.first.name == step
    assert re.search(words, result.verdict()), result.verdict()


@pytest.mark.parametrize("engine", ["bulk", pytest.param("cocotb", marks=pytest.mark.slow)])
def test_a_stream_that_stands_still_is_a_deadlock_with_its_place(engine: Engine, tmp_path: Path, cache: Path) -> None:
    folder = write_dataflow_toy(tmp_path)
    stick_stream(folder, "layers_0_square", 6)
    result = run_dataflow(folder, engine=engine, cache=cache)
    assert not result.equal
    assert result.cycles is None
    assert {step.name: step.moved for step in result.steps} == {
        "layers.0.norm": 7,
        "layers.0.square": 6,
        "layers.0.scores": 3,
        "layers.0.add": 6,
    }
    assert re.search(
        r"no beat moved for 4096 cycles.* 8 of 24 x beats accepted.*; steps whose input did not go on, likeliest first:"
        r" layers_0_square 6 of 24, layers_0_norm 7 of 24; steps that stand: layers_0_norm 7 of 24, ",
        result.verdict(),
    )


def test_cocotb_finds_the_same_difference(tmp_path: Path, cache: Path) -> None:
    folder = write_dataflow_toy(tmp_path)
    flip_image_bit(folder, "images/norm.hex", 3, 5)
    bulk, cocotb = (run_dataflow(folder, engine=engine, stall=0.2, cache=cache) for engine in ENGINES)
    assert [step.different for step in bulk.steps] == [step.different for step in cocotb.steps] == [6, 6, 0, 6]
    assert bulk.first is not None and cocotb.first is not None
    assert bulk.first.first is not None and cocotb.first.first is not None
    assert bulk.first.first.expected == cocotb.first.first.expected
    assert bulk.first.first.got == cocotb.first.first.got
    assert bulk.first.first.got == bulk.first.first.expected ^ 32


def test_a_wrong_expected_output_is_told_in_the_terms_of_its_step(tmp_path: Path, cache: Path) -> None:
    folder = write_dataflow_toy(tmp_path)
    words = [int(line, 16) for line in (folder / "beats/add.hex").read_text().split()]
    words[7] ^= 1 << 41
    write_words(folder / "beats/other.hex", words)
    record = json.loads((folder / "design.json").read_text())
    record["outputs"]["layers_0_add"]["beats"] = "beats/other.hex"
    (folder / "design.json").write_text(json.dumps(record))
    result = run_dataflow(folder, cache=cache)
    assert all(step.equal for step in result.steps)
    assert "output layers_0_add, beat 7 (token 1, beat 7)" in result.verdict()
    record["steps"][3]["beats"] = "beats/other.hex"
    (folder / "design.json").write_text(json.dumps(record))
    result = run_dataflow(folder, cache=cache)
    assert result.first is not None
    assert result.first.name == "layers.0.add"
    assert "(token 1, value 7, cycle" in str(result.first)


@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_the_bench_judges_alone_beside_a_design(simulator: str, tmp_path: Path, cache: Path) -> None:
    folder = write_dataflow_toy(tmp_path / "design")
    shutil.copy(Path(mxhw.sim.__file__).with_name("dataflow_bench.py"), folder / "bench.py")
    design = DataflowDesign.load(folder)
    if simulator == "icarus":
        start: tuple[str, ...] = compile_icarus([folder / s for s in design.sources], design.top, tmp_path).command
    else:
        start = DataflowSimulation(folder, engine="cocotb", cache=cache)._compile(None).command
    assert alone(start, folder) == ""
    flip_image_bit(folder, "images/norm.hex", 3, 5)
    assert "step layers.0.norm (layers_0_norm, norm), beat 1 (token 0, value 3): expected" in alone(start, folder)


def alone(start: tuple[str, ...], folder: Path) -> str:
    """Run the bench as a user would; return why it failed, or an empty text."""
    environment = bench_environment("toy_core", folder, "bench")
    subprocess.run(list(start), cwd=folder, env={**os.environ, **environment}, check=False, capture_output=True)
    text = (folder / "results.xml").read_text()
    assert "every_step_is_exact" in text
    found = re.search("<failure(.*?)>", text, re.DOTALL)
    return found[1] if found else ""


@pytest.mark.slow
def test_waves_show_the_taps(simulation: DataflowSimulation, tmp_path: Path) -> None:
    assert simulation.run(stall=0.2, waves=tmp_path / "toy.vcd").equal
    assert "tap_layers_0_square_fire" in (tmp_path / "toy.vcd").read_text()


def test_a_design_that_contradicts_its_files_is_an_input_error(tmp_path: Path, cache: Path) -> None:
    folder = write_dataflow_toy(tmp_path)

    def refused(message: str) -> None:
        with pytest.raises(InputError, match=message):
            run_dataflow(folder, cache=cache)

    record = json.loads((folder / "design.json").read_text())

    def change(**changes: object) -> None:
        (folder / "design.json").write_text(json.dumps(record | changes))

    narrow = record["steps"][0] | {"width": 31, "fields": [{"name": "value", "bits": 31}]}
    change(steps=[narrow, *record["steps"][1:]])
    refused(r"norm\.hex, line \d+: a beat must be a hex number of 31 bits, not .*emit the design again")
    write_words(folder / "beats/norm.hex", [1] * 24)
    refused(r"tap_layers_0_norm_payload is 32 bits wide, but design\.json says 31; emit the design again")
    change(steps=record["steps"][1:2] + record["steps"][:1] + record["steps"][3:])
    refused("tap in design.json layers_0_scores is missing|tap in design.json tap_layers_0_scores is missing")
    change(inputs={"x": record["inputs"]["x"]})
    refused("reads 'positions', which is no stream of the design")
    change()
    write_words(folder / "beats/x.hex", [1, 2])
    refused(r"x\.hex has 2 beats, not 24; emit the design again")
    (folder / "images/norm.hex").write_text("1\n")
    refused(r"norm\.hex has 1 words, but design\.json says 8")
    with pytest.raises(InputError, match="engine must be one of cocotb, bulk, not 'quick'"):
        run_dataflow(folder, engine="quick")  # type: ignore[arg-type]


def test_the_toy_is_lint_clean(tmp_path: Path) -> None:
    folder = write_dataflow_toy(tmp_path)
    design = DataflowDesign.load(folder)
    assert lint([folder / source for source in design.sources], design.top) == ""
