"""Registers of a pipeline of fixed latency between streams: all of them move while the last one is free."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value

from mxhw.rtl_templates.function.delay import delay

__all__ = ["Pipeline"]


class Pipeline:
    """Takes a beat of every input at once; it leaves as a beat of ``y`` after ``latency`` cycles without stalls.

    Nothing enters without a beat of ``held`` either, if there is one; but who reads that stream says when it is taken.

    Bubbles move on, too, so that what has entered always comes out. The payload of ``y``, which the caller assigns, has
    to come from the last stage's registers.

    Attributes
    ----------
    advance : clock enable of all stages.
    take : a beat enters at this clock edge.
    """

    def __init__(self, m: Module, inputs: Sequence[Any], y: Any, latency: int, held: Any = None) -> None:
        self._m = m
        self.advance, self.take = Signal(name="advance"), Signal(name="take")
        self._flags = flags = Signal(latency, name="stages")
        needed = [*inputs] if held is None else [*inputs, held]
        present = Cat(x.valid for x in needed).all()
        m.d.comb += [
            y.valid.eq(flags[-1]),
            self.advance.eq(y.ready | ~y.valid),
            self.take.eq(present & self.advance),
            *(x.ready.eq(self.take if len(needed) > 1 else self.advance) for x in inputs),
        ]
        with m.If(self.advance):
            m.d.sync += flags.eq(Cat(present, flags)[:latency])

    def register(self, value: Any, name: str, stages: int = 1) -> Value:
        """Return ``value`` delayed by stages of this pipeline."""
        return delay(self._m, Value.cast(value), stages, enable=self.advance, name=name)

    def leaves(self, stage: int) -> Value:
        """Return whether a beat moves on from the registers of this stage (1 to latency) at this clock edge."""
        return self._flags[stage - 1] & self.advance
