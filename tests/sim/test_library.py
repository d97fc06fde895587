"""The bulk engine is exact and quick, catches every planted fault, and names what is wrong with its input."""

import shutil
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mxhw.errors import InputError, MissingToolError
from mxhw.sim import Library, SimulationError, StreamError, build_library, build_library_from_sources
from mxhw.sim.beats import read_beats
from mxhw.sim.dataflow import DataflowDesign
from tests.sim import faulty, toy
from tests.sim.dataflow_toy import write_dataflow_toy
from tests.sim.faulty import Faulty, traffic


@pytest.fixture(scope="module")
def unit(cache: Path) -> Library:
    return build_library(Faulty(), cache=cache)


def simulate(library: Library, fault: int = 0, stall: float = 0.0, seed: int = 0, beats: int = 40) -> int:
    inputs, outputs = traffic(beats, step=-7)
    counts = {name: len(words) for name, words in outputs.items()}
    levels = {"step": -7, "fault": fault}
    run = library.run(inputs, counts, stall=stall, seed=seed, levels=levels, limit=200)
    assert {name: run.ints(name) for name in outputs} == outputs
    return run.cycles


def test_every_beat_of_every_width_passes_under_any_stalls(unit: Library) -> None:
    assert simulate(unit) == 2 * 40
    cycles = {simulate(unit, stall=stall, seed=seed) for stall in (0.1, 0.5, 0.95) for seed in range(5)}
    assert len(cycles) > 10
    assert simulate(unit, stall=0.5, seed=3) == simulate(unit, stall=0.5, seed=3)
    assert simulate(unit, stall=0.2, beats=4000) > 8000


@pytest.mark.parametrize(
    ("fault", "message", "port"),
    [
        (faulty.WITHDRAWS, "total__valid was withdrawn before ready, at total beat 0; cycle", "total"),
        (faulty.CHANGES, "total__payload changed while valid and not ready, at total beat 0; cycle", "total"),
        (faulty.LOSES, "a lost beat; cycle .*39 of 40 total beats received", None),
        (faulty.REPEATS, "a total beat too many after the last; .*40 of 40 total", "total"),
        (faulty.WAITS, "no beat moved for 200 cycles: deadlock", None),
        (faulty.STOPS, "no beat moved for 200 cycles: deadlock .*5 of 40 a beats accepted", None),
    ],
)
def test_every_broken_promise_is_caught(unit: Library, fault: int, message: str, port: str | None) -> None:
    with pytest.raises(StreamError, match=message) as error:
        simulate(unit, fault, stall=0.4, seed=1)
    assert error.value.port == port
    assert error.value.cycle is not None
    assert error.value.received is not None
    simulate(unit)  # the library is as good as before


def test_a_wrong_beat_comes_out_as_it_is(unit: Library) -> None:
    inputs, outputs = traffic(10, step=0)
    run = unit.run(inputs, {"total": 10, "wide": 10}, levels={"step": 0, "fault": faulty.ERRS})
    wrong = [i for i, (got, want) in enumerate(zip(run.ints("total"), outputs["total"], strict=True)) if got != want]
    assert wrong == [faulty.PLACE]


