"""The table of sizes is measured bit by bit: what has not changed is kept, and the cost model can read the result."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mxhw.errors import InputError
from mxhw.hardware import components
from mxhw.hardware.components import measured_libraries, measured_units
from mxhw.synthesis import table
from mxhw.synthesis.parts import Part, all_parts
from mxhw.synthesis.table import TARGETS, main
from tests.synthesis.designs import Accumulator, Adder


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    """A hardware library of two parts."""
    found = [
        Part("components", "sum", ((6, lambda: Accumulator(6)), (10, lambda: Accumulator(10)))),
        Part("units", "adder", ((None, lambda: Adder(4)),), {"width": 4}),
    ]

    def library() -> Iterator[Part]:
        return iter(found)

    monkeypatch.setattr(table, "all_parts", library)
    return found


def measure(path: Path, *words: str, targets: tuple[str, ...] = ("generic",)) -> dict[str, Any]:
    arguments = [word for target in targets for word in ("--target", target)]
    assert main([*arguments, "--out", str(path), *words]) == 0
    libraries: dict[str, Any] = json.loads(path.read_text())["libraries"]
    return libraries


def test_sizes_and_the_price_of_an_accumulator_bit(parts: list[Part], tmp_path: Path) -> None:
    libraries = measure(tmp_path / "table.json", "--jobs", "2", targets=("generic", "ice40"))
    assert list(libraries) == ["generic", "ice40"]
    assert libraries["ice40"]["unit"] == "LUT"
    assert "yosys" in libraries["ice40"]["tool"]
    entry = libraries["ice40"]["components"]["sum"]
    assert (entry["flip_flops"], entry["accumulator_bits"]) == (6, 6)
    assert entry["per_accumulator_bit"] == pytest.approx(1.0, abs=0.5)  # a LUT and a carry a bit
    assert entry["with_dsp"]["dsp"] == 0
    assert libraries["generic"]["components"]["sum"]["nand2"] > 0
    assert libraries["generic"]["units"]["adder"]["parameters"] == {"width": 4}


def test_what_has_not_changed_is_kept(parts: list[Part], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "table.json"
    first = measure(path)
    capsys.readouterr()
    assert measure(path) == first
    assert "0 entries to measure" in capsys.readouterr().err
    parts[1] = Part("units", "adder", ((None, lambda: Adder(5)),), {"width": 5})
    second = measure(path)
    assert "1 entries to measure" in capsys.readouterr().err
    assert second["generic"]["components"] == first["generic"]["components"]
    assert second["generic"]["units"]["adder"]["size"] > first["generic"]["units"]["adder"]["size"]


def test_only_some_are_measured_and_the_others_stay(parts: list[Part], tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    measure(path)
    parts[:] = [Part(part.section, part.name, ((None, lambda: Adder(7)),)) for part in parts]
    old = json.loads(path.read_text())["libraries"]["generic"]
    new = measure(path, "--only", "add*")["generic"]
    assert new["components"] == old["components"]
    assert new["units"] != old["units"]


def test_a_whole_run_drops_what_there_is_no_longer(parts: list[Part], tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    measure(path)
    del parts[0]
    assert measure(path, "--only", "adder")["generic"]["components"]
    assert not measure(path)["generic"]["components"]


def test_a_failure_is_told_and_the_rest_is_measured(
    parts: list[Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(job: table.Job, libraries: Any) -> dict[str, Any]:
        if job.part.name == "sum":
            raise InputError("planted")
        return {"size": 1.0}

    monkeypatch.setattr(table, "run", fail)
    path = tmp_path / "table.json"
    assert main(["--target", "generic", "--out", str(path)]) == 1
    assert "generic sum: FAILED: planted" in capsys.readouterr().err
    assert list(json.loads(path.read_text())["libraries"]["generic"]["units"]) == ["adder"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "asap"], "no target 'asap'; there are generic, asap7.*did you mean 'asap7'"),
        ([], "--liberty is needed for asap7, sg13g2"),
        (["--liberty", "/nowhere", "--target", "asap7"], "no liberty file at /nowhere/asap7"),
    ],
)
def test_bad_arguments_are_refused(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        main([*words, "--out", str(tmp_path / "table.json")])


def test_the_table_has_the_parts_that_the_cost_model_reads() -> None:
    names = {part.name for part in all_parts() if part.section == "components"}
    for library in ("asap7", "sg13g2", "xilinx", "ecp5"):
        assert set(components(library)) <= names


def test_the_shipped_table_is_typed_and_its_figures_possible() -> None:
    assert set(measured_libraries()) <= set(TARGETS)
    for library in measured_libraries():
        for figure in [*components(library).values(), *measured_units(library).values()]:
            assert figure.size >= 0
            assert figure.flip_flops >= 0
            assert figure.per_accumulator_bit >= 0
            assert figure.spread is None or figure.spread >= 0
            assert figure.with_dsp is None or figure.with_dsp.dsp >= 0
