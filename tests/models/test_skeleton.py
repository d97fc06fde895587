"""Models without weights: captured from a configuration alone, at any size, and equal in structure to the real ones."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mxhw
from mxhw.errors import InputError
from mxhw.ir.repeated import TRACED
from mxhw.models import load_skeleton
from tests.ir.zoo import LANGUAGE, captured, ids, largest_difference

ROOT = Path(__file__).parents[2]
CONFIGS = Path(__file__).parent / "configs"
# Layers and parameters: the models' own cards (8.03 B, 70.6 B, 46.7 B).
BIG = {
    "llama-3-8b": (32, 8_030_261_248),
    "llama-3-70b": (80, 70_553_706_496),
    "mixtral-8x7b": (32, 46_702_792_704),
}
MEGABYTES = 600
MEASURE = """
import json, sys, time
from mxhw.ir import repeated
from tests.models.peak import peak
from mxhw.models import capture, load_skeleton
import transformers.models.auto.modeling_auto
traced, export = [], repeated.export_model
repeated.export_model = lambda model, *rest: traced.append(len(model.model.layers)) or export(model, *rest)
start = time.process_time()
graph = capture(load_skeleton(sys.argv[1]), sequence=2048)
seconds = time.process_time() - start
blocks = {str(number): len(members) for number, members in graph.blocks.items()}
print(json.dumps([seconds, peak() / 1e6, blocks, graph.parameters, graph.has_weights, graph.macs(), traced]))
"""


def measured(name: str) -> list:
    """Capture in a process of its own: processor seconds, peak memory in megabytes, what the graph says of itself, and
    how many layers were traced."""
    command = [sys.executable, "-c", MEASURE, str(CONFIGS / f"{name}.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", BIG)
def test_big_configurations_are_captured_in_little_memory(name: str) -> None:
    layers, parameters = BIG[name]
    _, peak, blocks, found, has_weights, _, traced = measured(name)
    assert blocks == {"0": layers}
    assert (found, has_weights) == (parameters, False)
    assert traced == [TRACED]
    assert peak <= MEGABYTES


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    LANGUAGE["llama"].build().config.save_pretrained(folder)
    return folder / "config.json"


@pytest.mark.parametrize("name", ["llama", "qwen2", "opt", "gpt2", "gemma2", "gpt_neo"])
def test_a_skeleton_has_the_graph_of_the_model(name: str, tmp_path: Path) -> None:
    model = LANGUAGE[name].build()
    model.config.save_pretrained(tmp_path)
    loaded = load_skeleton(tmp_path, torch.float32)
    graph, real = mxhw.capture(loaded, sequence=12), captured(name)
    assert graph.nodes == real.nodes
    assert graph.parameters == real.parameters
    assert not graph.has_weights
    assert real.has_weights
    assert graph.attributes.keys() == real.attributes.keys()
    assert "meta" not in graph.module.code  # no device of the trace is left


def test_buffers_that_no_checkpoint_holds_are_real(config: Path) -> None:
    buffers = {name: value for name, value in load_skeleton(config).model.named_buffers() if name.endswith("inv_freq")}
    real = dict(LANGUAGE["llama"].build().named_buffers())
    assert buffers
    assert all(torch.equal(value, real[name]) for name, value in buffers.items())


def test_a_graph_runs_once_it_has_weights(config: Path) -> None:
    from mxhw.ir.weightless import assign_tensor

    graph, real = mxhw.capture(load_skeleton(config, torch.float32), sequence=12), captured("llama")
    with pytest.raises(InputError, match=r"has no weights, so it cannot run; capture a directory with safetensors"):
        graph.run(ids(1, 4))
    for target, value in real.attributes.items():
        assign_tensor(graph.module, target, value)
    tokens = ids(2, 9)
    assert graph.has_weights
    assert largest_difference(graph.run(tokens), real.run(tokens)) == 0.0


def test_a_weightless_graph_is_saved_and_loaded(config: Path, tmp_path: Path) -> None:
    graph = mxhw.capture(load_skeleton(config), sequence=12)
    graph.save(tmp_path / "graph")
    again = mxhw.Graph.load(tmp_path / "graph")
    assert again.nodes == graph.nodes
    assert again.parameters == graph.parameters
    assert not again.has_weights
    assert (tmp_path / "graph" / "weights.safetensors").stat().st_size < 1000
    for target, value in graph.attributes.items():
        other = again.attributes[target]
        assert (other.shape, other.dtype, other.stride()) == (value.shape, value.dtype, value.stride())
        assert other.is_meta or torch.equal(other, value)
    content = json.loads((tmp_path / "graph" / "graph.json").read_text())
    absent = next(entry for entry in content["attributes"].values() if "shape" in entry)
    for fault in ({"shape": [-1]}, {"shape": "all"}, {"dtype": "complex256"}):
        spoiled = {**content, "attributes": {"x": {**absent, "tensor": "x", **fault}}}
        (tmp_path / "graph" / "graph.json").write_text(json.dumps(spoiled))
        with pytest.raises(InputError, match="attribute 'x' has no valid shape and dtype"):
            mxhw.Graph.load(tmp_path / "graph")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "^no configuration .*: give a config.json or a directory that holds one"),
        ("{", "cannot be read as JSON"),
        ("[]", "must hold a JSON object"),
        ("{}", "has no model_type"),
        ('{"model_type": "lama"}', "is no model that transformers can build"),
        ('{"model_type": "llama", "auto_map": {"AutoModel": "a.B"}}', "asks for code of its own"),
        ('{"model_type": "llama", "hidden_size": "big"}', "is no model that transformers can build"),
    ],
)
def test_a_bad_configuration_is_told(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=message):
        load_skeleton(tmp_path)


def test_a_buffer_that_is_not_computed_is_found(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import LlamaForCausalLM

    monkeypatch.setattr(LlamaForCausalLM, "initialize_weights", lambda self: None)
    with pytest.raises(InputError, match=r"buffer 'model.rotary_emb.inv_freq' .* is in no checkpoint and not computed"):
        load_skeleton(config)
