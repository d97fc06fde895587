"""What an emitted dataflow design is: the record `design.json` beside its Verilog, read by benches and `run_dataflow`.

Emission writes it through this class, so what is written is what is read. Paths are relative to the design's folder.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from mxhw.errors import InputError, nearest
from mxhw.sim.design import DESIGN_FILE, check_identifier
from mxhw.sim.streams import IDLE_LIMIT

__all__ = [
    "DataflowDesign",
    "DataflowStep",
    "LanguageModel",
    "PayloadField",
    "StreamBeats",
    "is_dataflow_design",
    "payload_fields",
]

_BY_LAYER = frozenset({"passes", "returned"})  # domains whose tokens meet every layer
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,159}")


def _identifier(name: str) -> str:
    return check_identifier(name, "a name in Verilog")


def _relative(path: str) -> str:
    if not all(_PART.fullmatch(part) for part in path.split("/")):
        raise ValueError(f"a path must lie in the design's folder and have plain names, not {path!r}")
    return path


Identifier = Annotated[str, AfterValidator(_identifier)]
RelativePath = Annotated[str, AfterValidator(_relative)]
Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]


def _check_repeat(count: int, repeat: int) -> None:
    if count % repeat:
        raise ValueError(f"count must be a multiple of repeat {repeat}, not {count}")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PayloadField(_Record):
    """Part of a payload: `lanes` elements of `bits` bits, lane 0 lowest; fields follow each other, lowest bits first.

    Attributes
    ----------
    name : of the structure's member (``codes``, ``exponent``, ``score``); ``value`` where a payload has no members.
    signed : whether an element is; only what people are shown depends on it.
    """

    name: str
    bits: Positive
    lanes: Positive = 1
    signed: bool = False


class StreamBeats(_Record):
    """The beats of a port of the design.

    Attributes
    ----------
    beats : file with one payload a line, hex; lines in front that begin with `//` are none.
    width : bits of a payload.
    count : of all beats.
    repeat : how often those in the file come, one time after the other.
    """

    beats: RelativePath
    width: Positive
    count: Positive
    repeat: Positive = 1

    @model_validator(mode="after")
    def _whole(self) -> Self:
        _check_repeat(self.count, self.repeat)
        return self


class DataflowStep(_Record):
    """One step and the beats of its output stream, which the top shows as `tap_STREAM_fire` and `tap_STREAM_payload`.

    Attributes
    ----------
    name : the step's name in the integer graph, which is the model's own (``layers.0.mlp.down_proj.requantize``).
    node : the node of the captured graph that it belongs to.
    stream : its name in Verilog: of the instance, and of the tap.
    kind : of operation.
    module : Verilog module that the instance is of.
    parallelism : lanes, rows and so on, by name.
    interval : cycles a token that it needs, without stalls.
    fifo : stream that it reads, of a step or an input of the design → depth of the FIFO in front of it, 0 for none.
    beats, width, count, repeat : of the output stream, as in :class:`StreamBeats`.
    token_beats : beats of a token; a list with one number a token where they differ (scores: one a visible key).
    fields : what a payload is made of, lowest bits first; all bits of `width`. See :func:`payload_fields`.
    tokens : of the stream, where they are not as many as the design's.
    domain : of a design that generates text: which tokens those are, see :class:`LanguageModel`.
    """

    name: str
    node: str
    stream: Identifier
    kind: str
    module: Identifier
    parallelism: dict[str, Positive]
    interval: Positive
    fifo: dict[str, Natural]
    beats: RelativePath
    width: Positive
    count: Positive
    token_beats: Positive | tuple[Positive, ...]
    fields: tuple[PayloadField, ...] = Field(min_length=1)
    tokens: Positive | None = None
    domain: str | None = None
    repeat: Positive = 1

    @model_validator(mode="after")
    def _fields_fill_the_payload(self) -> Self:
        _check_repeat(self.count, self.repeat)
        if (bits := sum(field.bits * field.lanes for field in self.fields)) != self.width:
            raise ValueError(f"fields of step {self.name} have {bits} bits, but its width is {self.width}")
        return self

    @property
    def fire(self) -> str:
        """Port of the tap: a beat moves in this cycle."""
        return f"tap_{self.stream}_fire"

    @property
    def payload(self) -> str:
        """Port of the tap: the beat."""
        return f"tap_{self.stream}_payload"


class LanguageModel(_Record):
    """How to talk with a design that is a whole language model.

    Attributes
    ----------
    vocabulary : token ids.
    keys : longest sequence, prompt and continuation together.
    sequences : that can be in work together: KV caches.
    chunk : the most requests of a chunk; a request with `last` set ends one sooner.
    layers : of the folded loop; 1 where every layer has hardware of its own.
    folded : whether layers share hardware.
    requests : input stream, one beat a token to work on; its payload are :attr:`request_fields`.
    logits : output stream: of each request that asks for logits, `vocabulary` signed integers of `logits_bits` bits,
        `logits_lanes` a beat, the first in the lowest bits; a logit is integer · 2 ** `logits_exponent`.
    tokens : output stream: of each such request, the index of the largest logit, the first of equals.
    weights : input stream of the words of the folded layers' products, where they come through a port. What its file
        holds is sent for every chunk: the words of all layers, the first one first. None: they lie in memories.
    tokenizer : folder with the tokenizer's files; None if the model came without.
    bos, eos : ids that begin and end a text; None where the model has none.
    assignment_hash : SHA-256 of the assignment; memory images begin with a comment that names it.
    domains : what steps have tokens for → layer, sequence and position of each.
    prompt_tokens, generated_tokens : of the run whose beats lie beside the design, all its sequences together.
    prefill_tokens, prefill_cycles : arg-max tokens that come of the prompts, and the cycles predicted until they have.
    """

    vocabulary: Positive
    keys: Positive
    sequences: Positive
    chunk: Positive
    layers: Positive
    folded: bool
    requests: Identifier
    logits: Identifier
    tokens: Identifier
    logits_bits: Positive
    logits_lanes: Positive
    logits_exponent: int
    weights: Identifier | None = None
    tokenizer: RelativePath | None = None
    bos: Natural | None = None
    eos: Natural | None = None
    assignment_hash: str
    domains: dict[str, tuple[tuple[Natural, Natural, Natural], ...]] = Field(default_factory=dict)
    prompt_tokens: Natural = 0
    generated_tokens: Natural = 0
    prefill_tokens: Natural = 0
    prefill_cycles: Positive | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.vocabulary % self.logits_lanes:
            said = f"{self.logits_lanes} does not divide a vocabulary of {self.vocabulary}"
            raise ValueError(f"logits_lanes must be logits of a beat, but {said}")
        for name, token in (("bos", self.bos), ("eos", self.eos)):
            if token is not None and token >= self.vocabulary:
                raise ValueError(f"{name} must be an id below the vocabulary of {self.vocabulary}, not {token}")
        return self

    @property
    def request_fields(self) -> tuple[PayloadField, ...]:
        """Of the payload of a request, lowest bits first.

        generated : take the token that the largest of the sequence's newest logits chose, instead of `token`.
        logits : this token's logits are wanted.
        last : of its chunk.
        """
        counted = {"token": self.vocabulary, "position": self.keys, "sequence": self.sequences}
        counted |= dict.fromkeys(("generated", "logits", "last"), 2)
        return tuple(PayloadField(name=name, bits=_index_bits(count)) for name, count in counted.items())

    @property
    def widths(self) -> dict[str, int]:
        """Stream → bits of its payload."""
        return {
            self.requests: sum(field.bits for field in self.request_fields),
            self.logits: self.logits_bits * self.logits_lanes,
            self.tokens: _index_bits(self.vocabulary),
        }


class DataflowDesign(_Record):
    """A whole design in its folder.

    Attributes
    ----------
    name : of the design.
    top : Verilog module with ports clk, rst (synchronous, high), `S_valid`, `S_ready`, `S_payload` for every input and
        output S, and the taps of every step.
    sources : Verilog files to compile.
    images : memory image that `$readmemh` reads from the design's folder → words that it must have.
    inputs, outputs : stream → its beats; for outputs, those to expect.
    steps : in execution order.
    tokens : that the beats hold.
    sequence : tokens of each sequence among them; None: all belong to one, or the language model's domains say it.
    cycles : predicted from the first input beat to the last output beat, both counted, without stalls; None if unknown.
    hash : SHA-256 of what was emitted.
    version : of mxhw.
    platform, clock_hz : what the parallelism was balanced for, and its clock; None for the components' small sizes.
    language : of a design that generates text.
    """

    mxhw_dataflow: Literal[1] = 1
    name: Identifier
    top: Identifier
    sources: tuple[RelativePath, ...] = Field(min_length=1)
    images: dict[RelativePath, Positive]
    inputs: dict[Identifier, StreamBeats] = Field(min_length=1)
    outputs: dict[Identifier, StreamBeats] = Field(min_length=1)
    steps: tuple[DataflowStep, ...] = Field(min_length=1)
    tokens: Positive
    cycles: Positive | None
    hash: str
    version: str
    platform: str | None = None
    clock_hz: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    language: LanguageModel | None = None
    sequence: Positive | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.platform is None) != (self.clock_hz is None):
            raise ValueError("platform and clock_hz belong together: the clock is the platform's")
        for what, names in (
            ("step", [step.name for step in self.steps]),
            ("step's stream", [step.stream for step in self.steps]),
            ("port", [*self.inputs, *self.outputs]),
        ):
            if double := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"each {what} must have a name of its own, but {min(double)!r} occurs twice")
        self._check_language()
        streams = {*self.inputs, *(step.stream for step in self.steps)}
        for step in self.steps:
            if unknown := step.fifo.keys() - streams:
                known = nearest(min(unknown), streams)
                raise ValueError(f"step {step.name} reads {min(unknown)!r}, which is no stream of the design{known}")
            if step.domain is not None and self.language is not None:
                places = self.language.domains.get(step.domain)
                if places is None or len(places) != (step.tokens or self.tokens):
                    said = "is none of the language model's" if places is None else f"has {len(places)} tokens"
                    raise ValueError(f"domain {step.domain!r} of step {step.name} {said}")
            given, has = step.token_beats, step.tokens or self.tokens
            tokens, beats = (len(given), sum(given)) if isinstance(given, tuple) else (has, given * has)
            if (tokens, beats) != (has, step.count):
                said = f"{step.count} beats of {has} tokens"
                raise ValueError(f"token_beats of step {step.name} gives {beats} beats of {tokens} tokens, not {said}")
        return self

    def _check_language(self) -> None:
        """Raise ValueError unless the streams of the language model are ports, as wide as it says."""
        if self.language is None:
            return
        weights = self.language.weights
        if weights is not None and weights not in self.inputs:
            known = nearest(weights, self.inputs)
            raise ValueError(f"language names {weights!r}, which is no input of the design{known}")
        for name, width in self.language.widths.items():
            what, ports = ("input", self.inputs) if name == self.language.requests else ("output", self.outputs)
            if name not in ports:
                raise ValueError(f"language names {name!r}, which is no {what} of the design{nearest(name, ports)}")
            if ports[name].width != width:
                raise ValueError(f"{what} {name} has {ports[name].width} bits, but language says {width}")

    @property
    def idle_limit(self) -> int:
        """Cycles without a beat anywhere after which a run is a deadlock: twice what the slowest step needs a token."""
        return max(IDLE_LIMIT, 2 * max(step.interval for step in self.steps))

    def place(self, step: DataflowStep, beat: int) -> tuple[int, int]:
        """Return the token that a beat of a step belongs to, and its number within the token."""
        if not isinstance(step.token_beats, tuple):
            return divmod(beat, step.token_beats)
        token = 0
        while token < len(step.token_beats) - 1 and beat >= step.token_beats[token]:
            beat -= step.token_beats[token]
            token += 1
        return token, beat

    def where(self, step: DataflowStep, token: int) -> str:
        """Say which layer, sequence and position a token of a step is; nothing where a design has no such."""
        if self.language is None or step.domain is None:
            return ""
        layer, sequence, position = self.language.domains[step.domain][token]
        if step.domain == "words":
            return f"words of layer {layer}"
        place = f"sequence {sequence}, position {position}"
        return f"layer {layer}, {place}" if step.domain in _BY_LAYER else place

    def tokens_passed(self, step: DataflowStep, beats: int) -> float:
        """Return how many tokens a number of beats of a step is, parts of a token included.

        Those of a stream with others than the design's count as so many of the design's as they are a share of theirs.
        """
        token, within = self.place(step, beats)
        size = step.token_beats[token] if isinstance(step.token_beats, tuple) else step.token_beats
        return (token + within / size) * self.tokens / (step.tokens or self.tokens)

    def to_json(self) -> str:
        """Return the text of design.json: one line a step."""
        parts = []
        for key, value in self.model_dump(mode="json").items():
            text = json.dumps(value)
            if key in ("images", "inputs", "outputs") and value:
                entries = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(item)}" for name, item in value.items())
                text = f"{{\n  {entries}\n }}"
            elif key in ("sources", "steps"):
                text = "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]"
            parts.append(f" {json.dumps(key)}: {text}")
        return "{\n" + ",\n".join(parts) + "\n}\n"

    @classmethod
    def load(cls, folder: Path) -> "DataflowDesign":
        """Read `folder`/design.json.

        Raises
        ------
        InputError
            If it is absent, not JSON, lacks a field, has one too many, or contradicts itself; names file and field.
        """
        path = folder / DESIGN_FILE
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"cannot read {path}: {error.strerror}; is {folder} a folder that `mxhw emit` made?"
            ) from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is not text ({error}); emit the design again") from error
        try:
            design = cls.model_validate_json(text)
        except ValidationError as error:
            raise InputError(f"{path}: {_in_words(error)}; emit the design again") from error
        if "mxhw_dataflow" not in design.model_fields_set:
            raise InputError(f"{path}: mxhw_dataflow is missing; emit the design again")
        return design


def is_dataflow_design(folder: Path) -> bool:
    """Return whether `folder` holds a dataflow design, damaged or not, rather than a single layer."""
    try:
        record = json.loads((folder / DESIGN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and "mxhw_dataflow" in record


def payload_fields(shape: Any) -> tuple[PayloadField, ...]:
    """Return the fields of a payload from its Amaranth shape: a structure, an array, or a plain shape."""
    from amaranth.hdl import Shape
    from amaranth.lib import data

    members = shape.members if isinstance(shape, data.StructLayout) else {"value": shape}
    fields = []
    for name, member in members.items():
        array = isinstance(member, data.ArrayLayout)
        element = Shape.cast(member.elem_shape if array else member)
        lanes = member.length if array else 1
        fields.append(PayloadField(name=name, bits=element.width, lanes=lanes, signed=element.signed))
    return tuple(fields)


def _index_bits(count: int) -> int:
    """Return the bits of an index below `count`, at least one."""
    return max(count - 1, 1).bit_length()


def _in_words(error: ValidationError) -> str:
    """Say what the first problem is and where: ``steps[3].width must …``."""
    first = error.errors()[0]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    if first["type"] == "extra_forbidden":
        owners: dict[str, type[BaseModel]] = {
            "steps": DataflowStep,
            "inputs": StreamBeats,
            "outputs": StreamBeats,
            "language": LanguageModel,
        }
        owner = owners.get(str(first["loc"][0]), DataflowDesign) if len(first["loc"]) > 1 else DataflowDesign
        return f"unknown field {where}{nearest(str(first['loc'][-1]), owner.model_fields)}"
    if first["type"] == "missing":
        return f"{where} is missing"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
