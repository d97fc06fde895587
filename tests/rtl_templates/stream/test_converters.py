"""Converters of width and of tile order, and the block buffer: the right elements in the right order and cycle."""

import random

import pytest
import torch
from amaranth.hdl import Mux, Signal

from mxhw.errors import InputError
from mxhw.rtl_templates.stream import BlockBuffer, Narrow, TileOrder, Widen, tile_order, width
from mxhw.rtl_templates.stream.block_buffer import addresses
from tests.rtl_templates.stream.bench import StreamError, run

STALLS = [(0.0, 0), (0.3, 1), (0.7, 2)]
BITS = 5


def elements(count, seed=0):
    rng = random.Random(seed)
    return [rng.getrandbits(BITS) for _ in range(count)]


def joined(values):
    return sum(value << BITS * i for i, value in enumerate(values))


def whole_beats(values, lanes):
    return [joined(values[i : i + lanes]) for i in range(0, len(values), lanes)]


def vectors(lengths, seed=0):
    return [elements(length, seed + i) for i, length in enumerate(lengths)]


def ended_beats(given, lanes, *, rubbish=0):
    """Beats with count and last; ``rubbish`` fills the missing elements."""
    beats, count_bits = [], (lanes).bit_length()
    for vector in given:
        for i in range(0, len(vector), lanes):
            part = vector[i : i + lanes]
            filled = part + [rubbish] * (lanes - len(part))
            last = i + lanes >= len(vector)
            beats.append(joined(filled) | len(part) << BITS * lanes | last << BITS * lanes + count_bits)
    return beats


def without_missing(beats, lanes):
    """The same beats with zero in the missing elements."""
    count_bits = lanes.bit_length()
    found = []
    for beat in beats:
        count = beat >> BITS * lanes & (1 << count_bits) - 1
        missing = (1 << BITS * lanes) - (1 << BITS * count)
        found.append(beat & ~missing)
    return found


RATIOS = [(1, 1), (1, 2), (1, 4), (3, 2), (2, 3), (1, 5)]


@pytest.mark.parametrize(("lanes", "ratio"), RATIOS)
@pytest.mark.parametrize(("stall", "seed"), STALLS)
def test_converters_keep_every_element_in_order(lanes, ratio, stall, seed):
    values = elements(12 * lanes * ratio)
    narrow, wide = whole_beats(values, lanes), whole_beats(values, lanes * ratio)
    up = run(Widen(shape=BITS, lanes=lanes, ratio=ratio), {"x": narrow}, {"y": len(wide)}, stall, seed)
    down = run(Narrow(shape=BITS, lanes=lanes, ratio=ratio), {"x": wide}, {"y": len(narrow)}, stall, seed)
    assert up.outputs["y"] == wide and down.outputs["y"] == narrow
    if not stall:
        assert up.is_gapless("x") and up.latency(sent=ratio - 1) == 1
        assert down.is_gapless("y") and down.latency() == 1


@pytest.mark.parametrize(("lanes", "ratio"), RATIOS)
@pytest.mark.parametrize(("stall", "seed"), STALLS)
def test_converters_close_a_beat_at_the_end_of_a_vector(lanes, ratio, stall, seed):
    given = vectors([*range(1, 2 * lanes * ratio + 2), 1, 1, lanes * ratio])
    narrow, wide = ended_beats(given, lanes), ended_beats(given, lanes * ratio)
    up = run(Widen(shape=BITS, lanes=lanes, ratio=ratio, last=True), {"x": narrow}, {"y": len(wide)}, stall, seed)
    assert up.outputs["y"] == wide
    dirty = ended_beats(given, lanes * ratio, rubbish=21)
    down = run(Narrow(shape=BITS, lanes=lanes, ratio=ratio, last=True), {"x": dirty}, {"y": len(narrow)}, stall, seed)
    assert without_missing(down.outputs["y"], lanes) == narrow
    if not stall:
        assert up.is_gapless("x") and down.is_gapless("y")


def test_swapped_elements_are_caught():
    values = elements(24)
    swapped = [v for pair in zip(values[1::2], values[::2], strict=True) for v in pair]
    found = run(Widen(shape=BITS, lanes=1, ratio=4), {"x": whole_beats(swapped, 1)}, {"y": 6})
    assert found.outputs["y"] != whole_beats(values, 4)


class ForgetsTheEnd(Widen):
    """A converter that does not close a beat at the end of a vector."""

    def __init__(self, **parameters):
        super().__init__(**parameters)
        self._last = False

    def _elements(self, payload):
        return payload.elements.as_value()


