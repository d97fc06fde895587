"""A lowering in progress: what a rule may ask of the float graph, and where it puts its steps."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import Tensor, fx

from mxhw.arithmetic.dataflow import (
    BlockCodes,
    Indices,
    Integers,
    KeyWeights,
    Operation,
    Quantize,
    Requantize,
    Scores,
    Step,
    StreamType,
    code_stream,
)
from mxhw.arithmetic.functions.requantize import RequantizeSpec
from mxhw.arithmetic.functions.softmax import SoftmaxSpec
from mxhw.errors import InputError
from mxhw.formats import Format, parse_format
from mxhw.ir import Assignment, Graph
from mxhw.ir.describe import INPUT
from mxhw.passes.transform.lower.peers import Peers
from mxhw.passes.transform.lower.plan import STREAM_BITS, Plan
from mxhw.passes.transform.lower.probe import attribute
from mxhw.passes.transform.lower.products import SharedProducts
from mxhw.passes.transform.lower.views import Seen, Source, Views, info_of, node_argument

__all__ = ["HIDDEN", "POSITIONS", "TOKENS", "Lowering", "Stream"]

TOKENS, POSITIONS, HIDDEN = "tokens", "positions", "hidden"  # names of a design's inputs


@dataclass(frozen=True)
class Stream:
    """A stream of the integer graph: its name, what it carries, and of which value of the float graph.

    Attributes
    ----------
    name : the step that gives it, or an input of the design.
    type : StreamType
    label : what steps that only reshape it (quantizers) are called after.
    node : the node that such steps belong to.
    source : the value of the float graph; None for positions and token ids.
    """

    name: str
    type: StreamType
    label: str
    node: str
    source: Source | None = None

    @property
    def integers(self) -> Integers:
        """The type of a stream of integers; InputError for another one."""
        if not isinstance(self.type, Integers):
            raise InputError(f"{self.name} carries {type(self.type).__name__}, not integers")
        return self.type

    @property
    def codes(self) -> BlockCodes:
        """The type of a stream of codes; InputError for another one."""
        if not isinstance(self.type, BlockCodes):
            raise InputError(f"{self.name} carries {type(self.type).__name__}, not codes")
        return self.type


class Lowering:
    """Steps, and the streams that the nodes before have given.

    Attributes
    ----------
    graph, assignment : what is lowered.
    keys : positions that tables and caches have room for.
    views : follows the arguments of nodes.
    plan : the types of streams.
    peers : what shares its exponents with the same nodes of other layers.
    products : of linear layers, as arrays that layers share compute them.
    """

    def __init__(
        self,
        graph: Graph,
        assignment: Assignment,
        plan: Plan,
        views: Views,
        peers: Peers,
        keys: int,
        chosen: Iterable[fx.Node],
    ) -> None:
        self.graph, self.assignment, self.keys = graph, assignment, keys
        self.views, self.plan, self.peers = views, plan, peers
        self.products = SharedProducts(self)
        self.chosen = set(chosen)
        self.inputs: dict[str, StreamType] = {}
        self.sources: dict[str, str] = {}
        self.factors: dict[str, float] = {}
        self.steps: list[Step] = []
        self.streams: dict[Source, Stream] = {}
        self._made: dict[tuple[object, ...], Stream] = {}

    # what a rule asks

    def seen(self, node: fx.Node, position: int) -> Seen:
        """Return what an argument of ``node`` is; InputError if it is no view of one value of the model."""
        seen = self.views.see(node_argument(node, position))
        if seen is None:
            raise InputError(f"operand {position} is a constant or put together from several values")
        return seen

    def operand(self, node: fx.Node, position: int) -> Stream:
        """Return the stream of an argument, in vectors; InputError if a view has changed their order or length."""
        seen = self.seen(node, position)
        if not seen.in_order or seen.numbers.shape[-1] != self.views.length(seen.source):
            raise InputError(f"operand {position} is a part of a vector, or one in another order")
        return self.stream(seen.source)

    def head_operand(self, node: fx.Node, position: int) -> tuple[Stream, int, int]:
        """Return the stream of an argument [batch, heads, tokens, length], how many heads, and their length."""
        seen = self.seen(node, position)
        if seen.heads is None:
            raise InputError(f"operand {position} is not made of the heads of one value")
        return self.stream(seen.source), *seen.heads

    def parameter(self, node: fx.Node, position: int) -> Tensor | None:
        """Return a parameter of ``node``; None for an argument that is absent or None."""
        if position >= len(node.args) or node.args[position] is None:
            return None
        argument = node_argument(node, position)
        if argument.op != "get_attr":
            raise InputError(f"operand {position} is computed, not a parameter")
        return attribute(argument)

    def format(self, node: fx.Node, operand: str) -> Format | None:
        """Return the format that the assignment gives an operand of ``node``; None if it says nothing."""
        name = self.assignment.formats.get(f"{info_of(node).name}:{operand}")
        return None if name is None else parse_format(name)

    def output(self, node: fx.Node) -> Integers:
        """Return the type of an output of ``node`` in 16 bits, with the exponent that calibration gives."""
        return self.plan.narrow(Source(node))

    def stream(self, source: Source) -> Stream:
        """Return the stream of a value: of a step before, or an input of the design."""
        if source not in self.streams:
            if source.node in self.chosen:
                raise InputError(f"{info_of(source.node).name} gives no stream")
            self.streams[source] = self._input(source)
        return self.streams[source]

    def positions(self) -> Stream:
        """Return the stream of positions."""
        return self._index_input(POSITIONS, self.keys)

    def tokens(self, count: int) -> Stream:
        """Return the stream of token ids."""
        return self._index_input(TOKENS, count)

    # what a rule adds

    def step(self, name: str, node: str, operation: Operation, *inputs: Stream) -> Stream:
        """Add a step and return its stream; ``node`` is the node of the float graph that it belongs to."""
        self.steps.append(Step(name, node, operation, tuple(stream.name for stream in inputs)))
        return Stream(name, operation.output, name, node)

    def add(self, node: fx.Node, operation: Operation, *inputs: Stream) -> None:
        """Add the step that all of ``node`` is: it has the node's name and gives its stream."""
        name = info_of(node).name
        self.give(node, self.step(name, name, operation, *inputs))

    def give(self, node: fx.Node, stream: Stream, index: int = 0, label: str | None = None) -> None:
        """Say which stream an output of ``node`` is; steps that reshape it are called after ``label``."""
        name = info_of(node).name
        self.streams[Source(node, index)] = replace(stream, label=label or name, node=name, source=Source(node, index))

    def pretend(self, node: fx.Node) -> None:
        """Let the nodes after one that has no integers see the stream that it would give."""
        name = info_of(node).name
        for index in range(self.views.outputs(node)):
            source = Source(node, index)
            if source not in self.streams:
                self.streams[source] = Stream(name, self._planned(source), name, name, source)

    def _planned(self, source: Source) -> StreamType:
        kind = info_of(source.node).op
        shape = self.views.shape(source)
        if kind in ("attn_qk", "softmax") and len(shape) == 4:
            kept = Scores if kind == "attn_qk" else KeyWeights
            return kept(heads=shape[1], keys=self.keys, spec=SoftmaxSpec())
        return self.plan.stream(source)

    def narrow(self, stream: Stream) -> Stream:
        """Return the stream in 16 bits, with the exponent that calibration gives; the stream itself if it has them."""
        before = stream.integers
        if before.bits == STREAM_BITS:
            return stream
        if stream.source is None:
            raise InputError(f"{stream.name} is no value of the model, so its range is not known")
        return self.shifted(stream, self.plan.narrow(stream.source))

    def shifted(self, stream: Stream, to: Integers) -> Stream:
        """Return the stream in another width and at another exponent; made once for all who ask."""
        key = stream.name, to
        if key not in self._made:
            operation = Requantize(x=stream.integers, y=to, spec=_shift(stream.integers, to))
            made = self.step(self._unique(f"{stream.label}.requantize"), stream.node, operation, stream)
            self._made[key] = replace(made, label=stream.label, source=stream.source)
        return self._made[key]

    def quantized(self, stream: Stream, fmt: Format, block: int | None = None) -> Stream:
        """Return the stream in an activation format; one quantizer for all who ask for the same."""
        stream = self.narrow(stream)
        codes = code_stream(fmt, stream.integers, block)
        key = stream.name, codes
        if key not in self._made:
            name = self._unique(f"{stream.label}.quantize")
            self._made[key] = self.step(name, stream.node, Quantize(x=stream.integers, y=codes), stream)
        return self._made[key]

    def _unique(self, name: str) -> str:
        taken = {step.name for step in self.steps}
        number = 1
        candidate = name
        while candidate in taken:
            number += 1
            candidate = f"{name}_{number}"
        return candidate

    def _input(self, source: Source) -> Stream:
        """Make a value from outside of the chosen nodes an input of the design."""
        made = self.views.key(source)
        if made == INPUT and self.graph.signature.kind == "tokens":
            raise InputError("it reads token ids as numbers")
        if made != INPUT and info_of(source.node).op in ("attn_qk", "softmax"):
            raise InputError(f"its input {made} is outside; choose all nodes of an attention, or none")
        name = HIDDEN if source.node in self.plan.residual and HIDDEN not in self.inputs else made
        self.inputs[name] = self.plan.stream(source)
        self.sources[name] = made
        if source in self.plan.factors:
            self.factors[name] = self.plan.factors[source]
        return Stream(name, self.inputs[name], made, made, source)

    def _index_input(self, name: str, count: int) -> Stream:
        self.inputs.setdefault(name, Indices(count=count))
        if self.inputs[name] != Indices(count=count):
            raise InputError(f"{name} are below {count} here and {self.inputs[name]} elsewhere")
        return Stream(name, self.inputs[name], name, name)


def _shift(before: Integers, to: Integers) -> RequantizeSpec:
    """Return a requantizer that only shifts: its multiplier is 1."""
    plain = RequantizeSpec(
        multipliers=(1,), multiplier_bits=2, largest=(1 << before.bits - 1) - 1, shift=0, output_bits=to.bits
    )
    return replace(plain, shift=to.exponent - before.exponent - plain.pre_shift)
