"""The BitMoD paper's model with what it leaves out, one correction after the other.

Each of :data:`.bitmod_corrections.CORRECTIONS` changes one rule of :mod:`.bitmod_simulator`; with none, both agree in
every figure. Arrays, buffers, bandwidth and energies remain the paper's. Cycles of the array are those of
:mod:`mxhw.hardware.gemm`, which equal our RTL's, with the paper's array in place of ours; bits are those of mxhw's
formats.

Still not charged: softmax, norms, the embedding, rows and latency of DRAM, leakage. Not credited: the half of attention
that causality saves, keeping scores on chip between both products, the head for one token only.
"""

from dataclasses import dataclass, replace
from math import ceil

from mxhw.formats import parse_format
from mxhw.hardware.gemm import GemmPoints, gemm_cycles
from mxhw.hardware.published.bitmod_accelerators import (
    BUS_BYTES,
    INPUT_BITS,
    LAYOUT_FACTOR,
    WRITE_BITS,
    Accelerator,
    buffer_cost,
)
from mxhw.hardware.published.bitmod_corrections import ALL_CORRECTIONS, Corrections
from mxhw.hardware.published.bitmod_simulator import (
    ATTENTION,
    CONTEXT,
    DECODE_STEPS,
    Cost,
    MatrixProduct,
    attention_products,
    fetches,
    linear_products,
    total,
)
from mxhw.hardware.published.models import ModelShape

__all__ = ["StricterCosts", "stricter_costs"]

_GROUP = 128  # weights that share a scale (bitmod): a whole number of steps of every array
_CACHE_FORMAT = "int8-e8m0"  # a scale of 8 bits for each token and head


@dataclass(frozen=True)
class StricterCosts:
    """Costs of a model: of a prompt; of each token after it."""

    prefill: Cost
    steps: tuple[Cost, ...]

    @property
    def decode(self) -> Cost:
        """The first token after the prompt."""
        return self.steps[0]

    @property
    def generative(self) -> Cost:
        """The prompt and all tokens."""
        return self.prefill + total(list(self.steps))


def stricter_costs(
    model: ModelShape, accelerator: Accelerator, corrections: Corrections = ALL_CORRECTIONS
) -> StricterCosts:
    """Return what a model costs with some of the corrections.

    With none these are the paper's: `prefill_cost`, and `decode_cost` for each of the 20 tokens.
    """
    prefill = _linear_cost(model, accelerator, CONTEXT, corrections)
    prefill += _attention_cost(model, accelerator, CONTEXT, CONTEXT, corrections)
    linear = _linear_cost(model, accelerator, 1, corrections)
    if corrections.growing:
        grown = [_attention_cost(model, accelerator, 1, CONTEXT + n + 1, corrections) for n in range(DECODE_STEPS)]
    else:
        grown = [_attention_cost(model, accelerator, 1, CONTEXT, corrections)] * DECODE_STEPS
    return StricterCosts(prefill, tuple(linear + attention for attention in grown))


def _linear_cost(model: ModelShape, accelerator: Accelerator, tokens: int, corrections: Corrections) -> Cost:
    products = linear_products(model, accelerator, tokens)
    if corrections.bits:
        products = [_with_all_bits(product, accelerator.format(tokens)) for product in products]
    return total([_product_cost(product, accelerator, model, tokens, corrections) for product in products])


def _attention_cost(
    model: ModelShape, accelerator: Accelerator, tokens: int, keys: int, corrections: Corrections
) -> Cost:
    if corrections.heads:
        products = _by_head(model, accelerator, tokens, keys, corrections)
    else:
        products = attention_products(model, accelerator, tokens)
    return total([_product_cost(product, accelerator, model, tokens, corrections) for product in products])


def _with_all_bits(product: MatrixProduct, name: str | None) -> MatrixProduct:
    """Return the product with every bit of its weights' format, if mxhw has it."""
    if name is None:
        return product
    stored = parse_format(name).bits((product.outputs, product.reduction))
    return replace(product, weight_bytes=ceil(stored / 8), weight_words=ceil(stored / WRITE_BITS))


def _by_head(
    model: ModelShape, accelerator: Accelerator, tokens: int, keys: int, corrections: Corrections
) -> list[MatrixProduct]:
    """Return the products of attention: keys, then values, of a head are the weights that its group's queries meet."""
    group, width = model.heads // model.kv_heads, model.head_dim
    bits = accelerator.cache_bits if corrections.cache else INPUT_BITS
    # Without that correction a step takes the cycles of the weights' bits, as in the plots.
    terms = accelerator.terms(bits if corrections.cache else accelerator.bits(model, tokens))
    stored = keys * model.kv_heads * width * bits
    if corrections.bits and bits != INPUT_BITS:
        stored = parse_format(_CACHE_FORMAT).bits((keys * model.kv_heads, width))
    products = []
    numbers = {"queries": tokens * model.hidden, "scores": tokens * model.heads * keys}
    for name, outputs, reduction, into, out_of in zip(
        ATTENTION, (keys, width), (width, keys), ("queries", "scores"), ("scores", "queries"), strict=True
    ):
        taken, given = numbers[into] * INPUT_BITS, numbers[out_of] * INPUT_BITS
        products.append(
            MatrixProduct(
                name=name,
                layers=model.layers,
                heads=model.kv_heads,
                outputs=outputs,
                reduction=reduction,
                tokens=group * tokens,
                terms=terms,
                weight_bits=bits,
                weight_bytes=ceil(stored / 8),
                input_bytes=taken // 8,
                output_bytes=given // 8,
                weight_words=ceil(stored / WRITE_BITS),
                input_words=ceil(taken / WRITE_BITS),
                output_words=ceil(given / WRITE_BITS),
            )
        )
    return products


