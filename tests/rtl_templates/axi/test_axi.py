"""A design behind AXI ports: exact streams and the rules of the bus, with the models of cocotbext-axi."""

from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from mxhw.errors import InputError
from mxhw.rtl_templates.axi import AxiLiteControl, AxiStream, AxiStreamIn, axi_top, control
from mxhw.rtl_templates.axi.stream import bus_width, transfers
from mxhw.sim import lint
from tests.rtl_templates.axi.design import DIGEST, NAME, SPEC, STREAMS, core_verilog, draw_traffic, toy_top
from tests.rtl_templates.axi.simulate import case, need, simulate

TOKENS = 16


STREAMED, RESET = "streams_are_exact_under_pauses", "soft_reset_forgets_everything_and_breaks_no_rule"
WRITES, ERRORS = "writes_come_in_any_order_and_strobes_count", "what_is_not_there_answers_slverr"


@pytest.mark.parametrize(
    ("bus", "simulator"),
    [(32, "icarus"), *(pytest.param(bus, "verilator", marks=pytest.mark.slow) for bus in (8, 64, 128))],
)
def test_every_rule_and_every_bit(bus: int, simulator: str, tmp_path: Path) -> None:
    need(simulator)
    found = simulate(tmp_path, toy_top(bus=bus), case(draw_traffic(TOKENS, 1), bus), simulator=simulator)
    assert len(found) == 7
    assert not any(found.values()), found


@pytest.mark.slow
@pytest.mark.parametrize("bus", [8, 128])
def test_narrow_and_wide_buses(bus: int, tmp_path: Path) -> None:
    need("icarus")
    found = simulate(tmp_path, toy_top(bus=bus), case(draw_traffic(TOKENS, 2), bus), only=[STREAMED, RESET])
    assert found == {STREAMED: "", RESET: ""}


def test_planted_faults_are_caught(tmp_path: Path) -> None:
    need("icarus")
    multipliers = (SPEC.multipliers[0] - 1000, *SPEC.multipliers[1:])
    with (
        mock.patch.object(control, "Mux", lambda strobe, written, kept: written),
        mock.patch.object(control, "SLVERR", control.OKAY),
    ):
        top = toy_top.__wrapped__(bus=32)
    # A soft reset that takes an offered transfer back.
    head, port = top.top.split("m_axis_result_port")
    top = replace(top, top=f"{head}m_axis_result_port{port.replace('.rst(rst)', '.rst(rst | flush)', 1)}")
    content, core = case(draw_traffic(TOKENS, 1), 32), core_verilog(replace(SPEC, multipliers=multipliers))
    found = simulate(tmp_path, top, content, core=core, only=[STREAMED, RESET, WRITES, ERRORS])
    assert "token 0 of result" in found[STREAMED]
    assert "m_axis_result_t: withdrawn before ready" in found[RESET]
    assert "SCRATCH is" in found[WRITES]
    assert "0x40" in found[ERRORS]


@pytest.mark.slow
def test_a_wrong_length_is_caught(tmp_path: Path) -> None:
    need("icarus")
    top = toy_top(bus=32, streams=(*STREAMS[:-1], replace(STREAMS[-1], beats=2)))
    found = simulate(tmp_path, top, case(draw_traffic(TOKENS, 1), 32), only=[STREAMED])
    assert "token 0 of result" in found[STREAMED]


@pytest.mark.slow
def test_a_core_that_a_soft_reset_does_not_reach_is_caught(tmp_path: Path) -> None:
    need("icarus")
    top = toy_top(bus=32)
    top = replace(top, top=top.top.replace(".rst(rst | flush)", ".rst(rst)"))
    found = simulate(tmp_path, top, case(draw_traffic(TOKENS, 1), 32), only=[RESET])
    assert "token 0 of result" in found[RESET]


def test_the_text_is_clean_and_repeatable(tmp_path: Path) -> None:
    top = toy_top(bus=32)
    (tmp_path / "toy.v").write_text("\n".join([core_verilog(), top.modules, top.top]))
    assert lint([tmp_path / "toy.v"], NAME) == ""
    # Equal ports share a module.
    twins = [AxiStream(name, True, 20, 2) for name in "ab"]
    twin_top = axi_top("twins", twins, digest=DIGEST)
    assert twin_top == axi_top("twins", twins, digest=DIGEST)
    assert twin_top.modules.count("module twins_axis_in_20_32_2(") == 1
    assert twin_top.top.count("twins_axis_in_20_32_2 ") == 2


@pytest.mark.parametrize(
    ("width", "largest", "bus", "count"),
    [(1, 64, 8, 1), (8, 64, 8, 1), (9, 64, 16, 1), (35, 64, 64, 1), (35, 32, 32, 2), (101, 8, 8, 13), (64, 64, 64, 1)],
)
def test_tdata_has_a_power_of_two_of_bytes(width: int, largest: int, bus: int, count: int) -> None:
    assert bus_width(width, largest) == bus
    assert transfers(width, bus) == count


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(InputError, match="bus must be a power of two, not 24"):
        toy_top(bus=24)
    with pytest.raises(InputError, match="bus must be an integer of at least 8, not 4"):
        toy_top(bus=4)
    with pytest.raises(InputError, match="bus must be a whole number of bytes, not 12"):
        AxiStreamIn(width=3, bus=12)
    with pytest.raises(InputError, match="name of a stream must be a Verilog identifier, not 'a-b'"):
        AxiStream("a-b", True, 1)
    with pytest.raises(InputError, match="beats of stream a must be an integer of at least 1, not 0"):
        AxiStream("a", True, 1, 0)
    with pytest.raises(InputError, match="two streams are called 'a'"):
        axi_top("twins", [AxiStream("a", True, 1), AxiStream("a", False, 1)], digest=DIGEST)
    with pytest.raises(InputError, match="digest must be 32 bytes, not '3 bytes'"):
        AxiLiteControl(streams=STREAMS, digest=b"abc")
    many = [AxiStream(f"s{i}", True, 1) for i in range(121)]
    with pytest.raises(InputError, match="streams must be at most 120, not 121"):
        axi_top("many", many, digest=DIGEST)
