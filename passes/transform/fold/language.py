"""A whole language model as a design: requests go in, logits and arg-max tokens come out.

    requests ─▶ tokens ─▶ embedding ─▶ hidden ─▶ one block for all layers ─▶ final ─▶ norm, head ─▶ logits ─▶ arg-max
        └─▶ passes (layer, sequence, position of each token-pass)  │ ▲                                          │
                 └─▶ positions, layers, banks                      └─┘ returned                    feedback ◀───┘

A pass is one token through one layer. Unfolded, every layer has its own hardware, and a request is one pass.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from mxhw.arithmetic.dataflow import (
    ArgMax,
    Enter,
    Field,
    Folded,
    Indices,
    IntegerGraph,
    Integers,
    Keep,
    Operation,
    Passes,
    PassOrder,
    Requests,
    Step,
    StreamType,
    TokenSelect,
)
from mxhw.errors import InputError
from mxhw.passes.transform.fold.layers import Layers, fold_operations, match_layers
from mxhw.passes.transform.lower import POSITIONS, TOKENS, LoweredGraph

__all__ = ["CONTROL", "Domain", "LanguageGraph", "language_graph"]

Domain = Literal["requests", "passes", "returned", "logits", "words"]
"""What a stream has a token for: every request, every pass, those passes that go round again, every token wanted; and
every layer that a chunk uses, whose words come."""

CONTROL = "control"
"""The node that steps belong to which no node of the model stands for."""

_REQUESTS, _FEEDBACK, _LOOP = "requests", "feedback", "loop"
_PASSES, _LAYERS, _BANKS, _REQUEST_POSITIONS = "passes", "layers", "banks", "request_positions"
_HIDDEN, _RETURNED, _FINAL, _ARG_MAX = "hidden", "returned", "final", "arg_max"


class LanguageGraph(IntegerGraph):
    """An integer graph with feedback.

    Attributes
    ----------
    whole : the unfolded integers of the model: the definition of every stream.
    feedback : input → the step that it comes from.
    members : step → the steps of ``whole`` that it is, one a layer, or one; control steps are none.
    domains : stream → what it has tokens for.
    layers, sequences, chunk, folded : L (1 unfolded), KV caches a layer, requests worked on layer by layer.
    logits : the step that gives them.
    """

    def __init__(
        self,
        parts: "Parts",
        *,
        whole: LoweredGraph,
        layers: int,
        sequences: int,
        chunk: int,
        folded: bool,
        logits: str,
    ) -> None:
        super().__init__(parts.inputs, parts.steps, (logits, _ARG_MAX))
        self.whole, self.feedback, self.members, self.domains = whole, parts.feedback, parts.members, parts.domains
        self.layers, self.sequences, self.chunk, self.folded, self.logits = layers, sequences, chunk, folded, logits

    @property
    def requests(self) -> Requests:
        """The type of the stream of requests."""
        found = self.inputs[_REQUESTS]
        assert isinstance(found, Requests)
        return found

    @property
    def chooser(self) -> str:
        """The step that chooses a token."""
        return _ARG_MAX

    @property
    def positions_room(self) -> int:
        """Tokens of the longest sequence."""
        return self.requests.keys


def language_graph(
    whole: LoweredGraph, blocks: Mapping[int, Sequence[str]], *, fold: bool, sequences: int, chunk: int
) -> LanguageGraph:
    """Return the design of a whole model.

    Parameters
    ----------
    whole : LoweredGraph
        Of all nodes of a causal language model.
    blocks : layers that are structurally equal, as :attr:`mxhw.ir.Graph.blocks` has them.
    fold : one physical block for all layers; else each has its own.
    sequences : that are generated together; each has its own KV caches.
    chunk : the most requests that are worked on layer by layer before others are taken.

    Raises
    ------
    InputError
        If the model is no language model, its layers cannot be folded, or a number is impossible.
    """
    for name, value in (("sequences", sequences), ("chunk", chunk)):
        if type(value) is not int or value < 1:
            raise InputError(f"{name} must be an integer of at least 1, not {value!r}")
    tokens = whole.inputs.get(TOKENS)
    if set(whole.inputs) - {TOKENS, POSITIONS} or not isinstance(tokens, Indices) or len(whole.outputs) != 1:
        raise InputError("a design that generates text is made of a whole language model, from token ids to logits")
    matched = match_layers(whole, blocks) if fold else None
    layers = 1 if matched is None else len(matched.prefixes)
    requests = Requests(vocabulary=tokens.count, sequences=sequences, keys=whole.keys)
    parts = _Parts(whole, requests, layers, chunk)
    if matched is None or layers == 1:
        logits = parts.unfolded()
        layers = 1
    else:
        logits = parts.folded(matched)
    return LanguageGraph(
        parts, whole=whole, layers=layers, sequences=sequences, chunk=chunk, folded=layers > 1, logits=logits
    )


class Parts(Protocol):
    """What a design is made of, see :class:`LanguageGraph`."""

    @property
    def inputs(self) -> Mapping[str, StreamType]: ...
    @property
    def steps(self) -> Sequence[Step]: ...
    @property
    def feedback(self) -> dict[str, str]: ...
    @property
    def members(self) -> dict[str, tuple[str, ...]]: ...
    @property
    def domains(self) -> dict[str, Domain]: ...


class _Parts:
    """A design that grows."""

    def __init__(self, whole: LoweredGraph, requests: Requests, layers: int, chunk: int) -> None:
        self.whole, self.requests, self.layers, self.chunk = whole, requests, layers, chunk
        self.passes = Passes(layers=layers, sequences=requests.sequences, keys=requests.keys)
        self.banks = layers * requests.sequences
        self.inputs: dict[str, Requests | Indices | Integers] = {
            _REQUESTS: requests,
            _FEEDBACK: Indices(count=requests.vocabulary),
        }
        self.feedback: dict[str, str] = {_FEEDBACK: _ARG_MAX}
        self.steps: list[Step] = []
        self.members: dict[str, tuple[str, ...]] = {}
        self.domains: dict[str, Domain] = {_REQUESTS: "requests", _FEEDBACK: "logits"}

    def folded(self, layers: Layers) -> str:
        """Add everything with one block; return the step that gives the logits."""
        self._control()
        self._take(layers.front, "requests", "request")
        entry = layers.entry
        hidden = self.whole.types[entry]
        assert isinstance(hidden, Integers)
        self.inputs[_LOOP], self.feedback[_LOOP], self.domains[_LOOP] = hidden, _RETURNED, "returned"
        self._add(_HIDDEN, Enter(x=hidden, passes=self.passes), (_PASSES, entry, _LOOP), "passes")
        names = {step.name: layers.name(step) for step in layers.steps[0]} | {entry: _HIDDEN}
        for place, step in enumerate(layers.steps[0]):
            members = [own[place] for own in layers.steps]
            operation = fold_operations([each.operation for each in members], banks=self.banks)
            inputs = tuple(names.get(source, source) for source in step.inputs)
            self.members[names[step.name]] = tuple(each.name for each in members)
            self._add(names[step.name], operation, self._indices(operation, inputs), "passes", layers.node(step))
        last = names[layers.steps[0][layers.exit].name]
        self._add(_RETURNED, Keep(x=hidden, passes=self.passes, which="returned"), (_PASSES, last), "returned")
        self._final(last, layers.steps[-1][layers.exit].name, layers.back)
        return self._arg_max()

    def unfolded(self) -> str:
        """Add everything with a block a layer; return the step that gives the logits."""
        self._control()
        before, after = self._head()
        self._take(before, "requests", "pass")
        self._final(before[-1].name, before[-1].name, after)
        return self._arg_max()

    def _head(self) -> tuple[list[Step], list[Step]]:
        """Divide the steps at the first stream that all later ones read through: the residual behind the layers."""
        steps = list(self.whole.steps.values())
        place = len(steps)
        while place > 1:
            known = {steps[place - 2].name, *(step.name for step in steps[place - 1 :])}
            if not known.issuperset(source for step in steps[place - 1 :] for source in step.inputs):
                break
            place -= 1
        return steps[:place], steps[place:]

    def _control(self) -> None:
        requests, passes = self.requests, self.passes
        self._add("tokens", TokenSelect(x=requests, chunk=self.chunk), (_REQUESTS, _FEEDBACK), "requests")
        self._add(_PASSES, PassOrder(x=requests, layers=self.layers, chunk=self.chunk), (_REQUESTS,), "passes")
        self._add(POSITIONS, Field(x=passes, name="position"), (_PASSES,), "passes")
        if self.layers > 1:
            self._add(_LAYERS, Field(x=passes, name="layer"), (_PASSES,), "passes")
        if self.banks > 1:
            self._add(_BANKS, Field(x=passes, name="bank"), (_PASSES,), "passes")

    def _take(self, steps: Sequence[Step], domain: Domain, positions: Literal["request", "pass"]) -> None:
        """Add steps of the model as they are; positions are those of requests or of passes."""
        for step in steps:
            inputs = step.inputs
            if positions == "request" and POSITIONS in inputs:
                if all(each.name != _REQUEST_POSITIONS for each in self.steps):
                    self._add(_REQUEST_POSITIONS, Field(x=self.requests, name="position"), (_REQUESTS,), "requests")
                inputs = tuple(_REQUEST_POSITIONS if source == POSITIONS else source for source in inputs)
            operation = fold_operations([step.operation], banks=self.banks)
            self.members[step.name] = (step.name,)
            self._add(step.name, operation, self._indices(operation, inputs), domain, step.node)

    def _indices(self, operation: Operation, inputs: tuple[str, ...]) -> tuple[str, ...]:
        """Return the inputs of a step with the index stream that its operation has come to need."""
        if isinstance(operation, Folded):
            return *inputs, _LAYERS
        return inputs if len(inputs) == len(operation.inputs) else (*inputs, _BANKS)

    def _final(self, stream: str, name: str, back: Sequence[Step]) -> None:
        """Add what lets wanted tokens through, and the steps behind; ``name``: of the stream in the whole model."""
        x = self.whole.types[name]
        assert isinstance(x, Integers)
        self._add(_FINAL, Keep(x=x, passes=self.passes, which="final"), (_PASSES, stream), "logits")
        for step in back:
            inputs = tuple(_FINAL if source == name else source for source in step.inputs)
            self.members[step.name] = (step.name,)
            self._add(step.name, step.operation, inputs, "logits", step.node)

    def _arg_max(self) -> str:
        (logits,) = self.whole.outputs
        x = self.whole.types[logits]
        assert isinstance(x, Integers)
        self._add(_ARG_MAX, ArgMax(x=x), (logits,), "logits")
        return logits

    def _add(
        self, name: str, operation: Operation, inputs: tuple[str, ...], domain: Domain, node: str = CONTROL
    ) -> None:
        self.steps.append(Step(name, node, operation, inputs))
        self.domains[name] = domain
