"""Weighted means of values in hardware are those of the definition, in the stated cycles; and attention as a whole."""

from dataclasses import replace
from itertools import pairwise
from unittest import mock

import pytest
import torch
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from mxhw.arithmetic.dataflow import BlockValues
from mxhw.arithmetic.functions.softmax import SoftmaxSpec, normalise
from mxhw.arithmetic.rounding import round_shift, saturate
from mxhw.errors import InputError
from mxhw.rtl_templates.catalogue import unit_named
from mxhw.rtl_templates.dataflow import attention_values, weighted_mean, weighted_sum
from mxhw.rtl_templates.dataflow.attention_scores import AttentionScoresUnit
from mxhw.rtl_templates.dataflow.attention_values import AttentionValuesUnit
from mxhw.rtl_templates.dataflow.kv_cache import KVCache
from mxhw.rtl_templates.dataflow.weighted_mean import WeightedMean, sum_layout
from mxhw.rtl_templates.function.softmax_weights import SoftmaxWeighing
from tests.rtl_templates.bank import Bench, Benches, beats, damaged, slow_ones, without_half
from tests.rtl_templates.dataflow.attention_cases import (
    CHEAP,
    STD,
    Case,
    Sequence,
    code_beats,
    drawn_sequences,
    fields,
    first_tokens,
    lengths,
    offered_before_taken,
    output_beats,
    positions,
    score_inputs,
    value_inputs,
)

CASES = {
    "serial": Case(output=4),
    "split": Case(kv_heads=2, head_dim=32, keys=12, lanes=4, output_lanes=1, kv_beat=8, output=7),
    "whole": Case(heads=4, keys=9, lanes=8, output_lanes=4, output=10, output_bits=12),
    "wide": Case(heads=6, kv_heads=3, head_dim=16, keys=10, lanes=2, output_lanes=2, kv_beat=4, output=-20),
    "thirds": Case(heads=3, kv_heads=3, head_dim=12, keys=5, bits=4, spec=CHEAP, lanes=4, kv_beat=12),
    "single": Case(keys=1, lanes=2, output=2, kv_beat=2),
    "pair": Case(heads=2, kv_heads=2, head_dim=4, keys=15, lanes=2, output=4),
}
MORE = "whole", "wide", "single"  # for slow runs
NAMES = slow_ones(CASES, MORE)
LARGE = Case(heads=8, kv_heads=2, head_dim=32, keys=64, lanes=32, beat=32, kv_beat=32, output_lanes=8, exponent=-34)


class Narrow(SoftmaxSpec):
    """Its sums of values are one bit too narrow for the largest."""

    def value_sum_bits(self, keys, value_bits=8):
        return super().value_sum_bits(keys, value_bits) - 1


class NarrowMean(WeightedMean):
    """Its aligned sums are one bit too narrow for the largest."""

    aligned_bits = property(lambda self: super().aligned_bits - 1)


