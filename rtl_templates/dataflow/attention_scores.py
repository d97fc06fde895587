"""Scores of attention: each query with the keys up to its position, which are kept here.

The definition is `mxhw.arithmetic.dataflow.AttentionScores`: exact products of integer codes, shifted by the scales of
both vectors, rounded once and saturated. One token's scores are computed while the next one is taken.

Stages from a word's address to its score, gated by one ``advance``:

    1   words and scales are read
    2   products
    3   their sum
    4   sum over the head
    5   shift by the scales
    6   rounding: the output
"""

from operator import add
from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from mxhw.arithmetic import integer_sum_bits
from mxhw.arithmetic.dataflow import AttentionScores
from mxhw.arithmetic.dataflow.streams import LARGEST_SCALE
from mxhw.arithmetic.functions.softmax import SoftmaxSpec
from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.dataflow.align import aligned_halves, rounded_halves
from mxhw.rtl_templates.dataflow.head_memory import HeadMemory, joined
from mxhw.rtl_templates.dataflow.head_walk import HeadWalk, shortened
from mxhw.rtl_templates.dataflow.head_words import HeadWords, head_codes
from mxhw.rtl_templates.dataflow.kv_cache import KVCache
from mxhw.rtl_templates.dataflow.payloads import code_layout
from mxhw.rtl_templates.encoder.blocks import tree
from mxhw.rtl_templates.function.delay import delay
from mxhw.rtl_templates.function.softmax_weights import score_layout
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "AttentionScoresUnit"]

STAGES = 6


