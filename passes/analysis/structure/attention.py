"""Steps of attention: rotations, scores, softmax, the mean of the values, and their encoders."""

from collections.abc import Sequence
from math import gcd

from mxhw.arithmetic import supports
from mxhw.arithmetic.functions.rope import RopeSpec
from mxhw.arithmetic.functions.softmax import SoftmaxSpec
from mxhw.errors import InputError
from mxhw.hardware.structure import Rope, Scores, SoftmaxWeights, Values
from mxhw.hardware.structure.products import SCALE_BITS
from mxhw.passes.analysis.structure.products import LANES
from mxhw.passes.analysis.structure.steps import (
    POSITIONS,
    STREAM_BITS,
    Group,
    Steps,
    code_bits_of,
    encoded,
    narrowed,
    one_format,
    rule_for,
)

__all__: list[str] = []

ROPE_FRACTION = 14
_ATTENTION_RANK = 4


@rule_for("rope")
def _rope(steps: Steps, group: Group) -> None:
    """Queries and keys each have a rotation, whose sums are brought back to a stream's width."""
    info = group.first
    sources = [steps.stream(each) for each in info.inputs if each in steps.streams]
    for part, shape, source in zip("qk", info.input_shapes[2:4], (sources * 2)[-2:], strict=True):
        heads, dim = int(shape[1]), int(shape[-1])  # type: ignore[arg-type]
        spec = RopeSpec(head_dim=dim, positions=1, fraction_bits=ROPE_FRACTION, input_bits=STREAM_BITS)
        bits = STREAM_BITS + ROPE_FRACTION + 1
        unit = Rope(
            length=heads * dim,
            lanes=1,
            heads=heads,
            head_dim=dim,
            positions=steps.choices.keys,
            span=spec.span,
            input_bits=STREAM_BITS,
            output_bits=bits,
            table_bits=spec.table_bits,
        )
        name = f"{group.name}.{part}"
        turned = steps.add(name, info.name, unit, (source, POSITIONS), lanes_in=(1, 1), lanes=1, bits=bits)
        steps.streams[f"{info.name}.{part}"] = narrowed(steps, name, info.name, turned, heads * dim)


def _attention(steps: Steps, group: Group, heads: int, shape: Sequence[object], operand: str) -> dict[str, object]:
    """Return what both products of attention have in common."""
    kv_heads, dim = int(shape[1]), int(shape[-1])  # type: ignore[call-overload]
    fmt = one_format(steps, group, operand)
    if supports(fmt, fmt) is None:
        raise InputError(
            f"node {group.first.name!r}: no hardware unit multiplies operands of attention in {fmt}; give them "
            "int8-e8m0 or dialect4-online"
        )
    lanes = gcd(LANES, dim)
    return {
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": dim,
        "lanes": lanes,
        "keys": steps.choices.keys,
        "most": steps.choices.keys,
        "code_bits": code_bits_of(fmt),
        "scale_bits": SCALE_BITS,
        "banks": steps.choices.banks * len(group.members),
        "dialect": fmt.block is not None,
    }


@rule_for("attn_qk")
def _scores(steps: Steps, group: Group) -> None:
    info = group.first
    query, key = info.input_shapes[:2]
    heads, dim = int(query[1]), int(query[-1])  # type: ignore[arg-type]
    source = info.inputs[0]
    rotated = f"{source}.q" in steps.streams
    pair = (f"{source}.q", f"{source}.k") if rotated else (info.inputs * 2)[:2]
    streams = [steps.stream(each) for each in pair]
    fmt, common = one_format(steps, group, "lhs"), _attention(steps, group, heads, key, "rhs")
    unit = Scores(query_bits=code_bits_of(fmt), score_bits=SoftmaxSpec().score_bits, **common)  # type: ignore[arg-type]
    codes = [
        encoded(steps, group, stream, each, count * dim, dim, unit.lanes)
        for stream, each, count in zip(
            streams, (fmt, one_format(steps, group, "rhs")), (heads, unit.kv_heads), strict=True
        )
    ]
    steps.streams[info.name] = steps.add(
        group.name,
        info.name,
        unit,
        (*codes, POSITIONS),
        lanes_in=(unit.lanes, unit.lanes, 1),
        lanes=1,
        bits=unit.score_bits,
    )


@rule_for("softmax")
def _softmax(steps: Steps, group: Group) -> None:
    info, name, source = group.first, group.name, steps.stream(group.first.inputs[0])
    spec = SoftmaxSpec()
    if len(info.output_shape) != _ATTENTION_RANK or source not in steps.steps:
        steps.streams[info.name] = source  # of a router: its few values are weighed by nothing that has a unit
        return
    unit = SoftmaxWeights(
        heads=int(info.output_shape[1]),  # type: ignore[arg-type]
        most=steps.choices.keys,
        score_bits=spec.score_bits,
        weight_bits=spec.weight_bits,
        table_words=spec.exp2.entries,
        table_bits=spec.exp2.word_bits,
    )
    steps.streams[info.name] = steps.add(
        name, info.name, unit, (source,), lanes_in=(1,), lanes=1, bits=spec.weight_bits
    )


@rule_for("attn_pv")
def _values(steps: Steps, group: Group) -> None:
    info = group.first
    heads = int(info.input_shapes[0][1])  # type: ignore[arg-type]
    weights, value = steps.stream(info.inputs[0]), steps.stream(info.inputs[-1])
    common = _attention(steps, group, heads, info.input_shapes[1], "rhs")
    unit = Values(
        weight_bits=SoftmaxSpec().weight_bits,
        output_bits=STREAM_BITS,
        **common,  # type: ignore[arg-type]
    )
    fmt, dim = one_format(steps, group, "rhs"), unit.head_dim
    codes = encoded(steps, group, value, fmt, unit.kv_heads * dim, dim, unit.lanes)
    steps.streams[info.name] = steps.add(
        group.name,
        info.name,
        unit,
        (weights, codes, POSITIONS),
        lanes_in=(1, unit.lanes, 1),
        lanes=unit.output_lanes,
        bits=STREAM_BITS,
    )
