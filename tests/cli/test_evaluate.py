"""`mxhw evaluate` on datasets and tasks: the field's perplexity, one table, and errors of one line."""

import json
from collections.abc import Callable
from math import exp
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.cli.conftest import Ran
from tests.cli.test_bad_input import one_line
from tests.task_files import NAMES, write_tasks
from tests.text_model import SENTENCES, save_text_model

Command = Callable[..., Ran]
WINDOW = 24


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_text_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    for split, rows in {"test": SENTENCES, "train": SENTENCES[:5]}.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    return folder


def reference_perplexity(model: Path, rows: tuple[str, ...], dtype: torch.dtype) -> float:
    """What GPTQ's evaluation computes: rows joined, tokenized once, the model's own loss of every window, averaged."""
    network = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, attn_implementation="eager").eval()
    ids = AutoTokenizer.from_pretrained(model)("\n\n".join(rows), return_tensors="pt").input_ids
    losses = []
    for start in range(0, ids.shape[1] - WINDOW + 1, WINDOW):
        window = ids[:, start : start + WINDOW]
        with torch.no_grad():
            losses.append(float(network(input_ids=window, labels=window).loss))
    assert len(losses) > 3
    return exp(sum(losses) / len(losses))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_perplexity_is_that_of_the_fields_protocol(
    mxhw_command: Command, model: Path, dataset: Path, dtype: str
) -> None:
    words = ("evaluate", model, "--text", dataset, "--context", WINDOW, "--dtype", dtype, "--json")
    ran = mxhw_command(*words)
    assert ran.code == 0, ran.err
    scores = ran.json["scores"]
    expected = reference_perplexity(model, SENTENCES, getattr(torch, dtype))
    assert scores["float model"]["perplexity"] == pytest.approx(expected, rel=1e-6)
    emulated = scores["float emulation"]["perplexity"]
    assert emulated != pytest.approx(expected, rel=1e-4)
    assert scores["float emulation"]["perplexity_difference"] == emulated - scores["float model"]["perplexity"]
    assert scores["float emulation"]["perplexity_ratio"] == emulated / scores["float model"]["perplexity"]
    batched = mxhw_command(*words, "--batch", 3).json["scores"]
    assert batched["float model"]["perplexity"] == pytest.approx(expected, rel=1e-6 if dtype == "float32" else 1e-2)
    assert scores["float model"]["tokens"] == batched["float model"]["tokens"]
    train = mxhw_command(*words, "--split", "train", "--column", "text").json["scores"]
    assert train["float model"]["perplexity"] != pytest.approx(expected, rel=1e-4)


def test_the_table_has_difference_and_ratio(mxhw_command: Command, model: Path, dataset: Path) -> None:
    ran = mxhw_command("evaluate", model, "--text", dataset, "--context", WINDOW, "--arithmetic", "both")
    assert ran.code == 0, ran.err
    for words in ("difference", "ratio", "+0.0000", "1.00000", "float emulation", "hardware arithmetic", "float model"):
        assert words in ran.out


def test_tasks_stand_in_one_table(mxhw_command: Command, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="needs the extra eval")
    pytest.importorskip("accelerate", reason="needs the extra eval")
    words = ("evaluate", model, "--tasks", ",".join(NAMES), "--include-path", write_tasks(tmp_path), "--limit", 4)
    ran = mxhw_command(*words, "--arithmetic", "both", "--json")
    assert ran.code == 0, ran.err
    assert list(ran.json["tasks"]) == ["float model", "float emulation", "hardware arithmetic"]
    assert "scores" not in ran.json
    assert ran.json["bits"]["bits_per_weight"] > 4
    for found in ran.json["tasks"].values():
        assert found["tiny_choice"]["documents"] == 4
        assert found["tiny_rolling"]["metrics"]["bits_per_byte"] > 0
    shown = mxhw_command(*words).out
    value = ran.json["tasks"]["float emulation"]["tiny_rolling"]["metrics"]["bits_per_byte"]
    for part in ("tiny_choice", "acc_norm", "word_perplexity", f"{value:.6f}", "true bits"):
        assert part in shown


def test_a_text_stands_beside_tasks(mxhw_command: Command, model: Path, dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="needs the extra eval")
    pytest.importorskip("accelerate", reason="needs the extra eval")
    words = ("--tasks", NAMES[0], "--include-path", write_tasks(tmp_path), "--limit", 2, "--text", dataset)
    ran = mxhw_command("evaluate", model, *words, "--context", WINDOW, "--json")
    assert ran.code == 0, ran.err
    assert set(ran.json["scores"]) == set(ran.json["tasks"]) == {"float model", "float emulation"}


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--text", "{data}", "--split", "tset"), ("no split 'tset' but test, train", "did you mean 'test'")),
        (("--text", "{data}", "--column", "txt"), ("no column 'txt' but text", "did you mean 'text'")),
        (("--text", "{data}", "--context", "48", "--windows", "500"), ("windows of 48, fewer than 500",)),
        (("--text", "{data}/test.jsonl", "--split", "test"), ("column and split are for datasets",)),
        (
            (
                "--text",
                "{model}",
            ),
            ("holds no dataset",),
        ),
        ((), ("text 'heldout' is no file, no folder and none that came with",)),
        (("--limit", "3"), ("--include-path and --limit go with --tasks",)),
        (("--tasks", "a", "--windows", "3"), ("--column, --split and --windows go with --text",)),
        (("--tasks", "a", "--include-path", "{data}/none"), ("none' is no folder",)),
    ],
)
def test_bad_input_is_one_line(
    mxhw_command: Command, model: Path, dataset: Path, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    filled = [word.format(data=dataset, model=model) for word in words]
    one_line(mxhw_command("evaluate", model, *filled), *parts)


def test_a_model_without_a_tokenizer_takes_no_text(
    mxhw_command: Command, model: Path, dataset: Path, tmp_path: Path
) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((model / name).read_bytes())
    one_line(mxhw_command("evaluate", tmp_path, "--text", dataset), "has no tokenizer.json", "give ids (.npy)")


def test_integers_are_scored_beside_float(mxhw_command: Command, model: Path, dataset: Path, tmp_path: Path) -> None:
    words = ("evaluate", model, "--text", dataset, "--context", WINDOW, "--arithmetic")
    text = tmp_path / "held-in.txt"
    text.write_text(" ".join(SENTENCES))
    ran = mxhw_command(*words, "all", "--calibration", text, "--json")
    assert ran.code == 0, ran.err
    scores = ran.json["scores"]
    assert list(scores) == ["float model", "float emulation", "hardware arithmetic", "integer arithmetic"]
    integer, emulation = (scores[kind]["perplexity"] for kind in ("integer arithmetic", "float emulation"))
    assert integer == pytest.approx(emulation, rel=0.1)
    assert integer != emulation
    assert 0 <= ran.json["integer_saturated"] < 1e-3
    for wrong, message in (
        (("integer",), "'calibration' is no file"),
        (("integer", "--calibration", text, "--per-node"), "leave out --tasks, --per-node and --stream"),
        (("integer", "--calibration", text, "--stream"), "leave out --tasks, --per-node and --stream"),
        (("both", "--calibration", text), "--calibration is for --arithmetic integer or all"),
    ):
        one_line(mxhw_command(*words, *wrong), message)
