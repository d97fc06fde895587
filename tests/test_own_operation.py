"""The example of a user's own operation: through capture, quantize, emit and co-simulation, without mxhw knowing it.

What the example registers reaches no other test: it is run in a process of its own, or taken back.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from mxhw import capture, extensions
from mxhw.formats import load_extension
from mxhw.hardware import load_platform
from mxhw.ir import Assignment
from mxhw.passes.emit.dataflow import plan_design
from mxhw.passes.transform.lower import calibrate, lower_graph
from mxhw.sim import DataflowDesign
from tests.cli.conftest import Ran, mxhw_command

command = mxhw_command  # a fixture, here too
ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "own_operation.py"
REGISTERED = ("Squared|ReLUSquaredActivation", "squared_relu", "SquaredReLU")
ROUNDED = "return multiply(positive, positive, self.spec)"
CUT = "return multiply(positive, positive, self.spec).sub((positive * positive >> self.spec.shift - 1) & 1)"


# The file fails once, at its end; what it had registered then would be there twice.
FAIL = """
import json, sys
from mxhw.errors import InputError
from mxhw.formats import load_extension

try:
    load_extension(sys.argv[1])
except InputError as error:
    assert "RuntimeError: late" in str(error), error
else:
    raise AssertionError("the file does not fail")
print(json.dumps(load_extension(sys.argv[2])))
"""


def python(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT)


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take back what is registered."""
    before = [(registry, registry.state()) for registry in extensions._registries]
    monkeypatch.setattr(extensions, "_loaded", {})
    yield
    for registry, state in before:
        registry.restore(state)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    folder = tmp_path_factory.mktemp("own") / "design"
    return python(EXAMPLE, "--out", folder), folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of transformers whose activation is the operation."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 16}
    folder = tmp_path_factory.mktemp("relu2") / "model"
    config = LlamaConfig(**sizes, **heads, hidden_act="relu2", initializer_range=0.3)
    LlamaForCausalLM(config).save_pretrained(folder)
    np.save(folder.parent / "ids.npy", torch.randint(0, 64, (64,)).numpy())
    return folder


def test_every_beat_of_the_example_is_the_softwares(made: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    ran, folder = made
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.endswith("equal, bit for bit\n")
    (step,) = [step for step in DataflowDesign.load(folder).steps if step.kind == "squared_relu"]
    assert step.name == "1"
    assert step.module.startswith("mxhw_squared_relu_x")
    assert (folder / "modules" / f"{step.module}.v").is_file()
    assert step.count == 2 * 8 * 64 // step.parallelism["lanes"]


@pytest.mark.usefixtures("apart")
def test_its_node_its_choices_and_its_estimate_are_its_own() -> None:
    assert load_extension(EXAMPLE) == REGISTERED
    (own,) = [module for name, module in sys.modules.items() if name.startswith("mxhw_extension_own_operation")]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), own.Squared(), nn.Linear(64, 16)).eval()
    graph = capture(model, example=torch.zeros(1, 8, 32))
    info = graph.nodes["1"]
    assert (info.op, info.target, info.macs) == ("squared_relu", "body", 0)
    formats = {key: "bitmod4" if site.operand == "weight" else "int8-e8m0" for key, site in graph.sites.items()}
    assignment = Assignment(graph.signature.model, formats)
    lowered = lower_graph(graph, assignment, calibrate(graph, torch.randn(4, 8, 32)))
    assert type(lowered.steps["1"].operation) is own.SquaredReLU
    wide, narrow = (plan_design(lowered, platform=load_platform("asap7"), share=share) for share in (1.0, 0.01))
    lanes = [plan.parallelism["1"]["lanes"] for plan in (wide, narrow)]
    area = [plan.resources["1"]["area"] for plan in (wide, narrow)]
    assert lanes[0] > lanes[1]
    assert area[1] > 0
    assert area[0] / area[1] == pytest.approx(lanes[0] / lanes[1])


def test_arithmetic_that_rounds_otherwise_is_found_at_its_step(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    assert text.count(ROUNDED) == 1
    copy = tmp_path / "own_operation.py"
    copy.write_text(text.replace(ROUNDED, CUT))
    ran = python(copy, "--out", tmp_path / "design")
    assert ran.returncode == 1, ran.stderr
    assert "first difference: step 1 " in ran.stdout


@pytest.mark.usefixtures("apart")
def test_a_model_of_transformers_is_emitted_with_it_and_evaluated(
    command: Callable[..., Ran], model: Path, tmp_path: Path
) -> None:
    text = model.parent / "ids.npy"
    words = ("emit", model, "--out", tmp_path / "out", "--tokens", 8, "--text", text, "--calibration", text, "--json")
    refused = command(*words)
    assert refused.code == 2
    assert "act model.layers.0.mlp.act_fn: only SiLU, GELU and ReLU have integers" in refused.err
    ran = command(*words, "--extension", EXAMPLE)
    assert ran.code == 0, ran.err
    kinds = {step["name"]: step["kind"] for step in ran.json["steps"]}
    assert kinds["model.layers.0.mlp.act_fn"] == "squared_relu"
    given = ("--text", text, "--context", 8, "--windows", 2, "--arithmetic", "float", "--json", "--extension", EXAMPLE)
    ran = command("evaluate", model, *given)
    assert ran.code == 0, ran.err
    assert ran.json["scores"]["float emulation"]["kl"] > 0


def test_a_file_that_fails_leaves_no_operation(tmp_path: Path) -> None:
    copy = tmp_path / "own.py"
    copy.write_text(EXAMPLE.read_text().replace("def run(", "raise RuntimeError('late')\n\n\ndef run("))
    ran = python("-c", FAIL, copy, EXAMPLE)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == list(REGISTERED)
