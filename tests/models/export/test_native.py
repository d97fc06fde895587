"""Native checkpoints: any assignment comes back through `from_pretrained` as exactly the graph that it was made of."""

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

import mxhw
from mxhw import transformers_hook
from mxhw.errors import InputError, MxhwWarning
from mxhw.formats import pack, parse_format
from mxhw.ir import Assignment
from mxhw.models import load_model
from mxhw.models.export import export_checkpoint
from tests.ir.zoo import SEQUENCE, ids, largest_difference, logits
from tests.models.export.round_trip import captured, difference, export, in_turn, layers, reloaded, saved

MIXED = ("bitmod4", "dialect4", "mxfp4", "int4-g128", "nf4-g64", "nvfp4", "int3-g8-asym", "bitmod3", "int8-e8m0")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved("llama", tmp_path_factory.mktemp("native") / "llama")


@pytest.fixture
def assignment(source: Path) -> Assignment:
    return in_turn(captured(source), MIXED)


@pytest.fixture(scope="module")
def exported(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of which only the head is rounded."""
    folder = tmp_path_factory.mktemp("exported") / "out"
    export(source, Assignment("tiny", {"lm_head:weight": "int4-g8"}), folder, to="native")
    return folder


@pytest.mark.parametrize("name", ["llama", "qwen2", "opt", "gpt2", "gpt_neox"])
def test_reloaded_model_equals_the_rounded_graph(name: str, tmp_path: Path) -> None:
    source = saved(name, tmp_path / "model")
    assignment = in_turn(captured(source), MIXED)
    report = export(source, assignment, tmp_path / "out", to="native")
    assert difference(source, assignment, report) == 0.0
    assert (report.dtype, report.left_out) == ("float32", {})


def test_a_bfloat16_model_equals_the_rounded_bfloat16_graph(
    source: Path, assignment: Assignment, tmp_path: Path
) -> None:
    report = export(source, assignment, tmp_path / "out", to="native", dtype=torch.bfloat16)
    assert report.dtype == "bfloat16"
    assert difference(source, assignment, report) == 0.0


def test_a_real_model(shared: Path, tmp_path: Path) -> None:
    source = shared / "models" / "stories260K"
    if not source.is_dir():
        pytest.skip("needs ../shared/models/stories260K, which is not here")
    assignment = in_turn(captured(source), MIXED)
    report = export(source, assignment, tmp_path / "out", to="native")
    assert difference(source, assignment, report, ids(2, SEQUENCE, 512)) == 0.0
    again = load_model(tmp_path / "out")
    assert torch.equal(again.encode(b"Once upon a time"), load_model(source).encode(b"Once upon a time"))


def test_stored_bytes_are_those_of_the_format_and_nothing_else(
    source: Path, assignment: Assignment, tmp_path: Path
) -> None:
    report = export(source, assignment, tmp_path / "out", to="native")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    packed, graph, total = {}, captured(source), 0
    for node in layers(graph):
        fmt, weight = parse_format(assignment.formats[f"{node}:weight"]), graph.weight(node)
        packed[f"{node}.weight_packed"] = pack(fmt, fmt.encode(weight.detach()))
        assert 8 * len(packed[f"{node}.weight_packed"]) - fmt.bits(weight.shape) < 8 * len(fmt.fields)
        total += len(packed[f"{node}.weight_packed"])
    assert {name: bytes(stored[name].numpy()) for name in packed} == packed
    assert report.quantized_bytes == total
    assert not {f"{node}.weight" for node in layers(graph)} & stored.keys()
    assert report.all_bytes == sum(tensor.nbytes for tensor in stored.values())


def test_a_tied_head_is_untied_only_if_it_is_rounded(source: Path, assignment: Assignment, tmp_path: Path) -> None:
    report = export(source, assignment, tmp_path / "all", to="native")
    assert report.untied == "lm_head.weight"
    model = reloaded(tmp_path / "all")
    assert not torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)
    assert torch.equal(model.model.embed_tokens.weight, load_model(source).model.model.embed_tokens.weight)
    part = Assignment("tiny", {"model.layers.0.mlp.up_proj:weight": "bitmod4"})
    report = export(source, part, tmp_path / "part", to="native")
    assert report.untied is None
    model = reloaded(tmp_path / "part")
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert difference(source, part, report) == 0.0


def test_what_was_loaded_is_a_plain_model_that_saves_and_loads_again(
    source: Path, assignment: Assignment, tmp_path: Path
) -> None:
    export(source, assignment, tmp_path / "out", to="native")
    model, tokens = reloaded(tmp_path / "out"), ids(1, 8)
    model.save_pretrained(tmp_path / "dense")
    assert "quantization_config" not in json.loads((tmp_path / "dense" / "config.json").read_text())
    assert torch.equal(logits(reloaded(tmp_path / "dense"), tokens), logits(model, tokens))


def test_mxhw_loads_and_evaluates_its_own_export(source: Path, assignment: Assignment, tmp_path: Path) -> None:
    report = export(source, assignment, tmp_path / "out", to="native")
    tokens = ids(1, SEQUENCE)
    graph = captured(tmp_path / "out")
    assert largest_difference(graph.run(tokens), logits(reloaded(tmp_path / "out"), tokens)) == 0.0
    record = json.loads((tmp_path / "out" / "mxhw.json").read_text())
    assert Assignment.from_json(record["assignment"]).formats == assignment.formats
    assert record["weights"] == report.weights


IMPORTS = {
    "mxhw first": (
        "import mxhw, sys; assert 'transformers' not in sys.modules and 'torch' not in sys.modules\n"
        "import importlib.util; importlib.util.find_spec('transformers.quantizers.auto')\n"  # found, not loaded
    ),
    "transformers first": "import transformers.quantizers.auto\nimport mxhw\n",
}


@pytest.mark.parametrize("order", IMPORTS)
def test_import_mxhw_is_all_that_from_pretrained_needs(
    order: str, exported: Path, tmp_path: Path, repository: Path
) -> None:
    code = IMPORTS[order] + (
        "from transformers import AutoModelForCausalLM\n"
        "import torch\n"
        f"model = AutoModelForCausalLM.from_pretrained({str(exported)!r}, attn_implementation='eager')\n"
        f"torch.save(model(torch.arange({SEQUENCE})[None], use_cache=False).logits.detach(), 'logits')\n"
    )
    command, environment = [sys.executable, "-W", "ignore", "-c", code], {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = logits(reloaded(exported), torch.arange(SEQUENCE)[None])
    assert torch.equal(torch.load(tmp_path / "logits", weights_only=True), expected)


def test_a_flipped_bit_is_seen(source: Path, assignment: Assignment, tmp_path: Path) -> None:
    report = export(source, assignment, tmp_path / "out", to="native")
    assert difference(source, assignment, report) == 0.0
    change(tmp_path / "out", lambda tensors: tensors["model.layers.0.mlp.up_proj.weight_packed"][:1].bitwise_xor_(1))
    assert difference(source, assignment, report) > 0.0


def change(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def shorten(tensors: dict[str, torch.Tensor]) -> None:
    tensors["lm_head.weight_packed"] = tensors["lm_head.weight_packed"][:-1].clone()


def configure(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config["quantization_config"] |= changes
    file.write_text(json.dumps(config))


WHERE = "quantization_config of mxhw: "
ENTRY = {"format": "int4-g8", "shape": [96, 32], "axis": -1}
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a byte too few": (lambda f: change(f, shorten), "packed weight 'lm_head.weight' of the checkpoint is damaged: "),
    "later version": (lambda f: configure(f, version=2), "quantization_config of mxhw is of version 2 with encoding 1"),
    "other codes": (lambda f: configure(f, encoding=9), "quantization_config of mxhw is of version 1 with encoding 9"),
    "no weights": (lambda f: configure(f, weights=[]), f"{WHERE}weights must be an object, not []"),
    "odd entry": (lambda f: configure(f, weights={"a": 1}), f"{WHERE}'a' must have format, shape and axis, not 1"),
    "odd shape": (
        lambda f: configure(f, weights={"a": ENTRY | {"shape": [0]}}),
        f"{WHERE}shape of 'a' must be positive sizes, not [0]",
    ),
    "odd axis": (lambda f: configure(f, weights={"a": ENTRY | {"axis": 2}}), f"{WHERE}axis of 'a' must be -2 to -1"),
    "unknown format": (
        lambda f: configure(f, weights={"a": ENTRY | {"format": "bitmud4"}}),
        f"{WHERE}'a': unknown format 'bitmud4'",
    ),
    "unknown layer": (
        lambda f: configure(f, weights={"model.layers.9.weight": ENTRY}),
        "LlamaForCausalLM has no parameter 'model.layers.9.weight', which the checkpoint quantizes",
    ),
    "other shape": (
        lambda f: configure(f, weights={"lm_head.weight": ENTRY | {"shape": [32, 96]}}),
        "checkpoint has 'lm_head.weight' as [32, 96], and the model has ((96, 32), torch.float32)",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_spoilt_checkpoint_is_named(fault: str, exported: Path, tmp_path: Path) -> None:
    spoil, message = FAULTS[fault]
    shutil.copytree(exported, tmp_path / "out")
    spoil(tmp_path / "out")
    with pytest.raises(InputError) as raised:
        reloaded(tmp_path / "out")
    assert str(raised.value).startswith(message)
    with pytest.raises(InputError) as raised:
        load_model(tmp_path / "out")
    assert message in str(raised.value)


def test_what_cannot_be_exported_is_named(source: Path, tmp_path: Path) -> None:
    for formats, message in (
        ({}, "^assignment for 'tiny' gives no weight a format, so there is nothing to export"),
        ({"lm_head:input": "int8"}, "^assignment for 'tiny' gives no weight a format"),
        ({"lm_hed:weight": "int8"}, "^no site 'lm_hed:weight' in the graph of .*; did you mean 'lm_head:weight'"),
    ):
        with pytest.raises(InputError, match=message):
            export(source, Assignment("tiny", formats), tmp_path / "out", to="native")
    with pytest.raises(InputError, match=r"^to must be one of compressed-tensors, native, not 'gguf'"):
        export(source, Assignment("tiny", {"lm_head:weight": "int8"}), tmp_path / "out", to="gguf")
    with pytest.raises(InputError, match=r"^dtype must be float32, bfloat16 or float16, not torch\.float64"):
        export(source, Assignment("tiny", {"lm_head:weight": "int8"}), tmp_path / "out", dtype=torch.float64)
    assert not (tmp_path / "out").exists()


def test_large_models_are_written_in_shards(
    source: Path, assignment: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mxhw.models.export.folder._SHARD", "10KB")
    report = export(source, assignment, tmp_path / "out", to="native")
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 2
    assert difference(source, assignment, report) == 0.0


def test_a_weight_that_no_config_can_untie_is_refused(source: Path, tmp_path: Path) -> None:
    loaded = load_model(source)
    first, second = (layer.mlp for layer in loaded.model.model.layers)
    second.up_proj.weight = first.up_proj.weight
    graph = mxhw.capture(loaded, sequence=SEQUENCE)
    shared = Assignment("tiny", {"model.layers.1.mlp.up_proj:weight": "int8"})
    message = r"^layer 'model\.layers\.1\.mlp\.up_proj' shares its weight with 'model\.layers\.0\.mlp\.up_proj\.weight'"
    with pytest.raises(InputError, match=message):
        export_checkpoint(loaded, graph, shared, tmp_path / "out", to="native")


def test_a_reader_that_cannot_be_registered_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mxhw.transformers_hook._READER", "mxhw.models.export.absent")
    with pytest.warns(MxhwWarning, match="^transformers will not read native checkpoints of mxhw: No module named"):
        transformers_hook.install()


def test_a_folder_is_replaced_only_by_force_and_only_by_a_whole_one(
    source: Path, assignment: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "kept").write_text("mine")
    with pytest.raises(InputError, match=rf"^folder {out} is not empty; give another one, or --force"):
        export(source, assignment, out, to="native")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("mxhw.models.export.checkpoint.save_record", full)
        with pytest.raises(InputError, match=rf"^checkpoint cannot be written to {out}: No space left on device"):
            export(source, assignment, out, to="native", force=True)
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    assert [file.name for file in out.iterdir()] == ["kept"]
    export(source, assignment, out, to="native", force=True)
    assert not (out / "kept").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    with pytest.raises(InputError, match=r"config\.json is a file; give a folder to make"):
        export(source, assignment, out / "config.json", to="native", force=True)
