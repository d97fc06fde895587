"""A hand-written language model of a few lines in a folder like an emitted one, and the same in software.

The state of a sequence is a hash of its tokens in order with their positions; logit i is state · gains[i], signed. A
request that is out of place changes the logits, and a chunk that is never ended is never worked on: who drives it wrong
gets other tokens, or none.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mxhw.sim.beats import Array
from mxhw.sim.dataflow_design import DataflowDesign, DataflowStep, LanguageModel, PayloadField, StreamBeats
from mxhw.sim.design import image_header
from mxhw.sim.language import TokenAnswer, TokenRequest
from tests.sim.dataflow_toy import write_words

PLACE = Path(__file__).with_name("language_toy")
VOCABULARY, KEYS, SEQUENCES, CHUNK, LANES, BITS, EXPONENT = 256, 64, 3, 4, 16, 20, -16
ASSIGNMENT = "5a" * 32
GAINS: Array = np.random.default_rng(0).integers(0, 1 << BITS, VOCABULARY)


def toy_language(**changes: Any) -> LanguageModel:
    """Return how to talk with it."""
    record: dict[str, Any] = {
        "vocabulary": VOCABULARY,
        "keys": KEYS,
        "sequences": SEQUENCES,
        "chunk": CHUNK,
        "layers": 1,
        "folded": False,
        "requests": "requests",
        "logits": "lm_head",
        "tokens": "arg_max",
        "logits_bits": BITS,
        "logits_lanes": LANES,
        "logits_exponent": EXPONENT,
        "assignment_hash": ASSIGNMENT,
    }
    return LanguageModel(**record | changes)


class SoftwareToy:
    """The model in software, with what it was asked; `cycles` are made up, ten a request."""

    def __init__(self, language: LanguageModel | None = None) -> None:
        self.language = toy_language() if language is None else language
        self.asked: list[list[TokenRequest]] = []
        self.states: dict[int, tuple[int, int]] = {}
        self.chosen: dict[int, int] = {}
        self.cycles = 0

    def step(self, requests: Sequence[TokenRequest]) -> list[TokenAnswer]:
        """Answer, after looking whether every chunk ends where it must."""
        self.asked.append(list(requests))
        size = 0
        for request in requests:
            size += 1
            assert size <= self.language.chunk
            size = 0 if request.last or size == self.language.chunk else size
        assert size == 0, "a chunk without end is never worked on"
        self.cycles += 10 * len(requests)
        return [TokenAnswer(*answer) for request in requests if (answer := self._work(request)) is not None]

    def _work(self, request: TokenRequest) -> tuple[Array, int] | None:
        number = request.sequence
        token = self.chosen[number] if request.generated else request.token
        state, length = self.states.get(number, (0, 0)) if request.position else (1, 0)
        extra = 1 if request.position == length else 4096
        state = (state * 25 + token * 77 + request.position * 13 + extra) % (1 << 16)
        self.states[number] = (state, request.position + 1)
        if not request.logits:
            return None
        half = 1 << BITS - 1
        logits = (state * GAINS + half) % (2 * half) - half
        self.chosen[number] = int(logits.argmax())
        return logits, self.chosen[number]


def write_language_toy(folder: Path, **changes: Any) -> Path:
    """Write the design; its beats are those of two prompts and a step of both. `changes` are of the language model."""
    language = toy_language(**changes)
    shutil.copytree(PLACE, folder, dirs_exist_ok=True)
    for part in ("images", "beats"):
        (folder / part).mkdir(exist_ok=True)
    words = folder / "images" / "gains.hex"
    write_words(words, GAINS.tolist())
    words.write_text(image_header(language.assignment_hash) + words.read_text())
    toy = SoftwareToy()
    requests = [
        TokenRequest(token=token, position=position, sequence=number, logits=position == 2, last=position == 2)
        for number in (0, 2)
        for position, token in enumerate((65, 66, 67 + number))
    ]
    requests += [TokenRequest(token=0, position=3, sequence=2, generated=True, logits=True, last=True)]
    states, answers = [], []
    for request in requests:
        answers += [TokenAnswer(*answer)] if (answer := toy._work(request)) is not None else []
        states.append(toy.states[request.sequence][0])
    mask = (1 << BITS) - 1
    beats = {
        "requests": [_packed(request, language) for request in requests],
        "state": states,
        "lm_head": [
            sum(
                (value & mask) << BITS * lane
                for lane, value in enumerate(answer.logits[first : first + LANES].tolist())
            )
            for answer in answers
            for first in range(0, VOCABULARY, LANES)
        ],
        "arg_max": [answer.token for answer in answers],
    }
    for name, values in beats.items():
        write_words(folder / "beats" / f"{name}.hex", values)
    (folder / "design.json").write_text(_design(language, {name: len(each) for name, each in beats.items()}).to_json())
    return folder


def _packed(request: TokenRequest, language: LanguageModel) -> int:
    payload, shift = 0, 0
    for part in language.request_fields:
        payload, shift = payload | int(getattr(request, part.name)) << shift, shift + part.bits
    return payload


def _design(language: LanguageModel, counts: dict[str, int]) -> DataflowDesign:
    widths = {"requests": 19, "state": 16, "lm_head": LANES * BITS, "arg_max": 8}
    ports = {
        name: StreamBeats(beats=f"beats/{name}.hex", width=widths[name], count=counts[name])
        for name in ("requests", "lm_head", "arg_max")
    }
    tokens = counts["state"]
    fields = {
        "state": PayloadField(name="value", bits=16),
        "lm_head": PayloadField(name="value", bits=BITS, lanes=LANES, signed=True),
        "arg_max": PayloadField(name="value", bits=8),
    }
    steps = tuple(
        DataflowStep(
            name=name,
            node=name,
            stream=name,
            kind=name,
            module=f"toy_{name}",
            parallelism={"lanes": field.lanes},
            interval=KEYS,
            fifo={source: 0},
            beats=f"beats/{name}.hex",
            width=widths[name],
            count=counts[name],
            token_beats=counts[name] // own,
            fields=(field,),
            tokens=own,
        )
        for (name, field), source, own in zip(
            fields.items(),
            ("requests", "state", "lm_head"),
            (tokens, counts["arg_max"], counts["arg_max"]),
            strict=True,
        )
    )
    return DataflowDesign(
        name="toy_language",
        top="toy_language",
        sources=("toy_language.v",),
        images={"images/gains.hex": VOCABULARY},
        inputs={"requests": ports["requests"]},
        outputs={"lm_head": ports["lm_head"], "arg_max": ports["arg_max"]},
        steps=steps,
        tokens=tokens,
        cycles=None,
        hash="0" * 64,
        version="0",
        platform="asap7",
        clock_hz=2e8,
        language=language,
    )
