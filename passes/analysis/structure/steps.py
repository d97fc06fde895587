"""From the nodes of a captured graph to the steps of a design, each at its smallest size: one function a kind of node.

What emission makes of a lowered graph (`passes/emit/dataflow`), made from shapes and formats alone: an encoder in front
of each product, a requantizer and a bias behind it, two rotations for queries and keys, and so on, under the names that
lowering gives. Widths that calibration does not decide are those of lowering. Projections that a model fuses stay one
product. What has no component is charged where a record has been made for it (experts, top-k routing) and named where
not (:attr:`Steps.without`).
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from math import gcd, prod
from typing import Any

from mxhw.errors import InputError
from mxhw.formats import Format, parse_format
from mxhw.hardware.structure import Encoder, Requantize, Step, Unit, WeightStorage
from mxhw.ir import NodeInfo
from mxhw.ir.symbolic import size_at
from mxhw.passes.analysis.structure.products import stored_bits

__all__ = [
    "LOGIT_BITS",
    "ONE_BITS",
    "POSITIONS",
    "REDUCED_BITS",
    "RESIDUAL_BITS",
    "STREAM_BITS",
    "Choices",
    "Group",
    "Made",
    "Steps",
    "add_steps",
    "channel_constants",
    "code_bits_of",
    "elements",
    "encoded",
    "formats_of",
    "has_rule",
    "narrowed",
    "one_format",
    "rule_for",
    "sources_of",
]

POSITIONS = "positions"
RESIDUAL_BITS, STREAM_BITS, LOGIT_BITS = 24, 16, 32  # of streams: arithmetic.md, section 2
REDUCED_BITS = 32  # of a sum in front of its multiplier
ONE_BITS = 2  # of a multiplier that is a power of two


@dataclass(frozen=True, eq=False)
class Group:
    """A node, or the nodes of equal layers that share its units.

    Attributes
    ----------
    name : of the steps.
    members : the node in each layer.
    """

    name: str
    members: tuple[NodeInfo, ...]

    @property
    def first(self) -> NodeInfo:
        """The node of the first layer."""
        return self.members[0]

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """The sites of all members."""
        return tuple(site.key for each in self.members for site in each.sites)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What is chosen beside the model.

    Attributes
    ----------
    formats : site → name of its format.
    storage : of the weights of products in layers; those outside of layers are always inside.
    keys, banks : tokens of the longest sequence; sequences that caches keep at a time.
    exponents : gives the stored exponents of a DialectFP4 weight.
    strict : what has no unit, or no format, is refused; else it is left out and named.
    """

    formats: Mapping[str, str]
    storage: WeightStorage = "inside"
    keys: int = 128
    banks: int = 1
    exponents: Callable[[NodeInfo, Format], tuple[int, int]] | None = None
    strict: bool = True

    @property
    def general(self) -> tuple[object, ...]:
        """What holds for all nodes."""
        return self.storage, self.keys, self.banks, self.strict


@dataclass
class Steps:
    """Steps as they are added.

    Attributes
    ----------
    choices : what is chosen.
    steps : name → step.
    streams : node → the step, or the input of the design, that gives its values.
    lanes, bits : step or input → elements of a beat that it gives, bits of an element.
    without : nodes that nothing is charged for.
    encoders : stream and format → its encoder.
    summands : nodes that a sum reads: they are on its grid.
    """

    choices: Choices
    steps: dict[str, Step] = field(default_factory=dict)
    streams: dict[str, str] = field(default_factory=dict)
    lanes: dict[str, int] = field(default_factory=dict)
    bits: dict[str, int] = field(default_factory=dict)
    without: list[str] = field(default_factory=list)
    encoders: dict[tuple[str, Format], str] = field(default_factory=dict)
    summands: frozenset[str] = frozenset()

    @property
    def collections(self) -> tuple[Any, ...]:
        """What rules add to."""
        return self.steps, self.streams, self.lanes, self.bits, self.without, self.encoders

    def add(
        self,
        name: str,
        node: str,
        unit: Unit,
        inputs: Sequence[str],
        *,
        lanes_in: Sequence[int],
        lanes: int,
        bits: int,
    ) -> str:
        """Add a step; return its name."""
        self.steps[name] = Step(name, node, unit, tuple(inputs), tuple(lanes_in), lanes)
        self.lanes[name], self.bits[name] = lanes, bits
        return name

    def stream(self, node: str) -> str:
        """Return the step or input that gives a node's values; a node of another part is an input."""
        found = self.streams.setdefault(node, node)
        self.lanes.setdefault(found, 1)
        self.bits.setdefault(found, RESIDUAL_BITS)
        return found


Rule = Callable[[Steps, Group], None]
_RULES: dict[str, Rule] = {}


