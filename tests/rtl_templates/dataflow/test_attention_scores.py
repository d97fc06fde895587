"""Scores in hardware are those of the definition, in the stated cycles, whatever the sequences and stalls."""

from unittest import mock

import pytest
import torch

from mxhw.arithmetic.dataflow import BlockValues
from mxhw.errors import InputError
from mxhw.rtl_templates.catalogue import unit_named
from mxhw.rtl_templates.dataflow import attention_scores, kv_cache
from mxhw.rtl_templates.dataflow.attention_scores import AttentionScoresUnit
from mxhw.rtl_templates.integer import saturate
from tests.rtl_templates.bank import Benches, damaged, slow_ones
from tests.rtl_templates.dataflow.attention_cases import (
    CHEAP,
    Case,
    DamagedWord,
    Impatient,
    Sequence,
    drawn_sequences,
    first_tokens,
    lengths,
    offered_before_taken,
    score_beats,
    score_inputs,
)

CASES = {
    "serial": Case(),
    "near": Case(exponent=-44, lanes=2, beat=2, kv_beat=4),
    "mixed": Case(kv_heads=2, head_dim=16, keys=12, exponent=-18, lanes=4, beat=2, kv_beat=8),
    "whole": Case(heads=4, keys=9, exponent=-36, lanes=8, beat=8),
    "far": Case(heads=6, kv_heads=3, keys=10, exponent=-70, lanes=4, beat=2, kv_beat=8),
    "thirds": Case(heads=3, kv_heads=3, head_dim=24, keys=5, bits=4, spec=CHEAP, exponent=-25, lanes=8, kv_beat=24),
    "left": Case(heads=1, keys=6, exponent=-3, lanes=4, beat=8, kv_beat=2),
    "single": Case(keys=1, exponent=-35, lanes=2),
    "exact": Case(heads=1, head_dim=32, exponent=-8, lanes=4, beat=16, kv_beat=16),
}
MORE = "serial", "whole", "far", "single"  # for slow runs
NAMES = slow_ones(CASES, MORE)


def unit(name, kind=AttentionScoresUnit):
    case = CASES[name]
    return kind.of(case.scores, lanes=case.lanes, query_lanes=case.beat, key_lanes=case.kv_beat)


class OneBitLess(AttentionScoresUnit):
    """Its sums are too narrow for the largest."""

    sum_bits = property(lambda self: super().sum_bits - 1)


def truncated(halves, bits):
    return saturate(halves >> 1, bits)


@pytest.fixture(scope="module")
def bench():
    with mock.patch.object(attention_scores, "KVCache", Impatient):
        impatient = unit("near")
    faulty = {
        "narrow": unit("exact", OneBitLess),
        "word": damaged(unit("near"), kv_cache, HeadMemory=DamagedWord),
        "rounding": damaged(unit("near"), attention_scores, rounded_halves=truncated),
        "impatient": impatient,
    }
    return Benches(
        {name: unit(name) for name in CASES if name not in MORE} | faulty, {name: unit(name) for name in MORE}
    )


def found(bench, name, case, sequences, **options):
    expected = score_beats(case, sequences)
    return bench.y(name, score_inputs(case, sequences), len(expected), **options) == expected


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("name", NAMES)
def test_every_score_is_that_of_the_definition(bench, name, stall):
    case = CASES[name]
    for seed in (1, 2):
        assert found(bench, name, case, drawn_sequences(case, lengths(case), seed), stall=stall, seed=seed)


def test_what_is_drawn_has_saturated_scores_zeros_and_both_shifts():
    case = CASES["mixed"]
    scores = torch.cat([row for s in drawn_sequences(case, lengths(case), 1) for row in s.rows(s.scores)])
    largest = (1 << case.spec.score_bits - 1) - 1
    assert all((scores == value).any() for value in (largest, -largest, 0)) and len(scores.unique()) > 100
    shift = -case.scores.exponent - case.spec.score_fraction
    assert shift > 0 and shift - 30 < 0


@pytest.mark.parametrize("name", NAMES)
def test_the_stated_cycles(bench, name):
    """One token alone, then ever more of them, the last ones in another sequence."""
    case, made = CASES[name], bench.units[name]
    before = min(offered_before_taken(case, beat) for beat in (case.beat, case.kv_beat))
    sequences = drawn_sequences(case, lengths(case)[:3], 3)
    expected = 0
    places = score_inputs(case, sequences)["position"]
    for count, (place, following) in enumerate(zip(places, [*places[1:], 0], strict=True), 1):
        inputs = first_tokens(score_inputs(case, sequences), len(places), count)
        cycles = bench.run(name, inputs, case.heads * sum(p + 1 for p in places[:count])).cycles
        assert cycles + before == expected + made.latency(place)
        expected += made.interval(place, ends=following == 0)


def test_products_fill_the_cycles_of_a_long_sequence():
    made = unit("mixed")
    assert made.interval(11) == 2 * 12 * 16 // 4 and made.interval(0) < made.interval(11)


def extremes(case, tokens):
    """The largest sums of both signs: keys and queries of the largest codes, scale 0."""
    ones = torch.ones(1, tokens, 1, case.head_dim, dtype=torch.long) * 127
    signs = torch.where(torch.arange(tokens) % 2 == 0, 1, -1).reshape(1, -1, 1, 1)
    none = torch.zeros(1, tokens, 1, dtype=torch.long)
    return Sequence(case, BlockValues(ones, none), BlockValues(ones * signs, none), BlockValues(ones, none))


def test_the_largest_sum_fits_and_needs_all_its_bits(bench):
    case = CASES["exact"]
    sequence = extremes(case, 4)
    assert sequence.scores.abs().max() == 127 * 127 * 32 and sequence.scores.min() == -127 * 127 * 32
    assert found(bench, "exact", case, [sequence])
    assert not found(bench, "narrow", case, [sequence])


@pytest.mark.parametrize("fault", ["word", "rounding", "impatient"])
def test_a_fault_is_found(bench, fault):
    case = CASES["near"]
    sequences = drawn_sequences(case, lengths(case), 1)
    assert found(bench, "near", case, sequences)
    assert not found(bench, fault, case, sequences)


@pytest.mark.parametrize("name", slow_ones(["near", "far"], MORE))
def test_its_verilog_is_clean(bench, name):
    """With all that it was compiled with."""
    assert bench.of(name).complaints() == ""


REFUSED = [
    ({"heads": 0}, "heads must be an integer of at least 1, not 0"),
    ({"kv_heads": 0}, "kv_heads must be an integer of at least 1, not 0"),
    ({"heads": 3, "kv_heads": 2}, "kv_heads must be a divisor of the 3 heads, not 2"),
    ({"keys": 0}, "keys must be an integer of at least 1, not 0"),
    ({"lanes": 3}, "lanes must be a divisor of the head_dim of 8, not 3"),
    ({"exponent": 0.5}, "exponent must be an integer, not 0.5"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_impossible_parameters_are_refused(given, message):
    with pytest.raises(InputError) as refused:
        unit_named("attention_scores").make(**given)
    assert message in str(refused.value)


def test_beats_that_make_no_words_are_refused():
    with pytest.raises(InputError, match="query_lanes must be a divisor of the head_dim of 24, and a divisor or"):
        AttentionScoresUnit(heads=1, kv_heads=1, head_dim=24, keys=4, spec=CHEAP, exponent=0, lanes=3, query_lanes=2)
