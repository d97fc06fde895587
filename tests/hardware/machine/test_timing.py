"""Invariants of prefill and decoding: bounds that hold whatever is drawn, and limits that are known."""

import random
from dataclasses import replace

import numpy as np
import pytest

from mxhw.hardware.cycles import design_cycles
from mxhw.hardware.machine.placement import Placement
from mxhw.hardware.machine.timing import Pipeline, Span
from tests.hardware.machine.models import TINY, Sizes, pipeline

OUTSIDE = Placement(weights="tiles", head="tiles", cache="outside", embedding="outside", constants="layers")
PLACES = {
    "inside": Placement(),
    "layers": Placement(weights="layers"),
    "tiles": Placement(weights="tiles", head="tiles"),
    "outside": OUTSIDE,
    "cache": Placement(cache="outside"),
}
EACH = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)


def drawn(seed: int) -> Sizes:
    draw = random.Random(seed)
    experts, active = draw.choice([(1, 1), (4, 2), (8, 2)])
    return replace(
        TINY,
        ffn=draw.choice([32, 64, 128]),
        layers=draw.randint(1, 5),
        rows=draw.choice([1, 1, 2, 4]),
        columns=draw.choice([4, 8]),
        sequences=4,
        experts=experts,
        active=active,
        window=draw.choice([None, 9]),
    )


def both(made: Pipeline, prefill: int = 13, decode: int = 5, batch: int = 1) -> tuple[Span, Span]:
    first = made.prefill(prefill, batch)
    return first, made.decode(prefill, decode, batch, first.idle)


@EACH
@pytest.mark.parametrize("seed", range(3))
def test_more_bandwidth_is_never_slower(seed: int, place: Placement) -> None:
    sizes, batch = drawn(seed), 1 + seed % 3
    runs = [both(pipeline(sizes, place, bandwidth=each, bits=4096), batch=batch) for each in (1, 8, 64, 512, 4096)]
    for phase in (0, 1):
        cycles = [run[phase].cycles for run in runs]
        assert cycles == sorted(cycles, reverse=True)
        assert not place.all_inside or cycles[0] == cycles[-1]
        assert place.all_inside or cycles[0] > cycles[-1]


@EACH
@pytest.mark.parametrize("seed", range(4))
def test_no_phase_is_shorter_than_the_port_or_the_slowest_step_says(seed: int, place: Placement) -> None:
    sizes, batch = drawn(seed), 1 + seed % 4
    made = pipeline(sizes, place, bandwidth=20.0)
    first, then = both(made, batch=batch)
    for span, idle in ((first, 0.0), (then, first.idle)):
        moved = slowest = 0.0
        for part in (made.front, *made.blocks, made.back):
            tokens = span.wanted if part is made.back else span.groups
            moved += sum(float(move.times(tokens).sum()) * move.load.bits for move in part.moves) * part.layers
            slowest = max(slowest, float(max(each.sum() for each in part.busy(tokens).values())) * part.layers)
        assert span.cycles >= moved / 20.0 - idle - 1e-6
        assert span.cycles >= slowest
        assert span.cycles == pytest.approx(sum(span.bounds.values()))
        assert min(span.bounds.values()) >= -1e-6


@EACH
def test_decoding_grows_with_the_keys_until_a_window_is_full(place: Placement) -> None:
    sizes = replace(TINY, keys=200, lanes=1, columns=32)
    steps = pipeline(sizes, place).decode(0, 190, 1).steps
    assert (np.diff(steps) >= 0).all()
    assert steps[-1] > steps[0]
    windowed = pipeline(replace(sizes, window=16), place).decode(0, 190, 1).steps
    assert np.ptp(windowed[20:]) == 0
    assert (windowed <= steps).all()


@pytest.mark.parametrize("chunk", [1, 4, 64])
@pytest.mark.parametrize("place", [PLACES["inside"], PLACES["tiles"]], ids=["inside", "tiles"])
def test_cycles_go_with_the_layers(place: Placement, chunk: int) -> None:
    found = [both(pipeline(replace(TINY, layers=n), place, chunk=chunk)) for n in (2, 4, 6)]
    for phase in (0, 1):
        two, four, six = (run[phase].cycles for run in found)
        assert six - four == pytest.approx(four - two)
        assert six > four > two


