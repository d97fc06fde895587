"""Yosys runs beside us: whatever it does, we get a log or one line."""

from pathlib import Path

import pytest

from mxhw import errors
from mxhw.errors import MissingToolError
from mxhw.rtl_templates.memory import ActivationBuffer
from mxhw.rtl_templates.stream import Fifo
from mxhw.synthesis import YosysError, require_yosys, source_of
from mxhw.synthesis.asic import count_gates
from mxhw.synthesis.yosys import run_yosys


def test_a_log_is_returned(tmp_path: Path) -> None:
    assert "hello from a script" in run_yosys(["log hello from a script"], tmp_path)


def test_an_error_is_one_line_and_the_log_is_kept(tmp_path: Path) -> None:
    with pytest.raises(YosysError, match="No such command: nonsense") as refused:
        run_yosys(["log before", "nonsense"], tmp_path)
    assert "\n" not in str(refused.value)
    assert "before" in refused.value.log


def test_too_long_a_run_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(YosysError, match="did not finish"):
        run_yosys(["log never"], tmp_path, timeout=0.01)


def test_without_pyosys_the_install_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "find_spec", lambda name: None)
    with pytest.raises(MissingToolError, match=r"pip install 'mxhw\[synth\]'"):
        require_yosys()
    with pytest.raises(MissingToolError, match="pyosys"):
        run_yosys(["log never"], tmp_path)


def test_memories_are_black_boxes_whose_bits_are_told() -> None:
    source = source_of(ActivationBuffer(width=8, chunks=16))
    assert source.memory_bits == 2 * 16 * 8
    assert "mxhw_ram" in source.text
    whole = source_of(ActivationBuffer(width=8, chunks=16), black_boxes=False)
    assert (whole.boxed_bits, whole.queued_bits) == (0, 2 * 16 * 8)
    assert "mxhw_ram" not in whole.text


def test_a_long_queue_counts_as_memory_and_a_short_one_as_registers(tmp_path: Path) -> None:
    long, short = (source_of(Fifo(shape=8, depth=depth)) for depth in (100, 10))
    assert short.memory_bits == 0 and not short.cut_queues()
    assert long.memory_bits >= 8 * 90
    assert count_gates(short, tmp_path).flip_flops > 8 * 8
    assert count_gates(long, tmp_path).flip_flops < 8 * 8


def test_the_same_component_gives_the_same_text() -> None:
    assert source_of(ActivationBuffer(width=8, chunks=16)) == source_of(ActivationBuffer(width=8, chunks=16))
