"""DialectFP4 against the golden vectors and an own exact oracle: both rules, their ties, all codes."""

import numpy as np
import pytest
import torch

from mxhw.errors import InputError
from mxhw.formats import DIALECT_RANGES, DIALECT_TABLE, DialectFormat, parse_format
from tests.formats import oracle
from tests.formats.draws import differences, hard_rows

NAMES = [f"dialect4{rule}{block}" for rule in ("", "-online") for block in ("", "-b16", "-b64")]


def exact(fmt: DialectFormat, x: torch.Tensor, fault: str = "") -> tuple[torch.Tensor, list[int], list[int]]:
    """The oracle's values, dialects and stored exponents of rows whose last block may be short."""
    values, dialects, exponents = [], [], []
    for row in x.tolist():
        for at in range(0, len(row), fmt.block):
            padded = row[at : at + fmt.block] + [0.0] * max(0, at + fmt.block - len(row))
            block, dialect, exponent = oracle.dialect(padded, fmt.online, fault)
            values += block[: len(row) - at]
            dialects.append(dialect)
            exponents.append(exponent)
    return torch.tensor(values).view(x.shape), dialects, exponents


@pytest.mark.parametrize(("name", "prefix"), [("dialect4", "w"), ("dialect4-online", "a")])
def test_codes_dialects_exponents_and_values_equal_the_golden_vectors(name, prefix, shared):
    golden = {
        key: torch.from_numpy(np.load(shared / f"golden/dialect/{prefix}_{key}.npy"))
        for key in ("codes", "dialect", "exp", "dequant")
    }
    x = torch.from_numpy(np.load(shared / "golden/dialect/x.npy"))
    fmt = parse_format(name)
    encoded = fmt.encode(x)
    assert int((encoded.codes[:, 0] != golden["codes"]).sum()) == 0
    assert int((encoded.metadata["dialect"][:, 0] != golden["dialect"]).sum()) == 0
    assert int((encoded.metadata["exponent"][:, 0] != golden["exp"]).sum()) == 0
    assert differences(fmt.fake_quantize(x), golden["dequant"]) == 0


def test_the_tie_to_the_odd_dialect_is_noticed(shared):
    x = torch.from_numpy(np.load(shared / "golden/dialect/x.npy"))
    odd = torch.from_numpy(np.load(shared / "golden/dialect/a_tieodd_dialect.npy"))
    assert int((parse_format("dialect4-online").encode(x).metadata["dialect"][:, 0] != odd).sum()) > 0


def test_tables_equal_the_golden_ones(shared):
    folder = shared / "golden/dialect"
    assert np.array_equal(np.load(folder / "table_half_units.npy"), DIALECT_TABLE)
    assert np.array_equal(np.load(folder / "ranges_quarter.npy"), DIALECT_RANGES)


def test_integer_products_equal_the_golden_dot_products(shared):
    folder = shared / "golden/dialect"
    x = torch.from_numpy(np.load(folder / "x.npy"))
    a, w = (parse_format(name).integers(parse_format(name).encode(x)) for name in ("dialect4-online", "dialect4"))
    dot = (a.values.long() * w.values.roll(-1, 0)).sum(-1).squeeze(-1)
    assert dot.tolist() == np.load(folder / "dot_int.npy").tolist()
    value = dot.double() * torch.exp2((a.exponent + w.exponent.roll(-1, 0)).double()).squeeze(-1)
    assert value.tolist() == np.load(folder / "dot_value.npy").tolist()


@pytest.mark.parametrize("name", NAMES)
def test_equals_exact_arithmetic(name):
    fmt = parse_format(name)
    x = hard_rows(72, seed=2, repeats=2)
    values, dialects, exponents = exact(fmt, x)
    encoded = fmt.encode(x)
    assert differences(fmt.fake_quantize(x), values) == 0
    assert encoded.metadata["dialect"].flatten().tolist() == dialects
    assert encoded.metadata["exponent"].flatten().tolist() == exponents


