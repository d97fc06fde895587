"""Attention in three operations: equal to plain Python integers, near float attention, whatever is cut in chunks."""

from math import e as euler
from math import floor, log2

import pytest
import torch
from torch import Tensor

from mxhw.arithmetic.dataflow import (
    AttentionScores,
    AttentionValues,
    AttentionWeights,
    BlockCodes,
    BlockValues,
    Integers,
    Quantize,
    Scores,
    attention,
    code_stream,
)
from mxhw.arithmetic.functions.softmax import SoftmaxSpec, SoftmaxWeights
from mxhw.errors import InputError
from mxhw.formats import parse_format

HEADS, GROUPS, DIM, TOKENS = 4, 2, 8, 9
SPEC = SoftmaxSpec()
EXPONENTS = {"query": -12, "key": -11, "value": -10}


def codes_of(name: str, heads: int, fmt: str = "int8-e8m0") -> Quantize:
    x = Integers(length=heads * DIM, bits=16, exponent=EXPONENTS[name])
    return Quantize(x=x, y=code_stream(parse_format(fmt), x, DIM))


def operations(fmt: str = "int8-e8m0", keys: int = TOKENS, window: int | None = None, banks: int = 1):
    """The three quantizers and the three operations."""
    q, k, v = codes_of("query", HEADS, fmt), codes_of("key", GROUPS, fmt), codes_of("value", GROUPS, fmt)
    stream = Scores(heads=HEADS, keys=keys, spec=SPEC, window=window)
    scores = AttentionScores(query=q.y, key=k.y, y=stream, banks=banks)
    weights = AttentionWeights(x=scores.output)
    y = Integers(length=HEADS * DIM, bits=16, exponent=-10)
    return (q, k, v), scores, weights, AttentionValues(weights=weights.output, value=v.y, y=y, banks=banks)


