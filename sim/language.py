"""A language model in RTL that answers requests: one token of one sequence each, with the KV caches kept in between.

    with LanguageSimulation(folder) as model:
        answers = model.step([TokenRequest(token=5, position=0, sequence=0, logits=True, last=True)])
        answers[0].token, answers[0].logits, model.cycles

What to ask is for the caller to say (`mxhw.flow.talk`): which tokens, in which order, in which chunks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from mxhw.errors import InputError
from mxhw.sim.beats import Array
from mxhw.sim.dataflow_build import build_dataflow_library, check_images, read_stream
from mxhw.sim.dataflow_design import DataflowDesign, LanguageModel, is_dataflow_design
from mxhw.sim.design import DESIGN_FILE, GemmDesign
from mxhw.sim.streams import StreamError

__all__ = [
    "LanguageSimulation",
    "Phase",
    "TokenAnswer",
    "TokenRequest",
    "load_language_design",
    "simulate_phases",
]

_SILENCE = 200  # cycles to wait for a beat too many


@dataclass(frozen=True, kw_only=True)
class TokenRequest:
    """A token to work on; the fields are those of the payload, see :attr:`LanguageModel.request_fields`."""

    token: int
    position: int
    sequence: int
    generated: bool = False
    logits: bool = False
    last: bool = False


@dataclass(frozen=True)
class TokenAnswer:
    """What came for a request with `logits`: integers, int64 [vocabulary], and the index of the largest."""

    logits: Array
    token: int


@dataclass(frozen=True)
class Phase:
    """A part of the recorded run: the prompts, or what is generated after them.

    Attributes
    ----------
    name : "prefill" or "decode".
    tokens : that are read in it.
    cycles, predicted : without stalls; None where nothing was predicted.
    """

    name: str
    tokens: int
    cycles: int
    predicted: int | None

    @property
    def error(self) -> float | None:
        """Predicted over simulated cycles, less 1."""
        return None if self.predicted is None else self.predicted / self.cycles - 1

    def __str__(self) -> str:
        predicted = "" if self.predicted is None else f", predicted {self.predicted:,} ({self.error:+.2%})"
        return f"{self.name} of {self.tokens} tokens: {self.cycles:,} cycles{predicted}"


def load_language_design(folder: Path) -> DataflowDesign:
    """Read the design in `folder`; raise InputError unless it is a whole language model."""
    how = f"`mxhw emit MODEL --lm --out {folder}` makes one"
    if not (folder / DESIGN_FILE).is_file():
        raise InputError(f"there is no emitted language model in {folder}: it has no {DESIGN_FILE}; {how}")
    if not is_dataflow_design(folder) and _is_record(folder):
        raise InputError(f"{folder} holds the design of one layer, not of a language model; {how}")
    design = DataflowDesign.load(folder)
    if design.language is None:
        raise InputError(f"{folder} holds the design {design.name}, which is not a whole language model; {how}")
    return design


class LanguageSimulation:
    """The design in a folder, built and reset.

    Attributes
    ----------
    design, language : its record, and the part of it that says how to talk.
    build_seconds : spent on the build.
    """

    def __init__(self, folder: Path, *, design: DataflowDesign | None = None, cache: Path | None = None) -> None:
        self.design = load_language_design(folder) if design is None else design
        assert self.design.language is not None
        self.language: LanguageModel = self.design.language
        check_images(folder, self.design)
        self._weights = None
        self._begun = 0  # requests of a chunk that has not ended
        if self.language.weights is not None:
            self._weights = read_stream(folder, self.design.inputs[self.language.weights], once=True)
        library = build_dataflow_library(folder, self.design, cache=cache)
        self.build_seconds = library.build.seconds
        self._session = library.session(limit=self.design.idle_limit)

    @property
    def cycles(self) -> int:
        """Clock cycles since reset."""
        return self._session.cycles

    def step(self, requests: Sequence[TokenRequest]) -> list[TokenAnswer]:
        """Send requests, wait for the answers to those that want logits, and return them in order.

        Raises
        ------
        InputError
            If a field of a request does not fit.
        StreamError, SimulationError
            If the design stops, or has sent more than was asked for.
        """
        language, wanted = self.language, sum(request.logits for request in requests)
        self._check_rest()
        if self._weights is not None and language.weights is not None:
            for _ in range(self._chunks(requests)):
                self._session.send(language.weights, self._weights)
        self._session.send(language.requests, [self._payload(request) for request in requests])
        if not wanted:
            return []
        beats = self._session.receive(language.logits, wanted * (language.vocabulary // language.logits_lanes))
        logits = _signed_lanes(beats, language.logits_bits, language.logits_lanes).reshape(wanted, language.vocabulary)
        tokens = self._session.receive(language.tokens, wanted)
        return [TokenAnswer(*answer) for answer in zip(logits, tokens.tolist(), strict=True)]

    def finish(self) -> None:
        """Wait a little; raise StreamError if the design sends more than was asked for."""
        self._session.clock(_SILENCE)
        self._check_rest()

    def close(self) -> None:
        """End the simulation."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _chunks(self, requests: Sequence[TokenRequest]) -> int:
        """Return how many chunks begin with one of these requests: each uses the weights of all layers."""
        begin = 0
        for request in requests:
            begin += self._begun == 0
            self._begun = 0 if request.last else (self._begun + 1) % self.language.chunk
        return begin

    def _check_rest(self) -> None:
        for name in (self.language.logits, self.language.tokens):
            if self._session.pending(name):
                moved = self._session.moved(name)
                raise StreamError(
                    f"a {name} beat that no request asked for, after {moved} of them; cycle {self.cycles}",
                    name,
                    moved,
                    self.cycles,
                )

    def _payload(self, request: TokenRequest) -> int:
        payload, shift = 0, 0
        for field in self.language.request_fields:
            value = int(getattr(request, field.name))
            if not 0 <= value < 1 << field.bits:
                raise InputError(f"{field.name} of a request must be 0 to {(1 << field.bits) - 1}, not {value}")
            payload, shift = payload | value << shift, shift + field.bits
        return payload


