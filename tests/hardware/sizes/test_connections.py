"""Forks, queues and converters of a design are those that its Verilog instantiates."""

import re
from collections import Counter
from collections.abc import Mapping

import pytest

from mxhw.errors import InputError
from mxhw.hardware.sizes import unit_sizes
from mxhw.hardware.sizes.connections import connections, design_logic, output_beat
from mxhw.hardware.structure import Converter, Design, Fifo, Fork, Step, Unit
from mxhw.passes.emit.dataflow.costed import design_of
from mxhw.passes.emit.dataflow.modules import Modules
from mxhw.passes.emit.dataflow.names import stream_names
from mxhw.passes.emit.dataflow.place import input_lanes, place_graph
from mxhw.passes.emit.dataflow.top import Depths, Top, top_verilog
from tests.hardware.sizes.test_sizes import Platform
from tests.passes.emit.dataflow.blocks import BlockShape, decoder_block

WIDE = {"q_proj": {"columns": 4, "lanes": 2}, "values": {"lanes": 4, "output_lanes": 2}, "scores": {"lanes": 2}}
DEEP = {("input_layernorm", "q_proj.quantize"): 40, ("x", "residual_1"): 0, ("act", "mul"): 5}
DIALECT = ("dialect4-online", "dialect4")


@pytest.mark.parametrize(
    ("shape", "sizes", "depths"),
    [(BlockShape(), {}, {}), (BlockShape(), WIDE, DEEP), (BlockShape(hidden=64, ffn=96, formats=DIALECT), {}, {})],
)
def test_connections_are_those_of_the_verilog(
    shape: BlockShape, sizes: Mapping[str, Mapping[str, int]], depths: Depths
) -> None:
    graph = decoder_block(shape)
    placed = place_graph(graph, sizes)
    design = design_of(graph, placed, depths)
    for name, step in design.steps.items():
        assert output_beat(step).payload == placed[name].output.bits
    images = {name: dict.fromkeys(("",), "") for name in graph.steps}
    top = Top(graph, placed, stream_names([*graph.inputs, *graph.steps]), input_lanes(graph, placed), depths, images)
    text = top_verilog(top, Modules(), "block", [])
    found = Counter(map(_module, connections(design)))
    assert found == Counter(re.findall(r"^    mxhw_((?:fork|fifo|lanes)_\w*) ", text, re.MULTILINE))


def _module(unit: Unit) -> str:
    """Return the name of a record's module; see :class:`mxhw.passes.emit.dataflow.modules.Modules`."""
    match unit:
        case Fork():
            return f"fork_{unit.bits}x{unit.readers}"
        case Fifo():
            return f"fifo_{unit.bits}x{unit.depth}"
        case Converter():
            beside = f"_b{unit.beside_bits}" if unit.beside_bits else ""
            return f"lanes_{unit.element_bits}_{unit.given}to{unit.lanes}{beside}"
    raise AssertionError(unit)


def test_a_design_is_its_units_and_what_connects_them() -> None:
    graph = decoder_block(BlockShape())
    design, platform = design_of(graph, place_graph(graph)), Platform("ecp5")
    units = [*(step.unit for step in design.steps.values()), *connections(design)]
    for name in ("lut", "ff", "dsp"):
        total = sum(unit_sizes(unit, platform)[name] for unit in units)  # type: ignore[arg-type]
        assert design_logic(design, platform)[name] == pytest.approx(total)  # type: ignore[arg-type]


class Odd(Unit):
    """A record that does not say what it gives."""


def test_a_record_that_does_not_say_what_it_gives_is_refused() -> None:
    step = Step("odd", "odd", Odd(), ("x",), (1,), 1)
    with pytest.raises(InputError, match="step odd: the beats of Odd are not known"):
        list(connections(Design({"x": 1}, {"odd": step, "next": Step("next", "", Odd(), ("odd",), (1,), 1)}, ())))
