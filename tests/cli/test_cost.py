"""`mxhw cost`: figures that add up, sizes that fit, and one line for whatever cannot be."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mxhw.flow.assignments import uniform_assignment
from mxhw.ir import Assignment
from mxhw.models import capture, load_skeleton
from tests.cli.conftest import Ran

Command = Callable[..., Ran]
pytestmark = pytest.mark.xdist_group("codesign")
CONFIG = Path(__file__).resolve().parents[1] / "models" / "configs" / "llama-3-8b.json"
ASKED = ("--prefill", 16, "--decode", 8)


@pytest.fixture
def model(tiny_config: Path) -> Path:
    return tiny_config.parent / "model"


@pytest.fixture
def uniform(model: Path) -> dict[str, Any]:
    """The default assignment as a file holds it."""
    return uniform_assignment(capture(load_skeleton(model), batch=1, sequence=8)).to_json()


def test_figures_add_up(mxhw_command: Command, model: Path) -> None:
    ran = mxhw_command("cost", model, *ASKED, "--json")
    assert ran.code == 0, ran.err
    found = ran.json
    assert found["without"] == found["without_rtl"] == []
    for name, tokens in (("prefill", 16), ("decode", 8)):
        phase = found[name]
        assert phase["tokens"] == tokens
        assert phase["seconds"] == pytest.approx(phase["cycles"] / found["clock"])
        assert phase["energy"]["total"] == pytest.approx(sum(phase["energy"]["terms"].values()))
        assert phase["joules_per_token"] == pytest.approx(phase["energy"]["total"] * 1e-12 / tokens)
        assert phase["bytes_per_token"] == pytest.approx(sum(phase["bits"].values()) / 8 / tokens)
        assert {"logic", "static"} <= set(phase["energy"]["terms"])
    assert found["time_to_first_token"] == found["prefill"]["seconds"]
    assert found["resources"]["area"] <= found["budget"]["area"]
    assert sum(part.get("area", 0) for part in found["by_part"].values()) == pytest.approx(found["resources"]["area"])


def test_people_see_time_energy_and_where_memories_lie(mxhw_command: Command, model: Path) -> None:
    shown = mxhw_command("cost", model, *ASKED, "--rows", 2).out
    for word in ("time to first token, s", "tokens/s", "µJ/token", "decode by operation", "weights inside", "2 rows"):
        assert word in shown
    assert "mlp.down_proj.requantize" in mxhw_command("cost", model, *ASKED, "--rows", 1, "--steps").out


def test_the_roofline_is_drawn(mxhw_command: Command, model: Path, tmp_path: Path) -> None:
    ran = mxhw_command("cost", model, *ASKED, "--rows", 1, "--plot", tmp_path / "roof.svg")
    assert ran.code == 0, ran.err
    assert (tmp_path / "roof.svg").read_text(encoding="utf-8").lstrip().startswith("<?xml")


def test_an_assignments_sizes_are_taken(
    mxhw_command: Command, model: Path, uniform: dict[str, Any], tmp_path: Path
) -> None:
    sized = mxhw_command("cost", model, *ASKED, "--rows", 1, "--json").json
    assignment = Assignment.from_json(uniform)
    arrays = {key.partition(":")[0]: (2, 4) for key in assignment.formats if key.endswith(":weight")}
    file = tmp_path / "assignment.json"
    Assignment(assignment.model, assignment.formats, arrays).save(file)
    chosen = mxhw_command("cost", model, *ASKED, "--assignment", file, "--json")
    assert chosen.code == 0, chosen.err
    assert chosen.json["rows"] == 2
    assert chosen.json["resources"] != sized["resources"]


@pytest.mark.slow
def test_a_large_model_needs_no_weights(mxhw_command: Command) -> None:
    words = ("cost", CONFIG, "--config-only", "--platform", "u55c", "--prefill", 2048, "--decode", 256, "--json")
    found = mxhw_command(*words).json
    weights = 8.03e9 - 128256 * 4096  # the embedding's rows are looked up, not multiplied
    moved = found["decode"]["bytes_per_token"]
    # Weights of 4.08 bits, keys and values of 2,176 tokens of INT8 each with its scale.
    caches = 2 * 32 * (2048 + 128) * (1024 + 4)
    assert moved == pytest.approx(weights * 4.0845 / 8 + caches, rel=0.02)
    assert found["placement"]["weights"] == "tiles"
    assert found["tokens_per_second"] < 460e9 / moved
    assert "block 0: self_attn.q_proj" in found["without_rtl"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--platform", "u55d"), "no platform 'u55d': known are .*did you mean 'u55c'"),
        (("--place", "weights"), "--place takes NAME=VALUE"),
        (("--place", "weight=tiles"), "no placement of 'weight', only of weights.*did you mean 'weights'"),
        (("--place", "weights=outside"), "placement of weights must be inside or layers or tiles, not 'outside'"),
        (("--budget", "areas=3"), "platform 'asap7' has no budget 'areas'; it has area"),
        (("--budget", "area=much"), "budget 'area' must be a number, not 'much'"),
        (("--memory", 0), "must be positive and finite, not 0"),
        (("--port", 33), "a multiple of 32 bits, not 33"),
    ],
)
def test_bad_input_is_one_line(mxhw_command: Command, model: Path, words: tuple[object, ...], message: str) -> None:
    ran = mxhw_command("cost", model, "--rows", 1, *words)
    assert ran.code == 2
    assert len(ran.err.strip().splitlines()) == 1
    assert re.search(message, ran.err)


def test_an_assignment_of_another_model_is_refused(
    mxhw_command: Command, model: Path, uniform: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "other.json"
    renamed = {key.replace("layers.0", "layers.7"): value for key, value in uniform["formats"].items()}
    file.write_text(json.dumps({**uniform, "formats": renamed}), encoding="utf-8")
    ran = mxhw_command("cost", model, "--assignment", file)
    assert (ran.code, len(ran.err.strip().splitlines())) == (2, 1)
    assert "layers.7" in ran.err
    fewer = {key: value for key, value in uniform["formats"].items() if "layers.0" not in key}
    file.write_text(json.dumps({**uniform, "formats": fewer}), encoding="utf-8")
    ran = mxhw_command("cost", model, "--assignment", file)
    assert (ran.code, len(ran.err.strip().splitlines())) == (2, 1)
    assert "layers.0" in ran.err
    assert "gives its" in ran.err


def test_a_format_without_hardware_and_a_model_without_room_are_refused(
    mxhw_command: Command, model: Path, uniform: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "nvfp4.json"
    formats = {**uniform["formats"], "lm_head:weight": "nvfp4"}
    file.write_text(json.dumps({**uniform, "formats": formats}), encoding="utf-8")
    ran = mxhw_command("cost", model, "--assignment", file)
    assert (ran.code, len(ran.err.strip().splitlines())) == (2, 1)
    assert "node 'lm_head': no hardware unit multiplies" in ran.err
    ran = mxhw_command("cost", CONFIG, "--config-only", "--platform", "ecp5-85", "--prefill", 64, "--decode", 8)
    assert (ran.code, len(ran.err.strip().splitlines())) == (2, 1)
    assert "does not fit platform 'ecp5-85'" in ran.err
