"""Weights whose output channels are in several formats: each channel's sums are those of its own format, in one array.

The oracle multiplies run by run, each in its own format; the codes of the array are read back through its weight type.
"""

from itertools import product

import pytest
import torch
from torch import Tensor

from mxhw.arithmetic import (
    HardwareGemm,
    array_fields,
    common_weight_type,
    gemm,
    supports,
    unit_for,
    weight_group,
    weight_type,
    weight_type_named,
    weight_unit,
    why_no_array,
)
from mxhw.arithmetic.dataflow import Integers, Linear, Quantize, code_stream
from mxhw.errors import InputError
from mxhw.formats import ChannelGroups, parse_format
from mxhw.rtl_templates import BitModGemm, GemmShape

INT8, DIALECT = "int8-e8m0", "dialect4-online"
# Runs, inputs, and the type of the array.
ARRAYS = [
    ("bitmod4*5+bitmod3*4", INT8, "fp4"),
    ("bitmod3*2+bitmod4*1+bitmod3*3+bitmod4-clip*2", INT8, "fp4"),
    ("bitmod3*3+int4-g128-s8*4", INT8, "int4"),
    ("bitmod4-g64*3+int6-g64-s8*2+bitmod3-g64*1", INT8, "int6"),
    ("int8*2+int4*3+int8-e8m0*1+int4-tensor*2", INT8, "int8"),
    ("bitmod3*3+bitmod3-clip*2", INT8, "fp3"),
    ("bitmod4*6", INT8, "fp4"),
    ("dialect4*3+dialect4-search*4", DIALECT, "dialect4"),
]


def runs_of(name: str) -> list[tuple[str, int]]:
    return [(run.split("*")[0], int(run.split("*")[1])) for run in name.split("+")]


def operands(name: str, k: int = 300) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(len(name))
    n = sum(count for _, count in runs_of(name))
    weight = torch.randn(n, k, generator=generator) * torch.exp2(torch.randint(-3, 3, (n, 1), generator=generator))
    return weight, torch.randn(2, 3, k, generator=generator)


def by_runs(x: Tensor, weight: Tensor, name: str, x_format: str) -> Tensor:
    """Each run in its own format, with nothing of the others."""
    sizes = [count for _, count in runs_of(name)]
    parts = zip(weight.split(sizes), runs_of(name), strict=True)
    return torch.cat([gemm(x, part.clone(), x_format, own) for part, (own, _) in parts], -1)


@pytest.mark.parametrize(("name", "x_format", "kind"), ARRAYS)
def test_the_product_is_that_of_every_run_in_its_own_format(name: str, x_format: str, kind: str) -> None:
    weight, x = operands(name)
    expected = by_runs(x, weight, name, x_format)
    assert torch.equal(gemm(x, weight, x_format, name), expected)
    assert torch.equal(HardwareGemm(weight, x_format, name)(x), expected)
    assert common_weight_type([name]) == kind
    assert supports(x_format, name) == weight_unit(name) == ("dialect" if kind == "dialect4" else "bitmod")


def test_a_channel_in_its_neighbours_format_is_seen() -> None:
    name, wrong = "bitmod4*5+bitmod3*4", "bitmod4*6+bitmod3*3"
    weight, x = operands(name)
    wanted, found = by_runs(x, weight, name, INT8), gemm(x, weight, INT8, wrong)
    assert [bool((wanted[..., n] != found[..., n]).any()) for n in range(9)] == [n == 5 for n in range(9)]


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, x, kind in ARRAYS if x == INT8])
def test_the_codes_of_the_array_mean_every_run_s_integers(name: str, kind: str) -> None:
    fmt, (weight, _) = parse_format(name), operands(name)
    encoded, type_ = fmt.encode(weight), weight_type_named(kind)
    fields, form = array_fields(fmt, encoded, kind), fmt.integers(encoded)
    assert int(fields["code"].min()) >= 0
    assert int(fields["code"].max()) < 1 << type_.code_bits
    selectors = fields.get("selector", torch.zeros(form.multiplier.shape, dtype=torch.int64))
    table = torch.tensor(
        [[type_.value(code, s) for code in range(1 << type_.code_bits)] for s in range(len(type_.special_values) or 1)]
    )
    assert torch.equal(table[selectors[..., None].expand_as(fields["code"]), fields["code"]], form.values.long())
    assert ("multiplier" in fields) == (weight_group(name) is not None)
    if "multiplier" in fields:
        assert torch.equal(fields["multiplier"], form.multiplier.long())
    assert ("selector" in fields) == bool(type_.special_values)


