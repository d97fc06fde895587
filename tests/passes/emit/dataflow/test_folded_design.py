"""Units that layers share, in designs: names of modules, resources, what is refused, cycles of a whole design."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mxhw.arithmetic.dataflow import (
    Bias,
    Folded,
    Indices,
    IntegerGraph,
    Requantize,
    RMSNorm,
    Step,
)
from mxhw.arithmetic.functions.requantize import RequantizeSpec
from mxhw.errors import InputError
from mxhw.hardware import load_platform
from mxhw.passes.emit.dataflow.balance import step_options
from mxhw.passes.emit.dataflow.emit import emit_dataflow
from mxhw.passes.emit.dataflow.fifos import fifo_depths, sizing_positions
from mxhw.passes.emit.dataflow.place import Placed, place_graph
from mxhw.passes.emit.dataflow.resources import step_resources
from mxhw.passes.emit.dataflow.schedule import TimedGraph
from mxhw.rtl_templates.dataflow import BiasUnit
from mxhw.rtl_templates.emission import modules_verilog
from mxhw.rtl_templates.function import requantize as requantize_module
from mxhw.sim.dataflow import run_dataflow
from tests.passes.emit.dataflow.layers import (
    LARGEST,
    Case,
    alone,
    bias,
    integers,
    layer_norm,
    placed,
    placed_one,
    random,
    requantize,
    rms_norm,
    scaled,
    stimulus,
)


def test_names_say_all_that_decides_a_text_and_constants_do_not() -> None:
    found: dict[str, list[Placed]] = {}
    functions = (
        *(scaled(300, 65535), scaled(65535, 777), scaled(65535, 300, 20), scaled(65535), alone(300, 65535)),
        *(alone(65535, 4), alone(300, 300), alone(40000, 40000), alone(40000, 40000, 40000)),
        *(bias((100,) * 4, (101,) * 4), bias((100, 101, 1, 1), (99, 7, 7, 7)), bias((100,) * 4, (100,) * 4)),
    )
    norms = rms_norm(*random(1, 2, 4)), rms_norm(*random(5, 2, 4)), layer_norm(*random(1, 2, 4))
    for case in (*(Case(each, lanes) for lanes in (1, 2) for each in functions), *(Case(each, 2) for each in norms)):
        unit = placed(case)
        found.setdefault(unit.module, []).append(unit)
        assert placed_one(case.operation.first, case.lanes).module not in found
    assert {len(units) for units in found.values()} == {1, 2}
    texts: dict[str, str] = {}
    for index in (0, 1):
        made = modules_verilog({name: units[index].component for name, units in found.items() if len(units) > index})
        for name, (text, _) in made.items():
            assert texts.setdefault(name, text) == text
    assert len({text.replace(name, "") for name, text in texts.items()}) == len(texts)


def test_layers_that_cannot_share_a_unit_are_refused() -> None:
    x, y = integers(4, 26), integers(4, 16)
    with pytest.raises(InputError, match="must be equal in shift: it is 24 in layer 0, 25 in layer 1"):
        spec = RequantizeSpec(multipliers=(3,), largest=LARGEST, shift=25)
        placed(Case(Folded(members=(requantize((3,), 4), Requantize(x=x, y=y, spec=spec)))))
    first = rms_norm(torch.ones(4)).first
    with pytest.raises(InputError, match=r"must be equal in epsilon: it is .* in layer 0, 1 in layer 1"):
        other = RMSNorm(x=first.x, y=first.y, spec=replace(first.spec, epsilon=1))  # type: ignore[attr-defined]
        placed(Case(Folded(members=(first, other))))
    with pytest.raises(InputError, match="gains must be 4 in every layer, not 3"):
        other = RMSNorm(x=first.x, y=first.y, spec=replace(first.spec, gains=(1, 2, 3)))  # type: ignore[attr-defined]
        placed(Case(Folded(members=(first, other))))
    single = requantize((3,), 4).spec
    with pytest.raises(InputError, match="channels must be given where every layer has a single multiplier, not None"):
        requantize_module.Requantize(spec=[single, single])
    with pytest.raises(InputError, match="multipliers must be one, or 4, not 2"):
        requantize_module.Requantize(spec=[single, replace(single, multipliers=(1, 2))], channels=4)
    with pytest.raises(InputError, match=r"spec must be a specification, or one per layer, not \[\]"):
        requantize_module.Requantize(spec=[])
    with pytest.raises(InputError, match="values must be a constant per channel in every layer"):
        BiasUnit(values=((1, 2), (1,)))


def test_resources_have_the_constants_of_all_layers() -> None:
    platform = load_platform("asap7")
    rows = [tuple(range(layer, layer + 8)) for layer in range(4)]
    for operation in (scaled(9, 99, 999), bias(*rows), rms_norm(*random(1, 3, 8)), layer_norm(*random(2, 5, 8))):
        shared = step_resources(operation, placed(Case(operation)), platform)["area"]
        first = operation.first
        single = step_resources(first, placed_one(first, 1), platform)["area"]
        both = Folded(members=operation.members[:2])
        two = step_resources(both, placed(Case(both)), platform)["area"]
        assert single < two <= shared < len(operation.members) * single
        step = Step("s", "s", operation, ("x", "layers"))
        assert len({option.sizes["lanes"] for option in step_options(step, platform)}) > 1


def chain() -> IntegerGraph:
    """Norm, bias and requantizer of three layers; the second has other lanes."""
    gains, values = random(8, 3, 8), [tuple((random(seed, 8) * 999).long().tolist()) for seed in range(3)]
    norm = rms_norm(*gains)
    offset = Folded(members=tuple(Bias(x=integers(8, 16), y=integers(8, 26), values=row) for row in values))
    times = scaled(60000, 30000, 65535, length=8)
    steps = [
        Step("norm", "norm", norm, ("x", "layers")),
        Step("bias", "bias", offset, ("norm", "layers")),
        Step("scale", "scale", times, ("bias", "layers")),
    ]
    return IntegerGraph({"x": integers(8, 24), "layers": Indices(count=3)}, steps, ["scale"])


SCARCE = {("layers", "norm"): 8, ("layers", "bias"): 1, ("layers", "scale"): 1}


@pytest.mark.parametrize("given_depths", [None, SCARCE])
def test_a_design_of_shared_units_is_right_and_takes_the_predicted_cycles(
    tmp_path: Path, given_depths: dict[tuple[str, str], int] | None
) -> None:
    """Layers are a stream with three readers, which nobody takes for positions; also where their numbers come late."""
    graph, sizes = chain(), {"bias": {"lanes": 2}}
    units = place_graph(graph, sizes)
    assert sizing_positions(graph, units) == [0] * 12
    depths = fifo_depths(graph, units) if given_depths is None else given_depths
    x, _ = stimulus(graph.steps["norm"].operation, 5, 24)  # type: ignore[arg-type]
    tokens = x.shape[1]
    values = {"x": x, "layers": torch.arange(tokens)[None] * 7 // 5 % 3}
    emit_dataflow(graph, values, tmp_path / "design", name="shared", parallelism=sizes, fifos=depths)
    result = run_dataflow(tmp_path / "design")
    assert result.equal
    cycles = TimedGraph(graph, units, np.arange(tokens), depths).cycles
    assert cycles == result.cycles
    assert (cycles > 1.1 * TimedGraph(graph, units, np.arange(tokens)).cycles) == (depths is SCARCE)
