"""Values become patterns and come back, of any width and sign and in files; what does not fit is refused by place."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxhw.errors import InputError
from mxhw.sim.beats import pack, read_beats, to_ints, unpack


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


@pytest.mark.parametrize("width", [1, 3, 8, 33, 64, 65, 80, 130])
def test_beats_are_read_as_they_were_written_in_any_form_of_hex(width: int, tmp_path: Path) -> None:
    choose = random.Random(width)
    words = [(1 << width) - 1, 0, *(choose.getrandbits(choose.randint(1, width)) for _ in range(200))]
    path = tmp_path / "beats.hex"
    for form in ("{:x}", f"{{:0{-(-width // 4)}x}}", "{:X}", "{:040x}"):
        path.write_text("\n".join(form.format(word) for word in words) + "\n" * (form != "{:X}"))
        assert to_ints(read_beats(path, width, len(words))) == words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n2\n", "has 2 beats, not 3"),
        ("1\n2\n3\n4\n", "has 4 beats, not 3"),
        ("", "has 0 beats, not 3"),
        ("1\n\n3\n", "line 2: a beat must be a hex number of 7 bits, not ''"),
        ("1\n2\nx\n", "line 3: .* not 'x'"),
        ("1\n80\n3\n", "line 2: .* not '80'"),
        ("1\n102\n3\n", "line 2: .* not '102'"),
        ("01\r\n02\r\n03\r\n", "line 1: .* not "),
        ("1\n-2\n3\n", "line 2: .* not '-2'"),
    ],
)
def test_damaged_files_of_beats_are_refused_by_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "beats.hex"
    path.write_bytes(text.encode())
    with pytest.raises(InputError, match=rf"beats\.hex.*{message}"):
        read_beats(path, 7, 3)
    with pytest.raises(InputError, match="cannot read the beats in"):
        read_beats(tmp_path / "absent.hex", 7, 3)
