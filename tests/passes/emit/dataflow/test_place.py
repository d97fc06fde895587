"""Components of steps: which there are, what may be chosen, and what their names promise."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from amaranth.lib import wiring

from mxhw.arithmetic.dataflow import (
    Activation,
    Bias,
    Embedding,
    Indices,
    IntegerGraph,
    Integers,
    LayerNorm,
    Linear,
    Operation,
    Requantize,
    RMSNorm,
    Rope,
    Step,
    code_stream,
)
from mxhw.arithmetic.functions.activation import ActivationSpec
from mxhw.arithmetic.functions.embedding import EmbeddingSpec
from mxhw.arithmetic.functions.layer_norm import LayerNormSpec
from mxhw.arithmetic.functions.requantize import RequantizeSpec
from mxhw.arithmetic.functions.rms_norm import RMSNormSpec
from mxhw.arithmetic.functions.rope import RopeSpec
from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.passes.emit.dataflow import Placed, Port, Request, module_name, place_graph, register_component
from mxhw.passes.emit.dataflow.place import missing_components
from mxhw.rtl_templates.emission import modules_verilog
from mxhw.rtl_templates.function.elementwise import ReLU
from tests.passes.emit.dataflow.graphs import mlp

X = Integers(length=8, bits=16, exponent=-12)
WIDE = Integers(length=8, bits=24, exponent=-16)


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) + 0.5


def rms_norm(seed: int) -> Operation:
    return RMSNorm(x=WIDE, y=X, spec=RMSNormSpec.of(drawn(seed, 8), 1e-5, WIDE.exponent, X.exponent))


def layer_norm(seed: int) -> Operation:
    spec = LayerNormSpec.of(drawn(seed, 8), drawn(seed + 9, 8), 1e-5, WIDE.exponent, X.exponent)
    return LayerNorm(x=WIDE, y=X, spec=spec)


def requantize(seed: int) -> Operation:
    spec = RequantizeSpec.of(drawn(seed, 8), largest=(1 << 23) - 1, input_exponent=-20, output_exponent=-12)
    return Requantize(x=WIDE, y=X, spec=spec)


def bias(seed: int) -> Operation:
    return Bias(x=X, y=X, values=tuple((drawn(seed, 8) * 1000).long().tolist()))


def embedding(seed: int) -> Operation:
    spec = EmbeddingSpec.of(drawn(seed, 5, 8), WIDE.exponent)
    return Embedding(y=WIDE, spec=spec)


def activation(seed: int) -> Operation:
    spec = ActivationSpec(function="silu", exponent=-12 - seed)
    return Activation(x=X, y=Integers(length=8, bits=spec.output_bits, exponent=spec.output_exponent), spec=spec)


def rope(seed: int) -> Operation:
    spec = RopeSpec(head_dim=4, positions=6, theta=10000.0 * (1 + seed))
    return Rope(x=X, y=Integers(length=8, bits=spec.output_bits, exponent=0), spec=spec)


def linear(seed: int) -> Operation:
    formats = parse_format("int8-e8m0"), parse_format("bitmod4")
    return Linear.of(drawn(seed, 8, 8) - 1, code_stream(formats[0], X), *formats)


def dialect(seed: int) -> Operation:
    formats = parse_format("dialect4-online"), parse_format("dialect4")
    return Linear.of(drawn(seed, 8, 8) - 1, code_stream(formats[0], X), *formats)


MAKERS = [rms_norm, layer_norm, requantize, bias, embedding, activation, rope, linear, dialect]


def placed(operation: Operation) -> Placed:
    inputs = {f"x{i}": kind for i, kind in enumerate(operation.inputs)}
    return place_graph(IntegerGraph(inputs, [Step("y", "y", operation, tuple(inputs))], ["y"]))["y"]


def test_equal_names_are_equal_texts_and_other_texts_have_other_names():
    """Constants change what memories hold, or else the name; all modules of one run, as an emission makes them."""
    found = {(make, seed): placed(make(seed)) for make in MAKERS for seed in (0, 1)}
    by_name: dict[str, list[Placed]] = {}
    for component in found.values():
        by_name.setdefault(component.module, []).append(component)
    assert {make.__name__ for make, seed in found if len(by_name[found[make, seed].module]) == 2} >= {
        *("rms_norm", "layer_norm", "embedding", "rope", "linear")
    }
    first = modules_verilog({name: components[0].component for name, components in by_name.items()})
    shared = {name: components[1].component for name, components in by_name.items() if len(components) == 2}
    second = modules_verilog(shared)
    for name, (text, files) in second.items():
        assert text == first[name][0]
        assert files.keys() == first[name][1].keys()
    bodies = {text.replace(name, "") for name, (text, _) in first.items()}
    assert len(bodies) == len(first)


@dataclass(frozen=True, eq=False, kw_only=True)
class Negative(Operation):
    """A user's own operation."""

    kind: ClassVar[str] = "negative"
    x: Integers

    @property
    def inputs(self) -> tuple[Integers]:
        return (self.x,)

    @property
    def output(self) -> Integers:
        return self.x

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return -x


