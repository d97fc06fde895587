"""Features of the units of attention; those of caches outside are those of caches inside, whose addresses they need."""

from mxhw.hardware.sizes.features import Fabric, Features, Multiplier, address, register_features
from mxhw.hardware.structure import Scores, SoftmaxWeights, Values
from mxhw.hardware.structure.attention import AttentionUnit
from mxhw.hardware.structure.unit import QUEUE_WORDS

__all__: list[str] = []

_MEAN_BITS = 24  # of a sum that is divided
_RECIPROCAL_BITS = 17  # of the reciprocal that it is multiplied by, signed
_WINDOW_SCALES = 16  # scales whose newest position a window keeps


def _addresses(unit: AttentionUnit) -> int:
    """Bits of the counters and addresses of the cache."""
    return address(unit.keys) + address(unit.words) + address(unit.heads) + address(unit.banks)


@register_features(Scores)
def _scores(unit: Scores, fabric: Fabric) -> Features:
    product = unit.query_bits + unit.code_bits
    amounts = {
        "one": 1,
        "address": _addresses(unit),
        "lane": unit.lanes,
        "sum": unit.lanes * product,
        "bank": address(unit.banks),
        "window": address(unit.keys) * (unit.most < unit.keys),
    }
    return Features.of("Scores", amounts, [Multiplier(unit.lanes, unit.query_bits, unit.code_bits)], fabric)


@register_features(SoftmaxWeights)
def _softmax(unit: SoftmaxWeights, fabric: Fabric) -> Features:
    return Features("SoftmaxWeights", {"one": 1, "address": address(unit.most), "score": unit.score_bits})


@register_features(Values)
def _values(unit: Values, fabric: Fabric) -> Features:
    divided = unit.lanes > unit.output_lanes
    waiting = max(2, unit.words)
    short = divided and 3 <= waiting <= QUEUE_WORDS
    windowed = unit.most < unit.keys
    row = unit.lanes * unit.sum_bits
    amounts = {
        "one": 1,
        "address": _addresses(unit),
        "sum": row,
        "output": unit.output_lanes,
        "serial": row * divided,
        "waiting": fabric.queue(waiting - 1, row) if short else 0,
        "skid": 2 * row * (divided and waiting == 2),
        "held": row * (unit.words == 1),
        "largest": unit.kv_heads * unit.scale_bits,
        "window": _WINDOW_SCALES * address(unit.keys) * windowed,
    }
    multipliers = [
        Multiplier(unit.lanes, unit.weight_bits + 1, unit.code_bits),
        Multiplier(unit.output_lanes, _MEAN_BITS, _RECIPROCAL_BITS, "mean"),
        Multiplier(1, 11, 11, "step"),
    ]
    return Features.of("Values", amounts, multipliers, fabric)
