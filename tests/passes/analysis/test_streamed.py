"""Streaming block by block gives the numbers of the in-memory run, and takes the memory of two blocks."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mxhw.errors import InputError
from mxhw.ir import Assignment, Graph
from mxhw.models import capture, load_model, stream_model
from mxhw.passes.analysis import (
    Calibrate,
    CalibrateConfig,
    QualityEvaluator,
    design_cost,
    streamed_calibration,
    streamed_quality,
)
from mxhw.passes.transform import Quantize, QuantizeConfig
from tests.ir.zoo import LANGUAGE, ids
from tests.models.large import LAYERS, save_large_model

TOKENS = 8
NAMES = ["llama", "qwen2", "opt"]  # tied by its config; tied or not by default; learned positions and biases
ROOT = Path(__file__).parents[3]
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories of several shards, as `save_pretrained` writes them."""
    made = {}
    for name in NAMES:
        torch.manual_seed(5)
        model = LANGUAGE[name].build()
        if name == "qwen2":
            model.config.tie_word_embeddings = True
            model = type(model)(model.config)
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
        made[name] = tmp_path_factory.mktemp(name)
        model.save_pretrained(made[name], max_shard_size="20KB")
        assert len(list(made[name].glob("*.safetensors"))) > 2
    return made


def uniform(graph: Graph, weights: str, inputs: str) -> Assignment:
    formats = {key: weights if site.operand == "weight" else inputs for key, site in graph.sites.items()}
    return Assignment("tiny", formats)


@pytest.mark.parametrize("name", NAMES)
def test_streamed_scores_are_those_in_memory(name: str, folders: dict[str, Path]) -> None:
    windows = ids(3, TOKENS)
    graph, model = capture(load_model(folders[name]), sequence=TOKENS), stream_model(folders[name], sequence=TOKENS)
    assert not model.graph.has_weights
    given = uniform(graph, "bitmod4", "int8-e8m0")
    designs = {
        arithmetic: QuantizeConfig(assignment=given, arithmetic=arithmetic) for arithmetic in ("float", "hardware")
    }
    found = streamed_quality(model, windows, designs, bytes_per_token=1.0)
    evaluator = QualityEvaluator(graph, windows, bytes_per_token=1.0)
    assert found.reference == evaluator.reference()
    for arithmetic, config in designs.items():
        result = Quantize(config)(graph)
        assert found.qualities[arithmetic] == evaluator(result.graph)
        assert found.reports[arithmetic]["weights"] == result.report["weights"]
        assert found.reports[arithmetic].get("mac_coverage") == result.report.get("mac_coverage")
    assert found.qualities["float"] != found.reference  # the design does change the numbers


@pytest.mark.parametrize("name", NAMES)
def test_streamed_calibration_is_that_in_memory(name: str, folders: dict[str, Path]) -> None:
    config = CalibrateConfig(windows=ids(2, TOKENS))
    whole = Calibrate(config)(capture(load_model(folders[name]), sequence=TOKENS))
    streamed = streamed_calibration(stream_model(folders[name], sequence=TOKENS), config)
    assert streamed.graph.sites == whole.graph.sites
    assert streamed.report == whole.report


def test_other_types_are_converted_part_by_part(folders: dict[str, Path], tmp_path: Path) -> None:
    load_model(folders["llama"], torch.bfloat16).model.save_pretrained(tmp_path, max_shard_size="20KB")
    windows = ids(2, TOKENS)
    found = streamed_quality(stream_model(tmp_path, sequence=TOKENS), windows, {})
    assert found.reference == QualityEvaluator(capture(load_model(tmp_path), sequence=TOKENS), windows).reference()


def test_tied_weights_are_one_tensor_in_either_direction(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["llama"], tmp_path / "tied"))
    windows = ids(2, TOKENS)
    before = streamed_quality(stream_model(folder, sequence=TOKENS), windows, {}).reference
    rename(folder, "model.embed_tokens.weight", "lm_head.weight")
    assert streamed_quality(stream_model(folder, sequence=TOKENS), windows, {}).reference == before


