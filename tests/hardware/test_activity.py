"""Energy of a counted run: by hand, over drawn toggles, and what is not known."""

import random
from collections.abc import Mapping
from dataclasses import replace

import pytest

from mxhw.errors import InputError
from mxhw.hardware import load_platform
from mxhw.hardware.activity import CountedRun, StreamRun, run_energy
from mxhw.hardware.cycles import unit_interval
from mxhw.hardware.energy import unit_energy
from mxhw.hardware.platform import AsicPlatform, memory_access_energy
from mxhw.hardware.sizes import NOTHING, unit_sizes
from mxhw.hardware.sizes.connections import connections, placed_connections
from mxhw.hardware.structure import Control, Converter, Design, Fifo, Fork, Product, ReLU, Scores, Step, Unit
from mxhw.hardware.structure.record import design_from_json, design_to_json
from mxhw.passes.emit.dataflow.costed import design_of
from mxhw.passes.emit.dataflow.place import place_graph
from tests.hardware.test_energy import PRODUCT, SCORES
from tests.passes.emit.dataflow.blocks import BlockShape, decoder_block

RELU = ReLU(length=64, lanes=4, bits=8)
DEEP = 40  # beats of a queue that is a memory


def chain(depth: int = DEEP) -> Design:
    """Two units behind each other, the first of which is forked to the outside."""
    steps = {
        "first": Step("first", "first", RELU, ("x",), (4,), 4),
        "second": Step("second", "second", replace(RELU, lanes=2), ("first",), (2,), 2),
    }
    return Design({"x": 4}, steps, ("first", "second"), {("first", "second"): depth})


def counted(cycles: int = 1000, tokens: int = 3, **toggles: int) -> CountedRun:
    streams = {
        "x": StreamRun(16 * tokens),
        "first": StreamRun(16 * tokens, range(tokens), 200, toggles.get("first", 0)),
        "second": StreamRun(32 * tokens, range(tokens), 300, toggles.get("second", 0)),
    }
    return CountedRun(cycles, streams)


def test_what_stands_between_steps_has_an_owner() -> None:
    found = {(type(each.unit), each.source, each.owner) for each in placed_connections(chain())}
    assert found == {
        (Fork, "first", "first"),
        (Fifo, "x", "first"),
        (Fifo, "first", "second"),
        (Converter, "first", "second"),
    }
    assert [each.unit for each in placed_connections(chain())] == list(connections(chain()))


@pytest.mark.parametrize("name", ["asap7", "sg13g2", "bitmod-28nm"])
def test_logic_is_area_times_toggles_over_the_platforms_activity(name: str) -> None:
    platform = load_platform(name)
    assert isinstance(platform, AsicPlatform) and platform.energy is not None and platform.energy.activity is not None
    assumed, drawn = platform.energy.activity.value, random.Random(0)
    density = platform.logic_density
    assert assumed == 0.5 and density is not None
    for _ in range(10):
        toggles = {"first": drawn.randrange(10**5), "second": drawn.randrange(10**5)}
        found = run_energy(chain(), counted(**toggles), platform)
        for step in found.steps:
            units = [
                chain().steps[step.name].unit,
                *(c.unit for c in placed_connections(chain()) if c.owner == step.name),
            ]
            area = sum(unit_sizes(unit, platform)["area"] for unit in units)
            cycles = toggles[step.name] / step.bits / assumed  # of work, were each bit to toggle as is assumed
            assert step.measured.terms["logic"] == pytest.approx(area * density * cycles)
            assert step.activity == pytest.approx(toggles[step.name] / step.bits / step.working)
        assert found.measured.terms["logic"] == pytest.approx(sum(s.measured.terms["logic"] for s in found.steps))


def test_toggles_as_assumed_are_the_assumed_energy() -> None:
    """A step without anything around it, whose bits toggle as the platform says while it works."""
    platform = load_platform("asap7")
    design = Design({"x": 4}, {"first": replace(chain().steps["first"])}, ("first",), {("x", "first"): 0})
    tokens = 5
    working = tokens * unit_interval(RELU)
    run = CountedRun(777, {"x": StreamRun(80), "first": StreamRun(80, range(tokens), 32, round(0.5 * 32 * working))})
    (step,) = run_energy(design, run, platform).steps
    assert step.working == working == 80
    assert step.measured.terms["logic"] == pytest.approx(step.assumed.terms["logic"])
    expected = unit_energy(RELU, 0, 0, platform, unit_sizes(RELU, platform), working).terms["logic"]
    assert step.assumed.terms["logic"] == pytest.approx(expected)


