"""OCP MX against the golden oracle and an own exact one; what its rounding promises; every code."""

import numpy as np
import pytest
import torch

from mxhw.errors import InputError
from mxhw.formats import MXIntFormat, parse_format
from mxhw.formats.mx import ELEMENT_TYPES
from tests.formats import oracle
from tests.formats.draws import differences, hard_rows

GOLDEN = {
    "mxfp4": "fp4_e2m1",
    "mxfp6-e2m3": "fp6_e2m3",
    "mxfp6-e3m2": "fp6_e3m2",
    "mxfp8-e4m3": "fp8_e4m3",
    "mxfp8-e5m2": "fp8_e5m2",
    "mxint8": "int8",
    "mxint4": "int4",
}
NAMES = [*ELEMENT_TYPES, *(f"mxint{b}" for b in range(2, 9))]


def exact(name: str, x: torch.Tensor, fault: str = "") -> torch.Tensor:
    """The oracle's values of rows whose last block may be short."""
    rows = []
    for row in x.tolist():
        values: list[float] = []
        for at in range(0, len(row), 32):
            block = row[at : at + 32]
            if name.startswith("mxint"):
                values += oracle.mx_int(block, int(name[5:]), fault)
            else:
                values += oracle.mx_float(block, name, fault)
        rows.append(values)
    return torch.tensor(rows)


@pytest.mark.parametrize("name", GOLDEN)
def test_values_and_scales_equal_the_golden_oracle(name, shared):
    x = torch.from_numpy(np.load(shared / "golden/mx/input.npy"))
    expected = torch.from_numpy(np.load(shared / f"golden/mx/oracle_{GOLDEN[name]}.npy"))
    fmt = parse_format(name)
    assert int((fmt.fake_quantize(x) != expected).sum()) == 0
    if name in ELEMENT_TYPES:
        scales = np.load(shared / f"golden/mx/oracle_{GOLDEN[name]}_scale_e8m0.npy")
        assert fmt.encode(x).metadata["exponent"].tolist() == scales.tolist()


@pytest.mark.parametrize("name", GOLDEN)
def test_a_single_changed_golden_value_is_noticed(name, shared):
    x = torch.from_numpy(np.load(shared / "golden/mx/input.npy"))
    expected = torch.from_numpy(np.load(shared / f"golden/mx/oracle_{GOLDEN[name]}.npy"))
    expected[40, 17] += 1
    assert int((parse_format(name).fake_quantize(x) != expected).sum()) == 1


@pytest.mark.parametrize("name", NAMES)
def test_equals_exact_rational_arithmetic_and_keeps_the_sign_of_zero(name):
    x = hard_rows(70, repeats=1)
    assert differences(parse_format(name).fake_quantize(x), exact(name, x)) == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_exact_oracle_notices_ties_that_round_away_from_zero(name):
    x = hard_rows(70, repeats=1)
    step = 2.0 ** -(8 if name == "mxfp8-e4m3" else 6)
    ties = (torch.arange(-70, 70, 2) + 1).unsqueeze(0) * step
    x = torch.cat([x, ties])
    assert differences(parse_format(name).fake_quantize(x), exact(name, x, fault="ties")) > 0


@pytest.mark.parametrize("name", NAMES)
def test_quantizing_twice_changes_nothing(name):
    fmt = parse_format(name)
    once = fmt.fake_quantize(hard_rows(64, seed=1))
    assert differences(fmt.fake_quantize(once), once) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("power", [-20, -1, 3, 25])
def test_scaling_by_a_power_of_two_commutes(name, power):
    x = torch.randn(64, 96)
    fmt = parse_format(name)
    assert differences(fmt.fake_quantize(x * 2.0**power), fmt.fake_quantize(x) * 2.0**power) == 0
    assert differences(fmt.fake_quantize(x * 1.5), fmt.fake_quantize(x) * 1.5) > 0


@pytest.mark.parametrize("name", ELEMENT_TYPES)
def test_every_finite_code_survives_decode_and_encode(name):
    element = ELEMENT_TYPES[name]
    codes = torch.arange(1 << element.bits, dtype=torch.uint8)
    values = element.values(codes)
    finite = values.abs() <= element.largest
    assert element.codes(values)[finite].tolist() == codes[finite].tolist()
    assert differences(element.round(values[finite]), values[finite]) == 0
    assert int(finite.sum()) == {"mxfp8-e4m3": 254, "mxfp8-e5m2": 248}.get(name, 1 << element.bits)


def test_the_element_values_are_those_of_the_standard():
    values = {name: element.values(torch.arange(1 << (element.bits - 1))) for name, element in ELEMENT_TYPES.items()}
    assert values["mxfp4"].tolist() == [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    assert values["mxfp6-e2m3"][[1, 8, 31]].tolist() == [0.125, 1, 7.5]
    assert values["mxfp6-e3m2"][[1, 4, 31]].tolist() == [0.0625, 0.25, 28]
    assert values["mxfp8-e4m3"][[1, 8, 126]].tolist() == [2.0**-9, 2.0**-6, 448]
    assert values["mxfp8-e5m2"][[1, 4, 123]].tolist() == [2.0**-16, 2.0**-14, 57344]


def test_an_element_type_without_int32_values_says_so():
    fmt = parse_format("mxfp8-e5m2")
    assert not fmt.has_integer_form
    with pytest.raises(InputError, match="mxfp8-e5m2"):
        fmt.integers(fmt.encode(torch.ones(1, 32)))


@pytest.mark.parametrize("width", [1, 9])
def test_other_widths_of_mxint_are_refused(width):
    with pytest.raises(InputError, match=f"2 to 8 bits, not {width}"):
        MXIntFormat(width)
