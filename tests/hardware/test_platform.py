"""Platforms are complete, sourced data; a broken or unknown one is refused in one line."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mxhw.errors import InputError
from mxhw.hardware import components, known_platforms, library_origin, load_platform
from mxhw.hardware.components import component, measured_units
from mxhw.hardware.platform import AsicPlatform, FpgaPlatform, platform_numbers
from mxhw.hardware.platform.quantity import AccessEnergy

SHIPPED = Path("mxhw/hardware/data/platforms")


@pytest.mark.parametrize("name", known_platforms())
def test_every_shipped_platform_is_complete_and_sourced(name: str) -> None:
    platform = load_platform(name)
    assert platform.name == name
    numbers = platform_numbers(platform)
    assert all(number.source.strip() and number.unit.strip() for number in numbers.values())
    assert {"clock", *(f"budget.{each}" for each in platform.budget)} <= set(numbers)
    assert platform.main_memory is not None
    assert platform.main_memory.energy is not None
    assert components(platform.library)
    assert library_origin(platform.library)


@pytest.mark.parametrize("name", known_platforms())
def test_no_number_of_a_file_is_lost(name: str, repository: Path) -> None:
    data = tomllib.loads((repository / SHIPPED / f"{name}.toml").read_text(encoding="utf-8"))

    def sourced(table: Any, place: str = "") -> dict[str, Any]:
        if not isinstance(table, dict):
            return {}
        if "source" in table:
            return {place: table}
        found = {}
        for key, inner in table.items():
            found |= sourced(inner, f"{place}.{key}".lstrip("."))
        return found

    numbers = platform_numbers(load_platform(name))
    written = sourced(data)
    assert set(numbers) == set(written)
    for place, table in written.items():
        number = numbers[place]
        assert (number.unit, number.source) == (table["unit"], table["source"])
        value = number.value if "value" in table else [list(row) for row in number.rows]
        assert value == table.get("value", table.get("rows"))


def test_platforms_of_each_class_are_shipped() -> None:
    kinds = {name: type(load_platform(name)) for name in known_platforms()}
    assert {name for name, kind in kinds.items() if kind is AsicPlatform} == {"asap7", "sg13g2", "bitmod-28nm"}
    assert {name for name, kind in kinds.items() if kind is FpgaPlatform} == {"ecp5-85", "zu7ev", "u55c"}


@pytest.mark.parametrize("name", ["asap7", "sg13g2"])
def test_asic_clock_is_met_by_every_component(name: str) -> None:
    platform = load_platform(name)
    slowest = max(part.delay for part in components(platform.library).values() if part.delay is not None)
    assert slowest <= 1e12 / platform.clock.value


def test_bandwidths_and_latencies_in_cycles() -> None:
    for name in known_platforms():
        platform = load_platform(name)
        for memory in platform.offchip.values():
            clock = platform.clock.value
            assert memory.bits_per_cycle(clock) * clock == pytest.approx(memory.bandwidth.value * 8e9)
            assert memory.latency_cycles(clock) / clock == pytest.approx(memory.latency.value * 1e-9)
            assert memory.bits == memory.capacity.value * 2**33
    bitmod = load_platform("bitmod-28nm")
    assert bitmod.main_memory is not None
    assert bitmod.main_memory.bits_per_cycle(bitmod.clock.value) == 256  # "128-bit bus x 2 (DDR)"


def test_areas_are_scaled_to_the_published_element() -> None:
    bitmod = load_platform("bitmod-28nm")
    ours = measured_units("asap7")["bitmod_pe"].size
    assert bitmod.area_scale * ours == pytest.approx(1793.7)
    asap7 = load_platform("asap7")
    assert asap7.area_scale == 1
    assert isinstance(asap7, AsicPlatform)
    assert isinstance(bitmod, AsicPlatform)
    assert asap7.register_area * 32 == pytest.approx(component("asap7", "register_32").size)
    assert bitmod.register_area == pytest.approx(asap7.register_area * bitmod.area_scale)


def test_energy_is_known_where_all_of_it_is() -> None:
    known = {name for name in known_platforms() if load_platform(name).has_energy}
    assert known == {"asap7", "sg13g2", "bitmod-28nm"}
    asap7, zu7ev = load_platform("asap7"), load_platform("zu7ev")
    assert not replace(asap7, energy=None).has_energy
    assert isinstance(zu7ev, FpgaPlatform)
    assert zu7ev.energy.lut is not None
    assert zu7ev.memory.ultra is not None
    figures = replace(zu7ev.energy, dsp=zu7ev.energy.lut)
    memory = replace(zu7ev.memory, ultra=replace(zu7ev.memory.ultra, energy=zu7ev.memory.block.energy))
    assert replace(zu7ev, energy=figures, memory=memory).has_energy
    assert not replace(zu7ev, energy=figures).has_energy
    assert not replace(zu7ev, memory=memory).has_energy


# The fit of an access's energy.
def test_memory_energy_passes_near_its_points() -> None:
    for name, worst in (("asap7", 0.03), ("sg13g2", 0.02), ("bitmod-28nm", 0.35)):
        platform = load_platform(name)
        assert isinstance(platform, AsicPlatform)
        for energy in (platform.memory.sram.read, platform.memory.sram.write):
            if energy is not None:
                for size, word, value in energy.rows:
                    assert float(energy.access(size * 8, word)) == pytest.approx(value, rel=worst), (name, size, word)


def test_memory_energy_grows_with_size_and_width() -> None:
    random = np.random.default_rng(5)
    for name in ("asap7", "sg13g2", "bitmod-28nm"):
        platform = load_platform(name)
        assert isinstance(platform, AsicPlatform)
        energy = platform.memory.sram.read
        assert energy is not None
        sizes, words = np.sort(10 ** random.uniform(3, 7, 50)), np.sort(random.integers(1, 1024, 50))
        assert (np.diff(energy.access(sizes, 64)) > 0).all()
        assert (np.diff(energy.access(65536, words)) >= 0).all()


def test_fit_recovers_what_points_were_made_of() -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        a, b, c = random.uniform(0.01, 1, 3)
        rows = tuple(
            (size, word, word * (a + b * size**0.5) + c * size**0.5)
            for size in (512.0, 8192.0, 1e6)
            for word in (32.0, 256.0)
        )
        assert AccessEnergy(rows, "bytes, bits, pJ", "drawn").coefficients() == pytest.approx((a, b, c), rel=1e-6)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'asap7'"):
        load_platform("asap8")
    with pytest.raises(InputError, match=r"no platform '\.\./asap7'"):
        load_platform("../asap7")
    with pytest.raises(InputError, match="no components were measured in library 'nangate'"):
        components("nangate")
    with pytest.raises(InputError, match="'warp_drive' was not measured"):
        component("asap7", "warp_drive")


def test_budget_can_be_given() -> None:
    platform = load_platform("asap7").with_budget(area=2e6)
    assert isinstance(platform, AsicPlatform)
    assert platform.budget["area"].value == 2e6
    assert load_platform("asap7").budget["area"].value != 2e6
    with pytest.raises(InputError, match="has no budget 'lut'"):
        platform.with_budget(lut=5)
    for amount in (0, -1, float("inf"), float("nan")):
        with pytest.raises(InputError, match=f"must be positive and finite, not {amount}"):
            platform.with_budget(area=amount)
    assert replace(platform, name="other").budget == platform.budget
