"""Quantizers are the formats' own encoding, products are exact sums, and bounds are reached."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mxhw.arithmetic import gemm
from mxhw.arithmetic.dataflow import BlockValues, Integers, Linear, Quantize, code_stream
from mxhw.arithmetic.dataflow.products import SumBounds, share_products
from mxhw.errors import InputError
from mxhw.formats import parse_format

PAIRS = [
    ("int8-e8m0", "int8"),
    ("int8-e8m0", "int4-g128-s8"),
    ("int6-e8m0", "bitmod4"),
    ("int8-e8m0", "bitmod3"),
    ("dialect4-online", "dialect4"),
    ("dialect4-online-b16", "dialect4-online-b16"),
]


def mantissas(rows: int, length: int, seed: int = 0) -> Tensor:
    """Int16 vectors of all sizes: a zero one, the largest ones of both signs, a single outlier."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.exp2(torch.randint(0, 15, (rows, 1), generator=generator).double())
    x = (torch.randn(rows, length, generator=generator).double() * spread).round().clamp(-32767, 32767).long()
    x[0], x[1], x[2] = 0, 32767, -32767
    x[3, 1:] = 0
    return x


def quantizer(name: str, length: int, exponent: int = -10, block: int | None = None) -> Quantize:
    x = Integers(length=length, bits=16, exponent=exponent)
    return Quantize(x=x, y=code_stream(parse_format(name), x, block))


def values(found: BlockValues, operation: Quantize) -> Tensor:
    unit = torch.exp2((found.scale + operation.y.exponent).double())
    return (found.mantissas * unit.unsqueeze(-1)).flatten(-2)[..., : operation.y.length]


@pytest.mark.parametrize("name", ["int8-e8m0", "int4-e8m0", "dialect4-online", "dialect4-online-b16"])
@pytest.mark.parametrize("length", [32, 40])
@pytest.mark.parametrize("exponent", [-10, -3])
def test_codes_are_those_of_the_format(name: str, length: int, exponent: int) -> None:
    operation, m = quantizer(name, length, exponent), mantissas(40, length)
    wanted = parse_format(name).fake_quantize((m * 2.0**exponent).float()).double()
    assert torch.equal(values(operation.run(m[None]), operation)[0], wanted)


def test_each_head_has_a_scale_of_its_own() -> None:
    operation, m = quantizer("int8-e8m0", 48, block=16), mantissas(40, 48)
    wanted = parse_format("int8-e8m0").fake_quantize((m * 2.0**-10).float().view(40, 3, 16)).view(40, 48).double()
    found = operation.run(m[None])
    assert found.scale.shape == (1, 40, 3)
    assert torch.equal(values(found, operation)[0], wanted)
    assert not torch.equal(wanted, parse_format("int8-e8m0").fake_quantize((m * 2.0**-10).float()).double())


@pytest.mark.parametrize(("x_format", "w_format"), PAIRS)
@pytest.mark.parametrize("length", [64, 200])
def test_a_product_is_that_of_the_unit(x_format: str, w_format: str, length: int) -> None:
    quantize, m = quantizer(x_format, length), mantissas(20, length)
    weight = torch.randn(24, length) * torch.exp2(torch.randint(-3, 3, (24, 1)))
    linear = Linear.of(weight, quantize.y, parse_format(x_format), parse_format(w_format))
    sums = linear.run(quantize.run(m[None]))[0]
    found = sums.double() * linear.scales * 2.0**linear.output.exponent
    exact = gemm((m * 2.0**-10).float(), weight, x_format, w_format)
    assert torch.equal(found.float(), exact)
    assert int(sums.abs().max()) <= linear.largest


@pytest.mark.parametrize(("x_format", "w_format"), PAIRS)
def test_a_product_is_the_sum_of_python_integers(x_format: str, w_format: str) -> None:
    quantize, m = quantizer(x_format, 40), mantissas(6, 40)
    linear = Linear.of(torch.randn(5, 40), quantize.y, parse_format(x_format), parse_format(w_format))
    codes = quantize.run(m[None])
    rows, columns = codes.integers[0].tolist(), linear.matrix.long().tolist()
    wanted = [[sum(a * b for a, b in zip(row, column, strict=True)) for column in columns] for row in rows]
    assert linear.run(codes)[0].tolist() == wanted


def worst_sum(linear: Linear, sign: int) -> int:
    """The sum of the heaviest row with the largest codes of its signs."""
    x, row = linear.x, int(linear.matrix.abs().sum(-1).argmax())
    direction = sign * torch.sign(linear.matrix[row]).long().view(1, 1, x.blocks, x.block)
    if x.kind == "integer":
        scale = torch.full((1, 1, x.blocks), 15)
        worst = BlockValues(direction * ((1 << x.bits - 1) - 1), scale)
    else:  # the largest magnitude is index 7 of dialect 0; a zero weight does not care
        codes = torch.where(direction < 0, 15, 7)
        scale = torch.full((1, 1, x.blocks), 14)
        worst = BlockValues(codes, scale, torch.zeros_like(scale))
    return int(linear.run(worst)[0, 0, row])


