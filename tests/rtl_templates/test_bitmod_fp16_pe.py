"""BitMoD's PE on FP16 against its definition, bit for bit, with stalls of the clock enable; and the faults it must see.

Groups follow one another without a pause, also those of eight cycles, beside which the serial scale just fits.
"""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from amaranth.hdl import Const, Module, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from mxhw.arithmetic import RUNTIME_TYPES, type_number, weight_type_named
from mxhw.arithmetic.bitmod_pe import Fp16Steps, exact_sum, fp16_operands, paper_sum
from mxhw.errors import InputError
from mxhw.rtl_templates.decoder import Fp16Decoder, RuntimeTermDecoder, SpecialTerms
from mxhw.rtl_templates.decoder.bitmod_runtime import special_terms_bits
from mxhw.rtl_templates.mac import bitmod_paper
from mxhw.rtl_templates.mac.bitmod_fp16 import TEMPLATE, BitModPE
from tests.bitmod_groups import drawn_groups, golden_groups
from tests.rtl_templates.bank import Bench

SCALE_BITS = 8
Job = tuple[Fp16Steps, list[int]]  # groups of equal length, and their scales


def packed(parts: list[tuple[torch.Tensor, int]]) -> list[int]:
    """Fields [..., lanes], lowest first and with their widths, as one integer for each step."""
    rows = torch.stack([part for part, _ in parts], -1).flatten(0, -3).tolist()
    words = []
    for lanes in rows:
        word = at = 0
        for fields in lanes:
            for value, (_, width) in zip(fields, parts, strict=True):
                word |= value << at
                at += width
        words.append(word)
    return words


def timetable(pe: BitModPE, jobs: list[Job]) -> tuple[dict[str, list[int]], list[int]]:
    """Inputs for every cycle without stalls, and the cycles in which results are due."""
    ports: dict[str, list[int]] = {name: [] for name in ("x", "terms", "significance", "first", "enable")}
    due, scales = [], []
    for steps, scale in jobs:
        count = steps.significance.shape[-1]
        ports["x"] += packed([(steps.significand, 11), (steps.a_exponent, 5), (steps.a_sign, 1)])
        ports["terms"] += packed([(steps.w_mantissa, 1), (steps.w_exponent, 2), (steps.w_sign, 1)])
        ports["significance"] += steps.significance.flatten().tolist()
        start = len(ports["first"])
        ports["first"] += [int(i % count == 0) for i in range(count * len(scale))]
        due += [start + count * (g + 1) - 1 + pe.latency for g in range(len(scale))]
        scales += scale
    length = len(ports["first"])
    ports["enable"] = [1] * length + [0] * (due[-1] + SCALE_BITS + 1 - length)
    cycles = len(ports["enable"])
    rng = random.Random(0)
    for name, bits in (("x", 17 * pe.lanes), ("terms", 4 * pe.lanes), ("significance", 1), ("first", 1)):
        ports[name] += [rng.getrandbits(bits) for _ in range(cycles - length)]
    ports |= {"control": [0] * cycles, "advance": [1] * cycles}
    ports["scale_bit"] = [rng.getrandbits(1) for _ in range(cycles)]
    for load, scale in zip(due, scales, strict=True):
        ports["control"][load] |= 1
        for bit in range(SCALE_BITS):
            ports["control"][load + 1 + bit] |= 4 | 2 * (bit == 0)
            ports["scale_bit"][load + 1 + bit] = scale >> SCALE_BITS - 1 - bit & 1
    if "significance" not in pe.signature.members:
        del ports["significance"]
    return ports, [load + SCALE_BITS for load in due]


def stalled(pe: BitModPE, ports: dict[str, list[int]], due: list[int], stall: float, seed: int) -> Any:
    """The same with cycles in between that do not advance and have rubbish on all other ports."""
    rng, when = random.Random(seed), []
    widths = {name: len(getattr(pe, name).as_value()) if name in ("x", "terms", "control") else 1 for name in ports}
    out: dict[str, list[int]] = {name: [] for name in ports}
    for cycle in range(len(ports["advance"])):
        while rng.random() < stall:
            for name, width in widths.items():
                out[name].append(rng.getrandbits(width) if name != "advance" else 0)
        when.append(len(out["advance"]))
        for name, values in ports.items():
            out[name].append(values[cycle])
    return out, [when[cycle] for cycle in due]


