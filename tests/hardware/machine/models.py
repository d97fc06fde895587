"""Llama-like models as records, made by hand: what tests of the machine share."""

from dataclasses import dataclass, replace

import pytest

from mxhw.hardware.machine.parts import parts_of
from mxhw.hardware.machine.placement import Placement, placed
from mxhw.hardware.machine.port import Port
from mxhw.hardware.machine.timing import Pipeline
from mxhw.hardware.sizes import Resources, fitted
from mxhw.hardware.structure import (
    Activation,
    Add,
    BlockUse,
    Design,
    Embedding,
    Encoder,
    ModelDesign,
    Multiply,
    Norm,
    Product,
    Requantize,
    Rope,
    Scores,
    SoftmaxWeights,
    Step,
    Unit,
    Values,
)

__all__ = ["LLAMA_3_8B", "LLAMA_3_70B", "MIXTRAL_8X7B", "TINY", "Sizes", "llama", "made_up_prices", "pipeline"]

HIDDEN_BITS, VECTOR_BITS = 24, 16


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """A model's sizes, and how parallel its products are."""

    hidden: int = 32
    ffn: int = 64
    heads: int = 4
    kv_heads: int = 2
    layers: int = 3
    vocabulary: int = 64
    keys: int = 64
    sequences: int = 1
    rows: int = 1
    columns: int = 8
    lanes: int = 4
    block: int = 16
    experts: int = 1
    active: int = 1
    folded: bool = True
    window: int | None = None

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads


TINY = Sizes()
_LARGE = {"keys": 2304, "rows": 16, "columns": 64, "lanes": 16, "block": 128}
LLAMA_3_8B = Sizes(
    hidden=4096, ffn=14336, heads=32, kv_heads=8, layers=32, vocabulary=128256, **_LARGE
)  # its config.json
LLAMA_3_70B = replace(LLAMA_3_8B, hidden=8192, ffn=28672, heads=64, layers=80)
MIXTRAL_8X7B = replace(LLAMA_3_8B, vocabulary=32000, experts=8, active=2)


def llama(sizes: Sizes = TINY) -> ModelDesign:
    """Return a model of decoder blocks; experts of a feed-forward network stand behind a router."""
    blocks = 1 if sizes.folded else sizes.layers
    each = tuple(f"layers.{i}" for i in range(sizes.layers))
    served = [each] if sizes.folded else [(name,) for name in each]
    return ModelDesign(
        front=_front(sizes),
        blocks=tuple(BlockUse(_block(sizes), served[i]) for i in range(blocks)),
        back=_back(sizes),
        folded=sizes.folded,
    )


class _Steps:
    """A design that grows; every stream has as many elements a beat as its writer gives."""

    def __init__(self, sizes: Sizes, inputs: dict[str, int], layers: int = 1) -> None:
        self.sizes, self.inputs, self.layers = sizes, inputs, layers
        self.steps: dict[str, Step] = {}

    def add(self, name: str, unit: Unit, *inputs: str, lanes_in: int = 0, lanes: int = 0) -> str:
        lanes = lanes or getattr(unit, "lanes", 1)
        taken = tuple(1 if source in ("positions", "weights") else lanes_in or lanes for source in inputs)
        self.steps[name] = Step(name, name.split(".")[0], unit, inputs, taken, lanes)
        return name

    def design(self, *outputs: str) -> Design:
        return Design(self.inputs, self.steps, outputs)

    def norm(self, name: str, source: str) -> str:
        s = self.sizes
        unit = Norm(
            kind="rms_norm",
            length=s.hidden,
            lanes=s.lanes,
            input_bits=HIDDEN_BITS,
            gain_bits=VECTOR_BITS,
            output_bits=VECTOR_BITS,
            constant_words=self.layers * s.hidden // s.lanes,
            constant_bits=s.lanes * VECTOR_BITS,
        )
        return self.add(name, unit, source)

    def encoder(self, name: str, length: int, source: str, block: int | None = None) -> str:
        unit = Encoder(
            kind="integer",
            length=length,
            lanes=self.sizes.lanes,
            padded=length,
            block=block or length,
            input_bits=VECTOR_BITS,
            code_bits=8,
            metadata_bits=8,
        )
        return self.add(name, unit, source)

    def product(self, name: str, n: int, k: int, source: str, *, experts: int = 1, active: int = 1) -> str:
        """Add an encoder, a product and what scales its sums; ``active`` of the ``experts`` give n elements each."""
        s = self.sizes
        unit = Product(
            family="bitmod",
            weight_type="fp4",
            terms=2,
            lanes=s.lanes,
            rows=s.rows,
            columns=s.columns,
            n=n,
            k=k,
            block=s.block,
            code_bits=4,
            input_bits=8,
            metadata_bits=10,
            input_metadata_bits=0,
            accumulator_bits=32,
            output_bits=32,
            layers=self.layers,
            experts=experts,
            active_experts=active,
        )
        encoded = self.encoder(f"{name}.quantize", k, source)
        self.add(name, unit, encoded, lanes_in=s.lanes, lanes=s.columns)
        if n % s.lanes:
            return name
        scaled = Requantize(
            length=n * active,
            lanes=s.lanes,
            input_bits=32,
            reduced_bits=32,
            multiplier_bits=16,
            output_bits=VECTOR_BITS,
            constant_words=self.layers * experts * n // s.lanes,
            constant_bits=s.lanes * 16,
        )
        return self.add(f"{name}.requantize", scaled, name)

    def rope(self, name: str, heads: int, source: str) -> str:
        s = self.sizes
        unit = Rope(
            length=heads * s.head_dim,
            lanes=1,
            heads=heads,
            head_dim=s.head_dim,
            positions=s.keys,
            span=s.head_dim // 2,
            input_bits=VECTOR_BITS,
            output_bits=VECTOR_BITS,
            table_bits=16,
        )
        return self.add(name, unit, source, "positions", lanes_in=1)

    def vector(self, kind: type[Add] | type[Multiply], name: str, length: int, bits: int, *inputs: str) -> str:
        unit = kind(length=length, lanes=self.sizes.lanes, left_bits=bits, right_bits=VECTOR_BITS, output_bits=bits)
        return self.add(name, unit, *inputs)


