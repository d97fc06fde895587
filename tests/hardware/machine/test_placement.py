"""Placements: their order, what they change of a model, what is refused."""

from collections.abc import Mapping
from dataclasses import fields, replace

import pytest

from mxhw.errors import InputError
from mxhw.hardware.machine.placement import Placement, candidates, placed
from mxhw.hardware.structure import ModelDesign, Product, Requantize, Scores
from tests.hardware.machine.models import TINY, llama

MODEL = llama(TINY)


def held(model: ModelDesign) -> int:
    return sum(shape.capacity for _, step in model.steps() for shape in step.unit.memories())


def test_the_first_has_all_inside_and_the_last_as_little_as_can_be() -> None:
    found = list(candidates(MODEL))
    assert found[0] == Placement()
    assert found[0].all_inside
    last = Placement(weights="tiles", head="tiles", cache="outside", embedding="outside", constants="layers")
    assert found[-1] == last
    assert len(found) == len(set(found)) == 2**3 * (1 + 2 + 2)
    sizes = [held(placed(MODEL, each, 4)) for each in found]
    assert sizes[0] == max(sizes) > sizes[-1] == min(sizes)


def test_what_is_given_stays() -> None:
    found = list(candidates(MODEL, {"weights": "tiles", "cache": "inside"}))
    assert {each.weights for each in found} == {"tiles"}
    assert {each.cache for each in found} == {"inside"}
    assert {each.head for each in found} == {"inside", "tiles"}


def test_a_model_whose_memories_are_inside_is_as_it_was() -> None:
    assert held(placed(MODEL, Placement(), 1)) == held(MODEL)
    assert all(step.unit.has_rtl for _, step in placed(MODEL, Placement(weights="layers"), 4).steps())


@pytest.mark.parametrize("name", [each.name for each in fields(Placement)])
def test_each_place_outside_keeps_less_inside(name: str) -> None:
    outside = {"weights": "tiles", "head": "tiles", "cache": "outside", "embedding": "outside", "constants": "layers"}
    changed = Placement(**{name: outside[name]})  # type: ignore[arg-type]
    assert held(placed(MODEL, changed, 4)) < held(MODEL)


def test_two_layers_are_kept_of_weights_and_constants_that_are_loaded() -> None:
    for layers in (1, 2, 5):
        model = llama(replace(TINY, layers=layers))
        loaded = placed(model, Placement(weights="layers", constants="layers"), 8)
        for (_, step), (_, before) in zip(loaded.steps(), model.steps(), strict=True):
            unit, whole = step.unit, before.unit
            if step.name.startswith("lm_head") or step.name == "norm":
                continue
            if isinstance(unit, Product) and isinstance(whole, Product):
                assert unit.chunk == 8
                bits = {shape.name: shape.capacity for shape in whole.memories()}
                kept = {shape.name: shape.capacity for shape in unit.memories()}
                assert kept["weights"] * layers == bits["weights"] * min(2, layers)
            if isinstance(unit, Requantize) and isinstance(whole, Requantize):
                assert unit.constant_words * layers == whole.constant_words * min(2, layers)


def test_an_unfolded_design_has_no_layer_to_wait_for() -> None:
    model = llama(replace(TINY, folded=False))
    assert {each.weights for each in candidates(model)} == {"inside", "tiles"}
    assert {each.constants for each in candidates(model)} == {"inside"}
    with pytest.raises(InputError, match="weights of 'layers' are loaded where layers share hardware"):
        list(candidates(model, {"weights": "layers"}))


def test_parts_are_named_and_serve_their_layers() -> None:
    found = MODEL.parts
    assert [(name, layers) for name, (_, layers) in found.items()] == [("front", 1), ("block 0", 3), ("back", 1)]
    outside = placed(MODEL, Placement(cache="outside"), 1)
    assert all(step.unit.outside for _, step in outside.steps() if isinstance(step.unit, Scores))


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"weight": "inside"}, r"there is no placement of 'weight', only of weights, head, .*did you mean 'weights'"),
        ({"weights": "outside"}, r"placement of weights must be inside or layers or tiles, not 'outside'"),
        ({"cache": "insid"}, r"placement of cache must be inside or outside, not 'insid'; did you mean 'inside'"),
    ],
)
def test_unknown_places_are_refused(wanted: Mapping[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        list(candidates(MODEL, wanted))
