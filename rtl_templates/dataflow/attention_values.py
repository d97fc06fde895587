"""Mean of the values by the weights of their keys; the values are kept here.

The definition is `mxhw.arithmetic.dataflow.AttentionValues`. Every key's weight multiplies its value, a few channels a
cycle (`weighted_sum`); a row's sums are divided by the sum of its weights (`weighted_mean`), fewer channels a cycle if
one likes, while the next row's are made.
"""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from mxhw.arithmetic.dataflow import AttentionValues
from mxhw.arithmetic.functions.softmax import SoftmaxSpec
from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.dataflow.head_walk import HeadWalk, shortened
from mxhw.rtl_templates.dataflow.head_words import head_codes
from mxhw.rtl_templates.dataflow.kv_cache import KVCache
from mxhw.rtl_templates.dataflow.largest_scale import LargestScales
from mxhw.rtl_templates.dataflow.payloads import SCALE_BITS, code_layout, integer_layout
from mxhw.rtl_templates.dataflow.weighted_mean import WeightedMean
from mxhw.rtl_templates.dataflow.weighted_sum import WeightedSum
from mxhw.rtl_templates.encoder.blocks import largest
from mxhw.rtl_templates.function.softmax_weights import weight_layout
from mxhw.rtl_templates.stream import Fifo, Narrow
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "AttentionValuesUnit"]


