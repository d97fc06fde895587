"""Both GEMM units through emission and both engines: exact under stalls, and every planted fault is seen."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mxhw.passes.emit import emit_gemm
from mxhw.passes.emit.units import _verilog
from mxhw.rtl_templates.decoder import DialectDecoder
from mxhw.sim import CosimCase, lint, run_cosim
from tests.sim.layers import BITMOD, DIALECT, small_layer

UNITS = (BITMOD, DIALECT)


Change = Callable[[Path], None]


def simulate(unit: str, root: Path, cache: Path, change: Change | None = None, **changes: object) -> CosimCase:
    """Emit a small layer, let `change` damage the folder, simulate; the engine is the quick one to build."""
    folder = emit_gemm(small_layer(unit, **changes), root).folder
    if change is not None:
        change(folder)
    return run_cosim(folder, seed=3, stall=0.35, engine="bulk", cache=cache).cases[0]


def flip(name: str, word: int, bit: int) -> Change:
    """Return a change that flips one bit of one word of a memory image."""

    def change(folder: Path) -> None:
        lines = (folder / name).read_text().split()
        lines[word] = f"{int(lines[word], 16) ^ (1 << bit):x}"
        (folder / name).write_text("\n".join(lines) + "\n")

    return change


@pytest.mark.parametrize("unit", [pytest.param(BITMOD, marks=pytest.mark.slow), DIALECT])
def test_the_bulk_engine_is_exact_in_the_same_cycles(unit: str, tmp_path: Path, cache: Path) -> None:
    folder = emit_gemm(small_layer(unit), tmp_path).folder
    cocotb, bulk = (run_cosim(folder, stall=0.35, engine=engine, cache=cache).cases[0] for engine in ("cocotb", "bulk"))
    assert (bulk.error, bulk.outputs, bulk.mismatches) == (None, 35, 0)
    assert (bulk.cycles, bulk.cycles_stall_free) == (cocotb.cycles, cocotb.cycles_stall_free)
    flip("weights.hex", 3, 5)(folder)
    cocotb, bulk = (run_cosim(folder, stall=0.35, engine=engine, cache=cache).cases[0] for engine in ("cocotb", "bulk"))
    assert bulk.mismatches == cocotb.mismatches > 0
    assert bulk.first_mismatches == cocotb.first_mismatches


@pytest.mark.parametrize("unit", UNITS)
def test_every_output_is_exact_and_cycles_are_as_predicted(unit: str, tmp_path: Path, cache: Path) -> None:
    case = simulate(unit, tmp_path, cache)
    assert case.error is None
    assert (case.outputs, case.mismatches) == (35, 0)
    assert case.cycles_stall_free == case.cycles_stall_free_predicted
    assert case.cycles is not None
    assert case.cycles >= case.cycles_stall_free


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("image", "word", "bit"), [("weights.hex", 3, 5), ("metadata.hex", 1, 0)])
def test_one_flipped_bit_of_an_image_is_seen_in_its_column(
    unit: str, image: str, word: int, bit: int, tmp_path: Path, cache: Path
) -> None:
    case = simulate(unit, tmp_path, cache, flip(image, word, bit))
    assert case.mismatches > 0
    assert case.error is None
    assert {wrong.column for wrong in case.first_mismatches} == {0}


def test_one_wrong_entry_of_the_dialect_decoder_is_seen(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = DialectDecoder.__init__.__kwdefaults__
    wrong = [list(row) for row in defaults["table"]]
    for row in wrong:
        row[5] ^= 1
    monkeypatch.setitem(defaults, "table", wrong)
    _verilog.cache_clear()
    case = simulate(DIALECT, tmp_path, cache)
    _verilog.cache_clear()
    assert case.error is None
    assert case.mismatches > 0


def test_one_wrong_special_value_of_the_bitmod_decoder_is_seen(tmp_path: Path, cache: Path) -> None:
    def change(folder: Path) -> None:
        path = next(folder.glob("mxhw_bitmod_*.v"))
        entry = r"(casez \(selector\).*?2'h2:\s+begin\s+term\[0\] = )1'h1"
        text, count = re.subn(entry, r"\g<1>1'h0", path.read_text(), count=1, flags=re.DOTALL)
        assert count == 1
        path.write_text(text)

    case = simulate(BITMOD, tmp_path, cache, change)
    assert case.error is None
    assert case.mismatches > 0


def test_the_same_geometry_with_other_weights_reuses_the_build(tmp_path: Path, cache: Path) -> None:
    simulate(BITMOD, tmp_path / "a", cache)
    changed = {"weight": small_layer(BITMOD).weight.flip(0), "inputs": torch.ones(3, 140)}
    other = simulate(BITMOD, tmp_path / "b", cache, **changed)
    assert other.mismatches == 0
    assert other.outputs == 21
    assert other.build_seconds < 1


@pytest.mark.parametrize("unit", UNITS)
def test_the_emitted_verilog_is_lint_clean(unit: str, tmp_path: Path) -> None:
    emitted = emit_gemm(small_layer(unit), tmp_path)
    assert lint([emitted.folder / name for name in emitted.design.verilog], emitted.design.top) == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weight_format", "input_format", "size", "array"),
    [
        ("int8", "int8-e8m0", (3, 5, 19), (2, 2, 4)),
        ("int8-e8m0", "int8-e8m0", (1, 1, 1), (1, 1, 1)),
        ("int6", "int8-e8m0", (9, 8, 64), (4, 8, 4)),
        ("int6-g128-s8", "int8-e8m0", (4, 3, 300), (2, 3, 4)),
        ("int5-g64-s8", "int8-e8m0", (4, 6, 33), (3, 2, 2)),
        ("int4-g128-s8", "int8-e8m0", (2, 9, 128), (5, 4, 8)),
        ("int3-g64-s8", "int6-e8m0", (3, 3, 100), (1, 3, 4)),
        ("bitmod3", "int8-e8m0", (5, 7, 129), (2, 3, 4)),
        ("bitmod4", "int8-e8m0", (2, 3, 257), (4, 8, 2)),
        ("dialect4-b16", "dialect4-online-b16", (5, 4, 40), (3, 3, 4)),
        ("dialect4-b64", "dialect4-b64", (2, 5, 65), (2, 2, 8)),
        ("dialect4", "dialect4", (7, 3, 1), (2, 4, 4)),
    ],
)
def test_every_format_with_a_unit_is_exact_at_awkward_sizes(
    weight_format: str,
    input_format: str,
    size: tuple[int, int, int],
    array: tuple[int, int, int],
    tmp_path: Path,
    cache: Path,
) -> None:
    m, n, k = size
    rows, columns, lanes = array
    spread = torch.exp2(torch.randint(-9, 9, (k,)))
    changed = {
        "weight": torch.randn(n, k) * spread,
        "inputs": torch.randn(m, k) * spread.flip(0),
        "weight_format": weight_format,
        "input_format": input_format,
        "rows": rows,
        "columns": columns,
        "lanes": lanes,
    }
    case = simulate(BITMOD, tmp_path, cache, **changed)
    assert case.error is None
    assert (case.outputs, case.mismatches) == (m * n, 0)
    assert case.cycles_stall_free == case.cycles_stall_free_predicted
