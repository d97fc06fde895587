"""Product of a stream of codes with a weight in memory: a GEMM unit between token-major streams.

The definition is :meth:`mxhw.arithmetic.dataflow.Linear.run`. Around the unit: the scale of an integer token goes by in
a queue and shifts the token's sums, vectors are padded to whole groups, and R tokens that are computed at once are
brought side by side in front and in turn behind. Row scales of the weight belong to the requantizer that follows.

One unit may serve several layers (:class:`mxhw.arithmetic.dataflow.Folded`), also of several bit-serial weight formats:
its memories hold the weights of all, recoded to one type that has all their values. Or they hold two layers and are
loaded through a port, in the order in which tokens use them: the next layer comes while tokens meet the one before.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic import terms
from mxhw.arithmetic.dataflow import BlockCodes, Folded, Linear
from mxhw.rtl_templates.checks import require, require_lanes, require_natural
from mxhw.rtl_templates.dataflow.linear_memory import memory_fields, port_beats, shared_gemm
from mxhw.rtl_templates.dataflow.linear_timing import LinearTiming
from mxhw.rtl_templates.dataflow.padding import Padding
from mxhw.rtl_templates.dataflow.payloads import SCALE_BITS, code_layout, integer_layout
from mxhw.rtl_templates.dataflow.row_join import RowJoin
from mxhw.rtl_templates.gemm import BitModGemm, DialectGemm, GemmShape, bitmod
from mxhw.rtl_templates.gemm.counter import wrapping_counter
from mxhw.rtl_templates.gemm.layout import Array, word_ints
from mxhw.rtl_templates.mac.bit_serial import ACTIVATION_BITS
from mxhw.rtl_templates.stream import Fifo, TileOrder
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "LinearUnit"]

_DIALECT = "dialect4"


class LinearUnit(wiring.Component):
    """Sums of products, R = ``gemm.shape.rows`` tokens at once.

    With R > 1 the number of tokens of a run is a multiple of R: fewer wait for those that are missing.

    Parameters
    ----------
    gemm : BitModGemm or DialectGemm
        Computes; its lanes are those of x, its columns those of y. Its memories read ``gemm.weights_file`` and
        ``gemm.metadata_file`` (see :meth:`fields`).
    x : BlockCodes
        Codes: integers with one scale a token for a BitModGemm, DialectFP4 blocks for a DialectGemm.
    bits : int
        Of a sum; no sum may need more (``Linear.output`` says how many are enough).

    Members
    -------
    x : In(stream.Signature(code_layout(x, lanes)))
        ``padded / lanes`` beats a token.
    y : Out(stream.Signature(integer_layout(bits, columns)))
        ``n / columns`` beats a token. Registers.
    layer : In(stream.Signature(range(layers)))
        Present above one layer of ``gemm``: whose weight a token meets, an index a token. It is taken before the
        token's first step, at the earliest with the last step of the token before. Ready depends on registers only.
    words : In(stream.Signature(port))
        Present where ``gemm`` has a port: see :meth:`words_of`. A layer's once for all tokens of it that follow each
        other; ready depends on registers only.

    Raises
    ------
    InputError
        If columns do not divide n, lanes do not divide x, x is not what the GEMM unit takes, or several tokens are
        computed at once while there are several layers.
    """

    # A unit is also asked for its fields and cycles only: Amaranth need not warn that it was never elaborated.
    _MustUse__silence = True

    def __init__(self, *, gemm: BitModGemm | DialectGemm, x: BlockCodes, bits: int) -> None:
        shape = gemm.shape
        require_natural("bits", bits, 2)
        kind = "dialect" if isinstance(gemm, DialectGemm) else "integer"
        require(x.kind == kind, "x", f"a stream of {kind} codes", x.kind)
        require(x.length == shape.k, "length of x", f"that of a row of the weight, {shape.k}", x.length)
        if isinstance(gemm, DialectGemm):
            require(x.block == gemm.block, "block of x", f"that of the weight, {gemm.block}", x.block)
        else:
            require(x.blocks == 1, "blocks of x", "1: integers have one scale a token", x.blocks)
            require(x.bits <= ACTIVATION_BITS, "bits of x", f"at most {ACTIVATION_BITS}", x.bits)
        require_lanes(shape.lanes, x.padded, "padded length of x")
        require(shape.n % shape.columns == 0, "columns", f"a divisor of the {shape.n} outputs", shape.columns)
        require(gemm.layers == 1 or shape.rows == 1, "rows", "1 for a unit of several layers", shape.rows)
        self.gemm, self._codes, self._bits = gemm, x, bits
        self._scaled = kind == "integer"
        members = {
            "x": In(stream.Signature(code_layout(x, shape.lanes))),
            "y": Out(stream.Signature(integer_layout(bits, shape.columns))),
        }
        more = [name for name in ("layer", "words") if name in gemm.signature.members]
        super().__init__(members | {name: gemm.signature.members[name] for name in more})

    @staticmethod
    def of(linear: Linear, *, rows: int = 1, columns: int = 1, lanes: int = 1, filled: bool = False) -> "LinearUnit":
        """Return the unit of an operation; ``filled``: with its weight, for a text that has its memories inside."""
        return LinearUnit.of_layers((linear,), rows=rows, columns=columns, lanes=lanes, filled=filled)

    @staticmethod
    def of_layers(
        layers: Sequence[Linear],
        *,
        rows: int = 1,
        columns: int = 1,
        lanes: int = 1,
        filled: bool = False,
        port: int | None = None,
    ) -> "LinearUnit":
        """Return the unit of operations that share it, one a layer; ``filled`` as in :meth:`of`.

        ``port``: bits of the beats that their weights come in; None: memories of the unit hold all.

        Raises
        ------
        InputError
            If their streams differ, or no array computes with the weights of all.
        """
        first = Folded(members=tuple(layers)).members[0]
        assert isinstance(first, Linear)
        shape = GemmShape(rows=rows, columns=columns, lanes=lanes, n=first.channels, k=first.x.length)
        unit = LinearUnit(gemm=shared_gemm(shape, layers, port=port), x=first.x, bits=first.output.bits)
        if not filled:
            return unit
        words = {name: word_ints(*fields) for name, fields in unit.fields(*layers).items()}
        return LinearUnit(gemm=shared_gemm(shape, layers, **words), x=first.x, bits=first.output.bits)

    def fields(self, *layers: Linear) -> dict[str, tuple[Array, int]]:
        """Return what the memories hold: "weights" (and "metadata") → fields [depth, fields a word], bits of a field.

        ``layers`` are the operations, in order. The first field of a word is its lowest.
        """
        return memory_fields(self.gemm, layers)

    def words_of(self, *layers: Linear) -> Array:
        """Return the beats that the port takes for each layer: uint32 [layers, beats, ceil(port / 32)]."""
        return port_beats(self.gemm, layers)

    @property
    def timing(self) -> LinearTiming:
        """Beats and cycles."""
        gemm = self.gemm
        return LinearTiming(gemm.tiling, gemm.shape.rows, self._codes.padded // gemm.shape.lanes, gemm.latency)

    @property
    def interval(self) -> Fraction:
        """Cycles a token, see :class:`.LinearTiming`."""
        return self.timing.interval

    @property
    def latency(self) -> int:
        """Cycles from the first x beat of R tokens to their first y beat, see :class:`.LinearTiming`."""
        return self.timing.latency

    def cycles(self, tokens: int) -> int:
        """Return the cycles of so many tokens, see :class:`.LinearTiming`."""
        return self.timing.cycles(tokens)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.gemm = self.gemm
        if self.gemm.layers > 1:
            wiring.connect(m, wiring.flipped(self.layer), self.gemm.layer)
        if self.gemm.port is not None:
            wiring.connect(m, wiring.flipped(self.words), self.gemm.words)
        beats, scales = self._take(m)
        self._load(m, beats)
        self._leave(m, self._in_order(m), scales)
        return m

    def _take(self, m: Module) -> tuple[Any, Fifo | None]:
        """Return the beats of x, and the queue of the tokens' scales, which blocks keep in their beats."""
        payload = self.x.payload.codes if self._scaled else self.x.payload
        beats = stream.Signature(payload.shape()).create(path=["beats"])
        m.d.comb += Value.cast(beats.payload).eq(Value.cast(payload))
        if not self._scaled:
            m.d.comb += [beats.valid.eq(self.x.valid), self.x.ready.eq(beats.ready)]
            return beats, None
        m.submodules.scales = scales = Fifo(shape=SCALE_BITS, depth=self.timing.tokens_inside)
        last = self.timing.x_beats - 1
        beat = Signal(range(max(2, last + 1)), name="x_beat")
        wrapping_counter(m, "x_beat", last, self.x.valid & self.x.ready, beat)
        is_first, room = Signal(), Signal()
        m.d.comb += [
            is_first.eq(beat == 0),
            room.eq(scales.x.ready | ~is_first),
            beats.valid.eq(self.x.valid & room),
            self.x.ready.eq(beats.ready & room),
            scales.x.payload.eq(self.x.payload.exponent[:SCALE_BITS]),
            scales.x.valid.eq(self.x.valid & is_first & beats.ready),
        ]
        return beats, scales

    def _load(self, m: Module, beats: Any) -> None:
        """Put R tokens side by side, and zeros behind them."""
        rows, length = self.gemm.shape.rows, self.timing.x_beats
        payloads, source = [beats.payload], beats
        if rows > 1:
            m.submodules.rows = join = RowJoin(shape=beats.payload.shape(), rows=rows, length=length)
            wiring.connect(m, beats, join.x)
            payloads, source = [join.y.payload[row] for row in range(rows)], join.y
        m.submodules.padding = padding = Padding(
            shape=self.gemm.x_width, length=length, zeros=self.gemm.chunks - length
        )
        m.d.comb += [
            padding.x.payload.eq(self._gemm_payload(payloads)),
            padding.x.valid.eq(source.valid),
            source.ready.eq(padding.x.ready),
        ]
        wiring.connect(m, padding.y, self.gemm.x)

    def _gemm_payload(self, payloads: list[Any]) -> Value:
        if self._scaled:
            lanes = range(self.gemm.shape.lanes)
            return Cat(_extended(codes[lane], ACTIVATION_BITS) for codes in payloads for lane in lanes)
        names = ("codes", "dialect", "exponent")
        return Cat(Value.cast(getattr(block, name)) for name in names for block in payloads)

    def _in_order(self, m: Module) -> Any:
        """Return the stream of sums, token after token."""
        gemm = self.gemm
        if not self.timing.reorders:
            return gemm.y
        m.submodules.order = order = TileOrder(
            shape=gemm.y_width,
            columns=self.timing.y_beats,
            tile_rows=gemm.shape.rows,
            tile_columns=1,
            direction="to_rows",
        )
        wiring.connect(m, gemm.y, order.x)
        return order.y

    def _leave(self, m: Module, sums: Any, scales: Fifo | None) -> None:
        """Shift the sums of a token by its scale; y is a register."""
        m.submodules.shifted = shifted = Fifo(shape=self.y.payload.shape(), depth=1)
        if scales is None:
            m.d.comb += [shifted.x.valid.eq(sums.valid), sums.ready.eq(shifted.x.ready)]
        else:
            last = self.timing.y_beats - 1
            beat = Signal(range(max(2, last + 1)), name="y_beat")
            is_last = wrapping_counter(m, "y_beat", last, shifted.x.valid & shifted.x.ready, beat)
            m.d.comb += [
                shifted.x.valid.eq(sums.valid & scales.y.valid),
                sums.ready.eq(shifted.x.ready & scales.y.valid),
                scales.y.ready.eq(is_last),
            ]
        width = self.gemm.accumulator_width
        for column in range(self.gemm.shape.columns):
            # Low bits are enough: no sum needs more, and what the array adds is the same modulo a power of two.
            total = _extended(sums.payload.word_select(column, width).as_signed(), self._bits)
            scaled = total if scales is None else (total << scales.y.payload)[: self._bits]
            m.d.comb += shifted.x.payload[column].eq(scaled.as_signed())
        wiring.connect(m, shifted.y, wiring.flipped(self.y))


