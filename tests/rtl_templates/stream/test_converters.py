"""Converters of width and of tile order, and the block buffer: the right elements in the right order and cycle."""

import random

import pytest
import torch
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring

from mxhw.errors import InputError
from mxhw.rtl_templates.stream import BlockBuffer, Narrow, TileOrder, Widen, tile_order, width
from mxhw.rtl_templates.stream.block_buffer import addresses
from mxhw.sim import StreamError
from tests.rtl_templates.bank import Bench

STALLS = [(0.0, 0), (0.2, 1), (0.5, 2), (0.8, 3)]
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


class ForgetsTheEnd(Widen):
    """A converter that does not close a beat at the end of a vector."""

    def __init__(self, **parameters):
        super().__init__(**parameters)
        self._last = False

    def _elements(self, payload):
        return payload.elements.as_value()


class Largest(wiring.Component):
    """A block buffer whose summary is the largest beat of the block, or the last one: the planted fault."""

    def __init__(self, length, faulty=False):
        self._buffer, self._faulty = BlockBuffer(shape=8, length=length, summary=8), faulty
        super().__init__({port: self._buffer.signature.members[port] for port in ("x", "y")})

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer = buffer = self._buffer
        so_far, now = Signal(8), Signal(8)
        before = Mux(buffer.first, 0, so_far)
        wiring.connect(m, wiring.flipped(self.x), buffer.x)
        wiring.connect(m, wiring.flipped(self.y), buffer.y)
        is_larger = (self.x.payload > before) | self._faulty
        m.d.comb += [now.eq(Mux(is_larger, self.x.payload, before)), buffer.summary.eq(now)]
        with m.If(self.x.valid & self.x.ready):
            m.d.sync += so_far.eq(now)
        return m


RATIOS = [(1, 1), (1, 2), (1, 4), (3, 2), (2, 3), (1, 5)]
TILES = [(6, 2, 3), (8, 1, 4), (8, 4, 1), (5, 3, 5), (4, 2, 2), (3, 1, 1), (1, 1, 1), (12, 5, 4)]
LENGTHS = [1, 2, 5, 8]


@pytest.fixture(scope="module")
def bench():
    units = {"forgets": ForgetsTheEnd(shape=BITS, lanes=1, ratio=4, last=True)}
    for lanes, ratio in RATIOS:
        for kind, make in (("up", Widen), ("down", Narrow)):
            units[f"{kind}_{lanes}_{ratio}"] = make(shape=BITS, lanes=lanes, ratio=ratio)
            units[f"{kind}_{lanes}_{ratio}_last"] = make(shape=BITS, lanes=lanes, ratio=ratio, last=True)
    for size in TILES:
        for direction in ("to_tiles", "to_rows"):
            units[tile_name(direction, size)] = TileOrder(shape=12, direction=direction, **tile_size(size))
    units |= {f"largest_{length}": Largest(length) for length in LENGTHS}
    return Bench(units | {"largest_fault": Largest(5, faulty=True)})


def tile_size(size):
    return dict(zip(("columns", "tile_rows", "tile_columns"), size, strict=True))


def tile_name(direction, size):
    return "_".join([direction, *map(str, size)])


@pytest.mark.parametrize(("lanes", "ratio"), RATIOS)
@pytest.mark.parametrize(("stall", "seed"), STALLS)
def test_converters_keep_every_element_in_order(bench, lanes, ratio, stall, seed):
    values = elements(240 * lanes * ratio, seed)
    narrow, wide = whole_beats(values, lanes), whole_beats(values, lanes * ratio)
    up = bench.run(f"up_{lanes}_{ratio}", {"x": narrow}, len(wide), stall=stall, seed=seed)
    down = bench.run(f"down_{lanes}_{ratio}", {"x": wide}, len(narrow), stall=stall, seed=seed)
    assert up.ints("y") == wide and down.ints("y") == narrow
    assert stall or up.cycles == down.cycles == len(narrow) + 1


@pytest.mark.parametrize(("lanes", "ratio"), RATIOS)
def test_converters_have_a_cycle_of_latency(bench, lanes, ratio):
    values = elements(lanes * ratio)
    narrow, wide = whole_beats(values, lanes), [joined(values)]
    assert bench.run(f"up_{lanes}_{ratio}", {"x": narrow}, 1).cycles == ratio + 1
    assert bench.run(f"down_{lanes}_{ratio}", {"x": wide}, ratio).cycles == ratio + 1


