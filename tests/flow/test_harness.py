"""Tasks of lm-eval on graphs: equal to lm-eval's own `HFLM` on the model, and only where nothing is quantized."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mxhw.errors import InputError
from mxhw.flow.assignments import uniform_assignment
from mxhw.flow.harness import load_tasks, run_tasks
from mxhw.flow.scores import score_tasks
from mxhw.ir import Graph
from mxhw.models import LoadedModel, capture, load_model
from mxhw.passes.transform import Quantize, QuantizeConfig
from tests.task_files import NAMES, write_tasks
from tests.text_model import CONTEXT, save_text_model

pytest.importorskip("lm_eval", reason="needs the extra eval")
pytest.importorskip("accelerate", reason="needs the extra eval")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    loaded = load_model(save_text_model(tmp_path_factory.mktemp("model")))
    loaded.model.set_attn_implementation("eager")
    return loaded


@pytest.fixture(scope="module")
def graph(loaded: LoadedModel) -> Graph:
    return capture(loaded, sequence=CONTEXT)


def plain(loaded: LoadedModel, tasks: Path, batch: int) -> dict[str, dict[str, Any]]:
    """What lm-eval itself says of the model."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    model = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=batch)
    results = simple_evaluate(model, tasks=NAMES, task_manager=manager, bootstrap_iters=0)["results"]
    return {name: {k.removesuffix(",none"): v for k, v in found.items()} for name, found in results.items()}


def test_an_unquantized_graph_scores_what_hflm_scores(loaded: LoadedModel, graph: Graph, tasks: Path) -> None:
    expected = plain(loaded, tasks, batch=3)
    assignment = uniform_assignment(graph)
    scores = score_tasks(loaded, graph, load_tasks(NAMES, tasks), assignment, "both", batch=3)
    for name in NAMES:
        found = scores.results["float model"][name]
        assert found.documents == 12
        assert found.metrics == {metric: expected[name][metric] for metric in found.metrics}
    assert set(scores.results["float model"]["tiny_choice"].metrics) == {"acc", "acc_norm"}
    assert set(scores.results["float model"]["tiny_rolling"].metrics) == {"word_perplexity", "bits_per_byte"}
    rolling = [found["tiny_rolling"].metrics["bits_per_byte"] for found in scores.results.values()]
    assert len(set(rolling)) == 3, "the designs must not score what the float model scores"
    assert scores.names == ["float model", "float emulation", "hardware arithmetic"]
    assert {(task, metric) for task, _, metric, _ in scores.rows()} == {
        ("tiny_choice", "acc"),
        ("tiny_choice", "acc_norm"),
        ("tiny_rolling", "word_perplexity"),
        ("tiny_rolling", "bits_per_byte"),
    }


def test_a_request_by_itself_has_no_padding_in_its_scales(loaded: LoadedModel, graph: Graph) -> None:
    from mxhw.flow.graph_lm import GraphLM

    design = Quantize(QuantizeConfig(assignment=uniform_assignment(graph)))(graph).graph
    short, long = loaded.encode(b"The cat sat.").tolist(), loaded.encode(b"Rain fell on the town all day.").tolist()
    requests = [((None, ""), ids[:-4], ids[-4:]) for ids in (short, long)]

    def score(scored: Graph, batch: int, count: int) -> float:
        return GraphLM(loaded, scored, batch=batch)._loglikelihood_tokens(requests[:count])[0][0]

    assert score(design, 1, 2) == score(design, 1, 1)
    assert score(design, 2, 2) != score(design, 1, 1)
    assert score(graph, 2, 2) == pytest.approx(score(graph, 1, 1), rel=1e-5)


def test_a_limit_and_a_shorter_context_reach_lm_eval(loaded: LoadedModel, graph: Graph, tasks: Path) -> None:
    suite = load_tasks(["tiny_rolling"], tasks)
    few = run_tasks(suite, loaded, graph, limit=2)["tiny_rolling"]
    assert few.documents == 2
    short = run_tasks(suite, loaded, graph, context=8)["tiny_rolling"]
    assert short.documents == 12
    assert short.metrics != run_tasks(suite, loaded, graph)["tiny_rolling"].metrics


def test_models_with_tokenizers_of_their_own_run_tasks(tasks: Path) -> None:
    demo = load_model("demo")
    suite = load_tasks(NAMES, tasks)
    found = run_tasks(suite, demo, capture(demo), limit=3)
    documents = [json.loads(line)["question"] for line in (tasks / "data.jsonl").read_text().splitlines()[:3]]
    assert found["tiny_rolling"].metrics["bits_per_byte"] == pytest.approx(bits_a_byte(demo, documents), rel=1e-5)


