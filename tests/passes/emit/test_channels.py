"""A layer whose output channels are in several formats is emitted as one array's, exact in simulation."""

from pathlib import Path

import pytest

from mxhw import arithmetic
from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.passes.emit import emit_gemm
from mxhw.sim import run_cosim
from tests.passes.emit.test_gemm import field, words
from tests.sim.conftest import cache  # noqa: F401  (a fixture)
from tests.sim.layers import BITMOD, small_layer

MIXED = "bitmod4*2+bitmod3*4+bitmod4-clip*1"


def test_images_hold_the_codes_of_one_type_for_every_run(tmp_path: Path) -> None:
    """Read back through the weight type: each channel's integers are those of its own format."""
    source = small_layer(BITMOD, weight_format=MIXED)
    emitted = emit_gemm(source, tmp_path)
    kind = arithmetic.weight_type_named("fp4")
    form = parse_format(MIXED).integers(parse_format(MIXED).encode(source.weight))
    k = form.values.flatten(1).shape[1]
    chunks, groups = k // source.lanes, form.multiplier.shape[1]
    weights, metadata = (words(emitted.folder / f"{name}.hex") for name in ("weights", "metadata"))
    for n in range(source.weight.shape[0]):
        tile, column = divmod(n, source.columns)
        for g in range(groups):
            entry = field(metadata[tile * groups + g], column, 10)
            assert entry & 255 == form.multiplier[n, g]
            for i in range(k // groups):
                chunk, lane = divmod(g * (k // groups) + i, source.lanes)
                code = field(weights[tile * chunks + chunk], column * source.lanes + lane, kind.code_bits)
                assert kind.value(code, entry >> 8) == form.values[n, g, i]


def test_the_unit_is_that_of_the_widest_run_alone(tmp_path: Path) -> None:
    mixed = emit_gemm(small_layer(BITMOD, weight_format=MIXED), tmp_path / "mixed").design
    plain = emit_gemm(small_layer(BITMOD), tmp_path / "plain").design
    assert (mixed.top, mixed.images, mixed.cycles_stall_free) == (plain.top, plain.images, plain.cycles_stall_free)
    assert (mixed.weight_format, plain.weight_format) == (MIXED, "bitmod4")


@pytest.mark.parametrize(
    ("weights", "inputs", "unit"),
    [(MIXED, "int8-e8m0", BITMOD), ("dialect4*3+dialect4-search*4", "dialect4-online", "dialect")],
)
def test_every_output_is_exact_and_a_flipped_bit_is_seen(
    weights: str,
    inputs: str,
    unit: str,
    tmp_path: Path,
    cache: Path,  # noqa: F811
) -> None:
    """The outputs expected are those of :func:`mxhw.arithmetic.gemm`, which multiplies run by run to the same."""
    source = small_layer(unit, weight_format=weights, input_format=inputs)
    folder = emit_gemm(source, tmp_path).folder
    case = run_cosim(folder, seed=3, stall=0.35, engine="bulk", cache=cache).cases[0]
    assert (case.error, case.outputs, case.mismatches) == (None, 35, 0)
    assert case.cycles_stall_free == case.cycles_stall_free_predicted
    lines = (folder / "weights.hex").read_text().split()
    lines[3] = f"{int(lines[3], 16) ^ 32:x}"
    (folder / "weights.hex").write_text("\n".join(lines) + "\n")
    assert run_cosim(folder, seed=3, stall=0.35, engine="bulk", cache=cache).cases[0].mismatches > 0


def test_runs_without_an_array_are_refused(tmp_path: Path) -> None:
    source = small_layer(BITMOD, weight_format="bitmod4*3+int8*4")
    with pytest.raises(
        InputError, match=r"no array multiplies int8-e8m0 inputs by bitmod4\*3\+int8\*4 weights: bitmod4"
    ):
        emit_gemm(source, tmp_path)
    with pytest.raises(InputError, match="the runs have 8 channels, and dimension 0"):
        emit_gemm(small_layer(BITMOD, weight_format="bitmod4*4+bitmod3*4"), tmp_path)
    assert list(tmp_path.iterdir()) == []
