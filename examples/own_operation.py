"""An operation of one's own, from a torch module to RTL that equals it, in one file that mxhw is not changed for.

    python examples/own_operation.py --out build/own_operation
    mxhw emit MODEL --extension examples/own_operation.py          # a model of transformers with hidden_act="relu2"

The operation is the squared ReLU of Primer (arXiv 2109.08668), section 3: `relu(x)^2`. What mxhw needs to know of it:

- which modules are one: the class of the module is registered as a kind of node, "squared_relu";
- what every bit is: `SquaredReLU`, an operation of an integer graph, and a lowering from nodes of that kind to it;
- what computes it: `SquaredReLUUnit`, a component, registered for the operation;
- what it costs: an estimate from units that were measured. Its timing is a beat a cycle, which is the default, and the
  choice of its lanes is that of every function.

Then a small MLP with it is captured, quantized, emitted and simulated, and every beat of every step compared.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from amaranth.hdl import Module, Mux, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from torch import Tensor, fx, nn

import mxhw
from mxhw.arithmetic.dataflow import Integers, Operation
from mxhw.arithmetic.functions.elementwise import MultiplySpec, multiply, relu
from mxhw.hardware.structure import Multiply, Unit
from mxhw.ir import Assignment, register_module
from mxhw.passes.emit.dataflow import (
    Placed,
    Port,
    Request,
    emit_dataflow,
    module_name,
    plan_design,
    register_component,
    register_options,
    register_record,
)
from mxhw.passes.transform.lower import Lowering, calibrate, integer_inputs, lower_graph, register_lowering
from mxhw.rtl_templates.function import Pipeline
from mxhw.rtl_templates.integer import round_shift, saturate
from mxhw.sim import DataflowResult, run_dataflow


class Squared(nn.Module):
    """What the model has."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x).square()


@dataclass(frozen=True, eq=False, kw_only=True)
class SquaredReLU(Operation):
    """`sat(rsr(relu(x)^2, shift))`: what every bit is."""

    kind: ClassVar[str] = "squared_relu"
    x: Integers
    y: Integers

    @property
    def spec(self) -> MultiplySpec:
        x, y = self.x, self.y
        return MultiplySpec.of(
            x.exponent, x.exponent, y.exponent, left_bits=x.bits, right_bits=x.bits, output_bits=y.bits
        )

    @property
    def inputs(self) -> tuple[Integers]:
        return (self.x,)

    @property
    def output(self) -> Integers:
        return self.y

    def run(self, x: Tensor) -> Tensor:
        positive = relu(x)
        return multiply(positive, positive, self.spec)


class SquaredReLUUnit(wiring.Component):
    """One beat a cycle, latency 3: operand, product, rounding."""

    latency = 3

    def __init__(self, *, spec: MultiplySpec, lanes: int) -> None:
        self._spec, self._lanes = spec, lanes
        x, y = (data.ArrayLayout(signed(bits), lanes) for bits in (spec.left_bits, spec.output_bits))
        super().__init__({"x": In(stream.Signature(x)), "y": Out(stream.Signature(y))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        spec = self._spec
        pipeline = Pipeline(m, [self.x], self.y, self.latency)
        for lane in range(self._lanes):
            element = self.x.payload[lane]
            positive = pipeline.register(Mux(element < 0, 0, element).as_signed(), f"positive_{lane}")
            product = pipeline.register((positive * positive)[: spec.product_bits].as_signed(), f"product_{lane}")
            rounded = saturate(round_shift(product, spec.shift), spec.output_bits)
            m.d.comb += self.y.payload[lane].eq(pipeline.register(rounded, f"rounded_{lane}"))
        return m


register_module("Squared|ReLUSquaredActivation", "squared_relu")  # the second one is what transformers calls it


@register_lowering("squared_relu")
def lower_squared_relu(lowering: Lowering, node: fx.Node) -> None:
    """Make a node the operation, in 16 bits, with the exponent that calibration gives its output."""
    stream = lowering.narrow(lowering.operand(node, 0))
    lowering.add(node, SquaredReLU(x=stream.integers, y=lowering.output(node)), stream)


@register_component(SquaredReLU, parallelism=("lanes",))
def place_squared_relu(operation: SquaredReLU, request: Request) -> Placed:
    spec, lanes = operation.spec, request.get("lanes", 1)
    return Placed(
        module=module_name("squared_relu", f"x{lanes}", i=spec.left_bits, o=spec.output_bits, s=spec.shift),
        component=SquaredReLUUnit(spec=spec, lanes=lanes),
        inputs=(Port("x", operation.x, lanes),),
        output=Port("y", operation.y, lanes),
        parallelism={"lanes": lanes},
    )


@register_record(SquaredReLU)
def charge_squared_relu(operation: SquaredReLU, placed: Placed) -> Unit:
    """It costs what a requantized product of two streams does: the ReLU in front is a gate a bit."""
    bits = operation.x.bits
    return Multiply(
        length=operation.x.length,
        lanes=placed.parallelism["lanes"],
        left_bits=bits,
        right_bits=bits,
        output_bits=operation.y.bits,
    )


@register_options(SquaredReLU)
def options_of_squared_relu(operation: SquaredReLU) -> list[dict[str, int]]:
    return [{"lanes": lanes} for lanes in (1, 2, 4) if operation.x.length % lanes == 0]


def run(out: Path, *, stall: float = 0.3) -> DataflowResult:
    """Capture, quantize, emit and simulate an MLP that has the operation."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), Squared(), nn.Linear(64, 16)).eval()
    graph = mxhw.capture(model, example=torch.zeros(1, 8, 32))
    formats = {key: "bitmod4" if site.operand == "weight" else "int8-e8m0" for key, site in graph.sites.items()}
    ranges = calibrate(graph, torch.randn(4, 8, 32))
    lowered = lower_graph(graph, Assignment(graph.signature.model, formats), ranges)
    platform = mxhw.hardware.load_platform("asap7")
    plan = plan_design(lowered, platform=platform, share=0.01)
    values = integer_inputs(lowered, torch.randn(2, 8, 32))
    sizes = {"parallelism": plan.parallelism, "fifos": plan.depths}
    emit_dataflow(lowered, values, out, name="own_operation", platform=platform, **sizes, force=True)
    return run_dataflow(out, stall=stall)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/own_operation"))
    result = run(parser.parse_args().out)
    print(result.verdict())
    return int(not result.equal)


if __name__ == "__main__":
    sys.exit(main())
