"""`mxhw export`: both kinds of checkpoint, what it says, and refusals that leave nothing behind."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from mxhw.ir import Assignment
from mxhw.models import load_model
from tests.cli.conftest import Ran

Command = Callable[..., Ran]
pytestmark = pytest.mark.xdist_group("codesign")
LAYER = "model.layers.0.mlp.down_proj"


@pytest.fixture
def model(tiny_config: Path) -> Path:
    return tiny_config.parent / "model"


def assignment(folder: Path, **formats: str) -> Path:
    """An assignment of one layer: `weight=...`, `input=...`."""
    file = folder / "assignment.json"
    Assignment("tiny", {f"{LAYER}:{operand}": name for operand, name in formats.items()}).save(file)
    return file


def test_native_export_is_read_by_transformers_and_by_mxhw(
    mxhw_command: Command, model: Path, tiny_config: Path, tmp_path: Path
) -> None:
    out, given = tmp_path / "out", assignment(tmp_path, weight="bitmod4", input="int8-e8m0")
    ran = mxhw_command("export", model, "--assignment", given, "--to", "native", "--out", out, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["weights"] == {LAYER: "bitmod4"}
    assert ran.json["left_out"] == {"int8-e8m0": 1}
    weight = load_model(model).model.get_submodule(LAYER).weight.detach()
    read = AutoModelForCausalLM.from_pretrained(out).get_submodule(LAYER).weight.detach()
    assert 0 < float((read - weight).abs().max()) < 0.1
    assert torch.equal(load_model(out).model.get_submodule(LAYER).weight, read)
    words = ("evaluate", out, "--text", tiny_config.parent / "text.txt", "--context", 32, "--windows", 2, "--json")
    evaluated = mxhw_command(*words)
    assert evaluated.code == 0, evaluated.err


def test_what_was_written_is_told(mxhw_command: Command, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors", reason="needs compressed-tensors (pip install 'mxhw[export]')")
    out, given = tmp_path / "out", assignment(tmp_path, weight="mxfp4", input="mxfp4")
    ran = mxhw_command("export", model, "--assignment", given, "--out", out)
    assert ran.code == 0, ran.err
    assert "as a compressed-tensors checkpoint, a bfloat16 model" in ran.out
    assert "inputs of 1 layers: about mxfp4: the reader has a rule of its own for the scale" in ran.out
    assert f'from_pretrained("{out}", attn_implementation="eager")' in ran.out
    again = mxhw_command("export", model, "--assignment", given, "--out", out)
    assert again.code == 2
    assert f"folder {out} is not empty; give another one, or --force" in again.err
    assert mxhw_command("export", model, "--assignment", given, "--out", out, "--force").code == 0


def test_the_default_assignment_needs_a_native_checkpoint(mxhw_command: Command, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors", reason="needs compressed-tensors (pip install 'mxhw[export]')")
    ran = mxhw_command("export", model, "--out", tmp_path / "out")
    assert ran.code == 2
    assert "compressed-tensors cannot say bitmod4" in ran.err
    assert "use --to native" in ran.err
    assert not (tmp_path / "out").exists()
    assert mxhw_command("export", model, "--out", tmp_path / "out", "--to", "native").code == 0
