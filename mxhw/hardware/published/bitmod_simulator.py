"""The cost model of the BitMoD paper [HPCA 2025, arXiv 2411.11745, Figures 7 and 8], to the cycle.

Written anew from the rules of the authors' simulator (github.com/yc2367/BitMoD, `sim/accelerator.py`; MIT licence): a
layer takes the longer of its array's cycles and its DRAM traffic's, a model the sum of its layers. What
:mod:`.bitmod_stricter` corrects stands here as the plots have it: an array that fills and drains in no time, attention
that takes queries (or scores) for the weight, the cycles of the weights' bits for every product, a cache of 256 tokens
at every step, neither selectors nor scales of rows, buffers' ports of half the width that a bit-serial step needs.

Not charged, here and there: softmax, norms, the embedding, rows of DRAM, leakage.
"""

from dataclasses import dataclass
from math import ceil

from mxhw.hardware.published.bitmod_accelerators import (
    BUFFER_BYTES,
    BUS_BYTES,
    DRAM_ENERGY,
    INPUT_BITS,
    LAYOUT_FACTOR,
    WRITE_BITS,
    Accelerator,
    buffer_cost,
)
from mxhw.hardware.published.models import ModelShape

__all__ = [
    "ATTENTION",
    "CONTEXT",
    "DECODE_STEPS",
    "Cost",
    "MatrixProduct",
    "attention_products",
    "decode_cost",
    "fetches",
    "generative_cost",
    "linear_products",
    "prefill_cost",
    "product_cost",
    "total",
]

CONTEXT = 256  # tokens of the prompt, and of the cache at every step of decoding
DECODE_STEPS = 20  # tokens that a generative run adds to the prompt
ATTENTION = ("scores", "values")  # names of the products that are no linear layers


@dataclass(frozen=True, kw_only=True)
class MatrixProduct:
    """``heads`` products of [tokens, reduction] with [outputs, reduction], in each of ``layers``.

    ``terms`` are the cycles of a step of the array. Bytes are those of all heads in one layer as DRAM holds them, words
    those of 64 bits that are written into a buffer when all is read once.
    """

    name: str
    layers: int
    heads: int = 1
    outputs: int
    reduction: int
    tokens: int
    terms: int
    weight_bits: float
    weight_bytes: int
    input_bytes: int
    output_bytes: int
    weight_words: int
    input_words: int
    output_words: int


@dataclass(frozen=True)
class Cost:
    """What products cost.

    Attributes
    ----------
    cycles : with the traffic of DRAM; ``array_cycles``: in which the array works.
    dram_bytes : read and written.
    element_energy, buffer_energy : of the processing elements, of both buffers [uJ].
    """

    cycles: int = 0
    array_cycles: int = 0
    dram_bytes: int = 0
    element_energy: float = 0.0
    buffer_energy: float = 0.0

    @property
    def dram_energy(self) -> float:
        """Of DRAM [uJ]."""
        return self.dram_bytes * 8 * DRAM_ENERGY / 1e6

    @property
    def chip_energy(self) -> float:
        """On chip [uJ]."""
        return self.element_energy + self.buffer_energy

    @property
    def energy(self) -> float:
        """All energy [uJ]."""
        return self.chip_energy + self.dram_energy

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(mine + its for mine, its in zip(vars(self).values(), vars(other).values(), strict=True)))

    def __mul__(self, count: int) -> "Cost":
        return Cost(*(value * count for value in vars(self).values()))


def total(costs: list[Cost]) -> Cost:
    """Return the sum."""
    return sum(costs, start=Cost())


def linear_products(model: ModelShape, accelerator: Accelerator, tokens: int) -> list[MatrixProduct]:
    """Return the linear layers; all tokens meet the head, too."""
    bits = accelerator.bits(model, tokens)
    layers = [(name, outputs, width, model.layers) for name, outputs, width in model.linears()]
    return [
        MatrixProduct(
            name=name,
            layers=count,
            outputs=outputs,
            reduction=width,
            tokens=tokens,
            terms=accelerator.terms(bits),
            weight_bits=bits,
            weight_bytes=ceil(width * bits / 8) * outputs,
            weight_words=ceil(width * bits / WRITE_BITS) * outputs,
            **_streams(width, outputs, tokens),
        )
        for name, outputs, width, count in (*layers, ("head", model.vocabulary, model.hidden, 1))
    ]


