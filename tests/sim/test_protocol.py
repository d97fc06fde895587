"""The cocotb bench checks any component with streams, in both simulators, as the bulk engine does."""

import shutil
from pathlib import Path

import pytest

from mxhw.errors import InputError, MissingToolError
from mxhw.sim import StreamError, build_library, check_streams, toolchain
from mxhw.sim.protocol import SimulatorName
from tests.sim import faulty
from tests.sim.faulty import Faulty, traffic

needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs iverilog")
SIMULATORS = ("verilator", pytest.param("icarus", marks=needs_icarus))
# What the bench says does not depend on the simulator: of every kind of fault one run is quick.
SLOWLY_TOO = ("verilator", pytest.param("icarus", marks=(needs_icarus, pytest.mark.slow)))


def check(simulator: SimulatorName, cache: Path, fault: int = 0, stall: float = 0.4, seed: int = 1) -> int:
    inputs, expected = traffic(40, step=-7)
    levels = {"step": -7, "fault": fault}
    return check_streams(
        Faulty(), inputs, expected, stall=stall, seed=seed, levels=levels, limit=200, simulator=simulator, cache=cache
    )


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_the_cycles_are_those_of_the_bulk_engine(simulator: SimulatorName, cache: Path) -> None:
    inputs, expected = traffic(40, step=-7)
    counts = {name: len(words) for name, words in expected.items()}
    library = build_library(Faulty(), cache=cache)
    for stall, seed in ((0.0, 0), (0.9, 2)):
        run = library.run(inputs, counts, stall=stall, seed=seed, levels={"step": -7, "fault": 0}, limit=200)
        assert check(simulator, cache, stall=stall, seed=seed) == run.cycles


@pytest.mark.parametrize("simulator", SLOWLY_TOO)
@pytest.mark.parametrize(
    ("fault", "message", "port", "beat"),
    [
        (faulty.WITHDRAWS, "total__valid was withdrawn before ready, at total beat 0", "total", 0),
        (faulty.CHANGES, "total__payload changed while valid and not ready, at total beat 0", "total", 0),
        (faulty.LOSES, "a lost beat; .*39 of 40 total beats received", None, None),
        (faulty.REPEATS, "a total beat too many after the last; .*40 of 40 total", "total", 40),
        (faulty.WAITS, "no beat moved for 200 cycles: deadlock", None, None),
        (faulty.STOPS, "no beat moved for 200 cycles: deadlock .*5 of 40 a beats accepted", None, None),
        (faulty.ERRS, "1 of 40 total beats differ, the first is beat 5: expected 0x.*, got 0x", "total", 5),
    ],
)
def test_every_broken_promise_is_caught(
    simulator: SimulatorName, fault: int, message: str, port: str | None, beat: int | None, cache: Path
) -> None:
    with pytest.raises(StreamError, match=message) as error:
        check(simulator, cache, fault)
    assert (error.value.port, error.value.beat) == (port, beat)


@needs_icarus
@pytest.mark.parametrize("name", ["x.vcd", pytest.param("x.fst", marks=pytest.mark.slow)])
def test_icarus_writes_waves(name: str, tmp_path: Path) -> None:
    inputs, expected = traffic(8, step=0)
    check_streams(Faulty(), inputs, expected, levels={"step": 0, "fault": 0}, simulator="icarus", waves=tmp_path / name)
    data = (tmp_path / name).read_bytes()
    assert len(data) > 500
    assert data.startswith(b"$date") == (name == "x.vcd")


def test_bad_input_is_refused_before_anything_is_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    inputs, expected = traffic(8, step=0)
    levels = {"step": 0, "fault": 0}
    unit = Faulty()
    for given, message in (
        ({"inputs": {"a": [1]}}, "input stream b is missing"),
        ({"expected": {"y": [1]}}, "there is no output stream 'y'"),
        ({"expected": expected | {"total": [512]}}, "values of total must be integers from -512 to 511, not 512"),
        ({"levels": {"fault": 0}}, "level step is missing"),
        ({"stall": 1.0}, "stall must be a probability"),
        ({"simulator": "spice"}, "simulator must be one of verilator, icarus, not 'spice'"),
        ({"simulator": "icarus", "waves": tmp_path / "x.txt"}, r"waves must be a \.vcd or \.fst file"),
    ):
        with pytest.raises(InputError, match=message):
            check_streams(unit, **({"inputs": inputs, "expected": expected, "levels": levels} | given))  # type: ignore[arg-type]
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    with pytest.raises(MissingToolError, match="iverilog is not on PATH"):
        check_streams(unit, inputs, expected, levels=levels, simulator="icarus")