@pytest.mark.parametrize(("lanes", "ratio"), RATIOS)
@pytest.mark.parametrize(("stall", "seed"), STALLS)
def test_converters_close_a_beat_at_the_end_of_a_vector(bench, lanes, ratio, stall, seed):
    drawn = random.Random(seed).choices(range(1, 3 * lanes * ratio), k=60)
    given = vectors([*range(1, 2 * lanes * ratio + 2), 1, 1, lanes * ratio, *drawn], seed)
    narrow, wide = ended_beats(given, lanes), ended_beats(given, lanes * ratio)
    up = bench.run(f"up_{lanes}_{ratio}_last", {"x": narrow}, len(wide), stall=stall, seed=seed)
    assert up.ints("y") == wide
    dirty = ended_beats(given, lanes * ratio, rubbish=21)
    down = bench.run(f"down_{lanes}_{ratio}_last", {"x": dirty}, len(narrow), stall=stall, seed=seed)
    assert without_missing(down.ints("y"), lanes) == narrow
    assert stall or up.cycles == down.cycles == len(narrow) + 1


def test_swapped_elements_are_caught(bench):
    values = elements(24)
    swapped = [v for pair in zip(values[1::2], values[::2], strict=True) for v in pair]
    assert bench.y("up_1_4", {"x": whole_beats(swapped, 1)}, 6) != whole_beats(values, 4)


def test_a_missing_end_is_caught(bench):
    given = vectors([3, 5, 1])
    with pytest.raises(StreamError, match="deadlock or a lost beat"):
        bench.run("forgets", {"x": ended_beats(given, 1)}, len(ended_beats(given, 4)))


def in_tile_order(matrix, tile_rows, tile_columns):
    rows, columns = matrix.shape
    tiles = matrix.reshape(rows // tile_rows, tile_rows, columns // tile_columns, tile_columns)
    return tiles.transpose(1, 2).flatten().tolist()


@pytest.mark.parametrize("size", TILES)
@pytest.mark.parametrize(("stall", "seed"), STALLS)
def test_tile_order_and_back(bench, size, stall, seed):
    columns, tile_rows, tile_columns = size
    matrix = torch.randint(0, 1 << 12, (20 * tile_rows, columns), generator=torch.Generator().manual_seed(seed))
    rows, tiles = matrix.flatten().tolist(), in_tile_order(matrix, tile_rows, tile_columns)
    for direction, sent, expected in (("to_tiles", rows, tiles), ("to_rows", tiles, rows)):
        name, band = tile_name(direction, size), tile_rows * columns
        found = bench.run(name, {"x": sent}, len(expected), stall=stall, seed=seed)
        assert found.ints("y") == expected
        # A beat a cycle, two cycles after the last one of a band; also of one band alone.
        assert stall or found.cycles == len(sent) + band + 1
        assert stall or bench.run(name, {"x": sent[:band]}, band).cycles == 2 * band + 1


def test_the_wrong_direction_is_caught(bench):
    matrix = torch.arange(64).view(8, 8)
    beats = {"x": matrix.flatten().tolist()}
    right, wrong = (bench.y(tile_name(direction, (8, 4, 1)), beats, 64) for direction in ("to_tiles", "to_rows"))
    assert right == in_tile_order(matrix, 4, 1) != wrong


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("stall", "seed"), STALLS)
def test_a_block_leaves_with_its_summary(bench, length, stall, seed):
    values = [v * 3 for v in elements(70 * length, seed)]
    blocks = [values[i : i + length] for i in range(0, len(values), length)]
    expected = [
        value | max(block) << 8 | (i == 0) << 16 | (i == length - 1) << 17
        for block in blocks
        for i, value in enumerate(block)
    ]
    found = bench.run(f"largest_{length}", {"x": values}, len(values), stall=stall, seed=seed)
    assert found.ints("y") == expected
    assert stall or found.cycles == len(values) + length + 1
    assert stall or bench.run(f"largest_{length}", {"x": values[:length]}, length).cycles == 2 * length + 1


def test_another_summary_is_caught(bench):
    values = elements(20)
    right, wrong = (bench.y(name, {"x": values}, 20) for name in ("largest_5", "largest_fault"))
    assert right != wrong


def test_verilog_is_clean(bench):
    # Where a beat has one element, its count is compared with the largest number of its bits.
    rules = {line.split(":")[0] for line in bench.complaints().splitlines() if line.startswith("%Warning")}
    assert rules == {"%Warning-CMPCONST"}


def test_the_catalogue_picks_the_converter():
    for given, kind in (({"y_lanes": 1}, Widen), ({"x_lanes": 4, "y_lanes": 2}, Narrow), ({"y_lanes": 8}, Widen)):
        for last in (False, True):
            assert isinstance(width.TEMPLATE.make(**given, last=last), kind)


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
