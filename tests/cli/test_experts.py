"""The commands on a directory with a mixture of experts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran
from tests.ir.zoo import ids
from tests.ir.zoo_experts import HIDDEN, MIXTURES, captured_mixture, eager_mixture

Command = Callable[..., Ran]
NAMES = {f"model.layers.{layer}.mlp.experts.{part}" for layer in range(2) for part in ("gate_up_proj", "down_proj")}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as users have it: one tensor per expert, which transformers puts together."""
    folder = tmp_path_factory.mktemp("mixtral")
    eager_mixture("mixtral").save_pretrained(folder)
    return folder


def test_capture_counts_active_experts(mxhw_command: Command, checkpoint: Path) -> None:
    found = mxhw_command("capture", checkpoint, "--sequence", 16, "--json").json
    experts = next(row for row in found["operations"] if row["op"] == "expert_linear")
    mixture = MIXTURES["mixtral"]
    macs = 2 * 16 * mixture.active * 3 * HIDDEN * mixture.intermediate
    assert experts == {"op": "expert_linear", "nodes": 4, "macs": macs}
    assert found["macs"] == captured_mixture("mixtral").macs(1, 16)
    assert found["macs_with_hardware"] == found["macs"] - macs


def test_cost_names_experts_as_without_hardware(mxhw_command: Command, checkpoint: Path) -> None:
    words = ("--prefill", 16, "--decode", 4, "--rows", 1, "--budget", "area=1e7", "--json")
    found = mxhw_command("cost", checkpoint, *words).json
    named = {name.partition(": ")[2] for name in found["without_rtl"]}
    assert {name.removeprefix("model.layers.0.") for name in NAMES if ".0." in name} == named
    graph = captured_mixture("mixtral")
    weights = sum(graph.weight(info.name).numel() for info in graph.weighted)
    assert found["ledger"]["weight_bits"] > 4 * weights


def test_a_loaded_checkpoint_is_the_model_that_was_saved(checkpoint: Path) -> None:
    from mxhw.models import capture

    tokens = ids(2, 16)
    assert (capture(checkpoint, sequence=16).run(tokens) == captured_mixture("mixtral").run(tokens)).all()
