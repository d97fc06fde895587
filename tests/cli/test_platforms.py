"""`mxhw platforms` shows every platform, and every number of one with its source."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mxhw.hardware import known_platforms, load_platform
from mxhw.hardware.platform import platform_numbers
from tests.cli.conftest import Ran

Command = Callable[..., Ran]


def test_list_has_clock_budget_and_memory_of_each(mxhw_command: Command) -> None:
    text = mxhw_command("platforms").out
    assert all(name in text for name in known_platforms())
    for said in ("500 MHz", "1,000,000 um2", "HBM2 16 GiB 460 GB/s", "230,400 LUT6", "96 URAM288"):
        assert all(word in text for word in said.split())


@pytest.mark.parametrize("name", known_platforms())
def test_every_number_is_shown_with_its_source(mxhw_command: Command, name: str) -> None:
    text = mxhw_command("platforms", name).out
    shown = re.sub(r"[\s│]+", "", text)
    for place, number in platform_numbers(load_platform(name)).items():
        assert re.sub(r"\s+", "", place) in shown
        # Cells are folded, so that parts of neighbours may stand between two words of a source.
        assert all(word in text for word in number.source.split() if len(word) < 20 and "/" not in word)


def test_json_has_what_the_file_has(mxhw_command: Command) -> None:
    ran = mxhw_command("platforms", "zu7ev", "--json").json["platforms"]
    assert [each["name"] for each in ran] == ["zu7ev"]
    assert ran[0]["clock"] == 200e6
    assert ran[0]["budget"] == {"lut": 230400, "dsp": 1728, "bram": 312, "ff": 460800, "uram": 96}
    assert ran[0]["offchip"] == {"ddr4": {"kind": "DDR4", "bytes": 16 * 2**30, "bytes_per_second": 19.2e9}}
    assert ran[0]["numbers"]["memory.ultra.shapes"]["rows"] == [[72, 4096, 1]]
    assert len(mxhw_command("platforms", "--json").json["platforms"]) == len(known_platforms())


def test_a_file_of_ones_own(mxhw_command: Command, repository: Path, tmp_path: Path) -> None:
    example = repository / "examples" / "platform.toml"
    assert mxhw_command("platforms", example, "--json").json["platforms"][0]["name"] == "mine"
    broken = tmp_path / "broken.toml"
    broken.write_text(example.read_text(encoding="utf-8").replace("value = 6.4", "value = 0"), encoding="utf-8")
    ran = mxhw_command("platforms", broken)
    assert ran.code == 2
    assert "'offchip.lpddr4.bandwidth': value must be above 0, not 0" in ran.err
    assert "Traceback" not in ran.err


def test_an_unknown_name_is_refused(mxhw_command: Command) -> None:
    ran = mxhw_command("platforms", "zu7")
    assert ran.code == 2
    assert "did you mean 'zu7ev'?" in ran.err
