"""The array that products of several layers share, and what its memories hold of each."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mxhw.arithmetic import array_fields, common_weight_type, weight_exponents, weight_group
from mxhw.arithmetic.dataflow import Linear
from mxhw.rtl_templates.checks import require
from mxhw.rtl_templates.gemm import BitModGemm, DialectGemm, GemmShape
from mxhw.rtl_templates.gemm.layout import Array

__all__ = ["memory_fields", "port_beats", "shared_gemm"]


def shared_gemm(shape: GemmShape, layers: Sequence[Linear], **words: Any) -> BitModGemm | DialectGemm:
    """Return the array for the weights of all layers; ``words``: those of its memories, where they are known.

    Raises InputError if no array computes with the weights of all.
    """
    first = layers[0]
    kind = common_weight_type([layer.weight_format for layer in layers])
    if first.unit == "dialect":
        window = _exponents(layers)
        return DialectGemm(shape, block=first.x.block, weight_exponents=window, layers=len(layers), **words)
    return BitModGemm(shape, weight_type=kind, group=weight_group(first.weight_format), layers=len(layers), **words)


def memory_fields(gemm: BitModGemm | DialectGemm, layers: Sequence[Linear]) -> dict[str, tuple[Array, int]]:
    """Return "weights" (and "metadata") → fields [depth, fields a word] of all layers, bits of a field."""
    require(len(layers) == gemm.layers, "layers", f"{gemm.layers} operations", len(layers))
    each = [_layer_fields(gemm, layer) for layer in layers]
    bits = {"weights": gemm.code_bits, "metadata": gemm.metadata_width // gemm.shape.columns}
    return {name: (np.concatenate([fields[name] for fields in each]), bits[name]) for name in each[0]}


def port_beats(gemm: BitModGemm | DialectGemm, layers: Sequence[Linear]) -> Array:
    """Return what comes through the port of an array for each layer: uint32 [layers, beats, ceil(bits / 32)]."""
    require(len(layers) == gemm.layers, "layers", f"{gemm.layers} operations", len(layers))
    found = []
    for layer in layers:
        fields = _layer_fields(gemm, layer)
        sizes = zip(gemm.loads, (fields[name] for name in ("weights", "metadata") if name in fields), strict=True)
        found.append(np.concatenate([load.pack(_bits(field, load.width)) for load, field in sizes]))
    return np.stack(found)


def _bits(fields: Array, width: int) -> Array:
    """Return unsigned fields [words, fields a word] as 0 and 1, [words, width], lowest first."""
    each = width // fields.shape[1]
    planes = fields.astype(np.uint64)[..., None] >> np.arange(each, dtype=np.uint64)
    return (planes & np.uint64(1)).astype(np.uint8).reshape(len(fields), width)


def _layer_fields(gemm: BitModGemm | DialectGemm, linear: Linear) -> dict[str, Array]:
    """Return the fields of one layer, in the codes of the array's type."""
    if isinstance(gemm, BitModGemm):
        stored = array_fields(linear.weight_format, linear.encoded, gemm.weight_type.name)
        names = [name for name in ("multiplier", "selector") if name in stored]
    else:
        stored, names = linear.weight_format.stored(linear.encoded), ["dialect", "exponent"]
    found = {"weights": gemm.weight_fields(stored["code"].reshape(linear.channels, -1).numpy())}
    if gemm.metadata_depth:
        found["metadata"] = gemm.metadata_fields(*(stored[name].numpy() for name in names))
    return found


def _exponents(layers: Sequence[Linear]) -> tuple[int, int]:
    """Return the smallest and the largest stored exponent of DialectFP4 layers that share an array.

    Its accumulator counts from the smallest, as the sums of all layers do: see :attr:`.Linear.floor`.
    """
    windows = [weight_exponents(layer.form) for layer in layers]
    above = [int(layer.form.exponent.min()) - layer.floor for layer in layers]
    lows = {low - more for (low, _), more in zip(windows, above, strict=True)}
    require(len(lows) == 1, "floors", "equal in layers that share an array", sorted(lows))
    return lows.pop(), max(high for _, high in windows)
