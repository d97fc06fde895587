"""All stream components at once, thousands of beats, stalls on every port, compiled."""

import random

import pytest
import torch

from mxhw.rtl_templates.stream import Fifo, Fork, Join, Narrow, SkidBuffer, TileOrder, Widen
from mxhw.sim.library import StreamError, build_library
from tests.rtl_templates.stream.bank import Bank
from tests.rtl_templates.stream.test_buffers import LosesWhenFull
from tests.rtl_templates.stream.test_converters import BITS, elements, ended_beats, in_tile_order, vectors, whole_beats

COUNT = 3000
FIFOS = {f"fifo{depth}": depth for depth in (0, 1, 2, 3, 4, 16)}


def units():
    return {
        **{name: Fifo(shape=16, depth=depth) for name, depth in FIFOS.items()},
        "skid": SkidBuffer(shape=16),
        "fork": Fork(shape=16, outputs=3),
        "join": Join(shapes=[16, 8]),
        "widen": Widen(shape=BITS, lanes=1, ratio=4),
        "widen_last": Widen(shape=BITS, lanes=2, ratio=3, last=True),
        "narrow": Narrow(shape=BITS, lanes=1, ratio=4),
        "narrow_last": Narrow(shape=BITS, lanes=2, ratio=3, last=True),
        "tiles": TileOrder(shape=16, columns=12, tile_rows=4, tile_columns=3),
        "rows": TileOrder(shape=16, columns=12, tile_rows=4, tile_columns=3, direction="to_rows"),
    }


@pytest.fixture(scope="module")
def library():
    return build_library(Bank(units()), "bank")


def traffic(seed):
    """What every input gets, and what every output owes."""
    rng = random.Random(seed)
    words = [rng.getrandbits(16) for _ in range(COUNT)]
    short = [rng.getrandbits(8) for _ in range(COUNT)]
    matrix = torch.tensor(words[: 240 * 12]).view(240, 12)
    tiles, rows = in_tile_order(matrix, 4, 3), matrix.flatten().tolist()
    values = elements(COUNT, seed)
    ends = vectors([rng.randrange(1, 15) for _ in range(200)], seed)
    inputs = {f"{name}_x": words for name in (*FIFOS, "skid", "fork")}
    outputs = {f"{name}_y": words for name in (*FIFOS, "skid")} | {f"fork_y{i}": words for i in range(3)}
    inputs |= {"join_x0": words, "join_x1": short, "tiles_x": rows, "rows_x": tiles}
    outputs |= {"join_y": [a | b << 16 for a, b in zip(words, short, strict=True)], "tiles_y": tiles, "rows_y": rows}
    inputs |= {"widen_x": values, "narrow_x": whole_beats(values, 4)}
    outputs |= {"widen_y": whole_beats(values, 4), "narrow_y": values}
    inputs |= {"widen_last_x": ended_beats(ends, 2), "narrow_last_x": ended_beats(ends, 6)}
    outputs |= {"widen_last_y": ended_beats(ends, 6), "narrow_last_y": ended_beats(ends, 2)}
    return inputs, outputs


@pytest.mark.parametrize(("stall", "seed"), [(0.0, 0), (0.2, 1), (0.5, 2), (0.8, 3)])
def test_every_beat_arrives_once_and_in_order(library, stall, seed):
    inputs, outputs = traffic(seed)
    found = library.run(inputs, {name: len(beats) for name, beats in outputs.items()}, stall=stall, seed=seed)
    for name, beats in outputs.items():
        assert found.ints(name) == beats, name


def test_a_fifo_that_loses_beats_is_caught():
    words = traffic(0)[0]["skid_x"]
    library = build_library(LosesWhenFull(), "loses")
    assert library.run({"x": words}, {"y": COUNT}).ints("y") == words
    with pytest.raises(StreamError, match="deadlock or a lost beat"):
        library.run({"x": words}, {"y": COUNT}, stall=0.5, seed=1)
