"""Weights of several types in one array: recoded codes mean the same integers, and the common type is the cheapest."""

from itertools import combinations_with_replacement, product

import pytest
import torch

from mxhw.arithmetic import common_weight_type, recode, weight_type, weight_type_named, weight_types
from mxhw.errors import InputError
from mxhw.formats import parse_format

TYPES = [name for name, kind in weight_types().items() if not kind.selector_significances]
# A format of each type, all with groups of 32.
FORMATS = [*(f"int{bits}-g32-s8" for bits in range(2, 9)), "bitmod3-g32", "bitmod4-g32"]


def codes_of(name: str) -> list[tuple[int, int]]:
    """Every (code, selector) that a format of the type stores."""
    kind = weight_type_named(name)
    pairs = product(range(1 << kind.code_bits), range(max(1, len(kind.special_values))))
    return [(code, selector) for code, selector in pairs if abs(kind.value(code, selector)) <= kind.largest]


def values_of(name: str) -> set[int]:
    kind = weight_type_named(name)
    return {kind.value(code, selector) for code, selector in codes_of(name)}


def plain_values_of(name: str) -> set[int]:
    """Values that need no special one."""
    kind = weight_type_named(name)
    return {kind.value(code) for code, _ in codes_of(name) if code != kind.special_code}


@pytest.mark.parametrize("source", TYPES)
def test_every_code_with_every_selector_means_the_same_integer_in_every_type_that_has_it(source: str) -> None:
    kind, pairs = weight_type_named(source), codes_of(source)
    codes = torch.tensor([[code] for code, _ in pairs])
    selectors = torch.tensor([selector for _, selector in pairs]) if kind.special_values else None
    for target in TYPES:
        if source != target and not values_of(source) <= plain_values_of(target):
            with pytest.raises(InputError, match=f"{source} weights cannot be recoded to {target}"):
                recode(codes, selectors, source, target)
            continue
        found = recode(codes, selectors, source, target).flatten().tolist()
        theirs = weight_type_named(target)
        # Whatever the selector of the group is, unless nothing was recoded.
        for selector in range(max(1, len(theirs.special_values))):
            for (code, own), new in zip(pairs, found, strict=True):
                assert theirs.value(new, own if source == target else selector) == kind.value(code, own)


def test_fp3_is_recoded_to_fp4_and_int4_and_never_back() -> None:
    assert recode(torch.tensor([[3, 4, 7]]), torch.tensor([2]), "fp3", "fp4").tolist() == [[4, 5, 12]]
    assert recode(torch.tensor([[3, 4, 7]]), torch.tensor([1]), "fp3", "int4").tolist() == [[4, 13, 12]]
    with pytest.raises(InputError, match="fp4 weights cannot be recoded to fp3, which does not have"):
        recode(torch.tensor([[1]]), torch.tensor([0]), "fp4", "fp3")


def test_the_lowest_integer_which_no_symmetric_format_stores_is_refused() -> None:
    with pytest.raises(InputError, match="int4 weights must be symmetric: code 8 cannot be recoded"):
        recode(torch.tensor([[8]]), None, "int4", "int8")


def test_the_common_type_of_two_formats_is_the_cheapest_that_has_all_values() -> None:
    for first, second in combinations_with_replacement(FORMATS, 2):
        names = [weight_type(first), weight_type(second)]
        fitting = [
            name for name in TYPES if all(name == own or values_of(own) <= plain_values_of(name) for own in names)
        ]
        cheapest = min(fitting, key=lambda name: (weight_type_named(name).steps, weight_type_named(name).code_bits))
        expected = names[0] if names[0] == names[1] else cheapest
        assert common_weight_type([first, second]) == common_weight_type([second, first]) == expected


@pytest.mark.parametrize(
    "formats,expected",
    [
        (["bitmod4", "bitmod3", "bitmod4-clip"], "fp4"),
        (["bitmod3", "bitmod3-clip"], "fp3"),
        (["int8", "int6", "int4"], "int8"),
        (["bitmod3", "int4-g128-s8"], "int4"),
        (["dialect4", "dialect4"], "dialect4"),
    ],
)
def test_common_types(formats: list[str], expected: str) -> None:
    assert common_weight_type(formats) == common_weight_type([parse_format(fmt) for fmt in formats]) == expected


@pytest.mark.parametrize(
    "formats,said",
    [
        (["bitmod4", "dialect4"], "bitmod4 and dialect4 weights have no array in common: their units differ"),
        (
            ["bitmod4", "bitmod3-g64"],
            "bitmod4 and bitmod3-g64 weights .* in common: groups of 128 and groups of 64",
        ),
        (["int8", "int4-g128-s8"], "int8 and int4-g128-s8 weights .* in common: no groups and groups of 128"),
        (["int8", "bitmod4-sf32"], "no hardware unit takes bitmod4-sf32 weights"),
        ([], "needs at least one format"),
    ],
)
def test_formats_without_an_array_in_common_are_named(formats: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        common_weight_type(formats)
