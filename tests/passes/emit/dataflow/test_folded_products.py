"""Products that layers share, from the operation to the emitted design: streams, cycles, images, resources."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mxhw.arithmetic.dataflow import Folded, Indices, IntegerGraph, Integers, Linear, Quantize, Step, code_stream
from mxhw.arithmetic.dataflow.products import share_products
from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.hardware import load_platform
from mxhw.hardware.platform import memory_sizes
from mxhw.hardware.sizes import NOTHING
from mxhw.passes.emit.dataflow import emit_dataflow
from mxhw.passes.emit.dataflow.balance import balance, step_options
from mxhw.passes.emit.dataflow.costed import record_of
from mxhw.passes.emit.dataflow.emit import EmittedDesign
from mxhw.passes.emit.dataflow.place import Placed, place_graph
from mxhw.passes.emit.dataflow.resources import step_resources
from mxhw.passes.emit.dataflow.schedule import step_interval
from mxhw.passes.emit.dataflow.timing import Work, time_component
from mxhw.sim import lint
from mxhw.sim.dataflow import run_dataflow
from mxhw.sim.performance.events import Events, IntArray
from tests.rtl_templates.bank import Bench

X = Integers(length=20, bits=16, exponent=-12)
N, LAYERS, TOKENS = 6, 3, 16
LAYER = Indices(count=LAYERS)
MIXED = "bitmod4-g16", "bitmod3-g16", "bitmod4-g16"
DIALECTS = ("dialect4",) * LAYERS
ASAP7, ECP5 = load_platform("asap7"), load_platform("ecp5-85")


def folded(x_format: str, w_formats: tuple[str, ...]) -> Folded:
    """Products with weights of all sizes; the vectors fill no whole group."""
    generator = torch.Generator().manual_seed(7)
    x = code_stream(parse_format(x_format), X)
    weights = (torch.randn(N, X.length, generator=generator) * 3**layer for layer in range(len(w_formats)))
    members = [
        Linear.of(weight, x, parse_format(x_format), parse_format(fmt))
        for weight, fmt in zip(weights, w_formats, strict=True)
    ]
    return Folded(members=share_products(members))


def graph() -> IntegerGraph:
    """Two products that read one stream of vectors and one of layers."""
    steps = []
    for name, x_format, w_formats in (
        ("mixed", "int8-e8m0", MIXED),
        ("dialect", "dialect4-online", DIALECTS),
    ):
        product = folded(x_format, w_formats)
        quantize = Quantize(x=X, y=product.inputs[0])  # type: ignore[arg-type]
        steps.append(Step(f"{name}.quantize", name, quantize, ("x",)))
        steps.append(Step(name, name, product, (f"{name}.quantize", "layer")))
    return IntegerGraph({"x": X, "layer": LAYER}, steps, ["mixed", "dialect"])


def drawn() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randint(-32767, 32768, (1, TOKENS, X.length), generator=generator)
    return {"x": x, "layer": torch.randint(LAYERS, (1, TOKENS), generator=generator)}


@pytest.fixture(scope="module")
def design(tmp_path_factory: pytest.TempPathFactory) -> EmittedDesign:
    folder = tmp_path_factory.mktemp("folded") / "design"
    sizes = {"mixed": {"columns": 2, "lanes": 4}, "dialect": {"columns": 3, "lanes": 2}}
    return emit_dataflow(graph(), drawn(), folder, name="folded", parallelism=sizes)


def test_every_stream_is_what_the_software_says_in_the_predicted_cycles(design: EmittedDesign) -> None:
    for stall, seed in ((0.0, 0), (0.4, 1), (0.4, 2)):
        result = run_dataflow(design.folder, stall=stall, seed=seed)
        assert result.equal, str(result.first)
        assert stall or result.cycles == design.design.cycles
    assert lint([design.folder / source for source in design.design.sources], design.design.top) == ""


@pytest.mark.parametrize("step", ["mixed", "dialect"])
def test_layers_in_each_other_s_place_are_found(design: EmittedDesign, step: str, tmp_path: Path) -> None:
    shutil.copytree(design.folder, tmp_path / "damaged")
    path = tmp_path / "damaged" / "images" / f"{step}.weights.hex"
    words = path.read_text().splitlines()
    layer = len(words) // LAYERS
    path.write_text("\n".join([*words[layer : 2 * layer], *words[:layer], *words[2 * layer :], ""]))
    result = run_dataflow(tmp_path / "damaged")
    assert not result.equal
    assert str(result.first).startswith(f"step {step} ")


def placed_alone(product: Folded, **sizes: int) -> Placed:
    types = dict(zip(("x", "layer"), product.inputs, strict=True))
    return place_graph(IntegerGraph(types, [Step("s", "s", product, ("x", "layer"))], ["s"]), {"s": sizes})["s"]


def leaving(product: Folded, placed: Placed, comes: IntArray, late: int = 0) -> list[int]:
    """The cycles in which sums leave, if the numbers of layers are there ``late`` cycles after ``comes``."""
    events = Events()
    component = time_component(events, Work("unit", product, placed, np.arange(TOKENS)))
    arrives = events.series("arrives", TOKENS)
    events.gaps(arrives, np.diff(comes, prepend=comes[0]))
    events.after(component.inputs[1].needed, arrives, int(comes[0]) + late)
    found: list[int] = events.earliest()[component.output].tolist()
    return found


def test_every_beat_comes_when_its_layer_lets_it() -> None:
    """Numbers that come late, and at irregular times: each sum leaves in the very cycle that the rule says."""
    products = {"mixed": folded("int8-e8m0", MIXED), "dialect": folded("dialect4-online", DIALECTS)}
    placed = {
        "mixed": placed_alone(products["mixed"], columns=2, lanes=4),
        "dialect": placed_alone(products["dialect"], columns=3, lanes=2),
    }
    bench = Bench({name: each.component for name, each in placed.items()})
    for name, product in products.items():
        period = int(step_interval(product, placed[name])) + 3
        # The first one comes when the buffer of x is full.
        later = np.random.default_rng(5).integers(0, 9, TOKENS).cumsum()
        comes = 20 + np.arange(TOKENS) * period + later
        expected = leaving(product, placed[name], comes)
        cycles = np.arange(expected[-1] + 5)
        ports = {
            "x__valid": [1] * len(cycles),
            "x__payload": [0] * len(cycles),
            "layer__valid": np.isin(cycles, comes).astype(int).tolist(),
            "layer__payload": [1] * len(cycles),
            "y__ready": [1] * len(cycles),
        }
        found = bench.trace({name: ports})[name]["y__valid"].nonzero()[0].tolist()
        assert found == expected
        assert found != leaving(product, placed[name], comes, late=1)


def test_an_interval_is_that_of_one_layer() -> None:
    for x_format, w_formats in (("int8-e8m0", MIXED), ("dialect4-online", DIALECTS)):
        product = folded(x_format, w_formats)
        widest = product.first
        alone = place_graph(IntegerGraph({"x": widest.inputs[0]}, [Step("s", "s", widest, ("x",))], ["s"]))["s"]
        assert step_interval(product, placed_alone(product)) == step_interval(widest, alone)


def test_a_product_of_several_layers_takes_the_array_once_and_all_memories() -> None:
    for platform in (ASAP7, ECP5):
        for x_format, w_formats in (("int8-e8m0", MIXED), ("dialect4-online", DIALECTS)):
            product, several = folded(x_format, w_formats), {}
            placed = placed_alone(product)
            alone = place_graph(IntegerGraph({"x": product.inputs[0]}, [Step("s", "s", product.first, ("x",))], ["s"]))
            for inside in (True, False):
                one = step_resources(product.first, alone["s"], platform, weights_inside=inside)
                several[inside] = step_resources(product, placed, platform, weights_inside=inside)
            # The array is there once, whose layers are counted, and takes the exponents of all of them.
            assert all(several[False][name] >= one[name] - 1e-6 for name in platform.budget)
            if w_formats is MIXED:
                assert all(several[False][name] <= 1.1 * one[name] for name in platform.budget)
            kept = [each for each in record_of(product, placed).memories() if each.name in ("weights", "metadata")]
            memories = sum((memory_sizes(each, platform) for each in kept), NOTHING)
            for name in platform.budget:
                assert several[True][name] - several[False][name] == pytest.approx(memories[name], abs=1e-6)
            single = [each for each in record_of(product.first, alone["s"]).memories() if each.name == "weights"]
            assert kept[0].words == LAYERS * single[0].words


def test_a_type_that_none_of_the_formats_has_is_costed_as_itself() -> None:
    """FP3 and INT3 share an array of INT4."""
    mixed, int4 = folded("int8-e8m0", ("bitmod3-g16", "int3-g16-s8")), folded("int8-e8m0", ("int4-g16-s8",) * 2)
    areas = [step_resources(each, placed_alone(each), ASAP7)["area"] for each in (mixed, int4)]
    assert areas[0] == pytest.approx(areas[1], rel=0.01)  # sums are a bit narrower, by what the weights are


def test_sizes_are_chosen_under_a_budget() -> None:
    made = graph()
    large = balance(made, ASAP7)
    small = balance(made, ASAP7.with_budget(area=large.total["area"] * 0.8))
    assert large.interval < small.interval
    assert {"columns", "lanes"} <= set(large.parallelism["mixed"])
    assert len(step_options(made.steps["mixed"], ASAP7)) > 2
    # 6 rows of 32 codes of 4 bits, with 10 bits beside each of two groups, or 9 beside a block; a token meets one layer
    # each time that it passes.
    mixed, dialect = 6 * (32 * 4 + 2 * 10), 6 * (32 * 4 + 9)
    for times in (1, LAYERS):
        behind = balance(made, ASAP7, weight_port=1, times={"mixed": times})
        assert behind.intervals["mixed"] == times * mixed + dialect


def test_one_row_and_at_least_two_layers() -> None:
    with pytest.raises(InputError, match="rows must be 1 for a unit of several layers, not 2"):
        placed_alone(folded("int8-e8m0", MIXED), rows=2)
    with pytest.raises(InputError, match="needs at least two of them"):
        placed_alone(folded("int8-e8m0", MIXED[:1]))