def simulate_phases(folder: Path, design: DataflowDesign, *, cache: Path | None = None) -> tuple[Phase, ...]:
    """Return the cycles of prompts and of generation in the run whose beats lie beside the design; nothing is compared.

    A phase without tokens is left out.
    """
    language = design.language
    assert language is not None
    record = design.inputs[language.requests]
    library = build_dataflow_library(folder, design, cache=cache)
    with library.session(limit=design.idle_limit) as session:
        if language.weights is not None:
            session.send(language.weights, read_stream(folder, design.inputs[language.weights]))
        session.send(language.requests, read_stream(folder, record))
        wanted = design.outputs[language.tokens].count
        ends = []
        for count in (language.prefill_tokens, wanted - language.prefill_tokens):
            session.receive(language.tokens, count)
            ends.append(session.cycles)
    decoded = record.count - language.prompt_tokens
    predicted = design.cycles, language.prefill_cycles
    rest = None if predicted[0] is None or predicted[1] is None else predicted[0] - predicted[1]
    phases = (
        Phase("prefill", language.prompt_tokens, ends[0], language.prefill_cycles),
        Phase("decode", decoded, ends[1] - ends[0], rest),
    )
    return tuple(phase for phase in phases if phase.tokens)


def _is_record(folder: Path) -> bool:
    """Return whether design.json is of one layer, rather than damaged."""
    try:
        GemmDesign.load(folder)
    except InputError:
        return False
    return True


def _signed_lanes(beats: Array, bits: int, lanes: int) -> Array:
    """Return the integers of beats [n] or [n, words] as int64 [n, lanes], the first from the lowest bits."""
    octets = np.ascontiguousarray(beats).view(np.uint8).reshape(len(beats), -1)
    digits = np.unpackbits(octets, axis=1, count=bits * lanes, bitorder="little").reshape(-1, lanes, bits)
    weights = np.left_shift(np.int64(1), np.arange(bits, dtype=np.int64))
    weights[-1] *= -1
    return digits.astype(np.int64) @ weights