class AttentionValuesUnit(wiring.Component):
    """``lanes`` products of weights and codes a cycle; a token's heads leave one after the other.

    Parameters
    ----------
    heads, kv_heads, head_dim : int
        Query heads, heads of values (a divisor of them), elements of a head.
    keys : int
        Tokens of the longest sequence; that many values are kept.
    banks : int
        Sequences that are kept.
    window : int or None
        A token sees so many values, the last of which is its own; None: all up to its own.
    spec : SoftmaxSpec
        Of the weights.
    shift : int
        Right shift of a mean to the output's exponent, for a largest scale of 0; may be negative.
    value_bits, output_bits : int
        Of a code, of an output.
    lanes : int
        Products a cycle, a divisor of ``head_dim``. A weight is held ``head_dim / lanes`` cycles.
    value_lanes : int
        Codes of a beat: a divisor of ``head_dim``, and a divisor or a multiple of ``lanes``.
    output_lanes : int
        Elements of a beat, which are divided a cycle: a divisor of ``lanes``.

    Members
    -------
    weights : In(stream.Signature(weight_layout(spec, min(keys, window))))
        For each token a row a head, with the weights of the keys from position 0, or the first of its window, to the
        token's own, as :class:`.SoftmaxWeighing` gives them. Ready depends on registers, and on y's ready if
        ``output_lanes`` is ``lanes``.
    value : In(stream.Signature(code_layout(…)))
        Integer codes with one scale a head, token after token. Ready depends on registers and on position.
    position : In(stream.Signature(range(max(2, keys))))
        One a token, below ``keys``. 0 starts a sequence.
    bank : In(stream.Signature(range(banks))), only above one bank
        One a token: the sequence that it belongs to. Taken together with its position.
    y : Out(stream.Signature(integer_layout(output_bits, output_lanes)))
        ``heads * head_dim`` elements a token. Registers.

    Raises
    ------
    InputError
        For numbers of heads or lanes that do not divide what they must, or numbers below 1.
    """

    def __init__(
        self,
        *,
        heads: int,
        kv_heads: int,
        head_dim: int,
        keys: int,
        spec: SoftmaxSpec,
        shift: int,
        value_bits: int = 8,
        output_bits: int = 16,
        lanes: int = 1,
        value_lanes: int = 1,
        output_lanes: int = 1,
        banks: int = 1,
        window: int | None = None,
    ) -> None:
        value = head_codes("kv_", kv_heads, head_dim, value_bits)
        require_natural("heads", heads)
        require(heads % kv_heads == 0, "kv_heads", f"a divisor of the {heads} heads", kv_heads)
        require(isinstance(shift, int), "shift", "an integer", shift)
        self._cache = KVCache(
            codes=value, keys=keys, banks=banks, beat_lanes=value_lanes, lanes=lanes, name="value_lanes"
        )
        self._banks, self._window = banks, shortened(window, keys)
        most = self._window or keys
        require_natural("output_lanes", output_lanes)
        require(lanes % output_lanes == 0, "output_lanes", f"a divisor of the {lanes} lanes", output_lanes)
        self._words, self._ratio = head_dim // lanes, lanes // output_lanes
        self._sum = WeightedSum(spec=spec, keys=most, value_bits=value_bits, words=self._words, lanes=lanes)
        self._mean = WeightedMean(
            spec=spec, keys=most, value_bits=value_bits, shift=shift, output_bits=output_bits, lanes=output_lanes
        )
        self._heads, self._kv_heads, self._keys = heads, kv_heads, keys
        kept = banks > 1 or self._window is not None
        self.scales = LargestScales(banks=banks, heads=kv_heads, keys=keys, window=self._window) if kept else None
        # All sums of a row, so that the next row's can be made while they are divided one by one.
        self._waiting = max(2, self._words) if self._ratio > 1 else 0
        super().__init__(
            {
                "weights": In(stream.Signature(weight_layout(spec, most))),
                "value": In(stream.Signature(code_layout(value, value_lanes))),
                "position": In(stream.Signature(range(max(2, keys)))),
                **({"bank": In(stream.Signature(range(banks)))} if banks > 1 else {}),
                "y": Out(stream.Signature(integer_layout(output_bits, output_lanes))),
            }
        )

    @classmethod
    def of(
        cls, operation: AttentionValues, *, lanes: int = 1, value_lanes: int = 1, output_lanes: int = 1
    ) -> "AttentionValuesUnit":
        """Return the unit for an operation of a graph."""
        value, weights = operation.value, operation.weights
        require(value.kind == "integer", "codes of attention", "integers", value.kind)
        return cls(
            heads=weights.heads,
            kv_heads=value.blocks,
            head_dim=value.block,
            keys=weights.keys,
            spec=weights.spec,
            shift=operation.shift,
            value_bits=value.bits,
            output_bits=operation.y.bits,
            lanes=lanes,
            value_lanes=value_lanes,
            output_lanes=output_lanes,
            banks=operation.banks,
            window=weights.window,
        )

    def interval(self, position: int, *, ends: bool = False) -> int:
        """Return the cycles from a token to the next one, without stalls; ``ends``: that one starts a sequence.

        Exact where the token before was held up by the same: sums that wait for their division have a head start
        after it.
        """
        work, store = self._heads * self._row(position), self._cache.cycles + 1
        return max(work + store if ends else work, store, self._heads * self._division)

    def latency(self, position: int) -> int:
        """Return the cycles of a token alone, without stalls: from where its beats are there to its last output."""
        queue = {0: 0, 2: 1}.get(self._waiting, 2) + 1
        first = self._cache.cycles + 1 + self._row(position) - self._words + self._sum.latency + queue
        others = (self._heads - 1) * max(self._row(position), self._division)
        return first + others + self._division + self._mean.latency

    def _row(self, position: int) -> int:
        """Cycles of the products of a head."""
        return min(position + 1, self._window or self._keys) * self._words

    @property
    def _division(self) -> int:
        """Cycles of the divisions of a head."""
        return self._words * self._ratio

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.cache, m.submodules.sum = cache, sums = self._cache, self._sum
        connect(m, flipped(self.value), cache.x)
        connect(m, flipped(self.position), cache.position)
        if self._banks > 1:
            connect(m, flipped(self.bank), cache.bank)
        walk = HeadWalk(
            words=self._words, keys=self._keys, heads=self._heads, kv_heads=self._kv_heads, window=self._window
        )
        advance, active, weight = Signal(), Signal(), self.weights.payload
        step = active & self.weights.valid
        done = walk.step(m, step & advance, weight.last)
        m.d.comb += [
            self.weights.ready.eq(active & advance & walk.last_word),
            *(cache.done.eq(done), cache.token.ready.eq(~active | done), cache.enable.eq(advance)),
            *(cache.head.eq(walk.kv_head), cache.key.eq(walk.key), cache.word.eq(walk.word)),
            *(sums.enable.eq(advance), sums.step.eq(step), sums.word.eq(walk.word)),
            *(sums.first.eq(walk.key == walk.first_key), sums.last.eq(weight.last)),
            *(sums.mantissa.eq(weight.mantissa), sums.shift.eq(weight.shift), sums.total.eq(weight.total)),
            sums.largest.eq(self._largest(m, walk.kv_head)),
            *(sums.codes.eq(cache.codes), sums.scale.eq(cache.scale)),
        ]
        with m.If(done):
            m.d.sync += active.eq(0)
        with m.If(cache.token.valid & cache.token.ready):
            m.d.sync += active.eq(1)
            walk.begin(m, cache.token_position)
        self._divide(m, advance)
        return m

    def _largest(self, m: Module, head: Value) -> Value:
        """Follow the largest scale of each head's values; return that of ``head`` for the token in the works."""
        if self.scales is not None:
            return self._kept_largest(m, self.scales, head)
        cache = self._cache
        scales = data.ArrayLayout(SCALE_BITS, self._kv_heads)
        stored, seen = Signal(scales, reset_less=True), Signal(scales, reset_less=True)
        for i in range(self._kv_heads):
            with m.If(cache.stored & (cache.stored_head == i)):
                before = Mux(cache.stored_first, 0, stored[i])
                m.d.sync += stored[i].eq(largest(before, cache.stored_scale))
        with m.If(cache.token.valid & cache.token.ready):
            m.d.sync += seen.eq(stored)
        return seen[head] if self._kv_heads > 1 else seen[0]

    def _kept_largest(self, m: Module, scales: LargestScales, head: Value) -> Value:
        """Do that where memory is needed for it: a token's scales are whole in the first cycle of its work."""
        m.submodules.scales = scales
        cache, begins, seen = self._cache, Signal(), Signal.like(scales.largest, reset_less=True)
        m.d.comb += [
            *(scales.write.eq(cache.stored), scales.head.eq(cache.stored_head), scales.scale.eq(cache.stored_scale)),
            *(scales.first.eq(cache.stored_first), scales.position.eq(self.position.payload)),
        ]
        if self._banks > 1:
            m.d.comb += scales.bank.eq(self.bank.payload)
        m.d.sync += begins.eq(cache.token.valid & cache.token.ready)
        with m.If(begins):
            m.d.sync += seen.eq(scales.largest)
        now = [Mux(begins, scales.largest[i], seen[i]) for i in range(self._kv_heads)]
        return Array(now)[head] if self._kv_heads > 1 else now[0]

    def _divide(self, m: Module, advance: Signal) -> None:
        """Sums wait for their turn, `output_lanes` at a time."""
        sums, m.submodules.mean = self._sum, self._mean
        mean, width = self._mean, len(Value.cast(sums.y.sums)) // (self._ratio * len(self._mean.x.payload.sums))
        m.submodules.waiting = waiting = Fifo(shape=sums.y.shape(), depth=self._waiting)
        m.submodules.narrow = narrow = Narrow(shape=width, lanes=len(mean.x.payload.sums), ratio=self._ratio)
        info = Signal.like(Cat(sums.y.total, sums.y.largest), reset_less=True)
        word = waiting.y.payload
        m.d.comb += [
            advance.eq(~sums.valid | waiting.x.ready),
            *(waiting.x.valid.eq(sums.valid), waiting.x.payload.eq(sums.y)),
            *(narrow.x.valid.eq(waiting.y.valid), waiting.y.ready.eq(narrow.x.ready)),
            Value.cast(narrow.x.payload).eq(Value.cast(word.sums)),
            *(mean.x.valid.eq(narrow.y.valid), narrow.y.ready.eq(mean.x.ready)),
            Value.cast(mean.x.payload.sums).eq(Value.cast(narrow.y.payload)),
            Cat(mean.x.payload.total, mean.x.payload.largest).eq(info),
        ]
        with m.If(narrow.x.ready):
            m.d.sync += info.eq(Cat(word.total, word.largest))
        connect(m, mean.y, flipped(self.y))


def _build(
    *,
    heads: int = 2,
    kv_heads: int = 1,
    head_dim: int = 8,
    keys: int = 16,
    shift: int = 8,
    value_bits: int = 8,
    output_bits: int = 16,
    weight_bits: int = 16,
    lanes: int = 1,
    output_lanes: int = 1,
) -> AttentionValuesUnit:
    return AttentionValuesUnit(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        keys=keys,
        spec=SoftmaxSpec(weight_bits=weight_bits),
        shift=shift,
        value_bits=value_bits,
        output_bits=output_bits,
        lanes=lanes,
        output_lanes=output_lanes,
    )


TEMPLATE = UnitTemplate(
    name="attention_values",
    kind="dataflow",
    description="mean of values by the weights of their keys; the codes of values are kept",
    build=_build,
    macs_per_cycle=lambda lanes=1, **_: float(lanes),
)
