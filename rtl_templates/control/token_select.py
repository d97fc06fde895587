"""The token of each request; the definition is :meth:`mxhw.arithmetic.dataflow.TokenSelect.run`.

A queue has the sequences of the logits that are asked for and not computed yet: arg-maxes come in that order. A request
for logits waits while the queue is full, and one for a generated token while logits of its sequence are awaited.

A design does not stop at a queue of ``chunk`` or more. If a request waits for room, then all logits in the queue which
are of earlier chunks come, since all requests of these chunks have passed; so that in the end those of its own chunk
are alone there, fewer than ``chunk``, and there is room. With twice as many, a chunk may enter while the arg-maxes of
the one before are still to come.
"""

from typing import Any

from amaranth.hdl import Array, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.dataflow import Requests
from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.control.payloads import index_shape, request_layout
from mxhw.rtl_templates.stream import Fifo
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "TokenSelectUnit"]

_CHUNKS = 2  # whose logits may be awaited


class TokenSelectUnit(wiring.Component):
    """A token a cycle, latency 1, where no arg-max is waited for.

    Parameters
    ----------
    kind : Requests
        What comes in.
    chunk : int
        Requests of a chunk, at most: all of them may ask for logits.

    Members
    -------
    requests : In(stream.Signature(request_layout(kind)))
        Ready depends on its payload, on y's ready and on registers.
    feedback : In(stream.Signature(index_shape(kind.vocabulary)))
        The arg-max of all logits that requests ask for, in order. Ready is a register, and high as long as any are
        awaited: what is computed from y is never held up.
    y : Out(stream.Signature(index_shape(kind.vocabulary)))
        Registers.

    Raises
    ------
    InputError
        If ``chunk`` is below 1.
    """

    def __init__(self, *, kind: Requests, chunk: int) -> None:
        require_natural("chunk", chunk)
        self._kind, self._chunk = kind, chunk
        token = index_shape(kind.vocabulary)
        super().__init__(
            {
                "requests": In(stream.Signature(request_layout(kind))),
                "feedback": In(stream.Signature(token)),
                "y": Out(stream.Signature(token)),
            }
        )

    @property
    def capacity(self) -> int:
        """Logits that may be awaited."""
        return _CHUNKS * self._chunk

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        request, sequence = self.requests.payload, index_shape(self._kind.sequences)
        m.submodules.queue = queue = Fifo(shape=sequence, depth=self.capacity)
        arrives = Signal()
        m.d.comb += [
            self.feedback.ready.eq(queue.y.valid),
            queue.y.ready.eq(self.feedback.valid),
            arrives.eq(self.feedback.valid & queue.y.valid),
        ]
        asks = Signal()
        newest, is_known = self._newest(m, asks, arrives, queue.y.payload)
        allowed, advance = Signal(), Signal()
        m.d.comb += [
            allowed.eq((~request.generated | is_known) & (~request.logits | queue.x.ready)),
            advance.eq(self.y.ready | ~self.y.valid),
            self.requests.ready.eq(allowed & advance),
            asks.eq(self.requests.valid & self.requests.ready & request.logits),
            queue.x.valid.eq(asks),
            queue.x.payload.eq(request.sequence),
        ]
        with m.If(advance):
            m.d.sync += [
                self.y.valid.eq(self.requests.valid & allowed),
                self.y.payload.eq(Mux(request.generated, newest, request.token)),
            ]
        return m

    def _newest(self, m: Module, asks: Value, arrives: Value, arrived: Value) -> tuple[Value, Value]:
        """Return the newest arg-max of the request's sequence, and whether it is that of its newest logits."""
        sequences, asked = self._kind.sequences, self.requests.payload.sequence
        tokens = [Signal(self.y.payload.shape(), name=f"token_{i}") for i in range(sequences)]
        awaited = [Signal(range(self.capacity + 1), name=f"awaited_{i}") for i in range(sequences)]
        for index, (token, count) in enumerate(zip(tokens, awaited, strict=True)):
            more, fewer = asks & (asked == index), arrives & (arrived == index)
            m.d.sync += count.eq(count + more - fewer)
            with m.If(fewer):
                m.d.sync += token.eq(self.feedback.payload)
        return Array(tokens)[asked], Array(awaited)[asked] == 0


def _build(chunk: int = 32, vocabulary: int = 512, sequences: int = 2, keys: int = 128) -> TokenSelectUnit:
    kind = Requests(vocabulary=vocabulary, sequences=sequences, keys=keys)
    return TokenSelectUnit(kind=kind, chunk=chunk)


TEMPLATE = UnitTemplate(
    name="token_select",
    kind="control",
    description="tokens of requests: given ones, or what the arg-max of their sequence said last",
    build=_build,
)