def test_no_tokens_take_no_time() -> None:
    for place in PLACES.values():
        first, then = both(pipeline(TINY, place), prefill=0, decode=0)
        assert first.cycles == then.cycles == 0
        assert first.tokens == then.tokens == 0
        assert both(pipeline(TINY, place), prefill=0, decode=3)[1].cycles > 0


@EACH
def test_a_batch_takes_longer_than_one_sequence_and_no_longer_than_all_alone(place: Placement) -> None:
    sizes = replace(TINY, sequences=6)
    alone, together = both(pipeline(sizes, place, chunk=8)), both(pipeline(sizes, place, chunk=8), batch=6)
    for one, all_ in zip(alone, together, strict=True):
        assert one.cycles <= all_.cycles <= 6 * one.cycles * (1 + 1e-9)
        assert all_.tokens == 6 * one.tokens


def test_larger_chunks_load_layers_less_often() -> None:
    cycles = [both(pipeline(TINY, PLACES["layers"], chunk=n, bandwidth=2.0))[0].cycles for n in (1, 2, 4, 16)]
    assert cycles == sorted(cycles, reverse=True)
    assert cycles[0] > 8 * cycles[-1]  # 13 loads of each layer, or one


def test_row_tiles_are_padded() -> None:
    """Rows of four work three times in vain for a single token; for four tokens they are worth it."""
    one, four = (pipeline(replace(TINY, rows=rows, sequences=4), PLACES["tiles"], bandwidth=1.0) for rows in (1, 4))
    assert four.decode(5, 3, 1).cycles >= one.decode(5, 3, 1).cycles
    assert four.decode(5, 3, 4).cycles < 0.5 * one.decode(5, 3, 4).cycles
    assert four.decode(5, 3, 4).cycles == pytest.approx(four.decode(5, 3, 1).cycles, rel=0.02)


def test_experts_that_are_all_active_take_as_long_as_dense_layers() -> None:
    """Experts of a fourth of the channels each, all of which are met, are the channels of one layer."""
    dense = replace(TINY, ffn=128)
    for place in (PLACES["inside"], PLACES["tiles"]):
        runs = [both(pipeline(each, place)) for each in (dense, replace(TINY, ffn=32, experts=4, active=4))]
        for one, other in zip(*runs, strict=True):
            assert other.cycles == pytest.approx(one.cycles, rel=0.08)  # the router's load is its own


def test_fewer_active_experts_are_quicker() -> None:
    for place in (PLACES["inside"], PLACES["tiles"], PLACES["layers"]):
        cycles = [
            both(pipeline(replace(TINY, experts=8, active=n), place, bandwidth=10.0))[1].cycles for n in (1, 2, 4, 8)
        ]
        assert cycles == sorted(cycles)
        assert cycles[-1] > cycles[0]


def test_alone_in_the_design_a_token_takes_what_its_units_take() -> None:
    """One layer, one token at a time: the cycles of front, block and back, and of what connects them."""
    made = pipeline(replace(TINY, layers=1), chunk=1)
    steps = made.decode(7, 3, 1).steps
    parts = (made.front, *made.blocks, made.back)
    for step, position in zip(steps, (7, 8, 9), strict=True):
        passed = sum(design_cycles(part.design, 1, position).total for part in parts)
        assert passed - sum(part.design.steps != {} for part in parts) <= step + 2 * TINY.hidden // TINY.lanes
        assert step <= passed + 12


def test_unfolded_layers_work_at_the_same_time() -> None:
    folded, apart = (pipeline(replace(TINY, folded=each, layers=6), chunk=64) for each in (True, False))
    first, then = both(folded, prefill=40), both(apart, prefill=40)
    assert then[0].cycles < 0.4 * first[0].cycles
    assert then[1].cycles == pytest.approx(first[1].cycles, rel=0.02)  # a token has to pass all of them
