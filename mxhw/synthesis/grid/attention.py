"""Points of the units of attention."""

from collections.abc import Iterator
from functools import partial

from mxhw.arithmetic.functions.softmax import SoftmaxSpec
from mxhw.hardware.structure import Scores, SoftmaxWeights, Values
from mxhw.rtl_templates.dataflow.attention_scores import AttentionScoresUnit
from mxhw.rtl_templates.dataflow.attention_values import AttentionValuesUnit
from mxhw.rtl_templates.dataflow.payloads import SCALE_BITS
from mxhw.rtl_templates.function import softmax_weights
from mxhw.synthesis.grid.point import Point

__all__ = ["attention_points"]


def _scores(heads: int, kv: int, dim: int, lanes: int, keys: int, *, banks: int = 1, bits: int = 8,
            window: int | None = None, held: bool = False) -> Point:  # fmt: skip
    spec = SoftmaxSpec()
    unit = Scores(
        heads=heads,
        kv_heads=kv,
        head_dim=dim,
        lanes=lanes,
        keys=keys,
        most=window or keys,
        code_bits=bits,
        scale_bits=SCALE_BITS,
        banks=banks,
        query_bits=bits,
        score_bits=spec.score_bits,
    )
    make = partial(
        AttentionScoresUnit,
        heads=heads,
        kv_heads=kv,
        head_dim=dim,
        keys=keys,
        spec=spec,
        exponent=-30,
        query_bits=bits,
        key_bits=bits,
        lanes=lanes,
        query_lanes=lanes,
        key_lanes=lanes,
        banks=banks,
        window=window,
    )
    return Point(unit, make, held)


def _values(heads: int, kv: int, dim: int, lanes: int, keys: int, *, outputs: int = 1, banks: int = 1, bits: int = 8,
            window: int | None = None, held: bool = False) -> Point:  # fmt: skip
    spec = SoftmaxSpec()
    unit = Values(
        heads=heads,
        kv_heads=kv,
        head_dim=dim,
        lanes=lanes,
        keys=keys,
        most=window or keys,
        code_bits=bits,
        scale_bits=SCALE_BITS,
        banks=banks,
        weight_bits=spec.weight_bits,
        output_bits=16,
        output_lanes=outputs,
    )
    make = partial(
        AttentionValuesUnit,
        heads=heads,
        kv_heads=kv,
        head_dim=dim,
        keys=keys,
        spec=spec,
        shift=8,
        value_bits=bits,
        lanes=lanes,
        value_lanes=lanes,
        output_lanes=outputs,
        banks=banks,
        window=window,
    )
    return Point(unit, make, held)


def _softmax(keys: int, heads: int, *, held: bool = False) -> Point:
    spec = SoftmaxSpec()
    unit = SoftmaxWeights(
        heads=heads,
        most=keys,
        score_bits=spec.score_bits,
        weight_bits=spec.weight_bits,
        table_words=spec.exp2.entries,
        table_bits=spec.exp2.word_bits,
    )
    return Point(unit, partial(softmax_weights.SoftmaxWeighing, spec=spec, keys=keys), held)


def attention_points() -> Iterator[Point]:
    yield _scores(2, 1, 8, 1, 16)
    yield _scores(4, 2, 16, 4, 64)
    yield _scores(8, 8, 64, 8, 512)
    yield _scores(8, 2, 32, 4, 128, banks=4)
    yield _scores(4, 2, 16, 2, 64, window=16)
    yield _scores(8, 4, 32, 16, 256, held=True)
    yield _values(2, 1, 8, 1, 16)
    yield _values(4, 2, 16, 4, 64)
    yield _values(8, 8, 64, 8, 512)
    yield _values(4, 2, 16, 4, 64, outputs=2)
    yield _values(8, 2, 32, 4, 128, banks=4)
    yield _values(4, 2, 16, 2, 64, window=16)
    yield _values(4, 2, 16, 8, 64)
    yield _values(4, 4, 64, 4, 128)
    yield _values(8, 4, 32, 16, 256, held=True)
    yield _softmax(16, 2)
    yield _softmax(256, 4)
    yield _softmax(2048, 8)
    yield _softmax(128, 8, held=True)
