"""compressed-tensors checkpoints: plain transformers reads back what the graph computes with, or none is made."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.ir import Assignment
from mxhw.models.export.schemes import input_scheme
from tests.ir.zoo import SEQUENCE, ids
from tests.models.export.round_trip import captured, difference, export, in_turn, layers, saved

pytest.importorskip("compressed_tensors", reason="needs compressed-tensors (pip install 'mxhw[export]')")

FLOAT_SCALES = ("int4-g16", "int3-g8", "int8", "int5-g16-s8", "int8-e8m0", "fp8-e4m3", "fp8-e4m3-tensor", "int4-tensor")
MICROSCALED = ("mxfp4", "mxfp8-e4m3", "mxfp6-e2m3", "int4-g16-sbf16", "int8-e8m0", "mxfp4-mse", "bf16")
LAYER = "model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved("llama", tmp_path_factory.mktemp("compressed") / "llama")


def config(folder: Path) -> dict[str, dict[str, object]]:
    return json.loads((folder / "config.json").read_text())["quantization_config"]


def both(nodes: Iterable[str], weights: str, inputs: str) -> dict[str, str]:
    nodes = list(nodes)
    return {f"{node}:weight": weights for node in nodes} | {f"{node}:input": inputs for node in nodes}


@pytest.mark.parametrize("name", ["llama", "qwen2", "opt"])
def test_integers_and_fp8_mixed_per_layer(name: str, tmp_path: Path) -> None:
    source = saved(name, tmp_path / "model")
    assignment = in_turn(captured(source), FLOAT_SCALES)
    report = export(source, assignment, tmp_path / "out")
    assert report.dtype == "float32"
    assert difference(source, assignment, report) == 0.0
    assert config(tmp_path / "out")["format"] == "mixed-precision"
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {value.dtype for key, value in stored.items() if key.endswith("weight_scale")} == {torch.float32}


@pytest.mark.parametrize("name", ["llama", "opt"])
def test_microscaled_formats_mixed_per_layer(name: str, tmp_path: Path) -> None:
    source = saved(name, tmp_path / "model")
    assignment = in_turn(captured(source), MICROSCALED, multiple=32)
    report = export(source, assignment, tmp_path / "out")
    assert report.dtype == "bfloat16"
    assert difference(source, assignment, report) == 0.0


@pytest.mark.parametrize("fmt", ["nvfp4", "nvfp4-46"])
def test_nvfp4(fmt: str, source: Path, tmp_path: Path) -> None:
    assignment = Assignment("tiny", {f"{layer}:weight": fmt for layer in layers(captured(source), 16)[:6]})
    report = export(source, assignment, tmp_path / "out", nearest=True)
    exact = Assignment(
        "tiny", {key: value for key, value in assignment.formats.items() if key[:-7] not in report.off_by_a_step}
    )
    assert len(exact.formats) >= 3
    assert difference(source, exact, export(source, exact, tmp_path / "exact")) == 0.0
    for layer in report.off_by_a_step:
        alone = Assignment("tiny", {f"{layer}:weight": fmt})
        with pytest.raises(
            InputError, match=rf"^layer '{layer}': of \d+ values in {fmt}, compressed-tensors reads \d+ "
        ):
            export(source, alone, tmp_path / "alone")


def test_nvfp4_on_ties_is_let_through_only_as_the_nearest(source: Path, tmp_path: Path) -> None:
    """A tensor scale of 7/128 is short, and its reciprocal is not: products that lie on ties of bfloat16 are lost."""
    spoilt = saved("llama", tmp_path / "model")
    tensors = load_file(spoilt / "model.safetensors")
    weight = tensors[f"{LAYER}.weight"]
    weight.mul_(147 / 256 / weight.abs().max())
    save_file(tensors, spoilt / "model.safetensors", {"format": "pt"})
    assignment = Assignment("tiny", {f"{LAYER}:weight": "nvfp4"})
    with pytest.raises(InputError, match=r"one step of bfloat16 off: .*; take that with --nearest, or use --to native"):
        export(spoilt, assignment, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    report = export(spoilt, assignment, tmp_path / "out", nearest=True)
    assert 0 < report.off_by_a_step[LAYER] < 32 * 32 / 10


def test_a_real_model(shared: Path, tmp_path: Path) -> None:
    source = shared / "models" / "stories260K"
    if not source.is_dir():
        pytest.skip("needs ../shared/models/stories260K, which is not here")
    tokens = ids(2, SEQUENCE, 512)
    integers = in_turn(captured(source), ("int4-g4", "int8"))
    assert difference(source, integers, export(source, integers, tmp_path / "int"), tokens) == 0.0
    microscaled = in_turn(captured(source), ("mxfp4", "mxfp8-e4m3"), multiple=32)
    assert difference(source, microscaled, export(source, microscaled, tmp_path / "mx"), tokens) == 0.0


def test_group_tensors_are_those_of_the_format(source: Path, tmp_path: Path) -> None:
    nodes = [f"model.layers.0.self_attn.{name}_proj:weight" for name in "qkvo"]
    formats = dict(zip(nodes, ("mxfp4", "mxfp8-e4m3", "mxfp6-e2m3", "int4-g32-e8m0"), strict=True))
    export(source, Assignment("tiny", formats), tmp_path / "out")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    shapes = {
        "q_proj.weight_packed": (torch.uint8, (32, 16)),
        "q_proj.weight_scale": (torch.uint8, (32, 1)),
        "k_proj.weight": (torch.float8_e4m3fn, (16, 32)),
        "v_proj.weight_packed": (torch.uint8, (16, 24)),
        "o_proj.weight_packed": (torch.int32, (32, 4)),
        "o_proj.weight_scale": (torch.float32, (32, 1)),
    }
    for name, expected in shapes.items():
        tensor = stored[f"model.layers.0.self_attn.{name}"]
        assert (tensor.dtype, tuple(tensor.shape)) == expected
    groups = config(tmp_path / "out")["config_groups"].values()
    assert [(group["format"], group["targets"]) for group in groups] == [
        ("mxfp4-pack-quantized", ["model.layers.0.self_attn.q_proj"]),
        ("mxfp8-quantized", ["model.layers.0.self_attn.k_proj"]),
        ("mxfp6-pack-quantized", ["model.layers.0.self_attn.v_proj"]),
        ("pack-quantized", ["model.layers.0.self_attn.o_proj"]),
    ]


@pytest.mark.parametrize(
    ("weights", "inputs"),
    [("mxfp4", "mxfp4-even"), ("mxfp6-e2m3", "mxfp8-e4m3-rceil"), ("mxfp8-e4m3", "mxfp6-e2m3-even"), ("fp8-e4m3",) * 2],
)
def test_inputs_that_the_reader_rounds_in_the_same_way(weights: str, inputs: str, source: Path, tmp_path: Path) -> None:
    nodes = layers(captured(source), 32)
    assignment = Assignment("tiny", both(nodes, weights, inputs))
    report = export(source, assignment, tmp_path / "out")
    assert report.inputs == {inputs: len(nodes)}
    assert report.left_out == {}
    assert difference(source, assignment, report) == 0.0


def test_inputs_that_it_rounds_otherwise_or_not_at_all_are_told(source: Path, tmp_path: Path) -> None:
    graph = captured(source)
    integers = Assignment("tiny", both(layers(graph), "int8", "int8"))
    report = export(source, integers, tmp_path / "int8")
    assert report.inputs == {"~int8": len(layers(graph))}
    assert config(tmp_path / "int8")["format"] == "int-quantized"
    assert 0 < difference(source, integers, report) < 0.5
    formats = both([LAYER], "mxfp4", "int8-e8m0") | {"model.layers.0.self_attn.qk:lhs": "mxfp4"}
    report = export(source, Assignment("tiny", formats), tmp_path / "mx")
    assert report.inputs == {}
    assert report.left_out == {"int8-e8m0": 1, "mxfp4": 1}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["mxfp4-even", "mxfp6-e2m3-even", "mxfp8-e4m3-rceil", "fp8-e4m3"])
def test_the_scheme_of_inputs_names_its_equal(name: str, dtype: torch.dtype) -> None:
    """Over many magnitudes; and the same elements with another rule are not equal."""
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import fake_quantize
    from compressed_tensors.quantization.utils import compute_dynamic_scales_and_zp

    scheme = input_scheme(parse_format(name))
    args = QuantizationArgs(**scheme.arguments)
    x = (torch.randn(2, 32, 256) * torch.exp2(torch.randint(-6, 6, (2, 32, 1)))).to(dtype)
    scale, zero = compute_dynamic_scales_and_zp(value=x, args=args, module=torch.nn.Linear(256, 1))
    read = fake_quantize(x, scale, zero, args)
    assert scheme.same_as == name
    assert torch.equal(read, parse_format(name).fake_quantize(x)) == (dtype in scheme.same_in)
    assert not torch.equal(read, parse_format("mxfp4-ceil").fake_quantize(x))


REFUSED = {
    "bitmod4": "layer 'lm_head': compressed-tensors cannot say bitmod4 (it knows symmetric int2..8, mxfp4, ",
    "dialect4": "layer 'lm_head': compressed-tensors cannot say dialect4 (",
    "nf4-g64": "layer 'lm_head': compressed-tensors cannot say nf4-g64 (",
    "int4-g16-asym": "layer 'lm_head': compressed-tensors cannot say int4-g16-asym (",
    "mxfp4-b16": "layer 'lm_head': compressed-tensors cannot say mxfp4-b16 (",
    "fp8-e5m2": "layer 'lm_head': compressed-tensors cannot say fp8-e5m2 (",
    "int4-g24": "layer 'lm_head': compressed-tensors wants whole blocks, and 32 columns are no multiple of the 24 of ",
}


@pytest.mark.parametrize("fmt", REFUSED)
def test_what_it_cannot_say_is_refused_with_the_layer_and_the_way_out(fmt: str, source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        export(source, Assignment("tiny", {"lm_head:weight": fmt}), tmp_path / "out")
    assert str(raised.value).startswith(REFUSED[fmt])
    assert str(raised.value).endswith("use --to native")
    assert not (tmp_path / "out").exists()
    assert export(source, Assignment("tiny", {"lm_head:weight": fmt}), tmp_path / "out", to="native").weights


def test_a_dtype_that_its_reader_does_not_give_is_refused(source: Path, tmp_path: Path) -> None:
    microscaled, integer = (Assignment("tiny", {"lm_head:weight": fmt}) for fmt in ("mxfp4", "int4-g16"))
    with pytest.raises(InputError, match="reads mxfp4 as bfloat16, which a float32 model cannot multiply by"):
        export(source, microscaled, tmp_path / "out", dtype=torch.float32)
    with pytest.raises(InputError, match=r"of 3072 values in int4-g16, compressed-tensors reads \d+ differently: it "):
        export(source, integer, tmp_path / "out", dtype=torch.bfloat16)
    mixed = Assignment("tiny", {"lm_head:weight": "int4-g16", f"{LAYER}:weight": "mxfp4"})
    with pytest.raises(InputError, match=r"^layer 'lm_head': of 3072 values in int4-g16"):
        export(source, mixed, tmp_path / "out")


def test_layers_that_are_no_linear_modules_are_refused(tmp_path: Path) -> None:
    source = saved("gpt2", tmp_path / "model")
    node = "transformer.h.0.attn.c_attn"
    with pytest.raises(
        InputError, match=rf"^layer '{node}': compressed-tensors quantizes Linear layers, .* a Conv1D; "
    ):
        export(source, Assignment("tiny", {f"{node}:weight": "int8"}), tmp_path / "out")
    head = Assignment("tiny", {"lm_head:weight": "int8"})
    assert difference(source, head, export(source, head, tmp_path / "out")) == 0.0


def test_a_changed_code_is_seen(source: Path, tmp_path: Path) -> None:
    assignment = Assignment("tiny", {"lm_head:weight": "int4-g16"})
    report = export(source, assignment, tmp_path / "out")
    assert difference(source, assignment, report) == 0.0
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    tensors["lm_head.weight_packed"][0, 0].bitwise_xor_(1)
    save_file(tensors, tmp_path / "out" / "model.safetensors", {"format": "pt"})
    assert difference(source, assignment, report) > 0.0


def test_without_the_library_the_extra_is_named(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "compressed_tensors", None)
    with pytest.raises(InputError, match=r"--to native.*pip install 'mxhw\[export\]'"):
        export(source, Assignment("tiny", {"lm_head:weight": "int8"}), tmp_path / "out")