def rule_for(*kinds: str) -> Callable[[Rule], Rule]:
    """Return a decorator that makes a function the rule of kinds of nodes."""

    def register(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return register


class Made:
    """What a node has added to each of the collections of :class:`Steps`."""

    def __init__(self, steps: Steps) -> None:
        self._sizes = [len(each) for each in steps.collections]
        self._added: list[list[Any]] = []

    def keep(self, steps: Steps) -> None:
        """Remember what has been added since."""
        for size, each in zip(self._sizes, steps.collections, strict=True):
            self._added.append(list(islice(each.items() if isinstance(each, dict) else each, size, None)))

    def repeat(self, steps: Steps) -> None:
        """Add it to others."""
        for added, each in zip(self._added, steps.collections, strict=True):
            if isinstance(each, dict):
                each.update(added)
            else:
                each.extend(added)


def add_steps(steps: Steps, group: Group, made: dict[Hashable, Made]) -> None:
    """Add the steps of a node, as they were ``made`` before if they were for the same formats and streams.

    A node of a kind that nothing is known of passes its input on, and is named if it is not free of work (it
    multiplies, or the dialect does not know it).
    """
    key = _key(steps, group)
    if key in made:
        made[key].repeat(steps)
        return
    new = Made(steps)
    _make(steps, group)
    new.keep(steps)
    made[key] = new


def _key(steps: Steps, group: Group) -> Hashable:
    """Return everything that the steps of a node depend on."""
    choices, formats = steps.choices, steps.choices.formats
    sources = sources_of(steps, group)
    return (
        group,
        choices.general,
        tuple([formats.get(key) for key in group.sites]),
        tuple([(each, steps.bits.get(each)) for each in sources]),
        tuple([(fmt, name) for (source, fmt), name in steps.encoders.items() if source in sources]),
        group.first.name in steps.summands,
    )


def sources_of(steps: Steps, group: Group) -> list[str]:
    """Return the streams that a node reads, as far as they are known."""
    sources = []
    for each in group.first.inputs:
        parts = (f"{each}.q", f"{each}.k") if f"{each}.q" in steps.streams else (each,)
        sources += [steps.streams[part] for part in parts if part in steps.streams]
    return sources


def has_rule(group: Group) -> bool:
    """Return whether anything is known of nodes of this kind."""
    return group.first.op in _RULES


def _make(steps: Steps, group: Group) -> None:
    rule = _RULES.get(group.first.op)
    if rule is not None:
        try:
            rule(steps, group)
            return
        except InputError:
            if steps.choices.strict:
                raise
    if group.first.macs or group.first.op == "other":
        steps.without.append(group.first.name)
    if group.first.inputs:
        steps.streams[group.first.name] = steps.stream(group.first.inputs[0])


def elements(shape: Iterable[object]) -> int:
    """Return the elements a token of a shape: those of one token of one sequence."""
    sizes: list[int] = [size_at(size, 1, 1) for size in shape]  # type: ignore[arg-type]
    return prod(sizes)


def formats_of(steps: Steps, group: Group, operand: str) -> tuple[Format, ...]:
    """Return the format of an operand in every layer; InputError for one without."""
    found = []
    for info in group.members:
        name = steps.choices.formats.get(f"{info.name}:{operand}")
        if name is None:
            raise InputError(
                f"node {info.name!r}: the assignment gives its {operand} no format, so that there is no hardware for "
                f"it; add {info.name}:{operand}"
            )
        found.append(parse_format(name))
    return tuple(found)


def one_format(steps: Steps, group: Group, operand: str) -> Format:
    """Return the format of a stream, which has one for all layers."""
    formats = formats_of(steps, group, operand)
    for info, fmt in zip(group.members, formats, strict=True):
        if fmt != formats[0]:
            raise InputError(
                f"node {info.name!r}: its {operand} is in {fmt}, that of {group.first.name!r}, which shares its unit, "
                f"in {formats[0]}; give both one format, or do not fold"
            )
    return formats[0]


def encoded(steps: Steps, group: Group, source: str, fmt: Format, length: int, block: int | None, lanes: int) -> str:
    """Add an encoder of a stream unless there is one for this format; return it."""
    name = steps.encoders.get((source, fmt))
    if name is not None:
        return name
    base = source.removesuffix(".requantize").removesuffix(".bias")  # as lowering calls them
    name = f"{base}.quantize"
    if name in steps.steps:
        name = f"{name}.{fmt}"
    steps.encoders[source, fmt] = name
    size = fmt.block or block or length
    lanes = gcd(lanes, length, size)
    unit = Encoder(
        kind="integer" if fmt.block is None else "dialect",
        length=length,
        lanes=lanes,
        padded=-(-length // size) * size,
        block=size,
        input_bits=STREAM_BITS,
        code_bits=code_bits_of(fmt),
        metadata_bits=stored_bits(fmt, "block"),
    )
    node = steps.steps[source].node if source in steps.steps else group.first.name
    if steps.bits[source] > STREAM_BITS:
        source = narrowed(steps, base, node, source, length)
    return steps.add(name, node, unit, (source,), lanes_in=(lanes,), lanes=lanes, bits=code_bits_of(fmt))


def narrowed(steps: Steps, base: str, node: str, source: str, length: int) -> str:
    """Add what brings a stream to the width of others, by one factor for all elements; return it."""
    name, bits = f"{base}.requantize", steps.bits[source]
    if name == source:
        name = f"{source}.requantize"
    if name in steps.steps:
        return name
    unit = Requantize(
        length=length,
        lanes=1,
        input_bits=bits,
        reduced_bits=min(bits, REDUCED_BITS),
        multiplier_bits=ONE_BITS,
        output_bits=STREAM_BITS,
        constant_terms=1,
    )
    return steps.add(name, node, unit, (source,), lanes_in=(1,), lanes=1, bits=STREAM_BITS)


def code_bits_of(fmt: Format) -> int:
    """Return the bits of a code."""
    return next(each.bits for each in fmt.fields if each.per == "element")


def channel_constants(layers: int, length: int, bits: int) -> dict[str, int]:
    """Return the memory of constants that differ by channel, of a unit with one lane."""
    return {"constant_words": layers * length, "constant_bits": bits}
