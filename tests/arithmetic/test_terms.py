"""Bit-serial terms: for every code of every type they sum to the value; and the checker sees a planted fault."""

from dataclasses import replace

import numpy as np
import pytest

from mxhw.arithmetic import WeightType, serial_term, terms, weight_type, weight_type_named, weight_types
from mxhw.errors import InputError
from mxhw.formats import BITMOD_GRIDS, BITMOD_SPECIAL_VALUES

TYPES = list(weight_types())


def broken_codes(kind: WeightType) -> list[tuple[int, int]]:
    """Every (code, selector) whose terms do not sum to its value."""
    steps = range(len(kind.significances))
    return [
        (code, selector)
        for selector in range(max(1, len(kind.special_values)))
        for code in range(1 << kind.code_bits)
        if sum(kind.term(code, s, selector).value << kind.significances[s] for s in steps) != kind.value(code, selector)
    ]


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
    assert {name: terms(name) for name in ("int8", "int6", "int5", "fp4", "fp3")} == {
        "int8": 4,
        "int6": 3,
        "int5": 3,
        "fp4": 2,
        "fp3": 2,
    }


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
        spelled = {
            sum(kind.term(code, s, selector).value << kind.significances[s] for s in range(2))
            for code in range(1 << width)
        }
        used = set(golden["code"][golden["svidx"] == selector].flatten().tolist())
        assert used and used <= spelled


def test_unknown_types_are_refused_with_the_nearest_known_one():
    with pytest.raises(InputError, match=r"not 'int9'; did you mean 'int8'\?|did you mean"):
        terms("int9")
    with pytest.raises(InputError, match="no weight type for mxfp4"):
        weight_type("mxfp4")
