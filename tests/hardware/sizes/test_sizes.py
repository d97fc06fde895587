"""Sizes of units: every record has them, they grow with what is built, and they are as good as is said."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import pytest

from mxhw.errors import InputError
from mxhw.hardware import structure
from mxhw.hardware.sizes import (
    NOTHING,
    Resources,
    extrapolated,
    fitted,
    register_sizes,
    unit_sizes,
)
from mxhw.hardware.structure import (
    Add,
    Control,
    Converter,
    Fifo,
    Hadamard,
    Permute,
    Product,
    Requantize,
    Scores,
    Unit,
    Values,
)
from mxhw.synthesis.grid import all_points
from mxhw.synthesis.points import SizeFile

LARGEST_ERROR = {"area": 0.10, "lut": 0.15, "ff": 0.15, "dsp": 0.15}
FEW = 20  # LUTs or flip-flops by which a small unit may be wrong
OUTLIERS = {  # beginnings of labels, and what holds of these points instead
    ("asap7", "area", "Requantize length=32 lanes=2 input_bits=26 "): 0.11,
    ("ecp5", "lut", "Requantize length=128 lanes=8 input_bits=22 "): 0.21,
    ("ecp5", "lut", "Converter given=8 lanes=1 "): 0.23,
    ("ecp5", "lut", "Control kind=token_select lanes=4 "): 0.19,
    ("xilinx", "lut", "Rope length=128 lanes=1 heads=4 "): 0.21,
    # The script with the smallest results misses its clock by little, so that the other one's counts.
    ("asap7", "area", "Product family=bitmod weight_type=int6 terms=3 lanes=4 rows=2 columns=4 "): 0.12,
}


@dataclass(frozen=True)
class Platform:
    """As much of a platform as sizes need."""

    library: str
    area_scale: float = 1.0


MEASURED = tuple(SizeFile().content["libraries"])
PLATFORMS = [Platform(library) for library in MEASURED]
POINTS = list(all_points())
BLOCK = {"length": 64, "lanes": 4}
UNMEASURED: list[Unit] = [
    Hadamard(**BLOCK, order=32, bits=16),
    Permute(**BLOCK, bits=16),
    replace(next(p.unit for p in POINTS if isinstance(p.unit, Scores)), outside=True),
    replace(next(p.unit for p in POINTS if isinstance(p.unit, Values)), outside=True, dialect=True, code_bits=4),
    replace(next(p.unit for p in POINTS if isinstance(p.unit, Scores)), dialect=True, code_bits=4),
    replace(next(p.unit for p in POINTS if isinstance(p.unit, Product)), storage="tiles", layers=32),
    replace(next(p.unit for p in POINTS if isinstance(p.unit, Product)), experts=8, active_experts=2),
]


def test_every_class_of_records_has_sizes() -> None:
    base = {structure.AttentionUnit, structure.VectorUnit, Unit}
    classes = {
        each
        for name in structure.__all__
        if isinstance(each := getattr(structure, name), type) and issubclass(each, Unit)
    } - base
    assert classes == {type(point.unit) for point in POINTS} | {type(unit) for unit in UNMEASURED}
    for unit in [*(point.unit for point in POINTS), *UNMEASURED]:
        for platform in PLATFORMS:
            found = unit_sizes(unit, platform)
            expected = {"area", "ff"} if platform.library in ("asap7", "sg13g2") else {"lut", "ff", "dsp"}
            assert set(found) <= expected
            assert all(found[name] >= 0 for name in expected)
            assert found["area"] + found["lut"] + found["ff"] > 0 or unit == Control(kind="field")  # wires


def wrong(library: str, times: float = 1.0) -> Iterator[tuple[str, float, str]]:
    """Yield resource, error and label of the points whose predicted sizes, ``times`` too large, are not good enough."""
    measured = SizeFile().library(library)["measured"]
    for point in POINTS:
        entry = measured.get(point.label, {})
        found = unit_sizes(point.unit, Platform(library)) * times
        for resource in set(found) & set(entry):
            difference = abs(found[resource] - entry[resource])
            own = [bound for (*of, label), bound in OUTLIERS.items() if of == [library, resource]
                   and point.label.startswith(label)]  # fmt: skip
            allowed = max([LARGEST_ERROR[resource], *own]) * entry[resource]
            if difference > max(allowed, FEW if resource in ("lut", "ff") else 1.0):
                yield resource, difference / max(1.0, entry[resource]), point.label


@pytest.mark.parametrize("library", MEASURED)
def test_what_was_synthesised_is_predicted(library: str) -> None:
    assert not list(wrong(library))
    assert len(list(wrong(library, 1.25))) > len(POINTS) / 2  # prices that are wrong are noticed


def test_outliers_are_known_points_that_need_their_bound() -> None:
    for library, resource, label in OUTLIERS:
        points = [point for point in POINTS if point.label.startswith(label)]
        assert len(points) == 1
        measured = SizeFile().library(library)["measured"][points[0].label][resource]
        error = abs(unit_sizes(points[0].unit, Platform(library))[resource] / measured - 1)
        assert LARGEST_ERROR[resource] < error <= OUTLIERS[library, resource, label]


def test_points_have_names_of_their_own() -> None:
    assert len({point.label for point in POINTS}) == len(POINTS)


def test_most_of_the_grid_was_measured() -> None:
    for library in MEASURED:
        measured = SizeFile().library(library)["measured"]
        assert sum(point.label in measured for point in POINTS if not point.held_out) > 0.9 * len(POINTS) * 0.75


GROWING: Mapping[type[Unit], tuple[str, ...]] = {
    Product: ("rows", "columns", "accumulator_bits", "output_bits"),
    Requantize: ("multiplier_bits", "kept_bits"),
    Add: ("left_bits", "right_bits", "output_bits"),
    Fifo: ("bits",),
    Converter: ("element_bits", "beside_bits"),
}


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.library)
def test_more_is_never_smaller(platform: Platform) -> None:
    drawn = random.Random(0)
    for point in POINTS:
        for name in GROWING.get(type(point.unit), ()):
            larger = replace(point.unit, **{name: getattr(point.unit, name) + drawn.randint(1, 16)})  # type: ignore[arg-type]
            before, after = unit_sizes(point.unit, platform), unit_sizes(larger, platform)
            for resource in before:
                assert after[resource] >= before[resource] * 0.999, (point.label, name, resource)


def test_arrays_add_up() -> None:
    one = next(p.unit for p in POINTS if isinstance(p.unit, Product) and p.unit.rows == 1)
    for platform in PLATFORMS:
        sizes = [unit_sizes(replace(one, columns=c, n=4 * c), platform)["ff"] for c in (2, 4, 6, 8)]
        steps = [after - before for before, after in pairwise(sizes)]
        assert steps == pytest.approx([steps[0]] * 3)


def test_a_process_without_a_library_scales_areas_only() -> None:
    unit = Add(**BLOCK, left_bits=24, right_bits=16, output_bits=24)
    whole, half = unit_sizes(unit, Platform("asap7")), unit_sizes(unit, Platform("asap7", 0.5))
    assert half["area"] == pytest.approx(whole["area"] / 2)
    assert half["ff"] == whole["ff"]


def test_a_hadamard_is_its_sums() -> None:
    narrow, wide = Hadamard(**BLOCK, order=2, bits=16), Hadamard(**BLOCK, order=4, bits=16)
    for platform in PLATFORMS:
        second = Add(**BLOCK, left_bits=17, right_bits=17, output_bits=18)
        more = unit_sizes(wide, platform)["ff"] - unit_sizes(narrow, platform)["ff"]
        assert more == pytest.approx(unit_sizes(second, platform)["ff"], rel=0.2)


def test_what_lies_beyond_the_fit_is_said() -> None:
    measured = next(p.unit for p in POINTS if isinstance(p.unit, Add) and not p.held_out)
    platform = Platform("asap7")
    assert not extrapolated(measured, platform)
    assert extrapolated(replace(measured, lanes=1024, length=2048), platform) == ("Add: operand", "Add: result")


@dataclass(frozen=True, kw_only=True)
class Tanh(Unit):
    lanes: int


def test_a_record_of_ones_own_needs_a_function() -> None:
    with pytest.raises(InputError, match=r"the size of Tanh is not known; .*register_sizes"):
        unit_sizes(Tanh(lanes=2), PLATFORMS[0])
    try:
        register_sizes(Tanh)(lambda unit, platform: Resources({"area": 3.0}) * unit.lanes)
        assert unit_sizes(Tanh(lanes=2), PLATFORMS[0])["area"] == 6.0
    finally:
        del fitted._SIZES[Tanh]


def test_a_library_that_was_not_measured_is_refused() -> None:
    with pytest.raises(InputError, match=r"no sizes of units were measured in library 'asap'; .*did you mean 'asap7'"):
        unit_sizes(Fifo(depth=2, bits=4), Platform("asap"))


def test_resources_add_and_scale() -> None:
    drawn = random.Random(1)
    for _ in range(50):
        names = ("area", "lut", "ff", "dsp", "bram")
        a, b = ({name: drawn.randint(0, 9) for name in drawn.sample(names, 3)} for _ in range(2))
        times = drawn.randint(0, 5)
        total = (Resources(a) + Resources(b)) * times
        assert all(total[name] == (a.get(name, 0) + b.get(name, 0)) * times for name in names)
    assert NOTHING["area"] == 0.0


def test_records_are_what_their_fields_say() -> None:
    """Sizes of a record depend on its fields only, so that equal records may be looked up."""
    for point in POINTS:
        twin = type(point.unit)(**{each.name: getattr(point.unit, each.name) for each in fields(point.unit)})
        assert twin == point.unit
        assert hash(twin) == hash(point.unit)


def test_control_without_a_memory_has_no_address() -> None:
    empty, kept = (Control(kind="pass_order", bits=20, words=words, word_bits=16) for words in (0, 64))
    assert unit_sizes(empty, PLATFORMS[0])["ff"] <= unit_sizes(kept, PLATFORMS[0])["ff"]