@pytest.mark.parametrize(("x_format", "w_format"), PAIRS)
@pytest.mark.parametrize("sign", [1, -1])
def test_sums_reach_their_bound_and_need_every_bit(x_format: str, w_format: str, sign: int) -> None:
    linear = Linear.of(torch.randn(8, 64), quantizer(x_format, 64).y, parse_format(x_format), parse_format(w_format))
    assert worst_sum(linear, sign) == sign * linear.largest
    bits = linear.output.bits
    assert linear.largest <= (1 << bits - 1) - 1
    assert linear.largest > (1 << bits - 2) - 1  # one bit less would not hold it


SHARED = [
    ("int8-e8m0", ("int8", "int8", "int8"), None),
    ("int8-e8m0", ("bitmod4", "bitmod3", "bitmod4"), "fp4"),
    ("int8-e8m0", ("bitmod3", "bitmod3", "bitmod3"), None),
    ("int8-e8m0", ("int6", "int8", "int6"), "int8"),
    ("dialect4-online", ("dialect4", "dialect4", "dialect4"), None),
]


def layers(x_format: str, w_formats: tuple[str, ...], seed: int = 0) -> list[Linear]:
    """Products whose weights are 32 times larger from one layer to the next; in layer 1 all are the largest."""
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(8, 128, generator=generator) * 32.0**layer for layer in range(len(w_formats))]
    weights[1:2] = [weight.sign() * 32 for weight in weights[1:2]]
    x = quantizer(x_format, 128).y
    return [Linear.of(w, x, parse_format(x_format), parse_format(f)) for w, f in zip(weights, w_formats, strict=True)]


@pytest.mark.parametrize(("x_format", "w_formats", "shared"), SHARED)
def test_shared_products_have_sums_of_one_type_and_the_values_that_they_had(x_format, w_formats, shared) -> None:
    own = layers(x_format, w_formats)
    found = share_products(own)
    assert len({each.output for each in own}) > 1
    assert len({each.output for each in found}) == 1
    assert {each.shared for each in found} == {shared}
    codes = quantizer(x_format, 128).run(mantissas(20, 128)[None])
    for before, after in zip(own, found, strict=True):
        wanted = before.run(codes).double() * before.scales * 2.0**before.output.exponent
        assert torch.equal(after.run(codes).double() * after.scales * 2.0**after.output.exponent, wanted)
        assert after.encoded is before.encoded
    assert [each.bounds for each in share_products(found)] == [each.bounds for each in found]


@pytest.mark.parametrize(("x_format", "w_formats", "shared"), SHARED)
@pytest.mark.parametrize("sign", [1, -1])
def test_one_of_the_shared_products_reaches_their_bound(x_format, w_formats, shared, sign: int) -> None:
    found = share_products(layers(x_format, w_formats))
    worst = [abs(worst_sum(each, sign)) for each in found]
    bits = found[0].output.bits
    assert max(worst) == found[0].largest <= (1 << bits - 1) - 1
    assert found[0].largest > (1 << bits - 2) - 1  # one bit less would not hold it


def test_bounds_that_do_not_hold_are_refused() -> None:
    small, _, large = share_products(layers("dialect4-online", ("dialect4",) * 3))
    bounds = small.bounds
    assert bounds is not None
    with pytest.raises(InputError, match=r"unit of sums must be at most 2\^"):
        _ = replace(small, bounds=SumBounds(bounds.floor + 1, bounds.largest)).matrix
    with pytest.raises(InputError, match="sums must be at most"):
        _ = replace(large, bounds=SumBounds(bounds.floor, bounds.largest - 1)).matrix
    assert SumBounds.joined([SumBounds(-3, 5), SumBounds(-1, 4)]) == SumBounds(-3, 16)


def test_products_that_no_array_computes_together_are_refused() -> None:
    (first, *_), (other, *_) = layers("int8-e8m0", ("int8",)), layers("dialect4-online", ("dialect4",))
    with pytest.raises(InputError, match="cannot share an array"):
        share_products([first, other])
    with pytest.raises(InputError, match="cannot share an array"):
        share_products([first, layers("int6-e8m0", ("int8",))[0]])
    with pytest.raises(InputError, match="no array in common"):
        share_products(layers("int8-e8m0", ("int8", "bitmod4")))


def test_formats_without_a_quantizer_or_a_unit_are_refused() -> None:
    x = Integers(length=32, bits=16, exponent=0)
    for name in ("int8", "int8-g32-e8m0", "mxfp4", "dialect4", "bitmod4"):
        with pytest.raises(InputError, match="no on-line quantizer"):
            code_stream(parse_format(name), x)
    with pytest.raises(InputError, match="16 bits, not 24"):
        code_stream(parse_format("int8-e8m0"), Integers(length=32, bits=24, exponent=0))
    codes = code_stream(parse_format("int8-e8m0"), x)
    with pytest.raises(InputError, match="no hardware unit"):
        Linear.of(torch.randn(4, 32), codes, parse_format("int8-e8m0"), parse_format("dialect4"))
    with pytest.raises(InputError, match=r"\[N, 32\]"):
        Linear.of(torch.randn(4, 33), codes, parse_format("int8-e8m0"), parse_format("bitmod4"))