def test_a_weight_is_read_from_its_file_when_a_cost_needs_it(folders: dict[str, Path]) -> None:
    from mxhw.hardware import load_platform

    graph, model = (
        capture(load_model(folders["llama"]), sequence=TOKENS),
        stream_model(folders["llama"], sequence=TOKENS),
    )
    given, platform = uniform(graph, "dialect4", "dialect4-online"), load_platform("asap7")
    whole, streamed = (design_cost(each, given, platform, TOKENS) for each in (graph, model.graph))
    assert whole is not None and streamed is not None
    assert streamed.to_json() == whole.to_json()


def edit(folder: Path, name: str, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the shard that holds a tensor, and nothing else."""
    file = folder / json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"][name]
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, {"format": "pt"})


def rename(folder: Path, old: str, new: str) -> None:
    edit(folder, old, lambda tensors: tensors.update({new: tensors.pop(old)}))


def put(name: str, value: torch.Tensor) -> Callable[[Path], None]:
    return lambda folder: edit(folder, name, lambda tensors: tensors.update({name: value}))


def cut(folder: Path) -> None:
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-7])


def only_pickles(folder: Path) -> None:
    for file in (*folder.glob("*.safetensors"), folder / "model.safetensors.index.json"):
        file.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"PK")


NORM = "model.layers.1.input_layernorm.weight"
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda f: edit(f, NORM, lambda tensors: tensors.pop(NORM)), f"lacks weights: {NORM}$"),
    "unexpected": (lambda f: rename(f, NORM, "model.extra"), "lacks weights|has unexpected weights: model.extra"),
    "wrong shape": (put(NORM, torch.ones(7)), rf"has wrongly shaped weights: {NORM} \[7\], not \[32\]"),
    "integers": (put(NORM, torch.ones(32, dtype=torch.int8)), f"weight '{NORM}' in .* is of type I8, not one of"),
    "truncated": (cut, "^weight file .* is truncated"),
    "missing shard": (lambda f: sorted(f.glob("*.safetensors"))[0].unlink(), "^weight file .* is missing"),
    "pickles": (only_pickles, "has only pickled weights"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_checkpoint_is_refused_before_anything_runs(
    fault: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folders["llama"], tmp_path / "faulty"))
    spoil, message = FAULTS[fault]
    spoil(folder)
    with pytest.raises(InputError, match=message):
        stream_model(folder, sequence=TOKENS)


def test_a_changed_block_changes_the_score(folders: dict[str, Path], tmp_path: Path) -> None:
    folder, windows = Path(shutil.copytree(folders["llama"], tmp_path / "changed")), ids(2, TOKENS)
    before = streamed_quality(stream_model(folder, sequence=TOKENS), windows, {}).reference
    edit(folder, NORM, lambda tensors: tensors[NORM].mul_(1.5))
    assert streamed_quality(stream_model(folder, sequence=TOKENS), windows, {}).reference != before


def measured(folder: Path, mode: str, name: str) -> dict:
    command = [sys.executable, str(ROOT / "tests/models/memory.py"), str(folder), mode, "2", "64", name]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout)


@pytest.mark.slow
def test_streaming_takes_the_memory_of_two_blocks(tmp_path: Path) -> None:
    parameters, block = save_large_model(tmp_path)
    assert parameters >= 250_000_000
    # Hidden states and RoPE tables of two windows, float and quantized; logits and three log probabilities of one.
    activations = 4 * (2 * 2 * 64 * (1024 + 2 * 64) + 4 * 64 * 8192 + 64 * 3 * 4096)
    allowance = 128 * MEGABYTE  # the captured graph itself and the code of torch.export
    streamed, whole = (measured(tmp_path, mode, "mxfp4") for mode in ("streamed", "in-memory"))
    assert streamed["scores"] == whole["scores"]
    assert streamed["bytes"] <= 2 * block + activations + allowance
    assert whole["bytes"] > LAYERS * block  # the same measure sees the weights where they are in memory
