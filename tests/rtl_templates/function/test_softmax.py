"""Softmax in hardware equals its definition under random stalls, with causal lengths, in the stated cycles."""

import pytest
import torch
from amaranth.hdl import Const
from amaranth.lib import data

from mxhw.arithmetic.functions.softmax import SoftmaxSpec, reciprocal, softmax, softmax_weights
from mxhw.errors import InputError
from mxhw.rtl_templates.catalogue import unit_named
from mxhw.rtl_templates.function.reciprocal import SumReciprocal
from mxhw.rtl_templates.function.row_buffer import RowBuffer
from mxhw.rtl_templates.function.softmax import Softmax, probability_layout
from mxhw.rtl_templates.function.softmax_weights import SoftmaxWeighing, score_layout, weight_layout
from tests.rtl_templates.bank import Bench, off_by_one

STD = SoftmaxSpec()
CHEAP = SoftmaxSpec(score_fraction=6, weight_bits=10, reciprocal_entries_log2=4, probability_fraction=12)
SPECS = {"std": STD, "cheap": CHEAP}
KEYS = 24
UNITS = {
    "whole": Softmax(spec=STD, keys=KEYS),
    "causal": Softmax(spec=STD, keys=KEYS, causal=True),
    "cheap": Softmax(spec=CHEAP, keys=KEYS, causal=True),
    "single": Softmax(spec=STD, keys=1),
    "long": Softmax(spec=STD, keys=300, causal=True),
    "weights": SoftmaxWeighing(spec=STD, keys=KEYS, causal=True),
    "cheap_weights": SoftmaxWeighing(spec=CHEAP, keys=KEYS),
}
LONGEST = {"single": 1, "long": 300}
CAUSAL = {"causal", "long", "cheap", "weights", "late", "no_maximum"}


class NoMaximum(SoftmaxWeighing):
    """Takes the largest score that there can be for the maximum."""

    def _first_pass(self, m, rows):
        super()._first_pass(m, rows)
        m.d.comb += rows.row_in[: self.spec.score_bits].eq(Const((1 << self.spec.score_bits - 1) - 1))


class OneKeyLate(SoftmaxWeighing):
    """Sees one key too many in its second pass."""

    def _first_pass(self, m, rows):
        super()._first_pass(m, rows)
        m.d.comb += rows.row_in[self.spec.score_bits :].eq(self.visible.payload + 1)


def damaged(spec, which):
    """The same with one point of a table off by one."""
    other = SoftmaxSpec()
    other.__dict__[which] = off_by_one(getattr(spec, which), 5)
    return other


@pytest.fixture(scope="module")
def bench():
    faulty = {
        "exp2_weights": SoftmaxWeighing(spec=damaged(STD, "exp2"), keys=KEYS),
        "recip": Softmax(spec=damaged(STD, "recip"), keys=KEYS),
        "no_maximum": NoMaximum(spec=STD, keys=KEYS, causal=True),
        "late": OneKeyLate(spec=STD, keys=KEYS, causal=True),
    }
    reciprocals = {f"reciprocal_{name}": of_19_bits(spec) for name, spec in SPECS.items()}
    return Bench(UNITS | faulty | reciprocals | {"reciprocal_fault": of_19_bits(damaged(STD, "recip"))})


