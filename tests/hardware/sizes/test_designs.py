"""Whole designs are predicted within the bounds that are stated, from what is stored of their synthesis."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mxhw.hardware.sizes import Resources
from mxhw.synthesis.points import SizeFile

LARGEST_ERROR = {"area": 0.10, "lut": 0.15, "ff": 0.15, "dsp": 0.15}
LIBRARIES = [name for name, part in SizeFile().content["libraries"].items() if part.get("designs")]


@pytest.fixture(scope="module")
def bench(repository: Path) -> ModuleType:
    """The script that compares sizes with synthesis."""
    spec = importlib.util.spec_from_file_location("bench_area", repository / "bench" / "validation" / "area.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_designs_were_synthesised_in_a_cell_library_and_on_an_fpga() -> None:
    assert {"asap7", "ecp5"} <= set(LIBRARIES)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_whole_block_is_predicted(bench: ModuleType, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list(bench.design_rows(library))
    assert {row.what for row in rows} == set(bench.DESIGNS)
    assert all(row.held_out for row in rows)
    assert not [row for row in rows if abs(row.error) > LARGEST_ERROR[row.resource]]
    whole = bench.design_logic
    monkeypatch.setattr(bench, "design_logic", lambda *given: _without_some(whole(*given)))
    assert any(abs(row.error) > LARGEST_ERROR[row.resource] for row in bench.design_rows(library))


def _without_some(found: Resources) -> Resources:
    """Return a design's resources with a part of them forgotten."""
    return found * 0.75


def test_rows_say_what_was_held_out(bench: ModuleType) -> None:
    rows = [*bench.array_rows("asap7"), *bench.unit_rows("asap7")]
    assert {row.held_out for row in rows} == {True, False}
    lines = list(bench.table(rows))
    assert len(lines) == len(rows) + 2
    assert sum(line.endswith("| yes |") for line in lines) == sum(row.held_out for row in rows)
