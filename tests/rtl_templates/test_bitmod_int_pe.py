"""The integer bit-serial PE with significances that come in: every type at run time, and one-term FP3."""

import random
from itertools import product
from typing import Any

import pytest

from mxhw.arithmetic import RUNTIME_TYPES, WeightType, bitmod_widths, runtime_widths, weight_type_named
from mxhw.errors import InputError
from mxhw.rtl_templates.mac import BitSerialPE
from mxhw.rtl_templates.mac.bit_serial import TEMPLATE
from tests.rtl_templates.bank import Bench

GROUP = 32
Group = tuple[WeightType, int, list[int], list[int], int]  # type, selector, codes, activations, scale


def drawn(names: tuple[str, ...], count: int, seed: int) -> list[Group]:
    rng, groups = random.Random(seed), []
    for i in range(count):
        kind = weight_type_named(names[i % len(names)])
        extreme = rng.random() < 0.2
        codes = [rng.randrange(1 << kind.code_bits) for _ in range(GROUP)]
        if not kind.magnitudes:
            codes = [0 if code == 1 << kind.code_bits - 1 else code for code in codes]
        if extreme:
            codes = [kind.special_code or kind.largest] * GROUP
        sign = rng.choice((1, -1))
        x = [sign * 127 if extreme else rng.randint(-127, 127) for _ in range(GROUP)]
        selector, scale = rng.randrange(4) if kind.magnitudes else 0, rng.choice((0, 1, 255, rng.randrange(256)))
        groups.append((kind, selector, codes, x, scale))
    return groups


def timetable(groups: list[Group], stall: float, seed: int) -> tuple[dict[str, list[int]], list[int], list[int]]:
    """Inputs per cycle, the cycles in which results are due, and the results: each group starts a new sum, or adds."""
    names = ("advance", "x", "terms", "significance", "enable", "first", "control", "scale_bit")
    rows: list[dict[str, int]] = []
    loads: list[int] = []
    for kind, selector, codes, x, _ in groups:
        for start in range(0, GROUP, 4):
            for step in range(kind.steps):
                terms = [kind.term(code, step, selector) for code in codes[start : start + 4]]
                rows.append(
                    {
                        "x": sum((value & 255) << 8 * lane for lane, value in enumerate(x[start : start + 4])),
                        "terms": sum(
                            (t.mantissa | t.exponent << 1 | t.sign << 3) << 4 * lane for lane, t in enumerate(terms)
                        ),
                        "significance": kind.significance(step, selector),
                        "enable": 1,
                        "first": int(start == 0 and step == 0),
                    }
                )
        loads.append(len(rows))
    rows += [{} for _ in range(12)]
    control, bits = [0] * len(rows), [0] * len(rows)
    for number, (load, (*_, scale)) in enumerate(zip(loads, groups, strict=True)):
        control[load] |= 1
        for bit in range(8):
            control[load + 1 + bit] |= 4 | 2 * (bit == 0)
            bits[load + 1 + bit] = scale >> 7 - bit & 1
        control[load + 9] |= 8 | 16 * (number % 3 == 0)
    rng, out, when = random.Random(seed), {name: [] for name in names}, []
    for cycle, row in enumerate(rows):
        while rng.random() < stall:
            for name, width in zip(names, (0, 32, 16, 3, 1, 1, 5, 1), strict=True):
                out[name].append(rng.getrandbits(width) if width else 0)
        when.append(len(out["x"]))
        full = {"advance": 1, "control": control[cycle], "scale_bit": bits[cycle], **row}
        for name in names:
            out[name].append(full.get(name, 0))
    results, total = [], 0
    for number, (kind, selector, codes, x, scale) in enumerate(groups):
        product = scale * sum(a * kind.value(code, selector) for a, code in zip(x, codes, strict=True))
        total = product if number % 3 == 0 else total + product
        results.append(total)
    return out, [when[load + 9] for load in loads], results


