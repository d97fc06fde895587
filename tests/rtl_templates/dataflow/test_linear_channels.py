"""A linear unit whose output channels are in several formats, alone and for several layers: exact in simulation."""

import pytest

from mxhw.arithmetic import common_weight_type
from tests.rtl_templates.bank import Bench
from tests.rtl_templates.dataflow.test_linear_layers import INT8, Case
from tests.rtl_templates.gemm_streams import bitmod_product

# Two layers whose runs end elsewhere, and one in a single format.
MIXED = Case(INT8, ("bitmod4-g16*2+bitmod3-g16*4", "bitmod3-g16*5+bitmod4-clip-g16*1", "bitmod3-g16"), 24, 6, 2, 4)
OTHER = Case(INT8, ("bitmod3-g16*5+bitmod4-g16*1", *MIXED.w_formats[1:]), 24, 6, 2, 4)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench({"mixed": MIXED.unit, "other": OTHER.unit})


@pytest.mark.parametrize(("stall", "seed"), [(0.0, 0), (0.4, 1)])
def test_sums_are_those_of_every_channel_s_own_format(bench: Bench, stall: float, seed: int) -> None:
    assert MIXED.unit.gemm.weight_type.name == common_weight_type(MIXED.w_formats) == "fp4"
    inputs, y = MIXED.beats(seed)
    assert bench.y("mixed", inputs, len(y), stall=stall, seed=seed) == y


def test_a_layer_with_other_runs_is_found_wrong_in_their_channels(bench: Bench) -> None:
    inputs, y = MIXED.beats(0)
    found = bench.y("other", inputs, len(y))
    wrong = {(i // 3, i % 3) for i, (a, b) in enumerate(zip(found, y, strict=True)) if a != b}
    layers = inputs["layer"]
    assert {layers[token] for token, _ in wrong} == {0}
    assert {beat for _, beat in wrong} == {0, 2}  # channels 0, 1 and 5 are in another format; a beat has two


def test_a_streamed_product_has_the_codes_of_one_type() -> None:
    """As beats of a unit whose type is chosen at run time."""
    product = bitmod_product("bitmod4*2+bitmod3*3+int4-g128-s8*2", 3, 300, 7)
    plain = bitmod_product("int6-g128-s8", 3, 300, 7)
    assert product.job.beats.keys() == plain.job.beats.keys()
    assert product.equals(product.run(stall=0.3, seed=1))
    other = bitmod_product("bitmod4*3+bitmod3*2+int4-g128-s8*2", 3, 300, 7)
    assert not product.equals(other.run())
