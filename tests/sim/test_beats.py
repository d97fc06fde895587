"""Values become patterns and come back, at any width and sign; what does not fit is refused with its place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxhw.errors import InputError
from mxhw.sim.beats import pack, to_ints, unpack


@given(st.integers(1, 150), st.booleans(), st.data())
def test_any_values_come_back(width: int, signed: bool, data: st.DataObject) -> None:
    low, high = (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)
    values = [low, high, *data.draw(st.lists(st.integers(low, high), max_size=5))]
    patterns = pack(values, width, signed, "x")
    assert to_ints(unpack(patterns, width, signed), width, signed) == values
    assert to_ints(patterns) == [value & ((1 << width) - 1) for value in values]
    assert patterns.dtype == (np.uint64 if width <= 64 else np.uint32)
    if width > 64:
        assert np.array_equal(pack(patterns, width, signed, "x"), patterns)


@given(st.integers(1, 150), st.booleans())
def test_one_more_than_fits_is_refused(width: int, signed: bool) -> None:
    low, high = (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)
    for wrong in (low - 1, high + 1):
        with pytest.raises(InputError, match=rf"x must be integers from {low} to {high}, not {wrong} \(value 1\)"):
            pack([0, wrong], width, signed, "x")


@pytest.mark.parametrize(
    ("values", "width", "message"),
    [
        ([0.5], 8, "x must be integers"),
        (["a"], 8, "x must be integers"),
        ([[1, 2]], 8, r"x must be integers \[n\], not int64 \[1, 2\]"),
        (np.zeros((2, 2), np.uint32), 70, r"x must be uint32 \[n, 3\] or integers, not \[2, 2\]"),
        (np.array([[0, 0, 64]], np.uint32), 70, r"patterns of 70 bits, not more \(value 0\)"),
        (np.zeros((2, 3)), 70, r"x must be integers \[n\] or uint32 \[n, 3\], not float64 \[2, 3\]"),
    ],
)
def test_what_is_no_list_of_integers_is_refused(values: object, width: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pack(values, width, False, "x")  # type: ignore[arg-type]
