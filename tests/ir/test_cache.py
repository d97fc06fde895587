"""A quantized KV cache: a block is rounded when it is full, by itself, once; the newest tokens stay exact."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.ir.cache import cache_bits, quantize_cache, tokens_per_block
from tests.ir.slow_cache import TokenList

RULES = [
    ("mxfp4", -1),
    ("mxint4-b4", -2),
    ("int4-g3-asym", -2),
    ("int8", -1),
    ("bitmod4", -1),
    ("nf4-g5", -2),
    ("bf16", -2),
    ("dialect4-b16", -2),
]


def states(tokens: int, batch: int = 2, heads: int = 3, size: int = 6) -> Tensor:
    return torch.randn(batch, heads, tokens, size)


@pytest.mark.parametrize(("name", "axis"), RULES)
@given(runs=st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_runs_of_any_length_equal_the_list_of_tokens(name: str, axis: int, runs: list[int]) -> None:
    slow, cache = TokenList((name, axis)), states(0)
    for length in runs:
        new = states(length)
        stored = cache.shape[2]
        cache = quantize_cache(torch.cat([cache, new], dim=2), name, axis, stored)
        assert torch.equal(cache, slow.add(new))


@pytest.mark.parametrize(("name", "axis"), RULES)
def test_only_whole_blocks_are_rounded(name: str, axis: int) -> None:
    x, fmt = states(23), parse_format(name)
    block = tokens_per_block(fmt, axis)
    full = 23 // block * block
    rounded = quantize_cache(x, name, axis)
    assert torch.equal(rounded[:, :, full:], x[:, :, full:])
    for start in range(0, full, block):
        part = x[:, :, start : start + block]
        assert torch.equal(rounded[:, :, start : start + block], fmt.fake_quantize(part, axis=axis))
    assert full == 0 or not torch.equal(rounded[:, :, :full], x[:, :, :full])


def test_what_is_stored_is_never_rounded_again() -> None:
    planted = states(10)
    after = quantize_cache(planted, "mxint2-b4", -2, 6)
    assert torch.equal(after[:, :, :4], planted[:, :, :4])  # a whole block of before
    assert not torch.equal(after[:, :, 4:8], planted[:, :, 4:8])  # completed now
    assert torch.equal(after[:, :, 8:], planted[:, :, 8:])


def test_rounding_the_whole_cache_again_would_be_seen() -> None:
    once = quantize_cache(states(8), "int4-g4-asym", -2)
    assert torch.equal(quantize_cache(once, "int4-g4-asym", -2, 8), once)
    assert not torch.equal(quantize_cache(once, "int4-g4-asym", -2, 0), once)


def test_a_cache_without_the_newest_tokens_exact_would_be_seen() -> None:
    x = states(7)
    whole = parse_format("mxint4-b4").fake_quantize(x, axis=-2)
    assert not torch.equal(quantize_cache(x, "mxint4-b4", -2), whole)


def test_the_given_tensor_is_left_alone_and_never_returned() -> None:
    for tokens in (3, 4):
        x = states(tokens)
        before = x.clone()
        result = torch.ops.mxhw.quantize_cache(x, "mxint4-b4", -2)
        assert result.data_ptr() != x.data_ptr() and torch.equal(x, before)


@pytest.mark.parametrize(
    ("name", "axis", "message"),
    [
        ("nvfp4", -1, r"^nvfp4 cannot round a cache along axis -1: .*; choose a format whose blocks stand alone"),
        ("int8-tensor", -2, r"^int8-tensor cannot round a cache along axis -2"),
        ("int8", -2, r"^int8 cannot round a cache along axis -2: .*choose axis -1 or a format"),
        ("bitmod4", -2, r"^bitmod4 cannot round a cache along axis -2"),
        ("mxfp4", 1, r"^axis of a cache must be -1 \(per token\) or -2 \(per block of tokens\), not 1"),
        ("mxfp", -1, r"mxfp"),
    ],
)
def test_formats_whose_scales_later_tokens_would_change_are_refused(name: str, axis: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        quantize_cache(states(4), name, axis)


def test_two_dimensional_blocks_wait_for_their_tokens() -> None:
    name = "mxint4-b2x4"
    fmt = parse_format(name)
    assert (tokens_per_block(fmt, -1), tokens_per_block(fmt, -2)) == (2, 4)
    x = states(5)
    rounded = quantize_cache(x, name, -1)
    assert torch.equal(rounded[:, :, :4], fmt.fake_quantize(x[:, :, :4], axis=-1))
    assert torch.equal(rounded[:, :, 4:], x[:, :, 4:])


def test_bits_count_the_newest_tokens_as_floats() -> None:
    fmt, floats = parse_format("mxint4-b4"), parse_format("fp32")
    per_vector = 4 * 4 + 8
    assert cache_bits(fmt, (2, 3, 11, 6), -2, floats) == 2 * 3 * 6 * (2 * per_vector + 3 * 32)
    assert cache_bits(fmt, (2, 3, 8, 6), -2, floats) == 2 * 3 * 6 * 2 * per_vector
    assert cache_bits(fmt, (2, 3, 3, 6), -2, floats) == 2 * 3 * 6 * 3 * 32
    assert cache_bits(fmt, (2, 3, 11, 6), -1, floats) == fmt.bits((2, 3, 11, 6), axis=-1)


def test_gradients_pass_straight_through() -> None:
    x = states(5).requires_grad_()
    weights = torch.randn_like(x)
    (torch.ops.mxhw.quantize_cache(x, "mxint4-b4", -2) * weights).sum().backward()
    assert torch.equal(x.grad, weights)


def test_export_keeps_the_operator_whole() -> None:
    class Rounding(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ops.mxhw.quantize_cache(x, "mxint4-b4", -2, x.shape[2] - 1) * 2

    dims = ({2: torch.export.Dim("tokens")},)
    exported = torch.export.export(Rounding(), (states(9),), dynamic_shapes=dims).module()
    assert sum(node.target is torch.ops.mxhw.quantize_cache.default for node in exported.graph.nodes) == 1
    x = states(12)
    assert torch.equal(exported(x), quantize_cache(x, "mxint4-b4", -2, 11) * 2)
