"""The comparison finds every changed accumulator, at any width, and says where it is."""

from hypothesis import given
from hypothesis import strategies as st

from mxhw.sim import GemmDesign, compare_beats
from tests.sim.toy import toy_design

WIDE = toy_design(m=5, n=7, rows=2, columns=3, accumulator_width=75, y_width=225, y_beats=18)


def words(design: GemmDesign, rows: list[list[int]]) -> list[int]:
    mask = (1 << design.accumulator_width) - 1
    return [sum((value & mask) << (i * design.accumulator_width) for i, value in enumerate(row)) for row in rows]


accumulators = st.lists(st.lists(st.integers(-(2**74), 2**74 - 1), min_size=3, max_size=3), min_size=18, max_size=18)


@given(accumulators, st.integers(0, 17), st.integers(0, 2), st.integers(0, 74))
def test_one_flipped_bit_is_one_mismatch_in_its_place(rows: list[list[int]], beat: int, column: int, bit: int) -> None:
    good = words(WIDE, rows)
    assert compare_beats(WIDE, good, good).mismatches == 0
    bad = list(good)
    bad[beat] ^= 1 << (column * 75 + bit)
    found = compare_beats(WIDE, good, bad)
    assert found.mismatches == 1
    row_tile, column_tile, row = beat // 6, beat // 2 % 3, beat % 2
    assert (found.first[0].row, found.first[0].column) == (row_tile * 2 + row, column_tile * 3 + column)
    assert found.first[0].expected == rows[beat][column]
    assert found.first[0].got != rows[beat][column]


def test_missing_beats_count_with_all_their_columns_and_only_the_first_are_shown() -> None:
    found = compare_beats(WIDE, [0] * 18, [0] * 10)
    assert found.mismatches == 8 * 3
    assert len(found.first) == 8
    assert found.first[0].got is None