@pytest.fixture(scope="module")
def bench() -> Bench:
    one = TEMPLATE.make(weight_type="runtime", k=4, group=4, lanes=1, scaled=False)
    return Bench({"pe": TEMPLATE.make(weight_type="runtime", k=3 * GROUP, group=GROUP), "one": one})


def traced(bench: Bench, ports: dict[str, list[int]]) -> Any:
    """The PE's result in every cycle."""
    return bench.trace({"pe": ports})["pe"]["result"]


@pytest.mark.parametrize(("stall", "seed"), [(0.0, 0), (0.4, 1)])
def test_groups_of_every_type_in_turn_are_exact(bench, stall, seed):
    ports, due, expected = timetable(drawn(RUNTIME_TYPES, 120, seed), stall, seed)
    results = traced(bench, ports)
    assert [int(results[cycle]) for cycle in due] == expected


def test_one_lane_is_exact_for_every_activation_term_and_significance(bench):
    cases = list(product(range(-127, 128), range(16), range(7)))
    ports: dict[str, Any] = dict.fromkeys(("advance", "enable", "first"), 1)
    for name, values in zip(("x", "terms", "significance"), zip(*cases, strict=True), strict=True):
        ports[name] = [value & 255 for value in values] + [0]
    sums = bench.trace({"one": ports})["one"]["result"][1:]
    terms = [(-1 if word >> 3 else 1) * (word & 1) << (word >> 1 & 3) for word in range(16)]
    assert sums.tolist() == [x * terms[word] << significance for x, word, significance in cases]


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_fit_and_need_every_bit(bench, sign):
    kind = weight_type_named("int8")
    groups = [(kind, 0, [kind.largest] * GROUP, [127 * sign] * GROUP, 255)] * 3
    ports, due, expected = timetable(groups, 0.0, 0)
    results = traced(bench, ports)
    assert [int(results[cycle]) for cycle in due] == expected
    bits = runtime_widths(RUNTIME_TYPES, 3 * GROUP, GROUP).accumulator
    assert not -(1 << bits - 2) <= expected[-1] < 1 << bits - 2


def test_a_wrong_significance_is_noticed(bench):
    ports, due, expected = timetable(drawn(("fp4",), 6, 3), 0.0, 3)
    ports["significance"] = [1 - s for s in ports["significance"]]
    results = traced(bench, ports)
    assert [int(results[cycle]) for cycle in due] != expected


def test_one_term_fp3_takes_half_the_cycles_of_fp3(bench):
    cycles = {}
    for name in ("fp3", "fp3-oneterm"):
        ports, due, expected = timetable(drawn((name,), 9, 5), 0.0, 0)
        results = traced(bench, ports)
        assert [int(results[cycle]) for cycle in due] == expected
        cycles[name] = due[-1] - due[0]
    # Groups of 32 on four lanes: 8 cycles, just those of the serial scale.
    assert cycles == {"fp3": 8 * 16, "fp3-oneterm": 8 * 8}


def test_widths_at_run_time_are_those_of_the_widest_type():
    every = runtime_widths(RUNTIME_TYPES, 4096, 128)
    assert every.accumulator == bitmod_widths("int8", 4096, 128).accumulator
    assert every.dot == bitmod_widths("fp4", 4096, 128).dot == bitmod_widths("int8", 4096, 128).dot + 2
    # Programmed special values reach 24 half units, beyond the 16 of the format.
    assert runtime_widths(["fp4"], 128, 128).group_sum == (127 * 24 * 128).bit_length() + 1
    with pytest.raises(InputError, match="at least one type"):
        runtime_widths([], 128)


def test_impossible_arguments_are_refused():
    kind = weight_type_named("fp3-oneterm")
    with pytest.raises(InputError, match="weight_type must be in a sequence if its significance varies"):
        BitSerialPE(weight_type=kind, widths=runtime_widths(["fp3-oneterm"], 128))
    with pytest.raises(InputError, match="a type or a sequence of at least one"):
        BitSerialPE(weight_type=[], widths=bitmod_widths("fp3", 128))
