"""What RMSNorm and LayerNorm share: two vector stores, a root, and two multiplications an element.

    x → store → centred → store → · 1/root → · gain (+ bias) → y
    └ survey: magnitude (mean) ┘ └ energy: sum of squares, root ┘

A vector passes the first store when its magnitude is known, the second when the sum of its squares is; while one vector
leaves a store the next one enters it. Its definition is `mxhw.arithmetic.functions.rms_norm`.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.functions.inverse_root import FRACTION_BITS, RSQRT
from mxhw.arithmetic.functions.rms_norm import NORMALIZED_FRACTION, SQUARED_BITS, NormWidths
from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.function.channels import beats_of, channel_word, layer_member, layer_stream
from mxhw.rtl_templates.function.delay import delay
from mxhw.rtl_templates.function.pipeline import Pipeline
from mxhw.rtl_templates.function.table import TableLookup
from mxhw.rtl_templates.function.vector_store import VectorStore
from mxhw.rtl_templates.integer import leading_one, round_shift, saturate

__all__ = ["Norm", "NormShape", "always", "any_of", "magnitude_shift", "taken_flags"]


@dataclass(frozen=True, kw_only=True)
class NormShape:
    """Widths and constants of a norm.

    Attributes
    ----------
    length, input_bits, output_bits, epsilon, shift, widths : as in the norm's specification.
    centred_bits : of an element without its mean.
    gains, gain_bits : [layers][length].
    biases, bias_bits, bias_shift : [layers][length], what is added to quotient times gain, shifted to the left; none if
        ``bias_bits`` is 0.
    layered : a stream says the layer of each vector.
    """

    length: int
    input_bits: int
    centred_bits: int
    output_bits: int
    epsilon: int
    shift: int
    widths: NormWidths
    gains: Sequence[Sequence[int]]
    gain_bits: int
    biases: Sequence[Sequence[int]] = ()
    bias_bits: int = 0
    bias_shift: int = 0
    layered: bool = False


def always(m: Module, value: Any, name: str, stages: int = 1) -> Value:
    """Return ``value`` of ``stages`` clock edges ago; flags that must start at 0 are reset."""
    value = Value.cast(value)
    return delay(m, value, stages, enable=Const(1), name=name, reset_less=len(value) > 1)


def taken_flags(m: Module, store: VectorStore, taken: Value) -> Iterator[Value]:
    """Yield, a cycle late, whether a beat was taken, and whether it was its vector's first, its last one."""
    for flag, name in ((taken, "taken"), (store.first, "taken_first"), (store.last, "taken_last")):
        yield always(m, flag, name)


def magnitude_shift(largest: Value) -> Value:
    """Return the shift that brings a magnitude, of which only the leading one counts, into the squarer."""
    return leading_one(largest[SQUARED_BITS - 2 :])


