"""A captured model as the cost model sees it: front, blocks of equal layers, back.

No weights are needed. A folded design has one block a kind of layer, whose units serve all layers of that kind; what
layers have in formats of their own, their shared array holds (:func:`mxhw.arithmetic.recoding.common_weight_type`).
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace

from mxhw.arithmetic import weight_exponents
from mxhw.errors import InputError
from mxhw.formats import Format
from mxhw.hardware.structure import Add, BlockUse, Design, ModelDesign
from mxhw.ir import Graph, NodeInfo
from mxhw.passes.analysis.structure import attention, functions, linear
from mxhw.passes.analysis.structure.products import ASSUMED_EXPONENTS
from mxhw.passes.analysis.structure.steps import Choices, Group, Made, Steps, add_steps

__all__ = ["Outline", "Structure", "Structurer", "model_structure"]

HIDDEN = "hidden"
_RULES = attention, functions, linear  # importing them registers their rules


@dataclass(frozen=True, eq=False)
class Outline:
    """A part of a model before formats are chosen.

    Attributes
    ----------
    groups : its nodes, in execution order.
    layers : that a block serves; none of what stands before and behind the layers.
    """

    groups: tuple[Group, ...]
    layers: tuple[str, ...] = ()


Part = tuple[Design, Steps]


@dataclass(frozen=True)
class Structure:
    """A design, and what it lacks.

    Attributes
    ----------
    design : of the whole model.
    without : nodes that work and that nothing is charged for.
    """

    design: ModelDesign
    without: tuple[str, ...]


def model_structure(graph: Graph, choices: Choices, *, folded: bool = True) -> Structure:
    """Return the design of a graph; see :class:`Structurer`."""
    return Structurer(graph, folded=folded).structure(choices)


class Structurer:
    """Makes designs of one graph; what has been made of a node for the same formats is kept.

    Parameters
    ----------
    graph : Graph
        With or without weights.
    folded : bool
        One physical block for all layers of a kind, whose steps have names within a layer; else each layer has its own,
        whose steps have the names that emission gives.

    Attributes
    ----------
    outlines : front, blocks, back.
    """

    def __init__(self, graph: Graph, *, folded: bool = True) -> None:
        self.folded = folded
        nodes = graph.nodes
        self._tables = {name for name, info in nodes.items() if info.op == "rope_table"}
        self._exponents = exponents_of(graph)
        self._made: dict[Hashable, Made] = {}
        outside = [info for info in nodes.values() if info.layer is None]
        behind = _behind_layers(nodes)
        self.outlines = (
            Outline(tuple(Group(info.name, (info,)) for info in outside if info.name not in behind)),
            *_blocks(graph, nodes, folded),
            Outline(tuple(Group(info.name, (info,)) for info in outside if info.name in behind)),
        )

    def structure(self, choices: Choices) -> Structure:
        """Return the design for chosen formats, at its smallest sizes: see :mod:`mxhw.hardware.sizing`.

        Raises
        ------
        InputError
            If a product has no format or no unit for its formats, or layers that are to share a unit cannot; the
            message names the node.
        """
        made = [self.part(choices, outline) for outline in self.outlines]
        (front, *blocks, back) = (design for design, _ in made)
        uses = tuple(
            BlockUse(design, outline.layers) for design, outline in zip(blocks, self.outlines[1:-1], strict=True)
        )
        without = tuple(node for _, steps in made for node in steps.without)
        return Structure(ModelDesign(front, uses, back, self.folded), without)

    def part(self, choices: Choices, outline: Outline, seen: Callable[[Steps, Group], None] | None = None) -> Part:
        """Return the design of a part, and its steps as they were added; what they read of others is an input.

        ``seen`` is called after each group with the steps so far. Errors as of :meth:`structure`.
        """
        choices = replace(choices, exponents=choices.exponents or self._exponents)
        groups = outline.groups
        summands = {each for group in groups if group.first.op == "add" for each in group.first.inputs}
        steps = Steps(choices, summands=frozenset(summands))
        own = {group.first.name for group in groups}
        for group in groups:
            for each in group.first.inputs:
                if each not in own and each not in steps.streams and each not in self._tables:
                    steps.streams[each] = HIDDEN if outline.layers else each
            add_steps(steps, group, self._made)
            if seen is not None:
                seen(steps, group)
        return _connected(steps), steps


def _connected(steps: Steps) -> Design:
    """Return the design of all steps."""
    if not steps.steps:
        return Design({HIDDEN: 1}, {}, ())
    inputs: dict[str, int] = {}
    for step in steps.steps.values():
        for source, lanes in zip(step.inputs, step.lanes_in, strict=True):
            if source not in steps.steps:
                inputs.setdefault(source, lanes)  # what the first reader takes
    last = next(reversed(steps.steps))
    return Design(inputs, steps.steps, (last,), _residual_queues(steps))


def _residual_queues(steps: Steps) -> dict[tuple[str, str], int]:
    """Return the depths of the queues in front of sums: what comes first waits for two vectors of the other branch.

    Emission computes depths (:mod:`mxhw.passes.emit.dataflow.fifos`); those of its decoder blocks hold 2.0 to 2.2
    vectors there, and no other queue is longer than its registers.
    """
    order = {name: index for index, name in enumerate(steps.steps)}
    depths = {}
    for step in steps.steps.values():
        if isinstance(step.unit, Add):
            first = min(step.inputs, key=lambda source: order.get(source, -1))
            depths[first, step.name] = _VECTORS_THAT_WAIT * step.unit.length // steps.lanes.get(first, 1)
    return depths


_VECTORS_THAT_WAIT = 2


def exponents_of(graph: Graph) -> Callable[[NodeInfo, Format], tuple[int, int]]:
    """Return what gives the stored exponents of DialectFP4 weights: theirs, or what is assumed without weights."""
    known: dict[tuple[str, Format], tuple[int, int]] = {}

    def find(info: NodeInfo, fmt: Format) -> tuple[int, int]:
        if (info.name, fmt) not in known:
            try:
                weight = graph.weight(info.name)  # of a streamed model it is read from its file now
            except InputError:
                return ASSUMED_EXPONENTS
            known[info.name, fmt] = weight_exponents(fmt.integers(fmt.encode(weight)))
        return known[info.name, fmt]

    return find


def _blocks(graph: Graph, nodes: Mapping[str, NodeInfo], folded: bool) -> list[Outline]:
    """Return each physical block."""
    by_layer: dict[str, list[NodeInfo]] = {}
    for info in nodes.values():
        if info.layer is not None:
            by_layer.setdefault(info.layer, []).append(info)
    kinds = [tuple(layers) for layers in graph.blocks.values()] if folded else [(layer,) for layer in by_layer]
    found = []
    for layers in kinds:
        rows = zip(*(by_layer[layer] for layer in layers), strict=True)
        groups = (Group(_within(members[0]) if folded else members[0].name, members) for members in rows)
        found.append(Outline(tuple(groups), layers))
    return found


def _within(info: NodeInfo) -> str:
    """Return the name of a node inside its layer."""
    return info.name.removeprefix(f"{info.layer}.")


def _behind_layers(nodes: Mapping[str, NodeInfo]) -> set[str]:
    """Return the nodes that read what layers give, through others."""
    found: set[str] = set()
    for info in nodes.values():  # in execution order
        if any(each in found or (each in nodes and nodes[each].layer is not None) for each in info.inputs):
            found.add(info.name)
    return found