def attention_products(model: ModelShape, accelerator: Accelerator, tokens: int) -> list[MatrixProduct]:
    """Return both products of attention as the plots have them.

    The queries (the scores) of all heads are one weight of 16 bits a number, which ``heads * tokens`` (``tokens``)
    vectors as wide as the cache meet, in the cycles and the buffer's words of the linear layers' bits.
    """
    bits, scores = accelerator.bits(model, tokens), model.heads * tokens
    return [
        MatrixProduct(
            name=name,
            layers=model.layers,
            outputs=outputs,
            reduction=reduction,
            tokens=vectors,
            terms=accelerator.terms(bits),
            weight_bits=bits,
            weight_bytes=ceil(reduction * INPUT_BITS / 8) * outputs,
            weight_words=ceil(reduction * bits / WRITE_BITS) * outputs,
            **_streams(model.kv_width, outputs, vectors),
        )
        for name, outputs, reduction, vectors in zip(
            ATTENTION, (tokens, scores), (model.hidden, CONTEXT), (scores, tokens), strict=True
        )
    ]


def _streams(width: int, outputs: int, tokens: int) -> dict[str, int]:
    """Return the bytes and words of inputs of a width, and of outputs."""
    return {
        "input_bytes": ceil(width * INPUT_BITS / 8) * tokens,
        "output_bytes": ceil(outputs * INPUT_BITS / 8) * tokens,
        "input_words": ceil(width * INPUT_BITS / WRITE_BITS) * tokens,
        "output_words": ceil(outputs * INPUT_BITS / WRITE_BITS) * tokens,
    }


def fetches(weight_bytes: int, input_bytes: int, capacity: int = BUFFER_BYTES) -> tuple[int, int]:
    """Return how often weights, and inputs, are read from DRAM.

    If neither fits its buffer, one of them is read again for every part of the other that does: whichever moves less.
    """
    if weight_bytes <= capacity or input_bytes <= capacity:
        return 1, 1
    again_weights, again_inputs = ceil(input_bytes / capacity), ceil(weight_bytes / capacity)
    if again_weights * weight_bytes + input_bytes < again_inputs * input_bytes + weight_bytes:
        return again_weights, 1
    return 1, again_inputs


def product_cost(product: MatrixProduct, accelerator: Accelerator, model: ModelShape, tokens: int) -> Cost:
    """Return the cost of a product in all layers; ``tokens`` at once, and the model, choose the array and the ports."""
    array = accelerator.array(tokens)
    weight_port, input_port = (buffer_cost(width) for width in accelerator.ports(model, tokens))
    weights, inputs = fetches(product.weight_bytes, product.input_bytes)
    moved = weights * product.weight_bytes + inputs * product.input_bytes + product.output_bytes
    tiles = ceil(product.outputs / array.rows) * ceil(product.tokens / array.columns) * product.heads
    steps = tiles * ceil(product.reduction / accelerator.dot_product)
    computing = steps * product.terms
    read = steps * (weight_port[0] + input_port[0])
    written = weights * product.weight_words * weight_port[1]
    written += (inputs * product.input_words + product.output_words) * input_port[1]
    cost = Cost(
        cycles=max(computing, moved // BUS_BYTES),
        array_cycles=computing,
        dram_bytes=moved,
        element_energy=accelerator.element_energy * LAYOUT_FACTOR * array.elements * computing / 1e6,
        buffer_energy=(read + written) / 1e6,
    )
    return cost * product.layers


def prefill_cost(model: ModelShape, accelerator: Accelerator) -> Cost:
    """Return the cost of a prompt of 256 tokens: the paper's discriminative task."""
    return _cost(model, accelerator, CONTEXT)


def decode_cost(model: ModelShape, accelerator: Accelerator) -> Cost:
    """Return the cost of one token after 256."""
    return _cost(model, accelerator, 1)


def generative_cost(model: ModelShape, accelerator: Accelerator) -> Cost:
    """Return the cost of a prompt and 20 tokens, each after 256."""
    return prefill_cost(model, accelerator) + decode_cost(model, accelerator) * DECODE_STEPS


def _cost(model: ModelShape, accelerator: Accelerator, tokens: int) -> Cost:
    products = [
        *linear_products(model, accelerator, tokens),
        *attention_products(model, accelerator, tokens),
    ]
    return total([product_cost(product, accelerator, model, tokens) for product in products])
