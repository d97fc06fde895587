"""Formats by output channel in the accounts: the ledger counts every run, the cost model the words of one array."""

from dataclasses import fields, replace

import pytest

from mxhw.errors import InputError
from mxhw.hardware import load_platform
from mxhw.hardware.structure import Product
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis import evaluate_hardware, ledger
from mxhw.passes.analysis.structure import Choices, model_structure


def assign(graph: Graph, first: str, second: str | None = None) -> Assignment:
    """Half of every weight's channels in one format and half in another, or all in one."""
    formats = {}
    for key, site in graph.sites.items():
        if site.operand == "weight":
            half = int(site.shape[0]) // 2
            formats[key] = first if second is None else f"{first}*{half}+{second}*{int(site.shape[0]) - half}"
        elif site.operand != "cache":
            formats[key] = "int8-e8m0"
    return Assignment(graph.signature.model, formats)


def test_the_ledger_counts_every_run_and_its_table(tiny: Graph) -> None:
    found = ledger(tiny, assign(tiny, "bitmod4", "bitmod3"))
    expected = elements = 0
    for layer_shapes in [[(32, 32), (16, 32), (16, 32), (32, 32), (48, 32), (48, 32), (32, 48)]] * 2 + [[(64, 32)]]:
        for n, k in layer_shapes:
            # Codes are padded to a group of 128; 10 bits a group, 32 a row; an end below n and two bits of formats.
            expected += n // 2 * (4 + 3) * 128 + n * (10 + 32) + (n - 1).bit_length() + 2
            elements += n * k
    assert (found.weight_bits, found.bits_per_weight) == (expected, expected / elements)
    whole = [ledger(tiny, assign(tiny, name)).weight_bits for name in ("bitmod4", "bitmod3")]
    assert min(whole) < found.weight_bits < max(whole)


def products(graph: Graph, assignment: Assignment) -> list[Product]:
    structure = model_structure(graph, Choices(formats=assignment.formats), folded=False)
    return [step.unit for _, step in structure.design.steps() if isinstance(step.unit, Product)]


@pytest.mark.parametrize(
    ("first", "second", "same_as"),
    [
        ("bitmod4", "bitmod3", "bitmod4"),
        ("bitmod3", "bitmod3-clip", "bitmod3"),
        ("int8", "int4", "int8"),
        ("bitmod3", "int4-g128-s8", "int4-g128-s8"),
    ],
)
def test_an_array_for_runs_is_that_of_the_type_that_holds_all(
    tiny: Graph, first: str, second: str, same_as: str
) -> None:
    mixed, plain = products(tiny, assign(tiny, first, second)), products(tiny, assign(tiny, same_as))
    linear = [(a, b) for a, b in zip(mixed, plain, strict=True) if a.weight_type == b.weight_type]
    assert len(linear) == len(plain) > 10
    for a, b in linear:
        assert {f.name for f in fields(a) if getattr(a, f.name) != getattr(b, f.name)} == set()


def test_costs_are_those_of_the_widest_run(tiny: Graph) -> None:
    platform = load_platform("asap7")
    mixed, four, three = (
        evaluate_hardware(tiny, assign(tiny, *names), platform, 16)
        for names in (("bitmod4", "bitmod3"), ("bitmod4",), ("bitmod3",))
    )
    assert (mixed.resources, mixed.memory_bits, mixed.energy) == (four.resources, four.memory_bits, four.energy)
    assert mixed.memory_bits > three.memory_bits
    assert mixed.mac_coverage == four.mac_coverage == 1.0


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ("mxfp4", "no hardware unit takes mxfp4 weights"),
        ("int8", "bitmod4 and int8 weights have no array in common: groups of 128 and no groups"),
    ],
)
def test_runs_without_an_array_are_refused_by_name_or_counted_as_without(tiny: Graph, second: str, reason: str) -> None:
    assignment = assign(tiny, "bitmod4", second)
    with pytest.raises(InputError, match=rf"node '.*q_proj': no hardware unit multiplies .*; {reason}") as caught:
        model_structure(tiny, Choices(formats=assignment.formats))
    assert "\n" not in str(caught.value)
    plain = assign(tiny, "bitmod4")
    one = replace(plain, formats={**plain.formats, "lm_head:weight": f"bitmod4*32+{second}*32"})
    report = evaluate_hardware(tiny, one, load_platform("asap7"), 16)
    assert report.without == ("lm_head",)