def bits_a_byte(demo: LoadedModel, documents: list[str]) -> float:
    """The definition, on the model itself: every byte of a text follows a line feed and the bytes before it."""
    import torch

    loss, count = 0.0, 0
    for document in documents:
        ids = torch.tensor(list(b"\n" + document.encode()))
        with torch.no_grad():
            logits = demo.model(ids[None, :-1]).logits[0]
        loss += float(torch.nn.functional.cross_entropy(logits, ids[1:], reduction="sum"))
        count += len(document.encode())
    return loss / count / float(torch.log(torch.tensor(2.0)))


def test_the_begin_token_of_llama2c_stands_once_before_a_text(shared: Path) -> None:
    from mxhw.flow.graph_lm import GraphLM

    stories = load_model(shared / "models" / "stories260K")
    model = GraphLM(stories, capture(stories))
    assert model.prefix_token_id == 1
    assert model.tok_encode("a cat") == stories.encode(b"a cat").tolist()
    assert model.tok_encode("a cat", add_special_tokens=False) == stories.encode(b"a cat").tolist()[1:]
    assert model.tok_encode("a cat", left_truncate_len=1) == stories.encode(b"a cat").tolist()[-1:]


def test_bad_tasks_are_one_line(tasks: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^include path '.*none' is no folder"):
        load_tasks(NAMES, tmp_path / "none")
    with pytest.raises(InputError, match=r"^no task 'tiny_chioce' in lm-eval or .*; did you mean 'tiny_choice'\?$"):
        load_tasks(["tiny_chioce"], tasks)
    with pytest.raises(InputError, match=r"^task 'tiny_generation' is of type generate_until; graphs score"):
        load_tasks(["tiny_generation"], tasks)
    spoilt = write_tasks(tmp_path)
    (spoilt / "data.jsonl").unlink()
    with pytest.raises(InputError, match=r"^tasks tiny_choice cannot be loaded: ") as error:
        load_tasks(["tiny_choice"], spoilt)
    assert "\n" not in str(error.value)
    (spoilt / "tiny_choice.yaml").write_text("task: tiny_choice\noutput_type: guessing\n")
    with pytest.raises(InputError, match=r"^tasks tiny_choice cannot be loaded: "):
        load_tasks(["tiny_choice"], spoilt)


def test_requests_that_do_not_fit_are_refused(loaded: LoadedModel, graph: Graph, tmp_path: Path) -> None:
    suite = load_tasks(["tiny_choice"], write_tasks(tmp_path, long_choice=" and a dog" * 40))
    with pytest.raises(InputError, match=rf"^a continuation of \d+ tokens is longer than the context of {CONTEXT}"):
        run_tasks(suite, loaded, graph)
    static = capture(loaded, sequence=CONTEXT, dynamic=False)
    with pytest.raises(InputError, match=r"requests of all lengths; capture the graph with dynamic=True"):
        run_tasks(suite, loaded, static)


def test_a_model_without_a_tokenizer_is_refused(loaded: LoadedModel, graph: Graph, tasks: Path, tmp_path: Path) -> None:
    loaded.model.save_pretrained(tmp_path)
    bare = load_model(tmp_path)
    with pytest.raises(InputError, match=r"has no tokenizer\.json and a vocabulary of 300"):
        run_tasks(load_tasks(["tiny_rolling"], tasks), bare, graph)
    mute = replace(loaded.encode, tokenizer=type(loaded.tokenizer)(tokenizer_object=loaded.tokenizer._tokenizer))
    with pytest.raises(InputError, match=r"has neither a begin token nor an end token"):
        run_tasks(load_tasks(["tiny_rolling"], tasks), replace(loaded, encode=mute), graph)


def test_nothing_is_downloaded_unless_asked_for(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for given, expected in (({}, "1"), ({"HF_DATASETS_OFFLINE": "0"}, "0"), ({"HF_HUB_OFFLINE": "0"}, None)):
        for name in ("HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        load_tasks(["tiny_choice"], tasks)
        assert os.environ.get("HF_DATASETS_OFFLINE") == expected


@pytest.mark.parametrize("package", ["lm_eval", "accelerate"])
def test_without_the_extra_the_message_names_it(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        InputError,
        match=rf"^tasks of lm-eval: package {package} is needed and not installed: pip install 'mxhw\[eval\]'$",
    ):
        load_tasks(NAMES)
