"""A model that talks, small: requests through embedding, one block for all layers, arg-max, and back."""

import random
from typing import Any

import torch
from amaranth.hdl import Array, Const, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from mxhw.arithmetic.dataflow import Passes, Requests
from mxhw.arithmetic.functions.embedding import EmbeddingSpec
from mxhw.rtl_templates.control import ArgMaxUnit, EnterUnit, KeepUnit, PassOrderUnit, TokenSelectUnit
from mxhw.rtl_templates.control.payloads import index_shape, pass_layout, request_layout
from mxhw.rtl_templates.dataflow.payloads import integer_layout
from mxhw.rtl_templates.function.embedding import Embedding
from mxhw.rtl_templates.stream import Fifo, Fork
from tests.arithmetic.dataflow.control_cases import Asked

BITS = 16


class Model:
    """Its constants: rows of the embedding, and what each layer adds to each element, and to one of a position's."""

    def __init__(self, vocabulary: int, layers: int) -> None:
        draw = random.Random(0)
        self.rows = [[draw.randrange(-100, 101) for _ in range(vocabulary)] for _ in range(vocabulary)]
        self.added = [[draw.randrange(-20, 21) for _ in range(vocabulary)] for _ in range(layers)]

    def arg_max(self, token: int, position: int) -> int:
        """The index of the largest element behind the last layer."""
        x = self.rows[token]
        for layer, added in enumerate(self.added):
            x = [
                a + b + (position * 9 if place == layer else 0)
                for place, (a, b) in enumerate(zip(x, added, strict=True))
            ]
        return x.index(max(x))

    def talk(self, asked: list[Asked]) -> list[int]:
        """The arg-max of all logits, in order."""
        newest: dict[int, int] = {}
        found = []
        for one in asked:
            token = newest.get(one.sequence, 0) if one.generated else one.token
            if one.logits:
                newest[one.sequence] = self.arg_max(token, one.position)
                found.append(newest[one.sequence])
        return found


class Block(wiring.Component):
    """Any layer: constants and position are added."""

    def __init__(self, model: Model, kind: Passes) -> None:
        self._added = model.added
        vector = stream.Signature(integer_layout(BITS, 1))
        super().__init__({"passes": In(stream.Signature(pass_layout(kind))), "x": In(vector), "y": Out(vector)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        length, layer = len(self._added[0]), self.passes.payload.layer
        beat = Signal(range(length))
        added = Array(Array(Const(value, signed(BITS)) for value in row) for row in self._added)[layer][beat]
        position = Mux(beat == layer, self.passes.payload.position * 9, 0)
        moves, is_last = self.y.valid & self.y.ready, beat == length - 1
        m.d.comb += [
            self.y.payload[0].eq(self.x.payload[0] + added + position),
            self.y.valid.eq(self.x.valid & self.passes.valid),
            *(self.x.ready.eq(moves), self.passes.ready.eq(moves & is_last)),
        ]
        with m.If(moves):
            m.d.sync += beat.eq(Mux(is_last, 0, beat + 1))
        return m


class Loop(wiring.Component):
    """Requests in, arg-maxes out; ``token_select`` is the unit in use."""

    def __init__(self, kind: Requests, model: Model, chunk: int, token_select: TokenSelectUnit) -> None:
        self._kind, self._model, self._chunk, self._token_select = kind, model, chunk, token_select
        self._passes = Passes(layers=len(model.added), sequences=kind.sequences, keys=kind.keys)
        requests, y = request_layout(kind), index_shape(kind.vocabulary)
        super().__init__({"requests": In(stream.Signature(requests)), "y": Out(stream.Signature(y))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        kind, passes, length = self._kind, self._passes, self._kind.vocabulary
        codes = torch.tensor(self._model.rows)
        spec = EmbeddingSpec(codes=codes, multipliers=(1 << 15,) * length, shift=15, output_bits=BITS)
        vectors: dict[str, Any] = {"kind": passes, "length": length, "bits": BITS}
        units: dict[str, Any] = {
            "requests": Fork(shape=request_layout(kind)),
            "order": PassOrderUnit(kind=kind, layers=passes.layers, chunk=self._chunk),
            "tokens": self._token_select,
            "embedding": Embedding(spec=spec),
            "passes": Fork(shape=pass_layout(passes), outputs=4),
            "enter": EnterUnit(**vectors),
            "block": Block(self._model, passes),
            "hidden": Fork(shape=integer_layout(BITS, 1)),
            "returned": KeepUnit(which="returned", **vectors),
            "final": KeepUnit(which="final", **vectors),
            "arg_max": ArgMaxUnit(length=length, bits=BITS),
            "answers": Fork(shape=index_shape(length)),
        }
        for name, unit in units.items():
            m.submodules[name] = unit
        connect(m, flipped(self.requests), units["requests"].x)
        for source, target, depth in (
            ("requests.y0", "order.requests", 2),
            ("requests.y1", "tokens.requests", 2),
            ("tokens.y", "embedding.x", 2),
            ("order.y", "passes.x", 2),
            *((f"passes.y{i}", f"{name}.passes", 4) for i, name in enumerate(("enter", "block", "returned", "final"))),
            ("embedding.y", "enter.embedded", 2),
            ("enter.y", "block.x", 2),
            ("block.y", "hidden.x", 2),
            ("hidden.y0", "returned.x", 2),
            ("hidden.y1", "final.x", 2),
            ("returned.y", "enter.returned", self._chunk * length),  # a chunk's vectors wait for the next layer
            ("final.y", "arg_max.x", 2),
            ("arg_max.y", "answers.x", 2),
            ("answers.y0", "tokens.feedback", 2),
        ):
            (giver, out), (taker, port) = source.split("."), target.split(".")
            given = getattr(units[giver], out)
            m.submodules[f"fifo_{taker}_{port}"] = fifo = Fifo(shape=given.payload.shape(), depth=depth)
            connect(m, given, fifo.x)
            connect(m, fifo.y, getattr(units[taker], port))
        connect(m, units["answers"].y1, flipped(self.y))
        return m
