"""Bit-serial terms: for every code of every type they sum to the value; and the checker sees a planted fault."""

from dataclasses import replace

import numpy as np
import pytest

from mxhw.arithmetic import (
    RUNTIME_TYPES,
    WeightType,
    serial_term,
    terms,
    type_number,
    weight_type,
    weight_type_named,
    weight_types,
)
from mxhw.errors import InputError
from mxhw.formats import BITMOD_GRIDS, BITMOD_SPECIAL_VALUES, parse_format

TYPES = list(weight_types())


def broken_codes(kind: WeightType) -> list[tuple[int, int]]:
    """Every (code, selector) whose terms do not sum to its value."""
    return [
        (code, selector)
        for selector in range(max(1, len(kind.special_values)))
        for code in range(1 << kind.code_bits)
        if spelled(kind, code, selector) != kind.value(code, selector)
    ]


def spelled(kind: WeightType, code: int, selector: int) -> int:
    """The sum of a code's terms."""
    return sum(kind.term(code, step, selector).value << kind.significance(step, selector) for step in range(kind.steps))


@pytest.mark.parametrize("name", TYPES)
def test_the_terms_of_every_code_sum_to_its_value(name):
    assert broken_codes(weight_type_named(name)) == []


@pytest.mark.parametrize("name", ["int8", "int6", "fp4"])
def test_a_wrong_significance_is_caught(name):
    kind = weight_type_named(name)
    assert broken_codes(replace(kind, significances=(*kind.significances[:-1], kind.significances[-1] + 1)))


@pytest.mark.parametrize("name", TYPES)
def test_terms_fit_a_sign_a_2_bit_exponent_and_a_1_bit_mantissa(name):
    kind = weight_type_named(name)
    for code in range(1 << kind.code_bits):
        for selector in range(max(1, len(kind.special_values))):
            for step in range(terms(name)):
                term = serial_term(name, code, step, selector)
                assert (
                    term.sign in (0, 1) and term.mantissa in (0, 1) and 0 <= term.exponent <= kind.largest_exponent <= 3
                )


def test_cycles_per_chunk_are_those_of_the_paper():
    expected = {"int8": 4, "int6": 3, "int5": 3, "fp4": 2, "fp3": 2}
    assert {name: terms(name) for name in expected} == expected


def test_one_term_fp3_takes_half_the_cycles_of_fp3_and_means_what_its_format_means():
    assert 2 * terms("fp3-oneterm") == terms("fp3") == 2
    kind, codebook = weight_type_named("fp3-oneterm"), parse_format("bitmod3-oneterm").codebook
    assert (kind.magnitudes, kind.special_values) == (codebook.magnitudes, codebook.special_values)
    assert [kind.significance(0, selector) for selector in range(4)] == [1, 1, 0, 0]


@pytest.mark.parametrize("name", ["fp3", "fp4", "fp3-oneterm"])
def test_the_special_values_of_a_format_are_stored_as_the_terms_that_codes_have(name):
    kind = weight_type_named(name)
    for selector, value in enumerate(kind.special_values):
        entry = kind.special_entry(value)
        assert list(entry.terms) == [kind.term(kind.special_code, step, selector) for step in range(kind.steps)]
        assert entry.significance == (kind.significance(0, selector) if kind.selector_significances else 0)


@pytest.mark.parametrize("name", ["fp3", "fp4", "fp3-oneterm"])
def test_special_values_of_ones_own_are_spelled_or_refused(name):
    kind, accepted = weight_type_named(name), []
    for value in range(-40, 41):
        try:
            entry = kind.special_entry(value)
        except InputError as error:
            assert f"{value} cannot be a special value of {name}" in str(error)
            continue
        shifts = [s + entry.significance for s in kind.significances]
        assert sum(term.value << shift for term, shift in zip(entry.terms, shifts, strict=True)) == value
        accepted.append(value)
    assert max(accepted) == -min(accepted) == kind.largest_programmable
    # Sums that two leading ones cannot spell: 7 = 8 - 1, of the paper, in half units.
    assert (14 in accepted) == (name == "fp4") and (7 in accepted) == (name != "fp3-oneterm")


def test_run_time_types_have_numbers_and_others_have_none():
    assert [type_number(name) for name in RUNTIME_TYPES] == list(range(7))
    with pytest.raises(InputError, match=r"run-time decoders know int8, .*, not 'int7'"):
        type_number("int7")


def test_the_code_minus_zero_means_the_selected_special_value():
    for bits in (3, 4):
        kind = weight_type_named(f"fp{bits}")
        assert [kind.value(kind.special_code, s) for s in range(4)] == list(BITMOD_SPECIAL_VALUES[bits])
        assert [kind.value(code) for code in range(1 << bits - 1)] == list(BITMOD_GRIDS[bits])


@pytest.mark.parametrize("width", [3, 4])
def test_codes_of_golden_groups_are_spelled_exactly(shared, width):
    golden = np.load(shared / "golden/bitmod" / f"pe_vectors_w{width}.npz")
    kind = weight_type_named(f"fp{width}")
    for selector in range(4):
        values = {spelled(kind, code, selector) for code in range(1 << width)}
        used = set(golden["code"][golden["svidx"] == selector].flatten().tolist())
        assert used and used <= values


def test_unknown_types_are_refused_with_the_nearest_known_one():
    with pytest.raises(InputError, match=r"not 'int9'; did you mean 'int8'\?|did you mean"):
        terms("int9")
    with pytest.raises(InputError, match="no weight type for mxfp4"):
        weight_type("mxfp4")
