"""Causal attention: RoPE, scores, weights, values.

Queries, keys and values are quantized per token and head. The values take the format of ``pv:cache``, or that of
``pv:rhs`` if it is an integer one with a power-of-two scale, or else int8-e8m0; always with one scale per token and
head, whatever the assignment says: a scale along the sequence would depend on tokens that have not come. The
probabilities (``pv:lhs``) are weights of 16 bits, never less precise than what was asked for.
"""

from torch import fx

from mxhw.arithmetic.dataflow import (
    AttentionScores,
    AttentionValues,
    AttentionWeights,
    Integers,
    KeyWeights,
    Rope,
    Scores,
)
from mxhw.arithmetic.functions.softmax import SoftmaxSpec
from mxhw.errors import InputError
from mxhw.formats import Format, IntegerFormat, parse_format
from mxhw.passes.transform.lower.lowering import Lowering
from mxhw.passes.transform.lower.registry import register_lowering
from mxhw.passes.transform.lower.rotation import rotation
from mxhw.passes.transform.lower.views import Source, info_of

__all__ = ["DEFAULT_FORMAT", "lower_probabilities", "lower_rope", "lower_scores", "lower_values"]

DEFAULT_FORMAT = "int8-e8m0"
_OUTPUTS = ("q", "k")  # what the outputs of a rope node are called


@register_lowering("rope_table")
def lower_table(lowering: Lowering, node: fx.Node) -> None:
    """Do nothing: a table of angles is part of each unit that rotates."""


@register_lowering("rope")
def lower_rope(lowering: Lowering, node: fx.Node) -> None:
    """Lower a rotation of queries and keys, each to 16 bits."""
    name, positions = info_of(node).name, lowering.positions()
    found = rotation(lowering, node)
    for index, operand in enumerate(found.operands):
        stream, _, _ = lowering.head_operand(node, operand)
        stream = lowering.narrow(stream)
        part = f"{name}.{_OUTPUTS[index] if len(found.operands) == len(_OUTPUTS) else index}"
        x = stream.integers
        y = Integers(length=x.length, bits=found.spec.output_bits, exponent=x.exponent - found.spec.fraction_bits)
        turned = lowering.step(part, name, Rope(x=x, y=y, spec=found.spec), stream, positions)
        lowering.give(node, turned, index, part)
        lowering.give(node, lowering.narrow(lowering.stream(Source(node, index))), index, part)


@register_lowering("attn_qk")
def lower_scores(lowering: Lowering, node: fx.Node) -> None:
    """Lower the products of queries and keys; the scale is in the queries already."""
    _check_query(lowering, node)
    positions = lowering.positions()
    query, heads, head_dim = lowering.head_operand(node, 0)
    key, groups, key_dim = lowering.head_operand(node, 1)
    if key_dim != head_dim or heads % groups:
        raise InputError(f"{heads} query heads of {head_dim} do not go with {groups} key heads of {key_dim}")
    q = lowering.quantized(query, _scaled(lowering.format(node, "lhs"), "queries"), head_dim)
    k = lowering.quantized(key, _stored(lowering, node, "keys"), head_dim)
    y = Scores(heads=heads, keys=lowering.keys, spec=SoftmaxSpec(), window=_window(lowering, node))
    lowering.add(node, AttentionScores(query=q.codes, key=k.codes, y=y), q, k, positions)


@register_lowering("softmax")
def lower_probabilities(lowering: Lowering, node: fx.Node) -> None:
    """Lower a causal softmax over all keys before, or over a sliding window; the scores know which it is."""
    stream = lowering.operand(node, 0)
    if not isinstance(stream.type, Scores):
        raise InputError("a softmax that is not that of attention")
    mask, causal, window, softcap, *sinks = node.args[1:]
    refused = {
        "a mask": mask is not None,
        "no causality": not causal,
        f"a sliding window of {window}": type(window) is not int,
        "a softcap": bool(softcap),
        "attention sinks": bool(sinks and sinks[0] is not None),
    }
    if any(refused.values()):
        raise InputError(" and ".join(what for what, given in refused.items() if given))
    lowering.add(node, AttentionWeights(x=stream.type), stream)


@register_lowering("attn_pv")
def lower_values(lowering: Lowering, node: fx.Node) -> None:
    """Lower the mean of the values."""
    weights, positions = lowering.operand(node, 0), lowering.positions()
    value, groups, head_dim = lowering.head_operand(node, 1)
    if not isinstance(weights.type, KeyWeights):
        raise InputError("its probabilities are not those of a softmax")
    if weights.type.heads % groups:
        raise InputError(f"{weights.type.heads} heads of probabilities do not go with {groups} heads of values")
    v = lowering.quantized(value, _stored(lowering, node, "values"), head_dim)
    operation = AttentionValues(weights=weights.type, value=v.codes, y=lowering.output(node))
    lowering.add(node, operation, weights, v, positions)


def _window(lowering: Lowering, node: fx.Node) -> int | None:
    """Return the sliding window of the softmax that reads scores; None where it is no shorter than the keys."""
    readers = lowering.plan.readers_of(Source(node))
    windows = {each.args[3] for each in readers if each.op != "output" and info_of(each).op == "softmax"}
    if len(windows) > 1:
        raise InputError(f"its scores are read with windows of {' and '.join(sorted(map(str, windows)))}")
    found = next(iter(windows), None)
    return found if isinstance(found, int) and 0 < found < lowering.keys else None


def _check_query(lowering: Lowering, node: fx.Node) -> None:
    """Raise InputError unless the scale of attention can be folded into the linear layer that the queries come from."""
    factors = lowering.plan.factors
    source: Source | None = lowering.seen(node, 0).source
    while source is not None:
        if source not in factors or len(lowering.plan.readers_of(source)) != 1:
            raise InputError("its queries are read elsewhere, so that its scale cannot be folded into them")
        last, source = source, lowering.plan.before_rotation(source)
    if last.node.op == "placeholder" or info_of(last.node).op != "linear":
        raise InputError("its queries do not come from a linear layer, which could take its scale")


def _scaled(fmt: Format | None, what: str) -> Format:
    """Return the format of queries, keys or values; InputError unless it has power-of-two scales of a whole head."""
    fmt = fmt or parse_format(DEFAULT_FORMAT)
    if not (isinstance(fmt, IntegerFormat) and fmt.scale_dtype == "e8m0" and fmt.group is None and fmt.width <= 8):
        raise InputError(f"{what} in {fmt}; the unit takes int2-e8m0..int8-e8m0")
    return fmt


def _stored(lowering: Lowering, node: fx.Node, what: str) -> Format:
    """Return the format of keys or values: that of the cache, else that of the product's right operand."""
    name = info_of(node).name
    cache, right = lowering.format(node, "cache"), lowering.format(node, "rhs")
    if cache is not None and lowering.assignment.axes.get(f"{name}:cache", -1) != -1:
        raise InputError(f"a cache of {what} in blocks of tokens; the unit rounds token by token")
    if what == "values":
        try:
            return _scaled(cache or right, what)
        except InputError:
            if cache is not None:
                raise
            return parse_format(DEFAULT_FORMAT)
    if cache is not None and right is not None and cache.name != right.name:
        raise InputError(f"{what} rounded twice, to {cache} and to {right}")
    return _scaled(cache or right, what)
