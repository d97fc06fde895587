"""The order in which attention goes through a token's work: head after head, key after key, word after word."""

from amaranth.hdl import Const, Module, Mux, Signal, Value

from mxhw.rtl_templates.checks import require_natural

__all__ = ["HeadWalk", "shortened"]


def shortened(window: int | None, keys: int) -> int | None:
    """Return the window, None where it is none: all keys are seen. Raises InputError for one below 1."""
    if window is not None:
        require_natural("window", window)
    return None if window is None or window >= keys else window


class HeadWalk:
    """Counters that start again with each token.

    Attributes
    ----------
    word, key : of the head's vector, of the keys that are seen.
    first_key : the first key that the token sees: 0, or the first one of its window.
    kv_head, member : the head, as one of those that share keys and values.
    first_word, last_word : the word is the first, the last one of its vector.
    """

    def __init__(self, *, words: int, keys: int, heads: int, kv_heads: int, window: int | None = None) -> None:
        self._counts, self._window = (words, heads // kv_heads, kv_heads), window
        self.word = Signal(range(max(2, words)))
        self.key = Signal(range(max(2, keys)))
        self.first_key: Value = Const(0) if window is None else Signal(range(max(2, keys)), name="first_key")
        self.member = Signal(range(max(2, heads // kv_heads)))
        self.kv_head = Signal(range(max(2, kv_heads)))
        self.first_word, self.last_word = self.word == 0, self.word == words - 1

    def step(self, m: Module, enable: Value, last_key: Value) -> Value:
        """Count while ``enable``; return whether this is the token's last step. ``last_key``: the row's last key."""
        _, members, kv_heads = self._counts
        row_ends = self.last_word & last_key
        member_ends, head_ends = self.member == members - 1, self.kv_head == kv_heads - 1
        with m.If(enable):
            m.d.sync += self.word.eq(Mux(self.last_word, 0, self.word + 1))
            with m.If(self.last_word):
                m.d.sync += self.key.eq(Mux(last_key, self.first_key, self.key + 1))
            with m.If(row_ends):
                m.d.sync += self.member.eq(Mux(member_ends, 0, self.member + 1))
                with m.If(member_ends):
                    m.d.sync += self.kv_head.eq(Mux(head_ends, 0, self.kv_head + 1))
        return enable & row_ends & member_ends & head_ends

    def begin(self, m: Module, position: Value) -> None:
        """Go to the first key of the token at ``position``; after :meth:`step`, where a token begins."""
        if self._window is not None:
            first = Mux(position >= self._window, position - (self._window - 1), 0)
            m.d.sync += [self.first_key.eq(first), self.key.eq(first)]
