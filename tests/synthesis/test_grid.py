"""Points are what their records say, are measured once, and are fitted without those that are held out."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mxhw.hardware.sizes.features import FABRICS, Fabric, Features, Multiplier, features_of
from mxhw.hardware.structure import Control, Fifo, Loader, Product, Unit
from mxhw.rtl_templates.stream import Fifo as FifoUnit
from mxhw.synthesis import fit, open_library, points, source_of
from mxhw.synthesis.fit import fit_group
from mxhw.synthesis.grid import Point, all_points
from mxhw.synthesis.points import LIBRARIES, SizeFile, digest_of, drop_other_points, measure_points, size_of
from mxhw.synthesis.table import TARGETS
from mxhw.synthesis.yosys import tool_version

ALL = list(all_points())
FIRST = {type(point.unit): point for point in reversed(ALL)}
QUICK = ("Fifo", "Add", "Requantize", "Norm", "Product", "Values", "Encoder")


def left_out(point: Point) -> tuple[int, int]:
    """Return the bits of memories that a record counts, and those that synthesis leaves out."""
    return sum(shape.capacity for shape in point.unit.memories()), source_of(point.make()).memory_bits


@pytest.mark.parametrize(
    "point", [p for k, p in FIRST.items() if k.__name__ in QUICK], ids=lambda p: type(p.unit).__name__
)
def test_what_synthesis_leaves_out_is_what_records_count_as_memories(point: Point) -> None:
    counted, boxed = left_out(point)
    assert counted == boxed


@pytest.mark.slow
def test_no_point_has_memories_that_nobody_counts() -> None:
    # A loader's memories are those of a product; of a queue's words one is a register, which Control counts, too.
    others = [point for point in ALL if not isinstance(point.unit, Loader | Control)]
    wrong = {point.label: found for point in others if (found := left_out(point))[0] != found[1]}
    assert not wrong


def test_every_point_is_fitted_or_held_out_in_a_group_that_is_fitted() -> None:
    for fabric in (Fabric(), *FABRICS.values()):
        groups: dict[str, list[bool]] = {}
        for point in ALL:
            features = features_of(point.unit, fabric)
            assert features is not None
            groups.setdefault(features.group, []).append(point.held_out)
        assert not [name for name, held in groups.items() if all(held)]


def test_held_out_products_are_larger_than_those_of_the_fit() -> None:
    products = [point for point in ALL if isinstance(point.unit, Product)]

    def lanes(point: Point) -> int:
        unit = point.unit
        assert isinstance(unit, Product)
        return unit.rows * unit.columns * unit.lanes

    assert max(lanes(p) for p in products if p.held_out) > max(lanes(p) for p in products if not p.held_out)


def planted(count: int, *, held: float = 1.0) -> tuple[list[tuple[Point, Features]], dict[str, Any]]:
    """Return points of a group whose sizes are 3 + 2 a, those of held-out ones times ``held``."""
    drawn = np.random.default_rng(0)
    found, measured = [], {}
    for index in range(count):
        point = replace(FIRST[Fifo], unit=Fifo(depth=index, bits=1), held_out=index % 3 == 2)
        a = float(drawn.integers(1, 100))
        found.append((point, Features("planted", {"one": 1.0, "a": a, "none": 0.0})))
        measured[point.label] = {"area": (3 + 2 * a) * (held if point.held_out else 1.0)}
    return found, measured


def test_prices_that_were_planted_are_found() -> None:
    found = fit_group(*planted(12)[:1], "area", planted(12)[1])
    assert found["prices"] == pytest.approx({"one": 3.0, "a": 2.0})
    assert found["fitted"] == found["held_out"] == 0.0


def test_held_out_points_say_what_the_fit_is_worth_and_do_not_change_it() -> None:
    points_, measured = planted(12, held=1.5)
    found = fit_group(points_, "area", measured)
    assert found["prices"] == pytest.approx({"one": 3.0, "a": 2.0})
    assert found["fitted"] == 0.0
    assert found["held_out"] == pytest.approx(1 / 3, abs=1e-3)


def test_prices_are_never_negative() -> None:
    points_, measured = planted(12)
    falling = {name: {"area": 1000 / each["area"]} for name, each in measured.items()}
    assert all(price > 0 for price in fit_group(points_, "area", falling)["prices"].values())


@pytest.mark.parametrize(
    ("a", "b", "blocks"), [(18, 18, 1), (19, 18, 1), (20, 18, 2), (32, 17, 2), (36, 36, 9), (35, 35, 4)]
)
def test_wide_multipliers_take_several_blocks(a: int, b: int, blocks: int) -> None:
    found = Features.of("", {}, [Multiplier(3, a, b)], FABRICS["ecp5"])
    assert found.dsp == 3 * blocks
    assert found.products["joined"] == 3 * (blocks - 1) * (a + b)
    assert Features.of("", {}, [Multiplier(3, a, b)], Fabric()).products == {"product": 3 * (a - 2) * (b - 2)}


@pytest.fixture
def grid(monkeypatch: pytest.MonkeyPatch) -> list[Point]:
    """A grid of two queues."""
    found = [_fifo(2, 4), _fifo(2, 8)]

    def given() -> Iterator[Point]:
        return iter(found)

    monkeypatch.setattr(points, "all_points", given)
    monkeypatch.setattr(fit, "all_points", given)
    return found


def _fifo(depth: int, bits: int) -> Point:
    return Point(Fifo(depth=depth, bits=bits), lambda: FifoUnit(shape=bits, depth=depth))


def test_what_was_measured_is_kept(grid: list[Point], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    runs: list[str] = []

    def sized(source: Any, *rest: Any, **options: Any) -> dict[str, float]:
        runs.append(source.text)
        return {"lut": 1, "ff": len(runs), "dsp": 0}

    monkeypatch.setattr(points, "size_of", sized)
    path, target = tmp_path / "sizes.json", [("ecp5", None, None)]
    assert measure_points(SizeFile(path), target, lambda point: True, said.append) == 0
    assert len(runs) == 2
    grid[1] = _fifo(2, 12)  # another record
    unit: Unit = replace(grid[0].unit, depth=7)
    grid.append(replace(grid[0], unit=unit))  # the same text under another name
    assert measure_points(SizeFile(path), target, lambda point: True, said.append) == 0
    assert len(runs) == 3
    table = SizeFile(path)
    measured = table.library("ecp5")["measured"]
    assert measured[grid[2].label] == measured[grid[0].label]
    drop_other_points(table, ["ecp5"])
    assert set(measured) == {point.label for point in grid}
    fit.fit_file(table)
    table.write()
    assert json.loads(path.read_text())["libraries"]["ecp5"]["groups"]["Fifo 2"]["ff"]["fitted"] >= 0


def test_the_counters_of_a_queue_stay_where_its_memory_is_left_out() -> None:
    shallow, deep = (size_of(source_of(FifoUnit(shape=8, depth=depth)), "ecp5", None, None) for depth in (40, 1000))
    assert deep["ff"] > shallow["ff"]
    assert deep["ff"] < 64  # not those of its memory


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_point_is_still_synthesised_to_what_is_stored(library: str, tmp_path: Path, shared: Path) -> None:
    target, part = TARGETS[library], SizeFile().library(library)
    liberty = shared / "liberty" / (target.liberty or "")
    if not liberty.exists():
        pytest.skip(f"no cell library at {liberty}")
    if part["tool"] != tool_version():
        pytest.skip(f"stored figures are of {part['tool']}, not of {tool_version()}")
    cells = open_library(liberty, tmp_path / library) if target.liberty else None
    point = next(p for p in ALL if isinstance(p.unit, Fifo) and p.unit.depth == 16)
    source, stored = source_of(point.make()), part["measured"][point.label]
    assert stored["digest"] == digest_of(source, library, target.clock)
    found = size_of(source, library, cells, target.clock)
    assert found == {name: stored[name] for name in found}
    other = source_of(FifoUnit(shape=17, depth=16))
    assert size_of(other, library, cells, target.clock) != found
