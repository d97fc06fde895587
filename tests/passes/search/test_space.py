"""A space's units cover every site once, at every granularity; a design and its parameters are two ways to say it."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from mxhw.errors import InputError
from mxhw.ir import Graph
from mxhw.passes.search import SearchSpace, SpaceConfig
from mxhw.passes.search.space_config import GRANULARITIES
from tests.passes.search.tiny import tiny_graph

WIDE: dict[str, Any] = {
    "bitmod_inputs": ("int8-e8m0", "int6-e8m0"),
    "bitmod_scores": ("int8-e8m0", "int6-e8m0"),
    "bitmod_values": ("int8-e8m0",),
    "bitmod_cache": ("int8-e8m0", "int4-e8m0"),
    "emulated_cache": ("mxfp8-e4m3", "mxfp4"),
    "families": ("bitmod", "dialect", "emulated"),
    "rows": (1, 2),
    "widths": (1.0, 2.0),
    "channel_group": 8,
}


class Draw:
    """Chooses at random, and notes what it was asked."""

    def __init__(self, seed: int) -> None:
        self.rng, self.asked = random.Random(seed), {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        assert len(choices) > 1
        assert name not in self.asked
        self.asked[name] = self.rng.choice(list(choices))
        return self.asked[name]


@pytest.fixture(scope="module")
def graph() -> Graph:
    return tiny_graph()


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("family", ["bitmod", "dialect", "emulated"])
def test_units_cover_every_site_once(graph: Graph, granularity: str, family: str) -> None:
    space = SearchSpace(graph, SpaceConfig(granularity=granularity, **WIDE))
    taken: dict[str, list[tuple[int, int] | None]] = {}
    names = [unit.name for unit in space.units(family)]
    assert len(set(names)) == len(names)
    for unit in space.units(family):
        for site in unit.sites:
            taken.setdefault(site, []).append(unit.channels)
    keeps_cache = family == "emulated"
    assert set(taken) == {key for key, site in graph.sites.items() if keeps_cache or site.operand != "cache"}
    for site, channels in taken.items():
        if channels != [None]:
            outputs = graph.weight(site.removesuffix(":weight")).shape[0]
            covered = [c for start, stop in channels for c in range(start, stop)]
            assert covered == list(range(outputs))


@pytest.mark.parametrize(
    ("granularity", "weights", "attention"),
    [("layer", 8, 1), ("kind", 8, 1), ("block", 2, 1), ("model", 1, 1), ("channels", 2 + 1 + 1 + 2 + 3 + 3 + 2 + 4, 1)],
)
def test_granularity_is_how_many_units_there_are(graph: Graph, granularity: str, weights: int, attention: int) -> None:
    config = SpaceConfig(granularity=granularity, channel_group=8)
    names = [unit.name for unit in SearchSpace(graph, config).units("bitmod")]
    assert sum(name.endswith(":weight") for name in names) == weights
    assert sum(name.endswith(":attention") for name in names) == attention


def test_layers_of_a_kind_are_one_unit(tiny: Graph) -> None:
    kinds = SearchSpace(tiny, SpaceConfig(granularity="kind")).units("bitmod")
    layers = SearchSpace(tiny, SpaceConfig()).units("bitmod")
    (q,) = [unit for unit in kinds if unit.name == "self_attn.q_proj:weight"]
    assert len(q.sites) == 2
    assert {site for unit in kinds for site in unit.sites} == {site for unit in layers for site in unit.sites}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_parameters_make_the_design_that_suggested_them(graph: Graph, granularity: str, seed: int) -> None:
    space = SearchSpace(graph, SpaceConfig(granularity=granularity, **WIDE))
    draw = Draw(seed)
    design = space.suggest(draw)
    assert space.design(draw.asked) == design
    assert design.formats == space.formats(design.family, design.choice)
    if not design.widths:
        again = space.parameters(design.family, design.rows, design.choice, design.share)
        assert again == draw.asked
    assert {site.operand for key, site in graph.sites.items() if key not in design.formats} <= {"cache"}


def test_groups_of_channels_make_one_format(graph: Graph) -> None:
    space = SearchSpace(graph, SpaceConfig(granularity="channels", channel_group=8))
    name = "model.layers.0.self_attn.q_proj"
    choice = {unit.name: "bitmod4" for unit in space.units("bitmod") if ":weight" in unit.name}
    rest = {unit.name: unit.candidates[0] for unit in space.units("bitmod") if ":weight" not in unit.name}
    assert space.formats("bitmod", choice | rest)[f"{name}:weight"] == "bitmod4"
    choice[f"{name}[8:16]:weight"] = "bitmod3"
    assert space.formats("bitmod", choice | rest)[f"{name}:weight"] == "bitmod4*8+bitmod3*8"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"granularity": "layers"}, "granularity must be one of layer, kind, .* did you mean 'layer'"),
        ({"widths": (2.0,)}, "widths must lie in .* with 1 among them"),
        ({"channel_group": 0}, "channel_group must be at least 1"),
        ({"bitmod_inputs": ("int8",)}, "no hardware unit multiplies 'int8' by 'bitmod4'"),
        ({"bitmod_cache": ("mxfp4",)}, "no hardware unit multiplies 'int8-e8m0' by 'mxfp4'"),
        ({"bitmod_scores": ("int8-e8m0", "int8-e8m0")}, "bitmod_scores must be a list of different names"),
        ({"bitmod_weights": ()}, "bitmod_weights must be a list of different names"),
    ],
)
def test_impossible_spaces_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SpaceConfig(**changes)