def test_only_logic_depends_on_toggles_and_every_term_is_shown() -> None:
    platform = load_platform("sg13g2")
    still, busy = (run_energy(chain(), counted(first=n, second=n), platform) for n in (0, 50_000))
    assert still.assumed == busy.assumed
    assert still.measured.terms["logic"] == 0 < busy.measured.terms["logic"]
    others = {name for name in busy.measured.terms if name != "logic"}
    assert others == {"queue", "static"}
    for name in others:
        assert still.measured.terms[name] == busy.measured.terms[name] == busy.assumed.terms[name] > 0
    queue = next(each.unit for each in placed_connections(chain()) if each.unit.memories())
    read, write = memory_access_energy(queue.memories()[0], platform)
    assert read is not None and write is not None
    assert busy.measured.terms["queue"] == pytest.approx(48 * (read + write))
    assert busy.measured.total == pytest.approx(sum(busy.measured.terms.values()))


def test_memories_are_those_of_the_positions_that_passed() -> None:
    platform = load_platform("sg13g2")
    positions = [0, 1, 2, 0, 1, 7]
    design = Design({}, {"qk": Step("qk", "qk", SCORES, (), (), 1)}, ("qk",))
    beats = sum(SCORES.heads * (position + 1) for position in positions)
    found = run_energy(design, CountedRun(10_000, {"qk": StreamRun(beats, positions, 10, 10)}), platform)
    one = [unit_energy(SCORES, 1, position, platform, NOTHING, 0.0) for position in positions]
    for term in one[0].terms:
        if term != "logic":
            assert found.measured.terms[term] == pytest.approx(sum(each.terms[term] for each in one))
    assert found.steps[0].working == pytest.approx(sum(unit_interval(SCORES, position) for position in positions))


def test_weights_are_loaded_as_often_as_the_port_gives_them() -> None:
    platform = load_platform("asap7")
    unit = replace(PRODUCT, rows=1, storage="layers", layers=2)
    design = Design({"x": 4}, {"p": Step("p", "p", unit, ("x",), (4,), 4)}, ("p",))

    def energy(loads: int) -> Mapping[str, float]:
        run = CountedRun(900, {"x": StreamRun(96), "p": StreamRun(48, range(6), 9, 9)}, outside=64.0, loads=loads)
        return run_energy(design, run, platform).measured.terms

    once, twice, thrice = energy(1), energy(2), energy(3)
    assert twice["weights"] - once["weights"] == pytest.approx(thrice["weights"] - twice["weights"]) != 0
    assert platform.main_memory is not None and platform.main_memory.energy is not None
    assert once["off-chip"] == pytest.approx(64 * platform.main_memory.energy.value)


def test_what_is_not_known_is_named() -> None:
    ecp5, asap7 = load_platform("ecp5-85"), load_platform("asap7")
    assert isinstance(asap7, AsicPlatform) and asap7.energy is not None
    found = run_energy(chain(), counted(first=5, second=5), ecp5)
    assert {"logic", "queue"} <= found.assumed.unknown
    assert found.measured.total is None
    unsaid = replace(asap7, energy=replace(asap7.energy, activity=None))
    found = run_energy(chain(), counted(first=5, second=5), unsaid)
    assert found.measured.unknown == {"logic"} and not found.assumed.unknown
    run = counted(first=5, second=5)
    silent = CountedRun(run.cycles, {**run.streams, "second": replace(run.streams["second"], bits=0, toggles=0)})
    assert run_energy(chain(), silent, asap7).measured.unknown == {"logic"}
    strange = CountedRun(run.cycles, {**run.streams, "tanh": StreamRun(4)})
    assert run_energy(chain(), strange, asap7).uncounted == ("tanh",)


def test_control_works_a_cycle_a_beat() -> None:
    design = Design({"r": 1}, {"k": Step("k", "k", Control(kind="keep", lanes=2, bits=8), ("r",), (1,), 2)}, ("k",))
    found = run_energy(
        design, CountedRun(50, {"r": StreamRun(7), "k": StreamRun(7, range(7), 4, 4)}), load_platform("asap7")
    )
    assert found.steps[-1].working == 7


def test_a_design_survives_as_text() -> None:
    graph = decoder_block(BlockShape(hidden=16, heads=2, kv_heads=1, ffn=24))
    design = design_of(graph, place_graph(graph), {("x", next(iter(graph.steps))): 5})
    assert any(isinstance(step.unit, Product | Scores) for step in design.steps.values())
    again = design_from_json(design_to_json(design))
    assert again == design
    assert design_from_json(design_to_json(again)) == again


class Tanh(Unit):
    """A unit of one's own."""


def test_units_of_ones_own_are_found_and_others_refused() -> None:
    design = Design({}, {"t": Step("t", "t", Tanh(), (), (), 1)}, ("t",))
    text = design_to_json(design)
    assert type(design_from_json(text).steps["t"].unit) is Tanh
    with pytest.raises(InputError, match=r"there is no unit 'Tanhh'; did you mean 'Tanh'\?; one of an extension"):
        design_from_json(text.replace('"Tanh"', '"Tanhh"'))
    for broken in ("", "[]", '{"inputs": {}}', text.replace('"lanes_out"', '"lanes"')):
        with pytest.raises(InputError, match=r"no record of a design \(.*\); emit the design again"):
            design_from_json(broken)
