"""`mxhw emit` of blocks: what it prints and writes; bad input is one line, exit code 2, and leaves nothing behind."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mxhw.hardware
from mxhw.sim.dataflow import run_dataflow
from mxhw.sim.dataflow_design import DataflowDesign
from tests.cli.conftest import Ran
from tests.cli.test_bad_input import one_line

Command = Callable[..., Ran]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama, and a Qwen3, whose heads have norms, of random weights; ids in place of a text, and no tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "max_position_embeddings": 16}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.3}
    LlamaForCausalLM(
        LlamaConfig(vocab_size=32, bos_token_id=None, eos_token_id=None, **sizes, **heads)
    ).save_pretrained(folder / "llama")
    qwen = Qwen3Config(vocab_size=32, head_dim=8, bos_token_id=None, eos_token_id=None, **sizes, **heads)
    Qwen3ForCausalLM(qwen).save_pretrained(folder / "qwen3")
    np.save(folder / "ids.npy", np.random.default_rng(0).integers(0, 32, 200))
    return folder


@pytest.fixture
def emit(mxhw_command: Command, models: Path) -> Command:
    """Return a function that runs `mxhw emit` on one of the models."""

    def run(model: str, *words: object) -> Ran:
        ids = models / "ids.npy"
        return mxhw_command("emit", models / model, "--text", ids, "--calibration", ids, "--tokens", 4, *words)

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_table_of_a_block_has_a_row_a_step(emit: Command, tmp_path: Path) -> None:
    """And where the design lies, another one is not written."""
    out = tmp_path / "design"
    ran = emit("llama", "--out", out)
    assert ran.code == 0, ran.err
    design = DataflowDesign.load(out)
    for step in design.steps:
        (row,) = [line for line in ran.out.splitlines() if f" {step.name} " in line]
        assert f" {step.kind} " in row
        assert f" {step.interval:,} " in row
    assert f"a token every {max(step.interval for step in design.steps):,} cycles" in " ".join(ran.out.split())
    before = contents(out)
    ran = emit("llama", "--keys", 8, "--out", out)
    one_line_at_the_end(ran, str(out), "holds another design (llama_layers_0, configuration", "use --force")
    assert contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["design"]


@pytest.mark.slow
def test_force_puts_another_design_in_the_place_of_one(emit: Command, tmp_path: Path) -> None:
    out = tmp_path / "design"
    first = emit("llama", "--out", out, "--json").json
    second = emit("llama", "--keys", 8, "--out", out, "--force", "--json")
    assert second.code == 0, second.err
    design = DataflowDesign.load(out)
    assert second.json["hash"] == design.hash != first["hash"]
    assert [step["name"] for step in second.json["steps"]] == [step.name for step in design.steps]
    assert emit("llama", "--keys", 8, "--out", tmp_path / "fresh").code == 0
    assert contents(out) == contents(tmp_path / "fresh")  # nothing of the first one is left
    assert run_dataflow(out, stall=0.2).equal


def one_line_at_the_end(ran: Ran, *parts: str) -> None:
    """What :func:`one_line` asks for, below the lines of progress."""
    last = ran.err.strip().splitlines()[-1]
    assert "Traceback" not in ran.err
    one_line(Ran(ran.code, ran.out, last), *parts)
    assert ran.err.count("mxhw: error") == 1


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--block", "model.layers.7"), ("'model.layers.7'", "model.layers.0")),
        (("--platform", "asap8"), ("no platform 'asap8'", "did you mean 'asap7'")),
        (("--keys", 3), ("keys must be at least the 4 tokens", "not 3")),
        (("--keys", 17), ("17", "the model's context of 16")),
        (("--rows", 3), ("3 tokens at once", "the 4 of the run")),
        (("--node", "lm_head", "--block", "model.layers.0"), ("--node and --layers", "without --block")),
        (("--node", "lm_head", "--layers"), ("--node and --layers", "give one of them")),
        (("--assignment", "none.json"), ("none.json",)),
        (("--text", "none.txt"), ("'none.txt'",)),
    ],
)
def test_bad_input_leaves_nothing(
    emit: Command, tmp_path: Path, words: tuple[object, ...], parts: tuple[str, ...]
) -> None:
    one_line_at_the_end(emit("llama", *words, "--out", tmp_path / "out"), *parts)
    assert not list(tmp_path.iterdir())


def test_a_platform_that_is_too_small(emit: Command, tmp_path: Path) -> None:
    small, shipped = tmp_path / "small.toml", Path(mxhw.hardware.__file__).parent / "data/platforms/ecp5-85.toml"
    small.write_text(re.sub(r"(\[budget\.lut\]\nvalue =) \d+", r"\1 900", shipped.read_text()))
    ran = emit("llama", "--platform", small, "--out", tmp_path / "out")
    one_line_at_the_end(ran, "ecp5-85", "900")
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]


def test_what_lies_in_the_folder_stays(emit: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("years")
    one_line(emit("llama", "--out", tmp_path / "file"), str(tmp_path / "file"), "is a file")
    for force in ((), ("--force",)):
        ran = emit("llama", "--out", tmp_path / "folder", *force)
        one_line(ran, str(tmp_path / "folder"), "holds something that is no dataflow design")
    assert contents(tmp_path) == {"file": b"mine", "folder/thesis.txt": b"years"}


def test_a_model_without_integer_arithmetic_says_all_that_it_lacks(emit: Command, tmp_path: Path) -> None:
    for block in ((), ("--block", "all")):
        ran = emit("qwen3", *block, "--out", tmp_path / "out")
        one_line_at_the_end(ran, "no integer arithmetic for", "nodes: ")
    assert not list(tmp_path.iterdir())
