"""Tables: interpolation equals the plain formula, and what hardware stores gives back every point."""

from fractions import Fraction
from math import floor

import pytest
import torch

from mxhw.arithmetic.tables import Table
from mxhw.errors import InputError


def drawn(shape, address_bits, fraction_bits, output_bits=8, seed=0):
    """A table of drawn points: rising, falling or of both directions."""
    count = (1 << address_bits) + (fraction_bits > 0)
    points = torch.randint(0, 1 << output_bits, (count,), generator=torch.Generator().manual_seed(seed))
    if shape != "mixed":
        points = points.sort(descending=shape == "falling").values
    return Table("drawn", tuple(points.tolist()), address_bits, fraction_bits, output_bits)


def oracle(table, x):
    """One argument, with exact fractions."""
    i, f = divmod(x, 1 << table.fraction_bits)
    if not f:
        return table.points[i]
    step = Fraction((table.points[i + 1] - table.points[i]) * f, 1 << table.fraction_bits)
    return table.points[i] + floor(step + Fraction(1, 2))


TABLES = [
    drawn(shape, address, fraction)
    for shape in ("rising", "falling", "mixed")
    for address, fraction in ((3, 0), (3, 1), (2, 5), (0, 6), (5, 4))
]


@pytest.mark.parametrize("table", TABLES, ids=lambda t: f"{t.address_bits}+{t.fraction_bits}")
def test_every_argument_gives_the_rounded_interpolation(table):
    arguments = range(1 << table.input_bits)
    assert table.lookup(torch.tensor(arguments)).tolist() == [oracle(table, x) for x in arguments]


@pytest.mark.parametrize("table", TABLES, ids=lambda t: f"{t.address_bits}+{t.fraction_bits}")
def test_the_stored_words_hold_every_point_and_difference(table):
    for i, word in enumerate(table.words):
        assert 0 <= word < 1 << table.word_bits
        assert word & (1 << table.output_bits) - 1 == table.points[i]
        if table.interpolated:
            stored = word >> table.output_bits
            if table.signed_difference and stored >> table.difference_bits - 1:
                stored -= 1 << table.difference_bits
            assert (-stored if table.falling else stored) == table.points[i + 1] - table.points[i]
    assert table.stored_bits == len(table.words) * table.word_bits


def test_values_are_sampled_at_equal_steps_and_rounded_half_to_even_and_clamped():
    table = Table.of("t", lambda x: x, 0.0, 2.0, address_bits=2, fraction_bits=3, output_bits=3, scale=5.0)
    assert table.points == (0, 2, 5, 7, 7)  # 0, 2.5, 5, 7.5 → 8 → 7, 10 → 7
    assert Table.of("t", lambda x: x, 0.0, 2.0, address_bits=1, fraction_bits=0, output_bits=3, scale=1.5).points == (
        0,
        2,
    )


def test_interpolation_without_the_half_or_from_another_table_is_noticed():
    table = TABLES[2]
    arguments = torch.arange(1 << table.input_bits)
    i, f = arguments >> table.fraction_bits, arguments & (1 << table.fraction_bits) - 1
    points = torch.tensor(table.points)
    truncated = points[i] + ((points[i + 1] - points[i]) * f >> table.fraction_bits)
    assert not torch.equal(table.lookup(arguments), truncated)
    moved = Table("t", (table.points[0] ^ 1, *table.points[1:]), 2, 5, 8)
    assert not torch.equal(table.lookup(arguments), moved.lookup(arguments))


@pytest.mark.parametrize(
    "arguments,message",
    [
        (("a b", (0, 1), 1, 0, 1), "must be an identifier, not 'a b'"),
        (("t", (0, 1), 1, 1, 1), "must have 3 points, not 2"),
        (("t", (0, 2), 1, 0, 1), r"integers in 0\.\.1, not 2"),
        (("t", (0, -1), 1, 0, 1), r"integers in 0\.\.1, not -1"),
        (("t", (0, 1), 1, -1, 1), "at least 0, not"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Table(*arguments)


@pytest.mark.parametrize("x", [-1, 8])
def test_an_argument_outside_is_refused(x):
    with pytest.raises(InputError, match=r"must be in 0\.\.7"):
        drawn("mixed", 2, 1).lookup(torch.tensor([0, x]))
