"""Attention with several KV caches and with windows, in hardware: what each sequence alone would give."""

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from mxhw.arithmetic.dataflow import BankedScores, BlockValues, IntegerGraph, Step
from mxhw.errors import InputError
from mxhw.hardware import load_platform
from mxhw.passes.emit.dataflow.balance import last_position
from mxhw.passes.emit.dataflow.beats import stream_beats
from mxhw.passes.emit.dataflow.place import Placed, Port, place_graph
from mxhw.passes.emit.dataflow.resources import step_resources
from mxhw.passes.emit.dataflow.schedule import step_interval
from mxhw.passes.emit.dataflow.timing import Work, time_component
from mxhw.rtl_templates.catalogue import unit_named
from mxhw.rtl_templates.dataflow import attention_scores, attention_values
from mxhw.rtl_templates.dataflow.attention_scores import AttentionScoresUnit
from mxhw.rtl_templates.dataflow.attention_values import AttentionValuesUnit
from mxhw.rtl_templates.dataflow.head_memory import joined
from mxhw.rtl_templates.dataflow.head_walk import HeadWalk
from mxhw.rtl_templates.dataflow.kv_cache import KVCache
from mxhw.rtl_templates.dataflow.largest_scale import LargestScales
from mxhw.rtl_templates.function.softmax_weights import SoftmaxWeighing
from mxhw.sim import StreamError
from mxhw.sim.performance.events import Events
from tests.rtl_templates.bank import Benches, slow_ones
from tests.rtl_templates.dataflow.attention_cases import CHEAP, Case, Impatient, Sequence
from tests.rtl_templates.dataflow.banked_cases import Passes, drawn_passes

CASES = {
    "banks": Case(heads=4, kv_heads=2, keys=7, lanes=2, kv_beat=8, output_lanes=2, banks=3, exponent=-36, output=7),
    "words": Case(head_dim=4, keys=8, lanes=4, beat=4, kv_beat=4, output_lanes=4, banks=4, exponent=-36, output=7),
    "window": Case(heads=4, kv_heads=2, keys=12, lanes=2, beat=2, kv_beat=4, window=3, exponent=-36, output=7),
    "both": Case(heads=3, kv_heads=3, head_dim=4, keys=9, lanes=4, kv_beat=4, banks=5, window=4, output=7),
    "own": Case(kv_heads=2, keys=5, lanes=8, kv_beat=8, output_lanes=4, banks=2, window=1, output=7),
    "cheap": Case(heads=4, head_dim=6, keys=6, bits=4, spec=CHEAP, lanes=3, banks=2, window=5, output=7),
}
MORE = "own", "cheap"  # for slow runs
CHAIN = replace(CASES["both"], exponent=-34)
NAMES = slow_ones(CASES, MORE)


class ReadsFirstBank(KVCache):
    """Reads the first bank whatever the token's is."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += m.submodules.memory.block.eq(joined(self.head, self.key, self._keys))
        return m


class ReadsNextBank(KVCache):
    """Reads the bank of the token that is handed on next."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        own = joined(self.head, self.key, self._keys)
        m.d.comb += m.submodules.memory.block.eq(joined(self.bank.payload, own, self._heads * self._keys))
        return m


