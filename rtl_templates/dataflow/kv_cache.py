"""The keys or the values of sequences: the codes of their tokens, kept as long as tokens look back at them.

One token is worked on while the next one's codes are stored. The first token of a new sequence is stored when nobody
reads the old one of its bank any more. A bank keeps one sequence of one layer; what :meth:`KVCache.elaborate` calls
``block`` is the only place that makes an address of a bank, a head and a position.
"""

from typing import Any

from amaranth.hdl import Const, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from mxhw.arithmetic.dataflow import BlockCodes
from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.dataflow.head_memory import HeadMemory, joined
from mxhw.rtl_templates.dataflow.head_words import HeadWords
from mxhw.rtl_templates.dataflow.payloads import SCALE_BITS, code_layout

__all__ = ["KVCache"]


class KVCache(wiring.Component):
    """Stores tokens and gives back words of any of their heads.

    Parameters
    ----------
    codes : BlockCodes
        A token; each head is a block.
    keys : int
        Tokens of the longest sequence.
    banks : int
        Sequences.
    name : str
        What messages call ``beat_lanes``.
    beat_lanes, lanes : int
        Codes of a beat and of a word; see :class:`.HeadWords`.

    Members
    -------
    x : In(stream.Signature(code_layout(codes, beat_lanes)))
        Codes. Ready depends on registers and on position.
    position : In(stream.Signature(range(max(2, keys))))
        Where the token belongs, below ``keys``; 0 starts a sequence. Taken with the token's last beat.
    bank : In(stream.Signature(range(banks))), only above one bank
        Which sequence the token belongs to. Taken together with its position.
    token : Out(stream.Signature(…))
        The position of a token that is stored, with its bank above one: :attr:`token_position`, :attr:`token_bank`. The
        one taken last is being worked on until ``done``; what is read is of its bank.
    done : In(1)
        The last read for it happens at this clock edge.
    stored, stored_head, stored_scale, stored_first : Out
        A word is being stored: of which head, with which scale, and whether it starts a sequence. Its position and its
        bank are at their streams.
    reading : Out(range(banks)), only above one bank
        The bank of the token that is worked on.
    head, key, word, enable : In
        What to read; ``codes`` and ``scale`` hold their values while ``enable`` is low.
    codes, scale : Out
        The word and its scale, in the cycle after.
    """

    def __init__(self, *, codes: BlockCodes, keys: int, beat_lanes: int, lanes: int, name: str, banks: int = 1) -> None:
        require_natural("keys", keys)
        require_natural("banks", banks)
        self._words = HeadWords(codes=codes, beat_lanes=beat_lanes, lanes=lanes, name=name)
        self._keys, self._heads, self._banks = keys, codes.blocks, banks
        self._blocks, self._vector, self._width = banks * codes.blocks * keys, codes.block // lanes, lanes * codes.bits
        position, head = range(max(2, keys)), range(max(2, codes.blocks))
        token = position if banks == 1 else data.StructLayout({"position": position, "bank": range(banks)})
        several = {"bank": In(stream.Signature(range(banks))), "reading": Out(range(banks))}
        super().__init__(
            {
                "x": In(stream.Signature(code_layout(codes, beat_lanes))),
                "position": In(stream.Signature(position)),
                "token": Out(stream.Signature(token)),
                "done": In(1),
                "stored": Out(1),
                "stored_head": Out(head),
                "stored_scale": Out(SCALE_BITS),
                "stored_first": Out(1),
                "head": In(head),
                "key": In(position),
                "word": In(range(max(2, self._vector))),
                "enable": In(1),
                "codes": Out(self._width),
                "scale": Out(SCALE_BITS),
            }
            | (several if banks > 1 else {})
        )

    @property
    def token_position(self) -> Value:
        """Of the token that is handed on."""
        return self.token.payload.position if self._banks > 1 else self.token.payload

    @property
    def token_bank(self) -> Value:
        """Of the token that is handed on."""
        return self.token.payload.bank if self._banks > 1 else Const(0)

    @property
    def cycles(self) -> int:
        """Cycles in which a token is stored."""
        return self._words.cycles

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.words = words = self._words
        m.submodules.memory = memory = HeadMemory(blocks=self._blocks, words=self._vector, width=self._width)

        def block(bank: Value | None, head: Value, position: Value) -> Value:
            own = joined(head, position, self._keys)
            return own if bank is None else joined(bank, own, self._heads * self._keys)

        connect(m, flipped(self.x), words.x)
        offered, written, read = self.position.valid, None, None
        if self._banks > 1:
            offered, written, read = self.position.valid & self.bank.valid, self.bank.payload, self.reading
            m.d.comb += self.bank.ready.eq(words.write & words.last)
        m.d.comb += [
            words.enable.eq(offered & ~self.token.valid & self._unread(m)),
            self.position.ready.eq(words.write & words.last),
            memory.write.eq(words.write),
            memory.write_block.eq(block(written, words.head, self.position.payload)),
            *(memory.write_word.eq(words.word), memory.write_codes.eq(words.codes)),
            memory.write_scale.eq(words.scale),
            *(self.stored.eq(words.write), self.stored_head.eq(words.head), self.stored_scale.eq(words.scale)),
            self.stored_first.eq(self.position.payload == 0),
            *(memory.block.eq(block(read, self.head, self.key)), memory.word.eq(self.word)),
            *(memory.enable.eq(self.enable), self.codes.eq(memory.codes), self.scale.eq(memory.scale)),
        ]
        return m

    def _unread(self, m: Module) -> Value:
        """Hand tokens on; return whether the place of the next one is not read for the token in the works."""
        several = self._banks > 1
        working, current = Signal(), Signal.like(self.position.payload)
        with m.If(self.done):
            m.d.sync += working.eq(0)
        with m.If(self.token.valid & self.token.ready):
            m.d.sync += [self.token.valid.eq(0), working.eq(1), current.eq(self.token_position)]
            if several:
                m.d.sync += self.reading.eq(self.token_bank)
        with m.If(self.position.valid & self.position.ready):
            m.d.sync += [self.token.valid.eq(1), self.token_position.eq(self.position.payload)]
            if several:
                m.d.sync += self.token_bank.eq(self.bank.payload)
        unread = ~working | (self.position.payload > current)
        return unread | (self.bank.payload != self.reading) if several else unread
