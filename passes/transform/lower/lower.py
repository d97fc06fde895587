"""From a captured float graph, or a part of it, to an integer graph: every bit defined, step by step."""

from collections.abc import Iterable, Mapping

from torch import fx

from mxhw.arithmetic.dataflow import IntegerGraph, Step, StreamType
from mxhw.errors import InputError
from mxhw.ir import Assignment, Graph
from mxhw.ir.describe import INFO
from mxhw.passes.transform.lower import attention, elementwise, linear, norms  # noqa: F401  (they register their rules)
from mxhw.passes.transform.lower.lowering import Lowering
from mxhw.passes.transform.lower.peers import Peers, shared_ranges
from mxhw.passes.transform.lower.plan import Plan
from mxhw.passes.transform.lower.ranges import Ranges
from mxhw.passes.transform.lower.registry import lowering_of
from mxhw.passes.transform.lower.views import Views, info_of

__all__ = ["LoweredGraph", "Missing", "NotLoweredError", "lower_graph"]

_NAMED = 4  # names that an error lists of a kind
_SILENT = frozenset({"rope_table"})  # nodes that give no stream

Missing = tuple[str, str, str]
"""A node, its kind, and why it has no integers."""


class NotLoweredError(InputError):
    """Some nodes have no integer arithmetic.

    Attributes
    ----------
    missing : tuple of (node, kind, reason), in execution order
    """

    def __init__(self, model: str, missing: Iterable[Missing], count: int) -> None:
        self.missing = tuple(missing)
        groups: dict[tuple[str, str], list[str]] = {}
        for name, kind, reason in self.missing:
            groups.setdefault((kind, reason), []).append(name)
        parts = [f"{kind} {_some(names)}: {reason}" for (kind, reason), names in groups.items()]
        nodes = f"{len(self.missing)} of {count} nodes"
        super().__init__(f"{model} has no integer arithmetic for {nodes}: {'; '.join(parts)}")


class LoweredGraph(IntegerGraph):
    """An integer graph that knows which float values its streams stand for.

    Attributes
    ----------
    model : name of the captured model.
    sources : the captured node (or "input") whose value each input is; positions and token ids are not among them.
        Of a node with several outputs, or a linear layer that is read in parts, ``name.0``, ...
    factors : what the values of an input are multiplied by, where that is not 1 (queries).
    streams : the stream that each output of a lowered node is, by node name (of several outputs ``name.0``, ...).
    keys : positions that the tables and caches have room for.
    """

    def __init__(
        self,
        inputs: Mapping[str, StreamType],
        steps: Iterable[Step],
        outputs: Iterable[str],
        *,
        model: str,
        sources: Mapping[str, str],
        streams: Mapping[str, str],
        keys: int,
        factors: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(inputs, steps, outputs)
        self.model, self.sources, self.streams, self.keys = model, dict(sources), dict(streams), keys
        self.factors = dict(factors or {})


def lower_graph(
    graph: Graph,
    assignment: Assignment,
    ranges: Ranges,
    *,
    nodes: str | Iterable[str] | None = None,
    keys: int | None = None,
    share: bool = True,
) -> LoweredGraph:
    """Return the integers of a float graph under an assignment.

    Structurally equal layers get streams of the same types, and constants with the same shifts, so that they can share
    hardware: a part depends on the ranges and weights of all layers that are equal to its own.

    Parameters
    ----------
    graph : Graph
        The float graph.
    assignment : Assignment
    ranges : mapping of node to largest magnitude
        Of the whole graph, from :func:`mxhw.passes.transform.lower.calibrate`.
    nodes : names, optional
        Lower only these nodes; a prefix ("model.layers.0") stands for all nodes below it. Values from outside become
        inputs: the residual stream "hidden", "positions", others by the name of their node.
    keys : int, optional
        The longest sequence that tables and caches have room for; by default the one that was captured.
    share : bool
        False: every layer has exponents and constants of its own, and hardware of its own, too. Lowering a part then
        reads no other weights.

    Raises
    ------
    NotLoweredError
        If a node has no integer arithmetic; all of them are listed.
    InputError
        If a name is not known, or the assignment does not fit the graph.
    """
    assignment.check(graph)
    graph.check_weights()
    if len(graph.module.graph.find_nodes(op="placeholder")) != 1:
        raise InputError(f"graph of {graph.signature.model} has a cache as its input; lower the one of whole sequences")
    keys = graph.signature.sequence if keys is None else keys
    context = graph.signature.context
    if type(keys) is not int or keys < 1 or (context is not None and keys > context):
        raise InputError(f"keys must be 1 to the context of {context} positions, not {keys!r}")
    views, peers = Views(graph), Peers(graph, share=share)
    chosen = _chosen(graph, nodes)
    plan = Plan(graph, shared_ranges(ranges, peers), views)
    lowering = Lowering(graph, assignment, plan, views, peers, keys, chosen)
    missing = [reason for node in chosen if (reason := _lower(lowering, node))]
    if missing:
        raise NotLoweredError(graph.signature.model, missing, len(chosen))
    return LoweredGraph(
        lowering.inputs,
        lowering.steps,
        _outputs(lowering),
        model=graph.signature.model,
        sources=lowering.sources,
        streams={views.key(source): stream.name for source, stream in lowering.streams.items()},
        keys=keys,
        factors=lowering.factors,
    )


def _lower(lowering: Lowering, node: fx.Node) -> Missing | None:
    """Lower a node; where that is not possible, let the nodes after it go on with the stream that it would give."""
    info = info_of(node)
    rule = lowering_of(info)
    try:
        if rule is None:
            raise InputError("no lowering is registered")
        rule(lowering, node)
    except InputError as error:
        lowering.pretend(node)
        return info.name, info.op, str(error)
    return None


def _chosen(graph: Graph, nodes: str | Iterable[str] | None) -> list[fx.Node]:
    """Return the chosen computing nodes in execution order."""
    computing = [node for node in graph.module.graph.nodes if INFO in node.meta]
    if nodes is None:
        return computing
    wanted = [nodes] if isinstance(nodes, str) else list(nodes)
    names = [info_of(node).name for node in computing]
    for name in wanted:
        if not any(_is_below(each, name) for each in names):
            raise graph.unknown_node(name)
    return [node for node in computing if any(_is_below(info_of(node).name, name) for name in wanted)]


def _is_below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _outputs(lowering: Lowering) -> list[str]:
    """Return the streams that nodes outside read, or the model gives; those that nobody reads, too."""
    found: list[str] = []
    for source, stream in lowering.streams.items():
        if source.node not in lowering.chosen:
            continue
        readers = lowering.plan.readers_of(source)
        if stream.name not in found and (not readers or any(each not in lowering.chosen for each in readers)):
            found.append(stream.name)
    return found


def _some(names: list[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