@pytest.mark.parametrize("name", ["dialect4", "dialect4-online"])
@pytest.mark.parametrize("fault", ["ties", "last"])
def test_the_exact_oracle_notices_other_tie_rules(name, fault):
    fmt = parse_format(name)
    x = hard_rows(72, seed=2, repeats=2)
    _, dialects, _ = exact(fmt, x, fault)
    values = exact(fmt, x, fault)[0]
    same_choice = fmt.encode(x).metadata["dialect"].flatten().tolist() == dialects
    assert not same_choice or differences(fmt.fake_quantize(x), values) > 0


def test_near_ties_between_dialects_are_decided_like_the_exact_sums():
    """Blocks whose two best dialects differ by one unit in the last place of one element: no estimate can tell."""
    generator = torch.Generator().manual_seed(3)
    block = torch.randint(-32, 32, (400, 32), generator=generator) / 8
    block[:, 0] = 7.0
    for nudged in (block, torch.nextafter(block, torch.tensor(9.0)), torch.nextafter(block, torch.tensor(-9.0))):
        _, dialects, _ = exact(parse_format("dialect4"), nudged)
        assert parse_format("dialect4").encode(nudged).metadata["dialect"].flatten().tolist() == dialects


def test_the_estimate_never_overrules_the_exact_sums(monkeypatch):
    x = torch.cat([torch.randn(3000, 64), torch.randint(-32, 32, (1000, 64)) / 8, hard_rows(64, seed=12)])
    quick = parse_format("dialect4").encode(x).metadata["dialect"]
    monkeypatch.setattr("mxhw.formats.dialect._ESTIMATE_MARGIN", 1e9)
    assert torch.equal(parse_format("dialect4").encode(x).metadata["dialect"], quick)
    monkeypatch.setattr("mxhw.formats.dialect.first_minimum", lambda possible, errors: possible.argmin(-1))
    assert not torch.equal(parse_format("dialect4").encode(x).metadata["dialect"], quick)


def test_the_weight_rule_is_idempotent():
    fmt = parse_format("dialect4")
    once = fmt.fake_quantize(hard_rows(64, seed=4))
    assert differences(fmt.fake_quantize(once), once) == 0


def test_the_weight_rule_is_never_worse_than_the_online_rule():
    x = torch.randn(512, 32)
    errors = [((parse_format(n).fake_quantize(x) - x).double() ** 2).sum(-1) for n in ("dialect4", "dialect4-online")]
    assert bool((errors[0] <= errors[1]).all())
    assert bool((errors[0] < errors[1]).any())


@pytest.mark.parametrize("dialect", range(16))
def test_every_code_of_every_dialect_decodes_to_the_table(dialect):
    fmt = parse_format("dialect4-b16")
    stored = {
        "code": torch.arange(16).view(1, 1, 16),
        "dialect": torch.tensor([[dialect]]),
        "exponent": torch.tensor([[15]]),
    }
    encoded = fmt.from_stored(stored, torch.Size([1, 16]))
    magnitudes = [h / 2 for h in DIALECT_TABLE[dialect]]
    assert fmt.decode(encoded).flatten().tolist() == magnitudes + [-m for m in magnitudes]
    assert bool(torch.signbit(fmt.decode(encoded))[0, 8])
    assert fmt.integers(encoded).values.flatten().tolist()[:8] == list(DIALECT_TABLE[dialect])


def test_values_beyond_the_exponent_saturate():
    x = torch.full((1, 32), 1e30)
    for name in ("dialect4", "dialect4-online"):
        assert parse_format(name).fake_quantize(x).unique().tolist() == [7.5 * 2.0**16]


@pytest.mark.parametrize("block", [8, 128])
def test_other_block_sizes_are_refused(block):
    with pytest.raises(InputError, match=f"16, 32 or 64 elements, not {block}"):
        parse_format(f"dialect4-b{block}")
