"""RoPE of a captured graph: its angles are the graph's own, and what its nodes compute is verified on numbers."""

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, fx

from mxhw.arithmetic.functions.rope import Pairing, RopeSpec
from mxhw.errors import InputError
from mxhw.passes.transform.lower.lowering import Lowering
from mxhw.passes.transform.lower.probe import attribute, evaluate, run_until
from mxhw.passes.transform.lower.views import Source, Views, info_of

__all__ = ["Rotation", "rotation"]

_TOKENS = 3


@dataclass(frozen=True)
class Rotation:
    """What a rope node does to each of its head vectors.

    Attributes
    ----------
    spec : RopeSpec
    operands : the arguments that are rotated, in the order of the outputs.
    """

    spec: RopeSpec
    operands: tuple[int, ...]


def rotation(lowering: Lowering, node: fx.Node) -> Rotation:
    """Return what a rope node computes; InputError if it does not turn whole heads by ``position * frequency``."""
    views = lowering.views
    seen = {each: views.see(each) for each in node.all_input_nodes}
    tables = {each: s.source for each, s in seen.items() if s and _is_table(s.source)}
    rotated = [each for each, s in seen.items() if s and s.heads and each not in tables]
    lengths = {s.heads[1] for each in rotated if (s := seen[each]) and s.heads}
    if len(tables) != 2 or len({s.node for s in tables.values()}) != 1 or not rotated or len(lengths) != 1:
        raise InputError("not a rotation of head vectors by a table of cosines and one of sines")
    head_dim = lengths.pop()
    table = next(iter(tables.values())).node
    frequencies = _frequencies(table, head_dim)
    values = run_until(lowering.graph, table, _tokens(lowering))
    for pairing in get_args(Pairing):
        spec = RopeSpec(head_dim=head_dim, positions=lowering.keys, frequencies=frequencies, pairing=pairing)
        order = _cosine_first(values, spec)
        if order is not None and _rotates(node, rotated, tables, order, spec, views):
            return Rotation(spec, tuple(list(node.args).index(each) for each in rotated))
    raise InputError("not a rotation of whole heads by position times inv_freq (scaled, dynamic or partial RoPE)")


def _is_table(source: Source) -> bool:
    return source.node.op != "placeholder" and info_of(source.node).op == "rope_table"


def _tokens(lowering: Lowering) -> Tensor:
    batch, sequence = lowering.graph.sizes()
    return torch.zeros(batch, lowering.keys if lowering.graph.signature.dynamic else sequence, dtype=torch.int64)


def _frequencies(table: fx.Node, head_dim: int) -> tuple[float, ...]:
    """Return the buffer of radians a position that a table is made of."""
    found, open_nodes = [], [table]
    while open_nodes:
        node = open_nodes.pop()
        open_nodes += node.all_input_nodes
        if node.op == "get_attr" and attribute(node).numel() == head_dim // 2:
            found.append(attribute(node))
    if len(found) != 1:
        raise InputError(
            f"its table is made of {len(found)} buffers of {head_dim // 2} frequencies, not of one (partial RoPE?)"
        )
    return tuple(found[0].double().flatten().tolist())


def _spread(x: Tensor, pairing: Pairing) -> Tensor:
    return torch.cat([x, x], -1) if pairing == "half" else x.repeat_interleave(2, -1)


def _cosine_first(values: object, spec: RopeSpec) -> tuple[int, int] | None:
    """Return the outputs of a table that are cosines and sines; None if they are not of the spec's angles."""
    if not isinstance(values, tuple | list) or len(values) != 2:
        return None
    angles = _spread(spec.angles, spec.pairing)
    tolerance = 1e-5 + spec.positions * 2.0**-21  # of float32 angles
    for order in ((0, 1), (1, 0)):
        pairs = ((values[order[0]], torch.cos(angles)), (values[order[1]], torch.sin(angles)))
        rows = [(table.double().reshape(-1, spec.head_dim)[: spec.positions], exact) for table, exact in pairs]
        if all(a.shape == e[: len(a)].shape and bool((a - e[: len(a)]).abs().max() < tolerance) for a, e in rows):
            return order
    return None


def _rotates(
    node: fx.Node,
    rotated: list[fx.Node],
    tables: dict[fx.Node, Source],
    order: tuple[int, int],
    spec: RopeSpec,
    views: Views,
) -> bool:
    """Whether output i of the node is argument i rotated, on random numbers."""
    generator = torch.Generator().manual_seed(0)
    angle = torch.rand(1, _TOKENS, spec.pairs, generator=generator) * 6
    cosine, sine = torch.cos(angle), torch.sin(angle)
    values = {}
    for each, source in tables.items():
        values[each] = _spread(cosine if source.index == order[0] else sine, spec.pairing)
    for each in rotated:
        seen = views.see(each)
        assert seen is not None and seen.heads is not None
        values[each] = torch.randn(1, seen.heads[0], _TOKENS, spec.head_dim, generator=generator)
    try:
        found = evaluate(node, values)
    except (RuntimeError, IndexError):
        return False
    outputs = found if isinstance(found, tuple | list) else (found,)
    if len(outputs) != len(rotated):
        return False
    wanted = [_rotate(values[each], cosine, sine, spec.pairing) for each in rotated]
    return all(a.shape == b.shape and torch.allclose(a, b, atol=1e-5) for a, b in zip(outputs, wanted, strict=True))


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor, pairing: Pairing) -> Tensor:
    low, high = x.chunk(2, -1) if pairing == "half" else (x[..., 0::2], x[..., 1::2])
    turned = low * cosine - high * sine, high * cosine + low * sine
    return torch.cat(turned, -1) if pairing == "half" else torch.stack(turned, -1).flatten(-2)
