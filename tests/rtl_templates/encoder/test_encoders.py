"""The encoders equal their definitions: every mantissa at every scale, FP16, corners, all block sizes, under stalls."""

import numpy as np
import pytest
import torch

from mxhw.arithmetic.online_dialect import encode_dialect
from mxhw.arithmetic.online_scaled import MX_ELEMENTS
from tests.arithmetic.online_draws import every_mantissa_at_every_scale, fp16_blocks, mantissa_blocks
from tests.rtl_templates.bank import Bench
from tests.rtl_templates.encoder.cases import check, dialect, integer, mx, wrong

COMMON_ELEMENTS = ("mxfp4", "mxfp6-e3m2", "mxfp8-e4m3", "mxfp8-e5m2", "mxint8")


def of_elements(names):
    return {name.replace("-", "_"): (lambda name=name: mx(name, 16, 1)) for name in names}


EXHAUSTIVE = {
    "dialect": lambda: dialect(16, 1),
    "clamped": lambda: dialect(16, 1, exponent=-20),
    **of_elements(COMMON_ELEMENTS),
    "int8_up": lambda: integer(8, 16, 1, rounding="half_up"),
}
MORE = {
    **of_elements(sorted(set(MX_ELEMENTS) - set(COMMON_ELEMENTS))),
    **{f"int{bits}": (lambda bits=bits: integer(bits, 16, 1)) for bits in (2, 12, 16)},
}
DRAWN = {
    "int16_16_1": lambda: dialect(16, 1, exponent=3),
    "int16_16_2": lambda: dialect(16, 2, exponent=-28),
    "int16_32_4": lambda: dialect(32, 4, exponent=-13),
    "int16_64_2": lambda: dialect(64, 2, exponent=-17),
    "fp16_16_2": lambda: dialect(16, 2, "fp16"),
    "fp16_32_4": lambda: dialect(32, 4, "fp16"),
    "fp16_64_1": lambda: dialect(64, 1, "fp16"),
    "mxfp4_32_4": lambda: mx("mxfp4", 32, 4, exponent=-10),
    "mxfp8_6_3": lambda: mx("mxfp8-e4m3", 6, 3, exponent=112),
    "mxint8_4_4": lambda: mx("mxint8", 4, 4, exponent=-126),
    "int8_37_1": lambda: integer(8, 37, 1, exponent=-120),
    "int4_12_4_up": lambda: integer(4, 12, 4, exponent=5, rounding="half_up"),
    "int8_1_1": lambda: integer(8, 1, 1),
}
WIDE = {
    "int16_16_16": lambda: dialect(16, 16, exponent=-14),
    "int16_64_32": lambda: dialect(64, 32),
    "fp16_32_32": lambda: dialect(32, 32, "fp16"),
    "mxfp6_32_32": lambda: mx("mxfp6-e3m2", 32, 32),
    "int8_128_16": lambda: integer(8, 128, 16),
}


def bank(makers):
    cases = {name: make() for name, make in makers.items()}
    return Bench({name: case.unit for name, case in cases.items()}, shares_modules=True), cases


@pytest.fixture(scope="module")
def drawn():
    return bank(DRAWN)


def drawn_blocks(cases, seed, count=60):
    return {
        name: (fp16_blocks if name.startswith("fp16") else mantissa_blocks)(count, case.block, seed)
        for name, case in cases.items()
    }


@pytest.mark.parametrize("makers", [EXHAUSTIVE, pytest.param(MORE, marks=pytest.mark.slow)], ids=["common", "more"])
def test_every_mantissa_at_every_scale(makers):
    bench, cases = bank(makers)
    check(bench, cases, dict.fromkeys(cases, every_mantissa_at_every_scale(16)))


@pytest.mark.parametrize(("stall", "seed"), [(0.0, 0), (0.3, 1), (0.7, 2)])
def test_drawn_blocks_and_corners_under_stalls(drawn, stall, seed):
    bench, cases = drawn
    check(bench, cases, drawn_blocks(cases, seed), stall, seed)


@pytest.mark.parametrize("name", DRAWN)
def test_an_encoder_gives_a_beat_a_cycle_after_its_latency(drawn, name):
    bench, cases = drawn
    check_rate(bench, name, cases[name])