def drawn(tokens: int = TOKENS, batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of very different sizes, some zero."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for heads in (HEADS, GROUPS, GROUPS):
        spread = torch.exp2(torch.randint(5, 15, (batch, tokens, heads, 1), generator=generator).double())
        x = (torch.randn(batch, tokens, heads, DIM, generator=generator).double() * spread).clamp(-32767, 32767)
        x[0, 2:3] = 0
        found.append(x.round().long().flatten(-2))
    return found[0], found[1], found[2]


def positions(tokens: int = TOKENS, batch: int = 2) -> Tensor:
    return torch.arange(tokens).expand(batch, tokens)


def run(fmt: str = "int8-e8m0", window: int | None = None, **draw):
    (q, k, v), scores, weights, values = operations(fmt, window=window)
    operands = [quantize.run(x) for quantize, x in zip((q, k, v), drawn(**draw), strict=True)]
    where = positions(operands[0].codes.shape[1], operands[0].codes.shape[0])
    found = scores.run(operands[0], operands[1], where)
    weighed = weights.run(found)
    return operands, found, weighed, values.run(weighed, operands[2], where), (scores, weights, values)


def halves_up(x: int, shift: int) -> int:
    return x << -shift if shift <= 0 else (x + (1 << shift - 1)) >> shift


def clamp(x: int, bits: int) -> int:
    return max(1 - (1 << bits - 1), min((1 << bits - 1) - 1, x))


def python_row(operands: list[BlockValues], stack, i: int, head: int, t: int):
    """Section 6 of arithmetic.md for one query: scores, weights and the mean of the values, in Python integers.

    Of the keys that it sees, and of no others.
    """
    scores, _, values = stack
    window = scores.y.window
    seen = [j for j in range(t + 1) if window is None or t - j < window]
    q, k, v = operands
    group = head // (HEADS // GROUPS)
    row, query = [], q.codes[i, t, head].tolist()
    for j in seen:
        product = sum(a * b for a, b in zip(query, k.codes[i, j, group].tolist(), strict=True))
        unit = int(q.scale[i, t, head] + k.scale[i, j, group]) + scores.exponent
        row.append(clamp(halves_up(product, -unit - SPEC.score_fraction), SPEC.score_bits))
    below = [max(row) - x for x in row]
    mantissa = [SPEC.exp2.points[n & 255] for n in below]
    shift = [min(n >> 8, SPEC.shift_largest) for n in below]
    weight = [halves_up(m, s) for m, s in zip(mantissa, shift, strict=True)]
    scale = v.scale[i, seen, group].tolist()
    folded = [halves_up(m, s + max(scale) - e) for m, s, e in zip(mantissa, shift, scale, strict=True)]
    total = sum(weight)
    place = total.bit_length() - 1
    fraction = floor(total * 2 ** (16 - place)) - (1 << 16)
    factor = int(SPEC.recip.lookup(torch.tensor(fraction)))
    mean = []
    for column in v.codes[i, seen, group].mT.tolist():
        aligned = halves_up(sum(a * b for a, b in zip(folded, column, strict=True)), place - 15)
        normal = clamp(halves_up(aligned * factor, 23), 16)
        mean.append(clamp(halves_up(normal, values.shift - max(scale)), values.y.bits))
    return row, weight, total, mean


@pytest.mark.parametrize("window", [None, 1, 3, TOKENS - 1, TOKENS, TOKENS + 2])
@pytest.mark.parametrize("fmt", ["int8-e8m0", "int4-e8m0"])
def test_every_integer_is_that_of_the_design(fmt: str, window: int | None) -> None:
    operands, scores, weights, result, stack = run(fmt, window)
    for i in range(2):
        for head in range(HEADS):
            for t in range(TOKENS):
                row, weight, total, mean = python_row(operands, stack, i, head, t)
                before, behind = [0] * (t + 1 - len(row)), [0] * (TOKENS - t - 1)
                assert scores[i, head, t].tolist() == before + row + behind
                assert weights.weight[i, head, t].tolist() == before + weight + behind
                assert int(weights.total[i, head, t]) == total
                assert result[i, t, head * DIM : (head + 1) * DIM].tolist() == mean


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("chunk", [1, 100, 1 << 20])
def test_chunks_change_nothing(chunk: int, window: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    _, scores, weights, result, _ = run(window=window)
    monkeypatch.setattr(attention, "_CHUNK", chunk)
    _, again, weighed, other, _ = run(window=window)
    assert torch.equal(scores, again)
    assert torch.equal(result, other)
    for name in ("seen", "mantissa", "shift", "weight", "total"):
        assert torch.equal(getattr(weights, name), getattr(weighed, name))


def real(found: BlockValues, stream: BlockCodes, heads: int) -> Tensor:
    unit = torch.exp2((found.scale + stream.exponent).double()).unsqueeze(-1)
    return (found.mantissas * unit).transpose(1, 2).repeat_interleave(HEADS // heads, 1)


def float_attention(operands: list[BlockValues]) -> Tensor:
    (q, k, v), *_ = operations()
    query, key = real(operands[0], q.y, HEADS), real(operands[1], k.y, GROUPS)
    tokens = query.shape[2]
    scores = (query @ key.mT / log2(euler)).masked_fill(~torch.ones(tokens, tokens).tril().bool(), -torch.inf)
    return (scores.softmax(-1) @ real(operands[2], v.y, GROUPS)).transpose(1, 2).flatten(-2)


def test_it_is_near_float_attention_of_the_same_codes() -> None:
    operands, _, _, result, (_, _, values) = run(tokens=TOKENS)
    exact = float_attention(operands)
    off = (result * 2.0**values.y.exponent - exact).abs()
    largest = real(operands[2], values.value, GROUPS).abs().amax((1, 2, 3))[:, None, None]
    # the weights' own error, half of 2^-8 units of the largest value's codes, and half a unit of the output
    bound = largest * (SPEC.worst_error(TOKENS) + 2**-9 / 64 + 2**-8) + 2.0 ** (values.y.exponent - 1)
    assert bool((off <= bound).all())
    shuffled = float_attention([operands[0], operands[1], BlockValues(operands[2].codes.flip(1), operands[2].scale)])
    assert not bool(((result * 2.0**values.y.exponent - shuffled).abs() <= bound).all())  # the bound tells them apart


def test_a_prefix_has_the_same_bits() -> None:
    full = run()[3]
    for tokens in (1, 4, 8):
        (q, k, v), scores, weights, values = operations()
        operands = [o.run(x[:, :tokens]) for o, x in zip((q, k, v), drawn(), strict=True)]
        where = positions(tokens)
        found = values.run(weights.run(scores.run(operands[0], operands[1], where)), operands[2], where)
        assert torch.equal(found, full[:, :tokens])


def test_weights_of_keys_that_are_not_seen_are_zero() -> None:
    _, _, weights, _, _ = run()
    assert isinstance(weights, SoftmaxWeights)
    unseen = ~torch.ones(TOKENS, TOKENS).tril().bool()
    for each in (weights.weight, weights.mantissa, weights.shift):
        assert int(each.masked_select(unseen).abs().sum()) == 0
    assert int(weights.total.min()) >= SPEC.one  # the largest score has the weight 1


def test_runs_that_are_no_whole_sequences_are_refused() -> None:
    (q, k, _), scores, _, _ = operations()
    query, key = (o.run(x) for o, x in zip((q, k), drawn()[:2], strict=True))
    for wrong in (positions() + 1, positions().flip(1), positions() % 4):
        with pytest.raises(InputError, match="one sequence a row"):
            scores.run(query, key, wrong)
    few = operations(keys=TOKENS - 1)[1]
    with pytest.raises(InputError, match=f"up to {TOKENS - 2}"):
        few.run(query, key, positions())


def test_keys_outside_the_window_have_no_influence() -> None:
    """The largest scale of the sequence is that of the first value; behind the window nothing is left of it."""
    (q, k, v), scores, weights, values = operations(window=3)
    query, key, value = drawn()
    value = value // 64
    value[:, 0] = 32767
    loud, quiet = value.clone(), value.clone()
    quiet[:, 0] = 1
    results = []
    for each in (loud, quiet):
        found = weights.run(scores.run(q.run(query), k.run(key), positions()))
        results.append(values.run(found, v.run(each), positions()))
    assert torch.equal(results[0][:, 3:], results[1][:, 3:])
    assert not torch.equal(results[0][:, :3], results[1][:, :3])


def test_sequences_in_banks_give_what_they_give_alone() -> None:
    (q, k, v), scores, weights, values = operations(window=4, banks=3)
    alone = [[o.run(x) for o, x in zip((q, k, v), drawn(tokens, 1, seed), strict=True)] for seed, tokens in SEQUENCES]
    wanted = []
    for query, key, value in alone:
        where = positions(query.codes.shape[1], 1)
        wanted.append(values.run(weights.run(scores.run(query, key, where)), value, where))
    query, key, value = (
        BlockValues(
            *(torch.stack([getattr(alone[s][i], part)[0, t] for s, t in ORDER])[None] for part in ("codes", "scale"))
        )
        for i in range(3)
    )
    where = torch.tensor([[t for _, t in ORDER]]), torch.tensor([[BANKS[s] for s, _ in ORDER]])
    found = values.run(weights.run(scores.run(query, key, *where)), value, *where)
    assert torch.equal(found, torch.stack([wanted[s][0, t] for s, t in ORDER])[None])
    mixed = torch.tensor([[0 for _ in ORDER]])
    with pytest.raises(InputError, match=f"positions of bank 0 must be 0, 1, 2, ... up to {TOKENS - 1}"):
        scores.run(query, key, where[0], mixed)
    with pytest.raises(InputError, match="banks must be from 0 to 2, not 0 to 3"):
        scores.run(query, key, where[0], where[1] + (where[0] == 5).long() * (3 - where[1]))


# Seed and tokens; the bank of each; which token of which sequence comes when: the third begins where the first ended.
SEQUENCES = [(3, 3), (4, TOKENS), (5, 6), (6, 1)]
BANKS = [0, 2, 0, 1]
ORDER = [
    *((0, 0), (1, 0), (1, 1), (0, 1), (3, 0), (0, 2), (2, 0), (1, 2), (2, 1), (2, 2)),
    *((1, t) for t in range(3, TOKENS)),
    *((2, t) for t in range(3, 6)),
]


def test_impossible_windows_and_banks_are_refused() -> None:
    with pytest.raises(InputError, match="window must be an integer of at least 1, not 0"):
        operations(window=0)
    with pytest.raises(InputError, match="banks must be an integer of at least 1, not 0"):
        operations(banks=0)
