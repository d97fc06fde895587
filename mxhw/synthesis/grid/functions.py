"""Points of requantizers and of what goes element by element."""

from collections.abc import Iterator
from functools import partial
from typing import Literal

from mxhw.arithmetic.functions.activation import ActivationSpec
from mxhw.arithmetic.functions.elementwise import AddSpec, MultiplySpec
from mxhw.arithmetic.functions.requantize import RequantizeSpec
from mxhw.hardware.structure import Activation, Add, Bias, Multiply, ReLU, Requantize
from mxhw.rtl_templates.dataflow.bias import BiasUnit
from mxhw.rtl_templates.dataflow.lanes import Lanes
from mxhw.rtl_templates.function import elementwise, requantize, self_gated
from mxhw.synthesis.grid.point import Point, quiet

__all__ = ["function_points"]


def _spread(bits: int, count: int) -> tuple[int, ...]:
    """Return unsigned constants in the upper half of their range, as multipliers of row scales are."""
    low = 1 << bits - 1
    return tuple(low + index * 40503 % low for index in range(1, count + 1))


def _requantizer(inputs: int, outputs: int, lanes: int, *, bits: int = 16, beats: int = 16, constant: int = 0,
                 kept: int | None = None, held: bool = False) -> Point:  # fmt: skip
    length = lanes * beats
    """Return the point of a requantizer; ``constant``: the one multiplier, 0 for one a channel."""
    kept = outputs + 2 if kept is None else kept
    multipliers = (constant,) if constant else _spread(bits, length)
    largest = (1 << inputs - 1) - 1
    shift = min(inputs, 32) + bits - kept
    spec = RequantizeSpec(
        multipliers=multipliers, largest=largest, shift=shift, output_bits=outputs, multiplier_bits=bits
    )
    unit = Requantize(
        length=length,
        lanes=lanes,
        input_bits=spec.input_bits,
        reduced_bits=spec.widths.reduced,
        multiplier_bits=bits,
        output_bits=outputs,
        kept_bits=spec.widths.rounded,
        constant_words=0 if constant else beats,
        constant_bits=0 if constant else lanes * bits,
        constant_terms=constant.bit_count(),
    )
    return Point(unit, partial(requantize.Requantize, spec=spec, lanes=lanes, channels=length), held)


def _requantizers() -> Iterator[Point]:
    yield _requantizer(20, 16, 1)
    yield _requantizer(24, 16, 1, kept=26)
    yield _requantizer(28, 16, 1, kept=22)
    yield _requantizer(32, 16, 1)
    yield _requantizer(40, 16, 1, kept=24)
    yield _requantizer(24, 16, 2, kept=22, beats=48)
    yield _requantizer(20, 16, 4)
    yield _requantizer(16, 8, 2, kept=10)
    yield _requantizer(24, 8, 1, bits=8)
    yield _requantizer(22, 16, 1, kept=20)
    yield _requantizer(31, 16, 1, constant=40503)
    yield _requantizer(24, 16, 4, constant=40503)
    yield _requantizer(18, 16, 2, constant=40503, kept=18)
    yield _requantizer(24, 16, 1, constant=45056)
    yield _requantizer(28, 16, 1, constant=46421, kept=22)
    yield _requantizer(31, 16, 1, constant=32768, kept=16)
    yield _requantizer(31, 16, 4, constant=32768, kept=18)
    yield _requantizer(24, 16, 2, constant=32768, kept=22)
    yield _requantizer(26, 16, 2, kept=24, beats=64, held=True)
    yield _requantizer(22, 16, 8, kept=20, held=True)
    yield _requantizer(31, 16, 2, constant=40503, held=True)
    yield _requantizer(26, 16, 2, constant=51491, kept=20, held=True)
    yield _requantizer(28, 16, 1, constant=32768, kept=18, held=True)


