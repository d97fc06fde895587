"""Platforms are complete, sourced data; a broken or unknown one is refused in one line."""

from pathlib import Path

import numpy as np
import pytest

from mxhw.errors import InputError
from mxhw.hardware import components, known_platforms, library_origin, load_platform, logic_energy_density
from mxhw.hardware.components import component

SHIPPED = Path("mxhw/hardware/data/platforms")


@pytest.mark.parametrize("name", known_platforms())
def test_every_shipped_platform_is_complete_and_sourced(name: str) -> None:
    platform = load_platform(name)
    assert platform.name == name
    quantities = [platform.clock, *platform.budget.values()]
    quantities += [q for q in (platform.memory_bit, platform.logic_energy, platform.distributed_bits) if q is not None]
    assert all(q.source and q.unit for q in quantities)
    assert components(platform.library)
    assert library_origin(platform.library)


@pytest.mark.parametrize("name", ["asap7", "sg13g2"])
def test_asic_clock_is_met_by_every_component(name: str) -> None:
    platform = load_platform(name)
    slowest = max(part.delay for part in components(platform.library).values() if part.delay is not None)
    assert slowest <= 1e12 / platform.clock.value


def test_memory_energy_passes_near_its_points() -> None:
    for name in ("asap7", "sg13g2"):
        energy = load_platform(name).memory_energy
        assert energy is not None
        for size, value in energy.points:
            assert float(energy.per_bit(size * 8)) * energy.word_bits == pytest.approx(value, rel=0.07)
        sizes = np.logspace(3, 7, 20)
        assert (np.diff(energy.per_bit(sizes)) > 0).all()


def test_logic_energy_is_anchored_at_the_published_mac() -> None:
    platform = load_platform("asap7")
    assert logic_energy_density(platform) * component("asap7", "int8_mac").size == pytest.approx(0.10)
    with pytest.raises(InputError, match="'zu7ev' is unknown"):
        logic_energy_density(load_platform("zu7ev"))


def test_user_file_and_its_faults(tmp_path: Path, repository: Path) -> None:
    text = (repository / SHIPPED / "asap7.toml").read_text(encoding="utf-8")
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace('name = "asap7"', 'name = "mine"'), encoding="utf-8")
    assert load_platform(mine).name == "mine"
    faults = {
        "is missing": text.replace("[clock]", "[clocks]"),
        "lacks source": text.replace('source = "default of ours', 'sauce = "default of ours'),
        "value must be a number": text.replace("value = 500e6", 'value = "fast"'),
        "kind must be one of asic, fpga": text.replace('kind = "asic"', 'kind = "gpu"'),
        "points must be a list of pairs": text.replace("[8192, 7.5]", "[8192]"),
        "needs word_bits": text.replace("word_bits = 64", ""),
        "not valid TOML": text.replace("[clock]", "[clock"),
    }
    for message, broken in faults.items():
        assert broken != text
        mine.write_text(broken, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            load_platform(mine)


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
    assert platform.budget["area"].value == 2e6
    assert load_platform("asap7").budget["area"].value != 2e6
    with pytest.raises(InputError, match="has no budget 'lut'"):
        platform.with_budget(lut=5)
    with pytest.raises(InputError, match="must be positive"):
        platform.with_budget(area=0)
