"""Activity of an emitted design: every register is found, its toggles are those that its data makes."""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest

from mxhw.arithmetic.dataflow import Add, IntegerGraph, Integers, Step
from mxhw.arithmetic.functions.elementwise import AddSpec
from mxhw.errors import InputError
from mxhw.passes.emit.dataflow.emit import emit_dataflow
from mxhw.sim.activity import RANDOM_RATE, Activity, measure_activity, write_activity
from mxhw.sim.dataflow_design import DataflowDesign
from mxhw.sim.streams import SimulationError
from tests.passes.emit.dataflow.graphs import drawn, mlp

LENGTH, TOKENS = 16, 64


@dataclass(frozen=True)
class Made:
    """A design, and what it does with the beats beside it."""

    folder: Path

    @cached_property
    def design(self) -> DataflowDesign:
        return DataflowDesign.load(self.folder)

    @cached_property
    def own(self) -> Activity:
        return measure_activity(self.folder)

    def zeros(self) -> Activity:
        beats = {name: np.zeros(port.count, np.uint64) for name, port in self.design.inputs.items()}
        return measure_activity(self.folder, inputs=beats)

    def random(self) -> Activity:
        rng = np.random.default_rng(0)
        return measure_activity(
            self.folder,
            inputs={
                name: rng.integers(0, 1 << port.width, port.count, dtype=np.uint64)
                for name, port in self.design.inputs.items()
            },
        )


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A sum of two streams, a beat a cycle."""
    left, right = (Integers(length=LENGTH, bits=bits, exponent=-12) for bits in (24, 16))
    operation = Add(x=left, right=right, y=left, spec=AddSpec.of(left.exponent, right.exponent))
    graph = IntegerGraph({"left": left, "right": right}, [Step("sum", "sum", operation, ("left", "right"))], ["sum"])
    folder = tmp_path_factory.mktemp("added") / "design"
    emit_dataflow(graph, drawn(graph, TOKENS), folder, name="added")
    return Made(folder)


def test_random_data_toggles_every_second_cycle_and_constants_never(added: Made) -> None:
    (name,) = added.own.steps
    random, zeros = added.random().steps[name], added.zeros().steps[name]
    assert random.bits == zeros.bits == added.own.steps[name].bits
    # Of two FIFOs of two registers a stream without stalls uses one; then operands and sum.
    used = (24 + 16) + (24 + 16) + 24
    assert random.toggles == pytest.approx(RANDOM_RATE * used * random.cycles, rel=0.03)
    assert zeros.toggles < 0.05 * random.toggles
    assert random.relative == random.rate / 0.5 < 1
    assert zeros.toggles < added.own.steps[name].toggles <= 1.1 * random.toggles


def test_a_bit_that_toggles_every_cycle_is_counted_every_cycle(added: Made) -> None:
    """One bit of one input: in its FIFO, as an operand, in the sum."""
    count = added.design.inputs["left"].count
    beats = {"left": np.arange(count, dtype=np.uint64) % 2, "right": np.zeros(count, np.uint64)}
    found = measure_activity(added.folder, inputs=beats).total.toggles - added.zeros().total.toggles
    assert found == pytest.approx(3 * count, abs=8)


def declared_bits(folder: Path, design: DataflowDesign) -> dict[str, int]:
    """Registers of each step by their declarations, in modules that hold other ones: another way to count them.

    Not of `mxhw_ram`, whose width is a parameter: its output register is declared where it is used.
    """
    texts = "\n".join((folder / source).read_text() for source in design.sources).replace("\\", "")
    own, inside = {}, {}
    for module, body in re.findall(r"^module ([^\s(]+)(.*?)^endmodule", texts, re.MULTILINE | re.DOTALL):
        clocked = set(re.findall(r"^\s+(\S+?) *(?:\[[^\]]*\])? *<=", body, re.MULTILINE))
        declared = re.findall(r"^\s*reg (?:signed )?(?:\[(\d+):0\] )?(\S+) *(?:=.*)?;", body, re.MULTILINE)
        own[module] = sum(int(high or 0) + 1 for high, name in declared if name in clocked)
        inside[module] = re.findall(r"^\s*(mxhw\S+) +(?:#\([^;]*?\n\s*\) )?(\w\S*) +\(\n", body, re.MULTILINE)
        own[module] += sum(map(int, re.findall(r"mxhw_ram #\([^;]*?\.WIDTH\((?:32'd)?(\d+)\)", body)))

    def bits(module: str) -> int:
        return own.get(module, 0) + sum(bits(each) for each, _ in inside.get(module, ()))

    found: dict[str, int] = {}
    for module, instance in inside[design.top]:
        step = instance.partition("__")[0]
        found[step] = found.get(step, 0) + bits(module)
    return found


def test_every_register_is_found(added: Made) -> None:
    assert {name: step.bits for name, step in added.own.steps.items()} == declared_bits(added.folder, added.design)


@pytest.mark.slow
def test_every_register_of_a_design_with_memories_is_found(tmp_path: Path) -> None:
    graph = mlp()
    emit_dataflow(graph, drawn(graph, 8), tmp_path / "design", name="active")
    made = Made(tmp_path / "design")
    assert {name: step.bits for name, step in made.own.steps.items()} == declared_bits(made.folder, made.design)
    zeros, own, random = (each.total.rate for each in (made.zeros(), made.own, made.random()))
    assert zeros < 0.4 * own
    assert own < RANDOM_RATE
    assert random > 3 * zeros
    # Weights go through an array whatever it multiplies them by; what only sees its input stands.
    assert made.zeros().steps["mlp_gate_proj_quantize"].rate < 0.1 * made.own.steps["mlp_gate_proj_quantize"].rate


def test_it_is_written_beside_the_design(added: Made) -> None:
    record = json.loads(write_activity(added.folder, added.own).read_text())
    assert record["hash"] == added.design.hash
    assert record["steps"]["sum"]["toggles"] == added.own.steps["sum"].toggles
    total = record["total"]
    assert total["rate"] == pytest.approx(total["toggles"] / total["bits"] / record["cycles"])
    with pytest.raises(InputError, match="cannot write"):
        write_activity(added.folder / "nowhere", added.own)


def test_a_design_that_computes_wrong_has_no_activity(added: Made, tmp_path: Path) -> None:
    """Its own beats are compared, so that what is counted is the design's work."""
    folder = tmp_path / "wrong"
    for file in [path for path in added.folder.rglob("*") if path.is_file()]:
        target = folder / file.relative_to(added.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    beats = folder / added.design.steps[0].beats
    lines = beats.read_text().splitlines()
    beats.write_text("\n".join([f"{int(lines[0], 16) ^ 1:x}", *lines[1:], ""]))
    with pytest.raises(SimulationError, match="tap_sum differs from the software"):
        measure_activity(folder)
    with pytest.raises(InputError, match="there is no input stream 'z'"):
        measure_activity(added.folder, inputs={"z": [0]})
