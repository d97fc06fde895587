"""DialectFP4 against the golden vectors and an own exact oracle: both rules, their ties, all codes."""

import numpy as np
import pytest
import torch

from mxhw.errors import InputError
from mxhw.formats import DIALECT_RANGES, DIALECT_TABLE, DialectFormat, parse_format
from tests.formats import oracle
from tests.formats.draws import differences, hard_rows

NAMES = [f"dialect4{rule}{block}" for rule in ("", "-online", "-search") for block in ("", "-b16", "-b64")]


def exact(fmt: DialectFormat, x: torch.Tensor, fault: str = "") -> tuple[torch.Tensor, list[int], list[int]]:
    """The oracle's values, dialects and stored exponents of rows whose last block may be short."""
    rule = "online" if fmt.online else "search" if fmt.search else "weights"
    values, dialects, exponents = [], [], []
    for row in x.tolist():
        for at in range(0, len(row), fmt.block):
            padded = row[at : at + fmt.block] + [0.0] * max(0, at + fmt.block - len(row))
            block, dialect, exponent = oracle.dialect(padded, rule, fault)
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


@pytest.mark.parametrize("name", ["dialect4", "dialect4-online", "dialect4-search"])
@pytest.mark.parametrize("fault", ["ties", "last"])
def test_the_exact_oracle_notices_other_tie_rules(name, fault):
    fmt = parse_format(name)
    x = hard_rows(72, seed=2, repeats=2)
    _, dialects, _ = exact(fmt, x, fault)
    values = exact(fmt, x, fault)[0]
    same_choice = fmt.encode(x).metadata["dialect"].flatten().tolist() == dialects
    assert not same_choice or differences(fmt.fake_quantize(x), values) > 0


@pytest.mark.parametrize("name", ["dialect4", "dialect4-search"])
def test_near_ties_between_dialects_are_decided_like_the_exact_sums(name):
    """Blocks whose two best dialects differ by one unit in the last place of one element: no estimate can tell."""
    generator = torch.Generator().manual_seed(3)
    block = torch.randint(-32, 32, (200, 32), generator=generator) / 8
    block[:, 0] = 7.0
    for nudged in (block, torch.nextafter(block, torch.tensor(9.0)), torch.nextafter(block, torch.tensor(-9.0))):
        _, dialects, exponents = exact(parse_format(name), nudged)
        encoded = parse_format(name).encode(nudged)
        assert encoded.metadata["dialect"].flatten().tolist() == dialects
        assert encoded.metadata["exponent"].flatten().tolist() == exponents


@pytest.mark.parametrize("name", ["dialect4", "dialect4-search", "dialect4-search-b16"])
def test_the_estimate_never_overrules_the_exact_sums(name, monkeypatch):
    x = torch.cat([torch.randn(3000, 64), torch.randint(-32, 32, (1000, 64)) / 8, hard_rows(64, seed=12)])
    quick = parse_format(name).encode(x).metadata
    monkeypatch.setattr("mxhw.formats.dialect._ESTIMATE_MARGIN", 1e9)
    slow = parse_format(name).encode(x).metadata
    assert all(torch.equal(slow[key], quick[key]) for key in quick)
    monkeypatch.setattr("mxhw.formats.dialect.first_minimum", lambda possible, errors: possible.argmin(-1))
    assert not torch.equal(parse_format(name).encode(x).metadata["dialect"], quick["dialect"])


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_is_idempotent(name):
    fmt = parse_format(name)
    once = fmt.fake_quantize(torch.cat([hard_rows(64, seed=4), torch.randn(300, 64)]))
    assert differences(fmt.fake_quantize(once), once) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("power", [-6, -1, 3, 9])
def test_scaling_by_a_power_of_two_commutes_within_the_stored_exponents(name, power):
    x, fmt = torch.randn(64, 64), parse_format(name)
    assert differences(fmt.fake_quantize(x * 2.0**power), fmt.fake_quantize(x) * 2.0**power) == 0
    assert differences(fmt.fake_quantize(x * 1.5), fmt.fake_quantize(x) * 1.5) > 0
    assert differences(fmt.fake_quantize(x * 2.0**-30), fmt.fake_quantize(x) * 2.0**-30) > 0


def errors(name: str, x: torch.Tensor) -> torch.Tensor:
    """Squared error of each block, summed as the formats sum it."""
    squares = (parse_format(name).fake_quantize(x).double() - x.double()).square()
    return squares.view(-1, parse_format(name).block).cumsum(-1)[:, -1]


def test_the_weight_rule_is_never_worse_than_any_one_dialect_at_its_exponent():
    x = torch.cat([torch.randn(200, 32), torch.randn(200, 32) ** 3])
    fmt = parse_format("dialect4")
    encoded = fmt.encode(x)
    least = errors("dialect4", x)
    for dialect, row in enumerate(DIALECT_TABLE):
        levels = torch.tensor(row).float() / 2 * encoded.scales.unsqueeze(-1)
        distance = (x.abs().unsqueeze(-1) - levels).double().square().amin(-1)
        single = distance.sum(-1)
        assert bool((least <= single * (1 + 1e-9)).all())
        chosen = encoded.metadata["dialect"][:, 0] == dialect
        assert torch.allclose(least[chosen], single[chosen], rtol=1e-9, atol=0)


@pytest.mark.parametrize("block", ["", "-b16", "-b64"])
def test_the_search_is_never_worse_in_any_block_and_changes_only_what_it_improves(block):
    x = torch.cat([torch.randn(400, 64), torch.randn(200, 64) ** 3, hard_rows(64, seed=8)])
    better, plain = errors(f"dialect4-search{block}", x), errors(f"dialect4{block}", x)
    assert bool((better <= plain).all())
    assert bool((better < plain).any())
    search, weights = (parse_format(f"dialect4{rule}{block}").encode(x) for rule in ("-search", ""))
    same = (better == plain).view(weights.scales.shape)
    assert 0 < int(same.sum()) < same.numel()
    for key in ("dialect", "exponent"):
        assert torch.equal(search.metadata[key][same], weights.metadata[key][same])


@pytest.mark.parametrize(("draw", "gain"), [("normal", 0.056), ("t3", 0.048)])
def test_the_gain_of_the_search_is_the_measured_one(draw, gain):
    generator = np.random.default_rng(123)
    x = generator.standard_normal((1500, 32)) if draw == "normal" else generator.standard_t(3, (1500, 32))
    x = torch.from_numpy(x.astype(np.float16).astype(np.float32))
    assert float(1 - errors("dialect4-search", x).sum() / errors("dialect4", x).sum()) == pytest.approx(gain, abs=0.005)


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


def test_the_search_is_not_for_the_online_rule():
    with pytest.raises(InputError, match="online and search exclude each other"):
        DialectFormat(32, online=True, search=True)
    with pytest.raises(InputError, match="unknown format 'dialect4-online-search'"):
        parse_format("dialect4-online-search")
