"""The builders of products and of the quantizers in front of them; see :mod:`.place`.

Where nothing else is asked for, a matrix product has one row, up to eight columns, and takes four codes a beat if that
divides its vectors; so do the products of attention. A quantizer gives what its reader takes.
"""

from collections.abc import Iterable
from math import gcd

from mxhw.arithmetic import weight_group
from mxhw.arithmetic.dataflow import (
    AttentionScores,
    AttentionValues,
    Folded,
    KeyWeights,
    Linear,
    Quantize,
    Scores,
    StreamType,
)
from mxhw.errors import InputError
from mxhw.passes.emit.dataflow.place import Fields, Placed, Port, Request, module_name, register_component
from mxhw.rtl_templates.dataflow.attention_scores import AttentionScoresUnit
from mxhw.rtl_templates.dataflow.attention_values import AttentionValuesUnit
from mxhw.rtl_templates.dataflow.linear import LinearUnit
from mxhw.rtl_templates.dataflow.quantize import QuantizeUnit
from mxhw.rtl_templates.gemm import DialectGemm

__all__ = ["LARGEST_DEFAULT_COLUMNS", "LARGEST_DEFAULT_LANES"]

LARGEST_DEFAULT_COLUMNS = 8
LARGEST_DEFAULT_LANES = 4


def _divisor(largest: int, *lengths: int) -> int:
    """Return the largest number up to ``largest`` that divides all lengths."""
    common = gcd(*lengths)
    return next(n for n in range(min(largest, common), 0, -1) if common % n == 0)


def _kept(banks: int, rows: Scores | KeyWeights) -> dict[str, int]:
    """Return what the name of a module says of several banks, and of a window that leaves keys out."""
    several = {"b": banks} if banks > 1 else {}
    return several | ({"window": rows.most} if rows.most < rows.keys else {})


def _places(kinds: Iterable[StreamType]) -> tuple[Port, ...]:
    """Return the inputs that say where a token belongs: its position, and its bank where there are several."""
    return tuple(Port(name, kind) for name, kind in zip(("position", "bank"), kinds, strict=False))


@register_component(AttentionScores)
def _attention_scores(operation: AttentionScores, request: Request) -> Placed:
    query, key, *places = operation.inputs
    lanes = request.get("lanes", _divisor(LARGEST_DEFAULT_LANES, query.block))
    return Placed(
        module=module_name(
            "attention_scores",
            f"{query.blocks}of{key.blocks}x{query.block}x{lanes}",
            k=operation.y.keys,
            x=operation.exponent,
            q=query.bits,
            c=key.bits,
            s=operation.y.spec.score_bits,
            f=operation.y.spec.score_fraction,
            **_kept(operation.banks, operation.y),
        ),
        component=AttentionScoresUnit.of(operation, lanes=lanes, query_lanes=lanes, key_lanes=lanes),
        inputs=(Port("query", query, lanes), Port("key", key, lanes), *_places(places)),
        output=Port("y", operation.y),
        parallelism={"lanes": lanes},
    )


@register_component(AttentionValues, parallelism=("lanes", "output_lanes"))
def _attention_values(operation: AttentionValues, request: Request) -> Placed:
    weights, value, *places = operation.inputs
    lanes = request.get("lanes", _divisor(LARGEST_DEFAULT_LANES, value.block))
    outputs = request.get("output_lanes", 1)
    spec = weights.spec
    return Placed(
        module=module_name(
            "attention_values",
            f"{weights.heads}of{value.blocks}x{value.block}x{lanes}to{outputs}",
            k=weights.keys,
            a=operation.shift,
            c=value.bits,
            o=operation.y.bits,
            s=spec.score_bits,
            f=spec.score_fraction,
            w=spec.weight_bits,
            r=spec.reciprocal_entries_log2,
            **_kept(operation.banks, weights),
        ),
        component=AttentionValuesUnit.of(operation, lanes=lanes, value_lanes=lanes, output_lanes=outputs),
        inputs=(Port("weights", weights), Port("value", value, lanes), *_places(places)),
        output=Port("y", operation.y, outputs),
        parallelism={"lanes": lanes, "output_lanes": outputs},
    )


@register_component(Quantize)
def _quantize(operation: Quantize, request: Request) -> Placed:
    x, y = operation.x, operation.y
    wanted = 1 if request.reader_lanes is None else request.reader_lanes
    lanes = request.get("lanes", _divisor(wanted, x.length, y.block))
    kind = f"dialect{y.bits}" if y.kind == "dialect" else f"int{y.bits}"
    return Placed(
        module=module_name("quantize", kind, f"{y.length}x{lanes}", b=y.block),
        component=QuantizeUnit(x=x, y=y, lanes=lanes),
        inputs=(Port("x", x, lanes),),
        output=Port("y", y, lanes),
        parallelism={"lanes": lanes},
    )


@register_component(Linear, parallelism=("rows", "columns", "lanes"))
def _linear(operation: Linear, request: Request) -> Placed:
    return _product((operation,), request)


@register_component(Linear, parallelism=("rows", "columns", "lanes"), folded=True)
def _folded_linear(operation: Folded, request: Request) -> Placed:
    """Rows are 1: tokens that follow each other may meet different layers."""
    layers = tuple(member for member in operation.members if isinstance(member, Linear))
    if len(layers) == 1:
        raise InputError("a product that layers share needs at least two of them")
    more = [Port("layer", operation.inputs[len(operation.first.inputs)])]
    if operation.words is not None:
        more.append(Port("words", operation.words))
    return _product(layers, request, *more, port=None if operation.words is None else operation.words.bits)


def _product(layers: tuple[Linear, ...], request: Request, *more: Port, port: int | None = None) -> Placed:
    """Return the unit of products, one a layer.

    ``more``: inputs beside the codes. ``port``: bits of the beats that the weights come in.
    """
    first = layers[0]
    x, y = first.x, first.output
    group = weight_group(first.weight_format) if first.unit == "bitmod" else x.block
    lanes = request.get("lanes", _divisor(LARGEST_DEFAULT_LANES, x.length, x.block, group or x.length))
    columns = request.get("columns", _divisor(LARGEST_DEFAULT_COLUMNS, y.length))
    rows = request.get("rows", 1)
    unit = LinearUnit.of_layers(layers, rows=rows, columns=columns, lanes=lanes, port=port)
    if isinstance(unit.gemm, DialectGemm):
        low, high = unit.gemm.weight_exponents
        formats = ("dialect4", f"e{low}to{high}")
    else:
        formats = (unit.gemm.weight_type.name, f"x{x.bits}")
    grouped = {} if group is None else {"g": group}
    several = {} if len(layers) == 1 else {"l": len(layers)}
    if port is not None:
        several["p"] = port

    def fields() -> Fields:
        return {} if port is not None else {f"{name}.hex": found for name, found in unit.fields(*layers).items()}

    return Placed(
        module=module_name(
            "linear", *formats, f"{rows}x{columns}x{lanes}", n=y.length, k=x.length, **grouped, o=y.bits, **several
        ),
        component=unit,
        inputs=(Port("x", x, lanes), *more),
        output=Port("y", y, columns),
        parallelism={"rows": rows, "columns": columns, "lanes": lanes},
        fields=fields,
    )