def expected(pe: BitModPE, jobs: list[Job]) -> list[tuple[int, ...]]:
    results: list[tuple[int, ...]] = []
    for steps, scale in jobs:
        factors = torch.tensor(scale)
        if pe.accumulator == "exact":
            results += [(value,) for value in (exact_sum(steps) * factors).flatten().tolist()]
        else:
            total = paper_sum(steps).scaled(factors)
            results += list(zip(total.mantissa.tolist(), total.exponent.tolist(), strict=True))
    return results


def found(bench: Bench, name: str, jobs: list[Job], stall: float = 0.0, seed: int = 0) -> list[tuple[int, ...]]:
    pe = bench.units[name]
    ports, due = stalled(pe, *timetable(pe, jobs), stall, seed)
    trace = bench.trace({name: ports})[name]
    outputs = ["mantissa"] if pe.accumulator == "exact" else ["mantissa", "exponent"]
    return [tuple(int(trace[output][cycle]) for output in outputs) for cycle in due]


def jobs_of(names: tuple[str, ...], groups: int, seed: int) -> list[Job]:
    """Drawn groups of each type: long ones and ones that take eight or a few more cycles."""
    jobs = []
    for i, name in enumerate(names):
        kind = weight_type_named(name)
        for chunks in (32, -(-SCALE_BITS // kind.steps), 5 + i):
            if chunks * kind.steps >= SCALE_BITS:
                drawn = drawn_groups(kind, groups, chunks, seed + i)
                jobs.append((drawn.steps(), drawn.scale.tolist()))
    return jobs


@pytest.fixture(scope="module")
def bench() -> Bench:
    """The PE with either accumulator, one of a single type without pipeline register, and what decodes operands."""
    return Bench(
        {accumulator: TEMPLATE.make(accumulator=accumulator) for accumulator in ("paper", "exact")}
        | {"fp3": TEMPLATE.make(weight_type="fp3", pipelined=False, lanes=2)}
        | {"from_codes": FromCodes(), "decoder": Fp16Decoder()}
    )


BOTH = pytest.mark.parametrize("accumulator", ["paper", "exact"])


@pytest.mark.parametrize(("stall", "seed"), [(0.0, 0), (0.4, 1)])
@BOTH
def test_drawn_groups_of_every_type_are_bit_exact_under_stalls(bench, accumulator, stall, seed):
    jobs = jobs_of(RUNTIME_TYPES, 30, 100 * seed)
    assert found(bench, accumulator, jobs, stall, seed) == expected(bench.units[accumulator], jobs)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@BOTH
def test_many_more_groups_are_bit_exact(bench, accumulator, seed):
    jobs = jobs_of(RUNTIME_TYPES, 250, 1000 + 100 * seed)
    assert found(bench, accumulator, jobs, 0.2 * seed, seed) == expected(bench.units[accumulator], jobs)


@pytest.mark.parametrize("width", [3, 4])
@BOTH
def test_golden_groups_are_bit_exact(bench, accumulator, shared, width):
    groups, golden = golden_groups(shared, width)
    jobs = [(groups.steps(), groups.scale.tolist())]
    results = found(bench, accumulator, jobs, 0.2, width)
    assert results == expected(bench.units[accumulator], jobs)
    if accumulator == "exact":
        assert [value / 2**24 for (value,) in results] == golden["dot_scaled"].tolist()


def test_a_pe_of_one_type_without_pipeline_register_is_bit_exact(bench):
    drawn = drawn_groups(weight_type_named("fp3"), 100, 8, 3, lanes=2)
    jobs = [(drawn.steps(lanes=2), drawn.scale.tolist())]
    assert "significance" not in bench.units["fp3"].signature.members
    assert found(bench, "fp3", jobs, 0.2, 1) == expected(bench.units["fp3"], jobs)


class FromCodes(wiring.Component):
    """The exact PE with its decoders: FP16 numbers and stored weight codes come in."""

    numbers: In(4 * 16)
    codes: In(4 * 8)
    kind: In(3)
    selector: In(2)
    step: In(2)
    specials: In(4 * 9)
    enable: In(1)
    first: In(1)
    control: In(5)
    scale_bit: In(1)
    mantissa: Out(signed(64))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.pe = pe = TEMPLATE.make(accumulator="exact")
        m.submodules.weights = weights = RuntimeTermDecoder()
        for lane in range(4):
            m.submodules[f"x_{lane}"] = x = Fp16Decoder()
            m.d.comb += [x.code.eq(self.numbers.word_select(lane, 16)), pe.x[lane].eq(x.operand)]
        m.d.comb += [
            weights.kind.eq(self.kind),
            weights.codes.as_value().eq(self.codes),
            weights.selector.eq(self.selector),
            weights.step.eq(self.step),
            weights.specials.as_value().eq(self.specials),
            pe.terms.eq(weights.terms),
            pe.significance.eq(weights.significance),
            pe.advance.eq(1),
            pe.control.as_value().eq(self.control),
            self.mantissa.eq(pe.mantissa),
        ]
        m.d.comb += [getattr(pe, name).eq(getattr(self, name)) for name in ("enable", "first", "scale_bit")]
        return m


def test_golden_codes_and_activations_give_the_golden_scaled_dots_through_all_decoders(bench, shared):
    pe = bench.units["exact"]
    for width in (3, 4):
        groups, golden = golden_groups(shared, width)
        kind = groups.kind
        ports, due = timetable(pe, [(groups.steps(), groups.scale.tolist())])
        cycles, count = len(ports["advance"]), len(groups.codes) * 64
        entries = [special_terms_bits(kind.special_entry(value)) for value in kind.special_values]
        specials = data.ArrayLayout(SpecialTerms, 4).const(entries).as_value().value
        numbers = torch.tensor(golden["act"]).view(torch.int16).long() & 0xFFFF
        held = {"numbers": (numbers, 16), "codes": (groups.codes, 8)}
        inputs: dict[str, Any] = {name: ports[name] for name in ("enable", "first", "control", "scale_bit")}
        for name, (values, bits) in held.items():
            words = sum(part << bits * lane for lane, part in enumerate(values.T.unflatten(0, (32, 4)).unbind(1)))
            inputs[name] = [word % (1 << 64) for word in words.T.flatten().repeat_interleave(2).tolist()]
            inputs[name] += [0] * (cycles - count)
        inputs["step"] = [cycle % 2 for cycle in range(cycles)]
        inputs["selector"] = [*groups.selector.repeat_interleave(64).tolist(), *([0] * (cycles - count))]
        inputs |= {"kind": type_number(kind.name), "specials": specials}
        mantissa = bench.trace({"from_codes": inputs})["from_codes"]["mantissa"]
        assert [int(mantissa[cycle]) / 2**24 for cycle in due] == golden["dot_scaled"].tolist()


def extreme_steps(kind_name: str, sign: int) -> Fp16Steps:
    """A group that takes the sum of step and group to its bound: four largest terms of significance 6 at the end."""
    kind = weight_type_named(kind_name)
    x = torch.full((1, 128), 65504.0 * sign).half()
    code, selector = (kind.special_code, 0) if kind.magnitudes else (kind.largest, 0)
    return Fp16Steps.of(x, torch.full((1, 128), code), kind, torch.tensor([selector]))


def to_the_bound(sign: int) -> Fp16Steps:
    """Two steps: one lane fills the group sum, then all lanes have the largest term of the largest significance."""
    steps = 8
    ones = torch.ones(1, steps, 4, dtype=torch.int64)
    mantissa = ones * 0
    mantissa[0, 0, 0], mantissa[0, 1] = 1, 1
    significance = torch.zeros(1, steps, dtype=torch.int64)
    significance[0, 1] = 6
    return Fp16Steps(ones * (sign < 0), 30 * ones, 2047 * ones, 0 * ones, 3 * ones, mantissa, significance)


def to_the_lowest_mantissa() -> Fp16Steps:
    """Two steps whose sum is -2**14, the mantissa of the largest magnitude."""
    ones = torch.ones(1, 8, 4, dtype=torch.int64)
    mantissa, significand = ones * 0, ones * 2047
    mantissa[0, 0, 0] = mantissa[0, 1, 0] = 1
    significand[0, 1] = 1
    return Fp16Steps(ones, 20 * ones, significand, 0 * ones, 0 * ones, mantissa, torch.zeros(1, 8, dtype=torch.int64))


def bound_jobs() -> list[Job]:
    jobs = [(to_the_bound(sign), [255]) for sign in (1, -1)] + [(to_the_lowest_mantissa(), [255])]
    return jobs + [(extreme_steps(name, sign), [255]) for name in ("int8", "fp4", "fp3-oneterm") for sign in (1, -1)]


@BOTH
def test_the_largest_sums_do_not_overflow(bench, accumulator):
    jobs = bound_jobs()
    assert found(bench, accumulator, jobs) == expected(bench.units[accumulator], jobs)


def simulated(pe: BitModPE, jobs: list[Job]) -> list[tuple[int, ...]]:
    """What a PE gives that is not worth a build."""
    ports, due = timetable(pe, jobs)
    outputs = [pe.mantissa] if pe.accumulator == "exact" else [pe.mantissa, pe.exponent]
    results = []

    async def bench(ctx: Any) -> None:
        for cycle in range(len(ports["advance"])):
            for name, values in ports.items():
                ctx.set(Value.cast(getattr(pe, name)), values[cycle])
            if cycle in due:
                results.append(tuple(ctx.get(output) for output in outputs))
            await ctx.tick()

    simulator = Simulator(pe)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return results


@pytest.mark.parametrize(
    ("accumulator", "narrower", "job"),
    [
        ("paper", "sum", (to_the_bound(1), [255])),
        ("paper", "scaled", (to_the_lowest_mantissa(), [255])),
        ("paper", "dot", (to_the_bound(-1), [1])),
        ("exact", "group_sum", (extreme_steps("int8", 1), [1])),
        ("exact", "scaled", (extreme_steps("int8", -1), [255])),
    ],
)
def test_one_bit_less_than_the_bound_is_noticed(accumulator, narrower, job):
    pe = TEMPLATE.make(accumulator=accumulator)
    pe.widths = replace(pe.widths, **{narrower: getattr(pe.widths, narrower) - 1})
    assert simulated(pe, [job]) != expected(pe, [job])


def test_sums_of_lanes_that_are_not_aligned_with_the_group_sum_are_noticed(monkeypatch):
    """The fault of the published RTL."""
    drawn = drawn_groups(weight_type_named("fp4"), 12, 4, 5)
    jobs = [(drawn.steps(), [1] * 12)]
    assert simulated(TEMPLATE.make(), jobs) == expected(TEMPLATE.make(), jobs)
    incoming = bitmod_paper._incoming
    never = Const(1, 1)
    monkeypatch.setattr(
        bitmod_paper,
        "_incoming",
        lambda m, dot, significance, ahead, rises, widths: incoming(m, dot, significance, ahead, never, widths),
    )
    assert simulated(TEMPLATE.make(), jobs) != expected(TEMPLATE.make(), jobs)


def test_impossible_arguments_are_refused():
    with pytest.raises(InputError, match='accumulator must be "paper" or "exact", not \'float\''):
        BitModPE(weight_types=[weight_type_named("fp4")], accumulator="float")
    with pytest.raises(InputError, match="lanes must be a divisor of the group of 2, not 4"):
        TEMPLATE.make(group=2)
    with pytest.raises(InputError, match="at least one weight type"):
        BitModPE(weight_types=[])


def test_throughput_is_that_of_the_terms_and_twice_with_one_term():
    rates = {name: TEMPLATE.macs_per_cycle(weight_type=name) for name in ("int8", "int6", "fp4", "fp3", "fp3-oneterm")}
    assert rates == {"int8": 1.0, "int6": 4 / 3, "fp4": 2.0, "fp3": 2.0, "fp3-oneterm": 4.0}
    cycles = {}
    for name in ("fp3", "fp3-oneterm"):
        groups = drawn_groups(weight_type_named(name), 10, 32, 1)
        _, due = timetable(TEMPLATE.make(), [(groups.steps(), groups.scale.tolist())])
        cycles[name] = due[-1] - due[0]
    assert cycles["fp3"] == 2 * cycles["fp3-oneterm"] == 9 * 64


def test_every_fp16_pattern_is_decoded_as_defined(bench):
    patterns = np.arange(1 << 16)
    operands = bench.trace({"decoder": {"code": patterns}})["decoder"]["operand"].astype(np.int64)
    sign, exponent, significand = fp16_operands(torch.tensor(patterns.astype(np.uint16).view(np.float16)))
    assert (operands == (significand | exponent << 11 | sign << 16).numpy()).all()
