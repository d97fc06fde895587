"""Rounding, saturation and leading ones: hardware equals the definition, which equals the plain formula."""

from fractions import Fraction
from math import floor

import pytest
import torch
from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.sim import Simulator

from mxhw.arithmetic.rounding import leading_one, round_shift, saturate
from mxhw.rtl_templates import integer


def outputs(build, width, *, values, is_signed=True):
    """What the logic ``build(signal)`` gives for every value."""
    m, source = Module(), Signal(signed(width) if is_signed else width)
    built = build(source)
    result = Signal(built.shape())
    m.d.comb += result.eq(built)
    found = []

    async def bench(ctx):
        for value in values:
            ctx.set(source, value)
            found.append(ctx.get(result))

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    return found


WIDTH = 7
ALL = range(-(1 << WIDTH - 1), 1 << WIDTH - 1)


@pytest.mark.parametrize("shift", range(-2, 9))
def test_round_shift_rounds_half_up_in_both(shift):
    expected = [floor(Fraction(x) / Fraction(2) ** shift + Fraction(1, 2)) if shift > 0 else x << -shift for x in ALL]
    assert round_shift(torch.tensor(ALL), shift).tolist() == expected
    assert outputs(lambda x: integer.round_shift(x, shift), WIDTH, values=ALL) == expected
    if shift >= 0:
        amount = torch.full((len(ALL),), shift)
        assert round_shift(torch.tensor(ALL), amount).tolist() == expected

        def by_signal(x):
            s = Signal(4, init=shift)
            return integer.round_shift_by(x, s)

        assert outputs(by_signal, WIDTH, values=ALL) == expected


def test_rounding_without_the_half_and_saturation_that_is_not_symmetric_are_noticed():
    assert outputs(lambda x: x >> 2, WIDTH, values=ALL) != round_shift(torch.tensor(ALL), 2).tolist()
    clipped = outputs(lambda x: Mux(x < -8, -8, Mux(x > 7, 7, x)), WIDTH, values=ALL)
    assert clipped != saturate(torch.tensor(ALL), 4).tolist()
    assert outputs(integer.only_leading_one, 5, values=range(32), is_signed=False) != list(range(32))


@pytest.mark.parametrize("shift", [62, 63, 100, 2**40])
def test_a_shift_beyond_int64_rounds_to_zero(shift):
    extreme = torch.tensor([0, 1, -1, 2**60, -(2**60)])
    assert round_shift(extreme, shift).tolist() == [0, 0, 0, 0, 0]


@pytest.mark.parametrize("bits", range(2, 10))
def test_saturation_is_symmetric_in_both(bits):
    largest = (1 << bits - 1) - 1
    expected = [max(-largest, min(largest, x)) for x in ALL]
    assert saturate(torch.tensor(ALL), bits).tolist() == expected
    found = outputs(lambda x: integer.saturate(x, bits), WIDTH, values=ALL)
    assert found == (expected if bits <= WIDTH else list(ALL))


@pytest.mark.parametrize("width", range(1, 10))
def test_the_leading_one_is_the_position_of_the_highest_bit(width):
    values = range(1 << width)
    expected = [max(x.bit_length() - 1, 0) for x in values]
    assert leading_one(torch.tensor(values)).tolist() == expected
    assert outputs(integer.leading_one, width, values=values, is_signed=False) == expected
    alone = outputs(integer.only_leading_one, width, values=values, is_signed=False)
    assert alone == [1 << p if x else 0 for x, p in zip(values, expected, strict=True)]


def test_the_leading_one_of_wide_values():
    values = [1 << i for i in range(63)] + [(1 << i) - 1 for i in range(1, 64)]
    assert leading_one(torch.tensor(values)).tolist() == [value.bit_length() - 1 for value in values]
