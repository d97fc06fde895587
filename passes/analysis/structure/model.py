"""A captured model as the cost model sees it: front, blocks of equal layers, back.

No weights are needed. A folded design has one block a kind of layer, whose units serve all layers of that kind; what
layers have in formats of their own, their shared array holds (:func:`mxhw.arithmetic.recoding.common_weight_type`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from mxhw.arithmetic import weight_exponents
from mxhw.formats import Format
from mxhw.hardware.structure import BlockUse, Design, ModelDesign
from mxhw.ir import Graph, NodeInfo
from mxhw.passes.analysis.structure import attention, functions, linear
from mxhw.passes.analysis.structure.products import ASSUMED_EXPONENTS
from mxhw.passes.analysis.structure.steps import Choices, Group, Steps, add_steps

__all__ = ["Structure", "model_structure"]

HIDDEN = "hidden"
_RULES = attention, functions, linear  # importing them registers their rules


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
    """Return the design of a graph.

    Raises
    ------
    InputError
        If a product has no format or no unit for its formats, or layers that are to share a unit cannot; the message
        names the node.
    """
    choices = replace(choices, exponents=choices.exponents or exponents_of(graph))
    without: list[str] = []
    blocks = tuple(
        BlockUse(_part(graph, choices, nodes, layers, without), layers) for layers, nodes in _blocks(graph, folded)
    )
    outside = [info for info in graph.nodes.values() if info.layer is None]
    inside = {info.name for info in graph.nodes.values() if info.layer is not None}
    behind = {info.name for info in outside if _reads(graph, info, inside)}
    front = [Group(info.name, (info,)) for info in outside if info.name not in behind]
    back = [Group(info.name, (info,)) for info in outside if info.name in behind]
    parts = [_part(graph, choices, groups, (), without) for groups in (front, back)]
    return Structure(ModelDesign(parts[0], blocks, parts[1], folded), tuple(without))


def exponents_of(graph: Graph) -> Callable[[NodeInfo, Format], tuple[int, int]]:
    """Return what gives the stored exponents of DialectFP4 weights: theirs, or what is assumed without weights."""
    if not graph.has_weights:
        return lambda info, fmt: ASSUMED_EXPONENTS
    known: dict[tuple[str, Format], tuple[int, int]] = {}

    def find(info: NodeInfo, fmt: Format) -> tuple[int, int]:
        if (info.name, fmt) not in known:
            known[info.name, fmt] = weight_exponents(fmt.integers(fmt.encode(graph.weight(info.name))))
        return known[info.name, fmt]

    return find


def _blocks(graph: Graph, folded: bool) -> list[tuple[tuple[str, ...], list[Group]]]:
    """Return the layers of each physical block, and its nodes."""
    by_layer: dict[str, list[NodeInfo]] = {}
    for info in graph.nodes.values():
        if info.layer is not None:
            by_layer.setdefault(info.layer, []).append(info)
    kinds = [tuple(layers) for layers in graph.blocks.values()] if folded else [(layer,) for layer in by_layer]
    found = []
    for layers in kinds:
        rows = zip(*(by_layer[layer] for layer in layers), strict=True)
        found.append((layers, [Group(_within(members[0]), members) for members in rows]))
    return found


def _within(info: NodeInfo) -> str:
    """Return the name of a node inside its layer."""
    return info.name.removeprefix(f"{info.layer}.")


def _reads(graph: Graph, info: NodeInfo, names: set[str]) -> bool:
    """Return whether a node reads one of ``names``, through others."""
    return any(
        each in names or (each in graph.nodes and _reads(graph, graph.nodes[each], names)) for each in info.inputs
    )


def _part(graph: Graph, choices: Choices, groups: list[Group], layers: tuple[str, ...], without: list[str]) -> Design:
    """Return the design of some nodes; what they read of others is an input."""
    summands = {each for group in groups if group.first.op == "add" for each in group.first.inputs}
    steps = Steps(choices, summands=frozenset(summands))
    own = {member.name for group in groups for member in group.members}
    for group in groups:
        for each in group.first.inputs:
            if each not in own and each not in steps.streams and not _is_table(graph, each):
                steps.streams[each] = HIDDEN if layers else each
        add_steps(steps, group)
    without += steps.without
    if not steps.steps:
        return Design({HIDDEN: 1}, {}, ())
    inputs = {each: 1 for step in steps.steps.values() for each in step.inputs if each not in steps.steps}
    for step in reversed(steps.steps.values()):
        for source, lanes in zip(step.inputs, step.lanes_in, strict=True):
            if source in inputs:
                inputs[source] = lanes
    last = next(reversed(steps.steps))
    return Design(inputs, steps.steps, (last,))


def _is_table(graph: Graph, name: str) -> bool:
    """Return whether a node gives constants that units hold themselves (angles of rotations)."""
    return name in graph.nodes and graph.nodes[name].op == "rope_table"