def test_a_missing_end_is_caught():
    given = vectors([3, 5, 1])
    with pytest.raises(StreamError, match="beats came"):
        run(
            ForgetsTheEnd(shape=BITS, lanes=1, ratio=4, last=True),
            {"x": ended_beats(given, 1)},
            {"y": len(ended_beats(given, 4))},
        )


def in_tile_order(matrix, tile_rows, tile_columns):
    rows, columns = matrix.shape
    tiles = matrix.reshape(rows // tile_rows, tile_rows, columns // tile_columns, tile_columns)
    return tiles.transpose(1, 2).flatten().tolist()


TILES = [(6, 2, 3), (8, 1, 4), (8, 4, 1), (5, 3, 5), (4, 2, 2), (3, 1, 1), (1, 1, 1), (12, 5, 4)]


@pytest.mark.parametrize(("columns", "tile_rows", "tile_columns"), TILES)
@pytest.mark.parametrize(("stall", "seed"), STALLS)
def test_tile_order_and_back(columns, tile_rows, tile_columns, stall, seed):
    matrix = torch.randint(0, 1 << 12, (4 * tile_rows, columns), generator=torch.Generator().manual_seed(seed))
    rows, tiles = matrix.flatten().tolist(), in_tile_order(matrix, tile_rows, tile_columns)
    size = {"columns": columns, "tile_rows": tile_rows, "tile_columns": tile_columns}
    for direction, sent, expected in (("to_tiles", rows, tiles), ("to_rows", tiles, rows)):
        unit = TileOrder(shape=12, direction=direction, **size)
        found = run(unit, {"x": sent}, {"y": len(expected)}, stall, seed)
        assert found.outputs["y"] == expected
        if not stall:
            assert found.is_gapless("x") and found.is_gapless("y")
            assert found.latency(sent=tile_rows * columns - 1) == 2


def test_the_wrong_direction_is_caught():
    matrix = torch.arange(48).view(8, 6)
    unit = TileOrder(shape=12, columns=6, tile_rows=2, tile_columns=2, direction="to_rows")
    found = run(unit, {"x": matrix.flatten().tolist()}, {"y": 48})
    assert found.outputs["y"] != in_tile_order(matrix, 2, 2)


class Largest(BlockBuffer):
    """A block buffer whose summary is the largest beat of the block."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        so_far, now = Signal(8), Signal(8)
        before = Mux(self.first, 0, so_far)
        m.d.comb += [now.eq(Mux(self.x.payload > before, self.x.payload, before)), self.summary.eq(now)]
        with m.If(self.x.valid & self.x.ready):
            m.d.sync += so_far.eq(now)
        return m


@pytest.mark.parametrize("length", [1, 2, 5, 8])
@pytest.mark.parametrize(("stall", "seed"), STALLS)
def test_a_block_leaves_with_its_summary(length, stall, seed):
    values = [v * 3 for v in elements(7 * length, seed)]
    blocks = [values[i : i + length] for i in range(0, len(values), length)]
    expected = [
        value | max(block) << 8 | (i == 0) << 16 | (i == length - 1) << 17
        for block in blocks
        for i, value in enumerate(block)
    ]
    found = run(Largest(shape=8, length=length, summary=8), {"x": values}, {"y": len(values)}, stall, seed)
    assert found.outputs["y"] == expected
    if not stall:
        assert found.is_gapless("x") and found.is_gapless("y") and found.latency(sent=length - 1) == 2


def test_loops_visit_in_nested_order():
    assert addresses([(2, 1), (3, 2)]) == [0, 2, 4, 1, 3, 5]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Widen(shape=8, lanes=0), "lanes must be an integer of at least 1, not 0"),
        (lambda: Narrow(shape=8, ratio=0), "ratio must be an integer of at least 1, not 0"),
        (lambda: width.TEMPLATE.make(x_lanes=3, y_lanes=4), "a multiple of the smaller, 3, not 4"),
        (
            lambda: tile_order.TEMPLATE.make(columns=6, tile_columns=4),
            "tile_columns must be a divisor of the 6 columns, not 4",
        ),
        (lambda: TileOrder(shape=8, columns=0, tile_rows=1, tile_columns=1), "columns must be an integer of at least"),
        (lambda: BlockBuffer(shape=8, length=4, loops=[(2, 1), (2, 1)]), "loops must be a permutation of 4 beats"),
        (lambda: BlockBuffer(shape=8, length=0), "length must be an integer of at least 1, not 0"),
    ],
)
def test_impossible_parameters_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()