class Norm(wiring.Component):
    """Base of the norms: one beat a cycle, one vector after the other.

    Members
    -------
    x : In(stream.Signature(data.ArrayLayout(signed(input_bits), lanes)))
        A symmetric range: the most negative code does not occur. Ready depends on registers only.
    layer : In(stream.Signature(range(layers)))
        Where layers share the unit: the layer of each vector, needed from the scaling of its first element on and taken
        with that of the last one.
    y : Out(stream.Signature(data.ArrayLayout(signed(output_bits), lanes)))
        Registers. Element 0 first.
    """

    # Clock edges from a vector's last centred beat to its root: operands, shift, rounding, squares, sum of lanes, sum,
    # leading one, mantissa, and three of the table.
    _ENERGY_DELAY = 11

    def __init__(self, shape: NormShape, lanes: int, survey_delay: int) -> None:
        require_natural("lanes", lanes)
        self._shape, self._lanes, self._survey_delay = shape, lanes, survey_delay
        self._beats = beats_of(shape.length, lanes)
        for gains in shape.gains:
            require(len(gains) == shape.length, "gains", f"{shape.length} in every layer", len(gains))
        x, y = (data.ArrayLayout(signed(bits), lanes) for bits in (shape.input_bits, shape.output_bits))
        layer = layer_member(len(shape.gains) if shape.layered else None)
        super().__init__({"x": In(stream.Signature(x)), **layer, "y": Out(stream.Signature(y))})

    @property
    def widths(self) -> NormWidths:
        """Of the intermediates, for all layers."""
        return self._shape.widths

    @property
    def latency(self) -> int:
        """Cycles from a vector's first beat to its first y beat, without stalls."""
        stores = 2 * (self._beats - 1 + 2) + self._survey_delay + self._ENERGY_DELAY
        return stores + self._scale_latency

    @property
    def _scale_latency(self) -> int:
        return 7 if self._shape.bias_bits else 6

    @property
    @abstractmethod
    def _survey_layout(self) -> data.StructLayout:
        """What is known about a vector when it leaves the first store; ``shift`` is the magnitude shift."""

    @abstractmethod
    def _survey(self, m: Module, store: VectorStore, taken: Value) -> None:
        """Drive ``done`` and ``summary`` of the first store, ``survey_delay`` cycles after a last beat."""

    @abstractmethod
    def _centred(self, element: Value, summary: Any) -> Value:
        """Return an element without its mean."""

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shape, lanes, widths = self._shape, self._lanes, self._shape.widths
        root = data.StructLayout({"root": RSQRT.output_bits, "shift": widths.root_shift})
        m.submodules.arrived = arrived = VectorStore(
            shape=data.ArrayLayout(signed(shape.input_bits), lanes),
            length=self._beats,
            summary=self._survey_layout,
            delay=self._survey_delay,
        )
        m.submodules.centred = centred = VectorStore(
            shape=data.ArrayLayout(signed(shape.centred_bits), lanes),
            length=self._beats,
            summary=root,
            delay=self._ENERGY_DELAY,
        )
        wiring.connect(m, wiring.flipped(self.x), arrived.x)
        self._survey(m, arrived, self.x.valid & self.x.ready)
        leaving = arrived.y
        m.d.comb += [centred.x.valid.eq(leaving.valid), leaving.ready.eq(centred.x.ready)]
        for lane in range(lanes):
            element = self._centred(leaving.payload.beat[lane], leaving.payload.summary)
            m.d.comb += centred.x.payload[lane].eq(element)
        self._energy(m, centred, leaving.payload.summary.shift)
        self._scale(m, centred.y)
        return m

    def _energy(self, m: Module, store: VectorStore, shift: Value) -> None:
        """Sum the squares of what enters the second store, and look up the root."""
        widths = self._shape.widths
        # Rounding is split as in `integer.round_shift_by`: the shift keeps a half, the next stage adds and drops it.
        taken, shift = store.x.valid & store.x.ready, always(m, shift, "magnitude")
        squares = []
        for lane in range(self._lanes):
            element = always(m, Value.cast(store.x.payload[lane]).as_signed(), f"element_{lane}")
            halves = always(
                m, ((element << 1) >> shift)[: self._shape.centred_bits + 1].as_signed(), f"halves_in_{lane}"
            )
            reduced = always(m, saturate((halves + 1) >> 1, SQUARED_BITS), f"reduced_{lane}")
            squares.append(always(m, (reduced * reduced)[: 2 * SQUARED_BITS - 2], f"square_{lane}"))
        total = always(m, sum(squares[1:], squares[0]), "squares")
        floor = always(m, Const(self._shape.epsilon) >> (shift << 1), "floor", stages=4)
        valid, first, last = (
            always(m, flag, name, stages=5)
            for flag, name in ((taken, "beat_valid"), (store.first, "beat_first"), (store.last, "beat_last"))
        )
        energy = Signal(widths.energy)
        with m.If(valid):
            m.d.sync += energy.eq(Mux(first, floor, energy) + total)
        self._root(m, store, energy, always(m, shift, "magnitude_again", stages=6), valid & last)

    def _root(self, m: Module, store: VectorStore, energy: Signal, shift: Value, complete: Value) -> None:
        """Look up the root of a sum that is complete one cycle after ``complete``; ``shift`` comes one cycle later."""
        widths = self._shape.widths
        top = always(m, leading_one(energy), "top")
        wide = max(widths.energy, FRACTION_BITS + 1)
        mantissa = always(m, energy, "energy_again") << (wide - 1 - top)[: len(top)]
        fraction = always(m, mantissa[wide - 1 - FRACTION_BITS : wide - 1], "fraction")
        m.submodules.rsqrt = table = TableLookup(table=RSQRT)
        exponent = always(m, (top >> 1) + shift, "exponent", 1 + table.latency)
        m.d.comb += [
            table.enable.eq(1),
            table.x[:FRACTION_BITS].eq(fraction),
            table.x[FRACTION_BITS].eq(always(m, top[0], "parity")),
            store.summary.root.eq(table.y),
            store.summary.shift.eq(exponent),
            store.done.eq(always(m, complete, "energy_done", stages=3 + table.latency)),
        ]

    def _scale(self, m: Module, vectors: Any) -> None:
        """Multiply each element by its vector's root and by its gain."""
        shape, lanes, widths = self._shape, self._lanes, self._shape.widths
        layer = layer_stream(self)
        pipeline = Pipeline(m, [vectors], self.y, self._scale_latency, held=layer)
        root = pipeline.register(vectors.payload.summary.root, "root")
        places = pipeline.register(vectors.payload.summary.shift, "places", stages=2)
        constants = channel_word(
            m,
            "gains",
            self._constants(),
            bits=shape.gain_bits + shape.bias_bits,
            lanes=lanes,
            pipeline=pipeline,
            stage=3,
            layer=layer,
        )
        for lane, constant in enumerate(constants):
            element = pipeline.register(Value.cast(vectors.payload.beat[lane]).as_signed(), f"operand_{lane}")
            product = pipeline.register((element * root)[: widths.product].as_signed(), f"product_{lane}")
            # round_shift(product, places - 8) as one shift to the right: places may be below 8, and a half is kept.
            halves = (product << NORMALIZED_FRACTION - FRACTION_BITS + 1) >> places
            quotient = pipeline.register(halves[: widths.normalized + 1].as_signed(), f"halves_{lane}")
            quotient = pipeline.register(((quotient + 1) >> 1)[: widths.normalized].as_signed(), f"quotient_{lane}")
            gain = constant[: shape.gain_bits].as_signed()
            gained = pipeline.register((quotient * gain)[: widths.gained].as_signed(), f"gained_{lane}")
            if shape.bias_bits:
                bias = pipeline.register(constant[shape.gain_bits :].as_signed(), f"bias_{lane}")
                biased = (gained + (bias << shape.bias_shift))[: widths.gained].as_signed()
                gained = pipeline.register(biased, f"biased_{lane}")
            result = saturate(round_shift(gained, shape.shift), shape.output_bits)
            m.d.comb += self.y.payload[lane].eq(pipeline.register(result, f"result_{lane}"))

    def _constants(self) -> list[list[int]]:
        """Return gain and bias of every element, for each layer."""
        shape, mask = self._shape, (1 << self._shape.gain_bits) - 1
        if not shape.bias_bits:
            return [[gain & mask for gain in gains] for gains in shape.gains]
        return [
            [gain & mask | bias << shape.gain_bits for gain, bias in zip(gains, biases, strict=True)]
            for gains, biases in zip(shape.gains, shape.biases, strict=True)
        ]


def any_of(values: Sequence[Value]) -> Value:
    """Return the bitwise or: its leading one is that of the largest value."""
    return reduce(or_, values)
