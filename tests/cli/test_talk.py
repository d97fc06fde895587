"""`mxhw talk` lets an emitted language model talk, says what that took, and refuses what it cannot in one line."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mxhw.flow.talk import Conversation, Sampling
from mxhw.sim.design import image_header
from tests.cli.conftest import Ran
from tests.sim.dataflow_toy import write_dataflow_toy
from tests.sim.faulty import edit_source
from tests.sim.language_toy import ASSIGNMENT, SoftwareToy, write_language_toy

Command = Callable[..., Ran]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_toy(tmp_path_factory.mktemp("talk") / "toy")


def expected(*prompts: str, tokens: int, sampling: Sampling | None = None) -> list[list[int]]:
    conversation = Conversation(SoftwareToy(), [list(p.encode()) for p in prompts], tokens=tokens, sampling=sampling)
    list(conversation)
    return [line.generated for line in conversation.lines]


def shown(ids: list[int]) -> str:
    """Return how a terminal gets the bytes: control characters are not obeyed."""
    text = bytes(ids).decode("utf-8", "replace")
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 else c for c in text
    )


def test_people_read_prompt_and_answer_and_what_it_took(mxhw_command: Command, folder: Path) -> None:
    ran = mxhw_command("talk", folder, "--prompt", "The river", "--tokens", 20)
    assert ran.code == 0, ran.err
    (answer,) = expected("The river", tokens=20)
    assert "The river" + shown(answer) + "\nprompt: 9 tokens in" in ran.out
    for words in (
        "generated: 20 tokens;",
        "cycles a token after the prompt, the last",
        "tokens/s at 200 MHz (clock of platform asap7)",
        "simulation: ",
        "tokens/s after the prompt; ",
    ):
        assert words in ran.out


def test_json_has_the_ids_and_all_figures(mxhw_command: Command, folder: Path) -> None:
    ran = mxhw_command("talk", folder, "--prompt", "The river", "--tokens", 6, "--clock", 5e8, "--json")
    assert ran.code == 0, ran.err
    record = ran.json
    (answer,) = expected("The river", tokens=6)
    (line,) = record["sequences"]
    assert (line["prompt"], line["generated"], line["ended"]) == (list(b"The river"), answer, "tokens")
    assert line["text"] == bytes(answer).decode("utf-8", "replace")
    assert (record["prompt_tokens"], record["generated_tokens"], len(record["decode_cycles"])) == (9, 6, 5)
    (clock,) = record["clocks"]
    assert (clock["hz"], clock["source"]) == (5e8, "as given")
    assert clock["tokens_per_second"] == pytest.approx(5e8 / record["cycles_per_token"])
    assert record["cycles_per_token"] == sum(record["decode_cycles"]) / 5
    assert record["cycles"] == record["prefill_cycles"] + sum(record["decode_cycles"])
    assert record["simulated_cycles_per_second"] > 0 and record["simulated_tokens_per_second"] > 0
    again = mxhw_command("talk", folder, "--prompt", "The river", "--tokens", 6, "--json").json
    assert again["sequences"] == record["sequences"]
    assert again["decode_cycles"] == record["decode_cycles"]


def test_several_prompts_are_continued_together(mxhw_command: Command, folder: Path) -> None:
    words = ("--prompt", "One", "--prompt", "Seven", "--ids", "65,66", "--tokens", 5)
    ran = mxhw_command("talk", folder, *words)
    assert ran.code == 0, ran.err
    prompts = ("One", "Seven", "AB")
    for number, (prompt, answer) in enumerate(zip(prompts, expected(*prompts, tokens=5), strict=True), 1):
        assert f"[{number}] {prompt}{shown(answer)}\n" in ran.out
    record = mxhw_command("talk", folder, *words, "--json").json
    assert [line["generated"] for line in record["sequences"]] == expected(*prompts, tokens=5)
    assert record["cycles_per_token"] == sum(record["decode_cycles"]) / 12


def test_draws_are_repeated_by_their_seed(mxhw_command: Command, folder: Path) -> None:
    def draw(*words: object) -> list[int]:
        ran = mxhw_command("talk", folder, "--prompt", "x", "--tokens", 12, *words, "--json")
        assert ran.code == 0, ran.err
        found: list[int] = ran.json["sequences"][0]["generated"]
        return found

    assert [draw("--temperature", 4, "--seed", 3)] == expected("x", tokens=12, sampling=Sampling(4.0, seed=3))
    assert [draw("--top-k", 9)] == expected("x", tokens=12, sampling=Sampling(1.0, top_k=9))
    assert draw("--temperature", 4, "--seed", 3) != draw("--temperature", 4, "--seed", 4)
    assert [draw("--temperature", 0, "--top-k", 9)] == [draw()] == expected("x", tokens=12)


def test_an_end_token_ends_the_answer(mxhw_command: Command, tmp_path: Path) -> None:
    (whole,) = expected("x", tokens=12)
    folder = write_language_toy(tmp_path, eos=whole[4])
    record = mxhw_command("talk", folder, "--prompt", "x", "--tokens", 12, "--json").json
    (line,) = record["sequences"]
    assert (line["generated"], line["ended"]) == (whole[: whole.index(whole[4]) + 1], "eos")


def test_a_model_without_tokenizer_reads_and_writes_ids(
    mxhw_command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mxhw.flow.talk_text.load_tokenizer", lambda *_: None)
    refused(mxhw_command("talk", folder, "--prompt", "x"), "has no tokenizer; give token ids, for instance --ids 1,2,3")
    (answer,) = expected("AB", tokens=4)
    said = " ".join(map(str, [65, 66, *answer]))
    assert said + "\nprompt: 2 tokens" in mxhw_command("talk", folder, "--ids", "65 66", "--tokens", 4).out
    ran = mxhw_command("talk", folder, "--ids", "65 66", "--ids", "67", "--tokens", 4)
    assert f"[1] {said}\n" in ran.out
    ran = mxhw_command("talk", folder, "--ids", "65 66", "--tokens", 4, "--json")
    assert (ran.json["sequences"][0]["text"], ran.json["sequences"][0]["generated"]) == (None, answer)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ((), "there is no prompt; give --prompt TEXT, or token ids with --ids LIST"),
        (("--prompt", ""), "prompt is empty; give at least one token"),
        (("--ids", ""), "prompt is empty"),
        (("--ids", "1,a"), "ids must be token ids such as 1,2,3, not '1,a'"),
        (("--ids", "1,256"), "prompt must have token ids from 0 to 255, not 256"),
        (("--prompt", "x" * 60, "--tokens", 5), "prompt of 60 tokens and 5 new ones are 65, more than the 64"),
        (("--prompt", "a", "--prompt", "b", "--prompt", "c", "--prompt", "d"), "KV caches for 3 sequences, not 4"),
        (("--prompt", "x", "--tokens", 0), "tokens must be at least 1, not 0"),
        (("--prompt", "x", "--temperature", -1), "temperature must be 0"),
        (("--prompt", "x", "--top-k", 0), "top-k must be at least 1 logit, not 0"),
        (("--prompt", "x", "--top-k", 300), "top-k must be at most the vocabulary of 256, not 300"),
        (("--prompt", "x", "--seed", -1), "seed must be 0 or more, not -1"),
        (("--prompt", "x", "--clock", 0), "clock must be more than 0 Hz, such as 2e8, not 0.0"),
    ],
)
def test_what_cannot_be_said_is_refused_in_one_line(
    mxhw_command: Command, folder: Path, words: tuple[object, ...], part: str
) -> None:
    refused(mxhw_command("talk", folder, *words), part)


def refused(ran: Ran, part: str) -> None:
    assert ran.code == 2, ran
    (line,) = ran.err.strip().splitlines()
    assert line.startswith("mxhw: error: ") and part in line
    assert ran.out == ""


def test_damaged_folders_are_refused_before_anything_is_built(
    mxhw_command: Command, folder: Path, tmp_path: Path
) -> None:
    def talk(place: Path) -> Ran:
        return mxhw_command("talk", place, "--prompt", "x")

    refused(talk(tmp_path / "none"), f"`mxhw emit MODEL --lm --out {tmp_path / 'none'}` makes one")
    refused(talk(write_dataflow_toy(tmp_path / "block")), "the design toy, which is not a whole language model")
    copy = Path(shutil.copytree(folder, tmp_path / "toy"))
    image = copy / "images" / "gains.hex"
    text = image.read_text()
    image.write_text(text.replace(image_header(ASSIGNMENT), image_header("6b" * 32)))
    refused(
        talk(copy), f"gains.hex is an image of assignment {'6b' * 8}, but design.json is of {ASSIGNMENT[:16]}; emit"
    )
    image.write_text(text[:-10])
    refused(talk(copy), "words, but design.json says 256; emit the design again")
    image.unlink()
    refused(talk(copy), "cannot read the memory image")
    (copy / "design.json").write_text((copy / "design.json").read_text()[:100])
    refused(talk(copy), "Invalid JSON")


def test_a_design_that_stops_or_lies_fails(mxhw_command: Command, folder: Path, tmp_path: Path) -> None:
    lies = Path(shutil.copytree(folder, tmp_path / "lies"))
    edit_source(
        lies, "toy_language.v", r"assign arg_max_payload = best_index;", "assign arg_max_payload = best_index ^ 1;"
    )
    ran = mxhw_command("talk", lies, "--prompt", "x")
    assert ran.code == 1
    assert "toy_language: the simulation broke off: arg_max says that logit" in ran.out
    stops = Path(shutil.copytree(folder, tmp_path / "stops"))
    edit_source(stops, "toy_language.v", r"waited == position;", "waited == position & position != 4;")
    ran = mxhw_command("talk", stops, "--prompt", "x", "--json")
    assert ran.code == 1
    assert "no beat moved for 4096 cycles: deadlock" in ran.err
