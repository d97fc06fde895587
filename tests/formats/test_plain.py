"""The float types as formats: the cast of torch, saturating."""

import pytest
import torch

from mxhw.formats import parse_format
from tests.formats.draws import differences, hard_rows

TYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8-e4m3-unscaled": torch.float8_e4m3fn,
    "fp8-e5m2-unscaled": torch.float8_e5m2,
}


@pytest.mark.parametrize("name", TYPES)
def test_values_are_those_of_a_cast(name):
    x = hard_rows(40)
    x = x[x.abs().amax(-1) < torch.finfo(TYPES[name]).max / 1.1]
    assert differences(parse_format(name).fake_quantize(x), x.to(TYPES[name]).float()) == 0
    other = "fp16" if name == "bf16" else "bf16"
    assert differences(parse_format(other).fake_quantize(x), x.to(TYPES[name]).float()) > 0


@pytest.mark.parametrize("name", list(TYPES)[1:])
def test_large_values_saturate(name):
    largest = torch.finfo(TYPES[name]).max
    assert parse_format(name).fake_quantize(torch.tensor([3.4e38, -3.4e38])).tolist() == [largest, -largest]


@pytest.mark.parametrize("name", TYPES)
def test_a_non_finite_element_is_nan_alone(name):
    values = parse_format(name).fake_quantize(torch.tensor([1.0, torch.inf, torch.nan, 2.0]))
    assert values.isnan().tolist() == [False, True, True, False]


@pytest.mark.parametrize(("name", "bits"), [("fp32", 32), ("bf16", 16), ("fp16", 16)])
def test_the_ledger_is_the_width_alone(name, bits):
    assert parse_format(name).bits((7, 11)) == 77 * bits
    assert not parse_format(name).has_integer_form
