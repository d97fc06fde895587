"""The builders of products and of the quantizers in front of them; see :mod:`.place`.

Where nothing else is asked for, a matrix product has one row, up to eight columns, and takes four codes a beat if that
divides its vectors; so do the products of attention. A quantizer gives what its reader takes.
"""

from math import gcd

from mxhw.arithmetic import weight_exponents, weight_group, weight_type
from mxhw.arithmetic.dataflow import AttentionScores, AttentionValues, Linear, Quantize
from mxhw.passes.emit.dataflow.place import Fields, Placed, Port, Request, module_name, register_component
from mxhw.rtl_templates.dataflow.attention_scores import AttentionScoresUnit
from mxhw.rtl_templates.dataflow.attention_values import AttentionValuesUnit
from mxhw.rtl_templates.dataflow.linear import LinearUnit
from mxhw.rtl_templates.dataflow.quantize import QuantizeUnit

__all__ = ["LARGEST_DEFAULT_COLUMNS", "LARGEST_DEFAULT_LANES"]

LARGEST_DEFAULT_COLUMNS = 8
LARGEST_DEFAULT_LANES = 4


def _divisor(largest: int, *lengths: int) -> int:
    """Return the largest number up to ``largest`` that divides all lengths."""
    common = gcd(*lengths)
    return next(n for n in range(min(largest, common), 0, -1) if common % n == 0)


@register_component(AttentionScores)
def _attention_scores(operation: AttentionScores, request: Request) -> Placed:
    query, key, position = operation.inputs
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
        ),
        component=AttentionScoresUnit.of(operation, lanes=lanes, query_lanes=lanes, key_lanes=lanes),
        inputs=(Port("query", query, lanes), Port("key", key, lanes), Port("position", position)),
        output=Port("y", operation.y),
        parallelism={"lanes": lanes},
    )


@register_component(AttentionValues, parallelism=("lanes", "output_lanes"))
def _attention_values(operation: AttentionValues, request: Request) -> Placed:
    weights, value, position = operation.inputs
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
        ),
        component=AttentionValuesUnit.of(operation, lanes=lanes, value_lanes=lanes, output_lanes=outputs),
        inputs=(Port("weights", weights), Port("value", value, lanes), Port("position", position)),
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
    x, y = operation.x, operation.output
    group = weight_group(operation.weight_format) if operation.unit == "bitmod" else x.block
    lanes = request.get("lanes", _divisor(LARGEST_DEFAULT_LANES, x.length, x.block, group or x.length))
    columns = request.get("columns", _divisor(LARGEST_DEFAULT_COLUMNS, y.length))
    rows = request.get("rows", 1)
    unit = LinearUnit.of(operation, rows=rows, columns=columns, lanes=lanes)
    if operation.unit == "dialect":
        low, high = weight_exponents(operation.form)
        formats = ("dialect4", f"e{low}to{high}")
    else:
        formats = (weight_type(operation.weight_format), f"x{x.bits}")
    grouped = {} if group is None else {"g": group}

    def fields() -> Fields:
        return {f"{name}.hex": found for name, found in unit.fields(operation).items()}

    return Placed(
        module=module_name(
            "linear", *formats, f"{rows}x{columns}x{lanes}", n=y.length, k=x.length, **grouped, o=y.bits
        ),
        component=unit,
        inputs=(Port("x", x, lanes),),
        output=Port("y", y, columns),
        parallelism={"rows": rows, "columns": columns, "lanes": lanes},
        fields=fields,
    )