@pytest.mark.parametrize("fault", ["code", "selector"])
def test_codes_that_are_not_recoded_are_found_wrong(fault: str) -> None:
    """FP3's own codes in the array of FP4, and its selectors with them."""
    fmt = parse_format("bitmod4*3+bitmod3*3")
    encoded = fmt.encode(operands("bitmod4*3+bitmod3*3")[0])
    fields, own = array_fields(fmt, encoded, "fp4"), fmt.stored(encoded)
    assert not torch.equal(fields[fault][3:], own[fault][3:])
    assert torch.equal(fields[fault][:3], own[fault][:3])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("int8*3+bitmod4*4", "int8 and bitmod4 weights have no array in common: no groups and groups of 128"),
        ("bitmod4*3+bitmod3-g64*4", "bitmod4 and bitmod3-g64 weights .*: groups of 128 and groups of 64"),
        ("bitmod4*3+dialect4*4", "bitmod4 and dialect4 weights have no array in common: their units differ"),
        ("dialect4*3+dialect4-b16*4", "dialect4 and dialect4-b16 weights .*: groups of 32 and groups of 16"),
        ("bitmod4*3+mxfp4*4", "no hardware unit takes mxfp4 weights"),
        ("bitmod4*3+bitmod3-sf16*4", "no hardware unit takes bitmod3-sf16 weights"),
    ],
)
def test_runs_without_an_array_in_common_are_named(name: str, reason: str) -> None:
    fmt = parse_format(name)
    assert isinstance(fmt, ChannelGroups)
    assert why_no_array([fmt]) is not None
    assert weight_unit(fmt) is None
    assert [supports(x, fmt) for x in (INT8, DIALECT, "dialect4")] == [None] * 3
    for refused in (lambda: unit_for(INT8, fmt), lambda: HardwareGemm(torch.ones(7, 128), INT8, fmt)):
        with pytest.raises(InputError, match=reason) as caught:
            refused()
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=reason):
        common_weight_type([fmt])


def test_one_type_is_asked_of_the_array_not_of_the_format() -> None:
    with pytest.raises(InputError, match="no weight type for bitmod4"):
        weight_type("bitmod4*2+bitmod3*2")
    assert weight_type("bitmod4*2") == "fp4"


def test_the_array_of_two_supported_formats_hides_the_scales_of_the_smallest_groups() -> None:
    names = [*(f"int{bits}-g{g}-s8" for bits in range(2, 9) for g in (16, 32)), "bitmod3-g16", "bitmod4-g16"]
    units = 0
    for first, second in product(names, repeat=2):
        name = f"{first}*2+{second}*2"
        if supports(INT8, name) is not None:
            shape = GemmShape(rows=1, columns=1, n=4, k=32, lanes=4)
            BitModGemm(shape, weight_type=common_weight_type([name]), group=weight_group(name))
            units += 1
    assert units > len(names)


@pytest.mark.parametrize(("name", "x_format", "kind"), ARRAYS)
def test_the_sums_of_a_lowered_layer_are_those_of_every_run(name: str, x_format: str, kind: str) -> None:
    """In one type, whose units may be smaller than those of a run alone."""
    weight, _ = operands(name)
    source = Integers(length=weight.shape[1], bits=16, exponent=-12)
    codes = code_stream(parse_format(x_format), source)
    whole = Linear.of(weight, codes, parse_format(x_format), parse_format(name))
    mantissas = torch.randint(
        -(1 << 15) + 1, 1 << 15, (2, 5, weight.shape[1]), generator=torch.Generator().manual_seed(0)
    )
    values = Quantize(x=source, y=codes).run(mantissas)
    sums, start = whole.run(values), 0
    for own, count in runs_of(name):
        rows = slice(start, start + count)
        # Of one scale a tensor the run's own is kept.
        part = Linear.of(weight[rows].clone(), codes, parse_format(x_format), parse_format(own))
        shift = part.floor - whole.floor
        assert torch.equal(sums[..., rows], part.run(values) << shift)
        assert torch.equal(whole.scales[rows], part.scales)
        start += count
    assert whole.output.bits >= max(2, int(sums.abs().max()).bit_length() + 1)