class OneBank(LargestScales):
    """Keeps one row a head for all banks."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += m.submodules.rows.address.eq(self.head)
        return m


class NeverForgets(LargestScales):
    """Finds the largest scale of the sequence, not of the window."""

    def _renew(self, before, after, found, scale, position):
        self._window += 100
        made = super()._renew(before, after, found, scale, position)
        self._window -= 100
        return made


class FromTheFirst(HeadWalk):
    """Goes through all keys."""

    def begin(self, m, position):
        pass


def scores_of(case):
    return AttentionScoresUnit.of(case.scores, lanes=case.lanes, query_lanes=case.beat, key_lanes=case.kv_beat)


def values_of(case):
    return AttentionValuesUnit.of(
        case.values, lanes=case.lanes, value_lanes=case.kv_beat, output_lanes=case.output_lanes
    )


def with_fault(module, make, case, **faults):
    with mock.patch.multiple(module, **faults):
        return make(case)


class Walks(AttentionScoresUnit):
    """With another walk."""

    def elaborate(self, platform):
        with mock.patch.object(attention_scores, "HeadWalk", FromTheFirst):
            return super().elaborate(platform)


class Attention(wiring.Component):
    """Scores, weights and values of one case with banks."""

    def __init__(self, case):
        self.scores, self.values = scores_of(case), values_of(case)
        self.weighing = SoftmaxWeighing(spec=case.spec, keys=case.scores.y.most)
        parts = {name: self.scores.signature.members[name] for name in ("query", "key", "position", "bank")}
        others = {name: self.values.signature.members[name] for name in ("value", "y")}
        super().__init__(parts | others | {f"value_{name}": parts[name] for name in ("position", "bank")})

    def elaborate(self, platform):
        m = Module()
        m.submodules.scores, m.submodules.weighing, m.submodules.values = self.scores, self.weighing, self.values
        for name in ("query", "key", "position", "bank"):
            connect(m, flipped(getattr(self, name)), getattr(self.scores, name))
        connect(m, self.scores.y, self.weighing.x)
        connect(m, self.weighing.y, self.values.weights)
        connect(m, flipped(self.value), self.values.value)
        connect(m, flipped(self.value_position), self.values.position)
        connect(m, flipped(self.value_bank), self.values.bank)
        connect(m, self.values.y, flipped(self.y))
        return m


# Name of the unit, whose case it is, what of it is wrong.
FAULTS = {
    "impatient_scores": ("words", attention_scores, scores_of, {"KVCache": Impatient}),
    "impatient_values": ("words", attention_values, values_of, {"KVCache": Impatient}),
    "first_bank_scores": ("words", attention_scores, scores_of, {"KVCache": ReadsFirstBank}),
    "next_bank_scores": ("words", attention_scores, scores_of, {"KVCache": ReadsNextBank}),
    "next_bank_values": ("words", attention_values, values_of, {"KVCache": ReadsNextBank}),
    "one_bank_values": ("words", attention_values, values_of, {"LargestScales": OneBank}),
    "never_forgets_values": ("window", attention_values, values_of, {"LargestScales": NeverForgets}),
}


@pytest.fixture(scope="module")
def bench():
    units = {f"{name}_scores": scores_of(case) for name, case in CASES.items()}
    units |= {f"{name}_values": values_of(case) for name, case in CASES.items()}
    more = {name: units.pop(name) for name in [*units] if name.split("_")[0] in MORE}
    faulty = {
        name: with_fault(module, make, CASES[case], **faults) for name, (case, module, make, faults) in FAULTS.items()
    }
    case = CASES["window"]
    walks = Walks.of(case.scores, lanes=case.lanes, query_lanes=case.beat, key_lanes=case.kv_beat)
    return Benches(units | faulty | {"walks_scores": walks}, more | {"chain": Attention(CHAIN)})


def found(bench, name, passes, **options):
    """Whether the unit gives what is expected of passes."""
    scores = name.endswith("_scores")
    inputs = passes.score_inputs() if scores else passes.value_inputs()
    expected = passes.score_beats() if scores else passes.output_beats()
    return bench.y(name, inputs, len(expected), **options) == expected


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("name", NAMES)
def test_every_sequence_gives_what_it_gives_alone(bench, name, stall):
    for seed in (1, 2, 3):
        passes = drawn_passes(CASES[name], seed, plain_scores=seed == 1)
        assert found(bench, f"{name}_scores", passes, stall=stall, seed=seed)
        assert found(bench, f"{name}_values", passes, stall=stall, seed=seed)


@pytest.mark.parametrize("name", NAMES)
def test_tokens_of_one_bank_after_another_and_of_all_in_turn(bench, name):
    for seed, run in ((4, 100), (5, 1)):
        passes = drawn_passes(CASES[name], seed, run=run)
        assert found(bench, f"{name}_scores", passes) and found(bench, f"{name}_values", passes)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(bench, fault):
    name, kind = FAULTS[fault][0], fault.rpartition("_")[2]
    passes = drawn_passes(CASES[name], 3, plain_scores=True)
    assert found(bench, f"{name}_{kind}", passes)
    assert not found(bench, fault, passes)


def test_a_walk_through_all_keys_is_found(bench):
    passes = drawn_passes(CASES["window"], 3)
    assert found(bench, "window_scores", passes)
    with pytest.raises(StreamError, match="a walks_scores__y beat too many"):
        found(bench, "walks_scores", passes)


def together(passes, member):
    """Values of all passes [1, passes, ...] from those of the sequences."""
    values = [getattr(s, member) for s in passes.sequences]
    if isinstance(values[0], BlockValues):
        parts = (
            torch.stack([getattr(values[s], part)[0, t] for s, t in passes.order])[None] for part in ("codes", "scale")
        )
        return BlockValues(*parts)
    return torch.stack([values[s][0, t] for s, t in passes.order])[None]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.banks > 1])
def test_the_definition_with_banks_is_that_of_each_sequence(name):
    """And the beats that are made of its values."""
    passes, case = drawn_passes(CASES[name], 7), CASES[name]
    where = torch.tensor([passes.positions]), torch.tensor([passes.bank_of])
    scores = case.scores.run(together(passes, "query"), together(passes, "key"), *where)
    assert isinstance(scores, BankedScores)
    assert stream_beats(scores, case.scores.output).tolist() == passes.score_beats()
    weights = case.weights.run(scores)
    sent = stream_beats(weights, case.weights.output)
    words = sent.tolist() if sent.ndim == 2 else [[word] for word in sent.tolist()]
    assert [sum(word << 32 * i for i, word in enumerate(row)) for row in words] == passes.value_inputs()["weights"]
    outputs = case.values.run(weights, together(passes, "value"), *where)
    assert torch.equal(outputs, together(passes, "outputs"))
    assert len(outputs.unique()) > 20


@pytest.mark.slow
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_attention_as_a_whole(bench, stall):
    for seed in (5, 6):
        passes = drawn_passes(CHAIN, seed)
        value = passes.value_inputs()["value"]
        inputs = passes.score_inputs() | {"value": value} | {f"value_{name}": b for name, b in passes.where.items()}
        expected = passes.output_beats()
        assert len(set(expected)) > 100
        assert bench.y("chain", inputs, len(expected), stall=stall, seed=seed) == expected


def test_the_largest_sums_of_a_window_fit(bench):
    """All weights are 1.0, all values the largest code: sums as wide as three keys need."""
    case, tokens = CASES["window"], 12
    shape = 1, tokens, case.kv_heads
    codes = torch.where(torch.arange(case.head_dim) % 2 == 0, 127, -127).expand(*shape, -1)
    values = BlockValues(codes, torch.zeros(shape, dtype=torch.long))
    scores = torch.zeros(1, case.heads, tokens, tokens, dtype=torch.long)
    sequence = Sequence(case, values, values, values, scores)
    total = int(sequence.weights.total.max())
    assert total == 3 << 15 and (total * 127).bit_length() + 1 == case.spec.value_sum_bits(3)
    assert found(bench, "window_values", Passes(case, [sequence], [0], [(0, t) for t in range(tokens)]))


def predicted(unit, case, passes, *, banks=True):
    """The cycles of a run, as designs are timed with them."""
    scores = isinstance(unit, AttentionScoresUnit)
    operation = case.scores if scores else case.values
    lanes = (case.beat, case.kv_beat, 1, 1) if scores else (1, case.kv_beat, 1, 1)
    names = ("query" if scores else "weights", "key" if scores else "value", "position", "bank")
    inputs = tuple(Port(*port) for port in zip(names, operation.inputs, lanes, strict=False))
    output = Port("y", operation.output, 1 if scores else case.output_lanes)
    placed = Placed(module="unit", component=unit, inputs=inputs, output=output, parallelism={})
    events, several = Events(), np.array(passes.bank_of) if banks else None
    work = Work("unit", operation, placed, np.array(passes.positions), several)
    component = time_component(events, work)
    times = events.earliest()
    assert len(component.inputs) == len(inputs)
    # Where a token belongs is taken with the last of its codes.
    return int(times[component.output][-1]) - min(int(times[port.taken][0]) for port in component.inputs[:2]) + 1


@pytest.mark.parametrize("name", NAMES)
def test_the_predicted_cycles(bench, name):
    case = CASES[name]
    for seed, run in ((1, 3), (2, 1), (3, 100)):
        passes = drawn_passes(case, seed, run=run)
        for unit, inputs, count in (
            (f"{name}_scores", passes.score_inputs(), len(passes.score_beats())),
            (f"{name}_values", passes.value_inputs(), len(passes.output_beats())),
        ):
            assert predicted(bench.units[unit], case, passes) == bench.run(unit, inputs, count).cycles


def test_a_hazard_that_is_none_would_be_noticed(bench):
    """Tokens of other banks need not wait for what is read."""
    passes = drawn_passes(CASES["banks"], 2, run=1)
    for unit in ("banks_scores", "banks_values"):
        made = bench.units[unit]
        assert predicted(made, CASES["banks"], passes, banks=False) > predicted(made, CASES["banks"], passes)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["banks", "own"])
def test_its_verilog_is_clean(bench, name):
    """With all that it was compiled with."""
    assert bench.of(f"{name}_scores").complaints() == ""


def test_one_bank_and_a_window_of_all_keys_change_nothing():
    case, plain = Case(keys=6, window=6), Case(keys=6)
    for make in (scores_of, values_of):
        assert make(case).signature == make(plain).signature
        assert make(case).interval(5) == make(plain).interval(5)
    assert values_of(case).scales is None


def test_windows_shorten_the_work():
    case = CASES["window"]
    for made, operation in ((scores_of(case), case.scores), (values_of(case), case.values)):
        assert made.interval(11) == made.interval(2) == 4 * 3 * 8 // 2 > made.interval(1)
        assert made.latency(11) == made.latency(2) > made.latency(1)
        assert last_position(operation) == 11
        placed = place_graph(alone(operation), {"s": {"lanes": 2}})["s"]
        assert step_interval(operation, placed, 11) == 4 * 3 * 8 // 2


def alone(operation):
    names = [f"input_{i}" for i in range(len(operation.inputs))]
    inputs = dict(zip(names, operation.inputs, strict=True))
    return IntegerGraph(inputs, [Step("s", "s", operation, tuple(names))], ["s"])


def test_components_are_named_by_what_they_keep_and_counted_with_it():
    platform, found, modules = load_platform("asap7"), {}, {}
    for banks, window in ((1, None), (1, 6), (4, None), (4, 3)):
        case = Case(keys=6, banks=banks, window=window)
        for operation in (case.scores, case.values):
            placed = place_graph(alone(operation), {})["s"]
            modules[operation.kind, banks, window] = placed.module
            found[operation.kind, banks, window] = step_resources(operation, placed, platform)["area"]
            assert [port.member for port in placed.inputs][2:] == ["position", "bank"][: 1 + (banks > 1)]
    for kind in ("attention_scores", "attention_values"):
        assert modules[kind, 1, None] == modules[kind, 1, 6] and "_b" not in modules[kind, 1, None]
        assert modules[kind, 4, None] == modules[kind, 1, None] + "_b4"
        assert modules[kind, 4, 3] == modules[kind, 1, None] + "_b4_window3"
        assert found[kind, 1, None] < found[kind, 4, None]
    assert found["attention_values", 4, None] < found["attention_values", 4, 3]


@pytest.mark.parametrize("kind", ["attention_scores", "attention_values"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"banks": 0}, "banks must be an integer of at least 1, not 0"),
        ({"window": 0}, "window must be an integer of at least 1, not 0"),
    ],
)
def test_impossible_parameters_are_refused(kind, given, message):
    template = unit_named(kind)
    sizes = {"heads": 2, "kv_heads": 1, "head_dim": 8, "keys": 4, "spec": CHEAP}
    unit = AttentionScoresUnit if kind == "attention_scores" else AttentionValuesUnit
    more = {"exponent": 0} if kind == "attention_scores" else {"shift": 0}
    with pytest.raises(InputError) as refused:
        unit(**sizes, **more, **given)
    assert message in str(refused.value) and template.name == kind