def of_19_bits(spec):
    """The reciprocal of sums of up to 19 bits."""
    return SumReciprocal(spec=spec, keys=(1 << 19) // spec.one)


def drawn_rows(spec, seed, count=40, keys=KEYS, equal=False):
    """Rows of 1 to ``keys`` scores (of ``keys`` if ``equal``) of several spreads, and the corners of a row."""
    generator = torch.Generator().manual_seed(seed)
    limit = 1 << spec.score_bits - 1
    lengths = torch.randint(1, keys + 1, (count,), generator=generator).tolist()
    spreads = torch.randint(4, spec.score_bits - 1, (count,), generator=generator).tolist()
    lengths, spreads = ([keys] * count if equal else lengths), [1 << spread for spread in spreads]
    sizes = zip(lengths, spreads, strict=True)
    rows = [(torch.randn(n, generator=generator) * spread).long().clamp(-limit, limit - 1) for n, spread in sizes]
    dominant, rising = torch.full((keys,), -limit), torch.arange(keys) * 256
    dominant[-1] = limit - 1
    corners = [dominant, dominant.flip(0), torch.zeros(keys), torch.full((keys,), -limit), rising, rising.flip(0)]
    rows += [corner.long() for corner in corners]
    if keys > 1:  # every entry of EXP2
        distances = torch.arange(1 << spec.score_fraction).split(keys - 1)
        rows += [torch.nn.functional.pad(-d, (keys - 1 - len(d) if equal else 0, 1)) for d in distances]
    order = torch.randperm(len(rows), generator=generator).tolist()
    visible = torch.randint(0, keys + 1, (len(rows),), generator=generator)
    return [rows[i] for i in order], visible


def beats(layout, **fields):
    """Payloads of a layout from lists of its fields."""
    return [
        sum(
            (value & (1 << layout[name].width) - 1) << layout[name].offset
            for name, value in zip(fields, values, strict=True)
        )
        for values in zip(*fields.values(), strict=True)
    ]


def ends(rows):
    return [int(i == len(row) - 1) for row in rows for i in range(len(row))]


def inputs(name, rows, visible, spec):
    scores = torch.cat(rows).tolist()
    sent = {"x": beats(score_layout(spec), score=scores, last=ends(rows))}
    return sent | ({"visible": visible.tolist()} if name in CAUSAL else {})


def probabilities(name, rows, visible, spec):
    seen = visible if name in CAUSAL else torch.tensor([len(row) for row in rows])
    values = torch.cat([softmax(row, spec, v) for row, v in zip(rows, seen, strict=True)]).tolist()
    return beats(probability_layout(spec), probability=values, last=ends(rows))


def weight_beats(name, rows, visible, spec):
    seen = visible if name in CAUSAL else torch.tensor([len(row) for row in rows])
    weights = [softmax_weights(row, spec, v) for row, v in zip(rows, seen, strict=True)]
    fields = {part: torch.cat([getattr(w, part) for w in weights]).tolist() for part in ("weight", "mantissa", "shift")}
    total = torch.cat([w.weight.cumsum(0) for w in weights]).tolist()
    return beats(weight_layout(spec, KEYS), **fields, total=total, last=ends(rows))


def spec_of(name):
    return CHEAP if "cheap" in name else STD


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("name", UNITS)
def test_every_row_is_that_of_the_definition(bench, name, stall):
    spec = spec_of(name)
    for seed in (1, 2):
        rows, visible = drawn_rows(spec, seed, keys=LONGEST.get(name, KEYS))
        expected = (weight_beats if "weights" in name else probabilities)(name, rows, visible, spec)
        found = bench.y(name, inputs(name, rows, visible, spec), len(expected), stall=stall, seed=seed)
        assert found == expected


@pytest.mark.parametrize("count", [1, 2, 15])
@pytest.mark.parametrize("name", UNITS)
def test_an_element_a_cycle_and_the_stated_latency(bench, name, count):
    spec, keys = spec_of(name), LONGEST.get(name, KEYS)
    rows, visible = drawn_rows(spec, 3, keys=keys, equal=True)
    rows, visible = rows[:count], visible[:count]
    after = keys + 5 if "weights" in name else 2 * keys + 13
    assert bench.run(name, inputs(name, rows, visible, spec), count * keys).cycles == count * keys + after


@pytest.mark.parametrize("name", ["exp2_weights", "recip"])
def test_a_table_entry_off_by_one_is_found(bench, name):
    rows, visible = drawn_rows(STD, 1)
    expected = (weight_beats if "weights" in name else probabilities)(name, rows, visible, STD)
    assert bench.y(name, inputs(name, rows, visible, STD), len(expected), stall=0.3) != expected


@pytest.mark.parametrize("name", ["no_maximum", "late"])
def test_a_wrong_maximum_or_causal_length_is_found(bench, name):
    rows, visible = drawn_rows(STD, 1)
    expected = weight_beats(name, rows, visible, STD)
    assert bench.y(name, inputs(name, rows, visible, STD), len(expected), stall=0.3) != expected
    assert bench.y("weights", inputs("weights", rows, visible, STD), len(expected), stall=0.3) == expected


def test_the_largest_sum_fits_and_needs_all_its_bits(bench):
    rows = [torch.full((KEYS,), -77)] * 3
    found = bench.y("cheap_weights", inputs("cheap_weights", rows, None, CHEAP), 3 * KEYS)
    layout = weight_layout(CHEAP, KEYS)
    largest = max(data.Const(layout, beat).total for beat in found)
    assert largest == KEYS << CHEAP.weight_bits - 1 and largest >> CHEAP.sum_bits(KEYS) - 1 == 1


def test_the_reciprocal_is_that_of_the_definition_for_every_mantissa(bench):
    """Sums of up to 19 bits: all of 17 bits, whose fraction is every mantissa, and drawn ones; 0 gives that of 1."""
    drawn = torch.randint(0, 1 << 19, (5000,), generator=torch.Generator().manual_seed(0))
    total = torch.cat([torch.arange(1 << 17), drawn, torch.tensor([1 << 19, 0, 0, 0, 0, 0])])
    units = {"reciprocal_std": STD, "reciprocal_cheap": CHEAP, "reciprocal_fault": STD}
    trace = bench.trace({name: {"total": total.numpy(), "enable": 1} for name in units})
    for name, spec in units.items():
        latency, expected = bench.units[name].latency, reciprocal(total, spec)
        assert latency == 5
        equal = [
            torch.equal(torch.tensor(trace[name][part].astype("int64"))[latency:], getattr(expected, part)[:-latency])
            for part in ("factor", "position")
        ]
        assert equal == [name != "reciprocal_fault", True]


def test_its_verilog_is_clean(bench):
    assert bench.complaints() == ""


def test_the_catalogue_has_it():
    assert isinstance(unit_named("softmax").make(causal=True, keys=100), Softmax)
    assert isinstance(unit_named("softmax_weights").make(), SoftmaxWeighing)


def test_impossible_parameters_are_refused():
    with pytest.raises(InputError, match="keys must be an integer of at least 1, not 0"):
        Softmax(spec=STD, keys=0)
    with pytest.raises(InputError, match="length must be an integer of at least 1, not 0"):
        RowBuffer(width=4, length=0, summary=1)
    with pytest.raises(InputError, match="score_bits must be an integer of at least 10"):
        unit_named("softmax").make(score_bits=4)