def test_taps_are_recorded_or_compared_and_cost_nothing_else(cache: Path, tmp_path: Path) -> None:
    folder = write_dataflow_toy(tmp_path, tokens=300)
    design = DataflowDesign.load(folder)
    library = build_library_from_sources(
        [folder / name for name in design.sources], design.top, folder=folder, cache=cache
    )
    assert set(library.taps) == {f"tap_{step.stream}" for step in design.steps}
    inputs = {name: read_beats(folder / s.beats, s.width, s.count) for name, s in design.inputs.items()}
    counts = {name: stream.count for name, stream in design.outputs.items()}
    expected = {f"tap_{step.stream}": read_beats(folder / step.beats, step.width, step.count) for step in design.steps}
    plain = library.run(inputs, counts, stall=0.3, seed=2)
    assert plain.taps == plain.compared == {}
    sizes = {name: len(beats) for name, beats in expected.items()}
    recorded = library.run(inputs, counts, taps=sizes, stall=0.3, seed=2)
    assert recorded.cycles == plain.cycles
    assert all(np.array_equal(recorded.taps[name], beats) for name, beats in expected.items())
    assert recorded.taps["tap_layers_0_square"].shape == (1200, 3)
    for name in ("tap_layers_0_square", "tap_layers_0_scores"):
        for wrong, message in ((sizes[name] - 1, "not"), (sizes[name] + 1, "not")):
            with pytest.raises(StreamError, match=f"tap {name} moved {sizes[name]} beats, {message} {wrong}") as error:
                library.run(inputs, counts, taps={name: wrong})
            assert error.value.port == name
    scores = expected["tap_layers_0_scores"].copy()
    scores[[7, 100]] ^= np.uint64(4096)
    square = expected["tap_layers_0_square"][:-1]
    found = library.run(inputs, counts, compare={"tap_layers_0_scores": scores, "tap_layers_0_square": square}).compared
    assert not any(tap.equal for tap in found.values())
    tap = found["tap_layers_0_scores"]
    assert (tap.moved, tap.different, tap.first, tap.got) == (600, 2, 7, int(scores[7]) ^ 4096)
    tap = found["tap_layers_0_square"]
    assert (tap.expected, tap.moved, tap.different, tap.first) == (1199, 1200, 1, 1199)
    with pytest.raises(InputError, match="there is no tap 'tap_layers_0_sqare'; did you mean 'tap_layers_0_square'"):
        library.run(inputs, counts, taps={"tap_layers_0_sqare": 1})
    with pytest.raises(InputError, match="tap tap_layers_0_square is either recorded or compared, not both"):
        library.run(inputs, counts, taps={"tap_layers_0_square": 1}, compare={"tap_layers_0_square": square})


def test_arrays_are_taken_and_given(unit: Library) -> None:
    inputs, outputs = traffic(8, step=1)
    b = np.array([[word >> shift & 0xFFFFFFFF for shift in (0, 32, 64)] for word in inputs["b"]], np.uint32)
    run = unit.run({"a": np.array(inputs["a"]), "b": b}, {"total": 8, "wide": 8}, levels={"step": 1, "fault": 0})
    assert run.outputs["total"].dtype == np.int64
    assert run.outputs["wide"].shape == (8, 3)
    assert run.ints("wide") == outputs["wide"]


def test_a_reset_without_a_fresh_model_leaves_nothing_behind(unit: Library) -> None:
    inputs, outputs = traffic(9, step=2)
    levels = {"step": 2, "fault": 0}
    with pytest.raises(StreamError, match="beat too many"):
        unit.run(inputs, {"total": 3, "wide": 9}, levels=levels)
    again = unit.run(inputs, {"total": 9, "wide": 9}, levels=levels, fresh=False)
    assert again.ints("total") == outputs["total"]


def test_waves_show_every_port(unit: Library, tmp_path: Path) -> None:
    inputs, _ = traffic(8, step=0)
    run = unit.run(inputs, {"total": 8, "wide": 8}, stall=0.3, levels={"step": 0, "fault": 0}, waves=tmp_path / "x.vcd")
    assert run.ints("total") == inputs["a"]
    text = (tmp_path / "x.vcd").read_text()
    assert all(f" {name} " in text for name in unit.ports)
    with pytest.raises(InputError, match=r"waves must be a \.vcd or \.saif file, not x\.fst"):
        unit.run(inputs, {"total": 8, "wide": 8}, levels={"step": 0, "fault": 0}, waves=Path("x.fst"))
    with pytest.raises(InputError, match="cannot write waves to"):
        unit.run(inputs, {"total": 8, "wide": 8}, levels={"step": 0, "fault": 0}, waves=tmp_path / "absent" / "x.vcd")