class NeverRestarts(KVCache):
    """Does not say that a sequence starts."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.stored_first.eq(0)
        return m


def never_up(value, shift):
    return value >> shift


class Attention(wiring.Component):
    """Scores, weights and values of one case."""

    def __init__(self, case):
        self.scores = AttentionScoresUnit.of(
            case.scores, lanes=case.lanes, query_lanes=case.beat, key_lanes=case.kv_beat
        )
        self.weighing = SoftmaxWeighing(spec=case.spec, keys=case.keys)
        self.values = unit_of(case)
        parts = {name: self.scores.signature.members[name] for name in ("query", "key", "position")}
        others = {name: self.values.signature.members[name] for name in ("value", "y")}
        super().__init__(parts | others | {"value_position": parts["position"]})

    def elaborate(self, platform):
        m = Module()
        m.submodules.scores, m.submodules.weighing, m.submodules.values = self.scores, self.weighing, self.values
        for name in ("query", "key", "position"):
            connect(m, flipped(getattr(self, name)), getattr(self.scores, name))
        connect(m, self.scores.y, self.weighing.x)
        connect(m, self.weighing.y, self.values.weights)
        connect(m, flipped(self.value), self.values.value)
        connect(m, flipped(self.value_position), self.values.position)
        connect(m, self.values.y, flipped(self.y))
        return m


def unit_of(case):
    return AttentionValuesUnit.of(
        case.values, lanes=case.lanes, value_lanes=case.kv_beat, output_lanes=case.output_lanes
    )


CHAINS = {"chain": replace(CASES["split"], exponent=-32), "chain_cheap": replace(CASES["thirds"], exponent=-28)}
PAIR = CASES["pair"]


def mean_of(spec, kind=WeightedMean):
    """At the scale 0 every bit of a mean is seen; at others it is shifted to the left."""
    return kind(spec=spec, keys=15, value_bits=8, shift=0, output_bits=16, lanes=1)


@pytest.fixture(scope="module")
def bench():
    with mock.patch.object(attention_values, "KVCache", NeverRestarts):
        never = unit_of(PAIR)
    faulty = {
        "never_restarts": never,
        "narrow_sum": unit_of(replace(PAIR, spec=Narrow())),
        "weight_rounding": damaged(unit_of(PAIR), weighted_sum, round_shift_by=never_up),
        "narrow_mean": mean_of(STD, NarrowMean),
        "sum_rounding": damaged(mean_of(STD), weighted_mean, round_shift_by=never_up),
        "mean_rounding": damaged(mean_of(STD), weighted_mean, round_shift=without_half),
    }
    chains = {name: Attention(case) for name, case in CHAINS.items()}
    units = {name: unit_of(case) for name, case in CASES.items()}
    more = {name: units.pop(name) for name in MORE}
    return Benches(units | chains | faulty | {"mean": mean_of(STD)}, more)


def found(bench, name, case, sequences, **options):
    expected = output_beats(case, sequences)
    return bench.y(name, value_inputs(case, sequences), len(expected), **options) == expected


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("name", NAMES)
def test_every_mean_is_that_of_the_definition(bench, name, stall):
    case = CASES[name]
    for seed in (1, 2):
        sequences = drawn_sequences(case, lengths(case), seed, plain_scores=seed == 1)
        assert found(bench, name, case, sequences, stall=stall, seed=seed)


def test_what_is_drawn_has_many_means_and_saturated_ones():
    distinct, largest = {}, (1 << 15) - 1
    for name, case in CASES.items():
        sequences = drawn_sequences(case, lengths(case), 1, plain_scores=True)
        distinct[name] = set(torch.cat([s.outputs.flatten() for s in sequences]).tolist())
    assert all(len(distinct[name]) > 100 for name in ("serial", "split", "whole", "thirds", "pair"))
    assert {largest, -largest, 0} <= distinct["serial"] and distinct["wide"] <= {largest, -largest, 0}


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("name", CHAINS)
def test_attention_as_a_whole(bench, name, stall):
    for seed in (5, 6):
        assert whole_is_right(bench, name, CHAINS[name], lengths(CHAINS[name]), stall=stall, seed=seed)


@pytest.mark.slow
def test_attention_as_a_whole_with_full_lanes_and_long_sequences():
    bench = Bench({"large": Attention(LARGE)})
    for seed, stall in ((1, 0.0), (2, 0.2), (3, 0.6)):
        assert whole_is_right(bench, "large", LARGE, [64, 3, 40, 1, 64], stall=stall, seed=seed)


def whole_is_right(bench, name, case, tokens, *, seed, stall):
    sequences = drawn_sequences(case, tokens, seed)
    inputs = score_inputs(case, sequences) | {
        "value": [beat for s in sequences for beat in code_beats(s.value, case.bits, case.kv_beat)],
        "value_position": positions(sequences),
    }
    expected = output_beats(case, sequences)
    assert len(set(expected)) > 20
    return bench.y(name, inputs, len(expected), stall=stall, seed=seed) == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_stated_cycles_of_one_token(bench, name):
    case, made = CASES[name], bench.units[name]
    before = offered_before_taken(case, case.kv_beat)
    for place in range(case.keys):
        (sequence,) = drawn_sequences(case, [place + 1], 3)
        inputs = value_inputs(case, [sequence])
        rows, sent = case.heads * (place + 1), case.kv_heads * case.head_dim // case.kv_beat
        # The last token alone: what the cache holds at other positions takes no cycles.
        last = {"weights": inputs["weights"][-rows:], "value": inputs["value"][-sent:], "position": [place]}
        assert bench.run(name, last, outputs_of(case)).cycles + before == made.latency(place)


@pytest.mark.parametrize("name", NAMES)
def test_the_stated_cycles_between_tokens(bench, name):
    case, made = CASES[name], bench.units[name]
    sequences = drawn_sequences(case, lengths(case)[:3], 3)
    places = positions(sequences)
    cycles = [cycles_of(bench, name, case, sequences, count) for count in range(1, len(places) + 1)]
    division = case.head_dim // case.output_lanes
    storing = case.kv_heads * case.head_dim // min(case.kv_beat, case.lanes)
    limits = case.output_lanes < case.lanes and case.heads * division > storing
    checked = 0
    for (place, following), (before, after) in zip(pairwise(places), pairwise(cycles), strict=True):
        rows = [(p + 1) * case.head_dim // case.lanes for p in (place, following)]
        grown = made.latency(following) - made.latency(place)
        if not limits or (min(rows) > division and following > place):
            assert after - before == made.interval(place, ends=following == 0) + grown
        elif max(rows) < division:
            assert after - before == made.interval(following)
        else:  # Sums of the one have waited for their division before those of the other come.
            assert after - before <= made.interval(place, ends=following == 0) + max(0, grown)
            continue
        checked += 1
    assert checked >= len(places) - 4


def outputs_of(case):
    """Beats of a token."""
    return case.heads * case.head_dim // case.output_lanes


def first_values(case, sequences, count):
    inputs, places = value_inputs(case, sequences), positions(sequences)
    weights = inputs.pop("weights")[: case.heads * sum(place + 1 for place in places[:count])]
    return first_tokens(inputs, len(places), count) | {"weights": weights}


def cycles_of(bench, name, case, sequences, count):
    return bench.run(name, first_values(case, sequences, count), count * outputs_of(case)).cycles


def equal_rows(case, tokens):
    """All keys have weight 1.0, all values the largest code: the largest sums of both signs."""
    shape = 1, tokens, case.kv_heads
    signs = torch.where(torch.arange(case.head_dim) % 2 == 0, 127, -127).expand(*shape, -1)
    values = BlockValues(signs, torch.zeros(shape, dtype=torch.long))
    return Sequence(case, values, values, values, torch.zeros(1, case.heads, tokens, tokens, dtype=torch.long))


def test_the_largest_sum_fits_and_needs_all_its_bits(bench):
    sequence = equal_rows(PAIR, PAIR.keys)
    total = int(sequence.weights.total.max())
    assert total == 15 << 15 and (total * 127).bit_length() + 1 == PAIR.spec.value_sum_bits(PAIR.keys)
    assert sequence.outputs.unique().tolist() == [-8, 8]
    assert found(bench, "pair", PAIR, [sequence]) and not found(bench, "narrow_sum", PAIR, [sequence])
    assert found(bench, "narrow_sum", PAIR, [equal_rows(PAIR, 1)])


def drawn_sums(spec, seed):
    """Sums, totals of 1 to 15 weights, and scales; half of the scales are 0, many sums the largest of their total."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.randint(spec.one, 15 * spec.one + 1, (2000,), generator=generator)
    total[:3] = torch.tensor([spec.one, 15 * spec.one, 4 * spec.one - 1])
    part = torch.randn(2000, generator=generator).clamp(-1, 1)
    part[:600] = part[:600].sign()
    scale = torch.randint(0, 16, (2000,), generator=generator)
    scale[::2] = 0
    return (part.double() * 127 * total).long(), total, scale


