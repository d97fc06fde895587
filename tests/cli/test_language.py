"""`mxhw emit --lm`, `mxhw cosim` and `mxhw talk` on what it wrote; what cannot be is one line and leaves nothing."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import mxhw.hardware
from mxhw.passes.transform.fold import continued
from mxhw.sim.dataflow_design import DataflowDesign
from mxhw.sim.design import image_header
from tests.cli.conftest import Ran
from tests.cli.test_bad_input import one_line
from tests.cli.test_emit_block import contents, one_line_at_the_end
from tests.tiny_language import CHUNK, KEYS, PROMPTS, TOKENS, TinyLanguage, TinyModel

Command = Callable[..., Ran]
pytestmark = pytest.mark.xdist_group("tiny_language")


@pytest.fixture
def emit(mxhw_command: Command, tiny_language_model: TinyModel) -> Command:
    """Return a function that runs `mxhw emit --lm` on the tiny model."""

    def run(*words: object) -> Ran:
        model = tiny_language_model
        given = ("--assignment", model.assignment, "--calibration", model.calibration, "--keys", KEYS)
        return mxhw_command("emit", model.folder, "--lm", *given, "--tokens", TOKENS, "--chunk", CHUNK, *words)

    return run


@pytest.fixture
def folder(tiny_language: TinyLanguage, tmp_path: Path) -> Path:
    """A copy of the design, to be damaged or written to."""
    return Path(shutil.copytree(tiny_language.folder, tmp_path / "design"))


def test_the_command_writes_the_design_that_the_library_writes(
    emit: Command, tiny_language: TinyLanguage, tmp_path: Path
) -> None:
    out = tmp_path / "design"
    texts = [word for prompt in PROMPTS for word in ("--prompt", prompt)]
    ran = emit(*texts, "--out", out, "--json")
    assert ran.code == 0, ran.err
    for part in ("images", "beats"):
        assert contents(out / part) == contents(tiny_language.folder / part) != {}
    design, other = (DataflowDesign.load(place) for place in (out, tiny_language.folder))
    assert design.model_copy(update={"hash": other.hash}) == other
    assert [step["name"] for step in ran.json["steps"]] == [step.name for step in design.steps]
    assert (ran.json["hash"], ran.json["cycles"]) == (design.hash, design.cycles)


def test_cosim_says_for_programs_what_is_equal(mxhw_command: Command, folder: Path) -> None:
    ran = mxhw_command("cosim", folder, "--stall", 0.4, "--seed", 4, "--json")
    assert ran.code == 0, ran.err
    (case,) = ran.json["designs"]
    assert case["equal"]
    assert [phase["name"] for phase in case["phases"]] == ["prefill", "decode"]
    assert all(abs(phase["error"]) <= 0.01 for phase in case["phases"])


def test_people_read_that_it_is_equal_and_how_long_prompts_and_tokens_take(mxhw_command: Command, folder: Path) -> None:
    ran = mxhw_command("cosim", folder)
    assert ran.code == 0, ran.err
    assert "mismatches: equal, bit for bit" in " ".join(ran.out.split())
    for words in ("prefill of 16 tokens: ", "decode of 14 tokens: "):
        assert re.search(words + r"[\d,]+ cycles, predicted [\d,]+ \([+-]0\.\d\d%\)", ran.out)


def test_it_answers_with_the_tokens_of_the_software(
    mxhw_command: Command, tiny_language: TinyLanguage, folder: Path
) -> None:
    whole = tiny_language.graph.whole

    def answer(ids: list[int], tokens: int) -> list[int]:
        return torch.cat(list(continued(whole, torch.tensor(ids), tokens))).tolist()

    ran = mxhw_command("talk", folder, "--prompt", "Who are you?", "--ids", "9,200", "--tokens", 7, "--json")
    assert ran.code == 0, ran.err
    found = [(line["prompt"], line["generated"]) for line in ran.json["sequences"]]
    assert found == [(ids, answer(ids, 7)) for ids in (list(b"Who are you?"), [9, 200])]
    alone = mxhw_command("talk", folder, "--ids", "9,200", "--tokens", 7, "--json").json
    assert alone["sequences"][0]["generated"] == found[1][1]
    shown = mxhw_command("talk", folder, "--ids", "9,200", "--tokens", 7)
    assert shown.code == 0, shown.err
    assert "prompt: 2 tokens in" in shown.out and "cycles a token after the prompt" in shown.out


def test_a_word_that_changed_is_told_with_layer_sequence_and_position(mxhw_command: Command, folder: Path) -> None:
    image = folder / "images" / "layers_mlp_down_proj.weights.hex"
    head, *words = image.read_text().splitlines()
    words[len(words) // 2] = f"{int(words[len(words) // 2], 16) ^ 8:0{len(words[0])}x}"
    image.write_text("\n".join([head, *words]) + "\n")
    ran = mxhw_command("cosim", folder)
    assert ran.code == 1
    said = " ".join(ran.out.split())
    assert "step model.layers.mlp.down_proj (layers_mlp_down_proj, linear)" in said
    assert "(layer 1, sequence 0, position " in said
    assert "NOT equal" in said


@pytest.mark.parametrize("command", [("cosim",), ("talk", "--prompt", "a", "--tokens", 2)])
def test_images_of_another_assignment_are_refused(
    mxhw_command: Command, folder: Path, command: tuple[str, ...]
) -> None:
    design = DataflowDesign.load(folder)
    assert design.language is not None
    image = folder / "images" / "layers_self_attn_v_proj.weights.hex"
    other = image_header("0123456789abcdef" * 4)
    image.write_text(re.sub(r"\A//[^\n]*\n", other, image.read_text()))
    ran = mxhw_command(command[0], folder, *command[1:])
    both = f"of assignment 0123456789abcdef, but design.json is of {design.language.assignment_hash[:16]}"
    one_line_at_the_end(ran, str(image), both, "emit the design again")


@pytest.mark.slow
def test_images_that_another_emission_wrote_are_refused(
    emit: Command, mxhw_command: Command, tiny_language_model: TinyModel, folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    assert emit("--assignment", tiny_language_model.other, "--prompt", "a", "--out", other).code == 0
    name = "images/layers_self_attn_v_proj.weights.hex"
    assert (other / name).read_text().split("\n", 1)[1] != (folder / name).read_text().split("\n", 1)[1]
    shutil.copy(other / name, folder / name)
    for command in (("cosim", folder), ("talk", folder, "--prompt", "a", "--tokens", 2)):
        one_line_at_the_end(mxhw_command(*command), str(folder / name), "is an image of assignment", "but design.json")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--block", "model.layers.0"), ("--block cannot be used here", "--lm emits the whole model")),
        (("--rows", 2), ("--rows cannot be used here",)),
        (("--node", "lm_head", "--layers"), ("--node, --layers cannot be used here",)),
        (("--text", "heldout.txt"), ("--text cannot be used here",)),
        (("--prompt", "a", "--prompt", "b", "--prompt", "c"), ("3 prompts for 2 sequences", "more --sequences")),
        (("--prompt", "x" * 17), ("a prompt must have 1 to 16 tokens", "24 positions of the KV memory", "not 17")),
        (("--prompt", ""), ("a prompt must have 1 to 16 tokens", "not 0")),
        (("--keys", 33), ("keys must be at most the model's context of 32 positions, not 33",)),
        (("--keys", 8), ("keys must be more than the 8 tokens that are written, not 8",)),
        (("--platform", "asap8"), ("no platform 'asap8'", "did you mean 'asap7'")),
        (("--assignment", "none.json"), ("none.json",)),
    ],
)
def test_what_cannot_be_emitted_leaves_nothing(
    emit: Command, tmp_path: Path, words: tuple[object, ...], parts: tuple[str, ...]
) -> None:
    one_line_at_the_end(emit(*words, "--out", tmp_path / "out"), *parts)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [("--prompt", "a"), ("--unfolded",), ("--sequences", 2), ("--chunk", 4)])
def test_what_belongs_to_a_language_model_needs_lm(
    mxhw_command: Command, tiny_language_model: TinyModel, tmp_path: Path, words: tuple[object, ...]
) -> None:
    ran = mxhw_command("emit", tiny_language_model.folder, *words, "--out", tmp_path / "out")
    one_line(ran, f"{words[0]} cannot be used here", "add --lm")
    assert not list(tmp_path.iterdir())


def test_ids_outside_the_vocabulary_are_refused(emit: Command, tmp_path: Path) -> None:
    for file, bad in (("big.npy", 256), ("negative.npy", -1)):
        np.save(tmp_path / file, np.array([1, 2, bad] * 40))
        ran = emit("--calibration", tmp_path / file, "--prompt", "a", "--out", tmp_path / "out")
        one_line_at_the_end(ran, file, "must be from 0 to 255", str(bad))
    assert not (tmp_path / "out").exists()


def test_weights_that_a_platform_cannot_hold_are_refused(emit: Command, tmp_path: Path) -> None:
    small, shipped = tmp_path / "small.toml", Path(mxhw.hardware.__file__).parent / "data/platforms/ecp5-85.toml"
    small.write_text(re.sub(r"(\[budget\.bram\]\nvalue =) \d+", r"\1 3", shipped.read_text()))
    ran = emit("--prompt", "a", "--platform", small, "--out", tmp_path / "out")
    one_line_at_the_end(ran, "exceeds platform 'ecp5-85'", "(bram)", "above the 3 that may be used", "narrower formats")
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]


@pytest.mark.slow
def test_the_shipped_model_does_not_fit_a_small_device(mxhw_command: Command, tmp_path: Path) -> None:
    words = ("--prompt", "a", "--keys", 64, "--tokens", 2, "--platform", "ecp5-85", "--out", tmp_path / "out")
    one_line_at_the_end(mxhw_command("emit", "demo", "--lm", *words), "exceeds platform 'ecp5-85'", "(bram)")
    assert not list(tmp_path.iterdir())


def test_what_lies_in_the_folder_stays(emit: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("years")
    one_line(emit("--out", tmp_path / "file"), "is a file")
    for force in ((), ("--force",)):
        one_line(emit("--out", tmp_path / "folder", *force), "holds something that is no dataflow design")
    assert contents(tmp_path) == {"file": b"mine", "folder/thesis.txt": b"years"}


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--ids", "1,256"), ("token ids from 0 to 255, not 256",)),
        (("--ids=-1",), ("token ids from 0 to 255, not -1",)),
        (("--prompt", "x" * 20, "--tokens", 5), ("20 tokens and 5 new ones are 25, more than the 24",)),
        (("--prompt", "a", "--prompt", "b", "--prompt", "c"), ("KV caches for 2 sequences, not 3",)),
        ((), ("there is no prompt",)),
    ],
)
def test_what_it_cannot_answer_is_refused(
    mxhw_command: Command, tiny_language: TinyLanguage, words: tuple[object, ...], parts: tuple[str, ...]
) -> None:
    one_line(mxhw_command("talk", tiny_language.folder, *words), *parts)


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        (lambda text: text[:500], "JSON"),
        (lambda text: "", "JSON"),
        (lambda text: text.replace('"keys": 24', '"keys": 48'), "input requests has"),
        (lambda text: text.replace('"sequences": 2', '"sequences": 3'), "input requests has"),
        (lambda text: text.replace('"language": ', '"langage": '), "unknown field langage; did you mean 'language'"),
        (lambda text: text.replace('"logits_bits": ', '"logits_bits": 1'), "but language says"),
    ],
)
def test_a_damaged_record_is_refused(
    mxhw_command: Command, folder: Path, damage: Callable[[str], str], part: str
) -> None:
    path = folder / "design.json"
    changed = damage(path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)
    for command in (("cosim", folder), ("talk", folder, "--prompt", "a", "--tokens", 2)):
        one_line(mxhw_command(*command), str(path), part, "emit the design again")


def test_talk_needs_a_language_model(mxhw_command: Command, folder: Path) -> None:
    record = json.loads((folder / "design.json").read_text())
    (folder / "design.json").write_text(json.dumps({**record, "language": None}))  # the record of a block
    ran = mxhw_command("talk", folder, "--prompt", "a")
    one_line(ran, "which is not a whole language model", "`mxhw emit MODEL --lm --out")
