"""The ledger counts every stored bit of every operand, by the formats' own account."""

import pytest

from mxhw.formats import parse_format
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis import ledger


def test_bits_are_those_of_the_formats(tiny: Graph, uniform) -> None:
    found = ledger(tiny, uniform("dialect4", "int8-e8m0", "int8-e8m0"), sequence=32)
    # dialect4: 4 bits an element and 9 a block of 32 along K; K is 32 or 48 (padded to 64), the head is 64 x 32
    elements = bits = 0
    for layer_shapes in [[(32, 32), (16, 32), (16, 32), (32, 32), (48, 32), (48, 32), (32, 48)]] * 2 + [[(64, 32)]]:
        for n, k in layer_shapes:
            blocks = -(-k // 32)
            elements += n * k
            bits += n * blocks * (32 * 4 + 9)
    assert found.weight_bits == bits
    assert found.bits_per_weight == bits / elements
    assert found.bits_per_input > 8  # codes of 8 bits and an exponent per token


def test_a_site_without_format_costs_its_float_type(tiny: Graph) -> None:
    assert ledger(tiny, Assignment("tiny")).bits_per_weight == 32
    one = ledger(tiny, Assignment("tiny", {"lm_head:weight": "int8"}))
    saved = parse_format("fp32").bits((64, 32)) - parse_format("int8").bits((64, 32))
    assert one.weight_bits == ledger(tiny, Assignment("tiny")).weight_bits - saved


@pytest.mark.parametrize("sequence", [8, 64])
def test_bits_per_input_count_scales_per_token(tiny: Graph, uniform, sequence: int) -> None:
    found = ledger(tiny, uniform("int8", "int8-e8m0", "int8-e8m0"), sequence=sequence)
    names = [info.name for info in tiny.gemms if info.op == "linear"]
    widths = [tiny.nodes[name].gemm(1, sequence).k for name in names]
    expected = sum(8 * k + 8 for k in widths) / sum(widths)
    assert found.bits_per_input == pytest.approx(expected)