def means_are_right(bench, name, sums, **options):
    value, total, scale = sums
    sent = fields(sum_layout(STD, 15, 8, 1), sums=value.tolist(), total=total.tolist(), largest=scale.tolist())
    expected = saturate(round_shift(normalise(value, total, STD), -scale), 16)
    return bench.y(name, {"x": sent}, len(sent), **options) == beats(expected.numpy(), 16)


def test_every_mean_of_drawn_sums_is_that_of_the_definition(bench):
    for seed, stall in ((1, 0.0), (2, 0.4)):
        assert means_are_right(bench, "mean", drawn_sums(STD, seed), stall=stall, seed=seed)


@pytest.mark.parametrize("fault", ["sum_rounding", "mean_rounding", "narrow_mean"])
def test_a_mean_that_is_wrong_is_found(bench, fault):
    """An aligned sum is the largest where the total is just below a power of two."""
    assert means_are_right(bench, "mean", drawn_sums(STD, 1))
    assert not means_are_right(bench, fault, drawn_sums(STD, 1))


@pytest.mark.parametrize("fault", ["never_restarts", "weight_rounding"])
def test_a_fault_is_found(bench, fault):
    sequences = drawn_sequences(PAIR, lengths(PAIR), 1, plain_scores=True)
    assert found(bench, "pair", PAIR, sequences)
    assert not found(bench, fault, PAIR, sequences)


@pytest.mark.parametrize("name", slow_ones(["pair", "wide"], MORE))
def test_its_verilog_is_clean(bench, name):
    """With all that it was compiled with."""
    assert bench.of(name).complaints() == ""


REFUSED = [
    ({"heads": 0}, "heads must be an integer of at least 1, not 0"),
    ({"heads": 3, "kv_heads": 2}, "kv_heads must be a divisor of the 3 heads, not 2"),
    ({"keys": 0}, "keys must be an integer of at least 1, not 0"),
    ({"lanes": 3}, "lanes must be a divisor of the head_dim of 8, not 3"),
    ({"lanes": 4, "output_lanes": 3}, "output_lanes must be a divisor of the 4 lanes, not 3"),
    ({"shift": None}, "shift must be an integer, not None"),
    ({"output_bits": 1}, "output_bits must be an integer of at least 2, not 1"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_impossible_parameters_are_refused(given, message):
    with pytest.raises(InputError) as refused:
        unit_named("attention_values").make(**given)
    assert message in str(refused.value)