def _extended(value: Any, bits: int) -> Value:
    """Return the low ``bits`` of a signed value, which is extended where it has fewer."""
    have = len(value)
    low: Value = value[: min(bits, have)]
    return Cat(low, value[have - 1].replicate(bits - have)) if have < bits else low


def _build(
    weight_type: str = "fp4",
    rows: int = 1,
    columns: int = 2,
    lanes: int = 4,
    n: int = 4,
    k: int = 32,
    group: int | None = 32,
    bits: int = 40,
    low: int = 8,
    high: int = 12,
    layers: int = 1,
    port: int | None = None,
) -> LinearUnit:
    """``group``: of multipliers, or DialectFP4's block; ``low`` and ``high``: exponents of DialectFP4 weights.

    The memories hold drawn words: one of nothing but zeros would take the array with it in synthesis.
    """
    shape = GemmShape(rows=rows, columns=columns, lanes=lanes, n=n, k=k)
    is_dialect = weight_type == _DIALECT

    def gemm(**words: Any) -> BitModGemm | DialectGemm:
        words |= {"layers": layers, "port": port}
        if is_dialect:
            return DialectGemm(shape, block=group or k, weight_exponents=(low, high), **words)
        return BitModGemm(shape, weight_type=weight_type, group=group, **words)

    drawn = dict(zip(("weights", "metadata"), gemm().drawn_words(), strict=True)) if port is None else {}
    block = group or k if is_dialect else k
    x = BlockCodes(
        kind="dialect" if is_dialect else "integer", length=k, block=block, bits=4 if is_dialect else 8, exponent=0
    )
    return LinearUnit(gemm=gemm(**drawn), x=x, bits=bits)


TEMPLATE = UnitTemplate(
    name="linear_stream",
    kind="dataflow",
    description="product of a stream of codes with a weight in memory, token after token",
    build=_build,
    choices={"weight_type": (*bitmod.TEMPLATE.choices["weight_type"], _DIALECT)},
    macs_per_cycle=lambda **p: (
        p["rows"] * p["columns"] * p["lanes"] / (1 if p["weight_type"] == _DIALECT else terms(p["weight_type"]))
    ),
)
