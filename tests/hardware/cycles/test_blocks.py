"""Closed forms of decoder blocks against their series of events, which equal the RTL: no cycle off, in any step."""

import random
from dataclasses import dataclass, replace

import numpy as np
import pytest

from mxhw.errors import InputError
from mxhw.hardware.cycles import Arrivals, Beats, Run, accept, design_cycles, design_streams, functions, register_cycles
from mxhw.hardware.structure import Add, Design, Product, Step, Unit
from mxhw.passes.emit.dataflow.costed import design_of
from mxhw.passes.emit.dataflow.fifos import fifo_depths
from mxhw.passes.emit.dataflow.schedule import TimedGraph
from tests.hardware.cycles.draws import DrawnBlock, draw_block
from tests.hardware.cycles.events import beats_of


def differing(block: DrawnBlock, tokens: int | None = None) -> list[str]:
    """Steps whose first or last beat of any token passes at another cycle than by events."""
    positions = np.arange(tokens or block.tokens)
    depths = fifo_depths(block.graph, block.placed)
    timed = TimedGraph(block.graph, block.placed, positions, depths, room=False)
    times = timed.earliest()
    design = design_of(block.graph, block.placed, depths)
    streams, found = design_streams(design, Run(positions)), []
    for name in block.graph.steps:
        first, last = beats_of(timed, times, block.graph, block.placed, name)
        if not (np.array_equal(streams[name].at(0), first) and np.array_equal(streams[name].last, last)):
            found.append(name)
    cycles = design_cycles(design, len(positions))
    assert (cycles.total == timed.span(times)) or found
    return found


def blocks(count: int, seed: int) -> list[DrawnBlock]:
    rng = random.Random(seed)
    return [draw_block(rng, 16) for _ in range(count)]


@pytest.mark.parametrize("seed", range(4))
def test_a_block_takes_the_cycles_of_its_components(seed: int) -> None:
    for block in blocks(2, seed):
        assert differing(block) == [], block


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 130))
def test_so_do_many(seed: int) -> None:
    rng = random.Random(seed)
    for block in (draw_block(rng) for _ in range(5)):
        assert differing(block) == [], block


def test_a_wrong_constant_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    block = blocks(1, 3)[0]
    assert differing(block) == []
    monkeypatch.setitem(functions.LATENCIES, Add, 3)
    assert differing(block)[0] == "residual_1"


def test_what_is_told_of_a_run() -> None:
    block = blocks(1, 4)[0]
    design = design_of(block.graph, block.placed, fifo_depths(block.graph, block.placed))
    tokens = block.tokens
    cycles = design_cycles(design, tokens)
    assert cycles.first == design_cycles(design, block.rows).ends[0] + 1
    assert cycles.total == cycles.ends[-1] + 1
    assert (np.diff(cycles.ends) > 0).all()
    assert cycles.intervals.keys() == design.steps.keys()
    assert cycles.intervals[cycles.bottleneck] == max(cycles.intervals.values())
    # A prefix of a run takes no other cycles; a later start only adds keys.
    assert cycles.ends[block.rows - 1] + 1 == design_cycles(design, block.rows).total
    assert design_cycles(design, tokens, start=block.shape.keys - tokens).total >= cycles.total


def test_a_long_run_ends_at_the_interval_of_the_bottleneck() -> None:
    block = blocks(1, 5)[0]
    design = design_of(block.graph, block.placed)
    ends = design_cycles(design, 64 * block.rows).ends
    short = design_cycles(design, block.rows)
    assert (ends[-1] - ends[-1 - 8 * block.rows]) / (8 * block.rows) >= max(short.intervals.values()) - 1e-9


def test_a_unit_of_ones_own_takes_a_rule() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Cube(Unit):
        length: int
        lanes: int

    def design(unit: Unit) -> Design:
        return Design({"x": 2}, {"cube": Step("cube", "cube", unit, ("x",), (2,), 2)}, ("cube",))

    cube = Cube(length=8, lanes=2)
    with pytest.raises(InputError, match=r"cycles of a unit Cube are not known.*register_cycles"):
        design_cycles(design(cube), 3)

    @register_cycles(Cube, elements=lambda unit: (unit.length,))
    def cycles(unit: Cube, arrivals: list[Arrivals], run: Run) -> Beats:
        return accept(arrivals).later(9)

    # A queue of registers, nine cycles, four beats a token.
    assert design_cycles(design(cube), 3).total == 1 + 9 + 3 * 4


def test_what_cannot_run_is_refused() -> None:
    block = blocks(1, 4)[0]
    design = design_of(block.graph, block.placed)
    with pytest.raises(InputError, match="1 token or more, not 0"):
        design_cycles(design, 0)
    with pytest.raises(InputError, match="position of 0 or more, not -1"):
        design_cycles(design, 1, start=-1)
    step = design.steps["o_proj"]
    assert isinstance(step.unit, Product)
    tiled = replace(step, unit=replace(step.unit, rows=2))
    with pytest.raises(InputError, match=r"step o_proj takes 2 tokens at once.*not 3"):
        design_cycles(replace(design, steps={**design.steps, "o_proj": tiled}), 3)
