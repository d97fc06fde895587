"""What is emitted is the layer: images, beats and scales, read back without the code that wrote them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mxhw import arithmetic
from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.passes.emit import emit_gemm
from mxhw.passes.emit import gemm as gemm_module
from mxhw.sim import GemmDesign
from tests.sim.layers import BITMOD, DIALECT, small_layer

UNITS = (BITMOD, DIALECT)


def words(path: Path) -> list[int]:
    return [int(line, 16) for line in path.read_text().splitlines()]


def field(word: int, index: int, bits: int) -> int:
    return (word >> (index * bits)) & ((1 << bits) - 1)


@pytest.mark.parametrize("unit", UNITS)
def test_weight_image_holds_every_stored_code_in_the_unit_s_order(unit: str, tmp_path: Path) -> None:
    source = small_layer(unit)
    emitted = emit_gemm(source, tmp_path)
    fmt = parse_format(source.weight_format)
    codes = fmt.stored(fmt.encode(source.weight))["code"].flatten(1)
    image = words(emitted.folder / "weights.hex")
    bits = fmt.fields[0].bits
    chunks = codes.shape[1] // source.lanes
    assert len(image) == emitted.design.column_tiles * chunks
    for n in range(codes.shape[0]):
        tile, column = divmod(n, source.columns)
        for k in range(codes.shape[1]):
            chunk, lane = divmod(k, source.lanes)
            assert field(image[tile * chunks + chunk], column * source.lanes + lane, bits) == codes[n, k]


@pytest.mark.parametrize("unit", UNITS)
def test_metadata_image_holds_every_block_s_fields(unit: str, tmp_path: Path) -> None:
    source = small_layer(unit)
    emitted = emit_gemm(source, tmp_path)
    fmt = parse_format(source.weight_format)
    stored = fmt.stored(fmt.encode(source.weight))
    low, high, shift = ("multiplier", "selector", 8) if unit == BITMOD else ("dialect", "exponent", 4)
    expected = stored[low] | (stored[high] << shift)
    image = words(emitted.folder / "metadata.hex")
    groups = expected.shape[1]
    for n in range(expected.shape[0]):
        tile, column = divmod(n, source.columns)
        for g in range(groups):
            assert field(image[tile * groups + g], column, 10 if unit == BITMOD else 9) == expected[n, g]


@pytest.mark.parametrize("unit", UNITS)
def test_expected_beats_times_the_emitted_scales_are_the_hardware_arithmetic(unit: str, tmp_path: Path) -> None:
    source = small_layer(unit)
    emitted = emit_gemm(source, tmp_path)
    design = GemmDesign.load(emitted.folder)
    assert design == emitted.design
    accumulators = np.zeros((design.m, design.n), dtype=object)
    for index, word in enumerate(words(emitted.folder / "y_beats.hex")):
        row, first = design.place(index)
        for offset, value in enumerate(design.accumulators(word)):
            if row < design.m and first + offset < design.n:
                accumulators[row, first + offset] = value
            else:
                assert value == 0
    rows, tokens = (scales(emitted.folder / f"{name}_scales.hex") for name in ("row", "token"))
    got = accumulators.astype(np.float64) * tokens[:, None] * rows[None, :] * 2.0**design.exponent
    want = arithmetic.gemm(source.inputs, source.weight, source.input_format, source.weight_format)
    assert torch.equal(torch.from_numpy(got).float(), want)


def scales(path: Path) -> np.ndarray:
    return np.array(words(path), dtype=np.uint32).view(np.float32).astype(np.float64)


def test_equal_geometry_gives_equal_verilog(tmp_path: Path) -> None:
    first = emit_gemm(small_layer(BITMOD), tmp_path)
    other = small_layer(BITMOD, node="other")
    second = emit_gemm(replace(other, weight=other.weight.flip(0)), tmp_path)
    name = first.design.verilog[0]
    assert (first.folder / name).read_text() == (second.folder / name).read_text()
    assert (first.folder / "weights.hex").read_text() != (second.folder / "weights.hex").read_text()


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emitted = emit_gemm(small_layer(BITMOD), tmp_path)
    (emitted.folder / "stale").write_text("")
    emit_gemm(small_layer(BITMOD), tmp_path)
    assert not (emitted.folder / "stale").exists()
    before = (emitted.folder / "weights.hex").read_text()

    def fail(self: Path, text: str) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gemm_module.Path, "write_text", fail)
    with pytest.raises(InputError, match=r"cannot write the emitted layer .*No space left"):
        emit_gemm(small_layer(BITMOD, inputs=torch.ones(1, 140)), tmp_path)
    assert (emitted.folder / "weights.hex").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == [emitted.folder.name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_format": "mxfp4"}, "no hardware unit multiplies mxfp4 inputs by bitmod4 weights"),
        ({"weight_format": "bitmod5"}, "bitmod"),
        ({"rows": 0}, "rows of an array must be 1 to 256, not 0"),
        ({"columns": 1000}, "columns of an array must be 1 to 256, not 1000"),
        ({"lanes": 0}, "lanes"),
        ({"inputs": torch.full((2, 140), torch.nan)}, "cannot encode nan at index"),
        ({"node": ""}, "must have a name"),
    ],
)
def test_what_cannot_be_emitted_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        emit_gemm(small_layer(BITMOD, **changes), tmp_path)
    assert not list(tmp_path.iterdir())


def test_operands_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"inputs must be \[\.\.\., 140\] like the weight, not \[2, 139\]"):
        small_layer(BITMOD, inputs=torch.ones(2, 139))
    with pytest.raises(InputError, match=r"weight must be \[N, K\]"):
        small_layer(BITMOD, weight=torch.ones(140))
