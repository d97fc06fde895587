"""The streaming term decoder against the definition of its steps, under stalls of both ports."""

import random
from itertools import zip_longest

import pytest
import torch

from mxhw.arithmetic import WeightType, weight_type_named
from mxhw.arithmetic.bitmod_pe import Fp16Steps, exact_sum, fp16_operands
from mxhw.arithmetic.term_steps import Step, chunk_cycles, chunk_steps
from mxhw.errors import InputError
from mxhw.rtl_templates.decoder.term_stream import TEMPLATE
from tests.bitmod_groups import drawn_groups, golden_groups
from tests.rtl_templates.bank import Bench

UNITS = [("fp4", 1, True), ("fp3", 8, True), ("int5", 2, True)]
MORE_UNITS = [("int8", 1, True), ("fp3-oneterm", 2, True), ("fp4", 2, False), ("int6", 1, False)]
Chunk = tuple[list[list[int]], list[int], bool, bool]  # codes [columns][lanes], selectors, first, last


def key(name: str, columns: int, skip: bool) -> str:
    return f"{name.replace('-', '_')}_{columns}_{skip}"


def bank(units: list[tuple[str, int, bool]]) -> Bench:
    return Bench({key(*unit): TEMPLATE.make(weight_type=unit[0], columns=unit[1], skip=unit[2]) for unit in units})


@pytest.fixture(scope="module")
def bench() -> Bench:
    return bank(UNITS)


@pytest.fixture(scope="module")
def more() -> Bench:
    return bank(MORE_UNITS)


def joined(fields: list[tuple[int, int]]) -> int:
    """Values and widths, lowest first, as one integer."""
    word = at = 0
    for value, width in fields:
        word, at = word | value << at, at + width
    return word


def chunk_beat(kind: WeightType, chunk: Chunk) -> int:
    codes, selectors, first, last = chunk
    fields = [(code, kind.code_bits) for column in codes for code in column]
    fields += [(selector, 2) for selector in selectors] if kind.special_values else []
    return joined([*fields, (first, 1), (last, 1)])


def step_beats(kind: WeightType, chunk: Chunk, skip: bool) -> list[int]:
    codes, selectors, first, last = chunk
    columns = [chunk_steps(kind, c, s, skip) for c, s in zip(codes, selectors, strict=True)]
    width = max(1, kind.largest_significance.bit_length())
    beats = []
    rows: list[tuple[Step | None, ...]] = list(zip_longest(*columns))
    for index, row in enumerate(rows):
        terms = [term for step in row for term in (step.terms if step else [None] * len(codes[0]))]
        fields = [(joined([(t.mantissa, 1), (t.exponent, 2), (t.sign, 1)]) if t else 0, 4) for t in terms]
        fields += [(step.significance if step else 0, width) for step in row]
        ends = index == len(rows) - 1
        beats.append(joined([*fields, (first and index == 0, 1), (last and ends, 1), (ends, 1)]))
    return beats


def drawn(kind: WeightType, columns: int, count: int, seed: int) -> list[Chunk]:
    rng = random.Random(seed)
    chunks = []
    for _ in range(count):
        density = rng.choice((0.0, 0.3, 1.0))
        codes = [
            [rng.randrange(1 << kind.code_bits) if rng.random() < density else 0 for _ in range(4)]
            for _ in range(columns)
        ]
        selectors = [rng.randrange(max(1, len(kind.special_values))) for _ in range(columns)]
        chunks.append((codes, selectors, rng.random() < 0.3, rng.random() < 0.3))
    return chunks


STALLS = pytest.mark.parametrize(("stall", "seed"), [(0.0, 1), (0.3, 2), (0.6, 3)])


@STALLS
@pytest.mark.parametrize("unit", UNITS)
def test_steps_are_those_of_the_definition(bench, unit, stall, seed):
    check_steps(bench, unit, stall, seed)


@pytest.mark.slow
@STALLS
@pytest.mark.parametrize("unit", MORE_UNITS)
def test_steps_of_other_types_and_without_skipping_too(more, unit, stall, seed):
    check_steps(more, unit, stall, seed)


def check_steps(bench: Bench, unit: tuple[str, int, bool], stall: float, seed: int) -> None:
    name, columns, skip = unit
    kind = weight_type_named(name)
    chunks = drawn(kind, columns, 300, seed)
    expected = [beat for chunk in chunks for beat in step_beats(kind, chunk, skip)]
    beats = [chunk_beat(kind, chunk) for chunk in chunks]
    run = bench.run(key(*unit), {"chunk": beats}, {"step": len(expected)}, stall=stall, seed=seed)
    assert run.ints("step") == expected
    if not stall:
        assert run.cycles == len(expected) + 1


def test_a_wrong_selector_is_noticed(bench):
    kind = weight_type_named("fp4")
    special = [[kind.special_code] * 4]
    right, wrong = (special, [2], True, True), (special, [3], True, True)
    (beat,) = step_beats(kind, right, True)
    found = [
        bench.run(key("fp4", 1, True), {"chunk": [chunk_beat(kind, chunk)]}, {"step": 1}).ints("step")
        for chunk in (right, wrong)
    ]
    assert found[0] == [beat] != found[1]


@pytest.mark.parametrize("width", [3, 4])
def test_golden_groups_take_the_cycles_that_are_counted(bench, shared, width):
    groups, _ = golden_groups(shared, width)
    columns = 8 if width == 3 else 1
    codes = groups.codes.unflatten(-1, (-1, 4)).unflatten(0, (-1, columns)).transpose(1, 2).flatten(0, 1)
    selectors = groups.selector.view(-1, 1, columns).expand(-1, 32, -1).flatten(0, 1)
    cycles = int(chunk_cycles(groups.kind, codes, selectors).amax(-1).sum())
    beats = [
        chunk_beat(groups.kind, (c, s, False, False)) for c, s in zip(codes.tolist(), selectors.tolist(), strict=True)
    ]
    run = bench.run(key(groups.kind.name, columns, True), {"chunk": beats}, {"step": cycles})
    assert run.cycles == cycles + 1 and cycles < 2 * len(beats)


def test_skipping_changes_no_bit_of_an_exact_sum():
    groups = drawn_groups(weight_type_named("fp4"), 40, 8, 5)
    sign, exponent, significand = fp16_operands(groups.x)
    for g in range(40):
        rows = []
        for start in range(0, 32, 4):
            lanes = slice(start, start + 4)
            steps = chunk_steps(groups.kind, groups.codes[g, lanes].tolist(), int(groups.selector[g]))
            for step in steps:
                terms = torch.tensor([(t.sign, t.exponent, t.mantissa) for t in step.terms]).unbind(-1)
                x = (part[g, lanes] for part in (sign, exponent, significand))
                rows.append((*x, *terms, torch.tensor(step.significance)))
        skipped = Fp16Steps(*(torch.stack(part).unsqueeze(0) for part in zip(*rows, strict=True)))
        assert int(exact_sum(skipped)[0]) == int(exact_sum(groups.steps())[g])


def test_impossible_arguments_are_refused():
    with pytest.raises(InputError, match="columns must be an integer of at least 1, not 0"):
        TEMPLATE.make(columns=0)
    with pytest.raises(InputError, match="weight_type of unit bitmod_term_stream must be one of"):
        TEMPLATE.make(weight_type="nf4")