def check_rate(bench, name, case):
    """Two walks through a block and four cycles where a dialect is chosen, else one and three; a block, and many."""
    blocks, walk = drawn_blocks({name: case}, 0)[name], case.block // case.lanes
    latency = 2 * walk + 4 if name.startswith(("int16_", "fp16_")) else walk + 3
    for count in (1, 8):
        x, y = case.x(blocks[:count]), case.y(blocks[:count])
        run = bench.run(name, {"x": x}, len(y))
        assert run.ints("y") == y
        assert run.cycles == latency + len(y)


@pytest.mark.slow
@pytest.mark.parametrize(("stall", "seed"), [(0.0, 0), (0.5, 3)])
def test_many_lanes_under_stalls(stall, seed):
    bench, cases = bank(WIDE)
    check(bench, cases, drawn_blocks(cases, seed), stall, seed)
    for name, case in cases.items():
        check_rate(bench, name, case)
    assert bench.complaints() == ""


def test_every_fp16_pattern_is_taken(drawn):
    """Inf and NaN among them, which count as the largest value."""
    bench, cases = drawn
    patterns = torch.randperm(1 << 16, generator=torch.Generator().manual_seed(0))
    # Neighbours in size share blocks in half of them: otherwise Inf would be the peak of nearly all.
    patterns = torch.cat([patterns, torch.arange(1 << 16)])
    blocks = drawn_blocks(cases, 0, 1)
    blocks |= {name: patterns.view(-1, cases[name].block) for name in cases if name.startswith("fp16")}
    check(bench, cases, blocks)


def test_one_wrong_bit_is_noticed(drawn):
    bench, cases = drawn
    blocks = drawn_blocks(cases, 0)
    other = {name: values.clone() for name, values in blocks.items()}
    other["fp16_64_1"][7, 11] ^= 0x8000
    assert wrong(bench, cases, other, blocks) == ["fp16_64_1"]


def test_fp16_equals_the_golden_vectors(drawn, shared):
    bench, cases = drawn
    golden = {n: torch.from_numpy(np.load(shared / f"golden/dialect/a_{n}.npy")) for n in ("codes", "dialect", "exp")}
    x = torch.from_numpy(np.load(shared / "golden/dialect/x.npy")).half().view(torch.int16).long() & 0xFFFF
    found = torch.tensor(bench.y("fp16_32_4", {"x": cases["fp16_32_4"].x(x)}, 64 * 8)).view(64, 8)
    codes = torch.stack([found >> 4 * lane & 15 for lane in range(4)], -1).view(64, 32)
    assert torch.equal(codes, golden["codes"].long())
    assert torch.equal(found >> 16 & 15, golden["dialect"].long()[:, None].expand(64, 8))
    assert torch.equal(found >> 20, golden["exp"].long()[:, None].expand(64, 8))


def counted(even, odd, others, block=16):
    """Blocks with every number of ``even`` and of ``odd`` values; the rest is ``others`` in turn."""
    rows = []
    for n_even in range(block + 1):
        for n_odd in range(block + 1 - n_even):
            rest = [others[i % len(others)] for i in range(block - n_even - n_odd)]
            rows.append([even] * n_even + [odd] * n_odd + rest)
    return torch.tensor(rows)


def test_every_pair_of_counts(drawn):
    """A maximum lies in a beneficial range only under a clamped exponent, which makes counts of a whole block."""
    bench, cases = drawn
    blocks = drawn_blocks(cases, 0, 1)
    # exponent -17: q of m is m up to 31; a maximum below 16 has pair 7, ranges [13, 15) and [9, 11).
    whole = counted(13, 9, [1, -1])
    # exponent -28: q of m is m >> 11.
    blocks["int16_64_2"], blocks["int16_16_2"] = whole.repeat(1, 4), whole << 11
    # q of m is m where the leading one is at position 4: maximum 26 (6.5), ranges [18, 23) and [14, 18).
    usual = counted(-20, 15, [26, 3, -24])
    blocks["int16_16_1"] = usual = usual[(usual == 26).any(-1)]
    check(bench, cases, blocks)
    for rows, exponent, even, odd, first in ((whole << 11, -28, 13 << 11, 9 << 11, 14), (usual, 3, -20, 15, 4)):
        balance = (rows == even).sum(-1) - (rows == odd).sum(-1)
        assert torch.equal(encode_dialect(rows, exponent=exponent).dialect, first + (balance < 0).long())
        assert {-1, 0, 1} <= set(balance.tolist()) and (first == 4 or {-16, 16} <= set(balance.tolist()))


def test_verilog_is_clean(drawn):
    bench, _ = drawn
    assert bench.complaints() == ""