@dataclass(frozen=True, eq=False, kw_only=True)
class Halved(Negative):
    kind: ClassVar[str] = "halved"


def chain(*operations: Operation) -> IntegerGraph:
    names = ["x", *(f"step.{i}" for i in range(len(operations)))]
    steps = [Step(names[i + 1], "n", operation, (names[i],)) for i, operation in enumerate(operations)]
    return IntegerGraph({"x": X}, steps, [names[-1]])


def test_all_operations_without_a_component_are_named_at_once():
    graph = chain(Negative(x=X), activation(0))
    graph = IntegerGraph(
        {"x": X}, [*graph.steps.values(), Step("third", "n", Halved(x=X), ("x",))], ["step.1", "third"]
    )
    assert missing_components(graph) == {"negative": ["step.0"], "halved": ["third"]}
    with pytest.raises(InputError, match=r"halved \(third\); negative \(step\.0\).*register_component"):
        place_graph(graph)


@pytest.fixture
def negative():
    """Its component, registered for one test."""
    from mxhw.passes.emit.dataflow import place

    def build(operation: Negative, request: Request) -> Placed:
        lanes = request.get("lanes", 2)
        return Placed(
            module=module_name("negative", x=operation.x.bits, lanes=lanes),
            component=ReLU(bits=operation.x.bits, lanes=lanes),
            inputs=(Port("x", operation.x, lanes),),
            output=Port("y", operation.output, lanes),
            parallelism={"lanes": lanes},
        )

    register_component(Negative)(build)
    yield
    del place._BUILDERS.entries[False, Negative]


def test_a_users_component_serves_its_class_and_subclasses(negative):
    found = place_graph(chain(Negative(x=X), Halved(x=X)), {"step.1": {"lanes": 4}})
    assert [component.module for component in found.values()] == [
        "mxhw_negative_x16_lanes2",
        "mxhw_negative_x16_lanes4",
    ]


def test_a_quantizer_gives_what_its_reader_takes():
    found = place_graph(mlp(), {"mlp.up_proj": {"lanes": 8}, "mlp.down_proj.quantize": {"lanes": 2}})
    lanes = {name: component.output.lanes for name, component in found.items() if name.endswith(".quantize")}
    assert lanes == {"mlp.gate_proj.quantize": 4, "mlp.up_proj.quantize": 8, "mlp.down_proj.quantize": 2}


@pytest.mark.parametrize(
    ("parallelism", "said"),
    [
        ({"mlp.gate_prj": {"lanes": 2}}, "no step 'mlp.gate_prj' to choose a parallelism for.*mlp.gate_proj"),
        ({"norm": {"rows": 2}}, r"step norm \(rms_norm\) lets lanes be chosen, not 'rows'"),
        ({"norm": {"lanes": 0}}, "lanes of step norm must be an integer of at least 1, not 0"),
        ({"norm": {"lanes": 5}}, "step norm: lanes must be a divisor of the length of 16, not 5"),
        ({"mlp.gate_proj": {"columns": 7}}, "step mlp.gate_proj: columns must be a divisor of the 24 outputs, not 7"),
    ],
)
def test_impossible_parallelism_names_step_and_bound(parallelism, said):
    with pytest.raises(InputError, match=said):
        place_graph(mlp(), parallelism)


def test_a_component_with_other_streams_than_its_operation_is_refused(negative):
    def wrong(operation: Negative, request: Request) -> Placed:
        port = Port("x", operation.x, 2)
        component: wiring.Component = ReLU(bits=operation.x.bits, lanes=1)
        return Placed(module="m", component=component, inputs=(port,), output=port, parallelism={"lanes": 2})

    register_component(Negative)(wrong)
    with pytest.raises(InputError, match="x of m has payloads of 16 bits, its stream of 32"):
        place_graph(chain(Negative(x=X)))


def test_indices_have_no_lanes():
    assert Port("x", Indices(count=9)).bits == 4
