"""What moves: every bit once, the expected experts, keys that grow with the position."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from mxhw.hardware.machine.passes import Part
from mxhw.hardware.machine.placement import Placement
from mxhw.hardware.machine.traffic import KINDS, Tokens
from mxhw.hardware.structure import AttentionUnit, Product, Unit
from tests.hardware.machine.models import TINY, Sizes, pipeline

ALL = Placement(weights="tiles", head="tiles", cache="outside", embedding="outside", constants="layers")
LAYERS = replace(ALL, weights="layers")


def tokens_of(counts: list[int], start: int = 0) -> Tokens:
    ends = np.cumsum(counts)
    return Tokens(np.arange(start, start + int(ends[-1])), ends - counts)


def moved(part: Part, tokens: Tokens) -> Counter[str]:
    found: Counter[str] = Counter()
    for move in part.moves:
        for kind, bits in move.kinds.items():
            found[kind] += bits * float(move.times(tokens).sum())
    return found


def block(sizes: Sizes, placement: Placement, bits: int = 32) -> Part:
    return pipeline(sizes, placement, bits=bits).blocks[0]


def units(part: Part, kind: type[Unit]) -> list[Unit]:
    return [step.unit for step in part.design.steps.values() if isinstance(step.unit, kind)]


@pytest.mark.parametrize("placement", [ALL, LAYERS])
def test_kinds_of_a_move_are_all_of_its_bits(placement: Placement) -> None:
    for part in (*pipeline(placement=placement).blocks, pipeline(placement=placement).back):
        assert part.moves
        for move in part.moves:
            assert set(move.kinds) <= set(KINDS)
            assert sum(move.kinds.values()) == pytest.approx(move.load.bits)
            assert min(move.kinds.values()) >= 0


def test_weights_come_once_a_chunk_or_once_a_row_tile() -> None:
    sizes = replace(TINY, rows=2)
    tokens = tokens_of([8, 8, 3])
    once, tiles = moved(block(sizes, LAYERS), tokens), moved(block(sizes, ALL), tokens)
    whole = sum(unit.n * unit.k * unit.code_bits for unit in units(block(sizes, ALL), Product))
    assert once["weights"] == 3 * whole
    assert tiles["weights"] == (4 + 4 + 2) * whole
    assert tiles["constants"] == once["constants"] > 0


def test_bits_of_a_layer_are_those_of_its_memories_where_the_port_divides_words() -> None:
    part = block(TINY, LAYERS, bits=32)
    found = moved(part, tokens_of([5]))
    inside = sum(unit.weight_bits for unit in units(part, Product))
    # Words of metadata of 80 bits come in three beats of 32.
    metadata = sum(unit.column_tiles * unit.blocks * 16 for unit in units(part, Product))
    assert found["weights"] + found["metadata"] + found["padding"] == inside + metadata


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("seed", range(6))
def test_keys_are_read_as_often_as_tokens_look_at_them(seed: int, window: int | None) -> None:
    draw = random.Random(seed)
    part = block(replace(TINY, window=window), Placement(cache="outside"))
    counts, start = [draw.randint(1, 6) for _ in range(draw.randint(1, 4))], draw.randint(0, 20)
    tokens = tokens_of(counts, start)
    scores, values = units(part, AttentionUnit)
    assert isinstance(scores, AttentionUnit)
    others = sum(scores.looked_at(int(position)) - 1 for position in tokens.positions)
    found = moved(part, tokens)
    assert found["keys"] == found["values"] == others * scores.token_bits
    assert found["cache writes"] == 2 * sum(counts) * scores.token_bits
    assert scores.token_bits == values.token_bits  # type: ignore[attr-defined]


def test_experts_are_as_many_as_random_choices_meet() -> None:
    unit = replace(next(iter(units(block(TINY, ALL), Product))), experts=8, active_experts=2)  # type: ignore[call-arg]
    assert isinstance(unit, Product)
    draw = random.Random(3)
    for tokens in (1, 2, 5, 16):
        trials = [len({e for _ in range(tokens) for e in draw.sample(range(8), 2)}) for _ in range(4000)]
        assert unit.experts_met(tokens) == pytest.approx(np.mean(trials), rel=0.02)
    assert unit.experts_met(1) == pytest.approx(2)
    assert unit.experts_met(10**6) == pytest.approx(8)


def test_experts_that_are_all_active_move_as_much_as_dense_layers() -> None:
    wide = replace(TINY, experts=4, active=4)
    tokens = tokens_of([6, 1])
    for placement in (ALL, LAYERS):
        part = block(wide, placement)
        router = [move for move in part.moves if move.step.startswith("router")]
        assert router
        everything = sum(
            unit.n * unit.k * unit.experts * unit.code_bits for unit in units(part, Product) if unit.n != wide.experts
        )
        times = len(tokens.starts) if placement == LAYERS else 7
        others = [move for move in part.moves if move not in router]
        weights = sum(move.kinds.get("weights", 0) * float(move.times(tokens).sum()) for move in others)
        assert weights == pytest.approx(times * everything)


def test_first_tokens_of_chunks() -> None:
    first = tokens_of([5, 2, 7], start=3).first(3)
    assert first.positions.tolist() == [3, 4, 5, 8, 9, 10, 11, 12]
    assert first.starts.tolist() == [0, 3, 5]
    assert first.counts.tolist() == [3, 2, 3]
