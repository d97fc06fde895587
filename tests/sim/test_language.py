"""An emitted language model answers requests as its software does; its folder is looked at before anything is built."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mxhw.errors import InputError
from mxhw.sim import StreamError, lint, run_dataflow
from mxhw.sim.dataflow_design import DataflowDesign
from mxhw.sim.design import check_image, image_header
from mxhw.sim.language import LanguageSimulation, TokenRequest, _signed_lanes, load_language_design
from tests.sim.dataflow_toy import write_dataflow_toy
from tests.sim.faulty import edit_source
from tests.sim.language_toy import ASSIGNMENT, CHUNK, SoftwareToy, toy_language, write_language_toy
from tests.sim.toy import write_toy

OTHER = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_toy(tmp_path_factory.mktemp("language"))


def random_requests(count: int) -> list[TokenRequest]:
    """Return requests of three sequences, some begun anew, some out of place, in chunks of all lengths."""
    choose, lengths, answered, asked, size = np.random.default_rng(count), [0, 0, 0], set[int](), [], 0
    for number in range(count):
        sequence = int(choose.integers(3))
        position = int(choose.choice([lengths[sequence], lengths[sequence], lengths[sequence], 0, 5]))
        generated = bool(sequence in answered and choose.integers(2))
        logits = bool(choose.integers(2)) or number == count - 1
        size = size % CHUNK + 1
        last = bool(choose.integers(3) == 0) or number == count - 1
        size = 0 if last else size
        asked.append(
            TokenRequest(
                token=int(choose.integers(256)),
                position=position,
                sequence=sequence,
                generated=generated,
                logits=logits,
                last=last,
            )
        )
        lengths[sequence] = position + 1 if position < 60 else 0
        answered |= {sequence} if logits else set()
    return asked


def test_the_toy_is_what_it_says_and_lint_clean(folder: Path, cache: Path) -> None:
    assert lint([folder / "toy_language.v"], "toy_language") == ""
    assert run_dataflow(folder, stall=0.4, seed=2, cache=cache).equal
    assert run_dataflow(folder, cache=cache).equal


def test_answers_are_those_of_the_software_and_the_state_stays(folder: Path, cache: Path) -> None:
    software, requests = SoftwareToy(), random_requests(200)
    ends = [0, *(i + 1 for i, request in enumerate(requests) if request.last)]
    with LanguageSimulation(folder, cache=cache) as model:
        for first, last in pairwise(ends):
            answers = model.step(requests[first:last])
            expected = software.step(requests[first:last])
            assert [answer.token for answer in answers] == [answer.token for answer in expected]
            for answer, other in zip(answers, expected, strict=True):
                assert answer.logits.dtype == np.int64 and np.array_equal(answer.logits, other.logits)
        assert model.cycles > 16 * len(requests) / 2
        model.finish()
        for bad, message in (
            ({"token": 256}, "token of a request must be 0 to 255, not 256"),
            ({"position": -1}, "position of a request must be 0 to 63, not -1"),
            ({"sequence": 4}, "sequence of a request must be 0 to 3, not 4"),
        ):
            with pytest.raises(InputError, match=message):
                model.step([TokenRequest(**{"token": 0, "position": 0, "sequence": 0} | bad)])


def test_faults_of_a_design_are_told(folder: Path, cache: Path, tmp_path: Path) -> None:
    ask = TokenRequest(token=65, position=0, sequence=0, logits=True)
    message = "no beat moved for 4096 cycles.* waiting for 16 lm_head beats, .* 0 came"
    with LanguageSimulation(folder, cache=cache) as model, pytest.raises(StreamError, match=message):
        model.step([ask])  # its chunk does not end
    broken = Path(shutil.copytree(folder, tmp_path / "repeats"))
    edit_source(
        broken, "toy_language.v", r"busy <= 0;\n      chosen", "busy <= current[0]; current[0] <= 0;\n      chosen"
    )
    with LanguageSimulation(broken, cache=cache) as model:
        odd = [TokenRequest(token=token, position=0, sequence=0, logits=True, last=True) for token in (65, 66)]
        with pytest.raises(StreamError, match="a arg_max beat that no request asked for, after 2 of them") as error:
            for each in odd:
                model.step([each])
                model.finish()
        assert error.value.port == "arg_max"


def test_lanes_are_signed_whatever_their_width() -> None:
    choose = np.random.default_rng(0)
    for bits, lanes in ((20, 16), (7, 3), (33, 1), (5, 12), (1, 8), (40, 2)):
        values = choose.integers(-(1 << bits - 1), 1 << bits - 1, (6, lanes))
        values[0] = -(1 << bits - 1)
        words = [sum((v & (1 << bits) - 1) << bits * i for i, v in enumerate(row)) for row in values.tolist()]
        if bits * lanes <= 64:
            beats = np.array(words, np.uint64)
        else:
            size = -(-bits * lanes // 32)
            beats = np.array([[word >> 32 * i & 0xFFFFFFFF for i in range(size)] for word in words], np.uint32)
        assert np.array_equal(_signed_lanes(beats, bits, lanes), values)


def test_a_folder_that_is_no_language_model_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    layer, block = write_toy(tmp_path / "layer"), write_dataflow_toy(tmp_path / "block")
    for place, message in (
        (tmp_path / "absent", "there is no emitted language model in .*absent: it has no design.json"),
        (layer, "layer holds the design of one layer, not of a language model"),
        (block, "block holds the design toy, which is not a whole language model"),
    ):
        with pytest.raises(InputError, match=message) as error:
            load_language_design(place)
        assert f"`mxhw emit MODEL --lm --out {place}` makes one" in str(error.value)
    (layer / "design.json").write_text("{")
    with pytest.raises(InputError, match=r"Invalid JSON.*emit the design again"):
        load_language_design(layer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocabulary": 250}, "language: logits_lanes must be logits of a beat, but 16 does not divide .* of 250"),
        ({"vocabulary": 512}, "input requests has 19 bits, but language says 20"),
        ({"logits_bits": 21}, "output lm_head has 320 bits, but language says 336"),
        ({"eos": 256}, "language: eos must be an id below the vocabulary of 256, not 256"),
        ({"requests": "lm_head"}, "language names 'lm_head', which is no input of the design"),
        ({"tokens": "argmax"}, "language names 'argmax', which is no output of the design; did you mean 'arg_max'"),
        ({"tokenizer": "../tok"}, "language.tokenizer: a path must lie in the design's folder"),
        ({"chunk": 0}, "language.chunk: "),
        ({"chunks": 1}, "unknown field language.chunks; did you mean 'chunk'"),
    ],
)
def test_a_damaged_record_is_refused(folder: Path, tmp_path: Path, change: dict[str, object], message: str) -> None:
    record = json.loads((folder / "design.json").read_text())
    record["language"] |= change
    (tmp_path / "design.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=message) as error:
        load_language_design(tmp_path)
    assert "emit the design again" in str(error.value)


def test_fields_of_a_request_are_as_wide_as_what_they_count() -> None:
    language = toy_language(sequences=1, keys=65, vocabulary=272)
    assert [(field.name, field.bits) for field in language.request_fields] == [
        ("token", 9),
        ("position", 7),
        ("sequence", 1),
        ("generated", 1),
        ("logits", 1),
        ("last", 1),
    ]
    assert language.widths == {"requests": 20, "lm_head": 320, "arg_max": 9}


def test_the_record_survives_its_json(folder: Path) -> None:
    design = load_language_design(folder)
    assert design.language == toy_language()
    assert DataflowDesign.model_validate_json(design.to_json()) == design


def test_an_image_of_another_assignment_is_refused_before_the_build(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    image = copy / "images" / "gains.hex"
    words = image.read_text().removeprefix(image_header(ASSIGNMENT))
    for header, message in (
        (image_header(OTHER), f"is an image of assignment {OTHER[:16]}, but design.json is of {ASSIGNMENT[:16]}"),
        ("", "does not say which assignment it is an image of"),
        ("// mxhw image\n", "does not say which assignment it is an image of"),
        (image_header(ASSIGNMENT) + "0\n", "has 257 words, but design.json says 256"),
    ):
        image.write_text(header + words)
        for simulate in (LanguageSimulation, run_dataflow):
            with pytest.raises(InputError, match=message) as error:
                simulate(copy, cache=tmp_path / "never")
            assert str(image) in str(error.value) and "emit the design again" in str(error.value)
    assert not (tmp_path / "never").exists()


def test_comments_are_no_words_of_an_image(tmp_path: Path) -> None:
    image = tmp_path / "image.hex"
    image.write_text(image_header(OTHER) + "1\n// the second row\n2\n")
    check_image(image, 2)
    check_image(image, 2, OTHER)
    with pytest.raises(InputError, match=r"has 2 words, but design\.json says 4"):
        check_image(image, 4)
    image.write_text("1\n2\n")
    check_image(image, 2)
