"""Machines: what fits where, what everything costs, and that nothing is counted twice or left out.

Prices of logic are made up here: whatever they are, what is built from them adds up.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from mxhw.errors import InputError
from mxhw.hardware.machine import DEFAULT_CHUNK, Machine, MachineCost, Placement, machine_of
from mxhw.hardware.machine.capacity import capacity
from mxhw.hardware.platform import Platform, load_platform
from mxhw.hardware.resources import design_resources
from mxhw.hardware.sizes import NOTHING, Resources
from mxhw.hardware.structure import Product
from tests.hardware.machine.models import LLAMA_3_8B, LLAMA_3_70B, MIXTRAL_8X7B, TINY, Sizes, llama, made_up_prices

OUTSIDE = {"weights": "tiles", "head": "tiles", "cache": "outside", "embedding": "outside", "constants": "layers"}


@pytest.fixture(autouse=True)
def prices(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up_prices(monkeypatch)


def wide(name: str = "asap7", area: float = 1e12) -> Platform:
    return load_platform(name).with_budget(area=area)


def made(sizes: Sizes = TINY, **place: str) -> Machine:
    return machine_of(llama(sizes), wide(), chunk=4, place=place)


def cost(sizes: Sizes = TINY, prefill: int = 13, decode: int = 6, **place: str) -> MachineCost:
    return made(sizes, **place).cost(prefill=prefill, decode=decode)


def test_what_fits_is_inside_and_there_is_no_port() -> None:
    machine = machine_of(llama(), wide())
    assert machine.placement == Placement()
    assert (machine.port, machine.chunk) == (None, DEFAULT_CHUNK)
    found = machine.cost(prefill=8, decode=4)
    assert found.without_rtl == ()
    assert found.outside == found.decode.bits == {}
    assert found.decode.roofline.bound == "compute"


def test_the_less_room_the_more_lies_outside() -> None:
    model, seen, areas = llama(replace(TINY, layers=6, vocabulary=512)), [], []
    area = capacity(model, Placement(), wide(), 4, 256).resources["area"]
    while True:
        try:
            machine = machine_of(model, wide(area=area), chunk=4)
        except InputError as error:
            assert "the model does not fit platform 'asap7': with weights tiles" in str(error)
            break
        assert machine.capacity.resources["area"] <= area
        seen.append(machine.placement)
        areas.append(machine.capacity.resources["area"])
        area = areas[-1] * 0.999
    assert seen[0].all_inside
    assert {each.weights for each in seen} == {"inside", "layers", "tiles"}
    assert areas == sorted(areas, reverse=True)


def test_what_is_asked_for_is_done() -> None:
    machine = made(**OUTSIDE)
    assert machine.placement == Placement(**OUTSIDE)  # type: ignore[arg-type]
    assert machine.port is not None
    found = machine.cost(prefill=8, decode=4)
    assert {"front: embed_tokens", "block 0: scores", "block 0: q_proj", "back: lm_head"} <= set(found.without_rtl)
    assert machine_of(llama(), wide(), place=OUTSIDE, port=96).port.bits == 96  # type: ignore[union-attr]


@pytest.mark.parametrize("place", [{}, {"weights": "layers"}, OUTSIDE], ids=["inside", "layers", "outside"])
def test_terms_add_up(place: Mapping[str, str]) -> None:
    found = cost(**place)
    for phase in (found.prefill, found.decode):
        assert phase.cycles == pytest.approx(sum(phase.bounds.values()))
        assert phase.seconds * found.clock == pytest.approx(phase.cycles)
        for kind, bits in phase.bits.items():
            assert bits == pytest.approx(sum(step.bits.get(kind, 0.0) for step in phase.steps))
        steps = sum(step.energy.known for step in phase.steps)
        assert steps < phase.energy.known == pytest.approx(sum(phase.energy.terms.values()))
        assert phase.energy.terms["static"] > 0
        assert ("off-chip" in phase.energy.terms) == bool(place)
        for way in ("part", "node", "kind"):
            rows = phase.by(way).values()
            for what, whole in (("bits", sum(phase.bits.values())), ("energy", steps)):
                assert sum(row[what] for row in rows) == pytest.approx(whole)
        assert phase.roofline.macs == sum(step.macs for step in phase.steps)
        assert all(0 <= step.share <= 1 + 1e-9 for step in phase.steps)
    parts: Resources = sum((Resources(each) for each in found.by_part.values()), NOTHING)
    assert {name: pytest.approx(amount) for name, amount in found.resources.items()} == dict(parts.amounts)


def test_resources_are_those_of_the_designs_and_of_what_is_around_them() -> None:
    machine = made()
    model, platform = machine.model, machine.platform
    designs = (model.front, *(use.design for use in model.blocks), model.back)
    units: Resources = sum((design_resources(each, platform) for each in designs), NOTHING)
    loop = machine.capacity.resources["area"] - units["area"]
    assert 0 < loop < 0.1 * units["area"]
    loaders = made(weights="layers").capacity.others["block 0"]
    assert sum(type(each).__name__ == "Loader" for each in loaders) == 2 * 7  # codes and scales of each product


def test_decoding_takes_what_memory_outside_has_to_give() -> None:
    found = cost(weights="tiles", head="tiles")
    rate = wide().main_memory.bytes_per_second  # type: ignore[union-attr]
    moved = sum(found.decode.bits.values()) / 8
    assert found.decode.seconds >= moved / rate
    assert found.decode.bytes_per_token * 6 == pytest.approx(moved)
    model = llama()
    weights = sum(
        step.unit.weight_bits * step.unit.layers for _, step in model.steps() if isinstance(step.unit, Product)
    )
    assert moved * 8 == pytest.approx(6 * weights, rel=0.3)  # each token meets all weights once; words are padded
    assert moved * 8 >= 6 * weights


def test_macs_are_those_of_the_model() -> None:
    sizes, found = TINY, cost()
    s = sizes
    kv = s.kv_heads * s.head_dim
    layer = s.hidden * (2 * s.hidden + 2 * kv + 3 * s.ffn)
    keys = sum(position + 1 for position in range(13))
    assert found.prefill.roofline.macs == (
        13 * s.layers * layer + 2 * s.layers * s.hidden * keys + s.hidden * s.vocabulary
    )
    keys = sum(position + 1 for position in range(13, 19))
    assert (
        found.decode.roofline.macs == 6 * (s.layers * layer + s.hidden * s.vocabulary) + 2 * s.layers * s.hidden * keys
    )


def test_energy_goes_with_layers_and_tokens() -> None:
    def blocks(found: MachineCost) -> float:
        return sum(step.energy.known for step in found.decode.steps if step.part == "block 0")

    place = {"weights": "tiles", "cache": "outside"}
    one, two = (blocks(cost(replace(TINY, layers=n), **place)) for n in (2, 4))
    assert two == pytest.approx(2 * one)
    short, long = (blocks(cost(decode=n, **place)) for n in (3, 6))
    assert 2 * short < long < 2.5 * short  # later tokens look at more keys
    with_batch = made(replace(TINY, sequences=3), **place).cost(prefill=13, decode=6, batch=3)
    assert blocks(with_batch) == pytest.approx(3 * long, rel=1e-9)


def test_everything_costs_something() -> None:
    """Without its energy, area or cycles each step of a block is missed."""
    found = cost(**OUTSIDE)
    for step in found.decode.steps:
        assert step.cycles > 0
        assert step.energy.known > 0
        assert step.resources["area"] > 0
        assert (step.roofline is None) == (step.macs == 0)


def test_a_report_is_plain_json() -> None:
    found = cost(**OUTSIDE)
    read: dict[str, Any] = json.loads(json.dumps(found.to_json()))
    assert read["time_to_first_token"] == found.prefill.seconds == found.time_to_first_token
    assert read["tokens_per_second"] == pytest.approx(6 / found.decode.seconds)
    assert read["decode"]["joules_per_token"] == pytest.approx(found.decode.energy.known * 1e-12 / 6)
    assert read["placement"]["weights"] == "tiles"
    assert len(read["decode"]["steps"]) == len(found.decode.steps)
    assert set(read["decode"]["kinds"]) >= {"Product", "Scores", "Norm"}
    assert json.loads(json.dumps(cost().to_json()))["decode"]["roofline"]["intensity"] is None


def test_figures_that_a_platform_lacks_are_named_and_not_guessed() -> None:
    platform = load_platform("u55c")
    found = machine_of(llama(), platform, place=OUTSIDE).cost(prefill=4, decode=2)
    assert found.decode.energy.unknown == frozenset()
    silent = replace(platform, offchip={name: replace(each, energy=None) for name, each in platform.offchip.items()})
    found = machine_of(llama(), silent, place=OUTSIDE).cost(prefill=4, decode=2)
    assert "off-chip" in found.decode.energy.unknown
    assert found.decode.joules_per_token is None
    assert found.decode.known_joules_per_token > 0


@pytest.mark.parametrize("sizes", [LLAMA_3_8B, LLAMA_3_70B, MIXTRAL_8X7B], ids=["8b", "70b", "8x7b"])
def test_models_nobody_can_simulate_have_a_cost(sizes: Sizes) -> None:
    platform = wide()
    memory = platform.main_memory
    assert memory is not None
    roomy = replace(memory, capacity=replace(memory.capacity, value=64.0))
    machine = machine_of(llama(replace(sizes, rows=1)), replace(platform, offchip={"large": roomy}), place=OUTSIDE)
    found = machine.cost(prefill=2048, decode=256)
    assert found.prefill.tokens == 2048
    kinds = found.decode.bits
    assert kinds["weights"] + kinds["head"] > 0.8 * sum(kinds.values())
    again = machine.cost(prefill=2048, decode=128)
    assert again.prefill.cycles == found.prefill.cycles
    assert again.decode.cycles < found.decode.cycles / 2  # earlier tokens look at fewer keys


REFUSED = [
    ({"prefill": 60, "decode": 5}, r"caches of 64 tokens have no room for 60 of a prompt and 5 behind it"),
    ({"batch": 2}, r"caches of 1 sequences have no room for a batch of 2"),
    ({"prefill": -1}, r"prefill must be an integer of at least 0, not -1"),
    ({"decode": 1.5}, r"decode must be an integer of at least 0, not 1\.5"),
    ({"batch": 0}, r"batch must be an integer of at least 1, not 0"),
]


@pytest.mark.parametrize(("changes", "said"), REFUSED)
def test_questions_that_have_no_answer_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        made().cost(**{"prefill": 4, "decode": 4, **changes})


def test_models_that_fit_nowhere_are_refused_with_what_they_need() -> None:
    with pytest.raises(InputError, match=r"needs [\d,]+ um2 \(area\) of 1; ") as refused:
        machine_of(llama(replace(LLAMA_3_70B, rows=1)), wide(area=1))
    assert "34.34 GiB of memory outside (LPDDR4) of 16" in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match=r"chunk must be an integer of at least 1, not 0"):
        machine_of(llama(), wide(), chunk=0)
    alone = replace(wide(), offchip={})
    assert machine_of(llama(), alone).port is None
    with pytest.raises(InputError, match="of memory outside, of which there is none"):
        machine_of(llama(), alone, place={"weights": "tiles"})
