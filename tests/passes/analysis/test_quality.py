"""Perplexity, KL and agreement equal a direct computation from logits."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import exp, log

import pytest
import torch
from torch import Tensor

from mxhw.errors import InputError
from mxhw.ir import Graph
from mxhw.passes.analysis import Evaluate, EvaluateConfig, QualityEvaluator
from mxhw.passes.transform import Quantize, QuantizeConfig
from mxhw.passes.transform.lower import calibrate


@pytest.fixture(scope="module")
def noisy(tiny: Graph, uniform) -> Graph:
    config = QuantizeConfig(assignment=uniform("bitmod3", "int8-e8m0", "int8-e8m0"))
    return Quantize(config)(tiny).graph


def test_equals_direct_computation(tiny: Graph, noisy: Graph, windows: Tensor, evaluator: QualityEvaluator) -> None:
    reference, own = (graph.run(windows)[:, :-1].double().log_softmax(-1) for graph in (tiny, noisy))
    targets = windows[:, 1:]
    quality = evaluator(noisy)
    loss = -own.gather(-1, targets[..., None]).mean()
    assert quality.tokens == targets.numel()
    assert quality.perplexity == pytest.approx(exp(float(loss)), rel=1e-5)
    assert quality.bits_per_byte == pytest.approx(float(loss) / log(2), rel=1e-5)
    kl = torch.nn.functional.kl_div(own, reference, log_target=True, reduction="none").sum(-1).mean()
    assert quality.kl == pytest.approx(float(kl), rel=1e-4)
    assert quality.agreement == pytest.approx(float((own.argmax(-1) == reference.argmax(-1)).double().mean()))


def test_float_graph_is_its_own_reference(evaluator: QualityEvaluator) -> None:
    quality = evaluator.reference()
    assert quality.kl == pytest.approx(0, abs=1e-9)
    assert quality.agreement == 1


def test_batch_and_caching_do_not_change_results(tiny, noisy, windows, evaluator) -> None:
    expected = evaluator(noisy).to_json()
    for batch, keep in ((2, True), (3, False), (1, False)):
        other = QualityEvaluator(tiny, windows, bytes_per_token=1.0, batch=batch, keep_logits=keep)
        assert other(noisy).to_json() == pytest.approx(expected, rel=1e-4)


def test_many_float_predictions_are_computed_again_instead_of_kept(
    tiny: Graph, noisy: Graph, windows: Tensor, evaluator: QualityEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 4 * windows.numel() * 64
    for limit, expected in ((size, ["float model"]), (size - 1, ["evaluate"])):
        monkeypatch.setattr("mxhw.passes.analysis.quality._MOST_KEPT", limit)
        shown = Shown()
        other = QualityEvaluator(tiny, windows, bytes_per_token=1.0, progress=shown)
        assert other.reference() == evaluator.reference()
        assert shown.tasks == {name: len(windows) for name in expected}
        assert other(noisy) == evaluator(noisy)


class Shown:
    """A progress that remembers how many steps each task was told of."""

    def __init__(self) -> None:
        self.tasks: dict[str, float] = {}

    @contextmanager
    def task(self, description: str, total: float) -> Iterator["Shown"]:
        self.current = description
        self.tasks[description] = 0
        yield self
        assert self.tasks[description] == total

    def advance(self, steps: float = 1) -> None:
        self.tasks[self.current] += steps

    def note(self, text: str) -> None:
        pass


def test_windows_too_short_are_refused(tiny: Graph) -> None:
    with pytest.raises(InputError, match="at least 2 tokens"):
        QualityEvaluator(tiny, torch.zeros(3, 1, dtype=torch.int64))


def test_evaluate_takes_either_arithmetic(evaluator: QualityEvaluator, uniform) -> None:
    assignment = uniform("bitmod4", "int8-e8m0", "int8-e8m0")
    near, exact = (
        Evaluate(EvaluateConfig(assignment=assignment, arithmetic=mode), evaluator).evaluation(evaluator.graph)
        for mode in ("float", "hardware")
    )
    assert exact.quantization["mac_coverage"] == 1
    assert exact.ledger == near.ledger
    assert exact.quality.perplexity == pytest.approx(near.quality.perplexity, rel=0.05)
    assert near.quality.kl > 0


def test_evaluate_takes_integers(evaluator: QualityEvaluator, windows: Tensor, uniform) -> None:
    assignment = uniform("int8", "int8-e8m0", "int8-e8m0")
    graph = evaluator.graph
    config = EvaluateConfig(assignment=assignment, arithmetic="integer", ranges=calibrate(graph, windows))
    found = Evaluate(config, evaluator).evaluation(graph)
    near = Evaluate(EvaluateConfig(assignment=assignment), evaluator).evaluation(graph)
    assert found.quality.perplexity == pytest.approx(near.quality.perplexity, rel=0.02)
    assert found.quality.perplexity != near.quality.perplexity
    assert found.ledger == near.ledger
    assert found.quantization["arithmetic"] == "integer"
    assert found.quantization["saturated"] == 0
    with pytest.raises(InputError, match="integer arithmetic needs ranges"):
        Evaluate(EvaluateConfig(assignment=assignment, arithmetic="integer"), evaluator).evaluation(graph)
