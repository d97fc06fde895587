"""The bench passes a correct stream design and catches one planted fault of each kind, in words that say where."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import mxhw.sim
from mxhw.errors import InputError
from mxhw.sim import SimulationError, build_simulator, run_cosim
from mxhw.sim.cocotb_engine import bench_environment
from mxhw.sim.cosim import Engine
from tests.sim import toy
from tests.sim.toy import write_toy

ENGINES: tuple[Engine, ...] = ("cocotb", "bulk")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_correct_design_passes_with_exact_cycle_count(tmp_path: Path, cache: Path, engine: Engine) -> None:
    report = run_cosim(write_toy(tmp_path), stall=0.4, engine=engine, cache=cache)
    case = report.cases[0]
    assert report.passed
    assert (report.outputs, report.mismatches) == (16, 0)
    assert case.cycles_stall_free == toy.BEATS + 1
    assert case.cycles is not None
    assert case.cycles > toy.BEATS + 1
    assert json.loads((tmp_path / "cosim.json").read_text())["cases"][0]["first_mismatches"] == []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (toy.DROPS, "a lost beat; .*7 of 8 y beats received"),
        (toy.CHANGES, "y_payload changed while valid and not ready, at y beat 0"),
        (toy.WITHDRAWS, "y_valid was withdrawn before ready"),
        (toy.ADDS, "a y beat too many"),
        (toy.WAITS, "no beat moved for 50 cycles: deadlock"),
    ],
)
def test_a_broken_stream_is_caught(tmp_path: Path, cache: Path, fault: int, message: str, engine: Engine) -> None:
    report = run_cosim(write_toy(tmp_path, fault=fault), stall=0.4, engine=engine, cache=cache)
    assert not report.passed
    assert report.cases[0].error is not None
    assert re.search(message, report.cases[0].error)


def test_both_engines_take_the_same_cycles_whatever_the_stalls(tmp_path: Path, cache: Path) -> None:
    folder = write_toy(tmp_path)
    for seed, stall in ((0, 0.1), (2, 0.9)):
        cocotb, bulk = (run_cosim(folder, seed=seed, stall=stall, engine=e, cache=cache).cases[0] for e in ENGINES)
        assert (cocotb.cycles, cocotb.cycles_stall_free) == (bulk.cycles, bulk.cycles_stall_free)


@pytest.mark.parametrize("engine", [pytest.param("cocotb", marks=pytest.mark.slow), "bulk"])
def test_waves_show_the_ports_and_are_for_one_design(tmp_path: Path, cache: Path, engine: Engine) -> None:
    write_toy(tmp_path / "a")
    report = run_cosim(tmp_path, engine=engine, waves=tmp_path / "toy.vcd", cache=cache)
    assert report.passed
    text = (tmp_path / "toy.vcd").read_text()
    assert re.search(r"\$var wire +16 +\S+ x_payload", text)
    assert len(text.splitlines()) > 100
    with pytest.raises(InputError, match=r"must be a \.vcd"):
        run_cosim(tmp_path, engine=engine, waves=tmp_path / "toy.fst", cache=cache)
    write_toy(tmp_path / "b")
    with pytest.raises(InputError, match="waves need a single design, but there are 2"):
        run_cosim(tmp_path, engine=engine, waves=tmp_path / "toy.vcd", cache=cache)


def test_one_flipped_memory_bit_is_a_mismatch_without_a_new_build(tmp_path: Path, cache: Path) -> None:
    folder = write_toy(tmp_path)
    run_cosim(folder, cache=cache)
    words = (folder / "weights.hex").read_text().split()
    words[2] = f"{int(words[2], 16) ^ 1:x}"
    (folder / "weights.hex").write_text("\n".join(words) + "\n")
    case = run_cosim(folder, cache=cache).cases[0]
    assert case.mismatches == 8  # two of eight beats use the word, two columns, two runs
    assert case.build_seconds < 1
    assert {(wrong.row, wrong.column) for wrong in case.first_mismatches} == {(2, 0), (2, 1), (6, 0), (6, 1)}


def test_a_design_that_contradicts_its_verilog_is_an_input_error(tmp_path: Path, cache: Path) -> None:
    folder = write_toy(tmp_path / "width", x_width=24)
    for engine in ENGINES:
        with pytest.raises(InputError, match=r"x_payload is 16 bits wide, but x_width in design\.json is 24"):
            run_cosim(folder, engine=engine, cache=cache)
    folder = write_toy(tmp_path / "beats")
    (folder / "x_beats.hex").write_text("1\n2\n")
    with pytest.raises(InputError, match=r"has 2 beats, but design\.json says 8"):
        run_cosim(folder, cache=cache)
    (folder / "x_beats.hex").write_text("zz\n")
    with pytest.raises(InputError, match=r"cannot read the beats in .*x_beats\.hex"):
        run_cosim(folder, cache=cache)


def test_a_folder_without_designs_and_a_wrong_stall_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no emitted design in"):
        run_cosim(tmp_path)
    with pytest.raises(InputError, match="stall must be a probability"):
        run_cosim(tmp_path, stall=1.0)
    with pytest.raises(InputError, match="engine must be one of cocotb, bulk, not 'quick'"):
        run_cosim(tmp_path, engine="quick")  # type: ignore[arg-type]


def test_layers_are_found_in_rtl_and_the_report_lands_beside(tmp_path: Path, cache: Path) -> None:
    write_toy(tmp_path / "rtl" / "a", node="first")
    write_toy(tmp_path / "rtl" / "b", node="second")
    report = run_cosim(tmp_path, cache=cache)
    assert [case.node for case in report.cases] == ["first", "second"]
    record = json.loads((tmp_path / "cosim.json").read_text())
    assert record["outputs"] == 32
    assert record["mismatches"] == 0


def test_the_bench_judges_alone_beside_a_design(tmp_path: Path, cache: Path) -> None:
    folder = write_toy(tmp_path)
    made = build_simulator([folder / "toy.v"], "toy", cache=cache)
    shutil.copy(Path(mxhw.sim.__file__).with_name("bench.py"), folder / "bench.py")
    environment = bench_environment("toy", folder, "bench")
    assert alone(made.executable, folder, environment) == 0
    beats = (folder / "y_beats.hex").read_text().split()
    beats[3] = f"{int(beats[3], 16) ^ 4:x}"
    (folder / "y_beats.hex").write_text("\n".join(beats))
    assert alone(made.executable, folder, environment) == 1


def alone(executable: Path, folder: Path, environment: dict[str, str]) -> int:
    """Run the bench as a user would; return how many tests failed."""
    subprocess.run([str(executable)], cwd=folder, env={**os.environ, **environment}, check=False, capture_output=True)
    return (folder / "results.xml").read_text().count("<failure")


def test_a_missing_or_short_memory_image_is_an_input_error(tmp_path: Path, cache: Path) -> None:
    folder = write_toy(tmp_path)
    (folder / "weights.hex").write_text("1\n2\n")
    with pytest.raises(InputError, match=r"weights\.hex has 2 words, but design\.json says 4"):
        run_cosim(folder, cache=cache)
    (folder / "weights.hex").unlink()
    with pytest.raises(InputError, match=r"cannot read the memory image .*weights\.hex"):
        run_cosim(folder, cache=cache)


@pytest.mark.parametrize(("engine", "words"), [("cocotb", "ended without a result"), ("bulk", "readmem")])
def test_a_simulator_that_dies_is_reported_with_its_last_words(
    tmp_path: Path, cache: Path, engine: Engine, words: str
) -> None:
    folder = write_toy(tmp_path)
    (folder / "weights.hex").write_text("1\n2\nno number\n4\n")
    with pytest.raises(SimulationError, match=words):
        run_cosim(folder, engine=engine, cache=cache)
