"""Rotary embedding: the definition equals plain Python and holds its widths and its stated error."""

import math

import pytest
import torch

from mxhw.arithmetic.functions.rope import RopeSpec, rope
from mxhw.errors import InputError


def oracle(x, position, spec):
    """One vector, one element after the other, with Python integers and math's functions."""
    out = [0] * spec.head_dim
    for j in range(spec.pairs):
        first, second = (j, j + spec.pairs) if spec.pairing == "half" else (2 * j, 2 * j + 1)
        angle = position * spec.theta ** (-2 * j / spec.head_dim)
        c, s = (round(f(angle) * (1 << spec.fraction_bits)) for f in (math.cos, math.sin))
        out[first] = x[first] * c - x[second] * s
        out[second] = x[second] * c + x[first] * s
    return out


@pytest.mark.parametrize("pairing", ["half", "interleaved"])
def test_each_pair_is_turned_by_its_angle(pairing):
    spec = RopeSpec(head_dim=10, positions=37, theta=500.0, pairing=pairing)
    x = torch.randint(-32768, 32768, (3, 37, 10), generator=torch.Generator().manual_seed(1))
    found = rope(x, torch.arange(37), spec)
    expected = [[oracle(x[i, t].tolist(), t, spec) for t in range(37)] for i in range(3)]
    assert found.tolist() == expected
    other = RopeSpec(head_dim=10, positions=37, theta=500.0, pairing="half" if pairing != "half" else "interleaved")
    assert not torch.equal(found, rope(x, torch.arange(37), other))


def test_a_score_depends_on_the_distance_only():
    """The property that the embedding is made for, within the error of the tables."""
    spec = RopeSpec(head_dim=64, positions=300)
    q, k = torch.randint(-32767, 32768, (2, 64), generator=torch.Generator().manual_seed(2))
    turned_q, turned_k = (rope(x.expand(300, 64), torch.arange(300), spec).double() for x in (q, k))
    scores = turned_q @ turned_k.T / 2.0**28
    for distance in (0, 1, 17, 250):
        diagonal = scores.diagonal(distance)
        assert (diagonal - diagonal[0]).abs().max() < 3e-4 * float(q.double().norm() * k.double().norm())
    assert (scores[0, 1:] - scores[0, 0]).abs().max() > 0.05 * float(q.double().norm() * k.double().norm())


@pytest.mark.parametrize("fraction_bits", [6, 10, 14])
@pytest.mark.parametrize("head_dim,positions,theta", [(32, 256, 1e4), (128, 2048, 5e5)])
def test_the_stated_error_holds_over_the_whole_table(head_dim, positions, theta, fraction_bits):
    """|a δcos - b δsin| is largest at |a| = |b| = 1 with equal signs or opposite ones: the sum of both table errors."""
    spec = RopeSpec(head_dim=head_dim, positions=positions, theta=theta, fraction_bits=fraction_bits)
    unit = 2.0**-fraction_bits
    cos_error = (spec.cosine * unit - torch.cos(spec.angles)).abs()
    sin_error = (spec.sine * unit - torch.sin(spec.angles)).abs()
    measured = float((cos_error + sin_error).max())
    assert measured <= unit <= 1.5 * measured


def test_the_stated_error_is_that_of_the_outputs():
    """The same over outputs: all positions, inputs at the corners ±1.0."""
    spec = RopeSpec(head_dim=32, positions=256)
    one = 1 << 14
    corners = torch.tensor([[one, one], [one, -one]])
    x = corners.repeat_interleave(16, 1)[:, None].expand(2, 256, 32)
    turned = rope(x, torch.arange(256), spec) / 2.0**28
    c, s = torch.cos(spec.angles), torch.sin(spec.angles)
    exact = torch.stack([torch.cat([c - s, c + s], -1), torch.cat([c + s, s - c], -1)])
    measured = float((turned - exact).abs().max())
    assert measured <= 2.0**-14 <= 1.5 * measured


def test_the_width_holds_the_largest_sums_and_one_bit_less_does_not():
    spec = RopeSpec(head_dim=64, positions=512)
    assert spec.output_bits == 31
    at = (spec.cosine.abs() + spec.sine.abs()).flatten().argmax()
    position, pair = divmod(int(at), spec.pairs)
    extremes = torch.zeros(4, 64, dtype=torch.int64)
    signs = torch.cartesian_prod(torch.tensor([-32768, 32767]), torch.tensor([-32768, 32767]))
    extremes[:, pair], extremes[:, pair + 32] = signs[:, 0], signs[:, 1]
    found = rope(extremes, torch.tensor(position), spec)
    assert found.max() < 1 << 30 and found.min() >= -(1 << 30)
    assert found.abs().max() >= 1 << 29


def test_frequencies_of_ones_own():
    scaled = tuple(1e4 ** (-2 * j / 8) / 4 for j in range(4))
    spec = RopeSpec(head_dim=8, positions=64, frequencies=scaled)
    plain = RopeSpec(head_dim=8, positions=16)
    assert torch.equal(spec.cosine[::4], plain.cosine) and torch.equal(spec.sine[::4], plain.sine)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"head_dim": 7}, "head_dim must be even, not 7"),
        ({"head_dim": 0}, "head_dim must be an integer of at least 2, not 0"),
        ({"positions": 0}, "positions must be an integer of at least 1, not 0"),
        ({"pairing": "both"}, "pairing must be one of half, interleaved, not 'both'"),
        ({"theta": 0.0}, "theta must be above 0"),
        ({"frequencies": (1.0,)}, r"frequencies must be one per pair \(4\), not 1"),
        ({"fraction_bits": 50}, "fraction_bits must be an integer of at least 1 and at most 30, not 50"),
    ],
)
def test_impossible_parameters_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        RopeSpec(**({"head_dim": 8, "positions": 4} | wrong))


def test_operands_that_do_not_fit_are_refused():
    spec, zeros = RopeSpec(head_dim=8, positions=4), torch.zeros(8, dtype=torch.int64)
    with pytest.raises(InputError, match="vectors must be of length 8, not 6"):
        rope(zeros[:6], torch.tensor(0), spec)
    for position in (-1, 4):
        with pytest.raises(InputError, match=rf"positions must be in 0\.\.3, not {position}\.\.{position}"):
            rope(zeros, torch.tensor(position), spec)
    with pytest.raises(InputError, match=r"x must be integers in -32768..32767, not 32768..32768"):
        rope(zeros + 32768, torch.tensor(0), spec)
