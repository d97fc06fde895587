"""A whole run on a tiny random model: real in every step, small in every size. A plugin of tests/conftest.py."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from mxhw.report.results import Results

ROOT = Path(__file__).resolve().parent.parent
CONFIG = """
model = "model"
[data]
calibration = "text.txt"
search = "text.txt"
test = "text.txt"
context = 32
calibration_windows = 2
search_windows = 4
test_windows = 6
[platform]
budget = { area = 1.2e5 }
sequence = 16
[search]
trials = 6
rows = [2]
max_perplexity_increase = 0.5
[emit]
tokens = 3
stall = 0.3
"""


@dataclass(frozen=True)
class TinyRun:
    """A finished run."""

    config: Path
    out: Path
    results: Results

    def continued(self, folder: Path) -> Path:
        """Return a new folder that holds the study of this run and nothing else."""
        out = folder / "continued"
        out.mkdir()
        shutil.copy(self.out / "study.db", out)
        return out


def tiny_model(folder: Path) -> None:
    """Save a random byte-level Llama of one layer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 1, "max_position_embeddings": 64}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}
    config = LlamaConfig(vocab_size=256, bos_token_id=None, eos_token_id=None, **sizes, **heads)
    LlamaForCausalLM(config).save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config file beside the model and the text that it names."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_model(folder / "model")
    text = (ROOT / "mxhw" / "models" / "demo" / "search.txt").read_bytes()
    (folder / "text.txt").write_bytes(text[:2048])
    (folder / "config.toml").write_text(CONFIG)
    return folder / "config.toml"


@pytest.fixture(scope="session")
def tiny_run(tiny_config: Path) -> TinyRun:
    """The run; a session's tests share it."""
    from mxhw.flow import codesign, load_config

    out = tiny_config.parent / "out"
    command = f"mxhw codesign {tiny_config} --out {out}"
    return TinyRun(tiny_config, out, codesign(load_config(tiny_config), out, command=command))
