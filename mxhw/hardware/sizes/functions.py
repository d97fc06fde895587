"""Features of what stands between products: requantizers, sums, norms, encoders, look-ups."""

from mxhw.hardware.sizes.features import Fabric, Features, Multiplier, address, register_features
from mxhw.hardware.structure import (
    Activation,
    Add,
    Bias,
    Embedding,
    Encoder,
    Multiply,
    Norm,
    ReLU,
    Requantize,
    Rope,
)
from mxhw.hardware.structure.functions import NORM_DELAYS, NORM_QUEUES
from mxhw.hardware.structure.unit import QUEUE_WORDS

__all__: list[str] = []

_FACTOR_BITS = 17  # of an activation's factor, signed
_QUOTIENT_BITS = 26  # of a norm's quotient
_SQUARED_BITS = 16  # of the operand of a norm's squarer
_ROOT_BITS = 17  # of the reciprocal root, signed
_KEPT_ABOVE = 2  # bits of a requantizer's product above those of its result, where a record does not say


@register_features(Requantize)
def _requantize(unit: Requantize, fabric: Fabric) -> Features:
    kept = unit.kept_bits or unit.output_bits + _KEPT_ABOVE
    shortens = unit.input_bits > unit.reduced_bits
    varies = bool(unit.constant_words)
    terms = 0 if varies else unit.constant_terms or unit.multiplier_bits // 2
    group = "Requantize" if varies else "Requantize constant" if terms > 1 else "Requantize shift"
    amounts = {
        "one": 1,
        "lane": unit.lanes,
        "operand": unit.lanes * unit.reduced_bits,
        "kept": unit.lanes * kept,
        "clamped": unit.lanes * unit.output_bits * (kept > unit.output_bits),
        "above": unit.lanes * max(0, kept - unit.output_bits),
        "shortened": unit.lanes * unit.reduced_bits * shortens,
        "address": address(unit.beats) if varies else 0,
    }
    if terms == 1:
        return Features(group, amounts)
    if varies or fabric.dsp is not None:
        multipliers = [Multiplier(unit.lanes, unit.reduced_bits, unit.multiplier_bits + 1)]
        return Features.of(group, amounts, multipliers, fabric)
    return Features(group, amounts | {"terms": unit.lanes * unit.reduced_bits * (terms - 1)})


@register_features(Bias)
def _bias(unit: Bias, fabric: Fabric) -> Features:
    amounts = {
        "one": 1,
        "operand": unit.lanes * unit.input_bits,
        "value": unit.lanes * unit.value_bits * bool(unit.constant_words),
        "result": unit.lanes * unit.output_bits,
        "address": address(unit.beats) if unit.constant_words else 0,
    }
    return Features("Bias", amounts)


@register_features(Add)
def _add(unit: Add, fabric: Fabric) -> Features:
    operands = unit.lanes * (unit.left_bits + unit.right_bits)
    return Features("Add", {"one": 1, "operand": operands, "result": unit.lanes * unit.output_bits})


@register_features(Multiply)
def _multiply(unit: Multiply, fabric: Fabric) -> Features:
    operands = unit.lanes * (unit.left_bits + unit.right_bits)
    amounts = {"one": 1, "lane": unit.lanes, "operand": operands, "result": unit.lanes * unit.output_bits}
    return Features.of("Multiply", amounts, [Multiplier(unit.lanes, unit.left_bits, unit.right_bits)], fabric)


@register_features(ReLU)
def _relu(unit: ReLU, fabric: Fabric) -> Features:
    return Features("ReLU", {"bit": unit.lanes * (unit.bits - 1)})


@register_features(Activation)
def _activation(unit: Activation, fabric: Fabric) -> Features:
    stored = unit.table_bits - _FACTOR_BITS + 1  # of a difference
    amounts = {
        "one": 1,
        "lane": unit.lanes,
        "operand": unit.lanes * unit.input_bits,
        "stored": unit.lanes * stored,
        "joint": unit.lanes * (unit.lanes > 1),
    }
    multipliers = [Multiplier(unit.lanes, unit.input_bits, _FACTOR_BITS), Multiplier(unit.lanes, stored, 11, "step")]
    return Features.of("Activation", amounts, multipliers, fabric)


@register_features(Norm)
def _norm(unit: Norm, fabric: Fabric) -> Features:
    centred = unit.kind == "layer_norm"
    bits = unit.input_bits + 3 * centred
    depths = (unit.beats + delay + NORM_QUEUES for delay in NORM_DELAYS[unit.kind])
    short = sum(fabric.queue(depth - 1, unit.lanes * bits) for depth in depths if depth <= QUEUE_WORDS)
    amounts = {
        "one": 1,
        "lane": unit.lanes,
        "operand": unit.lanes * bits,
        "length": address(unit.length),
        "mean": bits * centred,
        "centred": unit.lanes * bits * centred,
        "short": short,
    }
    multipliers = [
        Multiplier(unit.lanes, _SQUARED_BITS, _SQUARED_BITS),
        Multiplier(unit.lanes, bits, _ROOT_BITS),
        Multiplier(unit.lanes, _QUOTIENT_BITS, unit.gain_bits),
        Multiplier(1, 11, 11),
    ]
    if centred and unit.length & (unit.length - 1):  # the reciprocal of a power of two is a shift
        multipliers.append(Multiplier(1, unit.input_bits + address(unit.length), unit.input_bits, "mean product"))
    return Features.of("Norm", amounts, multipliers, fabric)


@register_features(Rope)
def _rope(unit: Rope, fabric: Fabric) -> Features:
    pairs = unit.head_dim // 2
    amounts = {
        "one": 1,
        "operand": unit.input_bits + unit.table_bits,
        "address": address(unit.positions * pairs) + address(unit.span) + address(unit.heads),
    }
    return Features.of("Rope", amounts, [Multiplier(2, unit.input_bits, unit.table_bits)], fabric)


@register_features(Encoder)
def _encoder(unit: Encoder, fabric: Fabric) -> Features:
    amounts = {
        "one": 1,
        "lane": unit.lanes,
        "code": unit.lanes * unit.code_bits,
        "address": address(unit.block // unit.lanes),
        "padding": address(unit.padded // unit.lanes) if unit.padded > unit.length else 0,
    }
    return Features(f"Encoder {unit.kind}", amounts)


@register_features(Embedding)
def _embedding(unit: Embedding, fabric: Fabric) -> Features:
    amounts = {"one": 1, "lane": unit.lanes, "address": address(unit.rows * unit.beats)}
    return Features.of("Embedding", amounts, [Multiplier(unit.lanes, unit.code_bits, unit.multiplier_bits + 1)], fabric)