def test_bad_input_is_refused_by_name(unit: Library) -> None:
    good = {
        "inputs": {"a": [1], "b": [2]},
        "outputs": {"total": 1, "wide": 1},
        "levels": {"step": 0, "fault": 0},
    }
    for change, message in (
        ({"inputs": {"a": [1], "c": [2]}}, "there is no input stream 'c'; .*there is a, b"),
        ({"inputs": {"a": [1]}}, "input stream b is missing"),
        ({"outputs": {"totl": 1, "wide": 1}}, "there is no output stream 'totl'; did you mean 'total'"),
        ({"outputs": {"total": 1, "wide": -1}}, "must not be negative"),
        ({"levels": {"step": 0}}, "level fault is missing"),
        ({"levels": {"step": 0, "fault": 8}}, "level fault must be integers from 0 to 7, not 8"),
        ({"inputs": {"a": [1, 128], "b": [2]}}, r"beats of a must be integers from -128 to 127, not 128 \(value 1\)"),
        ({"inputs": {"a": [1], "b": [1 << 70]}}, "beats of b must be integers from 0 to"),
        ({"stall": 0.96}, r"stall must be a probability from 0 to 0\.95, not 0\.96"),
        ({"stall": -0.1}, "stall must be a probability"),
        ({"limit": 0}, "limit must be at least 1 cycle, not 0"),
    ):
        with pytest.raises(InputError, match=message):
            unit.run(**(good | change))  # type: ignore[arg-type]


class Accumulate(wiring.Component):
    """total grows by x while enabled; twice is combinational."""

    x: In(signed(8))
    enable: In(1)
    total: Out(signed(40))
    twice: Out(signed(9))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total = Signal(signed(40))
        with m.If(self.enable):
            m.d.sync += total.eq(total + self.x)
        m.d.comb += [self.total.eq(total), self.twice.eq(self.x << 1)]
        return m


def test_a_trace_is_exact_sampled_before_the_edge_and_quick(cache: Path) -> None:
    library = build_library(Accumulate(), cache=cache)
    rng = np.random.default_rng(0)
    x, enable = rng.integers(-128, 128, 1_000_000), rng.integers(0, 2, 1_000_000)
    start = perf_counter()
    trace = library.trace({"x": x, "enable": enable})
    seconds = perf_counter() - start
    sums = np.cumsum(x * enable)
    assert np.array_equal(trace["total"], sums - x * enable)
    assert np.array_equal(trace["twice"], 2 * x)
    assert seconds < 4  # a tenth of what was measured on an idle machine would do
    held = library.trace({"x": 3, "enable": 1, "rst": [0, 0, 0, 1, 0, 0]})
    assert held["total"].tolist() == [0, 3, 6, 9, 0, 3]
    assert library.trace({"x": 1, "enable": 1}, cycles=3, fresh=False)["total"].tolist() == [0, 1, 2]
    for given, message in (
        ({"x": [1]}, "input enable is missing"),
        ({"x": [1], "enable": [1, 0]}, "as many values as there are cycles"),
        ({"x": 1, "enable": 1}, "as many values as there are cycles"),
        ({"x": [200], "enable": 1}, "values of x must be integers from -128 to 127"),
    ):
        with pytest.raises(InputError, match=message):
            library.trace(given)  # type: ignore[arg-type]


def test_memory_images_are_read_in_their_folder_without_a_new_build(tmp_path: Path, cache: Path) -> None:
    folder = toy.write_toy(tmp_path / "a")
    library = build_library_from_sources([folder / "toy.v"], "toy", folder=folder, cache=cache)
    beats = [int(word, 16) for word in (folder / "x_beats.hex").read_text().split()]
    expected = [int(word, 16) for word in (folder / "y_beats.hex").read_text().split()]
    assert library.run({"x": beats}, {"y": toy.BEATS}).ints("y") == expected
    other = shutil.copytree(folder, tmp_path / "b c")
    (other / "weights.hex").write_text("0\n" * 4)
    second = build_library_from_sources([other / "toy.v"], "toy", folder=other, cache=cache)
    assert second.build.reused
    assert second.run({"x": beats}, {"y": toy.BEATS}).ints("y") == [beat << 16 | beat for beat in beats]
    assert library.run({"x": beats}, {"y": toy.BEATS}).ints("y") == expected
    (other / "weights.hex").unlink()
    with pytest.raises(SimulationError, match=r"readmem file not found \(weights\.hex\)"):
        second.run({"x": beats}, {"y": toy.BEATS})


def test_a_missing_compiler_and_ports_that_cannot_be_driven_are_named(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "both.v"
    source.write_text("module both (input clk, inout pad); endmodule\n")
    with pytest.raises(InputError, match="port pad is inout"):
        build_library_from_sources([source], "both", cache=cache)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match=r"g\+\+ is not on PATH.*apt-get install g\+\+"):
        build_library_from_sources([source], "both", cache=tmp_path / "cache")
