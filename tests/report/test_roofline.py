"""The roofline as a picture: written where it is asked for, with what the report says in it."""

from dataclasses import replace
from pathlib import Path

import pytest

from mxhw.errors import InputError
from mxhw.hardware.machine import MachineCost, machine_of
from mxhw.hardware.platform import load_platform
from mxhw.report.roofline import roofline_plot
from tests.hardware.machine.models import TINY, llama, made_up_prices


@pytest.fixture(params=[{}, {"weights": "tiles", "head": "tiles", "cache": "outside"}], ids=["inside", "outside"])
def report(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> MachineCost:
    made_up_prices(monkeypatch)
    platform = load_platform("asap7").with_budget(area=1e12)
    return machine_of(llama(TINY), platform, place=request.param).cost(prefill=9, decode=4)


def test_a_panel_a_phase_with_every_step(report: MachineCost, tmp_path: Path) -> None:
    drawn = roofline_plot(report, tmp_path / "roofline.svg").read_text()
    words = {text.split("-->")[0].strip() for text in drawn.split("<!--")[1:]}
    assert any(word.startswith("prefill: ") for word in words)
    assert any(word.startswith("decode: ") and word.endswith("latency") for word in words)
    named = " ".join(words)
    for step in ("gate_proj", "q_proj", "scores", "lm_head"):
        assert step in named
    outside = "nothing moves from or to memory outside" in named
    assert outside == (not report.decode.bits)


def test_phases_without_tokens_have_no_panel(report: MachineCost, tmp_path: Path) -> None:
    empty = replace(report.decode, tokens=0)
    drawn = roofline_plot(replace(report, decode=empty), str(tmp_path / "one.svg")).read_text()
    assert "prefill: " in drawn
    assert "decode: " not in drawn
    assert roofline_plot(report, tmp_path / "both.png").stat().st_size > 10_000
    with pytest.raises(InputError, match="this report has no tokens"):
        roofline_plot(replace(report, decode=empty, prefill=replace(report.prefill, tokens=0)), tmp_path / "none.png")


def test_a_picture_of_no_known_kind_is_refused(report: MachineCost, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a picture must be a file \.png, \.svg, \.pdf, not 'roofline\.bmp'"):
        roofline_plot(report, tmp_path / "roofline.bmp")
    assert not (tmp_path / "roofline.bmp").exists()