def _adder(left: int, right: int, out: int, lanes: int, *, shift: int = 2, held: bool = False) -> Point:
    spec = AddSpec(left_bits=left, right_bits=right, shift=shift, output_bits=out)
    unit = Add(length=16 * lanes, lanes=lanes, left_bits=left, right_bits=right, output_bits=out)
    return Point(unit, partial(elementwise.Add, spec=spec, lanes=lanes), held)


def _multiplier(left: int, right: int, out: int, lanes: int, *, held: bool = False) -> Point:
    spec = MultiplySpec(left_bits=left, right_bits=right, shift=left + right - out - 3, output_bits=out)
    unit = Multiply(length=16 * lanes, lanes=lanes, left_bits=left, right_bits=right, output_bits=out)
    return Point(unit, partial(elementwise.Multiply, spec=spec, lanes=lanes), held)


def _bias(inputs: int, bits: int, out: int, lanes: int, *, constant: bool = False, held: bool = False) -> Point:
    beats, low = 16, -(1 << bits - 1)
    values = [low + 1] * (lanes * beats) if constant else [low + i * 40503 % -low for i in range(lanes * beats)]
    make = partial(BiasUnit, values=values, bits=inputs, output_bits=out, lanes=lanes)
    own = quiet(make()).value_bits
    unit = Bias(
        length=lanes * beats,
        lanes=lanes,
        input_bits=inputs,
        value_bits=own,
        output_bits=out,
        constant_words=0 if constant else beats,
        constant_bits=0 if constant else lanes * own,
    )
    return Point(unit, make, held)


def _relu(bits: int, lanes: int, *, held: bool = False) -> Point:
    unit = ReLU(length=16 * lanes, lanes=lanes, bits=bits)
    return Point(unit, partial(elementwise.ReLU, bits=bits, lanes=lanes), held)


def _elementwise() -> Iterator[Point]:
    yield _adder(24, 16, 24, 1)
    yield _adder(24, 24, 24, 2)
    yield _adder(16, 16, 16, 4)
    yield _adder(24, 16, 24, 8)
    yield _adder(20, 16, 20, 1)
    yield _adder(20, 18, 20, 4, held=True)
    yield _multiplier(18, 16, 16, 1)
    yield _multiplier(16, 16, 16, 2)
    yield _multiplier(12, 12, 12, 1)
    yield _multiplier(18, 16, 16, 4)
    yield _multiplier(20, 16, 16, 1)
    yield _multiplier(16, 14, 16, 2, held=True)
    yield _bias(16, 16, 16, 1)
    yield _bias(24, 16, 24, 2)
    yield _bias(16, 12, 16, 4)
    yield _bias(24, 16, 24, 1, constant=True)
    yield _bias(20, 16, 20, 4, held=True)
    yield _relu(16, 1)
    yield _relu(24, 4)
    yield _relu(16, 8, held=True)


def _activation(function: Literal["silu", "gelu"], bits: int, lanes: int, *, entries: int = 7,
                held: bool = False) -> Point:  # fmt: skip
    spec = ActivationSpec(function=function, exponent=4 - bits, input_bits=bits, entries_log2=entries)
    unit = Activation(
        function=function,
        length=16 * lanes,
        lanes=lanes,
        input_bits=bits,
        output_bits=spec.output_bits,
        table_words=spec.table.entries,
        table_bits=spec.table.word_bits,
    )
    one = partial(self_gated.SelfGated, spec=spec)
    return Point(unit, one if lanes == 1 else partial(Lanes, unit=one, lanes=lanes), held)


def _activations() -> Iterator[Point]:
    yield _activation("silu", 16, 1)
    yield _activation("silu", 12, 1)
    yield _activation("silu", 16, 2)
    yield _activation("silu", 16, 1, entries=5)
    yield _activation("gelu", 16, 1)
    yield _activation("gelu", 8, 4)
    yield _activation("silu", 14, 4, held=True)


def function_points() -> Iterator[Point]:
    """Yield them all."""
    yield from _requantizers()
    yield from _elementwise()
    yield from _activations()
