"""Formats by output channel in native checkpoints, also where the model holds the transpose of what is multiplied."""

from pathlib import Path

import pytest

from mxhw.ir import Assignment
from tests.models.export.round_trip import captured, difference, export, saved


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_reloaded_model_equals_the_rounded_graph(name: str, tmp_path: Path) -> None:
    source = saved(name, tmp_path / "model")
    sites = captured(source).sites
    outputs = {key: int(site.shape[0]) for key, site in sites.items() if site.operand == "weight"}
    assert len(outputs) > 4

    def assignment(first: int) -> Assignment:
        return Assignment(name, {key: f"bitmod4*{first}+bitmod3*5+int8*{n - 5 - first}" for key, n in outputs.items()})

    report = export(source, assignment(3), tmp_path / "out", to="native")
    assert difference(source, assignment(3), report) == 0.0
    assert difference(source, assignment(4), report) > 0.0
