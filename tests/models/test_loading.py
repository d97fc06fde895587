"""Loading by name; and every way in which a directory can be wrong is told in one line that begins as it should."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

import mxhw
from mxhw.errors import InputError
from mxhw.models import load_model
from tests.ir.zoo import MODELS, ids, largest_difference, logits


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as `save_pretrained` writes it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    MODELS["llama"]().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(saved, tmp_path / "tiny"))


def test_a_directory_is_loaded_as_transformers_loads_it(saved: Path) -> None:
    loaded, tokens = load_model(saved), ids(1, 8)
    weights = load_file(saved / "model.safetensors")
    assert all(torch.equal(weights[name], loaded.model.state_dict()[name]) for name in weights)
    graph = mxhw.capture(saved, sequence=8)
    loaded.model.set_attn_implementation("eager")
    assert largest_difference(graph.run(tokens), logits(loaded.model, tokens)) == 0.0
    assert not loaded.model.training


def test_sharded_weights_are_loaded(saved: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    load_model(saved).model.save_pretrained(shards, max_shard_size="20KB")
    assert (shards / "model.safetensors.index.json").is_file()
    tokens = ids(1, 8)
    assert torch.equal(mxhw.capture(shards, sequence=8).run(tokens), mxhw.capture(saved, sequence=8).run(tokens))
    victim = sorted(shards.glob("model-*.safetensors"))[1]
    victim.unlink()
    with pytest.raises(InputError, match=rf"^weight file {victim} is missing"):
        load_model(shards)


def test_demo_model_has_bytes_and_texts() -> None:
    loaded = load_model("demo")
    assert set(loaded.texts) == {"heldout", "search", "calibration"}
    assert loaded.encode(b"\x00az\xff").tolist() == [0, 97, 122, 255]
    assert next(loaded.model.parameters()).dtype == torch.float32
    assert next(load_model("demo", dtype=torch.bfloat16).model.parameters()).dtype == torch.bfloat16


def rewrite(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def cut(folder: Path, size: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])


def only_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "{f}/config.json is missing; a model directory holds"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), "{f}/config.json cannot be read as JSON: "),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), "{f}/config.json must hold a JSON object"),
    "no model type": (lambda f: rewrite(f / "config.json", model_type=None), "{f}/config.json has no model_type"),
    "unknown type": (lambda f: rewrite(f / "config.json", model_type="lama"), "{f} cannot be loaded by transformers: "),
    "remote code": (
        lambda f: rewrite(f / "config.json", auto_map={"AutoModelForCausalLM": "modeling.Model"}),
        "{f}/config.json asks for code of its own (auto_map), which mxhw does not run",
    ),
    "remote tokenizer": (
        lambda f: (f / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["t.T", null]}}'),
        "{f}/tokenizer_config.json asks for code of its own (auto_map)",
    ),
    "quantized": (
        lambda f: rewrite(f / "config.json", quantization_config={"bits": 4}),
        "{f}/config.json describes",
    ),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        "{f} has no model.safetensors and no ",
    ),
    "pickle": (only_pickle, "{f} has only pickled weights (pytorch_model.bin); mxhw reads safetensors only"),
    "cut by a byte": (
        lambda f: cut(f, -1),
        "weight file {f}/model.safetensors is truncated: expected {size} bytes, found {less}",
    ),
    "cut in the header": (lambda f: cut(f, 100), "weight file {f}/model.safetensors is truncated: expected at least "),
    "cut to nothing": (lambda f: cut(f, 0), "weight file {f}/model.safetensors is no safetensors file: 0 bytes"),
    "not safetensors": (
        lambda f: (f / "model.safetensors").write_bytes(b"PK\x03\x04" * 100),
        "weight file {f}/model.safetensors is no safetensors file: 400 bytes",
    ),
    "header is no JSON": (
        lambda f: (f / "model.safetensors").write_bytes(struct.pack("<Q", 4) + b"abcd"),
        "weight file {f}/model.safetensors has a header that is not safetensors",
    ),
    "a byte too many": (
        lambda f: (f / "model.safetensors").open("ab").write(b"x"),
        "weight file {f}/model.safetensors is too long: expected {size} bytes",
    ),
    "missing tensor": (
        lambda f: weights(f, lambda t: t.pop("model.norm.weight")),
        "checkpoint {f} lacks weights: model.norm.weight",
    ),
    "unexpected tensor": (
        lambda f: weights(f, lambda t: t.update(other=torch.zeros(2))),
        "checkpoint {f} has unexpected weights: other",
    ),
    "wrong shape": (
        lambda f: weights(f, lambda t: t.update({"model.norm.weight": torch.zeros(5)})),
        "{f} cannot be loaded by transformers: ",
    ),
    "index outside": (
        lambda f: (
            (f / "model.safetensors").unlink(),
            (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../x.safetensors"}}'),
        ),
        "{f}/model.safetensors.index.json has no weight_map of plain file names",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_spoilt_directory_is_refused(fault: str, folder: Path) -> None:
    spoil, message = FAULTS[fault]
    size = (folder / "model.safetensors").stat().st_size
    spoil(folder)
    with pytest.raises(InputError) as error:
        load_model(folder)
    assert str(error.value).startswith(message.format(f=folder, size=size, less=size - 1))
    assert "\n" not in str(error.value)


def test_the_unspoilt_copy_is_loaded(folder: Path) -> None:
    load_model(folder)


@pytest.mark.parametrize("name", ["no-such-model", "nobody/no-such-model"])
def test_hub_id_that_cannot_be_fetched_is_one_line(name: str, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=rf"^model '{name}' is no directory here and cannot be fetched") as error:
        load_model(name)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"^model 'dmo' is no directory .*; did you mean 'demo'\?"):
        load_model("dmo")


def test_names_that_can_be_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^model './nowhere/x' is not a directory, not a hub id and not 'demo'"):
        load_model("./nowhere/x")
    file = tmp_path / "model.gguf"
    file.touch()
    with pytest.raises(InputError, match=rf"^model '{file}' is a file; give the directory that holds it"):
        load_model(file)


def test_capture_refuses_what_is_no_model() -> None:
    with pytest.raises(InputError, match=r"^model must be a name, a directory or a torch module, not int"):
        mxhw.capture(7)
    with pytest.raises(InputError, match=r"^example is for modules that take features; a language model takes"):
        mxhw.capture(MODELS["llama"](), example=torch.zeros(1, 2))


def test_capture_takes_every_kind_of_model(saved: Path) -> None:
    assert mxhw.capture("demo").signature.model == "demo"
    assert mxhw.capture(load_model(saved), sequence=8).signature.model == str(saved)
    assert mxhw.capture(MODELS["llama"](), sequence=8).signature.model == "LlamaForCausalLM"
    assert mxhw.capture(torch.nn.Sequential(torch.nn.Linear(3, 2)), batch=5).signature.batch == 5


def test_loading_prints_nothing(folder: Path, capfd) -> None:
    weights(folder, lambda t: t.pop("model.norm.weight"))
    with pytest.raises(InputError):
        load_model(folder)
    load_model("demo")
    assert capfd.readouterr() == ("", "")


def test_only_a_model_of_bytes_has_fixed_bytes_per_token(tmp_path: Path, shared: Path) -> None:
    assert load_model("demo").bytes_per_token == 1.0
    assert load_model(shared / "models" / "stories260K").bytes_per_token is None


def test_sizes_are_held_to_the_context_of_the_model() -> None:
    demo = load_model("demo")
    assert demo.at_most_context(128) == 128
    assert demo.at_most_context(4096) == 512