def _front(s: Sizes) -> Design:
    made = _Steps(s, {"tokens": 1})
    unit = Embedding(
        length=s.hidden, lanes=s.lanes, rows=s.vocabulary, code_bits=8, multiplier_bits=16, output_bits=HIDDEN_BITS
    )
    return made.design(made.add("embed_tokens", unit, "tokens", lanes_in=1))


def _back(s: Sizes) -> Design:
    made = _Steps(s, {"hidden": s.lanes})
    return made.design(made.product("lm_head", s.vocabulary, s.hidden, made.norm("norm", "hidden")))


def _block(s: Sizes) -> Design:
    made = _Steps(s, {"hidden": s.lanes, "positions": 1}, layers=s.layers if s.folded else 1)
    normed, kv = made.norm("input_layernorm", "hidden"), s.kv_heads * s.head_dim
    query, key, value = (
        made.product(f"{name}_proj", n, s.hidden, normed) for name, n in (("q", s.hidden), ("k", kv), ("v", kv))
    )
    query, key = made.rope("q_rope", s.heads, query), made.rope("k_rope", s.kv_heads, key)
    coded = [
        made.encoder(f"{name}.quantize", n, source, s.head_dim)
        for name, n, source in (("q", s.hidden, query), ("k", kv, key), ("v", kv, value))
    ]
    most = min(s.keys, s.window or s.keys)
    common = {
        "heads": s.heads,
        "kv_heads": s.kv_heads,
        "head_dim": s.head_dim,
        "lanes": s.lanes,
        "keys": s.keys,
        "most": most,
        "code_bits": 8,
        "scale_bits": 4,
        "banks": made.layers * s.sequences,
    }
    scores = Scores(**common, query_bits=8, score_bits=24)
    made.add("scores", scores, coded[0], coded[1], "positions", lanes_in=s.lanes, lanes=1)
    softmax = SoftmaxWeights(heads=s.heads, most=most, score_bits=24, weight_bits=16, table_words=256, table_bits=16)
    made.add("weights", softmax, "scores")
    values = Values(**common, weight_bits=16, output_bits=VECTOR_BITS, output_lanes=1)
    made.add("values", values, "weights", coded[2], "positions", lanes_in=s.lanes, lanes=1)
    attended = made.product("o_proj", s.hidden, s.hidden, "values")
    first = made.vector(Add, "residual_1", s.hidden, HIDDEN_BITS, "hidden", attended)
    return made.design(made.vector(Add, "residual_2", s.hidden, HIDDEN_BITS, first, _feed_forward(made, first)))


def _feed_forward(made: _Steps, source: str) -> str:
    s, normed = made.sizes, made.norm("post_layernorm", source)
    if s.experts > 1:
        made.product("router", s.experts, s.hidden, normed)
    wide = {"experts": s.experts, "active": s.active}
    gate, up = (made.product(f"{name}_proj", s.ffn, s.hidden, normed, **wide) for name in ("gate", "up"))
    silu = Activation(
        function="silu",
        length=s.ffn * s.active,
        lanes=s.lanes,
        input_bits=VECTOR_BITS,
        output_bits=18,
        table_words=128,
        table_bits=27,
    )
    gated = made.vector(Multiply, "mul", s.ffn * s.active, 18, made.add("act", silu, gate), up)
    # The sum over a token's experts is a longer reduction: groups of experts, of which a token meets one.
    return made.product("down_proj", s.hidden, s.ffn * s.active, gated, experts=s.experts // s.active)


def pipeline(
    sizes: Sizes = TINY,
    placement: Placement | None = None,
    *,
    chunk: int = 4,
    bandwidth: float = 256.0,
    latency: int = 20,
    bits: int = 256,
) -> Pipeline:
    """Return the timing of a model whose memory outside gives ``bandwidth`` bits a cycle."""
    where = Placement() if placement is None else placement
    port = None if where.all_inside else Port(bits, bandwidth, latency)
    model = placed(llama(sizes), where, chunk)
    front, *blocks, back = parts_of(model, port, sizes.keys, constants_loaded=where.constants == "layers")
    return Pipeline(front=front, blocks=tuple(blocks), back=back, folded=model.folded, chunk=chunk)


def made_up_prices(patch: pytest.MonkeyPatch) -> None:
    """Let units take as much as they have multipliers, whatever was measured of them."""

    def price(unit: Unit, library: str) -> Resources:
        size = unit.rows * unit.columns * unit.lanes if isinstance(unit, Product) else getattr(unit, "lanes", 1)
        return Resources({"area": 30.0 * size, "lut": 8.0 * size, "ff": 4.0 * size, "dsp": 0.0})

    patch.setattr(fitted, "_sizes", price)