def _product_cost(
    product: MatrixProduct, accelerator: Accelerator, model: ModelShape, tokens: int, corrections: Corrections
) -> Cost:
    """Return the cost of a product in all layers."""
    array = accelerator.array(tokens)
    points = _points(product, accelerator, tokens)
    steps = points.row_tiles * points.column_tiles * ceil(product.reduction / accelerator.dot_product)
    computing = gemm_cycles(points) if corrections.array else steps * product.terms
    plan = _plan(product, corrections)
    written = (plan.weights * product.weight_words, plan.inputs * product.input_words + product.output_words)
    cost = Cost(
        cycles=_cycles(product, points, plan, computing, corrections),
        array_cycles=computing,
        dram_bytes=plan.moved,
        element_energy=accelerator.element_energy * LAYOUT_FACTOR * array.elements * computing / 1e6,
        buffer_energy=_buffer_energy(product, accelerator, model, tokens, steps, written, corrections.ports),
    )
    return cost * product.layers


@dataclass(frozen=True)
class _Plan:
    """How often weights and inputs are read from DRAM; the bytes of all traffic, and those that work waits for."""

    weights: int
    inputs: int
    moved: int
    waited: int


def _plan(product: MatrixProduct, corrections: Corrections) -> _Plan:
    apart = product.heads if corrections.apart else 1
    weights, inputs = fetches(ceil(product.weight_bytes / apart), ceil(product.input_bytes / apart))
    moved = weights * product.weight_bytes + inputs * product.input_bytes + product.output_bytes
    waited = 0
    if corrections.waits and (weights > 1 or inputs > 1):
        waited = product.input_bytes if weights > 1 else product.weight_bytes  # what is read once stays
    return _Plan(weights, inputs, moved, waited)


def _cycles(product: MatrixProduct, points: GemmPoints, plan: _Plan, computing: int, corrections: Corrections) -> int:
    """Return the cycles of one layer: the longer of work and traffic, and what of both is not hidden."""
    waiting, moved = ceil(plan.waited / BUS_BYTES), plan.moved - plan.waited
    if not corrections.edges:
        return waiting + max(computing, moved // BUS_BYTES)
    first, last = _first_tile(product, points, plan), _last_tile(product, points)
    buffered: int = points.chunks if corrections.array else 0
    work: int = points.tile_cycles + (points.latency + points.rows if corrections.array else 0)  # of the last tile
    coming = ceil((moved - first - last) / BUS_BYTES) + work
    before, after = max(buffered, ceil(first / BUS_BYTES)), ceil(last / BUS_BYTES)
    return waiting + before + max(computing - buffered, coming) + after


def _points(product: MatrixProduct, accelerator: Accelerator, tokens: int) -> GemmPoints:
    """Return the product on the paper's array; linear layers of a serial one have scales of groups."""
    array = accelerator.array(tokens)
    is_scaled = accelerator.is_serial and product.name not in ATTENTION
    return GemmPoints(
        m=product.tokens,
        n=product.outputs,
        k=product.reduction,
        count=product.heads,
        rows=array.columns,
        columns=array.rows,
        lanes=accelerator.dot_product,
        terms=product.terms,
        block=_GROUP if is_scaled else 1,
        scaled=int(is_scaled),
    )


def _first_tile(product: MatrixProduct, points: GemmPoints, plan: _Plan) -> int:
    """Return the bytes of the first column tile's weights and row tile's inputs, but for what is waited for anyhow."""
    columns: int = min(points.columns, product.outputs)
    rows: int = min(points.rows, product.tokens)
    weights = ceil(product.weight_bytes * columns / (product.heads * product.outputs))
    inputs = ceil(product.input_bytes * rows / (product.heads * product.tokens))
    weights_stay, inputs_stay = (plan.waited > 0 and times > 1 for times in (plan.inputs, plan.weights))
    return weights * (not weights_stay) + inputs * (not inputs_stay)


def _last_tile(product: MatrixProduct, points: GemmPoints) -> int:
    """Return the bytes of the results of the last tile."""
    columns: int = product.outputs - (points.column_tiles - 1) * points.columns
    rows: int = (product.tokens - 1) % points.rows + 1
    return columns * rows * INPUT_BITS // 8


def _buffer_energy(
    product: MatrixProduct,
    accelerator: Accelerator,
    model: ModelShape,
    tokens: int,
    steps: int,
    writes: tuple[int, int],
    are_whole: bool,
) -> float:
    """Return the energy [uJ] of both buffers; ``are_whole``: a step reads as often as its bits need."""
    array, read, written = accelerator.array(tokens), 0.0, 0.0
    needed = (4 * ceil(product.weight_bits / 4) * array.rows, INPUT_BITS * array.columns)  # whole half bytes, as ports
    for port, bits, words in zip(accelerator.ports(model, tokens), needed, writes, strict=True):
        of_read, of_write = buffer_cost(port)
        read += of_read * (accelerator.dot_product * bits / port if are_whole else 1)
        written += of_write * words
    return (steps * read + written) / 1e6