class AttentionScoresUnit(wiring.Component):
    """``lanes`` products of codes a cycle; a token's scores leave head after head, first key first.

    Parameters
    ----------
    heads, kv_heads, head_dim : int
        Query heads, heads of keys (a divisor of them), elements of a head.
    keys : int
        Tokens of the longest sequence; that many keys are kept.
    banks : int
        Sequences that are kept.
    window : int or None
        A token sees so many keys, the last of which is its own; None: all up to its own.
    spec : SoftmaxSpec
        Widths of a score.
    exponent : int
        That of a product of two codes with scales 0.
    query_bits, key_bits : int
        Of the codes.
    lanes : int
        Products a cycle, a divisor of ``head_dim``.
    query_lanes, key_lanes : int
        Codes of a beat: divisors of ``head_dim``, and divisors or multiples of ``lanes``.

    Members
    -------
    query, key : In(stream.Signature(code_layout(…)))
        Integer codes with one scale a head, token after token. Ready depends on registers, and key's on position.
    position : In(stream.Signature(range(max(2, keys))))
        One a token, below ``keys``; the token sees the keys from position 0, or the first of its window, to its own. 0
        starts a sequence.
    bank : In(stream.Signature(range(banks))), only above one bank
        One a token: the sequence that it belongs to. Taken together with its position.
    y : Out(stream.Signature(score_layout(spec)))
        Scores; ``last`` at the end of each head. Registers.

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
        exponent: int,
        query_bits: int = 8,
        key_bits: int = 8,
        lanes: int = 1,
        query_lanes: int = 1,
        key_lanes: int = 1,
        banks: int = 1,
        window: int | None = None,
    ) -> None:
        query, key = head_codes("", heads, head_dim, query_bits), head_codes("kv_", kv_heads, head_dim, key_bits)
        require(heads % kv_heads == 0, "kv_heads", f"a divisor of the {heads} heads", kv_heads)
        require_natural("keys", keys)
        require(isinstance(exponent, int), "exponent", "an integer", exponent)
        self._query = HeadWords(codes=query, beat_lanes=query_lanes, lanes=lanes, name="query_lanes")
        self._cache = KVCache(codes=key, keys=keys, banks=banks, beat_lanes=key_lanes, lanes=lanes, name="key_lanes")
        self._banks, self._window = banks, shortened(window, keys)
        self.spec, self._exponent, self._lanes = spec, exponent, lanes
        self._heads, self._kv_heads, self._head_dim, self._keys = heads, kv_heads, head_dim, keys
        self._query_bits, self._key_bits = query_bits, key_bits
        super().__init__(
            {
                "query": In(stream.Signature(code_layout(query, query_lanes))),
                "key": In(stream.Signature(code_layout(key, key_lanes))),
                "position": In(stream.Signature(range(max(2, keys)))),
                **({"bank": In(stream.Signature(range(banks)))} if banks > 1 else {}),
                "y": Out(stream.Signature(score_layout(spec))),
            }
        )

    @classmethod
    def of(
        cls, operation: AttentionScores, *, lanes: int = 1, query_lanes: int = 1, key_lanes: int = 1
    ) -> "AttentionScoresUnit":
        """Return the unit for an operation of a graph."""
        query, key = operation.query, operation.key
        require(query.kind == key.kind == "integer", "codes of attention", "integers", query.kind)
        return cls(
            heads=query.blocks,
            kv_heads=key.blocks,
            head_dim=query.block,
            keys=operation.y.keys,
            spec=operation.y.spec,
            exponent=operation.exponent,
            query_bits=query.bits,
            key_bits=key.bits,
            lanes=lanes,
            query_lanes=query_lanes,
            key_lanes=key_lanes,
            banks=operation.banks,
            window=operation.y.window,
        )

    @property
    def sum_bits(self) -> int:
        """Bits of a sum of products: as many as the largest needs."""
        return integer_sum_bits(self._query_bits, self._key_bits, self._head_dim)

    def interval(self, position: int, *, ends: bool = False) -> int:
        """Return the cycles from a token to the next one, without stalls; ``ends``: that one starts a sequence."""
        work, query, key = self._work(position), self._query.cycles, self._cache.cycles
        return max(work + key, query) + 1 if ends else max(work, query + 1, key + 1)

    def latency(self, position: int) -> int:
        """Return the cycles of a token alone, without stalls: from where its beats are there to its last score."""
        return max(self._query.cycles, self._cache.cycles) + 1 + self._work(position) + STAGES

    def _work(self, position: int) -> int:
        keys = min(position + 1, self._window or self._keys)
        return self._heads * keys * self._head_dim // self._lanes

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        words, members = self._head_dim // self._lanes, self._heads // self._kv_heads
        m.submodules.cache = cache = self._cache
        m.submodules.query_words = self._query
        m.submodules.queries = queries = HeadMemory(
            blocks=2 * self._heads, words=words, width=self._lanes * self._query_bits
        )
        connect(m, flipped(self.key), cache.x)
        connect(m, flipped(self.position), cache.position)
        if self._banks > 1:
            connect(m, flipped(self.bank), cache.bank)
        advance, active, position = Signal(), Signal(), Signal.like(self.position.payload)
        walk = HeadWalk(words=words, keys=self._keys, heads=self._heads, kv_heads=self._kv_heads, window=self._window)
        last_key = walk.key == position
        done = walk.step(m, active & advance, last_key)
        half, loaded = self._take_query(m, queries, cache.token.ready)
        m.d.comb += [
            advance.eq(~self.y.valid | self.y.ready),
            *(cache.done.eq(done), cache.enable.eq(advance), queries.enable.eq(advance)),
            *(cache.head.eq(walk.kv_head), cache.key.eq(walk.key), cache.word.eq(walk.word)),
            queries.block.eq(joined(half, joined(walk.kv_head, walk.member, members), self._heads)),
            queries.word.eq(walk.word),
            cache.token.ready.eq(cache.token.valid & loaded & (~active | done)),
        ]
        with m.If(done):
            m.d.sync += active.eq(0)
        with m.If(cache.token.ready):
            m.d.sync += [active.eq(1), position.eq(cache.token_position)]
            walk.begin(m, cache.token_position)
        flags = walk.first_word, active & walk.last_word, last_key
        self._score(m, advance, queries, cache, *flags)
        return m

    def _take_query(self, m: Module, queries: HeadMemory, start: Value) -> tuple[Signal, Signal]:
        """Store the next query in half a memory; return the half that is read, and whether the other is full."""
        half, loaded, words = Signal(), Signal(), self._query
        connect(m, flipped(self.query), words.x)
        m.d.comb += [
            words.enable.eq(~loaded),
            queries.write.eq(words.write),
            queries.write_block.eq(joined(~half, words.head, self._heads)),
            *(queries.write_word.eq(words.word), queries.write_codes.eq(words.codes)),
            queries.write_scale.eq(words.scale),
        ]
        with m.If(words.write & words.last):
            m.d.sync += loaded.eq(1)
        with m.If(start):
            m.d.sync += [loaded.eq(0), half.eq(~half)]
        return half, loaded

    def _score(
        self, m: Module, advance: Value, queries: HeadMemory, cache: KVCache, first: Value, ends: Value, last: Value
    ) -> None:
        """Multiply, add and align what is read; ``first`` and ``ends``: it is the first, the last word of its key."""

        def wait(value: Value, stages: int, name: str, **options: bool) -> Value:
            return delay(m, value, stages, enable=advance, name=name, **options)

        scales = 2 * LARGEST_SCALE["integer"]
        product_bits = integer_sum_bits(self._query_bits, self._key_bits, 1)
        products = [Signal(signed(product_bits), name=f"product_{i}", reset_less=True) for i in range(self._lanes)]
        part, total = (Signal(signed(self.sum_bits), name=name, reset_less=True) for name in ("part", "total"))
        scale = Signal(range(scales + 1), reset_less=True)
        halves = aligned_halves(
            total,
            wait(scale, 2, "scale"),
            shift=-self._exponent - self.spec.score_fraction,
            largest_up=scales,
            bits=self.spec.score_bits,
        )
        aligned = Signal(halves.shape(), reset_less=True)
        with m.If(advance):
            for i, product in enumerate(products):
                q = queries.codes.word_select(i, self._query_bits).as_signed()
                m.d.sync += product.eq(q * cache.codes.word_select(i, self._key_bits).as_signed())
            m.d.sync += [
                scale.eq(queries.scale + cache.scale),
                part.eq(tree(products, add)),
                total.eq(Mux(wait(first, 3, "first"), 0, total) + part),
                aligned.eq(halves),
                self.y.valid.eq(wait(ends, STAGES - 1, "ends", reset_less=False)),
                self.y.payload.score.eq(rounded_halves(aligned, self.spec.score_bits)),
                self.y.payload.last.eq(wait(last, STAGES - 1, "last")),
            ]


def _build(
    *,
    heads: int = 2,
    kv_heads: int = 1,
    head_dim: int = 8,
    keys: int = 16,
    exponent: int = -30,
    code_bits: int = 8,
    score_bits: int = 24,
    score_fraction: int = 8,
    lanes: int = 1,
) -> AttentionScoresUnit:
    return AttentionScoresUnit(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        keys=keys,
        spec=SoftmaxSpec(score_bits=score_bits, score_fraction=score_fraction),
        exponent=exponent,
        query_bits=code_bits,
        key_bits=code_bits,
        lanes=lanes,
    )


TEMPLATE = UnitTemplate(
    name="attention_scores",
    kind="dataflow",
    description="base-2 scores of attention; the codes of keys are kept, and one token sees those up to its own",
    build=_build,
    macs_per_cycle=lambda lanes=1, **_: float(lanes),
    variants=({"lanes": 8},),
)
