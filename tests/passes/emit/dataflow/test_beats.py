"""Beats of streams against a slow oracle: bits put together one element after the other, in Python ints."""

import numpy as np
import pytest
import torch

from mxhw.arithmetic.dataflow import BlockCodes, Indices, Integers, KeyWeights, Quantize, Scores
from mxhw.arithmetic.functions.softmax import SoftmaxSpec, softmax_weights
from mxhw.errors import InputError
from mxhw.passes.emit.dataflow.beats import hex_lines, payload_bits, stream_beats, token_beats
from mxhw.sim.beats import to_ints

GENERATOR = torch.Generator().manual_seed(0)


def joined(*parts: tuple[int, int]) -> int:
    """Fields (value, bits), the first lowest."""
    word = at = 0
    for value, bits in parts:
        word |= (int(value) & (1 << bits) - 1) << at
        at += bits
    return word


def integers(shape: tuple[int, ...], bits: int) -> torch.Tensor:
    limit = (1 << bits - 1) - 1
    values = torch.randint(-limit, limit + 1, shape, generator=GENERATOR)
    values.view(-1)[:2] = torch.tensor([-limit, limit])
    return values


@pytest.mark.parametrize(("bits", "lanes"), [(16, 1), (16, 4), (24, 3), (47, 1), (33, 6), (60, 12), (62, 2)])
def test_integers(bits, lanes):
    kind = Integers(length=12, bits=bits, exponent=-3)
    x = integers((2, 3, 12), bits)
    rows = x.reshape(-1, lanes).tolist()
    beats = stream_beats(x, kind, lanes)
    assert beats.dtype == (np.uint64 if bits * lanes <= 64 else np.uint32)
    assert to_ints(beats) == [joined(*((value, bits) for value in row)) for row in rows]
    assert len(beats) == 6 * token_beats(kind, lanes, 2, 3)


@pytest.mark.parametrize("lanes", [1, 4, 16])
@pytest.mark.parametrize("kind", ["integer", "dialect"])
def test_codes_carry_the_fields_of_their_block(kind, lanes):
    x = Integers(length=40, bits=16, exponent=-12)
    y = BlockCodes(kind=kind, length=40, block=16, bits=4 if kind == "dialect" else 8, exponent=-15)
    value = Quantize(x=x, y=y).run(integers((2, 3, 40), 16))
    wanted = []
    for token in range(6):
        codes, scale = value.codes.flatten(0, 1)[token], value.scale.flatten(0, 1)[token]
        for block in range(3):
            fields = [(scale[block], 8)]
            if kind == "dialect":
                fields = [(value.dialect.flatten(0, 1)[token, block], 4), (scale[block], 5)]
            for start in range(0, 16, lanes):
                wanted.append(joined(*((code, y.bits) for code in codes[block, start : start + lanes]), *fields))
    assert to_ints(stream_beats(value, y, lanes)) == wanted
    assert len(wanted) == 6 * token_beats(y, lanes, 2, 3)


@pytest.mark.parametrize("window", [None, 1, 3, 9])
def test_scores_and_weights_have_a_beat_a_visible_key(window):
    spec = SoftmaxSpec()
    scores = integers((2, 3, 5, 5), 12)
    before = torch.arange(5)[:, None] - torch.arange(5)
    weights = softmax_weights(scores, spec, seen=(before >= 0) & (before < (window or 5)))
    kind = Scores(heads=3, keys=7, spec=spec, window=window)
    heavy = KeyWeights(heads=3, keys=7, spec=spec, window=window)
    sum_bits = spec.sum_bits(min(7, window or 7))
    want_scores, want_weights = [], []
    for batch in range(2):
        for token in range(5):
            for head in range(3):
                total, at = 0, (batch, head, token)
                for key in range(0 if window is None else max(0, token - window + 1), token + 1):
                    total += int(weights.weight[*at, key])
                    last = (key == token, 1)
                    want_scores.append(joined((scores[*at, key], 24), last))
                    parts = [(weights.weight[*at, key], 16), (weights.mantissa[*at, key], 16)]
                    want_weights.append(joined(*parts, (weights.shift[*at, key], 5), (total, sum_bits), last))
    assert to_ints(stream_beats(scores, kind)) == want_scores
    assert to_ints(stream_beats(weights, heavy)) == want_weights
    assert sum(token_beats(kind, 1, 2, 5)) == len(want_scores)


def test_indices_and_hex():
    beats = stream_beats(torch.arange(5).expand(2, 5), Indices(count=9))
    assert beats.tolist() == [*range(5), *range(5)]
    assert hex_lines(beats, 4).split() == [f"{value:x}" for value in beats.tolist()]
    wide = stream_beats(integers((1, 7, 12), 33), Integers(length=12, bits=33, exponent=0), 6)
    assert hex_lines(wide, 198).split() == [f"{value:050x}" for value in to_ints(wide)]
    narrow = stream_beats(integers((1, 7, 12), 5), Integers(length=12, bits=5, exponent=0), 1)
    assert hex_lines(narrow, 5).split() == [f"{value:02x}" for value in narrow.tolist()]


def test_lanes_must_divide_the_vector_and_the_block():
    with pytest.raises(InputError, match="lanes must be a divisor of the 12 elements"):
        payload_bits(Integers(length=12, bits=16, exponent=0), 5)
    with pytest.raises(InputError, match="lanes must be a divisor of the 16 elements"):
        payload_bits(BlockCodes(kind="integer", length=64, block=16, bits=8, exponent=0), 32)
